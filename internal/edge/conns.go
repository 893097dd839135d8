package edge

import (
	"context"
	"crypto/tls"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// connections are those that visitors have open, in all and per address. Each
// has a place. When there is none left, the connection that has been idle for
// longest gives up its own, or else the one that has asked for nothing for longest
// since it came; who is being served never does. It is safe for concurrent use.
type connections struct {
	max, perClient int
	exempt         func(netip.Addr) bool // from the limit per client
	logger         *slog.Logger
	now            func() time.Time
	refused        *prometheus.CounterVec

	mu      sync.Mutex
	changes sync.Cond // broadcast when a connection is served, rests or goes
	open    [connStates]int
	unmet   int // of which no request has been seen
	clients map[netip.Addr]int
	secure  map[*tls.Conn]*place // net/http tells of those by themselves
	idle    place                // the ring of idle ones, longest idle first
	silent  place                // the ring of new ones, longest there first
	said    time.Time            // when a refusal was last logged
	unsaid  int                  // refusals since
}

// connState is what a connection is doing. It is the label of a metric.
type connState uint8

const (
	connNew connState = iota // no byte of a request has come
	connActive
	connIdle
	connUpgraded
	connStates // how many there are
)

func (s connState) String() string {
	return [connStates]string{"new", "active", "idle", "upgraded"}[s]
}

// place is one connection's.
type place struct {
	all        *connections
	conn       net.Conn
	client     netip.Addr // invalid when it does not count for anybody
	state      connState
	met, left  bool
	since      time.Time // when it came
	prev, next *place    // in the ring of idle or of new ones
}

func newConnections(l Limits, exempt func(netip.Addr) bool, logger *slog.Logger, now func() time.Time) *connections {
	c := &connections{
		max: l.Connections, perClient: l.ClientConnections, exempt: exempt, logger: logger, now: now,
		clients: make(map[netip.Addr]int), secure: make(map[*tls.Conn]*place),
		refused: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "ingress_connections_refused_total",
			Help: "Connections closed by the limit that was reached: total and client as they came, resets later.",
		}, []string{"limit"}),
	}
	c.changes.L = &c.mu
	for _, ring := range []*place{&c.idle, &c.silent} {
		ring.prev, ring.next = ring, ring
	}
	for _, limit := range []string{limitTotal, limitClient, limitResets} {
		c.refused.WithLabelValues(limit) // so that it is there while it is 0
	}
	return c
}

// The limits a connection can be refused by.
const (
	limitTotal  = "total"
	limitClient = "client"
	limitResets = "resets" // of HTTP/2 streams; after it was let in
)

// collectors are the figures of connections.
func (c *connections) collectors() []prometheus.Collector {
	all := []prometheus.Collector{c.refused}
	for state := range connStates {
		all = append(all, prometheus.NewGaugeFunc(prometheus.GaugeOpts{
			Name:        "ingress_connections",
			Help:        "Connections that visitors have open, by what they are doing.",
			ConstLabels: prometheus.Labels{"state": state.String()},
		}, func() float64 { return float64(c.count(state)) }))
	}
	return all
}

func (c *connections) count(state connState) int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.open[state]
}

// admit gives a new connection its place, or closes it and returns nil.
func (c *connections) admit(conn net.Conn) *place {
	p := &place{all: c, conn: conn, client: c.client(conn.RemoteAddr())}
	evicted, limit := c.enter(p)
	if evicted != nil {
		closeNow(evicted.conn)
	}
	if limit == "" {
		return p
	}
	c.refuse(limit, conn) // before it is closed: who sees that finds why in the log
	closeNow(conn)
	return nil
}

// refuse notes why a connection is closed.
func (c *connections) refuse(limit string, conn net.Conn) {
	c.refused.WithLabelValues(limit).Inc()
	c.say(limit, conn)
}

// closeNow closes without TLS's goodbye, which could wait for the other side.
func closeNow(conn net.Conn) {
	if secure, ok := conn.(*tls.Conn); ok {
		conn = secure.NetConn()
	}
	_ = conn.Close() // nothing was promised
}

// client returns for whom a connection counts. A provider gives each customer an
// IPv6 network of 64 bits at least (RFC 6177), in which addresses cost nothing.
func (c *connections) client(remote net.Addr) netip.Addr {
	tcp, ok := remote.(*net.TCPAddr)
	if !ok {
		return netip.Addr{}
	}
	addr := plainAddr(tcp.AddrPort().Addr())
	if c.exempt(addr) {
		return netip.Addr{}
	}
	return wholeClient(addr)
}

// wholeClient returns the address that stands for a client: its own for IPv4, its
// /64 for IPv6.
func wholeClient(addr netip.Addr) netip.Addr {
	if !addr.Is6() {
		return addr
	}
	network, err := addr.Prefix(64)
	if err != nil {
		return addr // cannot happen: it has 128 bits and no zone
	}
	return network.Addr()
}

// enter counts a connection in, or names the limit that is reached.
func (c *connections) enter(p *place) (evicted *place, limit string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if p.client.IsValid() && c.clients[p.client] >= c.perClient {
		return nil, limitClient
	}
	p.since = c.now()
	if c.total() >= c.max {
		if evicted = c.evictable(p.since); evicted == nil {
			return nil, limitTotal
		}
		evicted.leaveLocked()
	}
	c.open[connNew]++
	c.unmet++
	p.link(&c.silent)
	if p.client.IsValid() {
		c.clients[p.client]++
	}
	if secure, ok := p.conn.(*tls.Conn); ok {
		c.secure[secure] = p
	}
	return evicted, ""
}

