package upstream

import (
	"bufio"
	"net"
	"sync"
	"sync/atomic"
	"time"
)

// conn is a connection to a backend over HTTP/1. While it is idle it holds no
// buffer and no goroutine.
type conn struct {
	net.Conn
	key      string // of the backend it leads to
	live     liveness
	stall    stall
	used     bool         // it was idle before the exchange that uses it
	written  atomic.Int64 // by the exchange that uses it
	abort    func()       // discard, as a value that each exchange would have to make
	idleFrom time.Time
	older    *conn // in the pool, of all backends
	newer    *conn
}

func newConn(c net.Conn, key string, limit time.Duration) *conn {
	made := &conn{Conn: c, key: key}
	made.stall.begin(limit)
	made.abort = made.discard
	made.live.watch(c)
	return made
}

// Write implements io.Writer.
func (c *conn) Write(p []byte) (int, error) {
	c.stall.allow(c.Conn)
	n, err := c.Conn.Write(p)
	c.written.Add(int64(n))
	return n, err
}

// discard closes the connection. There is nobody to tell that this failed, and
// nothing else to be done with it.
func (c *conn) discard() { _ = c.Close() }

// Sizes of the buffers of an exchange, in bytes.
const (
	readBuffer = 4 << 10
	// keptScratch bounds what is kept of a buffer that an unusual header made grow.
	keptScratch = 64 << 10
)

// buffers are what an exchange needs while it lasts.
type buffers struct {
	in    *bufio.Reader
	head  []byte // the request's head
	block []byte // the answer's, or its trailer section
}

// bufferPools keep buffers between exchanges.
type bufferPools struct {
	exchanges sync.Pool // of *buffers
	bodies    sync.Pool // of *[bodyBuffer]byte
}

func (p *bufferPools) get() *buffers {
	if b, ok := p.exchanges.Get().(*buffers); ok {
		return b
	}
	return &buffers{in: bufio.NewReaderSize(nil, readBuffer)}
}

func (p *bufferPools) put(b *buffers) {
	b.in.Reset(nil)
	if cap(b.head)+cap(b.block) > keptScratch {
		b.head, b.block = nil, nil
	}
	p.exchanges.Put(b)
}

// bodyBuffer is the size of the buffers that request bodies are sent through.
const bodyBuffer = 32 << 10

func (p *bufferPools) getBody() *[bodyBuffer]byte {
	if b, ok := p.bodies.Get().(*[bodyBuffer]byte); ok {
		return b
	}
	return new([bodyBuffer]byte)
}

func (p *bufferPools) putBody(b *[bodyBuffer]byte) { p.bodies.Put(b) }
