package edge

import (
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
)

// What follows a request whose end is in doubt may be a part of it in the eyes
// of a proxy in front of us. It must never become a request of its own.
func TestNothingBehindADoubtfulEndIsARequest(t *testing.T) {
	r := newRig(t, func(w http.ResponseWriter, r *http.Request) {
		if strings.Contains(r.URL.Path, "smuggled") {
			t.Error("the platform got the smuggled request")
		}
		_, _ = io.Copy(io.Discard, r.Body) // what is wrong with it is for net/http to notice
	})
	var smuggled atomic.Int32
	r.backends["hello"] = backend(t, func(w http.ResponseWriter, r *http.Request) {
		if strings.Contains(r.URL.Path, "smuggled") {
			smuggled.Add(1)
		}
		if r.URL.Path != "/v1/early" {
			_, _ = io.Copy(io.Discard, r.Body) // it may be cut short
		}
	})
	bodies := map[string]string{
		"content-length and chunked": "HTTP/1.1\r\nContent-Length: 60\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
		"folded chunked":             "HTTP/1.1\r\nContent-Length: 60\r\nTransfer-Encoding:\r\n chunked\r\n\r\n0\r\n\r\n",
		"chunked in HTTP/1.0":        "HTTP/1.0\r\nConnection: keep-alive\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
		"no hexadecimal size":        "HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
		"negative size":              "HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n-1\r\n",
		"size too large":             "HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\nfffffffffffffffff\r\n",
		"no line break after data":   "HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabcXX",
		"chunk extension":            "HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n3;a=\"b\r\nabc\r\n0\r\n\r\n",
	}
	for name, body := range bodies {
		for _, path := range []string{"/v1/read", "/v1/early"} {
			for _, host := range []string{"hello.app.test", "own.test"} {
				t.Run(name+" "+host+path, func(t *testing.T) {
					head, rest, _ := strings.Cut(body, "\r\n")
					answer := r.raw("POST " + path + " " + head + "\r\nHost: " + host + "\r\n" + rest +
						"GET /v1/smuggled HTTP/1.1\r\nHost: " + host + "\r\n\r\n")
					// An answer that had begun stays; the next is that there will be none.
					first, second, more := strings.Cut(strings.TrimPrefix(answer, "HTTP/1."), "HTTP/1.")
					if first == "" || more && !strings.HasPrefix(second, "1 400 ") || strings.Contains(second, "HTTP/1.") {
						t.Errorf("the answers are %q", answer)
					}
				})
			}
		}
	}
	if n := smuggled.Load(); n > 0 {
		t.Errorf("the backend got %d smuggled requests", n)
	}
}

func TestConnectionsAreKeptAfterBodiesOfKnownLength(t *testing.T) {
	r := newRig(t, nil)
	r.backends["hello"] = backend(t, func(w http.ResponseWriter, r *http.Request) { _, _ = io.Copy(w, r.Body) })
	once := "POST /x HTTP/1.1\r\nHost: hello.app.test\r\nContent-Length: 3\r\n\r\nabc"
	last := strings.Replace(once, "\r\n", "\r\nConnection: close\r\n", 1)
	if answer := r.raw(once + once + last); strings.Count(answer, "HTTP/1.1 200 OK") != 3 || strings.Count(answer, "\r\n\r\nabc") != 3 {
		t.Errorf("got %q", answer)
	}
}

func TestClientsThatSendAllBeforeReadingGetTheRefusal(t *testing.T) {
	r := newRig(t, func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusUnauthorized) })
	body := strings.Repeat("a", 8<<20)
	chunked := fmt.Sprintf("Transfer-Encoding: chunked\r\n\r\n%x\r\n%s\r\n0\r\n\r\n", len(body), body)
	declared := fmt.Sprintf("Content-Length: %d\r\n\r\n%s", len(body), body)
	small := fmt.Sprintf("Content-Length: %d\r\n\r\n%s", 3<<20, body[:3<<20])
	for request, want := range map[string]string{
		"POST /v1/a/b HTTP/1.1\r\nHost: own.test\r\n" + declared:  "HTTP/1.1 413",
		"POST /api/a/b HTTP/1.1\r\nHost: own.test\r\n" + declared: "HTTP/1.1 413",
		"POST /v1/a/b HTTP/1.1\r\nHost: own.test\r\n" + small:     "HTTP/1.1 401",
		"POST /v1/a/b HTTP/1.1\r\nHost: own.test\r\n" + chunked:   "HTTP/1.1 401",
	} {
		if answer := r.raw(request); !strings.HasPrefix(answer, want) {
			t.Errorf("%.100q: got %.100q, want %s", request, answer, want)
		}
	}
}
