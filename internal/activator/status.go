package activator

import (
	"net/netip"
	"time"

	"github.com/m3o/ingress/internal/workload"
)

// Status is what a workload is doing, as far as the Activator knows.
type Status struct {
	// State and Reason are what the Journal was last told of the current version.
	State  workload.State
	Reason string
	// Version is the current version; Revision, Addr and Started are those of the
	// running instance, zero when there is none.
	Version  int64
	Revision int64
	Addr     netip.AddrPort
	Started  time.Time
	// InFlight counts leases, Waiting the requests that wait.
	InFlight, Waiting int
	// Failures counts unexpected ends since it was last healthy; NextTry is when it
	// is started again, zero when that is not planned.
	Failures int
	NextTry  time.Time
}

// Status returns what the workload key is doing, and false when nothing is known
// of it: it sleeps, or does not exist.
func (a *Activator) Status(key string) (Status, bool) {
	e := a.find(key)
	if e == nil {
		return Status{}, false
	}
	defer e.mu.Unlock()
	s := Status{State: e.state, Reason: e.reason, Version: e.version, Waiting: len(e.waiters)}
	if r := e.current.Load(); r != nil {
		s.Revision, s.InFlight = r.revision, r.gate.count()
		if r.instance != nil {
			s.Addr, s.Started = r.instance.Addr(), r.instance.Started()
		}
	}
	if e.crashes != nil {
		s.Failures = e.crashes.count
		if e.retry != nil {
			s.NextTry = a.epoch.Add(e.crashes.next)
		}
	}
	return s, true
}
