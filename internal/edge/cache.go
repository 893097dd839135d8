package edge

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/maypok86/otter/v2"

	"github.com/m3o/ingress/internal/api"
)

// How long answers are believed (DESIGN 3, "The resolve cache").
const (
	cacheSize      = 100_000          // ids with an answer
	unknownSize    = 10_000           // ids without one, apart so that scanning cannot evict the others
	freshFor       = time.Minute      // an answer is served without asking
	unknownFor     = 2 * time.Second  // "no such id" is believed
	deployingFor   = time.Second      // "not ready yet" is believed
	keepWhileEmpty = 5 * time.Minute  // a good answer outlives an empty one
	firstRetry     = time.Second      // after a refresh that failed; doubled each time
	lastRetry      = 30 * time.Second // at most
)

// The two answers that are neither a value nor an outage.
var (
	errUnknown   = errors.New("no such id")
	errDeploying = errors.New("still being deployed")
)

var errCacheClosed = errors.New("the ingress is shutting down")

// lookup asks the platform for an id under the rules of Resolver.Resolve.
type lookup[V any] func(ctx context.Context, id string) (V, error)

// cacheSettings are what tests change; the zero sizes mean the defaults.
type cacheSettings struct {
	deadline      time.Duration // of one lookup, however many wait for it
	counts        *cacheCounts  // nil means nowhere
	now           func() time.Time
	size, unknown int
}

// resolveCache remembers what the platform said of each id, in bounded memory.
// A good answer is served for as long as the platform cannot say otherwise. All
// methods may be called concurrently.
type resolveCache[V any] struct {
	settings cacheSettings
	ask      lookup[V]
	isEmpty  func(V) bool // the id exists, but is still being deployed
	good     *otter.Cache[string, *entry[V]]
	bad      *otter.Cache[string, refusal]

	// mu guards flights and every write to the two stores: a flight that
	// invalidate has taken out of the map finds out, under the same lock, that its
	// result must not be stored.
	mu      sync.Mutex
	flights map[string]*flight[V]
	pending sync.WaitGroup
	life    context.Context
	end     context.CancelFunc
}

// entry is a good value and when to ask for it again. It is immutable.
type entry[V any] struct {
	value      V
	askAfter   time.Time
	emptySince time.Time // when the platform began to say "empty" instead, or zero
	failures   int       // refreshes that failed in a row
}

// overdue reports whether the platform has said "empty" for too long for the
// value to be served without asking once more.
func (a *entry[V]) overdue(now time.Time) bool {
	return !a.emptySince.IsZero() && now.Sub(a.emptySince) >= keepWhileEmpty
}

// refusal is errUnknown or errDeploying, for a moment.
type refusal struct {
	err   error
	until time.Time
}

// flight is one lookup under way and what came of it.
type flight[V any] struct {
	done  chan struct{} // closed when value and err are set
	value V
	err   error
}

func newResolveCache[V any](settings cacheSettings, ask lookup[V], isEmpty func(V) bool) *resolveCache[V] {
	settings.size = orDefault(settings.size, cacheSize)
	settings.unknown = orDefault(settings.unknown, unknownSize)
	if settings.counts == nil {
		settings.counts = newCacheCounts(newCacheMetrics(), "")
	}
	c := &resolveCache[V]{
		settings: settings,
		ask:      ask,
		isEmpty:  isEmpty,
		good:     otter.Must(&otter.Options[string, *entry[V]]{MaximumSize: settings.size, Logger: &otter.NoopLogger{}}),
		bad:      otter.Must(&otter.Options[string, refusal]{MaximumSize: settings.unknown, Logger: &otter.NoopLogger{}}),
		flights:  make(map[string]*flight[V]),
	}
	c.life, c.end = context.WithCancel(context.Background())
	return c
}

// get returns the value behind an id, errUnknown, errDeploying, the context's
// error when the caller gave up, or why the platform could not tell.
func (c *resolveCache[V]) get(ctx context.Context, id string) (V, error) {
	now := c.settings.now()
	known, ok := c.good.GetIfPresent(id)
	if ok && now.Before(known.askAfter) {
		c.settings.counts.fresh.Inc()
		return known.value, nil
	}
	if ok && !known.overdue(now) {
		c.settings.counts.stale.Inc()
		_, _ = c.start(id) // an error means that we are shutting down, and the value is all there is
		return known.value, nil
	}
	if no, refused := c.bad.GetIfPresent(id); refused && now.Before(no.until) {
		var none V
		c.settings.counts.refused.Inc()
		return none, no.err
	}
	c.settings.counts.waited.Inc()
	return c.wait(ctx, id)
}

// wait joins the lookup under way or starts one. Giving up leaves the lookup to
// the others who wait for it.
func (c *resolveCache[V]) wait(ctx context.Context, id string) (V, error) {
	var none V
	f, err := c.start(id)
	if err != nil {
		return none, err
	}
	select {
	case <-f.done:
		return f.value, f.err
	case <-ctx.Done():
		return none, ctx.Err()
	}
}