// firstWord is how long a connection may take to ask for something while others
// find no place: longer than a handshake across the world and the request behind
// it take. With enough places held in silence nobody else would be served until the
// limit on headers is over, and again from then on.
const firstWord = 3 * time.Second

// evictable returns the connection that is missed least, or nil.
func (c *connections) evictable(now time.Time) *place {
	if c.idle.next != &c.idle {
		return c.idle.next
	}
	if oldest := c.silent.next; oldest != &c.silent && now.Sub(oldest.since) >= firstWord {
		return oldest
	}
	return nil
}

func (c *connections) total() int {
	n := 0
	for _, open := range c.open {
		n += open
	}
	return n
}

// say logs a refusal, at most once a second, for who attacks must not fill the
// disk.
func (c *connections) say(limit string, conn net.Conn) {
	c.mu.Lock()
	c.unsaid++
	now, n := c.now(), c.unsaid
	quiet := now.Sub(c.said) < time.Second
	if !quiet {
		c.said, c.unsaid = now, 0
	}
	c.mu.Unlock()
	if quiet {
		return
	}
	switch limit {
	case limitTotal:
		c.logger.Warn("connections refused: as many are open as there may be, and none is idle; raise --max-connections if the machine has room",
			"refused", n, "max-connections", c.max)
	case limitResets:
		c.logger.Warn("connections closed: too many streams were reset before they had an answer; if their clients are honest, raise --http2-max-resets",
			"closed", n, "client", conn.RemoteAddr().String())
	default:
		c.logger.Warn("connections refused: one client has as many open as it may; if it is a proxy of yours, name it in --trusted-proxies, otherwise raise --max-client-connections",
			"refused", n, "client", conn.RemoteAddr().String(), "max-client-connections", c.perClient)
	}
}

// changed is net/http's hook for what becomes of a connection.
func (c *connections) changed(conn net.Conn, state http.ConnState) {
	p := c.placeOf(conn)
	if p == nil {
		return
	}
	if _, ok := conn.(*tls.Conn); ok {
		p.meet() // HTTP/2 says which of its streams it has seen (RFC 9113 6.8)
	}
	switch state {
	case http.StateActive:
		p.set(connActive)
	case http.StateIdle:
		p.set(connIdle)
	case http.StateHijacked:
		p.set(connUpgraded)
	case http.StateClosed:
		p.leave()
	}
}

func (c *connections) placeOf(conn net.Conn) *place {
	if f, ok := conn.(interface{ front() *frontConn }); ok {
		return f.front().place
	}
	secure, ok := conn.(*tls.Conn)
	if !ok {
		return nil
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.secure[secure]
}

// gone gives the place of a connection away that net/http never got.
func (c *connections) gone(conn net.Conn) {
	if p := c.placeOf(conn); p != nil {
		p.leave()
	}
}

// await waits until settled, which is called with the lock, or ctx ends.
func (c *connections) await(ctx context.Context, settled func() bool) {
	defer context.AfterFunc(ctx, func() {
		c.mu.Lock()
		defer c.mu.Unlock()
		c.changes.Broadcast()
	})()
	c.mu.Lock()
	defer c.mu.Unlock()
	for !settled() && ctx.Err() == nil {
		c.changes.Wait()
	}
}

// meet notes that a request is served, or in HTTP/2 can be: from then on a
// connection is closed without losing any.
func (p *place) meet() {
	c := p.all
	c.mu.Lock()
	defer c.mu.Unlock()
	if !p.left {
		p.metLocked()
	}
}

func (p *place) metLocked() {
	if !p.met {
		p.met = true
		p.all.unmet--
		p.all.changes.Broadcast()
	}
}

// set notes what the connection does now.
func (p *place) set(state connState) {
	c := p.all
	c.mu.Lock()
	defer c.mu.Unlock()
	if p.left || p.state == state {
		return
	}
	c.open[p.state]--
	c.open[state]++
	p.state = state
	c.changes.Broadcast()
	if p.unlink(); state == connIdle {
		p.link(&c.idle)
	}
}

// link puts the place at the end of a ring.
func (p *place) link(ring *place) {
	p.prev, p.next = ring.prev, ring
	p.prev.next, p.next.prev = p, p
}

// unlink takes the place out of its ring, if it is in one.
func (p *place) unlink() {
	if p.next != nil {
		p.prev.next, p.next.prev = p.next, p.prev
		p.prev, p.next = nil, nil
	}
}

// leave gives the place away. Only the first time counts.
func (p *place) leave() {
	p.all.mu.Lock()
	defer p.all.mu.Unlock()
	p.leaveLocked()
}

func (p *place) leaveLocked() {
	if p.left {
		return
	}
	p.left = true
	p.unlink()
	p.metLocked()
	c := p.all
	c.open[p.state]--
	c.changes.Broadcast()
	if p.client.IsValid() {
		if c.clients[p.client]--; c.clients[p.client] == 0 {
			delete(c.clients, p.client)
		}
	}
	if secure, ok := p.conn.(*tls.Conn); ok {
		delete(c.secure, secure)
	}
}
