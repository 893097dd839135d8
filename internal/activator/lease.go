package activator

import (
	"context"
	"net/http"
	"sync/atomic"
	"time"
)

// Lease is a workload held awake. Exactly one of Transport and Handler is set.
type Lease struct {
	// Transport reaches the process, and no other: once the process has ended it
	// returns an *EndedError, and connections to it are closed.
	Transport http.RoundTripper
	// Handler serves a site that has no process.
	Handler http.Handler
	// ColdStart is how long the workload took to start when this request was one of
	// those that waited for it; otherwise zero.
	ColdStart time.Duration
	// Release ends the lease. Further calls do nothing.
	Release func()
}

// Acquire returns once the workload key can take the request, starting it if need
// be. It returns an *Unready when there is something to tell the visitor, ctx's
// error when ctx ends first, and any other error when nobody can tell what should
// run. A start goes on when the request that caused it has left.
func (a *Activator) Acquire(ctx context.Context, key string) (Lease, error) {
	if known, ok := a.entries.Load(key); ok {
		r := known.(*entry).current.Load()
		if r != nil && r.limit == 0 && r.enter() {
			return r.lease(0), nil
		}
	}
	return a.wait(ctx, key)
}

// turn makes Release idempotent: it counts the leases it served for, and the end
// of one that it serves for no longer does nothing. So turns can be used again,
// which leaves a lease one allocation.
type turn struct{ n atomic.Uint64 }

// lease returns a lease that was entered.
func (r *running) lease(cold time.Duration) Lease {
	t := r.a.turns.Get().(*turn)
	n := t.n.Load()
	if r.instance == nil {
		return Lease{Handler: r.handler, ColdStart: cold, Release: func() {
			if t.n.CompareAndSwap(n, n+1) {
				r.a.turns.Put(t)
				r.release()
			}
		}}
	}
	l := &leased{r: r}
	return Lease{Transport: l, ColdStart: cold, Release: func() {
		if t.n.CompareAndSwap(n, n+1) {
			r.a.turns.Put(t)
			l.release()
			r.release()
		}
	}}
}

func (r *running) release() {
	r.touch()
	r.leave()
	if r.limit == 0 {
		return
	}
	r.e.mu.Lock()
	defer r.e.mu.Unlock()
	r.e.serve()
}
