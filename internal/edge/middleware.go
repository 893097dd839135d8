package edge

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"runtime/debug"
	"strings"
	"time"
)

// newChain is the way of every request, outermost first.
func (e *Edge) newChain() http.Handler {
	next := e.secured(e.dispatch)
	return e.recorded(
		e.logged(
			e.recovered(
				e.forwarded(
					e.answered(
						e.rated(
							e.timed(
								e.limited(next))))))))
}

// recorded makes the record the other stages fill in, and wraps the response so
// that they can see what became of it.
func (e *Edge) recorded(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		expectTrailers(r)
		rec := &record{started: e.now()}
		front := frontOf(r)
		if r.ProtoMajor == 2 {
			rec.doubt = doubtInHTTP2(r)
		} else {
			rec.doubt, rec.framed = front.begin(r)
		}
		rec.match = e.route(r.Method, r.Host, r.URL.Path)
		rec.route = rec.match.kind.String()
		res := &response{
			ResponseWriter: w, tunnels: e.tunnels, last: framesUnsurely(r) || rec.misunderstood(), leaving: &e.leaving, front: front, framed: rec.framed,
			isWebSocket: strings.EqualFold(r.Header.Get("Upgrade"), "websocket"), watch: watchWrites(w, r, e.config.Limits.WriteStall),
		}
		next.ServeHTTP(res, withRecord(r, rec))
	})
}

// expectTrailers lets trailers that nobody announced reach the stages below. The
// server fills this map when the body ends; were it nil, the server would put a
// new one into a request that those stages have only a copy of.
func expectTrailers(r *http.Request) {
	if r.Trailer == nil && r.ContentLength < 0 {
		r.Trailer = make(http.Header)
	}
}

// logged writes the access log and counts, however the request ends.
func (e *Edge) logged(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		res := w.(*response)
		e.metrics.inFlight.Inc()
		defer func() {
			res.ended()
			if res.front != nil && res.hijacked == nil && r.ContentLength != 0 { // net/http reads what is left
				res.front.awaitRestUnlessBounded(e.config.Limits.ReadHeader)
			}
			e.metrics.inFlight.Dec()
			rec := recordOf(r)
			if res.status == 0 && rec.reason == ReasonClientGone {
				res.status = statusClientGone
			}
			if r.ProtoMajor == 2 {
				e.noteStream(r, res)
			}
			now := e.now()
			took := now.Sub(rec.started)
			e.metrics.observe(rec, res, took)
			rec.trace.end(rec, res, e.loggedClient, now)
			e.logAccess(r, rec, res, took)
		}()
		next.ServeHTTP(w, r)
	})
}

// recovered turns a panic into a 500 when nothing has been sent yet, and into an
// aborted connection otherwise, so that nobody takes half an answer for a whole
// one. http.ErrAbortHandler is a handler's way of asking for just that.
func (e *Edge) recovered(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		defer func() {
			p := recover()
			if p == nil {
				return
			}
			rec := recordOf(r)
			if p == http.ErrAbortHandler {
				rec.aborted(r.Context())
				w.(*response).flushBegun()
				panic(p)
			}
			rec.reason, rec.cause = ReasonInternal, fmt.Errorf("panic: %v", p)
			e.logger.Error("a handler panicked", "route", rec.route, "panic", fmt.Sprint(p), "stack", string(debug.Stack()))
			if w.(*response).started() {
				panic(http.ErrAbortHandler)
			}
			e.render(w, r, fail(http.StatusInternalServerError, ReasonInternal, "Something went wrong on our side."))
		}()
		next.ServeHTTP(w, r)
	})
}

// forwarded notes who came, and by which way, and under which id the visitor, the
// backend, the log and the trace find the request.
func (e *Edge) forwarded(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		rec := recordOf(r)
		rec.journey = e.from.journey(r)
		rec.request = requestID(r, rec.believed)
		w.Header()[requestIDHeader] = rec.request
		rec.trace = e.config.Tracing.begin(r, rec)
		next.ServeHTTP(w, r)
	})
}

// answered renders the failure a handler ended in.
func (e *Edge) answered(next handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body := r.Body // handlers wrap it
		f := next(w, r)
		rec := recordOf(r)
		if f != nil {
			rec.reason, rec.cause = f.reason, f.cause
			e.render(w, r, f)
		}
		// Who was too slow has had time enough.
		if rec.match.kind.isAPI() && rec.reason != ReasonBodyTooSlow {
			linger(w.(*response), r, body)
		}
	})
}

