package upstream

import "sync/atomic"

// Stats are counts of what a Transport has done since it was made.
type Stats struct {
	// Dials is how many connections were tried to be made.
	Dials int64
	// Reused is how many requests were sent over a connection that had been idle.
	Reused int64
	// Retried is how many requests were sent a second time.
	Retried int64
	// Idle is how many connections are idle now. Those of net/http's transport,
	// which does not tell, are not among them.
	Idle int
}

// Stats returns the counts, which are those of all Transports that share their
// Counters. They need not all be of the same moment.
func (t *Transport) Stats() Stats {
	s := t.counters.Stats()
	if t.own != nil {
		s.Idle = t.own.pool.size()
	}
	return s
}

// Counters count what Stats tells. Several Transports can share them, so that what
// the short-lived ones did is not forgotten with them. They are safe for
// concurrent use.
type Counters struct{ dials, reused, retried atomic.Int64 }

// Stats returns the counts; Idle is not among them.
func (c *Counters) Stats() Stats {
	return Stats{Dials: c.dials.Load(), Reused: c.reused.Load(), Retried: c.retried.Load()}
}
