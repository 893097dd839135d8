package edge

import (
	"bufio"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httputil"
	"net/url"
	"strings"
	"sync"
	"time"

	"github.com/m3o/ingress/internal/upstream"
)

// target is where the proxy sends one request.
type target struct {
	Backend
	Lease *Lease // set for Managed backends only; serve releases it
	pass  *pass  // set for all others; serve has it leave
}

// proxyConfig is what the proxy is made of.
type proxyConfig struct {
	// Transport reaches Remote backends and the remote platform.
	Transport http.RoundTripper
	// Registered reaches Registered backends, under the address rules of package
	// upstream. Without it they are refused: they must never be dialled freely.
	Registered http.RoundTripper
	// TenantDomains returns the domains whose subdomains are apps and functions,
	// as they are now.
	TenantDomains func() []string
	// IsPlatformKey reports whether a credential is one of the platform's keys.
	IsPlatformKey func(credential string) bool
	// Node names us in CDN-Loop; empty means defaultNode.
	Node string
	// Now is the clock; nil means time.Now.
	Now func() time.Time
	// HalfClosed is how long the open half of an upgraded connection may be silent
	// once the other has ended. Zero means 30 s.
	HalfClosed time.Duration
	// TunnelIdle is how long an upgraded connection may be silent with both sides
	// open. Zero is no limit.
	TunnelIdle time.Duration
	// BodyStall is how long the visitor of an app or a function may send nothing of a
	// body before the answer begins. Zero is no limit.
	BodyStall time.Duration
	// Logger gets what went wrong after an answer had begun. Nil discards.
	Logger *slog.Logger
}

// proxy sends requests to backends. There is one for all of them; what differs
// from request to request is in its hop. It is safe for concurrent use.
type proxy struct {
	proxyConfig
	reverse *httputil.ReverseProxy
}

// flushInterval is how long a piece of a body may wait for the next one. It is for
// bodies of a declared length: pieces of the others, event streams among them,
// ReverseProxy forwards at once. Here that would cost each short answer a goroutine
// and a system call of its own for the headers, which is half its time.
const flushInterval = time.Millisecond

func newProxy(c proxyConfig) *proxy {
	c.Node = cmp.Or(c.Node, defaultNode)
	if c.Now == nil {
		c.Now = time.Now
	}
	c.HalfClosed = cmp.Or(c.HalfClosed, defaultHalfClosed)
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	p := &proxy{proxyConfig: c}
	p.reverse = &httputil.ReverseProxy{
		Rewrite:       rewrite,
		Transport:     hopTransport{},
		FlushInterval: flushInterval,
		BufferPool:    &bufferPool{},
		ErrorHandler:  func(_ http.ResponseWriter, r *http.Request, err error) { hopOf(r).err = err },
		ErrorLog:      slog.NewLogLogger(c.Logger.Handler(), slog.LevelDebug),
	}
	return p
}

// hop is one request on its way to one backend. The hooks of the shared
// ReverseProxy find it in the request's context.
type hop struct {
	transport http.RoundTripper
	url       *url.URL // the backend's scheme, host and base path
	host      string   // the Host to send; empty for the backend's own
	node      string
	now       func() time.Time
	request   func(http.Header)    // what the route does to the headers on the way out
	response  func(*http.Response) // and to the answer
	early     func(http.Header)    // and to the headers of a 1xx, or nil
	record    *record
	pass      *pass
	answer    *answer
	body      *visitorBody
	stall     time.Duration // for the visitor to send more of it; zero is no limit
	err       error         // why there is no answer
}

type hopKey struct{}

// hopOf returns the hop of a request that send made.
func hopOf(r *http.Request) *hop { return r.Context().Value(hopKey{}).(*hop) }

// serve proxies an app's or a function's request. When the backend gave no answer
// it returns a failure and has written nothing. It ends the target's lease once
// the body, or the upgraded connection, has ended.
func (p *proxy) serve(w http.ResponseWriter, r *http.Request, t target) *failure {
	if t.Lease != nil && t.Lease.Release != nil {
		defer t.Lease.Release()
	}
	defer t.pass.leave()
	if f := p.refuseLoop(r); f != nil {
		return f
	}
	h := p.newHop(r, t)
	if t.Lease != nil && t.Lease.Handler != nil {
		return p.serveHandler(w, r, h, t.Lease.Handler)
	}
	return p.send(w, r, h, backendFailure)
}

