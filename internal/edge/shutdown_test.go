package edge

import (
	"bufio"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"sync"
	"testing"
	"time"
)

// ending is a server that is shut down while its visitors are at something.
type ending struct {
	*rig
	server  *Server
	address string
	trust   *tls.Config
	served  chan error
}

// newEnding serves an app whose answers are "hello", under TLS or in the clear.
func newEnding(t *testing.T, secure bool, wait time.Duration) *ending {
	t.Helper()
	r := newRig(t, nil, func(c *Config) { c.Limits.ReadHeader = wait })
	r.backends["hello"] = backend(t, func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		fmt.Fprint(w, "hello")
	})
	e := &ending{rig: r, server: NewServer(r.edge), served: make(chan error, 1)}
	l := loopback(t)
	e.address = l.Addr().String()
	if secure {
		var identity tls.Certificate
		identity, e.trust = selfSigned(t)
		l = secured(l, identity)
	}
	go func() { e.served <- e.server.Serve(l) }()
	return e
}

// end ends the server, and returns when it takes no connections any more. ended
// tells how it went.
func (e *ending) end(how func(*Server, context.Context) error) (ended <-chan error) {
	e.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	done := make(chan error, 1)
	go func() {
		defer cancel()
		done <- errors.Join(how(e.server, ctx), <-e.served)
	}()
	eventually(e.t, "the listener to be closed", func() bool {
		c, err := net.Dial("tcp", e.address)
		if err == nil {
			_ = c.Close()
		}
		return err != nil
	})
	return done
}

// posts sends a request, which must be answered, and reports whether the answer
// says that it is the last.
func posts(t *testing.T, c net.Conn) (last bool) {
	t.Helper()
	_, err := io.WriteString(c, "POST / HTTP/1.1\r\nHost: hello.app.test\r\nContent-Length: 2\r\n\r\n{}")
	if err != nil {
		t.Fatal(err)
	}
	res, err := http.ReadResponse(bufio.NewReader(c), nil)
	if err != nil {
		t.Fatalf("not answered: %v", err)
	}
	defer res.Body.Close()
	if body, err := io.ReadAll(res.Body); err != nil || string(body) != "hello" {
		t.Errorf("got %d %q, %v", res.StatusCode, body, err)
	}
	return res.Close
}

func TestWhoCameBeforeTheEndIsAnswered(t *testing.T) {
	for name, how := range map[string]func(*Server, context.Context) error{"shutdown": (*Server).Shutdown, "retire": (*Server).Retire} {
		t.Run(name+" before the first byte", func(t *testing.T) {
			e := newEnding(t, false, time.Minute)
			c := dial(t, e.address)
			eventually(t, "the connection to be counted", func() bool { return e.server.edge.conns.count(connNew) == 1 })
			ended := e.end(how)
			if !posts(t, c) {
				t.Error("the answer does not say that it is the last")
			}
			if err := <-ended; err != nil {
				t.Error(err)
			}
		})
		t.Run(name+" during the handshake", func(t *testing.T) {
			e := newEnding(t, true, time.Minute)
			held := &heldConn{Conn: dial(t, e.address), holds: make(chan struct{}), goOn: make(chan struct{})}
			c := tls.Client(held, e.trust)
			agreed := make(chan error, 1)
			go func() { agreed <- c.HandshakeContext(t.Context()) }()
			<-held.holds
			ended := e.end(how)
			close(held.goOn)
			if err := <-agreed; err != nil {
				t.Fatal(err)
			}
			if !posts(t, c) {
				t.Error("the answer does not say that it is the last")
			}
			if err := <-ended; err != nil {
				t.Error(err)
			}
		})
	}
}

// heldConn holds all after the first write, which is a TLS client's hello.
type heldConn struct {
	net.Conn
	writes int
	once   sync.Once
	holds  chan struct{}
	goOn   chan struct{}
}

func (c *heldConn) Write(p []byte) (int, error) {
	if c.writes++; c.writes > 1 {
		c.once.Do(func() { close(c.holds) })
		<-c.goOn
	}
	return c.Conn.Write(p)
}

// A connection that rests is closed by a shutdown. One that retires answers another
// request on it first.
func TestConnectionsAtRestGetOneMoreAnswerWhenAnotherHasTakenOver(t *testing.T) {
	e := newEnding(t, false, time.Minute)
	c := dial(t, e.address)
	if posts(t, c) {
		t.Error("the connection is closed after its first request")
	}
	ended := e.end((*Server).Retire)
	if !posts(t, c) {
		t.Error("the answer does not say that it is the last")
	}
	if _, err := c.Read(make([]byte, 1)); !errors.Is(err, io.EOF) {
		t.Errorf("afterwards: %v", err)
	}
	if err := <-ended; err != nil {
		t.Error(err)
	}
}

// Who sends nothing does not keep a server from ending.
func TestTheSilentKeepNoServer(t *testing.T) {
	for name, how := range map[string]func(*Server, context.Context) error{"shutdown": (*Server).Shutdown, "retire": (*Server).Retire} {
		t.Run(name, func(t *testing.T) {
			e := newEnding(t, true, 3*time.Second) // for handshakes, too
			rests := tls.Client(dial(t, e.address), e.trust)
			posts(t, rests)
			dial(t, e.address) // no hello
			agreed := tls.Client(dial(t, e.address), e.trust)
			if err := agreed.HandshakeContext(t.Context()); err != nil {
				t.Fatal(err)
			}
			if err := <-e.end(how); err != nil {
				t.Error(err)
			}
			if _, err := rests.Read(make([]byte, 1)); err == nil {
				t.Error("the connection at rest is open")
			}
		})
	}
}
