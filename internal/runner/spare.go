package runner

import (
	"context"
	"errors"
	"sync"
)

// spare is a launcher that was started ahead and waits for its orders. To start
// one takes longer than all else that a wake consists of but the app's own start,
// and a request waits for it.
type spare struct {
	mu      sync.Mutex
	waiting *child
	closed  bool
	// stocking is waited for when closing.
	stocking sync.WaitGroup
}

// take returns the launcher that waits, or nil.
func (s *spare) take() *child {
	s.mu.Lock()
	defer s.mu.Unlock()
	c := s.waiting
	s.waiting = nil
	return c
}

// restock sees to it, in the background, that a launcher waits. It is called when
// somebody's wait is over: to start one takes the processors that an app needs to
// start.
func (l *Local) restock() {
	s := &l.spare
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed || s.waiting != nil {
		return
	}
	s.stocking.Go(func() {
		c, err := l.newChild()
		if err != nil {
			return // the next start makes its own, and says why that fails
		}
		if !s.put(c) {
			c.dismiss()
			<-c.ended
		}
	})
}

// put lets a launcher wait, unless one does already or none shall.
func (s *spare) put(c *child) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed || s.waiting != nil {
		return false
	}
	s.waiting = c
	return true
}

// close ends the launcher that waits, and lets none wait any more.
func (s *spare) close() {
	s.mu.Lock()
	s.closed = true
	s.mu.Unlock()
	s.stocking.Wait()
	if c := s.take(); c != nil {
		c.dismiss()
		<-c.ended
	}
}

// hire gives a launcher its orders and returns once its process runs. The launcher
// that waits comes first; a new one is started where there is none, or where it was
// ended meanwhile. Nothing is left of a launcher that did not do what it was told.
func (l *Local) hire(ctx context.Context, s spec) (*child, error) {
	if c := l.spare.take(); c != nil {
		err := l.use(ctx, c, s)
		if err == nil || !errors.Is(err, errGone) {
			return c, err
		}
	}
	c, err := l.newChild()
	if err != nil {
		return nil, err
	}
	return c, l.use(ctx, c, s)
}

// use gives a launcher its orders.
func (l *Local) use(ctx context.Context, c *child, s spec) error {
	err := c.begin(ctx, s)
	if err == nil {
		return nil
	}
	c.dismiss()
	if errors.Is(err, errGone) {
		// Whoever killed it may have done so at any moment.
		l.endLeftovers(s.Record, 0)
		return errors.Join(err, discard(s.StateFile))
	}
	return err
}
