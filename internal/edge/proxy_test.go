package edge

import (
	"bufio"
	"bytes"
	"cmp"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"net/url"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/m3o/ingress/internal/upstream"
)

// patience is for what comes, however busy the machine is.
const patience = time.Minute

// testKey is the platform's key in these tests.
const testKey = "m3o_platformkey"

// newTransport returns a transport with the engine that INGRESS_TEST_UPSTREAM
// names, so that everything here can be asked of each.
func newTransport(t testing.TB, o upstream.Options) *upstream.Transport {
	o.Engine = cmp.Or(o.Engine, upstream.Engine(os.Getenv("INGRESS_TEST_UPSTREAM")))
	transport := upstream.New(o)
	t.Cleanup(transport.CloseIdleConnections)
	return transport
}

// engines are all that a transport may have.
func engines() []upstream.Engine { return []upstream.Engine{upstream.EngineStd, upstream.EngineOwn} }

// newTestProxy returns a proxy over a real transport, changed by the options.
func newTestProxy(t testing.TB, options ...func(*proxyConfig)) *proxy {
	transport := newTransport(t, upstream.Options{})
	c := proxyConfig{
		Transport:     transport,
		Registered:    transport,
		TenantDomains: func() []string { return []string{"app.example.com", "fn.example.net"} },
		IsPlatformKey: func(s string) bool { return s == testKey },
	}
	for _, option := range options {
		option(&c)
	}
	return newProxy(c)
}

// newFront returns a server whose every request takes the handler. It renders
// failures barely, as errors.go does at length.
func newFront(t testing.TB, serve handler) *httptest.Server {
	front := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		expectTrailers(r) // this and the record are the chain's work
		r = withRecord(r, &record{journey: newForwarded(nil).journey(r)})
		if f := serve(w, r); f != nil {
			w.Header().Set("X-Ingress-Error", string(f.reason))
			w.WriteHeader(f.status)
		}
	}))
	front.Config.ErrorLog = slog.NewLogLogger(slog.DiscardHandler, slog.LevelError)
	front.Start()
	t.Cleanup(front.Close)
	return front
}

// newAppFront returns a front for one backend.
func newAppFront(t testing.TB, p *proxy, b Backend) *httptest.Server {
	return newFront(t, func(w http.ResponseWriter, r *http.Request) *failure {
		return p.serve(w, r, target{Backend: b})
	})
}

func newBackend(t testing.TB, h http.HandlerFunc) *httptest.Server {
	backend := httptest.NewUnstartedServer(h)
	backend.Config.ErrorLog = slog.NewLogLogger(slog.DiscardHandler, slog.LevelError)
	backend.Start()
	t.Cleanup(backend.Close)
	return backend
}

func parseBackend(t testing.TB, s string) url.URL {
	t.Helper()
	u, err := url.Parse(s)
	if err != nil {
		t.Fatal(err)
	}
	return *u
}

func preserving(t testing.TB, address string) Backend {
	return Backend{URL: parseBackend(t, address), PreserveHost: true}
}

// rawBackend accepts connections and gives each to serve in a goroutine of its own.
func rawBackend(t testing.TB, serve func(c net.Conn, in *bufio.Reader)) string {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = listener.Close() })
	go func() {
		for {
			c, err := listener.Accept()
			if err != nil {
				return
			}
			go func() {
				defer c.Close()
				serve(c, bufio.NewReader(c))
			}()
		}
	}()
	return listener.Addr().String()
}

// dial opens a connection that cannot block a test for ever.
func dial(t testing.TB, address string) net.Conn {
	t.Helper()
	c, err := net.Dial("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	if err := c.SetDeadline(time.Now().Add(patience)); err != nil {
		t.Fatal(err)
	}
	return c
}

// listenAddress returns the host and port of a test server.
func listenAddress(s *httptest.Server) string { return s.Listener.Addr().String() }

func TestASiteWithoutAProcessSeesARequestLikeAProcess(t *testing.T) {
	var header http.Header
	site := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { header = r.Header })
	p := newTestProxy(t)
	front := newFront(t, func(w http.ResponseWriter, r *http.Request) *failure {
		return p.serve(w, r, target{Backend: Backend{Origin: Managed}, Lease: &Lease{Handler: site}})
	})
	exchange(t, listenAddress(front), "GET / HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer "+testKey+"\r\nX-Forwarded-For: 9.9.9.9\r\n\r\n")
	if header.Get("Authorization") != "" || header.Get("X-Forwarded-For") != "127.0.0.1" {
		t.Errorf("the site saw %v", header)
	}
}

// brokenSite has no folder.
type brokenSite struct{ http.Handler }

func (brokenSite) TryServe(http.ResponseWriter, *http.Request) error {
	return errors.New("no such folder")
}

func TestASiteThatCannotBeReadIsNotTakenForItsAnswer(t *testing.T) {
	var got *failure
	p := newTestProxy(t)
	front := newFront(t, func(w http.ResponseWriter, r *http.Request) *failure {
		got = p.serve(w, r, target{Backend: Backend{Origin: Managed}, Lease: &Lease{Handler: brokenSite{}}})
		return got
	})
	g := exchange(t, listenAddress(front), "GET / HTTP/1.1\r\nHost: a\r\n\r\n")
	if g.Status != 500 || got == nil || got.reason != ReasonInternal || got.cause == nil || strings.Contains(got.message, "no such folder") {
		t.Errorf("status %d, %+v", g.Status, got)
	}
}

