package api

import (
	"context"
	"net/http"
	"strings"
	"time"

	"github.com/coder/websocket"
	"google.golang.org/protobuf/proto"
)

// socket is one call over a WebSocket: a request in, replies out as text frames,
// then a clean close (WIRE.md 4).
type socket struct {
	conn     *websocket.Conn
	patience time.Duration
	all      *sockets
}

// serveWebSocket answers a call over a WebSocket. Whatever is wrong with the call
// is said after the upgrade, in a frame: a widely used client crashes on a
// refused one, and browsers hide its answer.
func (h *Handler) serveWebSocket(w http.ResponseWriter, r *http.Request) {
	if failed := checkUpgrade(w.Header(), r); failed != nil {
		writeError(w, failed)
		return
	}
	if !h.sockets.enter() {
		writeError(w, shuttingDown())
		return
	}
	defer h.sockets.leave()
	c, failed := h.open(w.Header(), r)
	conn, err := websocket.Accept(w, r, &websocket.AcceptOptions{
		// Keys are sent explicitly, so a foreign page has no authority to abuse.
		InsecureSkipVerify: true,
		Subprotocols:       []string{offeredProtocol(r)},
	})
	if err != nil { // Accept has answered
		h.logger.Info("websocket refused", "cause", err)
		return
	}
	conn.SetReadLimit(h.maxFrame)
	s := &socket{conn: conn, patience: h.patience, all: h.sockets}
	defer func() { _ = conn.CloseNow() }() // for a method that panics
	if failed == nil {
		failed = h.converse(r.Context(), s, c)
	}
	if failed != nil {
		h.log(c, failed)
	}
	s.end(failed)
}

// converse reads the request, calls the method and sends what it replies.
func (h *Handler) converse(ctx context.Context, s *socket, c call) *Error {
	if c.endpoint.method.Uploads() {
		return BadRequest("v1", "An upload is the body of a POST, not a message on a WebSocket")
	}
	data, failed := s.receive()
	if failed != nil {
		return failed
	}
	req, failed := c.endpoint.parse(data)
	if failed != nil {
		return failed
	}
	ctx, cancel := s.whileOpen(ctx)
	defer cancel()
	if c.endpoint.method.Streams() {
		return h.run(ctx, c, req, s.send)
	}
	if c.endpoint.method.list != nil {
		return h.sendListing(ctx, s, c, req)
	}
	body, failed := h.invoke(ctx, c, func(ctx context.Context) (proto.Message, error) {
		return c.endpoint.method.unary(ctx, c.caller, req)
	})
	if failed != nil {
		return failed
	}
	if err := s.send(body); err != nil {
		return c.endpoint.failure(ctx, err)
	}
	return nil
}

// receive waits for the request. The wait ends by itself rather than through the
// context of the read, whose end would close the connection without a word.
func (s *socket) receive() ([]byte, *Error) {
	type message struct {
		data []byte
		err  error
	}
	arrived := make(chan message, 1)
	go func() {
		_, data, err := s.conn.Read(context.Background())
		arrived <- message{data, err}
	}()
	late := time.NewTimer(s.patience)
	defer late.Stop()
	select {
	case m := <-arrived:
		if m.err != nil {
			return nil, unreadable(m.err)
		}
		return m.data, nil
	case <-late.C:
		return nil, newError("v1", http.StatusRequestTimeout, "No request arrived within %s", s.patience)
	case <-s.all.closing: // nothing is in flight here that could be finished
		return nil, shuttingDown()
	}
}

func shuttingDown() *Error { return Unavailable("v1", "the platform is shutting down", nil) }

// whileOpen returns a context that ends when the client goes or the program must.
func (s *socket) whileOpen(ctx context.Context) (context.Context, context.CancelFunc) {
	ctx, cancel := context.WithCancel(ctx)
	gone := s.conn.CloseRead(context.Background())
	stopGone := context.AfterFunc(gone, cancel)
	stopCut := context.AfterFunc(s.all.cut, cancel)
	return ctx, func() {
		stopGone()
		stopCut()
		cancel()
	}
}

// send writes one frame. A client that does not take it in time is gone.
func (s *socket) send(body []byte) error {
	ctx, cancel := context.WithTimeout(context.Background(), s.patience)
	defer cancel()
	return s.conn.Write(ctx, websocket.MessageText, body)
}

// end closes the connection, after a frame with the error if there is one. That
// the client has gone already changes nothing.
func (s *socket) end(failed *Error) {
	if failed != nil {
		_ = s.send(errorJSON(failed))
	}
	_ = s.conn.Close(s.closeStatus(failed), "")
}

// closeStatus picks the status of the close frame (RFC 6455 7.4.1). What the
// caller did wrong is a policy violation, as in the original.
func (s *socket) closeStatus(failed *Error) websocket.StatusCode {
	switch {
	case failed == nil:
		return websocket.StatusNormalClosure
	case failed.Code == http.StatusServiceUnavailable && s.all.isClosing():
		return websocket.StatusGoingAway
	case failed.Code < http.StatusInternalServerError:
		return websocket.StatusPolicyViolation
	}
	return websocket.StatusInternalError
}

// checkUpgrade refuses a handshake that cannot succeed in the shape of our
// errors, before the WebSocket library does in plain text (RFC 6455 4.2.1).
func checkUpgrade(header http.Header, r *http.Request) *Error {
	if r.Header.Get("Sec-WebSocket-Version") != "13" {
		header.Set("Sec-WebSocket-Version", "13")
		return newError("v1", http.StatusUpgradeRequired, "WebSocket version must be 13")
	}
	if len(strings.TrimSpace(r.Header.Get("Sec-WebSocket-Key"))) != 24 {
		return BadRequest("v1", "Sec-WebSocket-Key must be 16 bytes in base64")
	}
	return nil
}
