//go:build unix

package upstream

import (
	"net"
	"syscall"
)

// liveness tells whether an idle connection is still one that may be used. What
// it needs for a look is made once, so that the look allocates nothing.
type liveness struct {
	raw   syscall.RawConn
	look  func(fd uintptr) bool
	alive bool
	one   [1]byte
}

// watch prepares to look at the connection. One that has no socket is taken to be
// alive: whether it is shows on the next request.
func (l *liveness) watch(c net.Conn) {
	socket, ok := c.(syscall.Conn)
	if !ok {
		return
	}
	raw, err := socket.SyscallConn()
	if err != nil {
		return
	}
	l.raw = raw
	l.look = func(fd uintptr) bool {
		_, err := syscall.Read(int(fd), l.one[:])
		l.alive = err == syscall.EAGAIN || err == syscall.EINTR
		return true
	}
}

// check reports whether there is nothing to read. An end means that the backend
// has closed the connection, and a byte that it sends what nobody has asked for:
// it would be taken for the next answer. That the byte is gone then does not
// matter.
func (l *liveness) check() bool {
	if l.raw == nil {
		return true
	}
	l.alive = false
	err := l.raw.Read(l.look)
	return err == nil && l.alive
}
