package upstream

import (
	"context"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptrace"
	"sync"
	"sync/atomic"
)

// RoundTrip implements http.RoundTripper. A request that met a pooled connection
// which the backend was just closing is sent a second time, on a new connection,
// if no byte of it was written, or if it is a bodyless GET, HEAD or OPTIONS and no
// byte of an answer had come (RFC 9110 9.2.2). There is no third time.
//
// gRPC goes over HTTP/2 to http backends, too, which has retries of its own: of
// what the backend has promised not to have processed (RFC 9113 8.7).
func (t *Transport) RoundTrip(req *http.Request) (*http.Response, error) {
	if IsGRPC(req) && req.URL != nil && req.URL.Scheme == "http" {
		return t.http2.RoundTrip(req)
	}
	if t.own != nil && req.URL != nil && req.URL.Scheme == "http" {
		return t.own.RoundTrip(req)
	}
	return t.roundTripStandard(req)
}

// roundTripStandard does so with net/http's transport.
func (t *Transport) roundTripStandard(req *http.Request) (*http.Response, error) {
	a := newAttempt(req, t.counters)
	res, err := t.pooled.RoundTrip(a.request)
	if err == nil {
		a.body.release()
		return a.follow(res), nil
	}
	a.cancel(err)
	if a.mayRepeat(err) {
		t.counters.retried.Add(1)
		noticeRetry(req.Context())
		return t.fresh.RoundTrip(req)
	}
	a.body.release()
	return nil, a.explain(err)
}

type retryNoticeKey struct{}

// WithRetryNotice returns a context whose requests call notice, in the goroutine
// of RoundTrip, before they are sent a second time.
func WithRetryNotice(ctx context.Context, notice func()) context.Context {
	return context.WithValue(ctx, retryNoticeKey{}, notice)
}

func noticeRetry(ctx context.Context) {
	if notice, ok := ctx.Value(retryNoticeKey{}).(func()); ok {
		notice()
	}
}

// ErrStale says that the backend closed a kept-alive connection instead of
// answering, and that the request was not one that may be repeated.
var ErrStale = errors.New("backend closed a reused connection without answering")

// attempt watches the first sending of a request over HTTP/1.
//
// net/http's transport repeats requests by itself, more of them than we may: any
// with an Idempotency-Key, TRACE, and over as many stale connections as the pool
// holds. It cannot be told not to. But it asks for a connection anew each time, so
// the attempt ends it there: the second connection is closed before anything is
// written to it, which makes net/http look at the context, and find it cancelled.
//
// Over HTTP/2 the attempt does nothing: there net/http repeats only requests the
// backend has promised not to have processed (RFC 9113 8.7).
type attempt struct {
	parent   context.Context // the caller's
	count    *Counters
	request  *http.Request
	body     *heldBody // nil when the request has none
	cancel   context.CancelCauseFunc
	conn     *countingConn // the HTTP/1 connection in use, once there is one
	reused   bool
	before   int64 // what conn had written before this request
	ended    bool  // net/http wanted to repeat the request
	answered atomic.Bool
}

func newAttempt(req *http.Request, count *Counters) *attempt {
	a := &attempt{parent: req.Context(), count: count}
	ctx, cancel := context.WithCancelCause(req.Context())
	a.cancel = cancel
	a.request = req.WithContext(httptrace.WithClientTrace(ctx, &httptrace.ClientTrace{
		GetConn:              a.getConn,
		GotConn:              a.gotConn,
		GotFirstResponseByte: func() { a.answered.Store(true) },
	}))
	if req.Body != nil && req.Body != http.NoBody {
		a.body = &heldBody{ReadCloser: req.Body}
		a.request.Body = a.body
	}
	return a
}

// getConn is called in RoundTrip's goroutine before each sending.
func (a *attempt) getConn(string) {
	if a.conn != nil {
		a.ended = true
		a.cancel(ErrStale)
	}
}

// gotConn is called in RoundTrip's goroutine when there is a connection, before
// anything is written to it.
func (a *attempt) gotConn(info httptrace.GotConnInfo) {
	conn := counting(info.Conn)
	if conn == nil {
		return
	}
	if a.ended {
		// The error is of a connection nobody has used.
		_ = info.Conn.Close()
		return
	}
	if info.Reused {
		a.count.reused.Add(1)
	}
	a.conn, a.reused, a.before = conn, info.Reused, conn.written.Load()
}

