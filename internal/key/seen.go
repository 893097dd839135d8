package key

import (
	"maps"
	"sync"
)

// seen remembers, until it is written down, when keys were last used: one write
// every few seconds instead of one for every request. Its size is bounded by
// the number of keys.
type seen struct {
	mu   sync.Mutex
	last map[string]int64 // by key id, Unix seconds
}

// record notes a use of the key.
func (s *seen) record(id string, at int64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.last == nil {
		s.last = map[string]int64{}
	}
	s.last[id] = max(s.last[id], at)
}

// of returns when the key was last used as far as is not written down yet.
func (s *seen) of(id string) int64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.last[id]
}

// snapshot returns a copy of what is to be written.
func (s *seen) snapshot() map[string]int64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	return maps.Clone(s.last)
}

// saved forgets what was written, but not what was recorded since.
func (s *seen) saved(written map[string]int64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for id, at := range written {
		if s.last[id] == at {
			delete(s.last, id)
		}
	}
}
