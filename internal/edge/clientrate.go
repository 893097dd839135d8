package edge

import (
	"hash/maphash"
	"net/http"
	"net/netip"
	"sync"
	"time"
)

// clientRates bounds the requests of each client: so many a second, with bursts.
// It remembers the clients that came last, a bounded number of them, so that
// scanning with many addresses makes it grow no further; who is forgotten may
// have another burst. It is safe for concurrent use.
type clientRates struct {
	interval time.Duration // between two requests at the full rate
	slack    time.Duration // how far ahead of that a burst may be
	now      func() time.Time
	began    time.Time
	seed     maphash.Seed
	shards   [rateShards]rateShard
}

const (
	rateShards = 64
	// ratedClients is how many clients are remembered.
	ratedClients = 100_000
)

// rateShard remembers some of the clients, in a ring with the one that came last
// in front.
type rateShard struct {
	mu      sync.Mutex
	clients map[netip.Addr]*ratedClient
	ring    ratedClient
}

// ratedClient is one client. due is when its next request would be at the full
// rate, from the beginning of the process: the only thing a token bucket needs.
type ratedClient struct {
	addr       netip.Addr
	due        time.Duration
	prev, next *ratedClient
}

// newClientRates returns nil when there is no limit.
func newClientRates(l Limits, now func() time.Time) *clientRates {
	if l.ClientRate <= 0 {
		return nil
	}
	interval := time.Second / time.Duration(l.ClientRate)
	c := &clientRates{
		interval: interval, slack: interval * time.Duration(l.ClientBurst),
		now: now, began: now(), seed: maphash.MakeSeed(),
	}
	for i := range c.shards {
		s := &c.shards[i]
		s.clients = make(map[netip.Addr]*ratedClient)
		s.ring.prev, s.ring.next = &s.ring, &s.ring
	}
	return c
}

// take counts a request. If it is one too many it returns how long until the next
// is none.
func (c *clientRates) take(addr netip.Addr) (wait time.Duration) {
	client := wholeClient(addr)
	bytes := client.As16()
	s := &c.shards[maphash.Bytes(c.seed, bytes[:])%rateShards]
	now := c.now().Sub(c.began)
	s.mu.Lock()
	defer s.mu.Unlock()
	known := s.find(client)
	due := max(known.due, now) + c.interval
	if wait = due - now - c.slack; wait > 0 {
		return wait
	}
	known.due = due
	return 0
}

// find returns the client, in place of the one that stayed away for longest if
// there is no room for another.
func (s *rateShard) find(addr netip.Addr) *ratedClient {
	client := s.clients[addr]
	switch {
	case client != nil:
		client.prev.next, client.next.prev = client.next, client.prev
	case len(s.clients) < ratedClients/rateShards:
		client = &ratedClient{addr: addr}
		s.clients[addr] = client
	default:
		client = s.ring.prev
		client.prev.next, client.next.prev = client.next, client.prev
		delete(s.clients, client.addr)
		client.addr, client.due = addr, 0
		s.clients[addr] = client
	}
	client.prev, client.next = &s.ring, s.ring.next
	client.prev.next, client.next.prev = client, client
	return client
}

// rated refuses the requests of clients that make too many, if there is such a
// limit. Trusted proxies that came for themselves have none.
func (e *Edge) rated(next handler) handler {
	rates := newClientRates(e.config.Limits, e.now)
	if rates == nil {
		return next
	}
	return func(w http.ResponseWriter, r *http.Request) *failure {
		addr := recordOf(r).visitor.addr
		if !addr.IsValid() || e.from.trusts(addr) {
			return next(w, r)
		}
		if wait := rates.take(addr); wait > 0 {
			return tooManyRequests(wait)
		}
		return next(w, r)
	}
}

func tooManyRequests(wait time.Duration) *failure {
	f := fail(http.StatusTooManyRequests, ReasonClientRate, "Too many requests come from your address.")
	f.hint = "Try again in a moment."
	f.retryAfter = wait
	return f
}