func (p *proxy) newHop(r *http.Request, t target) *hop {
	h := &hop{
		url:     &t.URL,
		node:    p.Node,
		now:     p.Now,
		record:  recordOf(r),
		pass:    t.pass,
		stall:   p.BodyStall,
		request: func(header http.Header) { withholdKeys(header, p.IsPlatformKey) },
		early:   func(header http.Header) { confineCookies(header, p.TenantDomains()) },
	}
	h.transport = p.transportFor(t)
	if t.URL.Host == "" {
		h.url = managedURL
	}
	h.record.backend = h.url.Host
	if t.PreserveHost || t.Origin == Managed {
		h.host = r.Host
		h.response = func(res *http.Response) {
			h.early(res.Header)
			noteColdStart(res.Header, h.record.coldStart)
		}
		return h
	}
	relocate := newRelocation(h.url, h.record.journey.visitor)
	h.response = func(res *http.Response) {
		h.early(res.Header)
		relocate.apply(res.Header)
	}
	return h
}

// managedURL stands in for the address of a managed backend, which only its lease
// knows. Names under .invalid never resolve (RFC 6761 6.4), so a lease that left
// the dialling to the name would reach nobody.
var managedURL = &url.URL{Scheme: "http", Host: "managed.invalid"}

func (p *proxy) transportFor(t target) http.RoundTripper {
	switch {
	case t.Lease != nil && t.Lease.Transport != nil:
		return t.Lease.Transport
	case t.Origin == Remote:
		return p.Transport
	case t.Origin == Registered && p.Registered != nil:
		return p.Registered
	}
	return forbiddenTransport{}
}

// forbiddenTransport refuses backends that no transport is meant for.
type forbiddenTransport struct{}

// RoundTrip implements http.RoundTripper.
func (forbiddenTransport) RoundTrip(r *http.Request) (*http.Response, error) {
	if r.Body != nil {
		_ = r.Body.Close() // the body is not read; there is nothing to report to
	}
	return nil, &upstream.ForbiddenError{Address: r.URL.Host, Why: "no transport applies the address rules to it"}
}

// serveHandler lets a site without a process answer. It gets the request as a
// process would: without our keys, with the visitor's address.
func (p *proxy) serveHandler(w http.ResponseWriter, r *http.Request, h *hop, site http.Handler) *failure {
	r = r.Clone(r.Context())
	h.request(r.Header)
	h.record.journey.write(r.Header)
	r.Header[requestIDHeader] = h.record.request
	site.ServeHTTP(w, r)
	return nil
}

// refuseLoop returns a failure for a request that has come by too often.
func (p *proxy) refuseLoop(r *http.Request) *failure {
	if passes(r.Header, p.Node) < maxPasses {
		return nil
	}
	f := fail(http.StatusLoopDetected, ReasonLoop, "This address leads back to itself.")
	f.hint = "The backend's address must not be one that the ingress serves."
	return f
}

// send takes the hop. A failure means that nothing was written.
func (p *proxy) send(w http.ResponseWriter, r *http.Request, h *hop, explain func(error) *failure) *failure {
	h.answer = &answer{ResponseWriter: w, early: h.early, finalOnly: !r.ProtoAtLeast(1, 1), halfClosed: p.HalfClosed, tunnelIdle: p.TunnelIdle}
	ctx := upstream.WithRetryNotice(r.Context(), func() { h.record.retried = true })
	in := r.WithContext(context.WithValue(ctx, hopKey{}, h))
	if r.Body != nil && r.ContentLength != 0 {
		h.body = &visitorBody{ReadCloser: r.Body, watch: watchReads(w, h.stall)}
		defer h.body.mayRest()
		h.answer.body, h.record.body = h.body, h.body
		in.Body = h.body
		duplex(w, r)
	}
	p.reverse.ServeHTTP(h.answer, in)
	if h.answer.halves.stop() {
		p.Logger.DebugContext(r.Context(), "upgraded connection closed: it was silent for too long", "backend", h.url.Host)
	}
	if h.err == nil {
		return nil
	}
	return p.unanswered(r, h, explain)
}

