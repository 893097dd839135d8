package edge

import (
	"bufio"
	"errors"
	"net"
	"net/http"
	"os"
)

// servePlatformHere lets the embedded platform answer. What it says of a body
// beyond the limits gives way to our own answer: the limits are ours.
func servePlatformHere(platform http.Handler, w http.ResponseWriter, r *http.Request) *failure {
	answer := &jsonResponse{ResponseWriter: w}
	if r.Body != nil && r.Body != http.NoBody {
		answer.body = &visitorBody{ReadCloser: r.Body}
		r.Body = answer.body
	}
	platform.ServeHTTP(answer, r)
	if answer.withheld != nil {
		return badRequest("The body", answer.withheld)
	}
	return nil
}

// jsonResponse labels what the embedded platform answers as JSON unless it said
// otherwise; net/http would guess from the body. It withholds an answer that
// begins after the request's body has turned out to be too large or too slow.
type jsonResponse struct {
	http.ResponseWriter
	body     *visitorBody // nil when the request has none
	begun    bool
	withheld error // why, or nil
}

// Unwrap lets http.ResponseController find the methods this type does not have.
func (w *jsonResponse) Unwrap() http.ResponseWriter { return w.ResponseWriter }

// WriteHeader adds the label before the headers go out.
func (w *jsonResponse) WriteHeader(status int) {
	if status < http.StatusOK {
		w.ResponseWriter.WriteHeader(status)
		return
	}
	if w.begin(hasContent(status)); w.withheld == nil {
		w.ResponseWriter.WriteHeader(status)
	}
}

func (w *jsonResponse) Write(b []byte) (int, error) {
	if w.begin(true); w.withheld != nil {
		return len(b), nil
	}
	return w.ResponseWriter.Write(b)
}

// Flush sends what is buffered.
func (w *jsonResponse) Flush() {
	if w.begin(true); w.withheld == nil {
		_ = http.NewResponseController(w.ResponseWriter).Flush() // unsupported means unbuffered
	}
}

// Hijack hands the connection over.
func (w *jsonResponse) Hijack() (net.Conn, *bufio.ReadWriter, error) {
	return http.NewResponseController(w.ResponseWriter).Hijack()
}

// begin decides, once, what becomes of the answer.
func (w *jsonResponse) begin(content bool) {
	if w.begun {
		return
	}
	w.begun = true
	if err := w.body.failed(); isBeyondLimits(err) {
		w.withheld = err
		return
	}
	if h := w.Header(); content && h.Get("Content-Type") == "" {
		h.Set("Content-Type", "application/json")
	}
}

func isBeyondLimits(err error) bool {
	var tooLarge *http.MaxBytesError
	return errors.As(err, &tooLarge) || errors.Is(err, os.ErrDeadlineExceeded)
}