// counting returns the connection below TLS, or nil when it speaks HTTP/2.
func counting(conn net.Conn) *countingConn {
	if secure, ok := conn.(*tls.Conn); ok {
		if secure.ConnectionState().NegotiatedProtocol == "h2" {
			return nil
		}
		conn = secure.NetConn()
	}
	counted, _ := conn.(*countingConn)
	return counted
}

// mayRepeat decides after an error whether the request may be sent again. On a
// new connection it may not: a backend that hangs up on one will do so again.
func (a *attempt) mayRepeat(err error) bool {
	if !a.reused || a.answered.Load() || a.parent.Err() != nil {
		return false
	}
	if a.conn.written.Load() == a.before {
		return a.body.unread()
	}
	return a.body == nil && isRepeatable(a.request.Method) && (a.ended || isHangUp(err))
}

// isRepeatable reports whether a method is safe and its requests cheap to repeat.
func isRepeatable(method string) bool {
	switch method {
	case "", http.MethodGet, http.MethodHead, http.MethodOptions:
		return true
	}
	return false
}

// isHangUp reports whether the error is that of a connection the other side
// closed, rather than a timeout or an answer that makes no sense.
func isHangUp(err error) bool {
	var network *net.OpError
	return errors.Is(err, io.EOF) || errors.As(err, &network) && !network.Timeout()
}

// explain returns the error for the caller. What net/http says of an attempt that
// was ended is only that it was.
func (a *attempt) explain(err error) error {
	if a.ended && a.parent.Err() == nil {
		return ErrStale
	}
	return err
}

// follow lets go of the attempt's context once the answer's body has ended. An
// upgraded connection must stay what it is, a writer too; its context goes with
// the caller's.
func (a *attempt) follow(res *http.Response) *http.Response {
	if res.StatusCode != http.StatusSwitchingProtocols {
		res.Body = &followedBody{ReadCloser: res.Body, cancel: a.cancel}
	}
	return res
}

// followedBody ends a context when it is closed.
type followedBody struct {
	io.ReadCloser
	cancel context.CancelCauseFunc
}

// Close implements io.Closer.
func (b *followedBody) Close() error {
	err := b.ReadCloser.Close()
	b.cancel(nil)
	return err
}

// heldBody is a request body that can be sent again while nothing was read from
// it: until release, closing it is only remembered. A nil one is no body.
type heldBody struct {
	io.ReadCloser
	mu       sync.Mutex
	read     bool
	closed   bool
	released bool
}

// Read implements io.Reader.
func (b *heldBody) Read(p []byte) (int, error) {
	b.mu.Lock()
	b.read = true
	b.mu.Unlock()
	return b.ReadCloser.Read(p)
}

// Close implements io.Closer.
func (b *heldBody) Close() error {
	b.mu.Lock()
	b.closed = true
	held := !b.released
	b.mu.Unlock()
	if held {
		return nil
	}
	return b.ReadCloser.Close()
}

// release closes the body if the transport wanted that, and lets it from now on.
func (b *heldBody) release() {
	if b == nil {
		return
	}
	b.mu.Lock()
	b.released = true
	closed := b.closed
	b.mu.Unlock()
	if closed {
		_ = b.ReadCloser.Close() // as net/http, which has nobody to tell either
	}
}

// unread reports whether all of the body is still there.
func (b *heldBody) unread() bool {
	if b == nil {
		return true
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	return !b.read
}

// countingConn counts the bytes written to a connection.
type countingConn struct {
	net.Conn
	stall   stall
	written atomic.Int64
}

// Write implements io.Writer.
func (c *countingConn) Write(p []byte) (int, error) {
	c.stall.allow(c.Conn)
	n, err := c.Conn.Write(p)
	c.written.Add(int64(n))
	return n, err
}

// CloseWrite ends our side of an upgraded connection and leaves the other open.
func (c *countingConn) CloseWrite() error {
	if half, ok := c.Conn.(interface{ CloseWrite() error }); ok {
		return half.CloseWrite()
	}
	return c.Close()
}
