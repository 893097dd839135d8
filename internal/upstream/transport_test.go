package upstream

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/m3o/ingress/internal/leaktest"
)

func TestMain(m *testing.M) { leaktest.Main(m) }

// engines are what each behaviour is tested with.
var engines = []Engine{EngineStd, EngineOwn}

// onEachEngine runs a test once with each engine.
func onEachEngine(t *testing.T, test func(t *testing.T, engine Engine)) {
	for _, engine := range engines {
		t.Run(string(engine), func(t *testing.T) { test(t, engine) })
	}
}

// wrapDial lets a test see the connections that a transport makes.
func (t *Transport) wrapDial(wrap func(net.Conn) net.Conn) {
	dial := t.pooled.DialContext
	t.pooled.DialContext = func(ctx context.Context, network, address string) (net.Conn, error) {
		c, err := dial(ctx, network, address)
		if counted, ok := c.(*countingConn); ok {
			counted.Conn = wrap(counted.Conn)
		}
		return c, err
	}
	if t.own == nil {
		return
	}
	own := t.own.dial
	t.own.dial = func(ctx context.Context, network, address string) (net.Conn, error) {
		c, err := own(ctx, network, address)
		if err != nil {
			return nil, err
		}
		return wrap(c), nil
	}
}

// flakyBackend answers the first request of each of its first connections and
// closes them instead of answering the second. It counts what arrives.
type flakyBackend struct {
	listener net.Listener
	stale    atomic.Int64 // connections that will be closed on their second request
	requests atomic.Int64
	conns    atomic.Int64
	bodies   atomic.Int64
	warm     sync.WaitGroup // requests that wait until all have arrived
}

func newFlakyBackend(t testing.TB, stale int) *flakyBackend {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	b := &flakyBackend{listener: listener}
	b.stale.Store(int64(stale))
	b.warm.Add(stale)
	t.Cleanup(func() { _ = listener.Close() })
	go b.accept()
	return b
}

func (b *flakyBackend) accept() {
	for {
		c, err := b.listener.Accept()
		if err != nil {
			return
		}
		b.conns.Add(1)
		go b.serve(c, b.stale.Add(-1) >= 0)
	}
}

func (b *flakyBackend) serve(c net.Conn, stale bool) {
	defer c.Close()
	in := bufio.NewReader(c)
	for n := 0; ; n++ {
		r, err := http.ReadRequest(in)
		if err != nil {
			return
		}
		b.requests.Add(1)
		body, _ := io.ReadAll(r.Body)
		b.bodies.Add(int64(len(body)))
		if stale && n == 1 {
			return
		}
		if stale {
			b.warm.Done()
			b.warm.Wait()
		}
		fmt.Fprint(c, "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
	}
}

func (b *flakyBackend) url() string { return "http://" + b.listener.Addr().String() }

// fill opens as many pooled connections as the backend will close.
func (b *flakyBackend) fill(t *testing.T, transport *Transport, n int) {
	t.Helper()
	var all sync.WaitGroup
	for range n {
		all.Go(func() {
			if err := fetch(t, transport, http.MethodGet, b.url(), nil, nil); err != nil {
				t.Error(err)
			}
		})
	}
	all.Wait()
	if have := b.conns.Load(); have != int64(n) {
		t.Fatalf("%d connections in the pool, want %d", have, n)
	}
	b.requests.Store(0)
	b.bodies.Store(0)
}

func fetch(t *testing.T, rt http.RoundTripper, method, address string, body io.Reader, header http.Header) error {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, method, address, body)
	if err != nil {
		t.Fatal(err)
	}
	req.GetBody = nil // as in a proxy: what a visitor sends cannot be had again
	for name, values := range header {
		req.Header[name] = values
	}
	res, err := rt.RoundTrip(req)
	if err != nil {
		return err
	}
	_, err = io.Copy(io.Discard, res.Body)
	return errors.Join(err, res.Body.Close())
}

