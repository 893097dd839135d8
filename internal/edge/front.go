package edge

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/net/http/httpguts"
)

// frontConn is a visitor's HTTP/1 connection. It follows the framing of what is
// read, bounds how long a write may be blocked, and tells when it is closed.
type frontConn struct {
	net.Conn
	framer  framer
	stall   time.Duration // for a piece of an answer to be taken
	place   *place
	handled int // requests that came to the handler; one at a time does

	writing sync.Mutex
	mu      sync.Mutex
	until   time.Time // the deadline of writes that is set
	ours    bool      // by us, and not by a handler
	// rest is how long what is left of a request may take when it has been answered;
	// 0 while nothing is awaited but what somebody wants.
	rest time.Duration
}

// piece is how much must be taken within the limit on stalled writes. It is
// little, so that slow visitors keep getting what they wait for.
const piece = 64 << 10

// Read shows the framer each byte before net/http gets it. Once a body's end is in
// doubt nothing more is read: net/http would wait for the rest of what it takes
// for a chunk.
func (c *frontConn) Read(p []byte) (int, error) {
	if doubt := c.framer.doubtInBody(); doubt != "" {
		return 0, errFraming(doubt)
	}
	n, err := c.Conn.Read(p)
	c.framer.feed(p[:n])
	return n, err
}

// Write fails when the visitor takes nothing for too long.
func (c *frontConn) Write(p []byte) (written int, err error) {
	c.writing.Lock()
	defer c.writing.Unlock()
	for {
		c.allowStall()
		n, err := c.Conn.Write(p[:min(len(p), piece)])
		written, p = written+n, p[n:]
		if err != nil || len(p) == 0 {
			return written, err
		}
	}
}

// writeInterim writes an answer that is not the last (RFC 9110 15.2), past the
// server, which is done with all before it. The server itself writes a 100
// (Continue) when the body is first read, which is in a goroutine of the
// transport's, and in the same buffer that it would put this answer into.
func (c *frontConn) writeInterim(status int, header http.Header) {
	var b bytes.Buffer
	fmt.Fprintf(&b, "HTTP/1.1 %03d %s\r\n", status, http.StatusText(status))
	_ = header.WriteSubset(&b, notInterim) // a buffer takes everything
	b.WriteString("\r\n")
	_, _ = c.Write(b.Bytes()) // an error is met again by whoever writes the answer
}

// notInterim are fields of bodies, which interim answers have none of (RFC 9110
// 8.6, RFC 9112 6.1).
var notInterim = map[string]bool{"Content-Length": true, "Transfer-Encoding": true}

// ReadFrom keeps the system's ways of sending a file.
func (c *frontConn) ReadFrom(src io.Reader) (written int64, err error) {
	limited, ok := src.(*io.LimitedReader)
	if !ok {
		limited = &io.LimitedReader{R: src, N: 1<<63 - 1}
	}
	for limited.N > 0 {
		c.allowStall()
		part := &io.LimitedReader{R: limited.R, N: min(limited.N, piece)}
		asked := part.N
		n, err := io.Copy(c.Conn, part)
		written += n
		limited.N -= n
		if err != nil || n < asked {
			return written, err
		}
	}
	return written, nil
}

// allowStall gives the next write its time. Setting a deadline costs, so one is
// kept until an eighth of it is over, and a write has seven at least.
func (c *frontConn) allowStall() {
	if c.stall <= 0 {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if !c.ours && !c.until.IsZero() {
		return // a handler knows better
	}
	now := time.Now()
	if c.ours && c.until.Sub(now) >= c.stall-c.stall/8 {
		return
	}
	c.until, c.ours = now.Add(c.stall), true
	_ = c.Conn.SetWriteDeadline(c.until) // a connection that has none fails by itself
}

// SetWriteDeadline lets a handler set its own. net/http takes it away after each
// answer; ours may stay.
func (c *frontConn) SetWriteDeadline(t time.Time) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.ours && t.IsZero() {
		return nil
	}
	c.until, c.ours = t, false
	return c.Conn.SetWriteDeadline(t)
}

// awaitRest is the connection's, where there is one of ours; a writer that is not
// net/http's either has no deadlines, and returns an error.
func awaitRest(w http.ResponseWriter, c *frontConn, wait time.Duration) error {
	if c == nil {
		return http.NewResponseController(w).SetReadDeadline(time.Now().Add(wait))
	}
	c.awaitRest(wait)
	return nil
}

