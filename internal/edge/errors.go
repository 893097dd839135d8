package edge

import (
	"encoding/json"
	"math"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/m3o/ingress/internal/api"
)

// errorHeader tells the ingress's own failures from an app's.
const errorHeader = "X-Ingress-Error"

// render answers a request with a failure. It is the only place that does, and
// it must be the first to write. Everything is rendered before the status goes
// out, so that a defect here cannot produce half a page.
func (e *Edge) render(w http.ResponseWriter, r *http.Request, f *failure) {
	body, contentType := e.failureBody(r, f)
	h := w.Header()
	if res, ok := w.(*response); ok {
		res.own = true
	}
	clear(h) // headers that a handler set for the answer it did not give
	if id := recordOf(r).request; id != nil {
		h[requestIDHeader] = id
	}
	h.Set(errorHeader, string(f.reason))
	h.Set("Cache-Control", "no-store")
	h.Set("Content-Type", contentType)
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("X-Robots-Tag", "noindex")
	h.Set("Content-Length", strconv.Itoa(len(body)))
	e.boundRest(w, r, f)
	if f.allow != "" {
		h.Set("Allow", f.allow)
	}
	if f.retryAfter > 0 {
		h.Set("Retry-After", retryAfter(f.retryAfter))
	}
	switch kind := recordOf(r).match.kind; {
	case kind.isAPI():
		allowAnyOrigin(h)
	case kind == routeUser:
		h.Set("Referrer-Policy", "no-referrer") // the address carries a token
	}
	if contentType == htmlType {
		h.Set("Content-Security-Policy", e.pages.policy)
	}
	w.WriteHeader(f.status)
	if r.Method != http.MethodHead {
		_, _ = w.Write(body) // a client that has gone is nobody to tell
	}
}

// boundRest limits how long the rest of the request's body may take. The server
// reads some of it before it sends the answer, however slowly it comes.
func (e *Edge) boundRest(w http.ResponseWriter, r *http.Request, f *failure) {
	if r.ContentLength == 0 || r.ProtoMajor != 1 {
		return
	}
	rec := recordOf(r)
	rec.body.closeIfUnread(w.Header())
	wait := e.config.Limits.ReadHeader
	if rec.misunderstood() || f.reason == ReasonBodyTooSlow {
		wait = min(wait, doubtTime)
	}
	_ = awaitRest(w, frontOf(r), wait) // an error means that there is nothing to read
}

// doubtTime is how long the rest of a request is awaited whose end is in doubt, or
// did not come in time. It is for the answer to arrive before the connection is
// reset, and not for the rest.
const doubtTime = time.Second

// failureBody is the failure in the form that the caller is best served with: JSON for
// programs that say so and for the API, a page for browsers, and for all others, such as
// curl, a few lines that can be read in a terminal.
func (e *Edge) failureBody(r *http.Request, f *failure) (body []byte, contentType string) {
	asJSON, asPage := formsWanted(r)
	switch {
	case asJSON:
		return failureJSON(f), "application/json"
	case asPage:
		if r.Method != http.MethodGet {
			f.reload = 0 // loading it again would be another request than this one
		}
		if f.reload > 0 {
			f.hint = f.waiting
		}
		return e.pages.failure(f, recordOf(r).requestID()), htmlType
	}
	return failureText(f, recordOf(r).requestID()), textType
}

func failureJSON(f *failure) []byte {
	answer := &api.Error{ID: "ingress." + string(f.reason), Code: f.status, Detail: strings.TrimSpace(f.message + " " + f.hint)}
	body, err := json.Marshal(answer)
	if err != nil {
		return []byte(`{}`) // cannot happen: the answer consists of strings and a number
	}
	return body
}

const textType = "text/plain; charset=utf-8"

// failureText is what a page says, for terminals and logs.
func failureText(f *failure, request string) []byte {
	lines := []string{strconv.Itoa(f.status) + " " + http.StatusText(f.status) + ": " + f.message}
	if f.hint != "" {
		lines = append(lines, f.hint)
	}
	last := "Answered by the ingress: " + string(f.reason)
	if request != "" {
		last += ", request " + request
	}
	return []byte(strings.Join(append(lines, last, ""), "\n"))
}

// allowAnyOrigin repeats the platform's CORS headers, which are on every reply of
// the API (WIRE.md 1), so that a browser's script can read a failure of ours.
func allowAnyOrigin(h http.Header) {
	h.Set("Access-Control-Allow-Origin", "*")
	h.Set("Access-Control-Allow-Methods", "GET, POST, PUT, PATCH, DELETE, OPTIONS")
	h.Set("Access-Control-Allow-Headers", "Authorization, Content-Type, Micro-Namespace")
	h.Set("Access-Control-Expose-Headers", errorHeader+", "+requestIDHeader)
}

// retryAfter is in whole seconds, rounded up (RFC 9110 10.2.3).
func retryAfter(d time.Duration) string {
	return strconv.Itoa(int(math.Ceil(d.Seconds())))
}

// wantsJSON reports whether the caller is best served with JSON: every caller of the API,
// gRPC clients, and who prefers it.
func wantsJSON(r *http.Request) bool {
	wanted, _ := formsWanted(r)
	return wanted
}

// formsWanted reports whether a failure should be JSON, or otherwise a page.
func formsWanted(r *http.Request) (asJSON, asPage bool) {
	if recordOf(r).match.kind.isAPI() || strings.HasPrefix(r.Header.Get("Content-Type"), "application/grpc") {
		return true, false
	}
	return preferences(r.Header.Values("Accept"))
}

// preferences compares the weights of JSON and HTML in Accept headers (RFC 9110
// 12.5.1). Only what is named counts, because browsers and curl accept anything.
func preferences(accept []string) (asJSON, asPage bool) {
	var forJSON, forHTML float64
	for _, item := range strings.Split(strings.Join(accept, ","), ",") {
		name, parameters, _ := strings.Cut(item, ";")
		name = strings.ToLower(strings.TrimSpace(name))
		switch {
		case name == "application/json" || strings.HasPrefix(name, "application/") && strings.HasSuffix(name, "+json"):
			forJSON = max(forJSON, weight(parameters))
		case name == "text/html" || name == "application/xhtml+xml":
			forHTML = max(forHTML, weight(parameters))
		}
	}
	return forJSON > forHTML, forHTML > 0 && forHTML >= forJSON
}

// weight reads the q parameter; what it cannot read counts as 1, like nothing.
func weight(parameters string) float64 {
	for parameter := range strings.SplitSeq(parameters, ";") {
		name, value, _ := strings.Cut(parameter, "=")
		if !strings.EqualFold(strings.TrimSpace(name), "q") {
			continue
		}
		q, err := strconv.ParseFloat(strings.TrimSpace(value), 64)
		if err == nil && q >= 0 && q <= 1 {
			return q
		}
	}
	return 1
}
