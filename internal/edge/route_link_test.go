package edge

import (
	"net/http"
	"strings"
	"testing"
	"time"
)

func TestLinksRedirect(t *testing.T) {
	r := newRig(t, nil)
	r.links["abc"] = "https://example.com/x?y=1&z=%41#f"
	for _, path := range []string{"/u/abc", "/url/abc", "/u/abc?ignored=1"} {
		res := r.get("own.test" + path)
		if res.StatusCode != 302 || res.Header.Get("Location") != r.links["abc"] || res.Header.Get("Cache-Control") != "no-store" {
			t.Errorf("%s: got %d %v", path, res.StatusCode, res.Header)
		}
	}
	if hits, _ := r.counts(); hits != 3 {
		t.Errorf("%d hits, want 3", hits)
	}
}

func TestOnlyPeopleAreCounted(t *testing.T) {
	r := newRig(t, nil)
	r.links["abc"] = "https://example.com/"
	for _, header := range [][]string{
		{"User-Agent", "Mozilla/5.0 (compatible; Googlebot/2.1)"}, {"User-Agent", "Slackbot-LinkExpanding 1.0"},
		{"User-Agent", "WhatsApp/2.2"}, {"User-Agent", "facebookexternalhit/1.1"}, {"User-Agent", "TelegramBot (like TwitterBot)"},
		{"Purpose", "prefetch"}, {"Sec-Purpose", "prefetch;prerender"}, {"X-Moz", "prefetch"}, {"X-Purpose", "preview"},
	} {
		if res := r.get("own.test/u/abc", header...); res.StatusCode != 302 {
			t.Errorf("%v: got %d", header, res.StatusCode)
		}
	}
	if res := r.do(http.MethodHead, "own.test/u/abc", ""); res.StatusCode != 302 || res.Header.Get("Location") != "https://example.com/" {
		t.Errorf("HEAD: got %d", res.StatusCode)
	}
	r.get("own.test/u/abc+")
	r.get("own.test/u/missing")
	if hits, _ := r.counts(); hits != 0 {
		t.Errorf("%d hits, want none", hits)
	}
	r.get("own.test/u/abc", "User-Agent", "Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0")
	r.get("own.test/u/abc", "User-Agent", "curl/8.5.0")
	if hits, _ := r.counts(); hits != 2 {
		t.Errorf("%d hits, want 2", hits)
	}
}

func TestPreviewShowsTheDestinationAsText(t *testing.T) {
	r := newRig(t, nil)
	r.links["abc"] = `https://example.com/"><script>alert(1)</script>`
	res := r.get("own.test/u/abc+")
	if res.StatusCode != 200 || !strings.Contains(res.body, "https://example.com/%22%3E%3Cscript") || strings.Contains(res.body, "<script") {
		t.Errorf("got %d %s", res.StatusCode, res.body)
	}
	if res.Header.Get("Location") != "" || !strings.Contains(res.Header.Get("Content-Security-Policy"), "default-src 'none'") {
		t.Errorf("got %v", res.Header)
	}
}

func TestLinksThatLeadNowhere(t *testing.T) {
	r := newRig(t, nil)
	for id, to := range map[string]string{
		"script": "javascript:alert(1)", "relative": "/admin", "scheme": "//evil.test", "break": "https://a.test/\r\nX: y", "ftp": "ftp://a.test/",
		"nohost": "https:///x", "mail": "mailto:a@b.test",
	} {
		r.links[id] = to
		res := r.get("own.test/u/" + id)
		res.wantFailure(t, 502, ReasonBadDestination)
		if res.Header.Get("Location") != "" || res.Header.Get("X") != "" || strings.Contains(res.body, "evil") {
			t.Errorf("%s: got %v", id, res.Header)
		}
	}
	r.links["empty"] = ""
	r.get("own.test/u/empty").wantFailure(t, 503, ReasonDeploying)
	for _, id := range []string{"missing", "a%2Fb", "a/b", "+", "resolve", "a%0d%0aX:y", "%00", "a%20b", "ü", strings.Repeat("a", 300), "a++"} {
		r.get("own.test/u/"+id).wantFailure(t, 404, ReasonUnknownLink)
	}
	if res := r.get("own.test/u/"); res.StatusCode != 200 || !strings.Contains(res.body, "Short links") || res.Header.Get("Location") != "" {
		t.Errorf("the place where links live: %d %s", res.StatusCode, res.body)
	}
	res := r.do(http.MethodPost, "own.test/u/script", "x")
	res.wantFailure(t, 405, ReasonMethodNotAllowed)
	if res.Header.Get("Allow") != "GET, HEAD" {
		t.Errorf("Allow is %q", res.Header.Get("Allow"))
	}
}

func TestLinksOutliveThePlatform(t *testing.T) {
	c := newClock()
	r := newRig(t, nil, func(config *Config) { config.Now = c.now })
	r.links["abc"] = "https://example.com/"
	r.get("own.test/u/abc")
	r.setDown(errOutage)
	c.advance(24 * time.Hour)
	if res := r.get("own.test/u/abc"); res.StatusCode != 302 {
		t.Errorf("got %d", res.StatusCode)
	}
	res := r.get("own.test/u/other", "Accept", "application/json")
	res.wantFailure(t, 503, ReasonPlatformDown)
	if res.Header.Get("Retry-After") == "" || strings.Contains(res.body, errOutage.Error()) {
		t.Errorf("got %v %s", res.Header, res.body)
	}
}

func TestLocationsAreSafe(t *testing.T) {
	for to, want := range map[string]string{
		"https://a.test/a b?q=\"x\"#ü": "https://a.test/a%20b?q=%22x%22#%C3%BC",
		"https://a.test/%7Euser/[x]":   "https://a.test/%7Euser/[x]",
		`https://a.test/\x`:            "https://a.test/%5Cx",
	} {
		if got, err := linkLocation(to); got != want || err != nil {
			t.Errorf("%q: got %q, %v; want %q", to, got, err, want)
		}
	}
}
