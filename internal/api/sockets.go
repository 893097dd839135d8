package api

import (
	"context"
	"sync"
	"time"
)

// closeGrace is how long WebSockets that a shutdown cut short get to say so to
// their clients.
const closeGrace = time.Second

// sockets are the open WebSockets. net/http forgets a connection once it is
// hijacked, so that its Shutdown would not wait for them.
type sockets struct {
	closing chan struct{}   // closed when no more are let in
	cut     context.Context // ends when those still open must end
	endAll  context.CancelFunc

	mu   sync.Mutex
	open int
	idle chan struct{} // closed once closing and none is open
}

func newSockets() *sockets {
	cut, endAll := context.WithCancel(context.Background())
	return &sockets{closing: make(chan struct{}), cut: cut, endAll: endAll, idle: make(chan struct{})}
}

// enter reports whether another one may open; if so, leave must follow.
func (s *sockets) enter() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.isClosing() {
		return false
	}
	s.open++
	return true
}

func (s *sockets) isClosing() bool {
	select {
	case <-s.closing:
		return true
	default:
		return false
	}
}

func (s *sockets) leave() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.open--; s.open == 0 && s.isClosing() {
		close(s.idle)
	}
}

// refuse lets no more in.
func (s *sockets) refuse() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.isClosing() {
		return
	}
	close(s.closing)
	if s.open == 0 {
		close(s.idle)
	}
}

// Shutdown refuses further WebSockets, closes those that have not asked for
// anything yet, and waits for the others to end. When ctx ends first, it closes
// those left, gives them a second for that, and returns ctx's error. The status
// of the close is 1001 (going away). It belongs beside
// http.Server's Shutdown, which waits for everything but WebSockets. It may be
// called more than once.
func (h *Handler) Shutdown(ctx context.Context) error {
	h.sockets.refuse()
	select {
	case <-h.sockets.idle:
		h.sockets.endAll()
		return nil
	case <-ctx.Done():
	}
	h.sockets.endAll()
	select {
	case <-h.sockets.idle:
	case <-time.After(closeGrace):
	}
	return ctx.Err()
}
