package key

import (
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/m3o/ingress/internal/api"
)

func TestTake(t *testing.T) {
	c := newClock()
	s := New(newWorld(t, Options{}).db, Options{Now: c.now})
	caller := api.Caller{KeyID: "key_1", Quotas: api.Quotas{RequestsPerSecond: 10, Burst: 3}}
	for i, step := range []struct {
		wait time.Duration
		want api.Rate
	}{
		{0, api.Rate{Allowed: true, Limit: 3, Remaining: 2, Reset: 100 * time.Millisecond}},
		{0, api.Rate{Allowed: true, Limit: 3, Remaining: 1, Reset: 200 * time.Millisecond}},
		{0, api.Rate{Allowed: true, Limit: 3, Remaining: 0, Reset: 300 * time.Millisecond}},
		{0, api.Rate{Limit: 3, Reset: 300 * time.Millisecond, RetryAfter: 100 * time.Millisecond}},
		{60 * time.Millisecond, api.Rate{Limit: 3, Reset: 240 * time.Millisecond, RetryAfter: 40 * time.Millisecond}},
		{40 * time.Millisecond, api.Rate{Allowed: true, Limit: 3, Reset: 300 * time.Millisecond}},
		{time.Hour, api.Rate{Allowed: true, Limit: 3, Remaining: 2, Reset: 100 * time.Millisecond}},
		{-2 * time.Hour, api.Rate{Limit: 3, Reset: 300 * time.Millisecond, RetryAfter: 100 * time.Millisecond}},
	} {
		c.at = c.at.Add(step.wait)
		if diff := cmp.Diff(step.want, s.Take(caller)); diff != "" {
			t.Errorf("step %d: %s", i, diff)
		}
	}
	other := api.Caller{KeyID: "key_2", Quotas: caller.Quotas}
	if !s.Take(other).Allowed {
		t.Error("one key used up another's requests")
	}
	unlimited := api.Caller{KeyID: "key_3", Unlimited: true}
	for range 1000 {
		if rate := s.Take(unlimited); !rate.Allowed || rate.Limit != 0 {
			t.Fatalf("the bootstrap key is limited: %+v", rate)
		}
	}
}

// Whatever the pattern of requests, no more than burst + rate × time get
// through, and who waits as long as told is served.
func TestTheLimitHolds(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		quotas := api.Quotas{
			RequestsPerSecond: rapid.Int64Range(1, maxRate).Draw(t, "rate"),
			Burst:             rapid.Int64Range(1, 1000).Draw(t, "burst"),
		}
		var b buckets
		start := newClock().at
		now := start
		allowed := int64(0)
		for _, wait := range rapid.SliceOf(rapid.Int64Range(0, int64(time.Second)/quotas.RequestsPerSecond*2)).Draw(t, "waits") {
			now = now.Add(time.Duration(wait))
			rate := b.take("key", quotas, now)
			if !rate.Allowed {
				if rate.RetryAfter <= 0 {
					t.Fatalf("refused, to be tried again after %v", rate.RetryAfter)
				}
				now = now.Add(rate.RetryAfter)
				if rate = b.take("key", quotas, now); !rate.Allowed {
					t.Fatal("refused after waiting as long as told")
				}
			}
			allowed++
			if rate.Remaining < 0 || rate.Remaining >= quotas.Burst || rate.Reset <= 0 {
				t.Fatalf("%+v", rate)
			}
		}
		interval := time.Second / time.Duration(quotas.RequestsPerSecond)
		if most := quotas.Burst + int64(now.Sub(start)/interval); allowed > most {
			t.Fatalf("%d were allowed, %d are", allowed, most)
		}
	})
}

func TestIdleBucketsAreDroppedAndMemoryIsBounded(t *testing.T) {
	var b buckets
	now := newClock().at
	quotas := api.Quotas{RequestsPerSecond: 1, Burst: 5}
	for i := range maxBuckets + 1000 {
		b.take(fmt.Sprint(i), quotas, now)
	}
	if len(b.fullAt) > maxBuckets {
		t.Errorf("%d buckets", len(b.fullAt))
	}
	busy := fmt.Sprint("busy", rand.Int())
	for range 5 {
		b.take(busy, quotas, now.Add(time.Hour))
	}
	b.take("another", quotas, now.Add(time.Hour))
	if len(b.fullAt) > minSweep {
		t.Errorf("%d buckets are left after all were idle", len(b.fullAt))
	}
	if b.take(busy, quotas, now.Add(time.Hour)).Allowed {
		t.Error("the sweep gave a busy key a new burst")
	}
}

func BenchmarkTake(b *testing.B) {
	var buckets buckets
	now := newClock().at
	b.ReportAllocs()
	for b.Loop() {
		now = now.Add(time.Millisecond)
		buckets.take("key_1", api.DefaultQuotas, now)
	}
}
