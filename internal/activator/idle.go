package activator

import (
	"context"
	"fmt"
	"time"
)

// sweepEvery is how often the Activator looks for what nobody uses.
const sweepEvery = time.Second

// Run stops what nobody uses until ctx ends.
func (a *Activator) Run(ctx context.Context) {
	if !a.begin() {
		return
	}
	defer a.tasks.Done()
	ticker := time.NewTicker(sweepEvery)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-a.ctx.Done():
			return
		case <-ticker.C:
			for _, r := range a.unused() {
				a.sleep(r)
			}
		}
	}
}

// unused returns what nobody has used for its timeout.
func (a *Activator) unused() []*running {
	a.mu.Lock()
	defer a.mu.Unlock()
	var unused []*running
	for r := range a.awake {
		if r.idle > 0 && r.unused() >= r.idle {
			unused = append(unused, r)
		}
	}
	return unused
}

// sleep stops what nobody uses. Requests that come while it ends wait for a new
// start: two instances would share the workload's files.
func (a *Activator) sleep(r *running) {
	e := r.e
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.current.Load() != r || len(e.waiters) > 0 || r.unused() < r.idle || !r.gate.shutIfEmpty() {
		return
	}
	e.uninstall()
	e.recover(r)
	a.metrics.evictions.Inc()
	if r.instance == nil {
		e.state = idle
		return
	}
	e.enter(r.version, idle, fmt.Sprintf("no request for %v", r.idle))
	r.asleep = true
	e.retire(r, 0, func() {})
}
