package activator

import (
	"context"
	"slices"
	"time"
)

// shortDrain is how long requests to a workload that was removed may take to end.
const shortDrain = 5 * time.Second

// Remove ends the workload key, which was deleted or is reached elsewhere from
// now on. New requests and those that wait are refused at once, those under way
// may end for a short while, and what runs, or is being started, is stopped. Then
// nothing is known of the workload any longer, and the next request asks Releases:
// so Remove is to be called after the workload's end was made durable. When ctx
// ends first, Remove returns its error and the work goes on.
func (a *Activator) Remove(ctx context.Context, key string) error {
	if !a.begin() {
		return ErrClosed // nothing wants it any longer, so the next run ends it
	}
	defer a.tasks.Done()
	for e := a.find(key); e != nil; e = a.find(key) {
		p := e.promotion
		if !e.removed {
			p = a.removal(e)
		}
		e.mu.Unlock()
		p.cancel(ErrRemoved)
		select {
		case <-p.done:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	return nil
}

// removal begins a removal: nothing gets in from now on. e is locked, and the
// caller one of those that Close waits for.
func (a *Activator) removal(e *entry) *promotion {
	e.removed = true
	e.refuse(stopped())
	e.forgive()
	p, before := newPromotion(context.Background()), e.promotion
	e.promotion = p
	if before != nil {
		before.cancel(ErrRemoved)
	}
	for _, r := range e.leaving {
		r.hasten()
	}
	if r := e.uninstall(); r != nil {
		e.retire(r, min(shortDrain, a.DrainTimeout), func() {})
	}
	leaving, w, version := slices.Clone(e.leaving), e.supersede(), e.version
	a.tasks.Go(func() {
		if w != nil {
			<-w.done
		}
		if before != nil {
			<-before.done
		}
		for _, r := range leaving {
			<-r.gone
		}
		a.removed(e, p, version)
	})
	return p
}

// removed ends a removal.
func (a *Activator) removed(e *entry, p *promotion, version int64) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if version != 0 {
		a.Journal.Entered(e.key, version, halted, "it was removed")
	}
	e.drop()
	close(p.done)
}
