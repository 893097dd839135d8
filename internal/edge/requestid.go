package edge

import (
	"encoding/hex"
	"math/rand/v2"
	"net/http"
)

// requestIDHeader carries a request's id: to the backend, back to the visitor, and
// from a proxy in front of us. No RFC defines it; it is what proxies use.
const requestIDHeader = "X-Request-Id"

// maxRequestID bounds the ids that we take over.
const maxRequestID = 128

// requestID returns the request's id as a header's values: the one that a trusted
// peer gave it, or a new one. Anyone else could write into our log the id of
// somebody else's request.
func requestID(r *http.Request, believed bool) []string {
	if given := r.Header[requestIDHeader]; believed && len(given) == 1 && isRequestID(given[0]) {
		return given[:1:1]
	}
	return []string{newRequestID()}
}

// isRequestID reports whether an id can stand in a header and in a log as it is.
func isRequestID(id string) bool {
	if id == "" || len(id) > maxRequestID {
		return false
	}
	for i := range len(id) {
		switch c := id[i]; {
		case c >= '0' && c <= '9', c >= 'a' && c <= 'z', c >= 'A' && c <= 'Z':
		case c == '-', c == '_', c == '.', c == '/', c == '+', c == '=', c == ':', c == '@', c == '~':
		default:
			return false
		}
	}
	return true
}

// newRequestID returns 32 hexadecimal digits, the form of a trace id (W3C Trace
// Context 3.2.2.3). It need not be hard to guess, only never given twice.
func newRequestID() string {
	var b [16]byte
	high, low := rand.Uint64(), rand.Uint64()
	for i := range 8 {
		b[i], b[8+i] = byte(high>>(8*i)), byte(low>>(8*i))
	}
	var text [32]byte
	hex.Encode(text[:], b[:])
	return string(text[:])
}
