package activator

import (
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/m3o/ingress/internal/workload"
)

// The states the Activator reports; workload.Ready and workload.Failed besides.
const (
	starting    workload.State = "starting"
	idle        workload.State = "idle"
	draining    workload.State = "draining"
	halted      workload.State = "stopped"
	crashLooped workload.State = "crash-looping"
)

// entry is what is known of a workload. It is kept small, because most workloads
// sleep.
type entry struct {
	a   *Activator
	key string
	// current is what requests are sent to; nil when there is nothing. While mu is
	// held its gate is open.
	current atomic.Pointer[running]

	mu      sync.Mutex
	version int64 // last known; zero when none is
	state   workload.State
	reason  string
	waiters []*waiter
	// wake is the start under way, crashes what went wrong lately, retry what
	// starts it again after a crash, promotion the newest Promote or Remove.
	wake      *wake
	crashes   *crashes
	retry     *time.Timer
	promotion *promotion
	// leaving is what was current and has not ended yet.
	leaving []*running
	// committing: a new release is becoming the current one, and which one to start
	// cannot be said.
	committing bool
	// removed: requests are refused. gone: it is no longer in the Activator.
	removed, gone bool
}

// lock returns the entry of key, locked, making one if there is none.
func (a *Activator) lock(key string) *entry {
	for {
		known, ok := a.entries.Load(key)
		if !ok {
			key = strings.Clone(key) // it may be a part of something larger
			known, _ = a.entries.LoadOrStore(key, &entry{a: a, key: key})
		}
		if e := known.(*entry); e.lock() {
			return e
		}
	}
}

// find returns the entry of key, locked, or nil.
func (a *Activator) find(key string) *entry {
	if known, ok := a.entries.Load(key); ok && known.(*entry).lock() {
		return known.(*entry)
	}
	return nil
}

// lock reports false, and does not lock, when the entry is gone.
func (e *entry) lock() bool {
	e.mu.Lock()
	if e.gone {
		e.mu.Unlock()
	}
	return !e.gone
}

// drop forgets the entry. It is locked.
func (e *entry) drop() {
	e.gone = true
	e.a.entries.CompareAndDelete(e.key, e)
}

// busyWith reports whether something goes on that needs the entry. It is locked.
func (e *entry) busyWith() bool {
	return e.current.Load() != nil || e.wake != nil || e.promotion != nil ||
		len(e.leaving) > 0 || len(e.waiters) > 0
}

// enter notes a state and tells the journal. e is locked, which keeps what the
// journal is told in order.
func (e *entry) enter(version int64, s workload.State, reason string) {
	e.version, e.state, e.reason = version, s, reason
	e.a.Journal.Entered(e.key, version, s, reason)
}

// install lets requests through to r. e is locked and has nothing current.
func (e *entry) install(r *running, reason string) {
	e.current.Store(r)
	if r.instance != nil || e.version != r.version {
		e.enter(r.version, workload.Ready, reason)
	}
	e.state = workload.Ready
	a := e.a
	a.mu.Lock()
	a.awake[r] = struct{}{}
	a.mu.Unlock()
	if r.instance != nil {
		a.metrics.running.Inc()
		a.spawn(func() { a.watch(r) })
	}
	e.serve()
}

// uninstall lets no more requests through to what is current. e is locked.
func (e *entry) uninstall() *running {
	r := e.current.Swap(nil)
	if r == nil {
		return nil
	}
	r.shut()
	e.a.mu.Lock()
	delete(e.a.awake, r)
	e.a.mu.Unlock()
	if r.instance != nil {
		e.a.metrics.running.Dec()
	}
	return r
}

// retire stops what was current once its requests have ended, or limit is over. e
// is locked, and the caller one of those that Close waits for.
func (e *entry) retire(r *running, limit time.Duration, then func()) {
	e.leaving = append(e.leaving, r)
	e.a.tasks.Go(func() {
		r.finish(limit)
		e.mu.Lock()
		defer e.mu.Unlock()
		if e.leaving = slices.DeleteFunc(e.leaving, func(l *running) bool { return l == r }); len(e.leaving) == 0 {
			e.leaving = nil // a sleeper needs none
		}
		then()
		close(r.gone)
		e.a.resume(e)
	})
}

// fallingAsleep reports whether an instance is being stopped that nothing takes
// the place of yet. e is locked.
func (e *entry) fallingAsleep() bool {
	return slices.ContainsFunc(e.leaving, func(r *running) bool { return r.asleep })
}

// Forget drops what is known of the workload key and not in use: what it did
// wrong, and when it would be tried again. The next request starts it anew, from
// what Releases says then. An instance that runs stays: Promote replaces it, and
// Remove ends it.
func (a *Activator) Forget(key string) {
	e := a.find(key)
	if e == nil {
		return
	}
	defer e.mu.Unlock()
	e.forgive()
	if e.busyWith() {
		a.resume(e)
		return
	}
	e.drop()
}
