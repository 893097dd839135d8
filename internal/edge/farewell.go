package edge

import (
	"encoding/binary"
	"net"
	"sync"
	"sync/atomic"
	"time"
)

// goingAway is the Close frame with status 1001, "going away", which a server sends
// that is about to end (RFC 6455 5.5.1 and 7.4.1). Browsers then connect anew.
var goingAway = []byte{0x88, 0x02, 0x03, 0xe9}

// farewellTimeout is how long a visitor may take to be told.
const farewellTimeout = time.Second

// farewell tells the visitor of a WebSocket, between two frames of the backend's,
// that the connection is about to end. What the backend sends after that is
// dropped; the visitor's answer reaches it, and has it end the connection as if it
// had wanted to.
type farewell struct {
	net.Conn
	due   atomic.Bool // the visitor is to be told
	begun atomic.Bool // the answer that makes it a WebSocket is out

	mu     sync.Mutex // held while anything is written
	frames frames
	said   bool
}

// Read implements io.Reader. The answer that makes the connection a WebSocket is
// written past this, in the server's buffer, and nobody reads before it is out.
func (f *farewell) Read(p []byte) (int, error) {
	if !f.begun.Load() {
		f.begun.Store(true)
		f.tryNow() // whoever wanted to before could not
	}
	return f.Conn.Read(p)
}

// Write passes on what the backend sends, up to the end of a frame when the visitor
// is to be told.
func (f *farewell) Write(p []byte) (int, error) {
	f.begun.Store(true)
	n, err := f.write(p)
	f.tryNow() // whoever wanted to meanwhile could not
	return n, err
}

func (f *farewell) write(p []byte) (int, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.said {
		return len(p), nil
	}
	pass := p
	if f.due.Load() {
		pass = p[:f.frames.rest(p)]
	}
	n, err := f.Conn.Write(pass)
	f.frames.feed(pass[:n])
	if err != nil {
		return n, err
	}
	return len(p), nil
}

// CloseWrite ends our side and leaves the other open.
func (f *farewell) CloseWrite() error { return closeWrite(f.Conn) }

// say has the visitor told now, or as soon as the frame under way has ended.
func (f *farewell) say() {
	f.due.Store(true)
	f.tryNow()
}

// tryNow tells the visitor if it is to be told and no frame is under way, nor the
// answer before the first. Who holds
// the lock calls this after giving it up, so that nobody needs to wait for it.
func (f *farewell) tryNow() {
	if !f.due.Load() || !f.begun.Load() || !f.mu.TryLock() {
		return
	}
	defer f.mu.Unlock()
	if f.said || !f.frames.between() {
		return
	}
	f.said = true
	// A visitor who does not take four bytes is about to be cut off anyway.
	_ = f.Conn.SetWriteDeadline(time.Now().Add(farewellTimeout))
	_, _ = f.Conn.Write(goingAway)
}

// frames finds where the frames of a WebSocket end (RFC 6455 5.2) in the bytes of
// one direction.
type frames struct {
	header [maxFrameHeader]byte
	have   int    // of the header under way
	left   uint64 // of the payload
}

// maxFrameHeader is two bytes, a length of eight more, and a mask.
const maxFrameHeader = 14

// between reports whether no frame is under way.
func (f *frames) between() bool { return f.have == 0 && f.left == 0 }

// feed follows bytes.
func (f *frames) feed(p []byte) {
	for len(p) > 0 {
		p = p[f.step(p):]
	}
}

// rest returns how many bytes of p belong to the frame under way.
func (f *frames) rest(p []byte) int {
	ahead, n := *f, 0
	for n < len(p) && !ahead.between() {
		n += ahead.step(p[n:])
	}
	return n
}

// step takes some of p, but not beyond the end of a frame.
func (f *frames) step(p []byte) int {
	if f.left > 0 {
		n := min(f.left, uint64(len(p)))
		f.left -= n
		return int(n)
	}
	f.header[f.have] = p[0]
	f.have++
	if f.have >= 2 && f.have == f.headerSize() {
		f.left = f.payloadSize()
		f.have = 0
	}
	return 1
}

// headerSize is known from the second byte on.
func (f *frames) headerSize() int {
	size := 2
	switch f.header[1] & 0x7f {
	case 126:
		size += 2
	case 127:
		size += 8
	}
	if f.header[1]&0x80 != 0 {
		size += 4
	}
	return size
}

func (f *frames) payloadSize() uint64 {
	switch n := f.header[1] & 0x7f; n {
	case 126:
		return uint64(binary.BigEndian.Uint16(f.header[2:]))
	case 127:
		return binary.BigEndian.Uint64(f.header[2:])
	default:
		return uint64(n)
	}
}