// awaitRest bounds how long the rest of a request that has been answered may take to
// come. The server reads some of it before it closes the connection or looks for
// another request, however long that takes.
func (c *frontConn) awaitRest(wait time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.rest = wait
	_ = c.Conn.SetReadDeadline(time.Now().Add(wait)) // a connection that has none fails by itself
}

// awaitRestUnlessBounded does so if nobody else has.
func (c *frontConn) awaitRestUnlessBounded(wait time.Duration) {
	c.mu.Lock()
	bounded := c.rest > 0
	c.mu.Unlock()
	if !bounded {
		c.awaitRest(wait)
	}
}

// SetReadDeadline keeps the bound on the rest of a request. net/http takes every
// deadline away when it interrupts a read that outlives the handler, and only then
// reads the rest. The deadline that it sets for the next request ends the bound.
func (c *frontConn) SetReadDeadline(t time.Time) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	switch now := time.Now(); {
	case t.IsZero() && c.rest > 0:
		t = now.Add(c.rest)
	case t.After(now):
		c.rest = 0
	}
	return c.Conn.SetReadDeadline(t)
}

// SetDeadline sets both.
func (c *frontConn) SetDeadline(t time.Time) error {
	return errors.Join(c.SetReadDeadline(t), c.SetWriteDeadline(t))
}

// CloseWrite ends our side; embedding hides that the connection can.
func (c *frontConn) CloseWrite() error { return closeWrite(c.Conn) }

// Close also gives the connection's place away.
func (c *frontConn) Close() error {
	c.place.leave()
	return c.Conn.Close()
}

func (c *frontConn) front() *frontConn { return c }

// secureFrontConn is a frontConn below which TLS has been agreed on. net/http asks
// for the state; for one in the clear it must not be there to be asked for.
type secureFrontConn struct {
	*frontConn
	state tls.ConnectionState
}

// ConnectionState is what net/http makes Request.TLS of.
func (c *secureFrontConn) ConnectionState() tls.ConnectionState { return c.state }

type frontKey struct{}

func withFront(ctx context.Context, c *frontConn) context.Context {
	return context.WithValue(ctx, frontKey{}, c)
}

// frontOf returns the HTTP/1 connection a request came by, or nil.
func frontOf(r *http.Request) *frontConn {
	c, _ := r.Context().Value(frontKey{}).(*frontConn)
	return c
}

// begin counts a request in and returns what is doubtful in its head, if
// anything. A body whose framing is looked at while it comes is wrapped.
func (c *frontConn) begin(r *http.Request) (doubt string, body *framedBody) {
	if c == nil {
		return "", nil
	}
	request := c.handled
	if c.handled++; request == 0 {
		c.place.meet()
	}
	if len(r.TransferEncoding) > 0 {
		body = &framedBody{ReadCloser: r.Body, framer: &c.framer, request: request, awaited: expectsContinue(r)}
		r.Body = body
	}
	return c.framer.headDoubt(request), body
}

// framedBody is a body in chunks, which fails as soon as its framing is doubtful.
type framedBody struct {
	io.ReadCloser
	framer  *framer
	request int
	awaited bool        // it comes once the visitor is told to go on
	read    atomic.Bool // which the first Read does
}

// expectsContinue reports whether a visitor waits for "100 Continue" (RFC 9110
// 10.1.1).
func expectsContinue(r *http.Request) bool {
	return httpguts.HeaderValuesContainsToken(r.Header["Expect"], "100-continue")
}

// unwanted reports whether the visitor still waits to be told to send the body. A nil
// body is no body in chunks.
func (b *framedBody) unwanted() bool { return b != nil && b.awaited && !b.read.Load() }

// errFraming is what is wrong with a body's framing, for the log.
type errFraming string

// Error implements error.
func (e errFraming) Error() string { return "the body's framing is in doubt: " + string(e) }

// Read implements io.Reader.
func (b *framedBody) Read(p []byte) (int, error) {
	b.read.Store(true)
	n, err := b.ReadCloser.Read(p)
	if doubt := b.doubt(); doubt != nil {
		return 0, doubt
	}
	return n, err
}

// doubt returns what is doubtful, if anything. A nil body is no body in chunks.
func (b *framedBody) doubt() error {
	if b == nil {
		return nil
	}
	if doubt := b.framer.bodyDoubt(b.request); doubt != "" {
		return errFraming(doubt)
	}
	return nil
}

