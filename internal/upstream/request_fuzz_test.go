package upstream

import (
	"bufio"
	"bytes"
	"context"
	"io"
	"maps"
	"net"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// written sends a request with our engine and returns what arrived.
func written(t *testing.T, req *http.Request) ([]byte, error) {
	g := &gated{
		script: &script{rest: []byte(head + "Content-Length: 0\r\n\r\n"), step: 4096},
		open:   make(chan struct{}), hungUp: make(chan struct{}),
	}
	var count Counters
	e := newEngine(Options{ContinueTimeout: time.Millisecond}.withDefaults(), func(context.Context, string, string) (net.Conn, error) { return g, nil }, &count)
	defer e.pool.closeIdle()
	res, err := e.RoundTrip(req)
	if g.late.Load() {
		t.Fatalf("%q is not a whole request", g.bytes())
	}
	if err != nil {
		return nil, err
	}
	return g.bytes(), res.Body.Close()
}

// gated answers once a whole request has come, as net/http reads it.
type gated struct {
	*script
	mu     sync.Mutex
	sent   []byte
	once   sync.Once
	open   chan struct{}
	hungUp chan struct{}
	hangUp sync.Once
	late   atomic.Bool
}

func (g *gated) Write(p []byte) (int, error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.sent = append(g.sent, p...)
	r, err := http.ReadRequest(bufio.NewReader(bytes.NewReader(g.sent)))
	if err != nil {
		return len(p), nil
	}
	if _, err := io.Copy(io.Discard, r.Body); err == nil {
		g.once.Do(func() { close(g.open) })
	}
	return len(p), nil
}

func (g *gated) Read(p []byte) (int, error) {
	select {
	case <-g.open:
		return g.script.Read(p)
	case <-g.hungUp:
		return 0, net.ErrClosed
	case <-time.After(patience):
		g.late.Store(true)
		return 0, io.EOF
	}
}

func (g *gated) Close() error {
	g.hangUp.Do(func() { close(g.hungUp) })
	return nil
}

func (g *gated) bytes() []byte {
	g.mu.Lock()
	defer g.mu.Unlock()
	return bytes.Clone(g.sent)
}

// FuzzRequests checks that whatever we write is read as one request, and as the
// one that was asked for; or else that nothing is written.
func FuzzRequests(f *testing.F) {
	f.Add("GET", "http://a.example/path?query", "", "", "X-Name", "value", "", "", false, int8(0))
	f.Add("POST", "http://a.example", "b.example:80", "", "X-Name", "value", "body", "", false, int8(1))
	f.Add("PUT", "http://[fe80::1%25en0]:8080/", "", "/opaque%2F|", "content-length", "5", "body", "X-End", true, int8(2))
	f.Add("GET", "http://a.example/", "a\r\nX: 1", "/ HTTP/1.1\r\nX: 1", "X\r\nY", "1\r\nZ: 2", "", "", false, int8(0))
	f.Add("G T", "http://a.example/", "a b", "//host/path", "transfer-Encoding", "chunked", "5\r\nhello\r\n0\r\n\r\n", "Content-Length", true, int8(3))
	f.Add("DELETE", "http://a.example/%zz", "", "*", "Connection", "close", "", "", true, int8(2))
	f.Add("GET", "http://a.example/", "", "", "user-agent", "x", "GET / HTTP/1.1\r\n\r\n", "X", false, int8(1))
	f.Add("PATCH", "http://a.example/", "", "", "Host", "c.example", "", "", false, int8(1))
	f.Fuzz(func(t *testing.T, method, address, host, opaque, name, value, body, trailer string, chunked bool, how int8) {
		u, err := url.Parse(address)
		if err != nil || u.Scheme != "http" {
			return
		}
		u.Opaque = opaque
		req := &http.Request{
			Method: method, URL: u, Host: host, ProtoMajor: 1, ProtoMinor: 1,
			Header: http.Header{name: {value, value}, "User-Agent": {""}},
		}
		switch how % 4 {
		case 1:
			req.Body, req.ContentLength = io.NopCloser(strings.NewReader(body)), int64(len(body))
		case 2:
			req.Body, req.ContentLength = io.NopCloser(strings.NewReader(body)), -1
		case 3:
			req.Body = io.NopCloser(oneByte{strings.NewReader(body)})
		}
		if chunked && req.Body != nil {
			req.TransferEncoding, req.ContentLength = []string{"chunked"}, -1
			if trailer != "" {
				req.Trailer = http.Header{trailer: {value}}
			}
		}
		target := u.RequestURI()
		if _, err := url.ParseRequestURI(target); err != nil && target != "*" {
			return // sent as it is, and on one line: the backend may refuse it
		}
		raw, err := written(t, req)
		if err != nil {
			return
		}
		compareRequest(t, req, target, body, raw)
	})
}

// oneByte gives one byte at a time.
type oneByte struct{ io.Reader }

func (r oneByte) Read(p []byte) (int, error) { return r.Reader.Read(p[:min(1, len(p))]) }

func compareRequest(t *testing.T, asked *http.Request, target, body string, raw []byte) {
	t.Helper()
	in := bufio.NewReader(bytes.NewReader(raw))
	got, err := http.ReadRequest(in)
	if err != nil {
		t.Fatalf("%q cannot be read: %v", raw, err)
	}
	gotBody, err := io.ReadAll(got.Body)
	if err != nil {
		t.Fatalf("the body of %q cannot be read: %v", raw, err)
	}
	if rest, _ := io.ReadAll(in); len(rest) > 0 {
		t.Fatalf("%q is more than one request", raw)
	}
	if asked.Body == nil {
		body = ""
	}
	method := asked.Method
	if method == "" {
		method = "GET"
	}
	if got.Method != method || got.RequestURI != target || string(gotBody) != body {
		t.Fatalf("%q is %s %s with %q", raw, got.Method, got.RequestURI, gotBody)
	}
	want := make(http.Header)
	for name, values := range asked.Header {
		if key := http.CanonicalHeaderKey(name); !framesMessage(name) && key != "Host" && name != "User-Agent" {
			for _, value := range values {
				want.Add(key, strings.Trim(value, " \t"))
			}
		}
	}
	for _, ours := range []string{"Content-Length", "Trailer"} {
		got.Header.Del(ours)
	}
	// net/http takes it for what it means.
	if want.Get("Pragma") == "no-cache" {
		delete(want, "Cache-Control")
		delete(got.Header, "Cache-Control")
	}
	if diff := cmp.Diff(want, got.Header); diff != "" {
		t.Fatalf("the header differs:\n%s", diff)
	}
	if len(got.Trailer) > 0 || len(asked.Trailer) > 0 {
		wanted := slices.Collect(maps.Keys(asked.Trailer))
		for name, values := range got.Trailer {
			if len(wanted) != 1 || name != http.CanonicalHeaderKey(wanted[0]) || len(values) != 1 || values[0] != strings.Trim(asked.Trailer[wanted[0]][0], " \t") {
				t.Fatalf("the trailer %v became %v", asked.Trailer, got.Trailer)
			}
		}
	}
}