// TestARequestIsRepeatedOnceAndOnlyWhenItIsSafe fills the pool with connections
// that the backend closes upon their next request, having read it.
func TestARequestIsRepeatedOnceAndOnlyWhenItIsSafe(t *testing.T) {
	onEachEngine(t, func(t *testing.T, engine Engine) {
		idempotent := http.Header{"Idempotency-Key": {"1"}, "X-Idempotency-Key": {"1"}}
		for _, c := range []struct {
			method, body string
			header       http.Header
			repeated     bool
		}{
			{method: "GET", repeated: true},
			{method: "HEAD", repeated: true},
			{method: "OPTIONS", repeated: true},
			{method: "GET", body: "abc"},
			{method: "GET", header: idempotent, repeated: true},
			{method: "TRACE"},
			{method: "POST"},
			{method: "POST", header: idempotent},
			{method: "POST", header: idempotent, body: "abc"},
			{method: "PUT", body: "abc"},
			{method: "DELETE"},
			{method: "DELETE", header: idempotent},
			{method: "PROPFIND"},
			{method: "GET", header: http.Header{"X-Long": {strings.Repeat("x", 2*longHead)}}, repeated: true},
			{method: "DELETE", header: http.Header{"X-Long": {strings.Repeat("x", 2*longHead)}}},
		} {
			t.Run(fmt.Sprintf("%s %q %d headers", c.method, c.body, len(c.header)), func(t *testing.T) {
				const stale = 3
				b := newFlakyBackend(t, stale)
				transport := New(Options{Engine: engine})
				defer transport.CloseIdleConnections()
				b.fill(t, transport, stale)

				var body io.Reader
				if c.body != "" {
					body = strings.NewReader(c.body)
				}
				err := fetch(t, transport, c.method, b.url(), body, c.header)
				if want := map[bool]int64{false: 1, true: 2}[c.repeated]; b.requests.Load() != want {
					t.Errorf("the backend saw %d requests, want %d", b.requests.Load(), want)
				}
				if (err == nil) != c.repeated {
					t.Errorf("error %v", err)
				}
				// net/http does not always tell.
				if engine == EngineOwn && !c.repeated && !errors.Is(err, ErrStale) {
					t.Errorf("error %v is not ErrStale", err)
				}
			})
		}
	})
}

// TestAnUnwrittenRequestIsRepeatedWhateverItIs closes the pooled connection below
// the transport, so that it can write nothing.
func TestAnUnwrittenRequestIsRepeatedWhateverItIs(t *testing.T) {
	onEachEngine(t, func(t *testing.T, engine Engine) {
		for _, c := range []struct{ method, body string }{
			{"POST", ""}, {"POST", "abc"}, {"PUT", strings.Repeat("x", 100_000)}, {"TRACE", ""}, {"DELETE", ""}, {"GET", ""},
		} {
			t.Run(fmt.Sprintf("%s %d bytes", c.method, len(c.body)), func(t *testing.T) {
				b := newFlakyBackend(t, 0)
				transport := New(Options{Engine: engine})
				defer transport.CloseIdleConnections()
				var broken atomic.Bool
				transport.wrapDial(func(c net.Conn) net.Conn {
					if broken.Load() {
						return c // the connection for the second attempt is whole
					}
					return &unwritable{Conn: c, broken: &broken}
				})
				b.fill(t, transport, 0)
				if err := fetch(t, transport, "GET", b.url(), nil, nil); err != nil {
					t.Fatal(err)
				}
				b.requests.Store(0)
				broken.Store(true)
				retries := 0
				req, err := http.NewRequestWithContext(WithRetryNotice(t.Context(), func() { retries++ }), c.method, b.url(), strings.NewReader(c.body))
				if err != nil {
					t.Fatal(err)
				}
				if req.GetBody = nil; c.body == "" {
					req.Body = nil
				}
				res, err := transport.RoundTrip(req)
				if err != nil {
					t.Fatal(err)
				}
				defer res.Body.Close()
				if b.requests.Load() != 1 || b.bodies.Load() != int64(len(c.body)) || retries != 1 {
					t.Errorf("%d requests with %d bytes after %d retries", b.requests.Load(), b.bodies.Load(), retries)
				}
			})
		}
	})
}

// unwritable is a connection to which nothing can be written once broken.
type unwritable struct {
	net.Conn
	broken *atomic.Bool
}

func (c *unwritable) Write(p []byte) (int, error) {
	if c.broken.Load() {
		return 0, errors.New("broken pipe")
	}
	return c.Conn.Write(p)
}

// TestNewConnectionsAreNotRepeated has a backend hang up on each first request.
func TestNewConnectionsAreNotRepeated(t *testing.T) {
	onEachEngine(t, func(t *testing.T, engine Engine) {
		listener, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		var conns atomic.Int64
		go func() {
			for {
				c, err := listener.Accept()
				if err != nil {
					return
				}
				conns.Add(1)
				_, _ = http.ReadRequest(bufio.NewReader(c))
				_ = c.Close()
			}
		}()
		defer listener.Close()
		transport := New(Options{Engine: engine})
		defer transport.CloseIdleConnections()
		if err := fetch(t, transport, "GET", "http://"+listener.Addr().String(), nil, nil); err == nil {
			t.Error("no error")
		}
		if conns.Load() != 1 {
			t.Errorf("%d connections", conns.Load())
		}
	})
}

