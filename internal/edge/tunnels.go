package edge

import (
	"bufio"
	"context"
	"net"
	"net/http"
	"sync"
	"sync/atomic"
)

// tunnel is a connection that a handler has taken over, such as a WebSocket. It
// counts what is written to the visitor.
type tunnel struct {
	net.Conn
	sent atomic.Int64
	bye  *farewell // of a WebSocket; otherwise nil
}

// Write implements io.Writer.
func (t *tunnel) Write(p []byte) (int, error) {
	n, err := t.Conn.Write(p)
	t.sent.Add(int64(n))
	return n, err
}

// CloseWrite ends our side and leaves the other open.
func (t *tunnel) CloseWrite() error { return closeWrite(t.Conn) }

// tunnels are those there are. net/http does not know them any more when it shuts
// down.
type tunnels struct {
	mu    sync.Mutex
	open  map[*tunnel]bool
	empty chan struct{} // closed when the last one ends, if somebody waits
}

func newTunnels() *tunnels { return &tunnels{open: make(map[*tunnel]bool)} }

// take hijacks a connection and counts it. That is one step for who waits: else a
// shutdown could find a connection neither with net/http any more nor here yet.
func (t *tunnels) take(w http.ResponseWriter, isWebSocket bool) (*tunnel, *bufio.ReadWriter, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	conn, buffered, err := http.NewResponseController(w).Hijack()
	if err != nil {
		return nil, nil, err
	}
	taken := &tunnel{Conn: conn}
	if isWebSocket {
		taken.bye = &farewell{Conn: conn}
		taken.Conn = taken.bye
	}
	t.open[taken] = true
	return taken, buffered, nil
}

func (t *tunnels) remove(c *tunnel) {
	t.mu.Lock()
	defer t.mu.Unlock()
	delete(t.open, c)
	if len(t.open) == 0 && t.empty != nil {
		close(t.empty)
		t.empty = nil
	}
}

// wait returns when there are none, or with the context's error.
func (t *tunnels) wait(ctx context.Context) error {
	select {
	case <-t.emptied():
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (t *tunnels) emptied() <-chan struct{} {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.empty == nil {
		t.empty = make(chan struct{})
	}
	done := t.empty
	if len(t.open) == 0 {
		close(t.empty)
		t.empty = nil
	}
	return done
}

// sayGoodbye tells the visitors of WebSockets that their connections are about to
// end, all at once, and returns when they have been told as far as they let
// themselves be.
func (t *tunnels) sayGoodbye() {
	var telling sync.WaitGroup
	t.mu.Lock()
	for c := range t.open {
		if c.bye != nil {
			telling.Go(c.bye.say)
		}
	}
	t.mu.Unlock()
	telling.Wait()
}

// closeAll ends those that are left.
func (t *tunnels) closeAll() {
	t.mu.Lock()
	defer t.mu.Unlock()
	for c := range t.open {
		_ = c.Close() // it is being thrown away; there is nobody to tell
	}
}
