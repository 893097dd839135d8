package edge

import (
	"context"
	"errors"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/m3o/ingress/internal/api"
)

// TestCacheModel compares the cache with a model that knows only the rules.
func TestCacheModel(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		c, s := newClock(), &source{err: errOutage}
		cache := newResolveCache(cacheSettings{deadline: time.Second, now: c.now}, s.ask, func(v string) bool { return v == "" })
		defer cache.close()
		m := &cacheModel{}
		t.Repeat(map[string]func(*rapid.T){
			"platform": func(t *rapid.T) {
				switch rapid.IntRange(0, 4).Draw(t, "says") {
				case 0:
					s.set("", errOutage)
				case 1:
					s.set("", api.NotFound("app.resolve"))
				case 2:
					s.set("", nil)
				default:
					s.set(rapid.StringMatching(`[ab]`).Draw(t, "value"), nil)
				}
			},
			"wait": func(t *rapid.T) {
				c.advance(rapid.SampledFrom([]time.Duration{
					time.Millisecond, time.Second, 2 * time.Second, 20 * time.Second, freshFor, keepWhileEmpty,
				}).Draw(t, "for"))
			},
			"invalidate": func(*rapid.T) {
				cache.invalidate("hello")
				*m = cacheModel{}
			},
			"get": func(t *rapid.T) {
				before := s.count()
				value, err := cache.get(context.Background(), "hello")
				cache.pending.Wait()
				s.mu.Lock()
				saysValue, saysErr := s.value, s.err
				s.mu.Unlock()
				m.check(t, c.now(), value, err, s.count() > before, saysValue, saysErr)
			},
		})
	})
}

// cacheModel is what an observer may conclude from what the platform said when it
// was asked.
type cacheModel struct {
	good       string    // the last value, unless it was taken back
	learned    time.Time // when it was last confirmed
	emptySince time.Time
	refusedTil time.Time
	refusal    error
}

func (m *cacheModel) check(t *rapid.T, now time.Time, value string, err error, asked bool, says string, saysErr error) {
	hadGood := m.good
	fresh := m.good != "" && m.emptySince.IsZero() && now.Before(m.learned.Add(freshFor))
	switch {
	case fresh && (value != m.good || err != nil || asked):
		t.Fatalf("fresh %q: got %q, %v, asked %v", m.good, value, err, asked)
	case m.good == "" && now.Before(m.refusedTil) && (!errors.Is(err, m.refusal) || asked):
		t.Fatalf("refused with %v: got %q, %v, asked %v", m.refusal, value, err, asked)
	}
	if asked {
		m.learn(now, says, saysErr)
	}
	switch {
	case err == nil && value != hadGood && value != m.good:
		t.Fatalf("%q came from nowhere", value)
	case err != nil && m.good != "":
		t.Fatalf("got %v although %q is known", err, m.good)
	case hadGood == "" && asked && m.good != "" && value != m.good:
		t.Fatalf("got %q, want %q", value, m.good)
	case errors.Is(err, errOutage) && hadGood != "":
		t.Fatal("an outage took a good value away")
	}
}

func (m *cacheModel) learn(now time.Time, says string, err error) {
	switch {
	case api.IsNotFound(err):
		*m = cacheModel{refusal: errUnknown, refusedTil: now.Add(unknownFor)}
	case err != nil:
	case says != "":
		*m = cacheModel{good: says, learned: now}
	case m.good == "":
		*m = cacheModel{refusal: errDeploying, refusedTil: now.Add(deployingFor)}
	case m.emptySince.IsZero():
		m.emptySince = now
	case now.Sub(m.emptySince) >= keepWhileEmpty:
		*m = cacheModel{refusal: errDeploying, refusedTil: now.Add(deployingFor)}
	}
}
