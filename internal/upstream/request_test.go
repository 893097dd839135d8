package upstream

import (
	"context"
	"io"
	"net"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
)

// TestRequestsThatWouldBeSeveral are refused before anything is written.
func TestRequestsThatWouldBeSeveral(t *testing.T) {
	for name, change := range map[string]func(*http.Request){
		"method with a space":          func(r *http.Request) { r.Method = "GET /x" },
		"method with a line":           func(r *http.Request) { r.Method = "GET\r\n" },
		"CONNECT":                      func(r *http.Request) { r.Method = "CONNECT" },
		"host with a line":             func(r *http.Request) { r.Host = "a\r\nX: 1" },
		"host with a space":            func(r *http.Request) { r.Host = "a b" },
		"no host":                      func(r *http.Request) { r.URL.Host = "" },
		"path with a line":             func(r *http.Request) { r.URL.Opaque = "/a\r\nX: 1" },
		"path with a space":            func(r *http.Request) { r.URL.Opaque = "/a HTTP/1.1" },
		"path with a tab":              func(r *http.Request) { r.URL.Opaque = "/a\tb" },
		"path with DEL":                func(r *http.Request) { r.URL.Opaque = "/a\x7f" },
		"query with a space":           func(r *http.Request) { r.URL.RawQuery = "a b" },
		"query with a line":            func(r *http.Request) { r.URL.RawQuery = "a\nb" },
		"path without a slash":         func(r *http.Request) { r.URL.Opaque = "a" },
		"name with a colon":            func(r *http.Request) { r.Header["X: 1"] = []string{"1"} },
		"name with a line":             func(r *http.Request) { r.Header["X\r\nY"] = []string{"1"} },
		"no name":                      func(r *http.Request) { r.Header[""] = []string{"1"} },
		"value with a line":            func(r *http.Request) { r.Header["X"] = []string{"1\r\nY: 2"} },
		"value with a CR":              func(r *http.Request) { r.Header["X"] = []string{"1\r2"} },
		"value with NUL":               func(r *http.Request) { r.Header["X"] = []string{"\x00"} },
		"User-Agent with a line":       func(r *http.Request) { r.Header["User-Agent"] = []string{"a\nb"} },
		"trailer's name with a line":   func(r *http.Request) { r.Trailer = http.Header{"X\n": nil} },
		"trailer's value with a line":  func(r *http.Request) { r.Trailer = http.Header{"X": {"1\n"}} },
		"length as a trailer":          func(r *http.Request) { r.Trailer = http.Header{"content-length": {"1"}} },
		"no headers":                   func(r *http.Request) { r.Header = nil },
		"a length, but no body at all": func(r *http.Request) { r.Body, r.ContentLength = nil, 5 },
	} {
		t.Run(name, func(t *testing.T) {
			body := &closeCounter{Reader: strings.NewReader("body")}
			req, err := http.NewRequestWithContext(t.Context(), "POST", "http://a.example/", body)
			if err != nil {
				t.Fatal(err)
			}
			req.ContentLength = -1
			change(req)
			dialled := false
			transport := New(Options{Engine: EngineOwn})
			transport.own.dial = func(context.Context, string, string) (net.Conn, error) {
				dialled = true
				return nil, io.ErrUnexpectedEOF
			}
			if _, err := transport.RoundTrip(req); err == nil || dialled {
				t.Errorf("error %v, dialled %v", err, dialled)
			}
			if req.Body != nil && body.closed.Load() != 1 {
				t.Errorf("the body was closed %d times", body.closed.Load())
			}
		})
	}
}

// closeCounter is a body that counts how often it is closed.
type closeCounter struct {
	io.Reader
	closed atomic.Int64
}

func (c *closeCounter) Close() error {
	c.closed.Add(1)
	return nil
}
