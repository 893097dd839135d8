package upstream

import (
	"io"

	"golang.org/x/net/http/httpguts"
)

// upgrade ends the exchange and leaves the connection to the caller, as the
// answer's body. It is no longer closed when the context is cancelled, as in
// net/http.
func (x *exchange) upgrade() error {
	if !x.asksFor(x.response.Header.Get("Upgrade")) || x.sender != nil && !x.sender.complete() {
		return errUnasked
	}
	if !x.stop() {
		return errUnasked // the cause is the context
	}
	up := &upgraded{conn: x.conn}
	if x.buffers.in.Buffered() > 0 {
		early, err := x.buffers.in.Peek(x.buffers.in.Buffered())
		if err != nil {
			return err
		}
		up.early = append(up.early, early...)
	}
	x.engine.buffers.put(x.buffers)
	x.buffers = nil
	x.response.Body = up
	return nil
}

// asksFor reports whether the request asked for the protocol, and the answer says
// that it is this connection's (RFC 9110 7.8). Nobody closes the connection of an
// answer that makes no sense: ReverseProxy does not.
func (x *exchange) asksFor(protocol string) bool {
	return x.response.ProtoMinor > 0 && httpguts.HeaderValuesContainsToken(x.req.Header["Connection"], "upgrade") &&
		httpguts.HeaderValuesContainsToken(x.response.Header["Connection"], "upgrade") &&
		protocol != "" && httpguts.HeaderValuesContainsToken(x.req.Header["Upgrade"], protocol)
}

// upgraded is a connection that speaks another protocol now.
type upgraded struct {
	conn  *conn
	early []byte // came with the answer
}

var _ io.ReadWriteCloser = (*upgraded)(nil)

// Read implements io.Reader.
func (u *upgraded) Read(p []byte) (int, error) {
	if len(u.early) > 0 {
		n := copy(p, u.early)
		if u.early = u.early[n:]; len(u.early) == 0 {
			u.early = nil
		}
		return n, nil
	}
	return u.conn.Read(p)
}

// Write implements io.Writer.
func (u *upgraded) Write(p []byte) (int, error) { return u.conn.Write(p) }

// Close implements io.Closer.
func (u *upgraded) Close() error { return u.conn.Close() }

// CloseWrite ends our side and leaves the other open.
func (u *upgraded) CloseWrite() error {
	if half, ok := u.conn.Conn.(interface{ CloseWrite() error }); ok {
		return half.CloseWrite()
	}
	return u.Close()
}