// duplex lets the backend's answer begin while the visitor is still sending.
// HTTP/2 can always do that.
func duplex(w http.ResponseWriter, r *http.Request) {
	if r.ProtoMajor == 1 {
		// An error means that the writer is not net/http's, which then has its own way.
		_ = http.NewResponseController(w).EnableFullDuplex()
	}
}

// unanswered turns the error that left a request without an answer into a
// failure, unless there is nobody left, or no way, to be told.
func (p *proxy) unanswered(r *http.Request, h *hop, explain func(error) *failure) *failure {
	switch {
	case h.answer.hijacked:
		p.Logger.DebugContext(r.Context(), "upgraded connection failed", "backend", h.url.Host, "error", h.err)
		return nil
	case h.body.stalled():
		return bodyTooSlow(h.err)
	case context.Cause(r.Context()) == errRequestTimeout: //nolint:errorlint // it is never wrapped
		return requestTimeout(h.err)
	case h.record.framed.doubt() != nil:
		// The server has given the request up as well, by its context.
		return bodyFailure(h.record.framed.doubt())
	case h.body.failed() != nil:
		if f := bodyFailure(h.body.failed()); f != nil {
			return f
		}
	case !errors.Is(r.Context().Err(), context.Canceled):
		return explain(h.err)
	}
	h.record.reason, h.record.cause = ReasonClientGone, h.err
	panic(http.ErrAbortHandler) // the server closes the connection and writes nothing
}

// bodyFailure explains why the visitor's own body could not be read: it is too
// large, or not HTTP. A visitor who went away gets nil.
func bodyFailure(err error) *failure {
	var tooLarge *http.MaxBytesError
	switch {
	case errors.As(err, &tooLarge):
		return bodyTooLarge(tooLarge)
	case isGone(err):
		return nil
	}
	f := fail(http.StatusBadRequest, ReasonBadRequest, "The request's body could not be read.")
	f.cause = err
	return f
}

// bodyTooSlow is for a visitor who stopped sending.
func bodyTooSlow(cause error) *failure {
	f := fail(http.StatusRequestTimeout, ReasonBodyTooSlow, "The body did not arrive in time.")
	f.cause = cause
	return f
}

// isGone reports whether a read failed because the other side hung up.
func isGone(err error) bool {
	var network net.Error
	return errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, context.Canceled) ||
		errors.Is(err, http.ErrBodyReadAfterClose) || errors.As(err, &network)
}

// backendFailure says what kept an app or a function from answering.
func backendFailure(err error) *failure {
	var forbidden *upstream.ForbiddenError
	var unready *Unready
	var f *failure
	switch {
	case errors.As(err, &unready):
		return unreadyFailure(unready)
	case errors.As(err, &forbidden):
		f = fail(http.StatusBadGateway, ReasonBackendForbidden, "The backend's address may not be used.")
		f.hint = "Its owner must register another address, or the operator allow this kind."
	case isTimeout(err):
		f = fail(http.StatusGatewayTimeout, ReasonBackendTimeout, "The backend did not answer in time.")
		f.hint = "Try again in a moment."
	case isDial(err):
		f = fail(http.StatusBadGateway, ReasonBackendRefused, "The backend could not be reached.")
		f.hint = "Try again in a moment."
	default:
		f = fail(http.StatusBadGateway, ReasonBackendBroken, "The backend's answer could not be understood.")
		f.hint = "Its owner should look at its log."
	}
	f.cause = err
	return f
}

func isTimeout(err error) bool {
	var network net.Error
	return errors.As(err, &network) && network.Timeout()
}

// isDial reports whether there was no connection, because of the network or
// because the name does not resolve.
func isDial(err error) bool {
	var network *net.OpError
	var name *net.DNSError
	return errors.As(err, &network) && network.Op == "dial" || errors.As(err, &name)
}

// isMissed reports whether the backend is to blame for there being no connection.
func isMissed(err error) bool {
	var forbidden *upstream.ForbiddenError
	return isDial(err) && !errors.As(err, &forbidden)
}

