package edge

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/m3o/ingress/internal/api"
)

// clock is a clock that moves when told to.
type clock struct{ nanos atomic.Int64 }

func newClock() *clock {
	c := &clock{}
	c.nanos.Store(time.Date(2026, 11, 22, 0, 0, 0, 0, time.UTC).UnixNano())
	return c
}

func (c *clock) now() time.Time          { return time.Unix(0, c.nanos.Load()) }
func (c *clock) advance(d time.Duration) { c.nanos.Add(int64(d)) }

var errOutage = errors.New("connection refused")

// source is a platform that says what the test wants, and counts.
type source struct {
	mu    sync.Mutex
	value string
	err   error
	asked int
}

func (s *source) set(value string, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.value, s.err = value, err
}

func (s *source) ask(context.Context, string) (string, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.asked++
	return s.value, s.err
}

func (s *source) count() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.asked
}

func newTestCache(t testing.TB, c *clock, ask lookup[string]) *resolveCache[string] {
	t.Helper()
	cache := newResolveCache(cacheSettings{deadline: 5 * time.Second, now: c.now}, ask, func(v string) bool { return v == "" })
	t.Cleanup(cache.close)
	return cache
}

// want gets an id, waits for the refresh that may have begun, and compares.
func (c *resolveCache[V]) want(t *testing.T, value any, err error) {
	t.Helper()
	got, gotErr := c.get(t.Context(), "hello")
	c.pending.Wait()
	if any(got) != value || !errors.Is(gotErr, err) {
		t.Errorf("got %v, %v; want %v, %v", got, gotErr, value, err)
	}
}

func TestCacheServesFreshThenStaleWhileItAsks(t *testing.T) {
	c, s := newClock(), &source{value: "one"}
	cache := newTestCache(t, c, s.ask)
	cache.want(t, "one", nil)
	s.set("two", nil)
	c.advance(freshFor - 1)
	cache.want(t, "one", nil)
	if s.count() != 1 {
		t.Fatalf("asked %d times while fresh", s.count())
	}
	c.advance(1)
	cache.want(t, "one", nil) // stale, and the refresh runs
	cache.want(t, "two", nil)
	if s.count() != 2 {
		t.Errorf("asked %d times, want 2", s.count())
	}
}

func TestCacheBelievesUnknownOnlyForAMoment(t *testing.T) {
	for _, notFound := range []error{
		api.NotFound("app.resolve"),
		&api.Error{ID: "app.resolve", Code: 500, Detail: "Not Found"},
		api.BadRequest("app.resolve", "invalid id"),
	} {
		c, s := newClock(), &source{err: notFound}
		cache := newTestCache(t, c, s.ask)
		cache.want(t, "", errUnknown)
		s.set("one", nil)
		c.advance(unknownFor - 1)
		cache.want(t, "", errUnknown)
		c.advance(1)
		cache.want(t, "one", nil)
	}
}

func TestCacheKeepsTheLastKnownGoodAsLongAsItTakes(t *testing.T) {
	for _, outage := range []error{
		errOutage, context.DeadlineExceeded,
		&api.Error{ID: "v1", Code: 401, Detail: "Unauthorized"}, &api.Error{ID: "v1.blocked", Code: 403, Detail: "not found"},
		&api.Error{ID: "v1.blocked", Code: 429, Detail: "Too Many Requests"}, &api.Error{ID: "", Code: 404, Detail: "<html>"},
		&api.Error{ID: "x", Code: 502, Detail: "not found"},
	} {
		c, s := newClock(), &source{value: "one"}
		cache := newTestCache(t, c, s.ask)
		cache.want(t, "one", nil)
		s.set("", outage)
		for range 100 {
			c.advance(time.Hour)
			cache.want(t, "one", nil)
		}
		s.set("", api.NotFound("app.resolve"))
		c.advance(time.Hour)
		cache.want(t, "one", nil) // one stale answer while the refresh runs
		cache.want(t, "", errUnknown)
	}
}

func TestCacheHasNothingToShowInAnOutage(t *testing.T) {
	c, s := newClock(), &source{err: errOutage}
	cache := newTestCache(t, c, s.ask)
	cache.want(t, "", errOutage)
	s.set("one", nil)
	cache.want(t, "one", nil) // an outage is not remembered
}

func TestCacheAsksADeadPlatformLessAndLess(t *testing.T) {
	c, s := newClock(), &source{value: "one"}
	cache := newTestCache(t, c, s.ask)
	cache.want(t, "one", nil)
	s.set("", errOutage)
	c.advance(freshFor)
	for range 600 {
		cache.want(t, "one", nil)
		c.advance(time.Second)
	}
	// 1, 2, 4, 8 and 16 s between them, then 30 s each.
	if got := s.count() - 1; got < 20 || got > 26 {
		t.Errorf("asked %d times in ten minutes", got)
	}
	s.set("two", nil)
	c.advance(lastRetry)
	cache.want(t, "one", nil)
	cache.want(t, "two", nil)
}

