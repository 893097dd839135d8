package activator

import (
	"context"
	"slices"
	"time"
)

// waiter is a request that waits for a start or for its turn.
type waiter struct {
	granted  chan grant // has room for one
	deadline time.Duration
	cold     time.Duration // set when the start it waited for has succeeded
}

// grant is what a waiter gets: something entered on its behalf, or an error.
type grant struct {
	r   *running
	err error
}

// wait is Acquire when there is more to do than to count.
func (a *Activator) wait(ctx context.Context, key string) (Lease, error) {
	if err := ctx.Err(); err != nil {
		return Lease{}, err
	}
	e := a.lock(key)
	r, w, err := a.admit(e)
	e.mu.Unlock()
	switch {
	case err != nil:
		return Lease{}, err
	case r != nil:
		return r.lease(0), nil
	}
	timer := time.NewTimer(a.WakeTimeout)
	defer timer.Stop()
	select {
	case g := <-w.granted:
		return w.take(g)
	case <-ctx.Done():
		return a.give(e, w, ctx.Err())
	case <-timer.C:
		return a.late(e, w)
	}
}

func (w *waiter) take(g grant) (Lease, error) {
	if g.err != nil {
		return Lease{}, g.err
	}
	return g.r.lease(w.cold), nil
}

// give frees the place of a request that has gone, and gives back what it may
// have been granted at the last moment.
func (a *Activator) give(e *entry, w *waiter, cause error) (Lease, error) {
	e.mu.Lock()
	left := e.leave(w)
	e.mu.Unlock()
	if !left {
		if g := <-w.granted; g.r != nil {
			g.r.release()
		}
	}
	return Lease{}, cause
}

// late turns away a request that has waited long enough, unless it was granted
// something at the last moment.
func (a *Activator) late(e *entry, w *waiter) (Lease, error) {
	e.mu.Lock()
	left, awake := e.leave(w), e.current.Load() != nil
	e.mu.Unlock()
	switch {
	case !left:
		return w.take(<-w.granted)
	case awake:
		return Lease{}, busy("its turn did not come within " + a.WakeTimeout.String())
	}
	return Lease{}, slow(a.WakeTimeout)
}

// admit returns something entered, or a place in the queue, or why there is
// neither. e is locked.
func (a *Activator) admit(e *entry) (*running, *waiter, error) {
	switch {
	case e.removed:
		return nil, nil, stopped()
	case a.ctx.Err() != nil:
		if r := e.current.Load(); r != nil && r.admits() {
			return r, nil, nil // nothing is started any more, but what runs may be used
		}
		return nil, nil, closing()
	}
	a.notice(e)
	r := e.current.Load()
	if r != nil && len(e.waiters) == 0 && r.admits() {
		return r, nil, nil
	}
	now := a.instant()
	if e.crashes != nil {
		e.crashes.failure.used = now
	}
	deadline := now + a.WakeTimeout
	if err := a.hopeless(e, deadline); err != nil {
		return nil, nil, err
	}
	if len(e.waiters) >= a.Queue {
		if r != nil {
			return nil, nil, busy("its queue is full")
		}
		return nil, nil, queueFull(len(e.waiters))
	}
	w := &waiter{granted: make(chan grant, 1), deadline: deadline}
	e.waiters = append(e.waiters, w)
	a.metrics.waiting.Inc()
	a.rouse(e)
	return nil, w, nil
}

// admits counts a lease if the limit allows one more. The entry is locked.
func (r *running) admits() bool {
	return (r.limit == 0 || r.gate.count() < r.limit) && r.enter()
}

// leave takes a waiter out of the queue and reports whether it was in it: if not
// it has been granted something. e is locked.
func (e *entry) leave(w *waiter) bool {
	i := slices.Index(e.waiters, w)
	if i < 0 {
		return false
	}
	e.dequeue(i)
	return true
}

// dequeue takes the waiter at i out. e is locked.
func (e *entry) dequeue(i int) *waiter {
	w := e.waiters[i]
	e.waiters = slices.Delete(e.waiters, i, i+1)
	if len(e.waiters) == 0 {
		e.waiters = nil // a sleeper needs none
	}
	e.a.metrics.waiting.Dec()
	return w
}

// serve lets in those who wait, in their order, as far as the limit allows. e is
// locked.
func (e *entry) serve() {
	r := e.current.Load()
	for r != nil && len(e.waiters) > 0 && r.admits() {
		w := e.dequeue(0)
		w.granted <- grant{r: r}
	}
}

// refuse turns away all who wait. e is locked.
func (e *entry) refuse(err error) {
	for len(e.waiters) > 0 {
		w := e.dequeue(0)
		w.granted <- grant{err: err}
	}
}
