package storetest

import (
	"bytes"
	"net"
	"net/url"
	"sync"
	"sync/atomic"
	"testing"
)

// Proxy is on the way to a PostgreSQL server, and lets it be bad. It is safe for
// concurrent use. TLS must be off, which it is on StartPostgres's server.
type Proxy struct {
	listener net.Listener
	busy     sync.WaitGroup

	mu      sync.Mutex
	target  string    // where the server is
	changed sync.Cond // broadcast when stalled or closed changes
	cut     bool
	stalled bool
	closed  bool
	commits fate // of the next commit
	conns   map[net.Conn]struct{}
}

// fate is what becomes of a commit.
type fate int

const (
	commits    fate = iota
	unasked         // the connection is lost before the server hears of it
	unanswered      // the server has done it, and its answer is lost
)

// NewProxy returns a proxy to the server that ends with the test.
func (s *Server) NewProxy(t testing.TB) *Proxy {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	p := &Proxy{listener: l, target: s.Address(), conns: map[net.Conn]struct{}{}}
	p.changed.L = &p.mu
	p.busy.Go(p.accept)
	t.Cleanup(p.close)
	return p
}

// Through returns a database's URL with the proxy in the server's place.
func (p *Proxy) Through(t testing.TB, raw string) string {
	t.Helper()
	u, err := url.Parse(raw)
	if err != nil {
		t.Fatal(err)
	}
	u.Host = p.listener.Addr().String()
	u.RawQuery = "sslmode=disable"
	return u.String()
}

// Cut ends all connections, and refuses others until Heal.
func (p *Proxy) Cut() { p.set(func() { p.cut = true; p.endLocked() }) }

// Stall lets nothing pass, in either direction, until Heal.
func (p *Proxy) Stall() { p.set(func() { p.stalled = true }) }

// Heal ends whatever was wrong.
func (p *Proxy) Heal() { p.set(func() { p.cut, p.stalled, p.commits = false, false, commits }) }

// LoseCommit has the connection end before the next commit reaches the server.
func (p *Proxy) LoseCommit() { p.set(func() { p.commits = unasked }) }

// LoseAnswer has the connection end after the next commit is done, and before its
// answer arrives.
func (p *Proxy) LoseAnswer() { p.set(func() { p.commits = unanswered }) }

// Lead has the proxy lead to another server, and ends what leads to the one before.
func (p *Proxy) Lead(to *Server) { p.set(func() { p.target = to.Address(); p.endLocked() }) }

// Point has connections that are made from now on lead to another server; those that are
// there stay.
func (p *Proxy) Point(to *Server) { p.set(func() { p.target = to.Address() }) }

func (p *Proxy) set(f func()) {
	p.mu.Lock()
	defer p.mu.Unlock()
	f()
	p.changed.Broadcast()
}

func (p *Proxy) endLocked() {
	for c := range p.conns {
		_ = c.Close() // it is lost on purpose
	}
}

func (p *Proxy) close() {
	p.set(func() { p.closed = true; p.endLocked() })
	_ = p.listener.Close() // nothing was promised
	p.busy.Wait()
}

func (p *Proxy) accept() {
	for {
		client, err := p.listener.Accept()
		if err != nil {
			return
		}
		p.busy.Go(func() { p.serve(client) })
	}
}

// passage is one connection through the proxy.
type passage struct {
	client, server net.Conn
	// deaf is set when what the server says next is lost.
	deaf atomic.Bool
}

// serve takes one connection to the server.
func (p *Proxy) serve(client net.Conn) {
	p.mu.Lock()
	target := p.target
	p.mu.Unlock()
	server, err := net.Dial("tcp", target)
	if err != nil {
		_ = client.Close() // as if nobody listened
		return
	}
	if !p.enter(client, server) {
		return
	}
	defer p.leave(client, server)
	through := &passage{client: client, server: server}
	answered := make(chan struct{})
	p.busy.Go(func() {
		defer close(answered)
		p.copy(client, server, through.heard)
		_ = client.Close() // the other direction ends, too
	})
	p.copy(server, client, func(message []byte) bool { return through.asks(p.fateOf(message)) })
	if !through.deaf.Load() {
		_ = server.Close()
	}
	<-answered
}

// asks reports whether the server shall hear of something.
func (t *passage) asks(f fate) bool {
	if f == unanswered {
		t.deaf.Store(true)
	}
	return f != unasked
}

func (t *passage) heard([]byte) bool { return !t.deaf.Load() }

// enter notes a pair of connections, unless there shall be none.
func (p *Proxy) enter(pair ...net.Conn) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, c := range pair {
		if p.cut || p.closed {
			_ = c.Close() // lost on purpose
			continue
		}
		p.conns[c] = struct{}{}
	}
	return !p.cut && !p.closed
}

func (p *Proxy) leave(pair ...net.Conn) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, c := range pair {
		delete(p.conns, c)
		_ = c.Close()
	}
}

// fateOf decides about what a client sends.
func (p *Proxy) fateOf(message []byte) fate {
	if !bytes.Contains(bytes.ToLower(message), []byte("commit\x00")) {
		return commits
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	f := p.commits
	p.commits = commits
	return f
}

// copy copies until a side ends, or something shall not pass.
func (p *Proxy) copy(to, from net.Conn, passes func(message []byte) bool) {
	buffer := make([]byte, 32<<10)
	for {
		n, err := from.Read(buffer)
		if n > 0 {
			// Decided as it comes: what waits must not take the fate of what comes later.
			if !passes(buffer[:n]) {
				return
			}
			p.awaitFlow()
			if _, err := to.Write(buffer[:n]); err != nil {
				return
			}
		}
		if err != nil {
			return
		}
	}
}

func (p *Proxy) awaitFlow() {
	p.mu.Lock()
	defer p.mu.Unlock()
	for p.stalled && !p.closed && !p.cut {
		p.changed.Wait()
	}
}
