package user

import (
	"crypto/sha256"
	"sync"
	"time"
)

// Rate is how often something may be done: Burst times at once, and once more
// after each Every.
type Rate struct {
	Burst int
	Every time.Duration
}

// throttle limits how often something is done for each key. It is safe for
// concurrent use.
//
// It keeps one time for each key, the moment its bucket will be full again (the
// generic cell rate algorithm, ITU-T I.371): a key whose time has passed says
// nothing and is dropped, so that the memory held follows the recent past.
type throttle struct {
	rate Rate
	now  func() time.Time

	mu   sync.Mutex
	full map[string]time.Time
	// sweepAt is the size at which keys that say nothing are dropped; it doubles
	// what was left, so that sweeping costs nothing on average.
	sweepAt int
}

const minSweep = 1024

func newThrottle(rate Rate, now func() time.Time) *throttle {
	return &throttle{rate: rate, now: now, full: map[string]time.Time{}, sweepAt: minSweep}
}

// take uses up one turn of the key. When there is none left it takes nothing
// and returns how long to wait for one; otherwise it returns zero.
func (t *throttle) take(key string) time.Duration {
	now := t.now()
	t.mu.Lock()
	defer t.mu.Unlock()
	full := t.full[key]
	if full.Before(now) {
		full = now
	}
	next := full.Add(t.rate.Every)
	if wait := next.Sub(now) - time.Duration(t.rate.Burst)*t.rate.Every; wait > 0 {
		return wait
	}
	t.sweep(now)
	t.full[key] = next
	return 0
}

// giveBack undoes one take, for a turn that turned out not to count.
func (t *throttle) giveBack(key string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if full, ok := t.full[key]; ok {
		t.full[key] = full.Add(-t.rate.Every)
	}
}

// forgive forgets what the key has used up.
func (t *throttle) forgive(key string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	delete(t.full, key)
}

func (t *throttle) sweep(now time.Time) {
	if len(t.full) < t.sweepAt {
		return
	}
	for key, full := range t.full {
		if full.Before(now) {
			delete(t.full, key)
		}
	}
	t.sweepAt = max(minSweep, 2*len(t.full))
}

// throttleKey names something of a tenant's. It is short however long the thing
// is, because it is kept, and what callers send may fill a request.
func throttleKey(tenant, thing string) string {
	sum := sha256.Sum256([]byte(tenant + "\x00" + thing)) // tenants are ids without NUL
	return string(sum[:])
}
