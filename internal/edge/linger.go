package edge

import (
	"io"
	"net/http"
	"time"
)

// Bounds of what is read of a refused body: enough for honest clients, which send
// a few times the limit at most.
const (
	lingerTime  = 5 * time.Second
	lingerBytes = 64 << 20
)

// linger reads on after a refusal that came before the whole body had. Closing a
// connection with unread bytes resets it, and the reset takes the answer away from
// a client that looks at it only when it has sent everything (RFC 9112 9.6).
func linger(w *response, r *http.Request, body io.Reader) {
	if r.ProtoMajor != 1 || r.ContentLength == 0 || w.status < http.StatusBadRequest || w.hijacked != nil || r.Header.Get("Expect") != "" {
		return
	}
	if http.NewResponseController(w).Flush() != nil || awaitRest(w, w.front, lingerTime) != nil {
		return
	}
	_, _ = io.CopyN(io.Discard, body, lingerBytes) // whatever ends it, the answer is out
}
