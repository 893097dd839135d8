package upstream

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptrace"
	"net/textproto"
	"os"
	"sync"
	"time"
)

// maxInterim bounds how many interim answers may come before the final one.
// net/http had five; since Go 1.23 it bounds only the size of those that nobody
// wants to see. We bound that as it does, and the number of all.
const maxInterim = 10

// exchange is one request and its answer.
type exchange struct {
	engine   *engine
	req      *http.Request
	ctx      context.Context
	trace    *httptrace.ClientTrace
	envelope envelope
	body     *requestBody // nil when there is none
	sender   *sender      // nil when the caller's goroutine writes
	conn     *conn
	buffers  *buffers
	stop     func() bool // stops waiting for the context to be cancelled
	answered bool        // a byte of an answer came
	keep     bool        // the answer leaves the connection usable
	response http.Response
	answer   body
	coding   [1]string // of the response

	mu       sync.Mutex
	headRead bool
}

func newExchange(e *engine, req *http.Request, sealed envelope) *exchange {
	x := &exchange{engine: e, req: req, ctx: req.Context(), envelope: sealed}
	x.trace = httptrace.ContextClientTrace(x.ctx)
	if sealed.body {
		x.body = &requestBody{ReadCloser: req.Body}
	}
	return x
}

// attempt sends the request over a connection and reads the answer's head. After
// an error the connection is closed.
func (x *exchange) attempt(connect func(context.Context, string, *httptrace.ClientTrace) (*conn, error)) error {
	if x.ctx.Err() != nil {
		return context.Cause(x.ctx)
	}
	if x.trace != nil && x.trace.GetConn != nil {
		x.trace.GetConn(x.req.URL.Host)
	}
	x.use(nil)
	c, err := connect(x.ctx, x.req.URL.Host, x.trace)
	if err != nil {
		return err
	}
	x.begin(c)
	if err = x.send(); err == nil {
		err = x.receive()
	}
	if err != nil {
		x.end(false)
		return x.cause(err)
	}
	return nil
}

// begin takes the connection into use.
func (x *exchange) begin(c *conn) {
	x.use(c)
	x.buffers = x.engine.buffers.get()
	x.buffers.in.Reset(c)
	x.stop = func() bool { return true }
	if x.ctx.Done() != nil {
		x.stop = context.AfterFunc(x.ctx, c.abort)
	}
}

// use sets the connection, of which the sender's goroutine wants to know, too.
func (x *exchange) use(c *conn) {
	x.mu.Lock()
	defer x.mu.Unlock()
	x.conn = c
}

// longHead is the size from which a request's head is written by a goroutine of
// its own: it may not fit into the socket's buffer, and the backend may answer
// without having read it.
const longHead = 8 << 10

// send sends the request, or lets it be sent.
func (x *exchange) send() error {
	if x.sender == nil && !x.envelope.body {
		head := x.envelope.appendFraming(x.envelope.appendHead(x.buffers.head[:0], x.req.Header))
		x.buffers.head = head
		if len(head) < longHead {
			_, err := x.conn.Write(head)
			x.requestSent()
			return err
		}
	}
	first := x.sender == nil
	if first {
		x.sender = newSender(x)
	}
	x.sender.attach(x.conn, first)
	return nil
}

// requestSent lets the time for the answer's head run, from any goroutine.
func (x *exchange) requestSent() {
	x.mu.Lock()
	defer x.mu.Unlock()
	if x.headRead || x.conn == nil {
		return
	}
	// An error means that the connection is closed, which the reader learns, too.
	_ = x.conn.SetReadDeadline(time.Now().Add(x.engine.options.ResponseHeaderTimeout))
}

// headEnded ends that time: bodies have no limit.
func (x *exchange) headEnded() {
	x.mu.Lock()
	defer x.mu.Unlock()
	x.headRead = true
	_ = x.conn.SetReadDeadline(time.Time{}) // as above
}

// receive reads the answer's head, and what comes before it.
func (x *exchange) receive() error {
	in := x.buffers.in
	if _, err := in.Peek(1); err != nil {
		return err
	}
	if x.sender != nil && x.sender.isSilent() {
		return errUnsolicited
	}
	x.answered = true
	if x.trace != nil && x.trace.GotFirstResponseByte != nil {
		x.trace.GotFirstResponseByte()
	}
	room := x.engine.options.HeaderBytes
	for range maxInterim + 1 {
		used, err := x.readHead(room)
		if err != nil {
			return err
		}
		if status := x.response.StatusCode; status >= 200 || status == http.StatusSwitchingProtocols {
			return x.accept()
		}
		if room -= used; x.trace != nil && x.trace.Got1xxResponse != nil {
			room = x.engine.options.HeaderBytes // who looks at them counts them
		}
		if err := x.interim(); err != nil {
			return err
		}
	}
	return fmt.Errorf("the backend sent more than %d interim answers", maxInterim)
}

