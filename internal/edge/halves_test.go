package edge

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"testing"
	"testing/synctest"
	"time"
)

// halfDuplex is one end of a connection whose directions end one by one.
type halfDuplex struct {
	net.Conn // nil: what is not overridden is not used
	in       *io.PipeReader
	out      *io.PipeWriter
}

// newHalfDuplex returns both ends of a connection.
func newHalfDuplex() (near, far *halfDuplex) {
	nearIn, farOut := io.Pipe()
	farIn, nearOut := io.Pipe()
	return &halfDuplex{in: nearIn, out: nearOut}, &halfDuplex{in: farIn, out: farOut}
}

func (c *halfDuplex) Read(p []byte) (int, error)  { return c.in.Read(p) }
func (c *halfDuplex) Write(p []byte) (int, error) { return c.out.Write(p) }
func (c *halfDuplex) CloseWrite() error           { return c.out.Close() }
func (c *halfDuplex) Close() error                { return errors.Join(c.in.Close(), c.out.Close()) }

// upgrade is an upgraded connection through a proxy whose limit is 30 s.
type upgrade struct {
	visitor, backend *halfDuplex   // the ends outside of the proxy
	over             chan struct{} // closed when its lease was released
}

// newUpgrade must be called in a bubble.
func newUpgrade(t *testing.T, options ...func(*proxyConfig)) *upgrade {
	t.Helper()
	u := &upgrade{over: make(chan struct{})}
	var visitor, backend *halfDuplex
	u.visitor, visitor = newHalfDuplex()
	u.backend, backend = newHalfDuplex()
	transport := roundTripper(func(*http.Request) (*http.Response, error) {
		header := http.Header{"Connection": {"Upgrade"}, "Upgrade": {"websocket"}}
		return &http.Response{StatusCode: 101, ProtoMajor: 1, ProtoMinor: 1, Header: header, Body: backend}, nil
	})
	r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://a.test/", nil)
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("Connection", "Upgrade")
	r.Header.Set("Upgrade", "websocket")
	r = withRecord(r, &record{journey: newForwarded(nil).journey(r)})
	w := taker{conn: visitor, header: http.Header{}}
	lease := &Lease{Transport: transport, Release: func() { close(u.over) }}
	go func() {
		if f := newTestProxy(t, options...).serve(w, r, target{Backend: Backend{Origin: Managed}, Lease: lease}); f != nil {
			t.Errorf("the upgrade failed: %v", f.message)
		}
	}()
	if _, err := http.ReadResponse(bufio.NewReaderSize(oneByte{u.visitor}, 16), r); err != nil {
		t.Fatal(err)
	}
	return u
}

// oneByte reads no further than it must.
type oneByte struct{ io.Reader }

func (r oneByte) Read(p []byte) (int, error) { return r.Reader.Read(p[:1]) }

// taker is a ResponseWriter whose connection can be taken over.
type taker struct {
	http.ResponseWriter
	conn   *halfDuplex
	header http.Header
}

func (w taker) Header() http.Header { return w.header }

func (w taker) Hijack() (net.Conn, *bufio.ReadWriter, error) {
	return w.conn, bufio.NewReadWriter(bufio.NewReader(w.conn), bufio.NewWriter(w.conn)), nil
}

// send sends bytes one way, which must arrive.
func send(t *testing.T, from io.Writer, to io.Reader) {
	t.Helper()
	written := make(chan error, 1)
	go func() {
		_, err := fmt.Fprint(from, "data")
		written <- err
	}()
	var got [4]byte
	if _, err := io.ReadFull(to, got[:]); err != nil || string(got[:]) != "data" {
		t.Fatalf("got %q, %v", got, err)
	}
	if err := <-written; err != nil {
		t.Fatal(err)
	}
}

// wantOpen lets made-up time pass, in which the connection must not be closed.
func (u *upgrade) wantOpen(t *testing.T, d time.Duration) {
	t.Helper()
	select {
	case <-u.over:
		t.Fatal("the connection was closed")
	case <-time.After(d):
	}
}

// wantOver waits until the connection is closed, and returns how long that took.
func (u *upgrade) wantOver(t *testing.T) time.Duration {
	t.Helper()
	begin := time.Now()
	select {
	case <-u.over:
	case <-time.After(24 * time.Hour):
		t.Fatal("the connection is never closed")
	}
	for who, end := range map[string]*halfDuplex{"the visitor": u.visitor, "the backend": u.backend} {
		if _, err := io.ReadAll(end); err != nil {
			t.Errorf("%s sees %v, want an end", who, err)
		}
		if _, err := end.Write([]byte("x")); err == nil {
			t.Errorf("%s can still write", who)
		}
	}
	return time.Since(begin)
}

func TestAnUpgradedConnectionMayRest(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		u := newUpgrade(t)
		for range 3 {
			u.wantOpen(t, 100*time.Hour)
			send(t, u.visitor, u.backend)
			send(t, u.backend, u.visitor)
		}
		_ = u.visitor.CloseWrite()
		_ = u.backend.CloseWrite()
		if took := u.wantOver(t); took != 0 {
			t.Errorf("with both sides ended it takes %v", took)
		}
	})
}

func TestAnUpgradedConnectionMayHaveToMove(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		u := newUpgrade(t, func(c *proxyConfig) { c.TunnelIdle = time.Hour })
		for range 3 { // either side will do
			u.wantOpen(t, 59*time.Minute)
			send(t, u.visitor, u.backend)
			u.wantOpen(t, 59*time.Minute)
			send(t, u.backend, u.visitor)
		}
		if took := u.wantOver(t); took != time.Hour {
			t.Errorf("it ends after %v", took)
		}
	})
}

func TestAHalfClosedConnectionEndsWithSilence(t *testing.T) {
	for name, row := range map[string]struct {
		sides func(u *upgrade) (ends, stays *halfDuplex)
	}{
		"the visitor ends": {func(u *upgrade) (_, _ *halfDuplex) { return u.visitor, u.backend }},
		"the backend ends": {func(u *upgrade) (_, _ *halfDuplex) { return u.backend, u.visitor }},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				u := newUpgrade(t)
				ends, stays := row.sides(u)
				if err := ends.CloseWrite(); err != nil {
					t.Fatal(err)
				}
				if rest, err := io.ReadAll(stays); len(rest) > 0 || err != nil {
					t.Errorf("the other side sees %q, %v, want an end", rest, err)
				}
				for range 20 { // it goes on as long as it is used
					u.wantOpen(t, 29*time.Second)
					send(t, stays, ends)
				}
				if took := u.wantOver(t); took != 30*time.Second {
					t.Errorf("it ends after %v", took)
				}
			})
		})
	}
}

func TestAHalfClosedConnectionEndsWhenNobodyReads(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		u := newUpgrade(t)
		if err := u.visitor.CloseWrite(); err != nil {
			t.Fatal(err)
		}
		go func() { _, _ = io.WriteString(u.backend, "nobody reads this") }() // it ends with the connection
		synctest.Wait()
		begin := time.Now()
		<-u.over
		if took := time.Since(begin); took != 30*time.Second {
			t.Errorf("it ends after %v", took)
		}
	})
}
