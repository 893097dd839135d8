package key

import (
	"fmt"
	"math"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/m3o/ingress/internal/api"
)

// Whatever the demands, the shares are one whole, each node has a part that is not
// nothing, and while a request is refused nothing is left over.
func TestSharesAreOneWhole(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		quota := float64(rapid.Int64Range(1, maxRate).Draw(t, "quota"))
		parts := rapid.SliceOfN(rapid.Float64Range(0, 1), 1, 50).Draw(t, "parts of the quota asked of each node")
		all := 0.0
		for _, part := range parts {
			all += part * quota
		}
		sum, used := 0.0, 0.0
		for _, part := range parts {
			mine := part * quota
			got := shareOf(mine, all-mine, quota, len(parts))
			if least := reserved / float64(len(parts)); got < least-1e-9 || got > 1+1e-9 {
				t.Fatalf("a node that is asked for %v of %v gets %v of it", mine, quota, got)
			}
			sum += got
			used += min(got*quota, mine)
		}
		if math.Abs(sum-1) > 1e-6 {
			t.Fatalf("the shares add up to %v", sum)
		}
		if wanted := min(all, quota); used < (1-reserved)*wanted*(1-1e-6) {
			t.Fatalf("of %v that were asked for and allowed, the shares allow %v", wanted, used)
		}
	})
}

// Who is asked for more has no smaller share, and a new node's start is an equal one.
func TestSharesFollowDemand(t *testing.T) {
	for _, test := range []struct {
		name                string
		mine, others, quota float64
		nodes               int
		want                float64
	}{
		{"alone", 0, 0, 100, 1, 1},
		{"alone, and used", 70, 0, 100, 1, 1},
		{"nobody is asked", 0, 0, 100, 4, 1. / 4},
		{"only this one, in full", 100, 0, 100, 4, 0.01 + 0.96},
		{"only others, in full", 0, 100, 100, 4, 0.01},
		{"only this one, for half", 50, 0, 100, 4, 0.01 + 0.96*(0.5+0.5/4)},
		{"a flood elsewhere", 10, 100, 100, 2, 0.02 + 0.96*10/110},
		{"floods everywhere", 100, 200, 100, 3, 0.04/3 + 0.96/3},
	} {
		if got := shareOf(test.mine, test.others, test.quota, test.nodes); math.Abs(got-test.want) > 1e-9 {
			t.Errorf("%s: %v, want %v", test.name, got, test.want)
		}
	}
}

// member is a node of a cluster in memory.
type member struct {
	buckets
	told demands
}

// cluster is nodes that exchange their demands without a database.
type cluster struct{ members []*member }

func newCluster(nodes int, at time.Time) *cluster {
	c := &cluster{}
	for range nodes {
		c.members = append(c.members, &member{buckets: buckets{leases: newLeases(at)}})
	}
	return c
}

func (c *cluster) exchange(i int, at time.Time) {
	others := otherNodes{number: len(c.members) - 1, demand: map[string]float64{}}
	for j, m := range c.members {
		if j == i {
			continue
		}
		for n, key := range m.told.keys {
			others.demand[key] += m.told.demands[n]
		}
	}
	c.members[i].told = c.members[i].measure(at)
	c.members[i].agree(others)
}

// load is requests that come to nodes in a steady beat, or at random times.
type load struct {
	perSecond []float64 // of each node
	random    *rand.Rand
	next      []time.Duration
}

// due returns how many requests come to a node until then.
func (l *load) due(node int, until time.Duration) (n int) {
	if l.perSecond[node] <= 0 {
		return 0
	}
	for l.next[node] <= until {
		gap := 1 / l.perSecond[node]
		if l.random != nil {
			gap *= l.random.ExpFloat64()
		}
		l.next[node] += time.Duration(gap * float64(time.Second))
		n++
	}
	return n
}

// drive puts load on nodes for so many periods, in each of which every node exchanges
// once, at a time of its own, and returns how many requests were allowed and offered.
func drive(l *load, from, periods int, take func(node int, at time.Duration) bool, exchange func(node int, at time.Duration)) (allowed, offered int) {
	const steps = 100
	if l.next == nil {
		l.next = make([]time.Duration, len(l.perSecond))
		for node := range l.next {
			l.next[node] = time.Duration(from) * exchangeEvery
		}
	}
	for step := from * steps; step < (from+periods)*steps; step++ {
		at := time.Duration(step) * exchangeEvery / steps
		for node := range l.perSecond {
			for range l.due(node, at) {
				offered++
				if take(node, at) {
					allowed++
				}
			}
			if step%steps == (node*67+13)%steps {
				exchange(node, at)
			}
		}
	}
	return allowed, offered
}