// limited refuses what is too long to be looked at, and targets that have no path
// (RFC 9112 3.2). Headers are limited by net/http, bodies where they are read.
func (e *Edge) limited(next handler) handler {
	return func(w http.ResponseWriter, r *http.Request) *failure {
		if doubt := recordOf(r).doubt; doubt != "" {
			return fail(http.StatusBadRequest, ReasonBadRequest, "The request can be understood in more than one way. "+doubt)
		}
		if n := headerLines(r); n > e.config.Limits.Headers {
			return fail(http.StatusRequestHeaderFieldsTooLarge, ReasonTooManyHeaders,
				fmt.Sprintf("The request has more than the %d headers allowed.", e.config.Limits.Headers))
		}
		if len(r.RequestURI) > e.config.Limits.URLBytes {
			return fail(http.StatusRequestURITooLong, ReasonURLTooLong,
				fmt.Sprintf("The address is longer than the %d bytes allowed.", e.config.Limits.URLBytes))
		}
		if !hasPath(r) {
			w.(*response).last = true
			return fail(http.StatusBadRequest, ReasonBadRequest, "The request line names no path.")
		}
		return next(w, r)
	}
}

// headerLines counts the headers as they were sent, the one that names the host
// included.
func headerLines(r *http.Request) int {
	n := 1
	for _, values := range r.Header {
		n += len(values)
	}
	return n
}

// errRequestTimeout is why a request that took too long in all was given up.
var errRequestTimeout = errors.New("the request took longer than it may in all")

// timed bounds a request as a whole, if there is such a limit. A connection that
// is taken over, such as a WebSocket, is no request any more.
func (e *Edge) timed(next handler) handler {
	limit := e.config.Limits.Request
	if limit <= 0 {
		return next
	}
	return func(w http.ResponseWriter, r *http.Request) *failure {
		ctx, cancel := context.WithCancelCause(r.Context())
		defer cancel(nil)
		timer := time.AfterFunc(limit, func() { cancel(errRequestTimeout) })
		defer timer.Stop()
		w.(*response).upgraded = func() { timer.Stop() }
		defer recordOf(r).noteTimeout(ctx)
		f := next(w, r.WithContext(ctx))
		if f != nil && context.Cause(ctx) == errRequestTimeout { //nolint:errorlint // it is never wrapped
			return requestTimeout(f)
		}
		return f
	}
}

func requestTimeout(cause error) *failure {
	f := fail(http.StatusGatewayTimeout, ReasonRequestTimeout, "The request took longer than it may in all.")
	f.cause = cause
	return f
}

// hasPath reports whether the target has a path. OPTIONS may ask about a host as a
// whole; CONNECT names a host, which the router refuses.
func hasPath(r *http.Request) bool {
	if r.Method == http.MethodConnect {
		return true
	}
	return r.URL.Opaque == "" && (r.URL.Path != "*" || r.Method == http.MethodOptions)
}

// dispatch is the index of the routes.
func (e *Edge) dispatch(w http.ResponseWriter, r *http.Request) *failure {
	switch recordOf(r).match.kind {
	case routeAPI:
		return e.serveAPI(w, r)
	case routePlatform:
		return e.servePlatform(w, r)
	case routeResolve:
		return e.servePublicResolve(w, r)
	case routeApp:
		return e.serveApp(w, r)
	case routeFunction:
		return e.serveFunction(w, r)
	case routeLink:
		return e.serveLink(w, r)
	case routeUser:
		return e.serveUser(w, r)
	case routeIndex:
		return e.serveIndex(w, r)
	case routeAppsDomain, routeFunctionsDomain:
		return e.serveBareDomain(w, r)
	case routeAsset:
		return e.serveAsset(w, r)
	case routeBadMethod, routeBadAPIMethod:
		return methodNotAllowed("GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS")
	case routeBadHost:
		return fail(http.StatusBadRequest, ReasonBadRequest, "The request names no valid host.")
	case routeUnknownPath:
		return unknownPath()
	}
	return unknownHost()
}

func unknownHost() *failure {
	f := fail(http.StatusNotFound, ReasonUnknownHost, "Nothing is served for this host name.")
	f.hint = "If you run this ingress: --host adds a host of its own, and apps and functions are exactly one label " +
		"of 3 to 63 characters, such as name.example.com, under --apps-domain and --functions-domain. " +
		"If you own an app: ingress app domain add gives it a name of your own."
	return f
}

func unknownPath() *failure {
	f := fail(http.StatusNotFound, ReasonUnknownPath, "There is nothing at this address.")
	f.hint = "The index page lists what there is."
	return f
}

func methodNotAllowed(allow string) *failure {
	f := fail(http.StatusMethodNotAllowed, ReasonMethodNotAllowed, "This method does not work here.")
	f.allow = allow
	return f
}

// onlyReads lets GET and HEAD pass and refuses the rest.
func onlyReads(r *http.Request) *failure {
	if r.Method == http.MethodGet || r.Method == http.MethodHead {
		return nil
	}
	return methodNotAllowed("GET, HEAD")
}
