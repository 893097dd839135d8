package edge

import (
	"bufio"
	"net"
	"net/http"
)

// jsonResponse labels what the embedded platform answers as JSON unless it said
// otherwise; net/http would guess from the body.
type jsonResponse struct {
	http.ResponseWriter
	labelled bool
}

// Unwrap lets http.ResponseController find the methods this type does not have.
func (w *jsonResponse) Unwrap() http.ResponseWriter { return w.ResponseWriter }

// WriteHeader adds the label before the headers go out.
func (w *jsonResponse) WriteHeader(status int) {
	if hasContent(status) {
		w.label()
	}
	w.ResponseWriter.WriteHeader(status)
}

func (w *jsonResponse) Write(b []byte) (int, error) {
	w.label()
	return w.ResponseWriter.Write(b)
}

// Flush sends what is buffered.
func (w *jsonResponse) Flush() {
	w.label()
	_ = http.NewResponseController(w.ResponseWriter).Flush() // unsupported means unbuffered
}

// Hijack hands the connection over.
func (w *jsonResponse) Hijack() (net.Conn, *bufio.ReadWriter, error) {
	return http.NewResponseController(w.ResponseWriter).Hijack()
}

func (w *jsonResponse) label() {
	if h := w.Header(); !w.labelled && h.Get("Content-Type") == "" {
		h.Set("Content-Type", "application/json")
	}
	w.labelled = true
}
