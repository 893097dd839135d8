package upstream

import (
	"errors"
	"net/http"
	"sync"
	"sync/atomic"
	"time"
)

const (
	// joinable is the longest body that the head waits for, to go out with it in
	// one packet.
	joinable = 8 << 10
	// joinRoom is the part of the buffer in which head and body are joined. The body
	// is read into the rest.
	joinRoom = bodyBuffer / 2
	// joinDelay is how long it waits: a backend may well answer, or refuse, before
	// it has seen the body.
	joinDelay = time.Millisecond
	// probeDelay is how long the head waits for a body that may be none.
	probeDelay = 200 * time.Millisecond
	// lastWriteDelay is how long a connection whose answer has ended waits for the
	// last write of the request to return, which it may not have yet only because
	// another goroutine does it.
	lastWriteDelay = 50 * time.Millisecond
)

// sender writes a request while the answer may already be coming. It has a
// goroutine of its own, from the first attempt until the request is written or
// given up. A second attempt gives it another connection, which it can use as long
// as nothing was written to the first: what it has read of the body it still
// holds.
type sender struct {
	envelope *envelope
	buffer   *[bodyBuffer]byte
	head     []byte // without the framing, in the first half of the buffer if it fits
	body     *requestBody
	trailer  http.Header
	wait     time.Duration // for a 100
	sent     func()        // is called when there is nothing more to write
	pools    *bufferPools

	proceed chan bool     // whether the body is wanted, with expects
	done    chan struct{} // closed when the goroutine ends
	last    atomic.Bool   // what is being written is the end
	skipped atomic.Bool   // the body was not wanted, and not sent

	mu     sync.Mutex
	change sync.Cond
	conn   *conn // nil between attempts
	busy   bool  // somebody writes the first bytes
	begun  bool  // something was written
	ended  bool  // given up
	flush  *time.Timer
	broken error // why the connection cannot be written to
	failed error // why the body cannot be read
}

// Reasons for a sender to end early.
var (
	errGivenUp = errors.New("the request was given up")
	errTooLong = errors.New("the request's body is longer than its content length")
)

func newSender(x *exchange) *sender {
	s := &sender{
		envelope: &x.envelope, body: x.body, trailer: x.req.Trailer,
		wait: x.engine.options.ContinueTimeout, sent: x.requestSent, pools: &x.engine.buffers,
		done: make(chan struct{}),
	}
	s.buffer = s.pools.getBody()
	s.head = x.envelope.appendHead(s.buffer[:0:joinRoom], x.req.Header)
	if x.envelope.expects {
		s.proceed = make(chan bool, 1)
	}
	s.change.L = &s.mu
	return s
}

// attach gives the sender a connection, the first or, after release, another.
func (s *sender) attach(c *conn, first bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.conn, s.broken = c, nil
	if s.failed != nil {
		c.discard() // there will be no answer
		return
	}
	s.change.Broadcast()
	if first {
		go s.run()
	}
	if s.joins() {
		s.waitForBody()
	}
}

// joins reports whether the head waits for the body.
func (s *sender) joins() bool {
	e := s.envelope
	return e.body && !e.expects && (e.probe || !e.chunked && e.length <= joinable)
}

// waitForBody sees to it that the head does not wait for too long.
func (s *sender) waitForBody() {
	delay := joinDelay
	if s.envelope.probe {
		delay = probeDelay
	}
	if s.flush == nil {
		s.flush = time.AfterFunc(delay, s.flushHead)
		return
	}
	s.flush.Reset(delay)
}

// release takes the connection away from the sender. It reports whether another
// one may be used.
func (s *sender) release() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	for s.busy {
		s.change.Wait() // the connection is closed: it will not take long
	}
	s.conn = nil
	return !s.begun && s.failed == nil && !s.ended
}

// isSilent reports whether nothing has been written yet, so that what comes from
// the backend cannot be an answer to it.
func (s *sender) isSilent() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return !s.busy && !s.begun
}

// giveUp ends the sender. What the body's reader waits for it need not wait for
// any longer.
func (s *sender) giveUp() {
	s.mu.Lock()
	s.ended = true
	s.change.Broadcast()
	s.mu.Unlock()
	s.answer(false)
	s.body.close()
}

