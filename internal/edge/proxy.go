package edge

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httputil"
	"net/url"
	"strings"
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
	// BodyStall is how long a visitor may send nothing of a body before the answer
	// begins. Zero is no limit.
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
	h.record.backend = t.URL.Host // none for a managed one: the stand-in says nothing
	if t.URL.Host == "" {
		h.url = managedURL
	}
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

// trier is a site that can find, before it writes anything, that it has no answer.
// The plain answers of others are theirs, whatever they are.
type trier interface {
	TryServe(w http.ResponseWriter, r *http.Request) error
}

// serveHandler lets a site without a process answer. It gets the request as a
// process would: without our keys, with the visitor's address.
func (p *proxy) serveHandler(w http.ResponseWriter, r *http.Request, h *hop, site http.Handler) *failure {
	r = r.Clone(r.Context())
	h.request(r.Header)
	h.record.journey.write(r.Header)
	r.Header[requestIDHeader] = h.record.request
	if t, ok := site.(trier); ok {
		if err := t.TryServe(w, r); err != nil {
			f := fail(http.StatusInternalServerError, ReasonInternal, "The files of this site cannot be read.")
			f.cause = err
			return f
		}
		return nil
	}
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
	h.answer = &answer{
		ResponseWriter: w, front: frontOf(r), early: h.early, request: h.record.request, finalOnly: !r.ProtoAtLeast(1, 1), version2: r.ProtoMajor == 2,
		halfClosed: p.HalfClosed, tunnelIdle: p.TunnelIdle,
	}
	ctx := upstream.WithRetryNotice(r.Context(), func() { h.record.retried = true })
	in := r.WithContext(context.WithValue(ctx, hopKey{}, h))
	if r.Body != nil && r.ContentLength != 0 {
		stall := h.stall
		if upstream.IsGRPC(r) {
			stall = 0 // a stream may be silent from its beginning on, and has deadlines of its own
		}
		h.body = &visitorBody{
			ReadCloser: r.Body, watch: watchReads(w, stall), expects: expectsContinue(r),
		}
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

// hopTransport sends each request by its hop's own transport.
type hopTransport struct{}

// RoundTrip implements http.RoundTripper.
func (hopTransport) RoundTrip(r *http.Request) (*http.Response, error) {
	h := hopOf(r)
	begin := h.now()
	h.record.trace.send(r.Header, h.record.backend, begin)
	res, err := h.transport.RoundTrip(h.pass.watch(r))
	h.record.answer = h.now().Sub(begin)
	if err != nil {
		h.record.trace.answered(0, err)
		if r.Context().Err() == nil && isMissed(err) {
			h.pass.missed()
		}
		return nil, err
	}
	h.pass.reached()
	h.record.trace.answered(res.StatusCode, nil)
	if res.StatusCode < 100 {
		_ = res.Body.Close() // nobody will read it
		return nil, fmt.Errorf("the backend answered with the status %03d", res.StatusCode)
	}
	if res.StatusCode == http.StatusSwitchingProtocols && !isAsked(r.Header, res.Header) {
		_ = res.Body.Close() // ReverseProxy would refuse the answer and leave the connection open
		return nil, errors.New("the backend switched to a protocol that it was not asked for")
	}
	h.response(res)
	if mayLast(r, res) {
		h.pass.leave()
	}
	if res.StatusCode == http.StatusSwitchingProtocols {
		res.Header.Del(errorHeader) // as response.WriteHeader, which never sees this one
	}
	h.answer.prepare(res)
	h.answer.pass(r, res)
	return res, nil
}

// isAsked reports whether an answer switches to the very protocol that the request
// names. Of several ReverseProxy passes on none that the backend chooses.
func isAsked(request, answer http.Header) bool {
	return isUpgrade(request) && isUpgrade(answer) && strings.EqualFold(request.Get("Upgrade"), answer.Get("Upgrade"))
}

// mayLast reports whether an answer is of a kind that may stay for days although
// its backend is well: WebSockets, event streams, and the streams of gRPC.
func mayLast(r *http.Request, res *http.Response) bool {
	if res.StatusCode == http.StatusSwitchingProtocols || upstream.IsGRPC(r) {
		return true
	}
	kind, _, _ := strings.Cut(res.Header.Get("Content-Type"), ";")
	return strings.EqualFold(strings.TrimSpace(kind), "text/event-stream")
}
