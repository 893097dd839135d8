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

// Stats returns the counts. They need not all be of the same moment.
func (t *Transport) Stats() Stats {
	s := Stats{Dials: t.counters.dials.Load(), Reused: t.counters.reused.Load(), Retried: t.counters.retried.Load()}
	if t.own != nil {
		s.Idle = t.own.pool.size()
	}
	return s
}

// counters count what Stats tells.
type counters struct{ dials, reused, retried atomic.Int64 }
