package key

import (
	"math"
	"time"

	"github.com/m3o/ingress/internal/api"
)

// Processes on one database, here called nodes, share the rate and the burst of each
// key. A share is a part of 1 of both, and comes from how much every node is asked for
// with the key, which they tell each other once a second. In between a node uses the
// share it has, so that no request waits for the database.

const (
	// reserved is the part of a rate that all nodes have in equal shares, so that who
	// comes to one that nobody asked before is served, before the others know.
	reserved = 0.04
	// unknownNodes is how many nodes there are taken to be before the first answer.
	unknownNodes = 2
	// A demand is measured over a second at least, and over so long that the whole rate
	// is smoothOver requests for each node: fewer say nothing, and the share of a node
	// would be at its smallest whenever its next request comes.
	smoothOver = 4
	// idleBelow is the part of the rate below which a demand that has ended is forgotten.
	idleBelow = 0.01
	// maxLeases bounds what a node measures and tells. Further keys have an equal share.
	maxLeases = 10_000
	// fewestTokens is what a bucket holds at least, if the burst allows: with less than
	// two, requests in a steady beat that is not the bucket's lose a part of the rate.
	fewestTokens = 2
)

// shareOf returns the share of a node, of which mine is asked for, all others together
// being asked for others, when quota is the rate: all in requests a second, no node's
// demand being above the quota. The shares of all nodes add up to 1, and each is
// reserved/nodes at least.
//
// Where the rate is enough for all, each gets what it is asked for, and what is left
// over in equal parts, which is what meets a demand that grows. Where it is not, each
// request has the same chance whichever node it comes to. A demand counts up to the
// quota only, so that a flood at one node leaves something to the others.
func shareOf(mine, others, quota float64, nodes int) float64 {
	all := mine + others
	wanted := (mine + max(0, quota-all)/float64(nodes)) / max(quota, all)
	return reserved/float64(nodes) + (1-reserved)*wanted
}

// share is a part of 1.
type share float64

// of returns what is left of a bucket that gains a token every interval, and is full
// after having gained for so long, which is the same whatever the share. So what is in
// a bucket stays the same part of it when the share changes.
func (s share) of(interval, full time.Duration, quotas api.Quotas) (time.Duration, time.Duration) {
	interval = time.Duration(float64(interval) / float64(s))
	return interval, max(full, interval*time.Duration(min(fewestTokens, quotas.Burst)))
}

// leases are this node's shares of the keys used lately. They are guarded by the
// buckets' lock.
type leases struct {
	nodes    int // that are alive, this one included; 0 before the first answer
	byKey    map[string]*lease
	measured time.Time
}

// lease is what a node has of one key's rate until it hears of the others again.
type lease struct {
	share  share
	asked  int64   // requests since it was measured, refused ones included
	demand float64 // requests a second, smoothed; 0 before it was measured
	quota  float64 // requests a second, as of the last request
}

func newLeases(now time.Time) *leases {
	return &leases{byKey: map[string]*lease{}, measured: now}
}

// start is the share of a key that is new here: safe should it be new on all nodes.
func (l *leases) start() share {
	if l.nodes == 0 {
		return 1. / unknownNodes
	}
	return 1 / share(l.nodes)
}

// use counts a request and returns the share of its key.
func (l *leases) use(key string, quotas api.Quotas) share {
	held, known := l.byKey[key]
	if !known {
		if len(l.byKey) >= maxLeases {
			return l.start()
		}
		held = &lease{share: l.start()}
		l.byKey[key] = held
	}
	held.asked++
	held.quota = float64(max(1, quotas.RequestsPerSecond))
	return held.share
}

// measure returns the demand for each key since it was called last, and forgets the
// keys without one.
func (l *leases) measure(now time.Time) demands {
	told := demands{keys: make([]string, 0, len(l.byKey)), demands: make([]float64, 0, len(l.byKey))}
	elapsed := now.Sub(l.measured).Seconds()
	l.measured = now
	for key, held := range l.byKey {
		if elapsed > 0 && held.measure(elapsed, smoothOver*float64(l.nodes)) {
			delete(l.byKey, key)
			continue
		}
		told.keys = append(told.keys, key)
		told.demands = append(told.demands, held.demand)
	}
	return told
}

// measure adds what was asked in so many seconds to the demand, which is smoothed over
// so many requests, and reports whether there is none any more.
func (h *lease) measure(elapsed, over float64) (idle bool) {
	idle = h.asked == 0
	sample := min(float64(h.asked)/elapsed, h.quota)
	weight := 1 - math.Exp(-elapsed/max(1, over/h.quota))
	h.demand = min(h.demand+(sample-h.demand)*weight, h.quota)
	h.asked = 0
	return idle && h.demand < idleBelow*h.quota
}

// agree takes the shares that follow from what the other nodes are asked for. A key
// that came up after measure keeps the share it has.
func (l *leases) agree(others otherNodes) {
	l.nodes = others.number + 1
	for key, held := range l.byKey {
		if held.demand > 0 {
			held.share = share(shareOf(held.demand, others.demand[key], held.quota, l.nodes))
		}
	}
}
