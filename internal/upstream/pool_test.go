package upstream

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"
)

// pair is a connection for the pool, of which the test sees the other end.
func pair(t *testing.T, key string) (*conn, net.Conn) {
	ours, other := net.Pipe()
	t.Cleanup(func() { _ = ours.Close(); _ = other.Close() })
	return newConn(ours, key, 0), other
}

// isClosed reports whether the other side of a pipe is closed.
func isClosed(c net.Conn) bool {
	_ = c.SetReadDeadline(time.Now().Add(-time.Second))
	_, err := c.Read(make([]byte, 1))
	return err == io.EOF
}

func TestTheConnectionUsedLastIsTakenFirst(t *testing.T) {
	p := newPool(10, 10, time.Hour)
	defer p.closeIdle()
	var conns []*conn
	for range 3 {
		c, _ := pair(t, "a")
		p.put(c)
		conns = append(conns, c)
	}
	other, _ := pair(t, "b")
	p.put(other)
	for i := range 3 {
		if c := p.take("a"); c != conns[2-i] {
			t.Errorf("connection %d is not the one used last", i)
		}
	}
	if c := p.take("a"); c != nil || p.size() != 1 || p.take("b") != other || p.take("c") != nil {
		t.Error("the pool gave what it should not have")
	}
}

func TestThePoolIsBounded(t *testing.T) {
	p := newPool(2, 5, time.Hour)
	defer p.closeIdle()
	others := map[string][]net.Conn{}
	for _, key := range []string{"a", "a", "a", "b", "b", "c", "c"} {
		c, other := pair(t, key)
		others[key] = append(others[key], other)
		p.put(c)
	}
	// The oldest of a goes when a has three, the next when there are six in all.
	want := "a0 closed, a1 closed, a2, b0, b1, c0, c1"
	var got []string
	for _, key := range []string{"a", "b", "c"} {
		for i, other := range others[key] {
			state := fmt.Sprint(key, i)
			if isClosed(other) {
				state += " closed"
			}
			got = append(got, state)
		}
	}
	if strings.Join(got, ", ") != want || p.size() != 5 {
		t.Errorf("%v, want %s; size %d", got, want, p.size())
	}
	if p.take("a") == nil || p.take("a") != nil {
		t.Error("a has not one connection")
	}
}

func TestIdleConnectionsAreClosedInTime(t *testing.T) {
	onEachEngine(t, func(t *testing.T, engine Engine) {
		gone := make(chan error, 2)
		address := rawBackend(t, func(c net.Conn, in *bufio.Reader) {
			for {
				if _, err := http.ReadRequest(in); err != nil {
					gone <- err
					return
				}
				say(c, "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
			}
		})
		transport := newTransport(t, Options{Engine: engine, IdleTimeout: 20 * time.Millisecond})
		for range 2 {
			ask(t, transport, newRequest(t, "GET", address, nil))
			within(t, "the end of the connection", gone)
		}
		if s := transport.Stats(); s.Idle != 0 || s.Reused != 0 || s.Dials != 2 {
			t.Errorf("%+v", s)
		}
	})
}

// TestThePoolForgets checks that what has gone leaves nothing behind.
func TestThePoolForgets(t *testing.T) {
	p := newPool(2, 5, time.Hour)
	for i := range 100 {
		c, _ := pair(t, fmt.Sprint(i))
		p.put(c)
		if got := p.take(fmt.Sprint(i)); got != c {
			t.Fatal("not the connection")
		}
	}
	c, other := pair(t, "x")
	p.put(c)
	for _, old := range p.expired(time.Now().Add(2 * time.Hour)) {
		old.discard()
	}
	if !isClosed(other) || len(p.idle) != 0 || p.oldest != nil || p.newest != nil || p.armed {
		t.Errorf("%d backends are remembered", len(p.idle))
	}
	if p.take("x") != nil {
		t.Error("an old connection is used")
	}
}

func TestCloseIdleConnections(t *testing.T) {
	gone := make(chan struct{}, 1)
	address := rawBackend(t, func(c net.Conn, in *bufio.Reader) {
		for {
			r, err := http.ReadRequest(in)
			if err != nil {
				gone <- struct{}{}
				return
			}
			if r.URL.Path == "/body" {
				say(c, "%s%x\r\n%s\r\n0\r\n\r\n", chunkedHead, 100_000, strings.Repeat("x", 100_000))
				continue
			}
			say(c, "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
		}
	})
	onEachEngine(t, func(t *testing.T, engine Engine) {
		transport := newTransport(t, Options{Engine: engine})
		ask(t, transport, newRequest(t, "GET", address, nil))
		ask(t, transport, newRequest(t, "GET", address, nil))
		if s := transport.Stats(); s.Dials != 1 || s.Reused != 1 {
			t.Errorf("%+v", s)
		}
		transport.CloseIdleConnections()
		within(t, "the end of the connection", gone)
		ask(t, transport, newRequest(t, "GET", address, nil))
		res, err := transport.RoundTrip(newRequest(t, "GET", address+"/body", nil))
		if err != nil {
			t.Fatal(err)
		}
		transport.CloseIdleConnections()
		if _, err := io.Copy(io.Discard, res.Body); err != nil {
			t.Error(err)
		}
		_ = res.Body.Close()
		within(t, "the end of the connection that was in use", gone)
	})
}

// TestARequestWhoseBodyHasNotComeIsRepeated has a reused connection end while
// nothing could be written to it, because the visitor was slow.
func TestARequestWhoseBodyHasNotComeIsRepeated(t *testing.T) {
	e := &envelope{method: "POST", body: true, length: 3}
	body, visitor := io.Pipe()
	defer visitor.Close()
	s := &sender{envelope: e, body: &requestBody{ReadCloser: body}, sent: func() {}, pools: new(bufferPools), done: make(chan struct{})}
	s.buffer, s.change.L = s.pools.getBody(), &s.mu
	s.head = append(s.buffer[:0:joinRoom], "POST / HTTP/1.1\r\n"...)
	first, _ := pair(t, "a")
	s.flush = time.AfterFunc(time.Hour, s.flushHead) // as if the machine were very fast
	s.conn = first
	go s.run()
	first.discard()
	if !s.release() {
		t.Fatal("nothing was written, and yet it may not be sent again")
	}
	second, other := pair(t, "a")
	s.attach(second, false)
	go func() {
		_, _ = io.WriteString(visitor, "abc")
		_ = visitor.Close()
	}()
	want := "POST / HTTP/1.1\r\nContent-Length: 3\r\n\r\nabc"
	got := make([]byte, len(want))
	_ = other.SetReadDeadline(time.Now().Add(patience))
	if _, err := io.ReadFull(other, got); string(got) != want || err != nil {
		t.Errorf("%q, %v", got, err)
	}
	within(t, "the sender's end", s.done)
	if !s.complete() {
		t.Error("the request is not whole")
	}
}
