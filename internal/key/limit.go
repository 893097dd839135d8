package key

import (
	"sync"
	"time"

	"github.com/m3o/ingress/internal/api"
)

// maxBuckets bounds the memory of the limiter, and minSweep is the number of
// buckets at which it begins to look for those that are no longer needed.
const (
	maxBuckets = 100_000
	minSweep   = 1_000
)

// Take counts one request against the caller's key: a token bucket that holds
// Burst tokens and gains RequestsPerSecond each second. The bootstrap key is not
// limited.
func (s *Service) Take(caller api.Caller) api.Rate {
	if caller.Unlimited {
		return api.Rate{Allowed: true}
	}
	return s.buckets.take(caller.KeyID, caller.Quotas, s.now())
}

// buckets holds a token bucket for every key used lately. All there is to know
// of one is when it will be full again (the generic cell rate algorithm, ITU-T
// I.371): whole nanoseconds, so nothing is lost to rounding, and a quota that
// changes applies at once. The zero value is ready.
type buckets struct {
	mu        sync.Mutex
	fullAt    map[string]time.Time
	sweepAt   int       // the size that starts the next sweep
	restUntil time.Time // no sweep before
	leases    *leases   // of the keys' rates; nil where there is nobody to share them with
}

func (b *buckets) take(key string, quotas api.Quotas, now time.Time) api.Rate {
	interval := max(1, time.Second/time.Duration(max(1, quotas.RequestsPerSecond)))
	full := interval * time.Duration(quotas.Burst)
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.leases != nil {
		interval, full = b.leases.use(key, quotas).of(interval, full, quotas)
	}
	at, known := b.fullAt[key]
	if !known {
		b.makeRoom(now)
		at = now
	}
	owed := min(max(0, at.Sub(now)), full) // a clock set back owes no more than all
	rate := api.Rate{Allowed: owed+interval <= full, Limit: quotas.Burst}
	if rate.Allowed {
		owed += interval
	} else {
		rate.RetryAfter = owed + interval - full
	}
	rate.Remaining = int64((full - owed) / interval)
	rate.Reset = owed
	b.fullAt[key] = now.Add(owed)
	return rate
}

// makeRoom makes sure that one more bucket fits. Should there be maxBuckets that
// are not full, any one goes, and its key gains a burst.
func (b *buckets) makeRoom(now time.Time) {
	if b.fullAt == nil {
		b.fullAt, b.sweepAt = map[string]time.Time{}, minSweep
	}
	if len(b.fullAt) >= b.sweepAt && !now.Before(b.restUntil) {
		b.sweep(now)
	}
	if len(b.fullAt) >= maxBuckets {
		b.dropOne()
	}
}

// sweep drops the buckets that are full, which say no more than missing ones. It
// is due when there are twice as many as it left the last time, and once a second
// at most, so that it costs each call next to nothing.
func (b *buckets) sweep(now time.Time) {
	for key, at := range b.fullAt {
		if !at.After(now) {
			delete(b.fullAt, key)
		}
	}
	b.sweepAt = min(maxBuckets, max(minSweep, 2*len(b.fullAt)))
	b.restUntil = now.Add(time.Second)
}

func (b *buckets) dropOne() {
	for key := range b.fullAt {
		delete(b.fullAt, key)
		return
	}
}
