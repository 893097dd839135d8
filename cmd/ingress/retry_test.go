package main_test

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
)

// tiredBackend answers the first request of its first connection and, having read
// the second, closes it, as a backend does whose keep-alive ends just then. On
// other connections it answers everything.
type tiredBackend struct {
	listener net.Listener
	conns    atomic.Int32
	requests atomic.Int32 // whole ones, the first left out
}

func newTiredBackend(t *testing.T, tired int32) *tiredBackend {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	b := &tiredBackend{listener: listener}
	t.Cleanup(func() { _ = listener.Close() })
	go func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			go b.serve(conn, b.conns.Add(1) <= tired)
		}
	}()
	return b
}

func (b *tiredBackend) serve(conn net.Conn, tired bool) {
	defer conn.Close()
	in := bufio.NewReader(conn)
	for {
		r, err := http.ReadRequest(in)
		if err != nil {
			return
		}
		if _, err := io.Copy(io.Discard, r.Body); err != nil {
			return
		}
		if r.URL.Path != "/first" {
			if b.requests.Add(1); tired {
				return
			}
		}
		fmt.Fprint(conn, "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
	}
}

// first makes the first request to an app, and waits until it is over for the program:
// the whole answer may be here before the connection to the backend is free for the next
// request, which would get another one.
func (i *ingress) first(app string) {
	i.t.Helper()
	host := app + ".app.localhost"
	i.get("http://" + host + "/first")
	i.await("the first request in the log", func() bool {
		_, log := i.output()
		return strings.Contains(log, `"host":"`+host+`","path":"/first"`)
	})
}

// TestRetriesOfTheWholeProgram speaks DESIGN.md 9: once, and only what is safe.
func TestRetriesOfTheWholeProgram(t *testing.T) {
	i := startIngress(t)
	retries := 0
	for n, row := range []struct {
		method, body string
		headers      []string
		repeated     bool
	}{
		{method: "GET", repeated: true},
		{method: "HEAD", repeated: true},
		{method: "OPTIONS", repeated: true},
		{method: "GET", body: "abc"},
		{method: "POST"},
		{method: "POST", body: "abc"},
		{method: "POST", body: "abc", headers: []string{"Idempotency-Key", "1", "X-Idempotency-Key", "1"}},
		{method: "PUT", body: "abc"},
		{method: "DELETE"},
		{method: "PROPFIND"},
	} {
		b := newTiredBackend(t, 1)
		app := fmt.Sprintf("app%d", n)
		i.mustCall("app/run", fmt.Sprintf(`{"name":%q,"backend":"http://%s"}`, app, b.listener.Addr()))
		i.first(app)
		a := i.do(row.method, "http://"+app+".app.localhost/", row.headers, row.body)
		want := answer{status: http.StatusBadGateway}
		sent := int32(1)
		if row.repeated {
			want.status, sent = http.StatusOK, 2
			retries++
		}
		if a.status != want.status || b.requests.Load() != sent {
			t.Errorf("%s %q: %d after %d requests, want %d after %d", row.method, row.body, a.status, b.requests.Load(), want.status, sent)
		}
		if reason := a.header.Get("X-Ingress-Error"); (reason == "") != row.repeated {
			t.Errorf("%s %q: the reason is %q", row.method, row.body, reason)
		}
	}
	// A second connection that ends in the same way is the end of it.
	b := newTiredBackend(t, 2)
	i.mustCall("app/run", fmt.Sprintf(`{"name":"worn","backend":"http://%s"}`, b.listener.Addr()))
	i.first("worn")
	if a := i.get("http://worn.app.localhost/"); a.status != http.StatusBadGateway || b.requests.Load() != 2 || b.conns.Load() != 2 {
		t.Errorf("twice in vain: %d after %d requests on %d connections", a.status, b.requests.Load(), b.conns.Load())
	}
	retries++
	i.await("retries that are counted", func() bool { return i.figure(`ingress_backend_retries_total{route="app"}`) == float64(retries) })
	i.await("retries in the log", func() bool {
		_, log := i.output()
		return strings.Count(log, `"retried":true`) == retries
	})
}
