package api

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// counter is a platform that counts Resolves and fails as told.
type counter struct {
	mu       sync.Mutex
	resolved map[string]int
	attempts atomic.Int64
	answer   func(attempt int64) error
}

func (c *counter) resolve(ctx context.Context, id string) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	if c.answer != nil {
		if err := c.answer(c.attempts.Add(1)); err != nil {
			return err
		}
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.resolved == nil {
		c.resolved = map[string]int{}
	}
	c.resolved[id]++
	return nil
}

func (c *counter) count(id string) int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.resolved[id]
}

func startHits(config hitsConfig, c *counter) *hits {
	return newHits(config, slog.New(slog.DiscardHandler), c.resolve)
}

func finish(t *testing.T, h *hits) error {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	return h.close(ctx)
}

func TestVisitsUseUpResolvesMadeAhead(t *testing.T) {
	c := &counter{}
	h := startHits(hitsConfig{}, c)
	h.counted("a")
	h.counted("a")
	for range 5 {
		h.hit("a")
	}
	h.hit("b")
	h.counted("c")
	if err := finish(t, h); err != nil {
		t.Fatal(err)
	}
	for id, want := range map[string]int{"a": 3, "b": 1, "c": 0} {
		if got := c.count(id); got != want {
			t.Errorf("link %s: %d Resolves, want %d", id, got, want)
		}
	}
	if len(h.ahead) != 1 || h.ahead["c"] != 1 {
		t.Errorf("still ahead: %v", h.ahead)
	}
}

func TestVisitsOutlastAnOutage(t *testing.T) {
	answers := map[string]error{
		"refused connections": unreachable(errors.New("connection refused")),
		"an error page":       badReply("HTML", nil),
		"a rate limit":        TooManyRequests("v1.blocked", 0, "Too Many Requests"),
		"any other error":     errors.New("what?"),
	}
	for name, err := range answers {
		recovered := make(chan struct{})
		c := &counter{answer: func(attempt int64) error {
			switch {
			case attempt < 4:
				return err
			case attempt == 4:
				close(recovered)
			}
			return nil
		}}
		h := startHits(hitsConfig{workers: 1, pause: time.Microsecond, maxPause: time.Millisecond}, c)
		h.hit("a")
		h.hit("b")
		select {
		case <-recovered:
		case <-time.After(20 * time.Second):
			t.Fatalf("%s: no further attempt", name)
		}
		if err := finish(t, h); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		if c.count("a") != 1 || c.count("b") != 1 || h.dropped.Load() != 0 {
			t.Errorf("%s: %d and %d Resolves, %d dropped", name, c.count("a"), c.count("b"), h.dropped.Load())
		}
	}
}

func TestVisitsThatCannotCountAreDropped(t *testing.T) {
	for name, err := range map[string]error{
		"not found, as we say it":            NotFound("url.resolve"),
		"not found, as the original says it": newError("url.resolve", 500, "not found"),
		"a bad key":                          Unauthorized("v1", "Unauthorized"),
	} {
		next := make(chan struct{})
		c := &counter{answer: func(attempt int64) error {
			switch attempt {
			case 1:
				return err
			case 2:
				close(next)
			}
			return nil
		}}
		h := startHits(hitsConfig{workers: 1}, c)
		h.hit("a")
		h.hit("b")
		select {
		case <-next: // the worker has given up the first
		case <-time.After(20 * time.Second):
			t.Fatalf("%s: no other visit is reported", name)
		}
		if err := finish(t, h); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		if c.count("a") != 0 || c.count("b") != 1 || h.dropped.Load() != 1 || c.attempts.Load() != 2 {
			t.Errorf("%s: %d and %d Resolves, %d dropped after %d attempts", name, c.count("a"), c.count("b"), h.dropped.Load(), c.attempts.Load())
		}
	}
}

func TestHitNeverBlocks(t *testing.T) {
	busy, free := make(chan struct{}), make(chan struct{})
	c := &counter{answer: func(attempt int64) error {
		if attempt == 1 {
			close(busy)
			<-free
		}
		return nil
	}}
	h := startHits(hitsConfig{workers: 1, waiting: 2}, c)
	h.hit("a")
	<-busy
	for range 10 { // two fit
		h.hit("a")
	}
	if got := h.dropped.Load(); got != 8 {
		t.Errorf("%d visits dropped, want 8", got)
	}
	close(free)
	if err := finish(t, h); err != nil {
		t.Error(err)
	}
	if got := c.count("a"); got != 3 {
		t.Errorf("%d Resolves, want 3", got)
	}
}

func TestWhatIsAheadIsBounded(t *testing.T) {
	h := startHits(hitsConfig{links: 2}, &counter{})
	defer finish(t, h)
	for _, id := range []string{"a", "b", "c", "d", "d"} {
		h.counted(id)
	}
	if len(h.ahead) != 2 || h.ahead["d"] != 2 {
		t.Errorf("ahead: %v", h.ahead)
	}
}

func TestTheEndDoesNotWaitForAnOutage(t *testing.T) {
	failing := make(chan struct{})
	var once sync.Once
	c := &counter{answer: func(int64) error {
		once.Do(func() { close(failing) })
		return unreachable(errors.New("connection refused"))
	}}
	h := startHits(hitsConfig{workers: 1, pause: time.Hour, maxPause: time.Hour}, c)
	for range 10 {
		h.hit("a")
	}
	<-failing
	if err := finish(t, h); err == nil || h.dropped.Load() != 10 {
		t.Errorf("got %v with %d dropped", err, h.dropped.Load())
	}
}

func TestTheEndHasADeadline(t *testing.T) {
	stuck := make(chan struct{})
	h := newHits(hitsConfig{workers: 1}, slog.New(slog.DiscardHandler), func(ctx context.Context, _ string) error {
		close(stuck)
		<-ctx.Done()
		return ctx.Err()
	})
	h.hit("a")
	<-stuck
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if err := h.close(ctx); err == nil || h.dropped.Load() != 1 {
		t.Errorf("got %v with %d dropped", err, h.dropped.Load())
	}
}

func TestConcurrentVisitsAreAllCounted(t *testing.T) {
	c := &counter{}
	h := startHits(hitsConfig{}, c)
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			for i := range 500 {
				if i%10 == 0 {
					_ = c.resolve(t.Context(), "a")
					h.counted("a")
				}
				h.hit("a")
			}
		})
	}
	wg.Wait()
	if err := finish(t, h); err != nil {
		t.Fatal(err)
	}
	if got := c.count("a") - h.ahead["a"]; got != 4000 {
		t.Errorf("%d Resolves for 4000 visits", got)
	}
}