// Whatever the split of a steady load, what nodes allow together is within a tenth of
// the quota, or of what is asked for when that is less.
func TestTheLimitHoldsOverNodes(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		rate := rapid.Int64Range(1, 60).Draw(t, "rate")
		quotas := api.Quotas{RequestsPerSecond: rate, Burst: rapid.Int64Range(2, 3*rate+2).Draw(t, "burst")}
		factor := rapid.OneOf(rapid.Float64Range(0.3, 0.85), rapid.Float64Range(1.3, 5)).Draw(t, "part of the rate that is asked for")
		parts := rapid.SliceOfN(rapid.IntRange(0, 20), 2, 6).Draw(t, "split")
		parts[0]++
		l := &load{perSecond: split(parts, factor*float64(rate))}
		c := newCluster(len(parts), start)
		settle := 10 + int(int64(3*smoothOver*len(parts))/rate)
		if factor > 1 {
			settle += int(float64(quotas.Burst) / float64(rate) / (factor - 1)) // until the buckets are empty
		}
		c.drive(l, quotas, 0, settle)
		periods := 20 + int(200/rate)
		allowed, offered := c.drive(l, quotas, settle, periods)
		want := min(float64(offered), float64(rate)*float64(periods))
		if got := float64(allowed); got < 0.9*want || got > 1.1*want {
			t.Fatalf("%d of %d requests were allowed, where %v are", allowed, offered, want)
		}
	})
}

// Requests at random times, as visitors make them, are no more in all.
func TestTheLimitHoldsOverNodesAtRandomTimes(t *testing.T) {
	quotas := api.Quotas{RequestsPerSecond: 50, Burst: 100}
	for _, parts := range [][]int{{1, 1, 1}, {80, 15, 5}, {1, 0, 0}} {
		l := &load{perSecond: split(parts, 100), random: rand.New(rand.NewPCG(1, 2))}
		c := newCluster(len(parts), start)
		c.drive(l, quotas, 0, 10)
		allowed, _ := c.drive(l, quotas, 10, 60)
		if allowed < 50*60*9/10 || allowed > 50*60*11/10 {
			t.Errorf("split %v: %d were allowed, where %d are", parts, allowed, 50*60)
		}
	}
}

func TestLoadMayMoveBetweenNodes(t *testing.T) {
	for _, test := range []struct {
		quotas api.Quotas
		settle int // periods
	}{
		{api.Quotas{RequestsPerSecond: 100, Burst: 100}, 3},
		{api.Quotas{RequestsPerSecond: 1, Burst: 3}, 40},
	} {
		rate := int(test.quotas.RequestsPerSecond)
		c := newCluster(3, start)
		c.drive(&load{perSecond: []float64{float64(3 * rate), 0, 0}}, test.quotas, 0, 2*test.settle)
		moved := &load{perSecond: []float64{0, float64(3 * rate), 0}}
		// The new node's bucket is full, as far as its share goes.
		allowed, _ := c.drive(moved, test.quotas, 2*test.settle, test.settle)
		if most := test.settle*rate + int(test.quotas.Burst); allowed > most {
			t.Errorf("%v: %d were allowed after the load had moved, at most %d are", test.quotas, allowed, most)
		}
		periods := 10 + 100/rate
		allowed, _ = c.drive(moved, test.quotas, 3*test.settle, periods)
		if right := periods * rate; allowed < right*9/10 || allowed > right*11/10 {
			t.Errorf("%v: %d were allowed once the load had settled, where %d are", test.quotas, allowed, right)
		}
	}
}

func TestAKeyThatIsNewOnAllNodesAtOnce(t *testing.T) {
	quotas := api.Quotas{RequestsPerSecond: 100, Burst: 50}
	c := newCluster(3, start)
	c.drive(&load{perSecond: []float64{0, 0, 0}}, quotas, 0, 1)
	allowed, _ := c.drive(&load{perSecond: []float64{500, 500, 500}}, quotas, 1, 10)
	if most := 50 + 10*100*11/10; allowed > most {
		t.Errorf("%d were allowed in the first ten periods, at most %d are", allowed, most)
	}
}