func TestCacheKeepsAGoodValueThroughAnEmptyOne(t *testing.T) {
	c, s := newClock(), &source{value: "one"}
	cache := newTestCache(t, c, s.ask)
	cache.want(t, "one", nil)
	s.set("", nil)
	c.advance(freshFor)
	cache.want(t, "one", nil) // the platform begins to say empty
	c.advance(keepWhileEmpty - 1)
	cache.want(t, "one", nil)
	c.advance(1)
	cache.want(t, "", errDeploying)
	s.set("two", nil)
	cache.want(t, "", errDeploying)
	c.advance(deployingFor)
	cache.want(t, "two", nil)
}

func TestCacheKeepsAnOverdueValueIfThePlatformGoesAway(t *testing.T) {
	c, s := newClock(), &source{value: "one"}
	cache := newTestCache(t, c, s.ask)
	cache.want(t, "one", nil)
	s.set("", nil)
	c.advance(freshFor)
	cache.want(t, "one", nil)
	s.set("", errOutage)
	c.advance(2 * keepWhileEmpty)
	cache.want(t, "one", nil)
}

func TestCacheSaysDeployingAtFirst(t *testing.T) {
	c, s := newClock(), &source{}
	cache := newTestCache(t, c, s.ask)
	cache.want(t, "", errDeploying)
	s.set("one", nil)
	c.advance(deployingFor - 1)
	cache.want(t, "", errDeploying)
	c.advance(1)
	cache.want(t, "one", nil)
}

// gate is a platform whose answers the test lets out one by one.
type gate struct {
	entered chan context.Context
	answers chan string
}

func newGate() *gate {
	return &gate{entered: make(chan context.Context), answers: make(chan string)}
}

func (g *gate) ask(ctx context.Context, _ string) (string, error) {
	g.entered <- ctx
	select {
	case v := <-g.answers:
		return v, nil
	case <-ctx.Done():
		return "", ctx.Err()
	}
}

func TestCacheAsksOnceForAllWhoWait(t *testing.T) {
	c, g := newClock(), newGate()
	cache := newTestCache(t, c, g.ask)
	var waiters sync.WaitGroup
	for range 50 {
		waiters.Go(func() {
			value, err := cache.get(t.Context(), "hello")
			if value != "one" || err != nil {
				t.Errorf("got %q, %v", value, err)
			}
		})
	}
	<-g.entered
	g.answers <- "one" // a second lookup would wait in vain and fail the test
	waiters.Wait()
}

func TestImpatientClientLeavesTheOthersAlone(t *testing.T) {
	c, g := newClock(), newGate()
	cache := newTestCache(t, c, g.ask)
	impatient, leave := context.WithCancel(t.Context())
	left := make(chan error)
	go func() {
		_, err := cache.get(impatient, "hello")
		left <- err
	}()
	lookup := <-g.entered
	patient := make(chan string)
	go func() {
		value, _ := cache.get(t.Context(), "hello")
		patient <- value
	}()
	leave()
	if err := <-left; !errors.Is(err, context.Canceled) {
		t.Errorf("the impatient client got %v", err)
	}
	if err := lookup.Err(); err != nil {
		t.Errorf("the shared lookup was cancelled: %v", err)
	}
	if _, ok := lookup.Deadline(); !ok {
		t.Error("the shared lookup has no deadline")
	}
	g.answers <- "one"
	if value := <-patient; value != "one" {
		t.Errorf("the patient client got %q", value)
	}
}

func TestLookupThatBeganBeforeAnInvalidationIsNotStored(t *testing.T) {
	c, g := newClock(), newGate()
	cache := newTestCache(t, c, g.ask)
	first := make(chan string)
	go func() {
		value, _ := cache.get(t.Context(), "hello")
		first <- value
	}()
	<-g.entered
	cache.invalidate("hello")
	second := make(chan string)
	go func() {
		value, _ := cache.get(t.Context(), "hello")
		second <- value
	}()
	<-g.entered // a lookup of its own, although the first is under way
	g.answers <- "value"
	g.answers <- "value"
	<-first
	<-second

	// Now with the old answer arriving last.
	cache.invalidate("hello")
	old, fresh := make(chan string), make(chan string)
	answers := make(chan chan string, 2)
	cache.ask = func(context.Context, string) (string, error) { return <-<-answers, nil }
	done := make(chan struct{}, 2)
	get := func() { cache.get(t.Context(), "hello"); done <- struct{}{} }
	answers <- old
	go get()
	eventually(t, "the platform is asked", func() bool { return len(answers) == 0 })
	cache.invalidate("hello")
	answers <- fresh
	go get()
	eventually(t, "the platform is asked", func() bool { return len(answers) == 0 })
	fresh <- "new"
	<-done
	old <- "stale"
	<-done
	cache.pending.Wait()
	cache.want(t, "new", nil)
}

