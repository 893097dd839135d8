package upstream

import (
	"sync"
	"time"
)

// pool keeps idle connections, and hands out the one of a backend that was used
// last: the others get the chance to become old. It is safe for concurrent use.
//
// Age is looked after by one timer for all of them, which runs only while there
// are any.
type pool struct {
	perBackend int
	total      int
	timeout    time.Duration

	mu     sync.Mutex
	idle   map[string][]*conn // by backend, the oldest first
	count  int
	oldest *conn // of all backends
	newest *conn
	sweep  *time.Timer
	armed  bool
	closed bool // until a connection is wanted again
}

func newPool(perBackend, total int, timeout time.Duration) *pool {
	return &pool{perBackend: perBackend, total: total, timeout: timeout, idle: make(map[string][]*conn)}
}

// take returns the connection to a backend that was used last and may still be
// used, or nil.
func (p *pool) take(key string) *conn {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.closed = false
	list := p.idle[key]
	if len(list) == 0 {
		return nil
	}
	c := list[len(list)-1]
	if time.Since(c.idleFrom) >= p.timeout {
		return nil // so are the others; the sweep is about to come
	}
	list[len(list)-1] = nil
	// An empty list stays for the connection to come back to; the sweep removes it.
	p.idle[key] = list[:len(list)-1]
	p.unlink(c)
	return c
}

// put adds a connection that is ready for the next request. Where there are too
// many, the oldest goes.
func (p *pool) put(c *conn) {
	for _, excess := range p.add(c) {
		excess.discard()
	}
}

// add returns the connections that there is no more room for.
func (p *pool) add(c *conn) (excess []*conn) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed {
		return append(excess, c)
	}
	c.idleFrom = time.Now()
	p.idle[c.key] = append(p.idle[c.key], c)
	p.link(c)
	if list := p.idle[c.key]; len(list) > p.perBackend {
		excess = append(excess, p.drop(list[0]))
	}
	if p.count > p.total {
		excess = append(excess, p.drop(p.oldest))
	}
	if !p.armed && p.count > 0 {
		p.arm(p.timeout)
	}
	return excess
}

// drop takes out the connection of a backend that is the oldest.
func (p *pool) drop(c *conn) *conn {
	list := p.idle[c.key]
	copy(list, list[1:])
	list[len(list)-1] = nil
	if list = list[:len(list)-1]; len(list) == 0 {
		delete(p.idle, c.key)
	} else {
		p.idle[c.key] = list
	}
	p.unlink(c)
	return c
}

func (p *pool) link(c *conn) {
	c.older = p.newest
	if p.newest != nil {
		p.newest.newer = c
	} else {
		p.oldest = c
	}
	p.newest = c
	p.count++
}

func (p *pool) unlink(c *conn) {
	if c.older != nil {
		c.older.newer = c.newer
	} else {
		p.oldest = c.newer
	}
	if c.newer != nil {
		c.newer.older = c.older
	} else {
		p.newest = c.older
	}
	c.older, c.newer = nil, nil
	p.count--
}

// arm lets the sweep come.
func (p *pool) arm(after time.Duration) {
	p.armed = true
	if p.sweep == nil {
		p.sweep = time.AfterFunc(after, p.expire)
		return
	}
	p.sweep.Reset(after)
}

// expire closes the connections that have been idle for too long.
func (p *pool) expire() {
	for _, c := range p.expired(time.Now()) {
		c.discard()
	}
}

func (p *pool) expired(now time.Time) (old []*conn) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for p.oldest != nil && now.Sub(p.oldest.idleFrom) >= p.timeout {
		old = append(old, p.drop(p.oldest))
	}
	p.forgetEmpty()
	if p.armed = false; p.oldest != nil {
		p.arm(p.timeout - now.Sub(p.oldest.idleFrom))
	}
	return old
}

// forgetEmpty removes the backends without idle connections.
func (p *pool) forgetEmpty() {
	for key, list := range p.idle {
		if len(list) == 0 {
			delete(p.idle, key)
		}
	}
}

// closeIdle closes all connections, and those that are put back before one is
// wanted again: who closes the idle ones has no more use for the others either.
func (p *pool) closeIdle() {
	for _, c := range p.drain() {
		c.discard()
	}
}

func (p *pool) drain() (all []*conn) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for p.oldest != nil {
		all = append(all, p.drop(p.oldest))
	}
	p.forgetEmpty()
	if p.sweep != nil {
		p.sweep.Stop()
	}
	p.armed, p.closed = false, true
	return all
}

// size returns how many connections are idle.
func (p *pool) size() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.count
}
