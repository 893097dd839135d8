// Package activator holds running workloads awake: it starts one when a request
// comes, however many wait for it, counts who uses it, stops it when nobody does,
// starts it again when it crashed, and puts a new version in an old one's place
// without a request noticing.
//
// The durable truth about which version is current lies elsewhere and is read
// when a workload wakes. What is kept here of a workload that sleeps is a few
// hundred bytes, no goroutine and none of its secrets.
package activator

import (
	"cmp"
	"context"
	"fmt"
	"log/slog"
	"net/http"
	"net/netip"
	"slices"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/m3o/ingress/internal/workload"
)

// Releases knows what should run.
type Releases interface {
	// Current returns the release that requests to the workload key should get. An
	// *Unready, such as one that says that there is no version yet, is passed on to
	// the request as it is; any other error means that nobody can tell. It is asked
	// at most once at a time for the same key, and never while requests are served.
	Current(ctx context.Context, key string) (workload.Release, error)
}

// Transport reaches one running instance.
type Transport interface {
	http.RoundTripper
	// CloseIdleConnections closes the connections that no request uses.
	CloseIdleConnections()
}

// Options are what an Activator needs. The zero value of a duration or a number
// means its default.
type Options struct {
	// Runner starts and adopts processes.
	Runner workload.Runner
	// Releases knows what should run.
	Releases Releases
	// Journal is told what becomes of versions. Nil means that nobody is.
	Journal workload.Journal
	// NewTransport makes the transport of one instance. Its connections are closed
	// when that instance ends and it is used for no other, so that a pooled
	// connection never outlives the process that accepted it.
	NewTransport func(addr netip.AddrPort) Transport
	// NewSite makes the handler that serves a folder beneath a version's code, for
	// releases without process.
	NewSite func(code, folder string) http.Handler
	// Now is the clock by which idleness and crashes are judged. Nil means
	// time.Now.
	Now func() time.Time
	// IdleTimeout is that of workloads whose owner did not choose one: default
	// 15 min; negative means that they are never stopped.
	IdleTimeout time.Duration
	// StartTimeout is how long a release may take to become ready. Default 60 s.
	StartTimeout time.Duration
	// WakeTimeout is how long a request waits, for a start or for its turn.
	// Default 30 s.
	WakeTimeout time.Duration
	// Queue is how many requests may wait for one workload. Default 100.
	Queue int
	// DrainTimeout is how long requests to a version that was replaced may take to
	// end. Default 30 s.
	DrainTimeout time.Duration
	// StopGrace is how long a process that was asked to end may take. Default 10 s.
	StopGrace time.Duration
	// AdoptGrace is for how long an instance that was adopted counts as used: the
	// program that ran before may still have requests to it.
	AdoptGrace time.Duration
	// Log is for the operator. Nil means that nothing is logged.
	Log *slog.Logger
	// Metrics is where the figures are registered. Nil means nowhere.
	Metrics prometheus.Registerer
}

func (o Options) withDefaults() Options {
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.Journal == nil {
		o.Journal = unwritten{}
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	o.IdleTimeout = cmp.Or(o.IdleTimeout, 15*time.Minute)
	o.StartTimeout = cmp.Or(o.StartTimeout, time.Minute)
	o.WakeTimeout = cmp.Or(o.WakeTimeout, 30*time.Second)
	o.Queue = cmp.Or(o.Queue, 100)
	o.DrainTimeout = cmp.Or(o.DrainTimeout, 30*time.Second)
	o.StopGrace = cmp.Or(o.StopGrace, 10*time.Second)
	return o
}

// unwritten is the journal nobody reads.
type unwritten struct{}

func (unwritten) Entered(string, int64, workload.State, string) {}

// Activator holds running workloads awake. It is safe for concurrent use.
//
// Locks are taken in the order entry.mu, Activator.mu; neither is held while
// anything is waited for.
type Activator struct {
	Options
	metrics *metrics
	epoch   time.Time // of instants kept as durations
	entries sync.Map  // of workload key to *entry
	turns   sync.Pool // of *turn

	// ctx ends when Close begins: with it end starts, but nothing that runs.
	ctx    context.Context
	cancel context.CancelFunc
	// draining ends when Close may wait no longer.
	draining context.Context
	cutShort context.CancelFunc
	tasks    sync.WaitGroup

	mu     sync.Mutex
	closed bool
	awake  map[*running]struct{}
}

// New returns an Activator that knows of nothing yet: call Adopt, then Run. It
// panics when Metrics already has metrics of the same names.
func New(o Options) *Activator {
	a := &Activator{
		Options: o.withDefaults(),
		metrics: newMetrics(o.Metrics),
		awake:   map[*running]struct{}{},
	}
	a.epoch = a.Now()
	a.turns.New = func() any { return new(turn) }
	a.ctx, a.cancel = context.WithCancel(context.Background())
	a.draining, a.cutShort = context.WithCancel(context.Background())
	return a
}

// instant is how long after the epoch it is: a time in eight bytes.
func (a *Activator) instant() time.Duration { return a.Now().Sub(a.epoch) }

// begin counts the caller among what Close waits for, unless Close was called.
// The caller must call tasks.Done.
func (a *Activator) begin() bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	if !a.closed {
		a.tasks.Add(1)
	}
	return !a.closed
}

// spawn runs f in a goroutine that Close waits for, unless Close was called.
func (a *Activator) spawn(f func()) bool {
	if !a.begin() {
		return false
	}
	go func() {
		defer a.tasks.Done()
		f()
	}()
	return true
}

// Close ends what the Activator does, not what runs: instances stay as they are
// for the next run of the ingress to adopt. Requests that wait are refused,
// instances of a Promote that has not committed are stopped, and instances that
// were replaced may finish their requests until ctx ends; then they are asked to
// stop without further ado. Close returns when no goroutine of the Activator is
// left, with an error if a drain was cut short. It must be called once.
func (a *Activator) Close(ctx context.Context) error {
	a.mu.Lock()
	a.closed = true
	a.mu.Unlock()
	a.cancel()
	for _, e := range a.all() {
		e.mu.Lock()
		e.stopRetry()
		e.refuse(closing())
		e.mu.Unlock()
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		a.tasks.Wait()
	}()
	defer a.cutShort()
	select {
	case <-done:
		return nil
	case <-ctx.Done():
		a.cutShort()
		<-done
		return fmt.Errorf("replaced instances were stopped before their requests had ended: %w", ctx.Err())
	}
}

// settleEvery is how often Settle looks.
const settleEvery = 5 * time.Millisecond

// Settle returns when no start, no replacement, no end and no request's wait is
// under way, or with ctx's error. It is for the moment before Close, so that nobody's wait is
// cut short by it.
func (a *Activator) Settle(ctx context.Context) error {
	tick := time.NewTicker(settleEvery)
	defer tick.Stop()
	for !a.settled() {
		select {
		case <-tick.C:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	return nil
}

func (a *Activator) settled() bool {
	return !slices.ContainsFunc(a.all(), func(e *entry) bool {
		e.mu.Lock()
		defer e.mu.Unlock()
		return e.wake != nil || e.promotion != nil || len(e.waiters) > 0 || len(e.leaving) > 0
	})
}

func (a *Activator) all() []*entry {
	var all []*entry
	a.entries.Range(func(_, e any) bool {
		all = append(all, e.(*entry))
		return true
	})
	return all
}