func TestNothingOfBeforeIsBelievedOnceAllIsInvalid(t *testing.T) {
	c, g := newClock(), newGate()
	cache := newTestCache(t, c, g.ask)
	answered := make(chan string)
	get := func(id string) {
		value, _ := cache.get(t.Context(), id)
		answered <- value
	}
	go get("known")
	<-g.entered
	g.answers <- "old"
	<-answered
	go get("late")
	<-g.entered // and so it is under way when all is forgotten
	cache.invalidateAll()
	g.answers <- "old"
	<-answered
	cache.pending.Wait()
	for _, id := range []string{"known", "late"} {
		go get(id)
		<-g.entered
		g.answers <- "new"
		if value := <-answered; value != "new" {
			t.Errorf("%s is %q", id, value)
		}
	}
}

// TestInvalidationIsNeverLost writes, invalidates and reads at once: whoever
// reads after an invalidation has returned must not see what was before it.
func TestInvalidationIsNeverLost(t *testing.T) {
	c := newClock()
	var stored atomic.Int64
	cache := newResolveCache(cacheSettings{deadline: 5 * time.Second, now: c.now},
		func(context.Context, string) (int64, error) { return stored.Load(), nil }, func(v int64) bool { return false })
	defer cache.close()
	stop := make(chan struct{})
	var readers sync.WaitGroup
	for range 4 {
		readers.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
					cache.get(t.Context(), "hello")
				}
			}
		})
	}
	for version := int64(1); version <= 2000; version++ {
		stored.Store(version)
		cache.invalidate("hello")
		if got, err := cache.get(t.Context(), "hello"); got < version || err != nil {
			t.Fatalf("read %d, %v after %d had been stored", got, err, version)
		}
	}
	close(stop)
	readers.Wait()
}

func TestScanningIdsDoesNotEvictGoodOnes(t *testing.T) {
	c := newClock()
	cache := newResolveCache(cacheSettings{deadline: time.Second, now: c.now, size: 100, unknown: 50},
		func(_ context.Context, id string) (string, error) {
			if strings.HasPrefix(id, "good") {
				return id, nil
			}
			return "", api.NotFound("app.resolve")
		}, func(v string) bool { return v == "" })
	defer cache.close()
	for i := range 50 {
		cache.get(t.Context(), fmt.Sprint("good", i))
	}
	for i := range 5000 {
		cache.get(t.Context(), fmt.Sprint("scan", i))
	}
	cache.pending.Wait()
	for i := range 50 {
		if _, ok := cache.good.GetIfPresent(fmt.Sprint("good", i)); !ok {
			t.Errorf("good%d is gone", i)
		}
	}
	cache.bad.CleanUp()
	if n := cache.bad.EstimatedSize(); n > 50 {
		t.Errorf("%d unknown ids are kept", n)
	}
}

func TestPanickingResolverIsAnOutage(t *testing.T) {
	cache := newTestCache(t, newClock(), func(context.Context, string) (string, error) { panic("defect") })
	if _, err := cache.get(t.Context(), "hello"); err == nil || errors.Is(err, errUnknown) {
		t.Errorf("got %v", err)
	}
}

func TestClosedCacheServesOnAndAsksNobody(t *testing.T) {
	c, s := newClock(), &source{value: "one"}
	cache := newTestCache(t, c, s.ask)
	cache.want(t, "one", nil)
	cache.close()
	c.advance(time.Hour)
	cache.want(t, "one", nil)
	if _, err := cache.get(t.Context(), "other"); !errors.Is(err, errCacheClosed) {
		t.Errorf("got %v", err)
	}
	if s.count() != 1 {
		t.Errorf("asked %d times", s.count())
	}
}

func TestClosingEndsTheLookupsUnderWay(t *testing.T) {
	c, g := newClock(), newGate()
	cache := newTestCache(t, c, g.ask)
	ended := make(chan error)
	go func() {
		_, err := cache.get(t.Context(), "hello")
		ended <- err
	}()
	<-g.entered
	cache.close()
	if err := <-ended; !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
}

func BenchmarkCacheHit(b *testing.B) {
	cache := newResolveCache(cacheSettings{deadline: time.Second, now: time.Now},
		func(context.Context, string) (Backend, error) { return Backend{Key: "k"}, nil }, func(Backend) bool { return false })
	defer cache.close()
	ctx := b.Context()
	if _, err := cache.get(ctx, "hello"); err != nil {
		b.Fatal(err)
	}
	b.ReportAllocs()
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			if _, err := cache.get(ctx, "hello"); err != nil {
				b.Error(err)
			}
		}
	})
}
