package edge

import (
	"context"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/m3o/ingress/internal/api"
	"github.com/m3o/ingress/internal/logtest"
	"github.com/m3o/ingress/internal/upstream"
)

// The hosts of most tests: apps under app.test, functions under fn.test.
var testHosts = Hosts{
	Own: []string{"own.test"}, AppsDomain: "app.test", FunctionsDomain: "fn.test", UserHost: "user.test",
}

// platformFake answers resolves from maps and fails the way the platform does.
type platformFake struct {
	mu       sync.Mutex
	backends map[string]Backend
	links    map[string]string
	tokens   map[string]Redirects
	refused  map[string]Redirects // known, but not good any more
	down     error
	calls    int
	hits     []string
	verified []string
}

func newPlatformFake() *platformFake {
	return &platformFake{
		backends: map[string]Backend{}, links: map[string]string{}, tokens: map[string]Redirects{}, refused: map[string]Redirects{},
	}
}

func (p *platformFake) Resolve(_ context.Context, id string) (Backend, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.calls++
	if p.down != nil {
		return Backend{}, p.down
	}
	b, ok := p.backends[id]
	if !ok {
		return b, api.NotFound("app.resolve")
	}
	return b, nil
}

func (p *platformFake) ResolveLink(_ context.Context, id string) (string, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.calls++
	if p.down != nil {
		return "", p.down
	}
	to, ok := p.links[id]
	if !ok {
		return "", api.NotFound("url.resolve")
	}
	return to, nil
}

func (p *platformFake) VerifyEmail(_ context.Context, token string) (Redirects, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.down != nil {
		return Redirects{}, p.down
	}
	if stored, ok := p.tokens[token]; ok {
		p.verified = append(p.verified, token)
		return stored, nil
	}
	return p.refused[token], api.BadRequest("user.verifytoken", "invalid token")
}

func (p *platformFake) Hit(id string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.hits = append(p.hits, id)
}

// counts returns the hits and the verified tokens so far.
func (p *platformFake) counts() (hits, verified int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return len(p.hits), len(p.verified)
}

func (p *platformFake) setDown(err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.down = err
}

// rig is a data plane behind a real listener.
type rig struct {
	*platformFake
	t      *testing.T
	edge   *Edge
	addr   string
	log    *logtest.Buffer
	client *http.Client
}

// newRig starts a data plane whose platform API is the given handler; change may
// alter its configuration.
func newRig(t *testing.T, v1 http.HandlerFunc, change ...func(*Config)) *rig {
	t.Helper()
	fake := newPlatformFake()
	log := &logtest.Buffer{}
	if v1 == nil {
		v1 = func(w http.ResponseWriter, r *http.Request) {
			http.Error(w, "no platform in this test", http.StatusTeapot)
		}
	}
	transport := newTransport(t, upstream.Options{})
	config := Config{
		Apps: fake, Functions: fake, Links: fake, Hits: fake, Verifier: fake,
		Platform: v1, Hosts: testHosts, Transport: transport,
		Logger: slog.New(slog.NewJSONHandler(log, nil)),
	}
	for _, c := range change {
		c(&config)
	}
	e, err := New(config)
	if err != nil {
		t.Fatal(err)
	}
	r := &rig{platformFake: fake, t: t, edge: e, log: log}
	r.addr = serve(t, e)
	r.client = clientOf(t, r.addr)
	r.client.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	r.client.Timeout = 2 * patience // hundreds of requests may be under way
	return r
}

// serve starts a Server for e that ends with the test, and returns its address.
func serve(t testing.TB, e *Edge) string {
	t.Helper()
	t.Cleanup(e.Close)
	l := loopback(t)
	serveOn(t, e, l)
	return l.Addr().String()
}

// serveOn has a Server for e on a listener until the test ends.
func serveOn(t testing.TB, e *Edge, l net.Listener) {
	s := NewServer(e)
	ended := make(chan error, 1)
	go func() { ended <- s.Serve(l) }()
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), patience)
		defer cancel()
		if err := s.Shutdown(ctx); err != nil {
			t.Errorf("shutdown: %v", err)
		}
		if err := <-ended; err != nil {
			t.Errorf("serve: %v", err)
		}
	})
}

// loopback listens at a free port.
func loopback(t testing.TB) net.Listener {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	return l
}

// clientOf returns a client whose URLs may name any host: all are at an address.
func clientOf(t testing.TB, address string) *http.Client {
	transport := &http.Transport{DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, "tcp", address)
	}}
	t.Cleanup(transport.CloseIdleConnections)
	return &http.Client{Transport: transport}
}

// reply is an answer that has been read to its end.
type reply struct {
	*http.Response
	body string
}

// do sends a request; address is host and path, such as own.test/u/x.
func (r *rig) do(method, address, body string, header ...string) reply {
	r.t.Helper()
	var reader io.Reader
	if body != "" {
		reader = strings.NewReader(body)
	}
	req, err := http.NewRequestWithContext(r.t.Context(), method, "http://"+address, reader)
	if err != nil {
		r.t.Fatal(err)
	}
	for i := 0; i < len(header); i += 2 {
		req.Header.Set(header[i], header[i+1])
	}
	return r.send(req)
}

func (r *rig) send(req *http.Request) reply {
	r.t.Helper()
	res, err := r.client.Do(req)
	if err != nil {
		r.t.Fatal(err)
	}
	defer res.Body.Close()
	content, err := io.ReadAll(res.Body)
	if err != nil {
		r.t.Fatal(err)
	}
	return reply{res, string(content)}
}

// get is do with GET.
func (r *rig) get(address string, header ...string) reply {
	r.t.Helper()
	return r.do(http.MethodGet, address, "", header...)
}

// raw sends bytes no client of net/http would and returns the whole answer.
func (r *rig) raw(request string) string {
	r.t.Helper()
	conn, err := net.Dial("tcp", r.addr)
	if err != nil {
		r.t.Fatal(err)
	}
	defer conn.Close()
	if err := conn.SetDeadline(time.Now().Add(patience)); err != nil {
		r.t.Fatal(err)
	}
	if _, err := io.WriteString(conn, request); err != nil {
		r.t.Fatal(err)
	}
	answer, _ := io.ReadAll(conn) // the server may reset the connection after its answer
	return string(answer)
}

// wantFailure checks an answer of the ingress itself.
func (r reply) wantFailure(t *testing.T, status int, reason Reason) {
	t.Helper()
	if r.StatusCode != status || r.Header.Get(errorHeader) != string(reason) {
		t.Errorf("got %d %q, want %d %q; body %q", r.StatusCode, r.Header.Get(errorHeader), status, reason, r.body)
	}
	if r.Header.Get("Cache-Control") != "no-store" {
		t.Errorf("a failure may be cached: %v", r.Header)
	}
}

// backend starts a real backend and returns the Backend that leads to it.
func backend(t *testing.T, h http.HandlerFunc) Backend {
	t.Helper()
	s := httptest.NewServer(h)
	t.Cleanup(s.Close)
	u, err := url.Parse(s.URL)
	if err != nil {
		t.Fatal(err)
	}
	return Backend{Key: s.URL, URL: *u, Origin: Remote}
}

func urlOf(t testing.TB, s string) *url.URL {
	t.Helper()
	u, err := url.Parse(s)
	if err != nil {
		t.Fatal(err)
	}
	return u
}

// eventually waits for what another goroutine does after the answer is out.
func eventually(t *testing.T, what string, condition func() bool) {
	t.Helper()
	timeout := time.After(patience)
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	for !condition() {
		select {
		case <-tick.C:
		case <-timeout:
			t.Fatalf("still not: %s", what)
		}
	}
}
