package edge

import (
	"net/http"
	"net/url"
	"strings"
	"testing"
)

func TestVerificationFollowsTheStoredHosts(t *testing.T) {
	r := newRig(t, nil, func(c *Config) { c.VerifyRedirectHosts = []string{"listed.test", "dev.test:3000"} })
	stored := Redirects{Success: "https://shop.test/ok", Failure: "https://shop.test/no"}
	r.tokens["good"] = stored
	r.tokens["plain"] = Redirects{}
	r.refused["old"] = stored
	query := func(values ...string) string {
		q := url.Values{}
		for i := 0; i < len(values); i += 2 {
			q.Set(values[i], values[i+1])
		}
		return "?" + q.Encode()
	}
	for _, test := range []struct {
		name, address string
		location      string // or a page
		status        int
	}{
		{"user host", "user.test/" + query("token", "good", "redirectUrl", "https://shop.test/welcome?a=b"), "https://shop.test/welcome?a=b", 302},
		{"bare user host", "user.test" + query("token", "good", "redirectUrl", "https://shop.test/welcome"), "https://shop.test/welcome", 302},
		{"any path of the user host", "user.test/verify/mail" + query("token", "good"), "https://shop.test/ok", 302},
		{"id is ignored", "own.test/user/whoever" + query("token", "good"), "https://shop.test/ok", 302},
		{"token in the path", "own.test/user/good", "https://shop.test/ok", 302},
		{"token in the path of the user host", "user.test/user/good", "https://shop.test/ok", 302},
		{"listed host", "user.test/" + query("token", "plain", "redirectUrl", "http://listed.test/"), "http://listed.test/", 302},
		{"listed port", "user.test/" + query("token", "plain", "redirectUrl", "http://dev.test:3000/x"), "http://dev.test:3000/x", 302},
		{"other port", "user.test/" + query("token", "plain", "redirectUrl", "http://listed.test:8080/"), "", 200},
		{"nothing stored or asked for", "user.test/" + query("token", "plain"), "", 200},
		{"foreign host", "user.test/" + query("token", "good", "redirectUrl", "https://evil.test/"), "", 200},
		{"foreign host without list", "user.test/" + query("token", "plain", "redirectUrl", "https://shop.test/"), "", 200},
		{"failed", "user.test/" + query("token", "old", "failureRedirectUrl", "https://shop.test/again"), "https://shop.test/again", 302},
		{"failed, stored", "user.test/" + query("token", "old", "redirectUrl", "https://shop.test/ok"), "https://shop.test/no", 302},
		{"failed, foreign", "user.test/" + query("token", "old", "failureRedirectUrl", "https://evil.test/"), "", 400},
		{"unknown token", "user.test/" + query("token", "none", "failureRedirectUrl", "https://shop.test/"), "", 400},
		{"unknown token, listed", "user.test/" + query("token", "none", "failureRedirectUrl", "https://listed.test/x"), "https://listed.test/x", 302},
		{"no token", "user.test/" + query("redirectUrl", "https://shop.test/"), "", 400},
		{"no token on the own host", "own.test/user/", "", 400},
		{"too many segments", "own.test/user/a/b", "", 400},
	} {
		res := r.get(test.address)
		if res.StatusCode != test.status || res.Header.Get("Location") != test.location {
			t.Errorf("%s: got %d %q, want %d %q", test.name, res.StatusCode, res.Header.Get("Location"), test.status, test.location)
		}
		if res.Header.Get("Cache-Control") != "no-store" || res.Header.Get("Referrer-Policy") != "no-referrer" {
			t.Errorf("%s: headers %v", test.name, res.Header)
		}
		if strings.Contains(res.body, "evil") {
			t.Errorf("%s: the page repeats the address: %s", test.name, res.body)
		}
	}
	for _, secret := range []string{"good", "plain", "old"} {
		if strings.Contains(r.log.String(), secret+`"`) || strings.Contains(r.log.String(), "token=") {
			t.Errorf("token %q is in the log: %s", secret, r.log)
		}
	}
	if !strings.Contains(r.log.String(), string(ReasonRedirectForbidden)) {
		t.Error("the log does not say why a redirect was not followed")
	}
}

func TestVerifyingTwiceSucceedsAndHeadChangesNothing(t *testing.T) {
	r := newRig(t, nil)
	r.tokens["good"] = Redirects{Success: "https://shop.test/ok"}
	if res := r.do(http.MethodHead, "user.test/?token=good", ""); res.StatusCode != 200 || res.body != "" {
		t.Errorf("HEAD: got %d %q", res.StatusCode, res.body)
	}
	r.do(http.MethodPost, "user.test/?token=good", "x").wantFailure(t, 405, ReasonMethodNotAllowed)
	r.do(http.MethodOptions, "own.test/user/good", "").wantFailure(t, 405, ReasonMethodNotAllowed)
	if _, verified := r.counts(); verified != 0 {
		t.Fatalf("verified %d times by HEAD, POST and OPTIONS", verified)
	}
	for range 2 {
		if res := r.get("user.test/?token=good"); res.StatusCode != 302 {
			t.Errorf("got %d", res.StatusCode)
		}
	}
	if _, verified := r.counts(); verified != 2 {
		t.Errorf("verified %d times, want 2", verified)
	}
}

func TestVerificationDoesNotGuessInAnOutage(t *testing.T) {
	r := newRig(t, nil)
	r.setDown(errOutage)
	res := r.get("user.test/?token=good&failureRedirectUrl=https://shop.test/")
	res.wantFailure(t, 503, ReasonPlatformDown)
	if res.Header.Get("Location") != "" {
		t.Errorf("redirected to %q", res.Header.Get("Location"))
	}
}

