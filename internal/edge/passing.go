package edge

import (
	"context"
	"io"
	"net"
	"net/http"
	"time"
)

// passed is from how many bytes on an answer's body is moved past our buffers. Of a
// smaller one most has arrived with its head.
const passed = 256 << 10

// passing is the body of a large answer that goes from one plain connection to
// another: the kernel can move it without showing it to us (splice). ReverseProxy
// knows of reads and writes alone, so the first read passes all of it.
type passing struct {
	io.ReadCloser
	from io.WriterTo
	to   *answer
	ctx  context.Context // the request's
}

// Read implements io.Reader.
func (b *passing) Read([]byte) (int, error) {
	b.to.stopFlushing()
	if _, err := b.from.WriteTo(b.to.ResponseWriter); err != nil {
		b.awaitNotice()
		return 0, err
	}
	return 0, io.EOF
}

// noticeWithin is how long the server may take to notice that a visitor has gone.
const noticeWithin = 100 * time.Millisecond

// awaitNotice lets the server notice, which reads from the visitor meanwhile and
// ends the request's context: of what the kernel moves nobody can tell which side
// broke off.
func (b *passing) awaitNotice() {
	timer := time.NewTimer(noticeWithin)
	defer timer.Stop()
	select {
	case <-b.ctx.Done():
	case <-timer.C:
	}
}

// FlushError sends what is buffered. ReverseProxy has a timer do so meanwhile.
func (a *answer) FlushError() error {
	a.flushing.Lock()
	defer a.flushing.Unlock()
	if a.unflushed {
		return nil
	}
	return http.NewResponseController(a.ResponseWriter).Flush()
}

// stopFlushing has FlushError do nothing any more: what is passed is not buffered,
// and only one may use the writer.
func (a *answer) stopFlushing() {
	a.flushing.Lock()
	defer a.flushing.Unlock()
	a.unflushed = true
}

// pass has the body of an answer moved by the kernel if that is possible: in the
// clear, and with a length, so that nothing has to be put between its bytes.
func (a *answer) pass(r *http.Request, res *http.Response) {
	front := a.front
	if front == nil || res.ContentLength < passed || r.Method == http.MethodHead || len(res.Trailer) > 0 {
		return
	}
	if _, plain := front.Conn.(*net.TCPConn); !plain {
		return
	}
	if from, ok := res.Body.(io.WriterTo); ok {
		res.Body = &passing{ReadCloser: res.Body, from: from, to: a, ctx: r.Context()}
	}
}