// answer tells a sender that waits for a 100 whether the body is wanted.
func (s *sender) answer(wanted bool) {
	select {
	case s.proceed <- wanted:
	default: // it has been told
	}
}

// complete reports whether the whole request was written. It waits only for a
// write that is the last one.
func (s *sender) complete() bool {
	select {
	case <-s.done:
		return s.isWhole()
	default:
	}
	if !s.last.Load() {
		return false
	}
	timer := time.NewTimer(lastWriteDelay)
	defer timer.Stop()
	select {
	case <-s.done:
		return s.isWhole()
	case <-timer.C:
		return false
	}
}

func (s *sender) isWhole() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.broken == nil && s.failed == nil && !s.ended && !s.skipped.Load()
}

// failure returns why the request could not be sent: because of its body, or
// because nothing at all could be written, or nothing more in time. A connection that
// broke later may still have brought an answer.
func (s *sender) failure() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case s.failed != nil:
		return s.failed
	case !s.begun, tookTooLong(s.broken):
		return s.broken
	}
	return nil
}

// run sends the request.
func (s *sender) run() {
	defer close(s.done)
	err := s.send(s.buffer[:])
	s.finish(err)
	s.sent()
	if closed := s.body.close(); closed != nil && err == nil {
		s.note(bodyError{closed})
	}
}

// finish ends what goes on besides, and gives the buffer back.
func (s *sender) finish(err error) {
	s.note(err)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.ended = s.ended || err != nil
	if s.flush != nil {
		s.flush.Stop()
	}
	for s.busy {
		s.change.Wait()
	}
	s.pools.putBody(s.buffer)
	s.buffer, s.head = nil, nil
}

// bodyError is an error of the request's body, not of the connection.
type bodyError struct{ error }

// note keeps an error. One of the body ends the exchange, since the backend waits
// for the rest, and so does a backend that takes nothing: closing the connection wakes
// who waits for the answer.
func (s *sender) note(err error) {
	if err == nil || err == errGivenUp {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if of, ok := err.(bodyError); ok {
		s.failed = of.error
		if s.conn != nil {
			s.conn.discard()
		}
		return
	}
	s.broken = err
	if tookTooLong(err) && s.conn != nil {
		s.conn.discard() // nobody would read from the visitor any more
	}
}

// frame runs decide, which changes the framing, if the head is not complete yet.
func (s *sender) frame(decide func()) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	for s.busy {
		s.change.Wait()
	}
	if !s.begun {
		decide()
		return true
	}
	return false
}

// first writes the head, unless that was done, and with it the first piece of the
// body. It waits for another connection if nothing can be written to the one it
// has.
func (s *sender) first(piece []byte) (*conn, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for {
		for !s.ended && (s.busy || s.conn == nil) {
			s.change.Wait()
		}
		switch c := s.conn; {
		case s.ended:
			return nil, errGivenUp
		case s.begun && len(piece) == 0:
			return c, s.broken
		case s.begun:
			return c, s.write(c, piece)
		default:
			err := s.write(c, s.wholeHead(piece))
			if err == nil || s.begun {
				return c, err
			}
		}
	}
}

// wholeHead returns the head with its framing and with what follows.
func (s *sender) wholeHead(piece []byte) []byte {
	head := s.envelope.appendFraming(s.head)
	return append(head, piece...)
}

// write writes the first bytes to a connection without holding the lock. If none
// can be written the connection is given back, and closed to wake who waits for
// the answer.
func (s *sender) write(c *conn, p []byte) error {
	s.busy = true
	s.mu.Unlock()
	n, err := c.Write(p)
	s.mu.Lock()
	s.busy = false
	s.begun = s.begun || n > 0
	if err != nil {
		s.broken = err
		if !s.begun {
			s.conn = nil
			c.discard()
		}
	}
	s.change.Broadcast()
	return err
}

// flushHead writes the head of a request whose body takes its time.
func (s *sender) flushHead() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.busy || s.begun || s.ended || s.conn == nil {
		return
	}
	// The sender learns of an error from broken when it has a piece to write.
	_ = s.write(s.conn, s.wholeHead(nil))
}
