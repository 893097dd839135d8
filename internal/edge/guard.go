package edge

import (
	"context"
	"fmt"
	"hash/maphash"
	"log/slog"
	"net/http"
	"net/http/httptrace"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// guards stand before the backends that nobody else keeps awake: one that cannot
// be reached is left alone for a moment, and one that is slow gets so many
// requests and no more, so that it holds up nobody's but its own. They know a
// backend by its host and port, for whoever's it is. Safe for concurrent use.
type guards struct {
	most, queue int           // requests at once, and waiting; most 0 is no limit
	wait        time.Duration // of those that wait
	logger      *slog.Logger
	now         func() time.Time
	ejections   prometheus.Counter
	waiting     atomic.Int64
	seed        maphash.Seed
	shards      [guardShards]guardShard
}

const (
	guardShards = 32
	// guardedPerShard bounds the backends remembered without having requests.
	guardedPerShard = 512
	// failuresToEject is how many attempts in a row must find no connection.
	failuresToEject = 3
	firstEjection   = time.Second
	longestEjection = 10 * time.Second
)

type guardShard struct {
	mu       sync.Mutex
	backends map[string]*guarded
}

// guarded is what is known of one backend. It belongs to its shard's lock.
type guarded struct {
	inFlight int
	waiting  []*waiter

	failures int           // in a row
	ejected  time.Duration // for how long, last time
	until    time.Time     // when it may be tried again
	probing  bool          // one request tries it
}

// waiter is a request that waits for another to end.
type waiter struct {
	granted chan struct{}
	given   bool
}

func newGuards(l Limits, logger *slog.Logger, now func() time.Time) *guards {
	g := &guards{
		most: max(l.BackendRequests, 0), queue: max(l.BackendQueue, 0), wait: l.BackendWait,
		logger: logger, now: now, seed: maphash.MakeSeed(),
		ejections: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "ingress_backend_ejections_total",
			Help: "Times that a backend was left alone for a moment because it could not be reached.",
		}),
	}
	for i := range g.shards {
		g.shards[i].backends = make(map[string]*guarded)
	}
	return g
}

func (g *guards) collectors() []prometheus.Collector {
	return []prometheus.Collector{g.ejections, prometheus.NewGaugeFunc(prometheus.GaugeOpts{
		Name: "ingress_backend_requests_waiting",
		Help: "Requests that wait because their backend has as many as it may have at once.",
	}, func() float64 { return float64(g.waiting.Load()) })}
}

// pass lets one request through to a backend. A nil one was not asked for.
type pass struct {
	guards *guards
	shard  *guardShard
	host   string
	state  *guarded
	probe  bool
	left   bool
}

// enter returns a pass, which must leave, or the failure that says why not.
func (g *guards) enter(ctx context.Context, host string) (*pass, *failure) {
	shard := &g.shards[maphash.String(g.seed, host)%guardShards]
	shard.mu.Lock()
	defer shard.mu.Unlock()
	state := shard.backends[host]
	if state == nil {
		state = &guarded{}
		shard.backends[host] = state
	}
	p := &pass{guards: g, shard: shard, host: host, state: state}
	if state.failures >= failuresToEject {
		if wait := state.until.Sub(g.now()); wait > 0 || state.probing {
			return nil, backendEjected(max(wait, time.Second))
		}
		state.probing, p.probe = true, true
	}
	switch {
	case g.most == 0 || state.inFlight < g.most:
		state.inFlight++
		return p, nil
	case len(state.waiting) >= g.queue || !g.queued(ctx, p):
		p.giveUp()
		if ctx.Err() != nil {
			return nil, clientGone(ctx.Err())
		}
		return nil, backendBusy()
	}
	return p, nil
}

// queued waits for a place, without the lock meanwhile.
func (g *guards) queued(ctx context.Context, p *pass) bool {
	w := &waiter{granted: make(chan struct{})}
	p.state.waiting = append(p.state.waiting, w)
	p.shard.mu.Unlock()
	g.waiting.Add(1)
	timer := time.NewTimer(g.wait)
	select {
	case <-w.granted:
	case <-timer.C:
	case <-ctx.Done():
	}
	timer.Stop()
	g.waiting.Add(-1)
	p.shard.mu.Lock()
	if !w.given {
		p.state.waiting = slices.DeleteFunc(p.state.waiting, func(other *waiter) bool { return other == w })
	}
	return w.given
}

