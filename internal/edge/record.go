package edge

import (
	"context"
	"errors"
	"net/http"
	"net/netip"
	"time"
)

// record is what the ingress knows of one request. The outermost middleware
// makes it, each stage adds what it learns, and the access log and the metrics
// read it at the end. It belongs to the request's goroutine.
type record struct {
	journey // how the request came, and from whom
	started time.Time
	request []string    // the request's id, as a header's values
	doubt   string      // what could be understood in two ways, or empty
	framed  *framedBody // the body, when it comes in chunks over HTTP/1
	route   string      // which of the routes answered, for logs and metrics
	match   match       // what the router said
	id      string      // the app's, function's or link's id; never a token
	tenant  string      // who it belongs to, or whose key called the platform; empty when unknown
	backend string      // host and port of the backend, or empty
	reason  Reason      // why the ingress itself answered, or empty
	cause   error       // the private cause behind reason
	resolve time.Duration
	queue   time.Duration // waiting for a start or for a turn
	answer  time.Duration // from sending the request to the head of the backend's answer
	// coldStart is how long the backend took to start while the request waited.
	coldStart time.Duration
	retried   bool         // the request was sent to the backend a second time
	body      *visitorBody // what is being sent to a backend, or nil
	trace     *requestTrace
}

// misunderstood reports whether another reader may see another request in this one.
// None behind it can be trusted.
func (rec *record) misunderstood() bool { return rec.doubt != "" || rec.match.kind == routeBadHost }

var errBrokeOff = errors.New("the answer broke off after it had begun")

// aborted notes why an answer has no end, if nobody knows better: the visitor
// left, which cancels the context, or the backend did.
func (rec *record) aborted(ctx context.Context) {
	switch {
	case rec.reason != "":
	case ctx.Err() != nil:
		rec.reason = ReasonClientGone
	default:
		rec.reason, rec.cause = ReasonBackendBroken, errBrokeOff
	}
}

// noteTimeout says why an answer that had begun has no end. Call it when the
// handler returns, or panics.
func (rec *record) noteTimeout(ctx context.Context) {
	if rec.reason == "" && context.Cause(ctx) == errRequestTimeout { //nolint:errorlint // it is never wrapped
		rec.reason, rec.cause = ReasonRequestTimeout, errRequestTimeout
	}
}

// visitor is who came, after believing the forwarding headers of trusted
// proxies and nobody else's.
type visitor struct {
	addr   netip.Addr // the visitor's address
	scheme string     // http or https, as the visitor used it
	host   string     // host with its port, as the visitor used it
}

type recordKey struct{}

// withRecord returns the request with the record in its context.
func withRecord(r *http.Request, rec *record) *http.Request {
	return r.WithContext(context.WithValue(r.Context(), recordKey{}, rec))
}

// recordOf returns the request's record. Every request that passed the
// middleware has one; for others it is a fresh one nobody reads.
func recordOf(r *http.Request) *record {
	if rec, ok := r.Context().Value(recordKey{}).(*record); ok {
		return rec
	}
	return &record{}
}

// requestID is the request's id, or empty before it has one.
func (rec *record) requestID() string {
	if len(rec.request) == 0 {
		return ""
	}
	return rec.request[0]
}

// NoteTenant notes in the access log for whom the platform works on a request.
// It is called while the request is served, from its goroutine.
func NoteTenant(ctx context.Context, tenant string) {
	if rec, ok := ctx.Value(recordKey{}).(*record); ok {
		rec.tenant = tenant
	}
}
