package edge

import (
	"bufio"
	"io"
	"net"
	"net/http"
	"sync/atomic"
)

// response sees what becomes of a response without getting in its way: Unwrap,
// Flush and Hijack reach the server's own writer.
type response struct {
	http.ResponseWriter
	tunnels  *tunnels
	own      bool // the answer is a failure of ours
	status   int
	bytes    int64
	hijacked *tunnel
	watch    *watchdog // of an HTTP/2 stream's writes
	upgraded func()    // called when the connection is taken over, or nil
	// isWebSocket says what a connection that is taken over becomes.
	isWebSocket bool
	// last makes this the last answer on its connection, and so does leaving.
	last    bool
	leaving *atomic.Bool
	front   *frontConn  // that the request came by, or nil
	framed  *framedBody // the request's body, when it comes in chunks over HTTP/1
	// hsts has browsers keep to TLS, unless the app itself has a say in that.
	hsts bool
}

// framesUnsurely reports whether where the request ends is something that a proxy
// in front of us may have judged differently. net/http hides a Content-Length
// beside a Transfer-Encoding, ignores a Transfer-Encoding in HTTP/1.0, and, while
// an answer runs alongside its request, goes on after a broken chunk as if a new
// request began there. RFC 9112 6.1 wants such connections closed after the
// answer, so that nothing behind the request is taken for another one. Where the
// bytes themselves are followed all that is known, and refused.
func framesUnsurely(r *http.Request) bool {
	if r.ProtoMajor != 1 || frontOf(r) != nil {
		return false
	}
	return len(r.TransferEncoding) > 0 || r.ProtoMinor == 0 && r.ContentLength != 0
}

// Unwrap lets http.ResponseController find the methods this type does not have.
func (w *response) Unwrap() http.ResponseWriter { return w.ResponseWriter }

// WriteHeader notes the status. Informational ones are not the answer yet, but
// for 101, which is the last. Only we may say that the ingress answered: an app
// that says so would hide its own failures behind ours.
func (w *response) WriteHeader(status int) {
	if !w.own {
		w.Header().Del(errorHeader)
	}
	if w.status == 0 && (status >= 200 || status == http.StatusSwitchingProtocols) {
		w.status = status
	}
	if w.front != nil && status > http.StatusSwitchingProtocols && status < http.StatusOK {
		w.front.writeInterim(status, w.Header())
		return
	}
	if w.hsts && status >= http.StatusOK && w.Header().Get("Strict-Transport-Security") == "" {
		w.Header().Set("Strict-Transport-Security", hstsHeader)
	}
	if status >= http.StatusOK && w.isLast() {
		w.Header().Set("Connection", "close") // net/http takes this as an order
	}
	w.ResponseWriter.WriteHeader(status)
}

func (w *response) Write(b []byte) (int, error) {
	w.begin()
	w.watch.begin()
	n, err := w.ResponseWriter.Write(b)
	w.watch.end()
	w.bytes += int64(n)
	return n, err
}

// ReadFrom keeps the server's sendfile path for files.
func (w *response) ReadFrom(src io.Reader) (int64, error) {
	if w.watch != nil {
		return io.Copy(struct{ io.Writer }{w}, src) // piece by piece
	}
	w.begin()
	n, err := io.Copy(w.ResponseWriter, src)
	w.bytes += n
	return n, err
}

// Flush sends what is buffered.
func (w *response) Flush() { _ = w.FlushError() }

// FlushError is Flush for http.ResponseController.
func (w *response) FlushError() error {
	w.begin()
	w.watch.begin()
	defer w.watch.end()
	return http.NewResponseController(w.ResponseWriter).Flush()
}

// Hijack hands the connection over and counts it until the handler returns, so
// that a shutdown waits for it.
func (w *response) Hijack() (net.Conn, *bufio.ReadWriter, error) {
	conn, buffered, err := w.tunnels.take(w.ResponseWriter, w.isWebSocket)
	if err != nil {
		return nil, nil, err
	}
	if w.status == 0 {
		w.status = http.StatusSwitchingProtocols
	}
	w.hijacked = conn
	if w.upgraded != nil {
		w.upgraded()
	}
	return conn, buffered, nil
}

// isLast reports whether the connection is to be closed after this answer. That holds
// too when the visitor waits to be told to send a body which nobody wants: net/http
// would read what never comes before it answers, because the body that it knows is
// inside of ours.
func (w *response) isLast() bool { return w.last || w.leaving.Load() || w.framed.unwanted() }

// flushBegun sends what has been written of an answer that is to be aborted, as
// far as it came.
func (w *response) flushBegun() {
	if w.started() && w.hijacked == nil {
		w.Flush()
	}
}

func (w *response) begin() {
	if w.status == 0 {
		w.WriteHeader(http.StatusOK)
	}
}

// started reports whether a final status has been sent, or the connection given
// away.
func (w *response) started() bool { return w.status != 0 }

// ended is called when the handler has returned.
func (w *response) ended() {
	w.watch.leave()
	if w.bytes > 0 {
		w.watch.allow(w.ResponseWriter)
	}
	if w.hijacked != nil {
		w.bytes += w.hijacked.sent.Load()
		w.tunnels.remove(w.hijacked)
	} else if !w.started() && w.isLast() {
		w.Header().Set("Connection", "close") // net/http is about to answer 200
	}
}
