package edge

import (
	"context"
	"net"
	"sync"
)

// tunnels are the connections that handlers have taken over, such as WebSockets.
// net/http does not know them any more when it shuts down.
type tunnels struct {
	mu    sync.Mutex
	conns map[net.Conn]bool
	empty chan struct{} // closed when the last one ends, if somebody waits
}

func newTunnels() *tunnels { return &tunnels{conns: make(map[net.Conn]bool)} }

func (t *tunnels) add(c net.Conn) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.conns[c] = true
}

func (t *tunnels) remove(c net.Conn) {
	t.mu.Lock()
	defer t.mu.Unlock()
	delete(t.conns, c)
	if len(t.conns) == 0 && t.empty != nil {
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
	if len(t.conns) == 0 {
		close(t.empty)
		t.empty = nil
	}
	return done
}

// closeAll ends those that are left.
func (t *tunnels) closeAll() {
	t.mu.Lock()
	defer t.mu.Unlock()
	for c := range t.conns {
		_ = c.Close() // it is being thrown away; there is nobody to tell
	}
}