func TestAnAnswerThatHasBegunIsNotAskedForAgain(t *testing.T) {
	onEachEngine(t, func(t *testing.T, engine Engine) {
		listener, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		defer listener.Close()
		var requests atomic.Int64
		go func() {
			for {
				c, err := listener.Accept()
				if err != nil {
					return
				}
				go func() {
					defer c.Close()
					in := bufio.NewReader(c)
					for n := 0; ; n++ {
						if _, err := http.ReadRequest(in); err != nil {
							return
						}
						requests.Add(1)
						if n == 1 {
							fmt.Fprint(c, "H")
							return
						}
						fmt.Fprint(c, "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
					}
				}()
			}
		}()
		transport := New(Options{Engine: engine})
		defer transport.CloseIdleConnections()
		address := "http://" + listener.Addr().String()
		if err := fetch(t, transport, "GET", address, nil, nil); err != nil {
			t.Fatal(err)
		}
		if err := fetch(t, transport, "GET", address, nil, nil); err == nil {
			t.Error("no error")
		}
		if requests.Load() != 2 {
			t.Errorf("the backend saw %d requests, want 2", requests.Load())
		}
	})
}

func TestHTTPSBackendsSpeakHTTP2(t *testing.T) {
	onEachEngine(t, func(t *testing.T, engine Engine) {
		backend := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			fmt.Fprint(w, r.Proto, r.Header.Get("Accept-Encoding"))
		}))
		backend.EnableHTTP2 = true
		backend.StartTLS()
		defer backend.Close()
		transport := New(Options{Engine: engine, TLS: backend.Client().Transport.(*http.Transport).TLSClientConfig})
		defer transport.CloseIdleConnections()
		for range 2 {
			req, _ := http.NewRequestWithContext(t.Context(), "GET", backend.URL, nil)
			res, err := transport.RoundTrip(req)
			if err != nil {
				t.Fatal(err)
			}
			body, err := io.ReadAll(res.Body)
			if err != nil || string(body) != "HTTP/2.0" {
				t.Errorf("%q, %v", body, err)
			}
			_ = res.Body.Close()
		}
	})
}

func TestTheEnvironmentNamesNoProxy(t *testing.T) {
	onEachEngine(t, func(t *testing.T, engine Engine) {
		t.Setenv("HTTP_PROXY", "http://127.0.0.1:1")
		if transport := New(Options{Engine: engine}); transport.pooled.Proxy != nil || transport.fresh.Proxy != nil {
			t.Error("a proxy is used")
		}
	})
}

// TestRulesBindEveryConnection registers nothing: the dialer alone must refuse.
func TestRulesBindEveryConnection(t *testing.T) {
	onEachEngine(t, func(t *testing.T, engine Engine) {
		backend := httptest.NewServer(http.NotFoundHandler())
		defer backend.Close()
		own := netip.MustParseAddrPort(backend.Listener.Addr().String())
		for name, c := range map[string]struct {
			rules   *Rules
			allowed bool
		}{
			"none":            {nil, true},
			"public only":     {&Rules{}, false},
			"private allowed": {&Rules{AllowPrivate: true}, true},
			"ourselves":       {&Rules{AllowPrivate: true, Listeners: func() []netip.AddrPort { return []netip.AddrPort{own} }}, false},
			"ourselves on every address": {&Rules{AllowPrivate: true, Listeners: func() []netip.AddrPort {
				return []netip.AddrPort{netip.AddrPortFrom(netip.IPv6Unspecified(), own.Port())}
			}}, false},
		} {
			t.Run(name, func(t *testing.T) {
				transport := New(Options{Engine: engine, Rules: c.rules})
				defer transport.CloseIdleConnections()
				for _, host := range []string{own.Addr().String(), "localhost", "[::ffff:127.0.0.1]"} {
					err := fetch(t, transport, "GET", fmt.Sprintf("http://%s:%d/", host, own.Port()), nil, nil)
					var forbidden *ForbiddenError
					if c.allowed != (err == nil) || c.allowed == errors.As(err, &forbidden) {
						t.Errorf("%s: error %v", host, err)
					}
				}
			})
		}
	})
}
