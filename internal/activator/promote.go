package activator

import (
	"context"
	"errors"
	"fmt"

	"github.com/m3o/ingress/internal/workload"
)

// Why a Promote ended without a fault of its release's.
var (
	// ErrSuperseded: a later Promote of the same workload took its place.
	ErrSuperseded = errors.New("a later deploy of the same workload took its place")
	// ErrRemoved: the workload was removed meanwhile.
	ErrRemoved = errors.New("the workload was removed meanwhile")
	// ErrClosed: the ingress is ending. What was not committed can be promoted
	// again by its next run.
	ErrClosed = errors.New("the ingress is being stopped")
)

// promotion is the turn of a Promote or a Remove: there is one at a time for a
// workload, in the order in which they were called.
type promotion struct {
	ctx    context.Context
	cancel context.CancelCauseFunc
	done   chan struct{}
}

func newPromotion(ctx context.Context) *promotion {
	p := &promotion{done: make(chan struct{})}
	p.ctx, p.cancel = context.WithCancelCause(ctx)
	return p
}

// Promote makes r what requests get. It starts r beside what runs, waits until it
// is ready and calls commit, which must durably make r the current release. Then
// every request that is acquired gets r, also while what ran before finishes its
// requests, for at most DrainTimeout, and is stopped; Promote does not wait for
// that.
//
// When the start or commit fails nothing has changed and nothing of r is left;
// the error is fit for the owner, unless it is the machine's. ErrSuperseded,
// ErrRemoved, ErrClosed and ctx's error mean that somebody wanted something else.
// They end the start, but not commit, which has ctx alone to go by: once it has
// begun its result counts.
//
// A version that runs already may be promoted again with a higher revision, which
// restarts it with another environment or other settings.
func (a *Activator) Promote(ctx context.Context, r workload.Release, commit func(context.Context) error) error {
	if !a.begin() {
		return ErrClosed
	}
	defer a.tasks.Done()
	p := newPromotion(ctx)
	defer p.cancel(nil)
	defer context.AfterFunc(a.ctx, func() { p.cancel(ErrClosed) })()
	e := a.takeTurn(p, r.Key())
	defer e.endTurn(p)
	again := a.isCurrent(p.ctx, e, r)
	if !again {
		e.tell(r.Version, starting, "a new version")
	}
	n, err := a.prepare(p, e, r)
	if err == nil {
		err = a.commit(ctx, p, e, n, commit)
	}
	if err != nil {
		a.metrics.starts.WithLabelValues(resultOf(p)).Inc()
		if !again {
			e.tellFailure(r.Version, err)
		}
		return err
	}
	a.metrics.starts.WithLabelValues(startReady).Inc()
	return nil
}

// takeTurn makes earlier promotions of the workload end and returns its entry.
func (a *Activator) takeTurn(p *promotion, key string) *entry {
	for {
		e := a.lock(key)
		before := e.promotion
		e.promotion = p
		e.mu.Unlock()
		if before == nil {
			return e
		}
		before.cancel(ErrSuperseded)
		<-before.done
		if e.lock() {
			e.mu.Unlock()
			return e
		}
	}
}

func (e *entry) endTurn(p *promotion) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.promotion == p {
		e.promotion = nil
	}
	close(p.done)
	if e.version == 0 && !e.gone && !e.busyWith() {
		e.drop()
	}
}

// isCurrent reports whether r's version is the current one already: then it is
// restarted, and its failure is no failure of the version.
func (a *Activator) isCurrent(ctx context.Context, e *entry, r workload.Release) bool {
	e.mu.Lock()
	version := e.version
	e.mu.Unlock()
	if version != 0 {
		return version == r.Version
	}
	current, err := a.Releases.Current(ctx, e.key)
	return err == nil && current.Version == r.Version
}

// prepare starts a release beside the running one. On an error nothing of it is
// left.
func (a *Activator) prepare(p *promotion, e *entry, r workload.Release) (*running, error) {
	ctx, cancel := context.WithTimeout(p.ctx, a.StartTimeout)
	defer cancel()
	if err := context.Cause(p.ctx); err != nil {
		return nil, err
	}
	if r.Artifact.IsSite() {
		return a.newSite(e, r), nil
	}
	i, err := a.launch(ctx, r, nil)
	if err == nil {
		return a.newProcess(e, r, i), nil
	}
	a.discard(i)
	if cause := context.Cause(p.ctx); cause != nil {
		return nil, cause
	}
	return nil, err
}

// commit makes n the current release for good, or ends it.
func (a *Activator) commit(ctx context.Context, p *promotion, e *entry, n *running, durably func(context.Context) error) error {
	e.mu.Lock()
	err := context.Cause(p.ctx)
	e.committing = err == nil
	e.mu.Unlock()
	if err == nil {
		err = durably(ctx)
	}
	e.mu.Lock()
	e.committing = false
	if err == nil && e.removed {
		err = ErrRemoved
	}
	if err == nil {
		a.replace(e, n)
		e.mu.Unlock()
		return nil
	}
	a.resume(e)
	e.mu.Unlock()
	n.stop()
	return err
}

// replace lets requests through to n instead of whatever they got. e is locked,
// and the caller one of those that Close waits for.
func (a *Activator) replace(e *entry, n *running) {
	before := e.version
	e.supersede()
	e.forgive()
	old := e.uninstall()
	e.install(n, "")
	tell := func(s workload.State) {
		if before != 0 && before != n.version {
			a.Journal.Entered(e.key, before, s, replaced(n.version))
		}
	}
	if old == nil {
		tell(halted)
	} else {
		tell(draining)
		e.retire(old, a.DrainTimeout, func() { tell(halted) })
	}
	a.notice(e)
}

func replaced(version int64) string { return fmt.Sprintf("version %d took its place", version) }

// tell notes in the journal what becomes of a version that is not the current
// one.
func (e *entry) tell(version int64, s workload.State, reason string) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.a.Journal.Entered(e.key, version, s, reason)
}

// tellFailure notes why a version was not promoted. A version whose start the end
// of the ingress interrupted has not failed: the next run may take it up.
func (e *entry) tellFailure(version int64, err error) {
	switch {
	case errors.Is(err, ErrClosed):
	case errors.Is(err, ErrSuperseded), errors.Is(err, ErrRemoved), errors.Is(err, context.Canceled):
		e.tell(version, halted, err.Error())
	default:
		e.tell(version, workload.Failed, err.Error())
	}
}

func resultOf(p *promotion) string {
	if p.ctx.Err() != nil {
		return startCancelled
	}
	return startFailed
}