// A node that is asked for little is not starved by a flood at another one.
func TestAFloodAtOneNodeLeavesTheOthersSomething(t *testing.T) {
	quotas := api.Quotas{RequestsPerSecond: 100, Burst: 100}
	c := newCluster(2, start)
	served := 0
	l := &load{perSecond: []float64{5000, 8}}
	drive(l, 0, 20, func(node int, at time.Duration) bool {
		rate := c.members[node].take("key", quotas, start.Add(at))
		if node == 1 && rate.Allowed {
			served++
		}
		return rate.Allowed
	}, func(node int, at time.Duration) { c.exchange(node, start.Add(at)) })
	if served < 8*20*9/10 {
		t.Errorf("%d of %d requests were served", served, 8*20)
	}
}

func TestWhatAShareSays(t *testing.T) {
	quotas := api.Quotas{RequestsPerSecond: 10, Burst: 30}
	b := buckets{leases: newLeases(start)}
	b.leases.nodes = 3
	want := api.Rate{Allowed: true, Limit: 30, Remaining: 9, Reset: 300 * time.Millisecond}
	if diff := cmp.Diff(want, b.take("key", quotas, start)); diff != "" {
		t.Error(diff)
	}
	for range 9 {
		b.take("key", quotas, start)
	}
	refused := b.take("key", quotas, start)
	if refused.Allowed || refused.Remaining != 0 || refused.RetryAfter != 300*time.Millisecond {
		t.Errorf("after ten requests: %+v", refused)
	}
	// A quota that was changed is a node's at once, in the same share.
	quotas = api.Quotas{RequestsPerSecond: 20, Burst: 60}
	if rate := b.take("key", quotas, start.Add(150*time.Millisecond)); !rate.Allowed || rate.Limit != 60 {
		t.Errorf("after the quota was doubled: %+v", rate)
	}
	// The smallest burst is one request, whatever the share.
	quotas = api.Quotas{RequestsPerSecond: 1, Burst: 1}
	if first, second := b.take("small", quotas, start), b.take("small", quotas, start); !first.Allowed || second.Allowed || second.RetryAfter != 3*time.Second {
		t.Errorf("a burst of one: %+v, then %+v", first, second)
	}
}

func TestIdleLeasesAreForgottenAndMemoryIsBounded(t *testing.T) {
	quotas := api.Quotas{RequestsPerSecond: 10, Burst: 10}
	b := buckets{leases: newLeases(start)}
	for i := range maxLeases + 100 {
		if !b.take(fmt.Sprint(i), quotas, start).Allowed {
			t.Fatal("a new key was refused")
		}
	}
	at := start.Add(exchangeEvery)
	if told := b.measure(at); len(told.keys) != maxLeases || len(told.demands) != maxLeases {
		t.Errorf("%d keys and %d demands are told", len(told.keys), len(told.demands))
	}
	for range 20 {
		at = at.Add(exchangeEvery)
		b.take("busy", quotas, at)
		b.measure(at)
	}
	b.take("busy", quotas, at)
	if len(b.leases.byKey) != 1 {
		t.Errorf("%d leases are left of one key in use", len(b.leases.byKey))
	}
	// A clock that was set back loses no request and forgets nobody.
	if told := b.measure(at.Add(-time.Hour)); len(told.keys) != 1 {
		t.Errorf("%v are told after the clock was set back", told.keys)
	}
}

// split divides a load.
func split(parts []int, all float64) (perSecond []float64) {
	sum := 0
	for _, part := range parts {
		sum += part
	}
	for _, part := range parts {
		perSecond = append(perSecond, all*float64(part)/float64(sum))
	}
	return perSecond
}

func (c *cluster) drive(l *load, quotas api.Quotas, from, periods int) (allowed, offered int) {
	return drive(l, from, periods, func(node int, at time.Duration) bool {
		return c.members[node].take("key", quotas, start.Add(at)).Allowed
	}, func(node int, at time.Duration) { c.exchange(node, start.Add(at)) })
}

func BenchmarkTakeShared(b *testing.B) {
	now := newClock().at
	buckets := buckets{leases: newLeases(now)}
	b.ReportAllocs()
	for b.Loop() {
		now = now.Add(time.Millisecond)
		buckets.take("key_1", api.DefaultQuotas, now)
	}
}

func BenchmarkMeasure(b *testing.B) {
	now := newClock().at
	buckets := buckets{leases: newLeases(now)}
	for i := range maxLeases {
		buckets.take(fmt.Sprint(i), api.DefaultQuotas, now)
	}
	b.ReportAllocs()
	for b.Loop() { // at one time, so that no key is idle
		buckets.measure(now)
	}
}
