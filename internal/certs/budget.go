package certs

import (
	"sync"
	"time"
)

// budget is how often something may happen: perMinute in the long run, and as
// many at once after a quiet minute.
type budget struct {
	perMinute int
	now       func() time.Time

	mu   sync.Mutex
	left float64
	at   time.Time
}

func newBudget(perMinute int, now func() time.Time) *budget {
	return &budget{perMinute: perMinute, now: now, left: float64(perMinute), at: now()}
}

// take reports whether it may happen now.
func (b *budget) take() bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	now := b.now()
	passed := max(now.Sub(b.at), 0)
	b.left = min(b.left+passed.Minutes()*float64(b.perMinute), float64(b.perMinute))
	b.at = now
	if b.left < 1 {
		return false
	}
	b.left--
	return true
}

// timed remembers names until a time each, in bounded memory.
type timed[V any] struct {
	limit int
	now   func() time.Time

	mu     sync.Mutex
	values map[string]timedValue[V]
}

type timedValue[V any] struct {
	value V
	until time.Time
}

func newTimed[V any](limit int, now func() time.Time) *timed[V] {
	return &timed[V]{limit: limit, now: now, values: map[string]timedValue[V]{}}
}

func (t *timed[V]) get(name string) (V, bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	v, ok := t.values[name]
	return v.value, ok && t.now().Before(v.until)
}

// set remembers a value. Without room, what is over goes first, and then all:
// forgetting costs a question more.
func (t *timed[V]) set(name string, value V, until time.Time) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if len(t.values) >= t.limit {
		for name, v := range t.values {
			if !t.now().Before(v.until) {
				delete(t.values, name)
			}
		}
	}
	if len(t.values) >= t.limit {
		clear(t.values)
	}
	t.values[name] = timedValue[V]{value, until}
}

func (t *timed[V]) forget(name string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	delete(t.values, name)
}
