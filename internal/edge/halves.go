package edge

import (
	"io"
	"sync"
	"sync/atomic"
	"time"
)

// halves watches the two directions of an upgraded connection. With both open
// there is no limit on its silence unless the operator sets one: a WebSocket may
// rest for days, and a visitor who is gone for good is noticed by TCP. Once one
// direction has ended, the other must keep moving or is ended, too: a visitor
// that left and a visitor that merely has nothing more to say look the same (TCP
// has no other word for either), and a backend that does not care would be held
// awake by the first for ever.
type halves struct {
	limit   time.Duration
	idle    time.Duration // for silence with both open; 0 is no limit
	visitor io.Closer
	backend io.Closer

	ended  atomic.Bool // one of them has; read without the lock for each piece
	mu     sync.Mutex
	timer  *time.Timer // from the first end on
	silent bool        // the timer ended the rest
	over   bool

	rest  *time.Timer  // looks whether anything has moved
	moved atomic.Int64 // when a byte last did, in Unix nanoseconds
}

// start begins the watch over silence. What the two sides are must be known.
func (h *halves) start() {
	if h.idle <= 0 {
		return
	}
	h.moved.Store(time.Now().UnixNano())
	h.mu.Lock()
	defer h.mu.Unlock()
	h.rest = time.AfterFunc(h.idle, h.look)
}

// look ends what has been silent for too long, or looks again when it may have
// been. So a byte costs a look at the clock and no change of a timer.
func (h *halves) look() {
	left := h.idle - time.Since(time.Unix(0, h.moved.Load()))
	if left <= 0 {
		h.expire()
		return
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	if !h.over {
		h.rest.Reset(left)
	}
}

// read notes what a read from either side returned.
func (h *halves) read(n int, err error) {
	if h.idle > 0 && n > 0 {
		h.moved.Store(time.Now().UnixNano())
	}
	if err == nil && !h.ended.Load() {
		return
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	switch {
	case h.over:
	case h.timer == nil && err != nil:
		h.timer = time.AfterFunc(h.limit, h.expire)
		h.ended.Store(true)
	case h.timer != nil && n > 0:
		h.timer.Reset(h.limit)
	}
}

// expire ends both sides, which ends the goroutines that copy between them.
func (h *halves) expire() {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.over {
		return
	}
	h.silent = true
	_ = h.visitor.Close() // neither has anybody left to tell
	_ = h.backend.Close()
}

// stop is called when the connection is over. It reports whether silence ended
// it. A nil one has nothing to stop.
func (h *halves) stop() (silent bool) {
	if h == nil {
		return false
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	h.over = true
	if h.timer != nil {
		h.timer.Stop()
	}
	if h.rest != nil {
		h.rest.Stop()
	}
	return h.silent
}

// backendHalf is the backend's side of an upgraded connection.
type backendHalf struct {
	io.ReadWriteCloser
	halves *halves
}

// Read implements io.Reader.
func (b *backendHalf) Read(p []byte) (int, error) {
	n, err := b.ReadWriteCloser.Read(p)
	b.halves.read(n, err)
	return n, err
}

// CloseWrite passes on that the visitor has nothing more to say; embedding hides
// that the connection can.
func (b *backendHalf) CloseWrite() error { return closeWrite(b.ReadWriteCloser) }

// closeWrite ends our side of a connection and leaves the other open, or closes
// it when it cannot do that.
func closeWrite(c io.Closer) error {
	if half, ok := c.(interface{ CloseWrite() error }); ok {
		return half.CloseWrite()
	}
	return c.Close()
}
