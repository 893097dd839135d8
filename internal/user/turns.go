package user

import (
	"context"
	"sync"
)

// turns lets a bounded number of calls work at once, and the tenants take turns:
// one that has a thousand calls waiting holds up another's call only for as long
// as those that work already take. Without it, one tenant's logins would be
// everybody's.
type turns struct {
	slots chan struct{} // those who work

	mu    sync.Mutex
	lines map[string]*line // by tenant, as long as it has calls here
}

// line is where the calls of one tenant wait. As many as may work at once get
// past it, so that the queue for slots, which is first come, first served, never
// holds more of one tenant's.
type line struct {
	past  chan struct{}
	calls int
}

func newTurns(atOnce int) *turns {
	return &turns{slots: make(chan struct{}, atOnce), lines: map[string]*line{}}
}

// enter waits for a turn; leave must follow. It returns the context's error when
// that ends first.
func (t *turns) enter(ctx context.Context, tenant string) error {
	l := t.join(tenant)
	select {
	case l.past <- struct{}{}:
	case <-ctx.Done():
		t.quit(tenant)
		return ctx.Err()
	}
	select {
	case t.slots <- struct{}{}:
		return nil
	case <-ctx.Done():
		<-l.past
		t.quit(tenant)
		return ctx.Err()
	}
}

func (t *turns) leave(tenant string) {
	<-t.slots
	t.mu.Lock()
	past := t.lines[tenant].past
	t.mu.Unlock()
	<-past
	t.quit(tenant)
}

// join returns the tenant's line with one call more in it.
func (t *turns) join(tenant string) *line {
	t.mu.Lock()
	defer t.mu.Unlock()
	l := t.lines[tenant]
	if l == nil {
		l = &line{past: make(chan struct{}, cap(t.slots))}
		t.lines[tenant] = l
	}
	l.calls++
	return l
}

func (t *turns) quit(tenant string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	l := t.lines[tenant]
	if l.calls--; l.calls == 0 {
		delete(t.lines, tenant)
	}
}