// frontListener gives net/http the connections that may come in: HTTP/1 as
// frontConns, HTTP/2 as it is. Which of them TLS has agreed on is known after the
// handshake only, which a goroutine waits for, and no longer.
type frontListener struct {
	net.Listener
	server    *Server
	handshake time.Duration
	ctx       context.Context // ends when nothing is handed over any more
	cancel    context.CancelFunc
	arrived   chan net.Conn
	failed    chan error
	begin     sync.Once
	closing   sync.Once
	closed    chan struct{}
	closeErr  error
	pending   sync.WaitGroup
}

// lastHandshake bounds the handshakes that a Close meets, as net/http bounds the
// wait for the first request of a connection.
const lastHandshake = 5 * time.Second

func newFrontListener(l net.Listener, s *Server) *frontListener {
	f := &frontListener{
		Listener: l, server: s, handshake: s.edge.config.Limits.ReadHeader,
		arrived: make(chan net.Conn), failed: make(chan error), closed: make(chan struct{}),
	}
	f.ctx, f.cancel = context.WithCancel(s.serving)
	return f
}

// Accept implements net.Listener. After a Close it still gives what came before.
func (l *frontListener) Accept() (net.Conn, error) {
	l.begin.Do(func() { l.pending.Go(l.accept) })
	select {
	case c := <-l.arrived:
		return c, nil
	case err := <-l.failed:
		return nil, err
	case <-l.ctx.Done():
		return nil, net.ErrClosed
	}
}

// accept takes what comes until Close.
func (l *frontListener) accept() {
	for {
		conn, err := l.Listener.Accept()
		if err == nil {
			l.welcome(conn)
			continue
		}
		select {
		case <-l.closed: // which is why
			return
		default:
		}
		select {
		case l.failed <- err: // net/http decides whether to go on
		case <-l.closed:
			return
		}
	}
}

func (l *frontListener) welcome(conn net.Conn) {
	place := l.server.edge.conns.admit(conn)
	if place == nil {
		return
	}
	secure, ok := conn.(*tls.Conn)
	if !ok {
		l.hand(l.server.newFrontConn(conn, place))
		return
	}
	l.pending.Go(func() { l.agree(secure, place) })
}

// agree waits for the handshake. What fails there is for the server's own log.
func (l *frontListener) agree(conn *tls.Conn, place *place) {
	ctx, cancel := context.WithTimeout(l.ctx, l.handshake)
	defer cancel()
	if err := conn.HandshakeContext(ctx); err != nil {
		l.server.edge.logger.Debug("TLS handshake failed", "client", conn.RemoteAddr().String(), "error", err)
		refusePlain(err)
		_ = conn.NetConn().Close() // there is nobody to say goodbye to
		place.leave()
		return
	}
	state := conn.ConnectionState()
	if state.NegotiatedProtocol == "h2" {
		l.hand(conn)
		return
	}
	l.hand(&secureFrontConn{l.server.newFrontConn(conn, place), state})
}

// refusePlain answers a visitor who speaks HTTP in the clear where TLS is spoken,
// which a handshake's alert would not explain.
func refusePlain(err error) {
	var header tls.RecordHeaderError
	if !errors.As(err, &header) || header.Conn == nil {
		return
	}
	switch string(header.RecordHeader[:]) {
	case "GET /", "HEAD ", "POST ", "PUT /", "OPTIO":
		_ = header.Conn.SetWriteDeadline(time.Now().Add(time.Second)) // it need not be read
		_, _ = io.WriteString(header.Conn, "HTTP/1.0 400 Bad Request\r\nConnection: close\r\n\r\nThis address speaks HTTPS.\n")
	}
}

func (l *frontListener) hand(conn net.Conn) {
	select {
	case l.arrived <- conn:
	case <-l.ctx.Done():
		_ = conn.Close()
		l.server.edge.conns.gone(conn)
	}
}

// Close implements net.Listener. It waits for nothing, because the server has its
// lock meanwhile: connections whose handshake has begun are handed over when it has
// ended, unless that takes too long, and only then does Accept say that it is over.
func (l *frontListener) Close() error {
	l.closing.Do(func() {
		close(l.closed)
		l.closeErr = l.Listener.Close()
		l.begin.Do(func() {}) // it will not any more
		go l.finish()
	})
	return l.closeErr
}

func (l *frontListener) finish() {
	timer := time.AfterFunc(min(l.handshake, lastHandshake), l.cancel)
	defer timer.Stop()
	l.pending.Wait()
	l.cancel()
}

func (s *Server) newFrontConn(conn net.Conn, place *place) *frontConn {
	limits := s.edge.config.Limits
	c := &frontConn{Conn: conn, stall: limits.WriteStall, place: place}
	c.framer.maxLine = limits.HeaderBytes + lineSlack
	return c
}
