package api

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"time"

	"google.golang.org/protobuf/proto"
)

// lines sends a stream over plain HTTP: one JSON object a line, flushed as it
// comes (WIRE.md 4).
type lines struct {
	w        http.ResponseWriter
	control  *http.ResponseController
	patience time.Duration
	started  bool
}

func (h *Handler) serveStream(w http.ResponseWriter, r *http.Request, c call, req proto.Message) {
	out := &lines{w: w, control: http.NewResponseController(w), patience: h.patience}
	defer out.setDeadline(time.Time{})
	failed := h.run(r.Context(), c, req, out.send)
	switch {
	case failed == nil:
		out.begin()
	case !out.started:
		h.fail(w, c, failed)
	default:
		h.log(c, failed)
		// The status is long gone; a last line in the shape of an error is how
		// clients tell a broken stream from a finished one.
		_ = out.send(errorJSON(failed))
	}
}

// run runs a method that answers many times, handing on each reply as JSON.
func (h *Handler) run(ctx context.Context, c call, req proto.Message, send func([]byte) error) (failed *Error) {
	defer h.recovered(c, &failed)
	err := c.endpoint.method.replies()(ctx, c.caller, req, func(res proto.Message) error {
		if err := ctx.Err(); err != nil {
			return err
		}
		body, err := encode(res)
		if err != nil {
			return Internal(c.endpoint.id, fmt.Errorf("encode the reply: %w", err))
		}
		return send(body)
	})
	if err != nil {
		return c.endpoint.failure(ctx, err)
	}
	return nil
}

// begin sends the header, once. A stream may end without a single message.
func (l *lines) begin() {
	if l.started {
		return
	}
	l.started = true
	setJSON(l.w.Header())
	l.w.WriteHeader(http.StatusOK)
}

func (l *lines) send(body []byte) error { return l.write(append(body, '\n')) }

// write sends a piece of the reply at once.
func (l *lines) write(piece []byte) error {
	l.begin()
	l.setDeadline(time.Now().Add(l.patience))
	if _, err := l.w.Write(piece); err != nil {
		return err
	}
	// A writer that cannot flush delivers later, but it delivers.
	if err := l.control.Flush(); err != nil && !errors.Is(err, http.ErrNotSupported) {
		return err
	}
	return nil
}

// setDeadline bounds the writes that follow: without it, a client that stops
// reading would hold the method for good. A writer without deadlines has another
// server's to rely on.
func (l *lines) setDeadline(at time.Time) { _ = l.control.SetWriteDeadline(at) }
