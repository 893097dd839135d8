package edge

import (
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"testing"
)

// ownDomains leads hosts to apps.
type ownDomains map[string]string

func (d ownDomains) App(host string) (string, bool) {
	id, ok := d[host]
	return id, ok
}

func TestHostsOfTenantsOwn(t *testing.T) {
	r := newRig(t, nil, func(c *Config) {
		c.Domains = ownDomains{
			"www.example.com": "shop", "xn--bcher-kva.example": "shop", "gone.example.com": "missing",
			// What is ours stays ours, whatever anybody managed to store.
			"own.test": "shop", "user.test": "shop", "app.test": "shop", "other.app.test": "shop", "a.b.app.test": "shop", "127.0.0.1": "shop",
		}
	})
	r.backends["shop"] = backend(t, func(w http.ResponseWriter, q *http.Request) {
		fmt.Fprint(w, "the shop at ", q.Header.Get("X-Forwarded-Host"))
	})
	r.backends["other"] = backend(t, func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, "the other") })
	for host, want := range map[string]string{
		"www.example.com": "the shop at www.example.com", "WWW.EXAMPLE.com.": "the shop at WWW.EXAMPLE.com.", "other.app.test": "the other",
		"xn--bcher-kva.example": "the shop at xn--bcher-kva.example", "www.example.com:8080": "the shop at www.example.com:8080",
	} {
		if got := r.get(host + "/"); got.StatusCode != 200 || got.body != want {
			t.Errorf("%s: %d %q, want %q", host, got.StatusCode, got.body, want)
		}
	}
	for host, want := range map[string]Reason{
		"example.com": ReasonUnknownHost, "a.www.example.com": ReasonUnknownHost, "gone.example.com": ReasonUnknownApp, "a.b.app.test": ReasonUnknownHost,
	} {
		r.get(host+"/").wantFailure(t, http.StatusNotFound, want)
	}
	for _, host := range []string{"own.test", "app.test"} {
		if got := r.get(host + "/"); got.StatusCode != 200 || got.body == "the shop" {
			t.Errorf("%s: %d %.60q", host, got.StatusCode, got.body)
		}
	}
	if got := r.raw("TRACE / HTTP/1.1\r\nHost: www.example.com\r\nConnection: close\r\n\r\n"); !strings.HasPrefix(got, "HTTP/1.1 405 ") {
		t.Errorf("TRACE: %.60q", got)
	}
	if n := testing.AllocsPerRun(100, func() { r.edge.route(http.MethodGet, "www.example.com", "/") }); n != 0 {
		t.Errorf("%v allocations", n)
	}
	if x := r.edge.Explain(t.Context(), &url.URL{Host: "www.example.com", Path: "/"}); x.Route != "app" || x.ID != "shop" {
		t.Errorf("explained as %+v", x)
	}
	if served, err := r.edge.HostServed(t.Context(), "gone.example.com"); served || err != nil {
		t.Errorf("a name of an app that is not there may have a certificate: %t, %v", served, err)
	}
	if served, sure := r.edge.HostRemembered("www.example.com"); !served || !sure {
		t.Errorf("a name that is served may have none: %t, %t", served, sure)
	}
}

func TestClaims(t *testing.T) {
	hosts := Hosts{
		Own: []string{"own.test"}, AppsDomain: "apps.test", FunctionsDomain: "fn.test", UserHost: "user.test",
		PublicURL: "https://public.test", URLPrefix: "https://short.test/u/", VerifyEmailURL: "https://mail.test/verify",
	}
	for host, want := range map[string]bool{
		"own.test": true, "apps.test": true, "a.apps.test": true, "hello.apps.test": true, "a.b.c.apps.test": true, "fn.test": true, "x.fn.test": true,
		"user.test": true, "public.test": true, "short.test": true, "mail.test": true,
		"www.own.test": false, "myapps.test": false, "example.com": false, "test": false, "x.user.test": false,
	} {
		if got := hosts.Claims(host); got != want {
			t.Errorf("%s: %t", host, got)
		}
	}
	if !(Hosts{AppsDomain: "same.test", FunctionsDomain: "same.test"}).Claims("example.com") {
		t.Error("hosts that cannot be in force give names away")
	}
}