// describe says how a backend is, and why the next request to it would be refused,
// if it would.
func (g *guards) describe(host string) (state string, refused *failure) {
	shard := &g.shards[maphash.String(g.seed, host)%guardShards]
	shard.mu.Lock()
	defer shard.mu.Unlock()
	s := shard.backends[host]
	if s == nil {
		return "no request is under way", nil
	}
	state = fmt.Sprintf("requests under way: %d, waiting: %d", s.inFlight, len(s.waiting))
	switch wait := s.until.Sub(g.now()); {
	case s.failures >= failuresToEject && wait > 0:
		return fmt.Sprintf("%s; it could not be reached %d times in a row and is left alone for %v more",
			state, s.failures, wait.Round(100*time.Millisecond)), backendEjected(wait)
	case g.most > 0 && s.inFlight >= g.most && len(s.waiting) >= g.queue:
		return state + ", which is all it may have", backendBusy()
	}
	return state, nil
}

// giveUp is for a pass that was never given.
func (p *pass) giveUp() {
	if p.probe {
		p.state.probing = false
	}
	p.forget()
}

// leave gives the place to the next. Only the first time counts.
func (p *pass) leave() {
	if p == nil {
		return
	}
	p.shard.mu.Lock()
	defer p.shard.mu.Unlock()
	if p.left {
		return
	}
	p.left = true
	if p.probe {
		p.state.probing = false
	}
	if len(p.state.waiting) > 0 {
		next := p.state.waiting[0]
		p.state.waiting = p.state.waiting[1:]
		next.given = true
		close(next.granted)
		return
	}
	p.state.inFlight--
	p.forget()
}

// forget drops a backend without requests when too many are remembered.
func (p *pass) forget() {
	if len(p.shard.backends) <= guardedPerShard {
		return
	}
	for host, other := range p.shard.backends {
		if other.idle() {
			delete(p.shard.backends, host)
			return
		}
	}
}

func (s *guarded) idle() bool { return s.inFlight == 0 && len(s.waiting) == 0 }

// watch has a request that tries an ejected backend tell as soon as there is a
// connection: how long the backend takes to answer is its own matter, and nobody
// else is to wait for that.
func (p *pass) watch(r *http.Request) *http.Request {
	if p == nil || !p.probe {
		return r
	}
	return r.WithContext(httptrace.WithClientTrace(r.Context(), &httptrace.ClientTrace{
		GotConn: func(httptrace.GotConnInfo) { p.reached() },
	}))
}

// reached notes that there is a connection to the backend, or an answer from it.
func (p *pass) reached() {
	if p == nil {
		return
	}
	p.shard.mu.Lock()
	defer p.shard.mu.Unlock()
	if p.state.failures >= failuresToEject {
		p.guards.logger.Info("a backend can be reached again", "backend", p.host)
	}
	p.state.failures, p.state.ejected = 0, 0
	if p.probe {
		p.state.probing, p.probe = false, false // the next one may be another's
	}
}

// missed notes that there was no connection to the backend. Each ejection lasts
// twice as long as the one before, up to a bound.
func (p *pass) missed() {
	if p == nil {
		return
	}
	g, s := p.guards, p.state
	p.shard.mu.Lock()
	defer p.shard.mu.Unlock()
	s.failures++
	now := g.now()
	if s.failures < failuresToEject || s.until.After(now) {
		return // requests that were under way do not make it longer
	}
	if s.ejected == 0 {
		g.logger.Warn("a backend cannot be reached and is left alone for a moment", "backend", p.host)
	}
	s.ejected = min(max(2*s.ejected, firstEjection), longestEjection)
	s.until = now.Add(s.ejected)
	g.ejections.Inc()
}

func backendEjected(wait time.Duration) *failure {
	f := fail(http.StatusServiceUnavailable, ReasonBackendEjected, "The backend could not be reached several times and is left alone for a moment.")
	f.hint = "Try again in a few seconds."
	f.retryAfter = wait
	return f
}

func backendBusy() *failure {
	f := fail(http.StatusServiceUnavailable, ReasonBackendBusy, "The backend has as many requests as it may have at once.")
	f.hint = "Try again in a few seconds."
	f.retryAfter = 5 * time.Second
	return f
}
