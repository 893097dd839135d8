package upstream

import (
	"net"
	"sync/atomic"
	"time"
)

// stall bounds how long a backend may take nothing of what is written to it. Without
// that one that has stopped reading holds a long request for ever: nobody reads from
// the visitor meanwhile, so that not even its leaving is noticed.
type stall struct {
	limit time.Duration
	made  time.Time
	until atomic.Int64 // the deadline that is set, as a duration since made
}

func (s *stall) begin(limit time.Duration) { s.limit, s.made = limit, time.Now() }

// allow gives the next write to the connection its time. Setting a deadline costs, so
// one is kept until an eighth of it is over, and a write has seven at least.
func (s *stall) allow(c net.Conn) {
	if s.limit <= 0 {
		return
	}
	now := time.Since(s.made)
	if time.Duration(s.until.Load())-now >= s.limit-s.limit/8 {
		return
	}
	s.until.Store(int64(now + s.limit))
	_ = c.SetWriteDeadline(s.made.Add(now + s.limit)) // a connection that has none fails by itself
}

func tookTooLong(err error) bool {
	network, ok := err.(net.Error)
	return ok && network.Timeout()
}