// trickyAddresses all look like shop.test to somebody, and none is.
var trickyAddresses = []string{
	"//shop.test/", "///shop.test", `\\shop.test`, `https:\\shop.test`, `https://evil.test\@shop.test`, `https://shop.test\@evil.test/`,
	"https://shop.test@evil.test/", "https://shop.test:pw@evil.test/", "https://evil.test#@shop.test", "https://evil.test?@shop.test",
	"https://shop.test.evil.test/", "https://evilshop.test/", "https://shop.test%2eevil.test/", "https://shop.test%00.evil.test/",
	"https:shop.test", "https:/shop.test", "https:///shop.test", "javascript:alert(1)//shop.test", "data:text/html,shop.test", "ftp://shop.test/",
	"https://evil.test/https://shop.test/", "\thttps://shop.test/", "https://shop.test/\r\nSet-Cookie: a=b", "https://sh\nop.test/", " https://shop.test",
	"https://shop.test:8443/", "https://[::1]/", "https://127.0.0.1/", "https://shop。test.evil.test/", "shop.test", "/ok", "", "https://", "https://user@shop.test/",
	"http://shop.test:443/", "https://shop.test:80/",
}

func TestTrickyRedirectsAreRefused(t *testing.T) {
	policy, err := newRedirectPolicy([]string{"shop.test"})
	if err != nil {
		t.Fatal(err)
	}
	for _, address := range trickyAddresses {
		if got, err := policy.check(address, Redirects{}); err == nil {
			t.Errorf("%q would lead to %q", address, got)
		}
	}
	for address, want := range map[string]string{
		"https://shop.test": "https://shop.test", "HTTPS://SHOP.test./a?b#c": "https://shop.test/a?b#c", "http://shop.test:80/": "http://shop.test/",
		"https://shop.test:443/%2F?u=https://x": "https://shop.test/%2F?u=https://x", "https://shop.test/ü": "https://shop.test/%C3%BC",
	} {
		if got, err := policy.check(address, Redirects{}); got != want || err != nil {
			t.Errorf("%q: got %q, %v; want %q", address, got, err, want)
		}
	}
}

func TestTheBareUserHostSaysWhatItIs(t *testing.T) {
	r := newRig(t, nil)
	if res := r.get("user.test/"); res.StatusCode != 200 || !strings.Contains(res.body, "confirmed here") {
		t.Errorf("%d %s", res.StatusCode, res.body)
	}
	r.get("user.test/?token=").wantFailure(t, 400, ReasonBadRequest)
	r.get("user.test/verify").wantFailure(t, 400, ReasonBadRequest)
}

func TestStoredRedirectsCountWithTheirSchemeAndPort(t *testing.T) {
	policy, err := newRedirectPolicy(nil)
	if err != nil {
		t.Fatal(err)
	}
	stored := Redirects{Success: "https://shop.test/ok", Failure: "http://dev.test:3000/no"}
	for address, follow := range map[string]bool{
		"https://shop.test/elsewhere": true, "https://shop.test:443/": true, "http://dev.test:3000/": true,
		"http://shop.test/": false, "https://shop.test:8443/": false, "http://dev.test/": false, "https://dev.test:3000/": false,
	} {
		if got, err := policy.check(address, stored); (err == nil) != follow {
			t.Errorf("%q: %q, %v", address, got, err)
		}
	}
}

func TestStarRestoresTheOriginalButForTricks(t *testing.T) {
	policy, err := newRedirectPolicy([]string{"*"})
	if err != nil {
		t.Fatal(err)
	}
	if got, err := policy.check("https://anywhere.test/x", Redirects{}); got != "https://anywhere.test/x" || err != nil {
		t.Errorf("got %q, %v", got, err)
	}
	if got, err := policy.check("http://[::1]:8080/x", Redirects{}); got != "http://[::1]:8080/x" || err != nil {
		t.Errorf("got %q, %v", got, err)
	}
	for _, address := range []string{"javascript:alert(1)", "//evil.test", `https://a\b`, "https://a:b@c.test/"} {
		if got, err := policy.check(address, Redirects{}); err == nil {
			t.Errorf("%q would lead to %q", address, got)
		}
	}
	if _, err := newRedirectPolicy([]string{"https://shop.test/"}); err == nil || !strings.Contains(err.Error(), "https://shop.test/") {
		t.Errorf("a URL passes for a host: %v", err)
	}
}

// FuzzRedirect holds the check to its property: what it lets pass begins, byte for
// byte, with an allowed origin that ends there.
func FuzzRedirect(f *testing.F) {
	for _, address := range trickyAddresses {
		f.Add(address)
	}
	f.Add("https://shop.test/a?b#c")
	f.Add("http://dev.test:3000/")
	policy, err := newRedirectPolicy([]string{"shop.test", "dev.test:3000"})
	if err != nil {
		f.Fatal(err)
	}
	origins := []string{"https://shop.test", "http://shop.test", "http://dev.test:3000", "https://dev.test:3000"}
	f.Fuzz(func(t *testing.T, address string) {
		got, err := policy.check(address, Redirects{})
		if err != nil {
			return
		}
		for _, origin := range origins {
			rest, ok := strings.CutPrefix(got, origin)
			if ok && (rest == "" || strings.ContainsAny(rest[:1], "/?#")) && !strings.ContainsAny(rest, "\\ \r\n\t") {
				return
			}
		}
		t.Fatalf("%q leads to %q", address, got)
	})
}
