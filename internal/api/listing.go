package api

import (
	"bytes"
	"context"
	"io"
	"net/http"
	"time"

	"github.com/coder/websocket"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
)

// Listing makes a method whose reply is one list, which may be long: call sends
// it in pieces of a size that is no burden, and they go out as one reply while
// the next is made. However long the list and however slow its reader, two
// pieces of it are held in memory. The rules of ServerStream hold as well. The
// reply's type must consist of one repeated field.
func Listing[Req, Res proto.Message](name string, call func(ctx context.Context, caller Caller, req Req, send func(Res) error) error) Method {
	method := ServerStream(name, func(ctx context.Context, caller Caller, req Req, send func(Res) error) error {
		if err := call(ctx, caller, req, send); err != nil {
			return err
		}
		return send(newMessage[Res]().(Res)) // so that an empty list is a reply, too
	})
	method.list, method.stream = method.stream, nil
	return method
}

// isListing reports whether a reply can be sent in pieces.
func isListing(reply protoreflect.MessageDescriptor) bool {
	return reply.Fields().Len() == 1 && reply.Fields().Get(0).IsList()
}

// listing joins pieces, each the JSON of a whole reply such as {"users":[…]}, to
// one. The latest is held back: a list that ends with its first piece can still
// be sent like any other reply, and one that fails there like any other failure.
type listing struct {
	held  []byte
	begun bool
	write func([]byte) error
}

// listEnd is what every piece ends with.
const listEnd = "]}"

// add takes the next piece.
func (l *listing) add(piece []byte) error {
	if l.held == nil {
		l.held = piece
		return nil
	}
	items := piece[bytes.IndexByte(piece, '[')+1:]
	if len(items) == len(listEnd) {
		return nil
	}
	before := bytes.TrimSuffix(l.held, []byte(listEnd))
	if before[len(before)-1] != '[' {
		items = append([]byte{','}, items...)
	}
	l.held = items
	l.begun = true
	return l.write(before)
}

// serveListing sends a list over plain HTTP.
func (h *Handler) serveListing(w http.ResponseWriter, r *http.Request, c call, req proto.Message) {
	out := &lines{w: w, control: http.NewResponseController(w), patience: h.patience}
	defer out.setDeadline(time.Time{})
	l := &listing{write: out.write}
	failed := h.run(r.Context(), c, req, l.add)
	switch {
	case failed == nil && l.begun:
		_ = out.write(l.held) // that the caller has gone changes nothing
	case failed == nil:
		h.deliver(w, l.held)
	case l.begun:
		h.log(c, failed)
		panic(http.ErrAbortHandler) // a list that lacks its end must not look whole
	default:
		h.fail(w, c, failed)
	}
}

// sendListing sends a list over a WebSocket, as one message.
func (h *Handler) sendListing(ctx context.Context, s *socket, c call, req proto.Message) *Error {
	out := &message{socket: s}
	defer out.end()
	l := &listing{write: out.write}
	failed := h.run(ctx, c, req, l.add)
	switch {
	case failed != nil && l.begun:
		_ = s.conn.CloseNow() // there is no other way to end a message early
		return failed
	case failed != nil:
		return failed
	}
	if err := out.finish(l); err != nil {
		return c.endpoint.failure(ctx, err)
	}
	return nil
}

// message is a WebSocket message that is written piece by piece, each within the
// socket's patience.
type message struct {
	socket *socket
	to     io.WriteCloser // nil before the first piece
	late   *time.Timer
	cancel context.CancelFunc
}

func (m *message) write(piece []byte) error {
	if err := m.begin(); err != nil {
		return err
	}
	m.late.Reset(m.socket.patience)
	_, err := m.to.Write(piece)
	return err
}

func (m *message) begin() (err error) {
	if m.to != nil {
		return nil
	}
	ctx, cancel := context.WithCancel(context.Background())
	m.cancel = cancel
	m.late = time.AfterFunc(m.socket.patience, cancel)
	m.to, err = m.socket.conn.Writer(ctx, websocket.MessageText)
	return err
}

// finish writes the end of the list.
func (m *message) finish(l *listing) error {
	if !l.begun {
		return m.socket.send(l.held)
	}
	if err := m.write(l.held); err != nil {
		return err
	}
	return m.to.Close()
}

func (m *message) end() {
	if m.cancel != nil {
		m.late.Stop()
		m.cancel()
	}
}
