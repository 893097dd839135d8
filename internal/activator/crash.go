package activator

import (
	"fmt"
	"time"

	"github.com/m3o/ingress/internal/workload"
)

// How crashes are judged.
const (
	crashWindow   = 10 * time.Minute // this many exits within it are
	crashLimit    = 5                // crash-looping
	health        = 10 * time.Minute // running this long makes up for all crashes
	firstBackoff  = time.Second      // before the second restart; the first is at once
	longestPause  = 5 * time.Minute  // to which the backoff doubles
	restartReason = "it is started again after it ended"
)

// crashes are what went wrong with a workload since it was last healthy.
type crashes struct {
	exits   []time.Duration // the instants of those within the window
	count   int
	next    time.Duration // the instant of the next try
	reason  string        // of the last one
	looping bool
	failure failure
}

// failure is one unexpected end, or one start that failed.
type failure struct {
	version int64
	reason  string
	printed string        // last, if the reason does not say it
	idle    time.Duration // the workload's timeout
	used    time.Duration // the instant it was last used
}

// note counts a failure and decides when to try again.
func (c *crashes) note(f failure, now time.Duration) {
	recent := c.exits[:0]
	for _, at := range c.exits {
		if now-at < crashWindow {
			recent = append(recent, at)
		}
	}
	c.exits = append(recent, now)
	if len(c.exits) > crashLimit {
		c.exits = c.exits[1:]
	}
	c.count++
	c.failure = f
	c.looping = len(c.exits) == crashLimit
	c.next = now + backoff(c.count)
	c.reason = f.reason
	if c.looping {
		c.reason = fmt.Sprintf("it ended %d times within %v, the last time because %s", crashLimit, crashWindow, f.reason)
		if f.printed != "" {
			c.reason += "; it printed last:\n" + f.printed
		}
	}
}

// backoff is the pause after so many failures in a row. The first is followed by
// a restart at once, because requests wait for it.
func backoff(failures int) time.Duration {
	if failures <= 1 {
		return 0
	}
	return min(firstBackoff<<min(failures-2, 16), longestPause)
}

// watch waits for the end of an instance.
func (a *Activator) watch(r *running) {
	var notices <-chan string
	if n, ok := r.instance.(workload.Noticer); ok {
		notices = n.Notices()
	}
	for ended := false; !ended; {
		select {
		case <-r.done:
			ended = true
		case text := <-notices:
			r.tell(text)
		case <-a.ctx.Done():
			return
		}
	}
	r.transport.CloseIdleConnections()
	r.e.mu.Lock()
	defer r.e.mu.Unlock()
	a.notice(r.e)
}

// tell notes what is wrong with an instance that goes on.
func (r *running) tell(text string) {
	r.e.mu.Lock()
	defer r.e.mu.Unlock()
	if r.e.current.Load() == r && r.e.state == workload.Ready {
		r.e.enter(r.version, workload.Ready, text)
	}
}

// notice deals with an instance that has ended by itself. e is locked.
func (a *Activator) notice(e *entry) {
	r := e.current.Load()
	if r == nil || !r.ended() || a.ctx.Err() != nil {
		return
	}
	unused := r.unused()
	e.uninstall()
	reason := r.instance.Exit().String()
	if r.idle > 0 && unused >= r.idle && len(e.waiters) == 0 {
		e.enter(r.version, idle, reason+" while nobody used it")
		return
	}
	e.recover(r)
	a.failed(e, failure{version: r.version, reason: reason, printed: r.lastWords(), idle: r.idle, used: a.instant() - unused})
}

// recover forgives what happened before an instance that was healthy for long. e
// is locked.
func (e *entry) recover(r *running) {
	if e.a.instant()-r.ready >= health {
		e.forgive()
	}
}

// failed counts a failure and sees to the next try. e is locked.
func (a *Activator) failed(e *entry, f failure) {
	now := a.instant()
	if e.crashes == nil {
		e.crashes = &crashes{}
	}
	c := e.crashes
	if c.count > 0 && f.used < c.failure.used {
		f.used = c.failure.used
	}
	c.note(f, now)
	a.metrics.crashes.Inc()
	pause := c.next - now
	a.Log.Warn("a workload ended unexpectedly", "workload", e.key, "version", f.version,
		"reason", f.reason, "failures", c.count, "next_try_in", pause)
	if c.looping {
		e.enter(f.version, crashLooped, c.reason)
		e.refuse(crashLooping(c.reason, pause))
	} else {
		e.enter(f.version, starting, fmt.Sprintf("%s; it is started again in %v", f.reason, pause))
		e.refuseHopeless(now)
	}
	e.tryAgain()
}

// mustPause reports whether it is too early for the next try. e is locked.
func (e *entry) mustPause() bool { return e.crashes != nil && e.crashes.next > e.a.instant() }

// hopeless returns why a request that can wait until the deadline need not. e is
// locked.
func (a *Activator) hopeless(e *entry, deadline time.Duration) error {
	if e.current.Load() != nil || e.wake != nil || !e.mustPause() {
		return nil
	}
	c := e.crashes
	if e.retry == nil {
		e.tryAgain()
		if c.looping && e.state == idle {
			e.enter(c.failure.version, crashLooped, c.reason)
		}
	}
	switch pause := c.next - a.instant(); {
	case c.looping:
		return crashLooping(c.reason, pause)
	case c.next > deadline:
		return crashed(c.reason, pause)
	}
	return nil
}

// refuseHopeless turns away those who would wait in vain. e is locked.
func (e *entry) refuseHopeless(now time.Duration) {
	for i := 0; i < len(e.waiters); {
		if e.waiters[i].deadline >= e.crashes.next {
			i++
			continue
		}
		e.dequeue(i).granted <- grant{err: crashed(e.crashes.reason, e.crashes.next-now)}
	}
}

// tryAgain starts the workload when its pause is over. e is locked.
func (e *entry) tryAgain() {
	e.stopRetry()
	pause := e.crashes.next - e.a.instant()
	if pause <= 0 {
		e.a.retry(e)
		return
	}
	var timer *time.Timer
	timer = time.AfterFunc(pause, func() {
		e.mu.Lock()
		defer e.mu.Unlock()
		if e.retry == timer {
			e.retry = nil
			e.a.retry(e)
		}
	})
	e.retry = timer
}

// retry starts a workload that failed, or lets it sleep when nobody has used it
// for as long as makes others sleep. e is locked.
func (a *Activator) retry(e *entry) {
	c := e.crashes
	switch {
	case c == nil || a.ctx.Err() != nil:
	case len(e.waiters) > 0 || c.failure.idle == 0 || a.instant()-c.failure.used < c.failure.idle:
		a.start(e, restartReason+": "+c.failure.reason, nil)
	case e.current.Load() == nil && e.wake == nil:
		e.enter(c.failure.version, idle, "nobody has used it since "+c.reason)
	}
}

// postpone tries later, after a start that failed through no fault of the
// workload's. e is locked.
func (e *entry) postpone() {
	if e.crashes != nil {
		e.crashes.next = e.a.instant() + pause
		e.tryAgain()
	}
}

// forgive forgets what went wrong. e is locked.
func (e *entry) forgive() {
	e.stopRetry()
	e.crashes = nil
}

func (e *entry) stopRetry() {
	if e.retry != nil {
		e.retry.Stop()
		e.retry = nil
	}
}
