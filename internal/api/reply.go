package api

import (
	"encoding/json"
	"net/http"
	"strconv"
)

// allowBrowsers sets the CORS headers that go on every reply, errors included
// (WIRE.md 1). Keys are sent explicitly, never as cookies, so any origin may be
// let in.
func allowBrowsers(header http.Header) {
	header.Set("Access-Control-Allow-Origin", "*")
	header.Set("Access-Control-Allow-Methods", "GET, POST, PUT, PATCH, DELETE, OPTIONS")
	header.Set("Access-Control-Allow-Headers", "Accept, Accept-Encoding, Authorization, Content-Length, Content-Type, Micro-Namespace, X-CSRF-Token, X-Requested-With")
	header.Set("Access-Control-Expose-Headers", "RateLimit-Limit, RateLimit-Remaining, RateLimit-Reset, Retry-After, X-Ingress-Error")
	header.Set("Access-Control-Max-Age", "86400")
}

// writeJSON sends a finished JSON document. A failed write means that the caller
// has gone; there is nobody left to tell.
func writeJSON(w http.ResponseWriter, status int, body []byte) {
	setJSON(w.Header())
	w.Header().Set("Content-Length", strconv.Itoa(len(body)))
	w.WriteHeader(status)
	_, _ = w.Write(body)
}

func setJSON(header http.Header) {
	header.Set("Content-Type", "application/json")
	header.Set("X-Content-Type-Options", "nosniff")
	header.Set("Cache-Control", "no-store")
}

// writeError sends the public half of an error with its status.
func writeError(w http.ResponseWriter, e *Error) {
	header := w.Header()
	if e.RetryAfter > 0 {
		header.Set("Retry-After", wholeSeconds(e.RetryAfter))
	}
	if e.Code == http.StatusUnauthorized {
		header.Set("WWW-Authenticate", `Bearer realm="m3o"`) // RFC 9110 11.6.1
	}
	writeJSON(w, e.Code, errorJSON(e))
}

// errorJSON cannot fail: the public half is two strings and a number.
func errorJSON(e *Error) []byte {
	body, err := json.Marshal(e)
	if err != nil {
		return []byte(`{"id":"v1","code":500,"detail":"internal error","status":"Internal Server Error"}`)
	}
	return body
}
