package link

import (
	"context"
	"crypto/rand"
	"maps"
	"slices"
	"strings"
	"sync"
)

// maxPending is for how many links hits are counted in memory. They are written
// every second, so more come together only while the database cannot write.
const maxPending = 100_000

// hitBatch is how many links one transaction updates, so that other writers do
// not wait long.
const hitBatch = 500

// hits counts visits in memory. The zero value is ready.
//
// A hit is either in pending or in the database, and moves from one to the other
// while moving is held for writing; who adds the two up holds it for reading and
// so counts none twice and misses none.
type hits struct {
	moving sync.RWMutex
	// unsure is a batch of pending ones that may be in the database, under a receipt.
	// Until that is known they count as pending.
	unsure  map[string]int64
	receipt string

	mu      sync.Mutex // held for moments only, so that add never waits long
	pending map[string]int64
	lost    int64
}

// add counts one visit.
func (h *hits) add(id string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if _, known := h.pending[id]; !known && len(h.pending) >= maxPending {
		h.lost++
		return
	}
	if h.pending == nil {
		h.pending = map[string]int64{}
	}
	// The id may be a piece of a large request, which must not be kept with it.
	h.pending[strings.Clone(id)]++
}

// takeLost returns how many visits could not be counted since the last call.
func (h *hits) takeLost() int64 {
	h.mu.Lock()
	defer h.mu.Unlock()
	lost := h.lost
	h.lost = 0
	return lost
}

// sum returns how many visits are not in the database yet.
func (h *hits) sum() (n int64) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, some := range h.pending {
		n += some
	}
	return n
}

// of returns the visits to a link that are not in the database yet.
func (h *hits) of(id string) int64 {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.pending[id]
}

// forget drops the visits to a link that is gone, once none of them is on its
// way to the database.
func (h *hits) forget(id string) {
	h.moving.Lock()
	defer h.moving.Unlock()
	h.mu.Lock()
	defer h.mu.Unlock()
	delete(h.pending, id)
	delete(h.unsure, id) // or they would be those of the next link with the id
}

func (h *hits) snapshot() map[string]int64 {
	h.mu.Lock()
	defer h.mu.Unlock()
	return maps.Clone(h.pending)
}

// written takes away what is in the database now.
func (h *hits) written(batch map[string]int64) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for id, n := range batch {
		if h.pending[id] -= n; h.pending[id] <= 0 {
			delete(h.pending, id)
		}
	}
}

// Hit counts one visit to a link. It never waits for the database.
func (s *Service) Hit(id string) { s.hits.add(id) }

// Unwritten returns how many visits are counted in memory alone. A process that is
// killed takes them along.
func (s *Service) Unwritten() int64 { return s.hits.sum() }

// Flush writes the hits counted in memory. What could not be written stays
// there for the next time.
func (s *Service) Flush(ctx context.Context) error {
	snapshot := s.hits.snapshot()
	for ids := range slices.Chunk(slices.Collect(maps.Keys(snapshot)), hitBatch) {
		if err := s.flushBatch(ctx, ids); err != nil {
			return err
		}
	}
	return nil
}

func (s *Service) flushBatch(ctx context.Context, ids []string) error {
	s.hits.moving.Lock()
	defer s.hits.moving.Unlock()
	if err := s.hits.settle(ctx, s.links); err != nil {
		return err
	}
	batch := map[string]int64{}
	for _, id := range ids {
		if n := s.hits.of(id); n > 0 { // another flush may have been faster
			batch[id] = n
		}
	}
	s.hits.unsure, s.hits.receipt = batch, rand.Text()
	return s.hits.settle(ctx, s.links)
}

// settle writes the batch that is on its way: for the first time, or again when it is
// not known whether it has arrived. A try that certainly failed says nothing of one
// before it, so that the batch keeps its receipt until one succeeds. moving is held.
func (h *hits) settle(ctx context.Context, links repository) error {
	if len(h.unsure) == 0 {
		return nil
	}
	if err := links.addHits(ctx, h.receipt, h.unsure); err != nil {
		return err
	}
	h.written(h.unsure)
	h.unsure = nil
	return nil
}