// interim tells of an answer before the final one.
func (x *exchange) interim() error {
	status, header := x.response.StatusCode, x.response.Header
	x.response = http.Response{}
	if status == http.StatusContinue && x.envelope.expects {
		if x.trace != nil && x.trace.Got100Continue != nil {
			x.trace.Got100Continue()
		}
		x.sender.answer(true)
	}
	if x.trace != nil && x.trace.Got1xxResponse != nil {
		return x.trace.Got1xxResponse(status, textproto.MIMEHeader(header))
	}
	return nil
}

// accept prepares the final answer. Without a body the exchange has ended.
func (x *exchange) accept() error {
	if x.envelope.expects {
		x.sender.answer(false) // it was not asked for
	}
	x.headEnded()
	x.response.Request = x.req
	switch {
	case x.response.StatusCode == http.StatusSwitchingProtocols:
		return x.upgrade()
	case x.answer.framing == noBody:
		x.response.Body = http.NoBody
		x.end(true)
	default:
		x.answer.x = x
		x.response.Body = &x.answer
	}
	return nil
}

// end gives the connection back if it can be used again, and closes it otherwise:
// when the answer did not come to its end, when either side wanted so, when the
// request is not all written, or when there is more than was asked for.
func (x *exchange) end(whole bool) {
	reusable := whole && x.keep && x.buffers.in.Buffered() == 0 && (x.sender == nil || x.sender.complete())
	// Stopped too late, the context is about to close the connection.
	reusable = x.stop() && reusable
	if !reusable {
		x.conn.discard()
	}
	if x.sender != nil && whole {
		x.sender.giveUp() // if there is anything left to do
	}
	x.engine.buffers.put(x.buffers)
	x.buffers = nil
	if reusable {
		x.engine.pool.put(x.conn)
	}
	if x.trace != nil && x.trace.PutIdleConn != nil && whole {
		x.trace.PutIdleConn(putError(reusable))
	}
}

var errNotReusable = errors.New("the connection cannot be used again")

func putError(reusable bool) error {
	if reusable {
		return nil
	}
	return errNotReusable
}

// headerTimeoutError says that the answer did not begin in time.
type headerTimeoutError struct{}

// Error implements error.
func (headerTimeoutError) Error() string { return "timeout awaiting response headers" }

// Timeout and Temporary implement net.Error.
func (headerTimeoutError) Timeout() bool   { return true }
func (headerTimeoutError) Temporary() bool { return true }

// cause returns what an error on the connection comes from: whoever does not want
// to go on closes it.
func (x *exchange) cause(err error) error {
	if x.ctx.Err() != nil {
		return context.Cause(x.ctx)
	}
	if x.sender != nil {
		if failure := x.sender.failure(); failure != nil {
			return failure
		}
	}
	if errors.Is(err, os.ErrDeadlineExceeded) {
		return headerTimeoutError{}
	}
	return err
}

// mayRepeat decides after an error whether the request may be sent again. On a
// new connection it may not: a backend that hangs up on one will do so again.
func (x *exchange) mayRepeat(err error) bool {
	if x.conn == nil || !x.conn.used || x.answered || x.ctx.Err() != nil {
		return false
	}
	hungUp := isRepeatable(x.req.Method) && x.body == nil && isHangUp(err)
	if x.sender == nil {
		return hungUp || x.conn.written.Load() == 0
	}
	unwritten := x.sender.release()
	if !unwritten && hungUp {
		x.sender.giveUp()
		<-x.sender.done // soon: it has no body to wait for, and no connection
		x.sender = nil  // the head can be made again
		return true
	}
	return unwritten
}

// giveUp ends a request that got no answer.
func (x *exchange) giveUp() {
	if x.sender != nil {
		x.sender.giveUp()
	}
	_ = x.body.close() // nothing of the request is wanted any more
}

// explain returns the error for the caller.
func (x *exchange) explain(err error) error {
	if x.conn != nil && x.conn.used && !x.answered && x.ctx.Err() == nil && isHangUp(err) {
		return fmt.Errorf("%w: %w", ErrStale, err)
	}
	return err
}
