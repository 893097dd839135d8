package activator

import "sync/atomic"

// gate counts the leases of an instance without a lock, and once shut lets no
// further one in. The zero gate is open.
type gate struct{ n atomic.Int64 }

// shutBit is set in a gate that is shut; the bits below it are the count.
const shutBit = 1 << 62

// enter counts a lease unless the gate is shut. The caller must leave in either
// case: one that is turned away was counted for a moment, too.
func (g *gate) enter() bool { return g.n.Add(1)&shutBit == 0 }

// leave reports whether the last one has left a gate that is shut.
func (g *gate) leave() bool { return g.n.Add(-1) == shutBit }

// shut reports whether nobody is in.
func (g *gate) shut() bool { return g.n.Or(shutBit)&^shutBit == 0 }

// shutIfEmpty shuts the gate unless somebody is in.
func (g *gate) shutIfEmpty() bool { return g.n.CompareAndSwap(0, shutBit) }

func (g *gate) count() int { return int(g.n.Load() &^ shutBit) }
