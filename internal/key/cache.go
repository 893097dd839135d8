package key

import (
	"sync"
	"sync/atomic"

	"github.com/m3o/ingress/internal/api"
)

// How many keys the cache holds. Keys that do not exist have a space of their
// own, so that guessing cannot push out the keys that do.
const (
	maxKnown   = 10_000
	maxUnknown = 10_000
)

// entry is a key that was looked up and found.
type entry struct {
	caller api.Caller
	seen   atomic.Int64 // Unix seconds of the last recorded use
}

// cache holds the outcome of look-ups by the key's hash. The zero value is
// ready.
//
// A look-up that began before a change must not store what it found, or a
// revoked key would live on. So each look-up takes the generation along, and
// every change makes a new one.
type cache struct {
	mu         sync.RWMutex
	generation uint64
	known      map[hash]*entry
	unknown    map[hash]struct{}
	byID       map[string]hash
}

// get returns the entry, or nil when the key is known not to exist. When found
// is false, the generation is to be given to put.
func (c *cache) get(h hash) (e *entry, found bool, generation uint64) {
	c.mu.RLock()
	defer c.mu.RUnlock()
	if e, ok := c.known[h]; ok {
		return e, true, c.generation
	}
	_, found = c.unknown[h]
	return nil, found, c.generation
}

// put stores what a look-up found; nil means that there is no such key. It does
// nothing when something changed since the look-up began.
func (c *cache) put(h hash, e *entry, generation uint64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if generation != c.generation {
		return
	}
	if e == nil {
		c.dropHash(h)
		c.putUnknown(h)
		return
	}
	if c.known == nil {
		c.known, c.byID = map[hash]*entry{}, map[string]hash{}
	}
	if len(c.known) >= maxKnown {
		c.dropOne()
	}
	c.known[h] = e
	c.byID[e.caller.KeyID] = h
}

func (c *cache) putUnknown(h hash) {
	if c.unknown == nil || len(c.unknown) >= maxUnknown {
		c.unknown = map[hash]struct{}{}
	}
	c.unknown[h] = struct{}{}
}

// dropOne makes room. Any entry will do: a key in use is back after one read.
func (c *cache) dropOne() {
	for h, e := range c.known {
		delete(c.known, h)
		delete(c.byID, e.caller.KeyID)
		return
	}
}

// dropHash drops the key with this hash, should it be known.
func (c *cache) dropHash(h hash) {
	if e, ok := c.known[h]; ok {
		delete(c.known, h)
		delete(c.byID, e.caller.KeyID)
	}
}

// forgetKey drops the key, and all that is believed not to exist: the change
// may be the making of a key.
func (c *cache) forgetKey(id string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.generation++
	c.unknown = nil
	if h, ok := c.byID[id]; ok {
		delete(c.known, h)
		delete(c.byID, id)
	}
}

// forgetTenant drops the keys of the tenant, and all that is believed not to
// exist, which the keys of a disabled tenant are.
func (c *cache) forgetTenant(id string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.generation++
	c.unknown = nil
	for h, e := range c.known {
		if e.caller.Tenant == id {
			delete(c.known, h)
			delete(c.byID, e.caller.KeyID)
		}
	}
}

// forgetAll drops everything.
func (c *cache) forgetAll() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.generation++
	c.known, c.unknown, c.byID = nil, nil, nil
}