// rewrite makes the outgoing request. ReverseProxy has already removed hop-by-hop
// headers and those that say who came.
func rewrite(pr *httputil.ProxyRequest) {
	h := hopOf(pr.In)
	out := pr.Out
	out.URL = backendURL(h.url, pr.In.URL)
	out.Host = h.host
	// The server fills this very map once the body has been read; a copy of it
	// would stay empty.
	out.Trailer = pr.In.Trailer
	dropRefusedUpgrade(pr.In, out.Header)
	h.request(out.Header)
	h.record.journey.write(out.Header)
	out.Header[requestIDHeader] = h.record.request
	markPass(out.Header, h.node)
}

// dropRefusedUpgrade takes out an upgrade that must not happen, as a server is
// free to do (RFC 9110 7.8). HTTP/1.0 has none. Upgraded to HTTP/2 in the clear,
// any number of requests would go through the connection unseen, our keys among
// them.
func dropRefusedUpgrade(in *http.Request, out http.Header) {
	if !in.ProtoAtLeast(1, 1) || strings.EqualFold(out.Get("Upgrade"), "h2c") {
		delete(out, "Upgrade")
		delete(out, "Connection")
		delete(out, "Http2-Settings")
	}
}

// backendURL puts the visitor's path, exactly as it was sent, behind the
// backend's base path, and keeps the query untouched; ReverseProxy would remove
// parameters it cannot parse. In a path that begins with two slashes the bytes
// that no URL may contain (RFC 3986) are encoded.
func backendURL(base, in *url.URL) *url.URL {
	u := &url.URL{Scheme: base.Scheme, Host: base.Host, RawQuery: in.RawQuery, ForceQuery: in.ForceQuery}
	prefix := strings.TrimRight(base.EscapedPath(), "/")
	path := sentPath(in)
	switch {
	case path == "*" && prefix == "":
		u.Path = "*"
		return u
	case path == "*":
		path = ""
	}
	u.RawPath = prefix + path
	u.Path = strings.TrimRight(base.Path, "/") + in.Path
	switch {
	case u.EscapedPath() == u.RawPath:
	case strings.HasPrefix(u.RawPath, "//"):
		// net/url would encode the whole path anew, and lose the difference between
		// %2F and a slash.
		u.RawPath = strings.ReplaceAll(escapeLocation(u.RawPath), "#", "%23")
	default:
		// Opaque is sent as it is, bytes that should have been encoded included. It
		// cannot begin with two slashes, which would name a host.
		u.Opaque = u.RawPath
	}
	return u
}

// sentPath returns the path in the encoding it arrived in. net/url keeps that in
// RawPath when it differs from its own.
func sentPath(u *url.URL) string {
	if u.RawPath != "" {
		if path, err := url.PathUnescape(u.RawPath); err == nil && path == u.Path {
			return u.RawPath
		}
	}
	return u.EscapedPath()
}

// hopTransport sends each request by its hop's own transport.
type hopTransport struct{}

// RoundTrip implements http.RoundTripper.
func (hopTransport) RoundTrip(r *http.Request) (*http.Response, error) {
	h := hopOf(r)
	begin := h.now()
	res, err := h.transport.RoundTrip(r)
	h.record.answer = h.now().Sub(begin)
	if err != nil {
		if r.Context().Err() == nil && isMissed(err) {
			h.pass.missed()
		}
		return nil, err
	}
	h.pass.reached()
	if res.StatusCode < 100 {
		_ = res.Body.Close() // nobody will read it
		return nil, fmt.Errorf("the backend answered with the status %03d", res.StatusCode)
	}
	h.response(res)
	if res.StatusCode == http.StatusSwitchingProtocols {
		h.pass.leave()              // a WebSocket may stay for days
		res.Header.Del(errorHeader) // as response.WriteHeader, which never sees this one
	}
	h.answer.prepare(res)
	return res, nil
}

