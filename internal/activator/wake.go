package activator

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/m3o/ingress/internal/workload"
)

// wake is a start under way, in a goroutine of its own with a deadline of its
// own. One that is not its entry's any longer was superseded: what it started is
// not used.
type wake struct {
	why    string
	cancel context.CancelFunc
	done   chan struct{}
	// unknown, once done is closed, is whether nobody could tell what to start.
	unknown bool
}

// rouse starts the workload if somebody waits for it and nothing stands in the
// way. Whatever stands in the way calls it again when it does no longer. e is
// locked.
func (a *Activator) rouse(e *entry) {
	if len(e.waiters) > 0 {
		a.start(e, "a request came", nil)
	}
}

// resume does what had to wait for something that is over now. e is locked.
func (a *Activator) resume(e *entry) {
	if len(e.waiters) == 0 && e.crashes != nil && e.retry == nil && e.state != idle {
		a.retry(e)
	}
	a.rouse(e)
}

// start wakes the workload, with an instance that runs already if there is one.
// e is locked.
func (a *Activator) start(e *entry, why string, adopted workload.Instance) {
	if e.current.Load() != nil || e.wake != nil || e.removed || e.committing || e.fallingAsleep() || e.mustPause() {
		return
	}
	ctx, cancel := context.WithCancel(a.ctx)
	w := &wake{why: why, cancel: cancel, done: make(chan struct{})}
	begun := a.spawn(func() {
		defer close(w.done)
		defer cancel()
		a.wakeUp(ctx, e, w, adopted)
	})
	if !begun {
		cancel()
		return
	}
	e.stopRetry()
	e.wake = w
}

// wakeUp is the goroutine of a wake.
func (a *Activator) wakeUp(ctx context.Context, e *entry, w *wake, adopted workload.Instance) {
	began := a.instant()
	release, err := a.current(ctx, e.key, adopted != nil)
	if err != nil {
		a.unknown(e, w, adopted, err)
		return
	}
	// One with an older environment runs on: to start it anew is a deploy's work, which
	// does so beside it, and may have tried in vain.
	if adopted != nil && adopted.Version() != release.Version {
		a.end(adopted)
		adopted = nil
	}
	if !a.announce(e, w, release, adopted) {
		a.discard(adopted)
		return
	}
	r, err := a.bring(ctx, e, release, adopted)
	a.woken(e, w, release, r, err, a.instant()-began, adopted != nil)
}

// current asks what should run. When nobody can tell, and an instance runs
// already, it asks until ctx ends: to end the instance would be worse.
func (a *Activator) current(ctx context.Context, key string, insist bool) (workload.Release, error) {
	for {
		r, err := a.ask(ctx, key)
		var unready *Unready
		switch {
		case err == nil && r.Key() != key:
			return r, fmt.Errorf("asked for the release of %s and got that of %s", key, r.Key())
		case err == nil, !insist, errors.As(err, &unready):
			return r, err
		}
		timer := time.NewTimer(time.Second)
		select {
		case <-timer.C:
		case <-ctx.Done():
			timer.Stop()
			return r, err
		}
	}
}

func (a *Activator) ask(ctx context.Context, key string) (workload.Release, error) {
	ctx, cancel := context.WithTimeout(ctx, a.WakeTimeout)
	defer cancel()
	return a.Releases.Current(ctx, key)
}

// unknown ends a wake that could not learn what to start. That is no fault of the
// workload's.
func (a *Activator) unknown(e *entry, w *wake, adopted workload.Instance, err error) {
	a.metrics.starts.WithLabelValues(startUnknown).Inc()
	if a.ctx.Err() != nil {
		return // the next run of the ingress will adopt it
	}
	a.discard(adopted)
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.wake != w {
		return
	}
	e.wake = nil
	var unready *Unready
	if !errors.As(err, &unready) {
		w.unknown = true
		err = fmt.Errorf("read which release of %s is current: %w", e.key, err)
		a.Log.Error("a workload cannot be started", "workload", e.key, "cause", err)
		e.postpone()
	} else {
		err = unready
		e.forgive()
	}
	e.refuse(err)
	if e.crashes == nil && !e.removed && !e.busyWith() {
		e.drop()
	}
}

