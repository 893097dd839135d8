package edge

import (
	"net/http"
	"net/url"
	"strings"
	"time"
)

// platform returns the handler that passes requests through to a remote platform
// API. The request's path already begins with /v1/; the base's own path is put in
// front. The caller's credentials pass and none are added: our token is for our
// own resolves alone.
func (p *proxy) platform(base *url.URL) handler {
	return func(w http.ResponseWriter, r *http.Request) *failure {
		if f := p.refuseLoop(r); f != nil {
			return f
		}
		h := &hop{
			now:       p.Now,
			stall:     stallOf(r, p.BodyStall),
			transport: p.Transport,
			url:       base,
			node:      p.Node,
			record:    recordOf(r),
			request:   withoutMicro,
			response:  assumeJSON,
		}
		h.record.backend = base.Host
		return p.send(w, r, h, platformFailure)
	}
}

// stallOf returns how long a body that is passed on may pause, which the proxy
// watches: by an error of reading it a visitor who is too slow could not be told from
// one who has left.
func stallOf(r *http.Request, usual time.Duration) time.Duration {
	if b, ok := r.Body.(*pacedBody); ok && b.steadily && !b.whole {
		return b.patience
	}
	return usual
}

// withoutMicro removes headers that mean something inside the platform: a foreign
// Micro-Namespace makes it answer 500 (WIRE.md 2).
func withoutMicro(h http.Header) {
	for name := range h {
		if len(name) >= 6 && strings.EqualFold(name[:6], "Micro-") {
			delete(h, name)
		}
	}
}

// assumeJSON labels an answer without a content type: the platform speaks JSON,
// and forgets to say so. Nothing else of the answer changes.
func assumeJSON(res *http.Response) {
	if res.Header.Get("Content-Type") == "" && hasContent(res.StatusCode) {
		res.Header.Set("Content-Type", "application/json")
	}
}

// hasContent reports whether an answer with this status can have a body
// (RFC 9110 6.4.1).
func hasContent(status int) bool {
	return status >= http.StatusOK && status != http.StatusNoContent && status != http.StatusNotModified
}

// platformFailure says that the remote API gave no answer.
func platformFailure(err error) *failure {
	status := http.StatusBadGateway
	if isTimeout(err) {
		status = http.StatusGatewayTimeout
	}
	f := fail(status, ReasonPlatformDown, "The platform does not answer.")
	f.hint = "Try again in a moment."
	f.cause = err
	return f
}
