package deploy

import (
	"context"
	"sync"
)

// slots let a bounded number of versions be built at once, and tenants take turns:
// one that has a hundred to build holds up another's for as long as those last that
// are being built, and not for as long as the hundred.
type slots struct {
	all chan struct{} // those that are being built

	mu      sync.Mutex
	tenants map[string]chan struct{}
}

func newSlots(n int) *slots {
	return &slots{all: make(chan struct{}, n), tenants: make(map[string]chan struct{})}
}

// enter waits for a slot; leave gives it back. No more of a tenant's than there are
// slots get past its own line, so that those who wait for a slot, first come, first
// served, are of different tenants.
func (s *slots) enter(ctx context.Context, tenant string) (leave func(), err error) {
	line := s.line(tenant)
	select {
	case line <- struct{}{}:
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	select {
	case s.all <- struct{}{}:
		return func() { <-s.all; <-line }, nil
	case <-ctx.Done():
		<-line
		return nil, ctx.Err()
	}
}

func (s *slots) line(tenant string) chan struct{} {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.tenants[tenant] == nil {
		s.tenants[tenant] = make(chan struct{}, cap(s.all))
	}
	return s.tenants[tenant]
}