func TestAManagedBackendIsReachedByItsLeaseAlone(t *testing.T) {
	var asked *http.Request
	lease := &Lease{
		Transport: roundTripper(func(r *http.Request) (*http.Response, error) {
			asked = r
			return nil, errors.New("nobody home")
		}),
		Release: func() {},
	}
	p := newTestProxy(t)
	front := newFront(t, func(w http.ResponseWriter, r *http.Request) *failure {
		return p.serve(w, r, target{Backend: Backend{Key: "k", Origin: Managed}, Lease: lease})
	})
	g := exchange(t, listenAddress(front), "GET /a?b HTTP/1.1\r\nHost: shop.app.example.com:8080\r\n\r\n")
	if g.Status != 502 || asked == nil || asked.Host != "shop.app.example.com:8080" || asked.URL.String() != "http://managed.invalid/a?b" {
		t.Errorf("status %d, request %+v", g.Status, asked)
	}
}

type roundTripper func(*http.Request) (*http.Response, error)

func (f roundTripper) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }

func TestOurKeysAndForeignCookiesStop(t *testing.T) {
	var header http.Header
	backend := newBackend(t, func(w http.ResponseWriter, r *http.Request) {
		header = r.Header
		w.Header().Set("Set-Cookie", "a=1; Domain=app.example.com; Secure")
		w.WriteHeader(http.StatusEarlyHints)
		w.Header().Add("Set-Cookie", "b=2; domain=.Example.COM.")
	})
	front := newAppFront(t, newTestProxy(t), preserving(t, backend.URL))
	g := exchange(t, listenAddress(front), "GET / HTTP/1.1\r\nHost: a\r\nAuthorization: bearer "+testKey+"\r\nSec-WebSocket-Protocol: a, "+testKey+"\r\n\r\n")
	if header.Get("Authorization") != "" || header.Get("Sec-WebSocket-Protocol") != "a" {
		t.Errorf("the backend saw %v", header)
	}
	if want := []string{"a=1; Secure", "b=2"}; !slices.Equal(g.Header["Set-Cookie"], want) {
		t.Errorf("cookies %q, want %q", g.Header["Set-Cookie"], want)
	}
	if len(g.Interim) != 1 || strings.Contains(strings.ToLower(g.Interim[0]), "domain") {
		t.Errorf("interim answer %q", g.Interim)
	}
}

func TestBackendsSeeWhoCame(t *testing.T) {
	backend := newBackend(t, func(w http.ResponseWriter, r *http.Request) { _ = json.NewEncoder(w).Encode(r.Header) })
	const request = "GET / HTTP/1.1\r\nHost: shop.app.test\r\nX-Forwarded-For: 9.9.9.9, 203.0.113.7\r\nX-Forwarded-Proto: https\r\n" +
		"X-Forwarded-Host: www.example.org\r\nX-Forwarded-Port: 443\r\nForwarded: for=8.8.8.8\r\n\r\n"
	for name, c := range map[string]struct {
		trusted []netip.Prefix
		want    map[string]string
	}{
		"from anyone": {nil, map[string]string{
			"X-Forwarded-For": "127.0.0.1", "X-Forwarded-Host": "shop.app.test", "X-Forwarded-Proto": "http", "X-Forwarded-Port": "",
			"Forwarded": `for=127.0.0.1;host="shop.app.test";proto=http`,
		}},
		"from a trusted proxy": {[]netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}, map[string]string{
			"X-Forwarded-For": "9.9.9.9, 203.0.113.7, 127.0.0.1", "X-Forwarded-Host": "www.example.org", "X-Forwarded-Proto": "https", "X-Forwarded-Port": "443",
			"Forwarded": `for=9.9.9.9, for=203.0.113.7;host="www.example.org";proto=https, for=127.0.0.1`,
		}},
	} {
		t.Run(name, func(t *testing.T) {
			r := newRig(t, nil, func(config *Config) { config.TrustedProxies = c.trusted })
			r.backends["shop"] = preserving(t, backend.URL)
			g := exchange(t, r.addr, request)
			var header http.Header
			if err := json.Unmarshal([]byte(g.Body), &header); err != nil {
				t.Fatal(err)
			}
			for name, want := range c.want {
				if have := strings.Join(header[name], "; "); have != want {
					t.Errorf("%s: %q, want %q", name, have, want)
				}
			}
		})
	}
}

func BenchmarkProxy1KiB(b *testing.B) {
	body := bytes.Repeat([]byte("x"), 1024)
	backend := newBackend(b, func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/plain")
		_, _ = w.Write(body)
	})
	front := newAppFront(b, newTestProxy(b), preserving(b, backend.URL))
	for name, address := range map[string]string{"direct": backend.URL, "proxied": front.URL} {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			b.SetBytes(int64(len(body)))
			client := front.Client()
			for b.Loop() {
				res, err := client.Get(address)
				if err != nil {
					b.Fatal(err)
				}
				if n, err := io.Copy(io.Discard, res.Body); n != int64(len(body)) || err != nil {
					b.Fatal(n, err)
				}
				_ = res.Body.Close()
			}
		})
	}
}