// announce notes that a release is being started, unless the wake was superseded.
func (a *Activator) announce(e *entry, w *wake, r workload.Release, adopted workload.Instance) bool {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.wake != w {
		return false
	}
	switch {
	case r.Artifact.IsSite(): // there is nothing to start, so nothing to tell
		e.version, e.state = r.Version, starting
	case adopted != nil:
		e.version, e.state, e.reason = r.Version, starting, w.why
	default:
		e.enter(r.Version, starting, w.why)
	}
	return true
}

// bring starts a release and waits until it is ready. When the ingress ends
// meanwhile the instance is left for the next run to adopt; after any other error
// nothing of it is left.
func (a *Activator) bring(ctx context.Context, e *entry, r workload.Release, i workload.Instance) (*running, error) {
	if r.Artifact.IsSite() {
		a.discard(i)
		return a.newSite(e, r), nil
	}
	ctx, cancel := context.WithTimeout(ctx, a.StartTimeout)
	defer cancel()
	i, err := a.launch(ctx, r, i)
	if err == nil {
		return a.newProcess(e, r, i), nil
	}
	if a.ctx.Err() == nil {
		a.discard(i)
	}
	return nil, err
}

// portTries is how often a release is started whose port another program takes
// before it listens. A port is free when it is chosen, so that happens by chance,
// and hardly twice.
const portTries = 3

// launch starts an instance, unless it gets one, and waits until it is ready. What
// is not ready is returned with the error, for the caller to end.
func (a *Activator) launch(ctx context.Context, r workload.Release, i workload.Instance) (workload.Instance, error) {
	for try := 1; ; try++ {
		if i == nil {
			var err error
			if i, err = a.Runner.Start(ctx, r); err != nil {
				return nil, err
			}
		}
		health := r.Settings.HealthPath
		if i.Revision() != r.Revision {
			health = "" // the path may be what has changed since it was started
		}
		err := ready(ctx, i, health)
		if !errors.Is(err, workload.ErrPortTaken) || try == portTries {
			return i, err
		}
		a.Log.Warn("a workload is started on another port", "workload", r.Key(), "version", r.Version, "cause", err)
		a.end(i)
		i = nil
	}
}

// ready waits for an instance. The error says which limit ended it, if one did.
func ready(ctx context.Context, i workload.Instance, health string) error {
	err := i.Ready(ctx, health)
	if err == nil {
		return nil
	}
	select {
	case <-i.Done():
		if excess := i.Exit().Excess; excess != "" && !strings.Contains(err.Error(), excess) {
			return fmt.Errorf("%s: %w", excess, err)
		}
	default:
	}
	return err
}

// woken ends a wake that knew what to start.
func (a *Activator) woken(e *entry, w *wake, release workload.Release, r *running, err error, took time.Duration, adopted bool) {
	e.mu.Lock()
	if e.wake != w || a.ctx.Err() != nil {
		superseded := e.wake != w
		a.metrics.starts.WithLabelValues(startCancelled).Inc()
		e.mu.Unlock()
		if superseded && r != nil {
			r.stop()
		}
		return
	}
	defer e.mu.Unlock()
	e.wake = nil
	used := a.instant() - took
	if e.crashes != nil { // to be started again is not to be used
		used = e.crashes.failure.used
	}
	if err != nil {
		a.metrics.starts.WithLabelValues(startFailed).Inc()
		a.failed(e, failure{
			version: release.Version, reason: err.Error(),
			idle: a.idleTimeout(release.Settings), used: used,
		})
		return
	}
	a.metrics.starts.WithLabelValues(startReady).Inc()
	if adopted {
		used += a.AdoptGrace
	} else if r.instance != nil {
		a.coldStart(e, r, took)
	}
	r.used.Store(int64(used))
	e.install(r, w.why)
	a.notice(e)
}

// coldStart notes how long those who wait have waited for the app itself.
func (a *Activator) coldStart(e *entry, r *running, took time.Duration) {
	a.metrics.coldStart.Observe(took.Seconds())
	a.Log.Info("a workload has started", "workload", e.key, "version", r.version, "took", took, "waiting", len(e.waiters))
	for _, w := range e.waiters {
		w.cold = took
	}
}

// supersede makes a start that is under way one that does not count. e is locked.
func (e *entry) supersede() *wake {
	w := e.wake
	if w != nil {
		w.cancel()
		e.wake = nil
	}
	return w
}

// discard ends an instance that is not wanted, if there is one.
func (a *Activator) discard(i workload.Instance) {
	if i != nil {
		a.end(i)
	}
}