// answer is the visitor's ResponseWriter as ReverseProxy sees it.
type answer struct {
	http.ResponseWriter
	body      *visitorBody // nil when the request has none
	early     func(http.Header)
	finalOnly bool // the visitor speaks HTTP/1.0, which has no interim answers
	hijacked  bool
	// halfClosed and tunnelIdle are the limits of halves, which are those of the
	// upgraded connection.
	halfClosed, tunnelIdle time.Duration
	halves                 *halves
}

// prepare sets what ReverseProxy and the server would lose or add.
func (a *answer) prepare(res *http.Response) {
	if _, ok := res.Header[requestIDHeader]; ok {
		delete(a.Header(), requestIDHeader) // a backend that names its own has its reasons
	}
	if _, ok := res.Header["Content-Type"]; !ok {
		// Present but empty: the server must not guess one from the body.
		a.Header()["Content-Type"] = nil
	}
	if res.StatusCode == http.StatusUpgradeRequired && strings.EqualFold(res.Header.Get("Upgrade"), "websocket") {
		// Upgrade belongs to this hop, and to this status (RFC 9110 15.5.22). What the
		// backend demands is what we would pass.
		a.Header().Set("Upgrade", "websocket")
		a.Header().Set("Connection", "Upgrade")
	}
	if body, ok := res.Body.(io.ReadWriteCloser); ok && res.StatusCode == http.StatusSwitchingProtocols {
		a.halves = &halves{limit: a.halfClosed, idle: a.tunnelIdle, backend: body}
		res.Body = &backendHalf{ReadWriteCloser: body, halves: a.halves}
	}
}

// Unwrap lets http.ResponseController reach what the server's writer can do.
func (a *answer) Unwrap() http.ResponseWriter { return a.ResponseWriter }

// WriteHeader lets the route see the headers of interim answers, too, and keeps
// them from visitors who would take them for the answer (RFC 9110 15.2).
func (a *answer) WriteHeader(status int) {
	if status < http.StatusOK && a.finalOnly {
		return
	}
	if status == http.StatusContinue && a.body.wanted() {
		return // a backend that was slow to ask; the visitor has been asked already
	}
	if status < http.StatusOK && a.early != nil {
		a.early(a.Header())
	}
	if status >= http.StatusOK {
		a.body.mayRest()
		a.body.closeIfUnread(a.Header())
	}
	a.ResponseWriter.WriteHeader(status)
}

// Hijack takes the connection over for another protocol.
func (a *answer) Hijack() (net.Conn, *bufio.ReadWriter, error) {
	conn, buffered, err := http.NewResponseController(a.ResponseWriter).Hijack()
	if err != nil {
		return nil, nil, err
	}
	a.hijacked = true
	a.body.mayRest()
	if a.halves != nil { // ReverseProxy copies nothing otherwise
		a.halves.visitor = conn
		a.halves.start()
	}
	return &upgradedConn{Conn: conn, early: buffered.Reader, halves: a.halves}, buffered, nil
}

// upgradedConn is a visitor's connection after the upgrade. Its first bytes may
// have arrived with the request and wait in the server's buffer, where
// ReverseProxy does not look.
type upgradedConn struct {
	net.Conn
	early  *bufio.Reader
	halves *halves
}

// Read returns early bytes first.
func (c *upgradedConn) Read(p []byte) (n int, err error) {
	if early := c.early.Buffered(); early > 0 {
		n, err = c.early.Read(p[:min(early, len(p))])
	} else {
		n, err = c.Conn.Read(p)
	}
	c.halves.read(n, err)
	return n, err
}

// CloseWrite passes on that the backend has nothing more to say; embedding hides
// that the connection can.
func (c *upgradedConn) CloseWrite() error { return closeWrite(c.Conn) }

// bufferPool keeps the buffers bodies are copied through.
type bufferPool struct{ pool sync.Pool }

const bufferSize = 32 << 10

// Get implements httputil.BufferPool.
func (b *bufferPool) Get() []byte {
	if buffer, ok := b.pool.Get().(*[bufferSize]byte); ok {
		return buffer[:]
	}
	return make([]byte, bufferSize)
}

// Put implements httputil.BufferPool. An array pointer, unlike a slice, fits the
// pool's interface without an allocation.
func (b *bufferPool) Put(buffer []byte) { b.pool.Put((*[bufferSize]byte)(buffer)) }
