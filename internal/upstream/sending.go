package upstream

import (
	"fmt"
	"io"
	"time"
)

func (s *sender) send(buffer []byte) error {
	switch e := s.envelope; {
	case !e.body:
		s.last.Store(true)
		_, err := s.first(nil)
		return err
	case e.expects:
		return s.sendExpected(buffer)
	case s.joins():
		return s.sendJoined(buffer)
	}
	c, err := s.first(nil)
	if err != nil {
		return err
	}
	return s.sendBody(c, buffer, 0)
}

// sendExpected sends the body when the backend wants it, or has not said anything
// for a while.
func (s *sender) sendExpected(buffer []byte) error {
	c, err := s.first(nil)
	if err != nil {
		return err
	}
	timer := time.NewTimer(s.wait)
	defer timer.Stop()
	select {
	case wanted := <-s.proceed:
		if !wanted {
			s.skipped.Store(true)
			return nil
		}
	case <-timer.C:
	}
	return s.sendBody(c, buffer, 0)
}

// sendJoined sends the head with the first piece of the body.
func (s *sender) sendJoined(buffer []byte) error {
	e := s.envelope
	p := piece{room: buffer[joinRoom:]}
	space := p.space(e)
	if !e.chunked {
		space = space[:e.length]
	}
	n, err := s.body.Read(space)
	if err == io.EOF && n == 0 && s.frame(func() {
		if e.probe {
			e.withoutBody()
		}
	}) && !e.chunked && e.length == 0 {
		s.last.Store(true)
		_, err = s.first(nil)
		return err
	}
	if err != nil && err != io.EOF {
		return bodyError{err}
	}
	if !e.chunked && int64(n) == e.length {
		s.last.Store(true)
	}
	c, failed := s.first(p.wrap(n, e.chunked))
	if failed != nil {
		return failed
	}
	return s.rest(c, buffer, int64(n), err == io.EOF)
}

// sendBody sends the body piece by piece as they come.
func (s *sender) sendBody(c *conn, buffer []byte, sent int64) error {
	e := s.envelope
	p := piece{room: buffer}
	for e.chunked || sent < e.length {
		space := p.space(e)
		if !e.chunked {
			space = space[:min(int64(len(space)), e.length-sent)]
		}
		n, err := s.body.Read(space)
		if err != nil && err != io.EOF {
			return bodyError{err}
		}
		if n > 0 {
			sent += int64(n)
			s.last.Store(!e.chunked && sent == e.length)
			if _, failed := c.Write(p.wrap(n, e.chunked)); failed != nil {
				return failed
			}
		}
		if err == io.EOF {
			return s.rest(c, buffer, sent, true)
		}
	}
	return s.rest(c, buffer, sent, false)
}

// rest sends what is left after a piece of the body, which may have been its
// last.
func (s *sender) rest(c *conn, buffer []byte, sent int64, ended bool) error {
	e := s.envelope
	switch {
	case e.chunked && ended:
		return s.sendEnd(c, buffer)
	case e.chunked, sent < e.length && !ended:
		return s.sendBody(c, buffer, sent)
	case sent < e.length:
		return bodyError{fmt.Errorf("the request's body ended after %d bytes of %d: %w", sent, e.length, io.ErrUnexpectedEOF)}
	case ended:
		return nil
	}
	return s.expectEnd(buffer)
}

// sendEnd sends the last chunk and the trailers.
func (s *sender) sendEnd(c *conn, buffer []byte) error {
	end, err := s.envelope.appendTrailer(append(buffer[:0], "0\r\n"...), s.trailer)
	if err != nil {
		return bodyError{err}
	}
	s.last.Store(true)
	_, err = c.Write(end)
	return err
}

// expectEnd reads to the end of a body of known length, of which everything has
// been read. Who reads from visitors wants to know that it has come.
func (s *sender) expectEnd(buffer []byte) error {
	for {
		n, err := s.body.Read(buffer[:1])
		switch {
		case n > 0:
			return bodyError{errTooLong}
		case err == io.EOF:
			return nil
		case err != nil:
			return bodyError{err}
		}
	}
}
