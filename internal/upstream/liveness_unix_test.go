//go:build unix

package upstream

import (
	"bufio"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"
)

// TestABackendThatHasClosedIsNoticed lets idle connections end in several ways.
// Requests that may not be repeated must not meet them.
func TestABackendThatHasClosedIsNoticed(t *testing.T) {
	for name, end := range map[string]func(net.Conn){
		"closed":          func(c net.Conn) { _ = c.Close() },
		"reset":           func(c net.Conn) { _ = c.(*net.TCPConn).SetLinger(0); _ = c.Close() },
		"half closed":     func(c net.Conn) { _ = c.(*net.TCPConn).CloseWrite() },
		"unasked answer":  func(c net.Conn) { say(c, "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nwrong") },
		"time-out notice": func(c net.Conn) { say(c, "HTTP/1.1 408 Request Timeout\r\nContent-Length: 0\r\n\r\n"); _ = c.Close() },
	} {
		t.Run(name, func(t *testing.T) {
			conns := make(chan net.Conn, 2)
			address := rawBackend(t, func(c net.Conn, in *bufio.Reader) {
				for {
					r, err := http.ReadRequest(in)
					if err != nil {
						return
					}
					_, _ = io.Copy(io.Discard, r.Body)
					say(c, "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nright")
					conns <- c
				}
			})
			transport := newTransport(t, Options{Engine: EngineOwn})
			ask(t, transport, newRequest(t, "GET", address, nil))
			c := transport.own.pool.take(strings.TrimPrefix(address, "http://"))
			end(<-conns)
			waitUntilDead(t, c)
			transport.own.pool.put(c)
			if _, body := ask(t, transport, newRequest(t, "POST", address, strings.NewReader("abc"))); body != "right" {
				t.Errorf("%q", body)
			}
			if s := transport.Stats(); s.Dials != 2 || s.Reused != 0 || s.Retried != 0 || s.Idle != 1 {
				t.Errorf("%+v", s)
			}
		})
	}
}

// waitUntilDead waits until what the backend did has arrived.
func waitUntilDead(t *testing.T, c *conn) {
	t.Helper()
	if err := c.SetReadDeadline(time.Now().Add(patience)); err != nil {
		t.Fatal(err)
	}
	// A read of nothing waits for nothing, so that one byte must go; there is more
	// where there is any.
	if n, err := c.Read(make([]byte, 1)); n == 0 && err == nil {
		t.Fatal("nothing came")
	}
	if err := c.SetReadDeadline(time.Time{}); err != nil {
		t.Fatal(err)
	}
	if c.live.check() {
		t.Fatal("the connection is taken to be alive")
	}
}
