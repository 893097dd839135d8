package edge

import (
	"crypto/tls"
	"errors"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"testing"
	"time"
)

// coversTest is the certificates of these tests: all hosts under .test but one.
func coversTest(host string) bool { return strings.HasSuffix(host, ".test") && host != "bare.fn.test" }

func TestPlainRequestsAreRedirectedWhereTLSLeadsToSomething(t *testing.T) {
	r := newRig(t, nil, func(c *Config) { c.Secure = &Secure{Covers: coversTest, HSTS: true} })
	app := backend(t, func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusNoContent) })
	r.backends["hello"], r.backends["bare"] = app, app
	for _, test := range []struct{ method, address, want string }{
		{"GET", "own.test/", "https://own.test/"},
		{"HEAD", "own.test:8080/u/x?a=b%20c", "https://own.test/u/x?a=b%20c"},
		{"GET", "OWN.test./v1/", "https://own.test/v1/"},
		{"GET", "own.test//evil.example/", "https://own.test//evil.example/"},
		{"POST", "own.test/v1/app/run", "https://own.test/v1/app/run"},
		{"GET", "user.test/?token=x", "https://user.test/?token=x"},
		{"GET", "app.test/", "https://app.test/"},
		{"PUT", "hello.app.test/a%2Fb?c", "https://hello.app.test/a%2Fb?c"},
		{"GET", "hello.fn.test/", "https://hello.fn.test/"},
	} {
		got := r.do(test.method, test.address, "")
		status := http.StatusPermanentRedirect
		if test.method == "GET" || test.method == "HEAD" {
			status = http.StatusMovedPermanently
		}
		if got.StatusCode != status || got.Header.Get("Location") != test.want {
			t.Errorf("%s %s: %d to %q, want %d to %q", test.method, test.address, got.StatusCode, got.Header.Get("Location"), status, test.want)
		}
		if got.Header.Get("Strict-Transport-Security") != "" {
			t.Errorf("%s: HSTS over plain HTTP, which RFC 6797 7.2 forbids", test.address)
		}
	}
	for _, test := range []struct {
		address string
		status  int
		reason  Reason
	}{
		{"missing.app.test/", 404, ReasonUnknownApp},
		{"missing.fn.test/", 404, ReasonUnknownFunction},
		{"nobody.test/", 404, ReasonUnknownHost},
		{"a.b.app.test/", 404, ReasonUnknownHost},
	} {
		got := r.get(test.address)
		got.wantFailure(t, test.status, test.reason)
		if got.Header.Get("Location") != "" {
			t.Errorf("%s is sent to %s, where there is no certificate", test.address, got.Header.Get("Location"))
		}
	}
	if got := r.get("bare.fn.test/"); got.StatusCode != http.StatusNoContent {
		t.Errorf("a host without a certificate: %d, want what its function says", got.StatusCode)
	}
	r.setDown(errors.New("the platform is away"))
	if got := r.get("other.app.test/"); got.StatusCode != http.StatusMovedPermanently {
		t.Errorf("an app that may exist: %d", got.StatusCode)
	}
}

func TestRedirectsLeadToThePortOfThePublicURL(t *testing.T) {
	for port, want := range map[uint16]string{0: "https://own.test/", 443: "https://own.test/", 8443: "https://own.test:8443/"} {
		r := newRig(t, nil, func(c *Config) { c.Secure = &Secure{Port: port, Covers: coversTest} })
		if got := r.get("own.test/"); got.Header.Get("Location") != want {
			t.Errorf("port %d: %s", port, got.Header.Get("Location"))
		}
	}
	if got := (&Secure{}).authority("::1"); got != "[::1]" {
		t.Errorf("an IPv6 address is written %s", got)
	}
}

