package activator

import (
	"errors"
	"io"
	"net"
	"net/http"
	"sync"
	"time"
)

// leased is the transport of one lease. A request that its instance never got,
// because that has just ended, goes to the one that is started in its place: the
// lease then holds that one, too.
type leased struct {
	r *running

	mu    sync.Mutex
	more  []func() // Release of the leases taken since
	ended bool
}

// endNoticed is how long the end of a process may take to be known after its port
// has begun to refuse connections.
const endNoticed = 2 * time.Second

// RoundTrip implements http.RoundTripper. It sends nothing once the instance has
// ended: what accepts connections at its port then is not it.
func (l *leased) RoundTrip(req *http.Request) (*http.Response, error) {
	attempt, body := req, (*keptBody)(nil)
	if req.Body != nil && req.Body != http.NoBody {
		body = &keptBody{ReadCloser: req.Body, held: true}
		attempt = req.Clone(req.Context())
		attempt.Body = body
	}
	res, err := l.r.roundTrip(attempt)
	if err == nil || body.wasRead() || !neverSent(err) || !l.hasEnded(req) {
		body.letGo()
		return res, err
	}
	next, taken := l.r.a.wait(req.Context(), l.r.e.key)
	if taken != nil {
		body.letGo()
		return nil, taken
	}
	if next.Transport == nil || !l.hold(next.Release) {
		next.Release()
		body.letGo()
		return nil, err
	}
	body.again()
	res, err = next.Transport.(*leased).r.roundTrip(attempt)
	body.letGo()
	return res, err
}

func (r *running) roundTrip(req *http.Request) (*http.Response, error) {
	if r.ended() {
		return nil, &EndedError{Key: r.e.key, Version: r.version}
	}
	return r.transport.RoundTrip(req)
}

// neverSent reports whether no byte of the request can have reached anybody.
func neverSent(err error) bool {
	var ended *EndedError
	var dial *net.OpError
	return errors.As(err, &ended) || errors.As(err, &dial) && dial.Op == "dial"
}

// hasEnded waits until the instance's end is known. One that lives and refuses
// connections has a defect of its own.
func (l *leased) hasEnded(req *http.Request) bool {
	timer := time.NewTimer(endNoticed)
	defer timer.Stop()
	select {
	case <-l.r.done:
		return true
	case <-timer.C:
	case <-req.Context().Done():
	}
	return false
}

// hold keeps a lease until this one ends; it reports false when it has.
func (l *leased) hold(release func()) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if !l.ended {
		l.more = append(l.more, release)
	}
	return !l.ended
}

// release ends the leases taken since.
func (l *leased) release() {
	l.mu.Lock()
	more := l.more
	l.more, l.ended = nil, true
	l.mu.Unlock()
	for _, release := range more {
		release()
	}
}

// keptBody is a request's body that a transport cannot close while the request
// may still be sent another time. Its methods do nothing for nil.
type keptBody struct {
	io.ReadCloser
	mu     sync.Mutex
	held   bool
	closed bool
	read   bool
}

// Read implements io.Reader.
func (b *keptBody) Read(p []byte) (int, error) {
	b.mu.Lock()
	b.read = true
	b.mu.Unlock()
	return b.ReadCloser.Read(p)
}

// Close implements io.Closer.
func (b *keptBody) Close() error {
	b.mu.Lock()
	b.closed = true
	held := b.held
	b.mu.Unlock()
	if held {
		return nil
	}
	return b.ReadCloser.Close()
}

func (b *keptBody) wasRead() bool {
	if b == nil {
		return false
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.read
}

// again makes the body ready to be sent once more.
func (b *keptBody) again() {
	if b == nil {
		return
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	b.closed = false
}

// letGo passes on that the body was closed, now and from now on.
func (b *keptBody) letGo() {
	if b == nil {
		return
	}
	b.mu.Lock()
	b.held = false
	closed := b.closed
	b.mu.Unlock()
	if closed {
		_ = b.ReadCloser.Close() // whoever closed it was told that it worked
	}
}