// start returns the lookup under way for an id, having started it if there was
// none.
func (c *resolveCache[V]) start(id string) (*flight[V], error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if f := c.flights[id]; f != nil {
		return f, nil
	}
	if f := c.landed(id); f != nil {
		return f, nil
	}
	if c.life.Err() != nil {
		return nil, errCacheClosed
	}
	f := &flight[V]{done: make(chan struct{})}
	c.flights[id] = f
	c.pending.Go(func() { c.fly(id, f) })
	return f, nil
}

// landed finds the result of a lookup that ended between the caller's look into
// the stores and its turn at the lock, so that it need not be made again.
func (c *resolveCache[V]) landed(id string) *flight[V] {
	now := c.settings.now()
	f := &flight[V]{done: make(chan struct{})}
	close(f.done)
	if known, ok := c.good.GetIfPresent(id); ok && now.Before(known.askAfter) {
		f.value = known.value
		return f
	}
	if no, ok := c.bad.GetIfPresent(id); ok && now.Before(no.until) {
		f.err = no.err
		return f
	}
	return nil
}

func (c *resolveCache[V]) fly(id string, f *flight[V]) {
	ctx, cancel := context.WithTimeout(c.life, c.settings.deadline)
	defer cancel()
	value, err := c.askSafely(ctx, id)
	c.settings.counts.lookup(err)

	c.mu.Lock()
	defer c.mu.Unlock()
	current := c.flights[id] == f
	f.value, f.err = c.judge(id, value, err, current)
	if current {
		delete(c.flights, id)
	}
	close(f.done)
}

// askSafely turns a panic of the resolver into an outage: nobody else is there
// to recover in the lookup's goroutine, and it would end the process.
func (c *resolveCache[V]) askSafely(ctx context.Context, id string) (value V, err error) {
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("resolving %q panicked: %v", id, p)
		}
	}()
	return c.ask(ctx, id)
}

// judge decides what the waiters get, and remembers it if the lookup is current,
// which one that began before an invalidation is not.
func (c *resolveCache[V]) judge(id string, value V, err error, current bool) (V, error) {
	var none V
	now := c.settings.now()
	known, ok := c.good.GetIfPresent(id)
	if !ok || !current {
		known = nil
	}
	switch {
	case api.IsNotFound(err):
		c.refuse(id, refusal{errUnknown, now.Add(unknownFor)}, current)
		return none, errUnknown
	case err != nil && known != nil:
		c.good.Set(id, known.afterFailure(now))
		return known.value, nil
	case err != nil:
		return none, err
	case !c.isEmpty(value):
		c.accept(id, &entry[V]{value: value, askAfter: now.Add(freshFor)}, current)
		return value, nil
	}
	if known != nil {
		if known = known.afterEmpty(now); !known.overdue(now) {
			c.good.Set(id, known)
			return known.value, nil
		}
	}
	c.refuse(id, refusal{errDeploying, now.Add(deployingFor)}, current)
	return none, errDeploying
}

func (c *resolveCache[V]) accept(id string, a *entry[V], current bool) {
	if current {
		c.bad.Invalidate(id)
		c.good.Set(id, a)
	}
}

func (c *resolveCache[V]) refuse(id string, no refusal, current bool) {
	if current {
		c.good.Invalidate(id)
		c.bad.Set(id, no)
	}
}

// afterFailure keeps the value and waits longer each time before the platform is
// asked again, so that one that is down is not hammered by every request.
func (a *entry[V]) afterFailure(now time.Time) *entry[V] {
	next := *a
	next.askAfter = now.Add(min(firstRetry<<min(a.failures, 10), lastRetry))
	next.failures++
	return &next
}

// afterEmpty keeps the value and remembers since when the platform has none.
func (a *entry[V]) afterEmpty(now time.Time) *entry[V] {
	next := *a
	if next.emptySince.IsZero() {
		next.emptySince = now
	}
	next.askAfter, next.failures = now.Add(deployingFor), 0
	if end := next.emptySince.Add(keepWhileEmpty); end.Before(next.askAfter) {
		next.askAfter = end
	}
	return &next
}

// invalidate forgets an id. Lookups under way still answer those who waited for
// them already, but nobody who comes later.
func (c *resolveCache[V]) invalidate(id string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	delete(c.flights, id)
	c.good.Invalidate(id)
	c.bad.Invalidate(id)
}

// invalidateAll is invalidate for every id.
func (c *resolveCache[V]) invalidateAll() {
	c.mu.Lock()
	defer c.mu.Unlock()
	clear(c.flights)
	c.good.InvalidateAll()
	c.bad.InvalidateAll()
}

// close ends the lookups under way and waits for them. What is cached is served
// on; nothing is looked up any more.
func (c *resolveCache[V]) close() {
	c.mu.Lock()
	c.end()
	c.mu.Unlock()
	c.pending.Wait()
}