func TestWhatCameByTLSIsServed(t *testing.T) {
	r := newRig(t, nil, func(c *Config) {
		c.Secure = &Secure{Covers: coversTest, HSTS: true}
		c.TrustedProxies = []netip.Prefix{netip.MustParsePrefix("127.0.0.1/32")}
	})
	r.backends["hello"] = backend(t, func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusNoContent) })
	r.backends["own"] = backend(t, func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Strict-Transport-Security", "max-age=1")
		w.WriteHeader(http.StatusNoContent)
	})
	behind := r.get("hello.app.test/", "X-Forwarded-Proto", "https")
	if behind.StatusCode != http.StatusNoContent || behind.Header.Get("Strict-Transport-Security") != hstsHeader {
		t.Errorf("behind a balancer that speaks TLS: %d %v", behind.StatusCode, behind.Header)
	}
	s := httptest.NewUnstartedServer(r.edge)
	s.EnableHTTP2 = true
	s.StartTLS()
	t.Cleanup(s.Close)
	client := s.Client()
	client.Transport.(*http.Transport).TLSClientConfig = &tls.Config{InsecureSkipVerify: true}
	client.Transport.(*http.Transport).ForceAttemptHTTP2 = true
	for host, want := range map[string]string{"hello.app.test": hstsHeader, "own.app.test": "max-age=1"} {
		req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, s.URL, nil)
		if err != nil {
			t.Fatal(err)
		}
		req.Host = host
		res, err := client.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		res.Body.Close()
		if got := res.Header["Strict-Transport-Security"]; res.StatusCode != http.StatusNoContent || res.ProtoMajor != 2 || len(got) != 1 || got[0] != want {
			t.Errorf("%s: %s %d with %q, want %q", host, res.Proto, res.StatusCode, got, want)
		}
	}
}

func TestChallengesAreAnsweredOnAnyHost(t *testing.T) {
	var asked []string
	r := newRig(t, nil, func(c *Config) {
		c.Secure = &Secure{Covers: coversTest, Challenge: func(w http.ResponseWriter, r *http.Request) bool {
			asked = append(asked, r.Host)
			if !strings.HasSuffix(r.URL.Path, "/ours") {
				return false
			}
			_, _ = w.Write([]byte("proof"))
			return true
		}}
	})
	if got := r.get("nobody.test/.well-known/acme-challenge/ours"); got.StatusCode != 200 || got.body != "proof" {
		t.Errorf("a challenge: %d %s", got.StatusCode, got.body)
	}
	if got := r.get("own.test/.well-known/acme-challenge/theirs"); got.StatusCode != http.StatusMovedPermanently {
		t.Errorf("a challenge that is not ours: %d", got.StatusCode)
	}
	r.get("own.test/other")
	if len(asked) != 2 {
		t.Errorf("asked for %v", asked)
	}
}

func TestWhichHostsAreServedIsAnsweredFromMemoryFirst(t *testing.T) {
	began := time.Now()
	r := newRig(t, nil, func(c *Config) { c.Now = func() time.Time { return began } })
	r.backends["hello"], r.backends["soon"] = Backend{Origin: Remote, URL: *urlOf(t, "http://127.0.0.1:1")}, Backend{}
	for host, want := range map[string]bool{
		"own.test": true, "user.test": true, "app.test": true, "fn.test": true, "nobody.test": false, "a.b.app.test": false, "not a host": false,
	} {
		served, sure := r.edge.HostRemembered(host)
		again, err := r.edge.HostServed(t.Context(), host)
		if served != want || !sure || again != want || err != nil {
			t.Errorf("%s: %v %v, %v %v; want %v", host, served, sure, again, err, want)
		}
	}
	if r.calls != 0 {
		t.Errorf("the platform was asked %d times", r.calls)
	}
	for _, test := range []struct {
		host   string
		served bool
	}{{"hello.app.test", true}, {"soon.fn.test", true}, {"missing.app.test", false}} {
		if _, sure := r.edge.HostRemembered(test.host); sure {
			t.Errorf("%s: nobody was asked yet", test.host)
		}
		if served, err := r.edge.HostServed(t.Context(), test.host); served != test.served || err != nil {
			t.Errorf("%s: %v, %v", test.host, served, err)
		}
		if served, sure := r.edge.HostRemembered(test.host); served != test.served || !sure {
			t.Errorf("%s, afterwards: %v %v", test.host, served, sure)
		}
	}
	r.setDown(errors.New("the platform is away"))
	if _, err := r.edge.HostServed(t.Context(), "other.app.test"); err == nil {
		t.Error("the platform is away, and nobody says so")
	}
	if served, sure := r.edge.HostRemembered("hello.app.test"); !served || !sure {
		t.Error("what was known is forgotten without the platform")
	}
}
