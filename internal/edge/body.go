package edge

import (
	"cmp"
	"io"
	"net/http"
	"sync"
)

// visitorBody remembers how reading the visitor's body ended, so that a visitor's
// mistake is not put on the backend. The transport reads it in a goroutine of its
// own. A nil one is no body.
type visitorBody struct {
	io.ReadCloser
	watch *watchdog // for a visitor who stops sending, until the answer begins
	// expects is set when the visitor waits for a 100 (Continue), which the server sends
	// when the body is first read.
	expects bool
	mu      sync.Mutex
	err     error
}

// Read implements io.Reader.
func (b *visitorBody) Read(p []byte) (int, error) {
	b.watch.begin()
	n, err := b.ReadCloser.Read(p)
	b.watch.end()
	if err != nil {
		b.mu.Lock()
		b.err = cmp.Or(b.err, err)
		b.mu.Unlock()
	}
	return n, err
}

// ended returns the error that ended the body, io.EOF if all of it was read, or
// nil if there may be more.
func (b *visitorBody) ended() error {
	if b == nil {
		return io.EOF
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.err
}

// isAskedFor reports whether the server asks the visitor for the body.
func (b *visitorBody) isAskedFor() bool { return b != nil && b.expects }

// stalled reports whether the visitor stopped sending.
func (b *visitorBody) stalled() bool { return b != nil && b.watch.hasBitten() }

// mayRest lets the visitor pause. Who has begun to answer, or has answered, waits
// for nothing.
func (b *visitorBody) mayRest() {
	if b != nil {
		b.watch.leave()
	}
}

// failed returns the error that ended the body early, or nil.
func (b *visitorBody) failed() error {
	if err := b.ended(); err != io.EOF {
		return err
	}
	return nil
}

// closeIfUnread announces that an answer which goes out before all of the body
// has been read is the connection's last. The server interrupts the transport's
// read when the handler returns; what the visitor sends after that it may take
// neither for the rest of the body nor for another request.
func (b *visitorBody) closeIfUnread(h http.Header) {
	if b.ended() != io.EOF {
		h.Set("Connection", "close")
	}
}
