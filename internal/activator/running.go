package activator

import (
	"context"
	"fmt"
	"net/http"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/m3o/ingress/internal/logfile"
	"github.com/m3o/ingress/internal/workload"
)

// running is an instance, or a site, that requests can be sent to. It keeps
// nothing of its release that is secret.
type running struct {
	a                 *Activator
	e                 *entry
	version, revision int64
	instance          workload.Instance // nil for a site
	done              <-chan struct{}   // of the instance; nil for a site
	transport         Transport         // nil for a site
	handler           http.Handler      // nil for a process
	log               string            // the file of what it prints; empty for a site
	limit             int               // of leases at once; zero for any number
	idle              time.Duration     // zero for never
	ready             time.Duration     // the instant it became so

	gate gate
	used atomic.Int64 // the instant of the last lease's end
	// drained is closed when the last lease has ended after the gate was shut.
	drained chan struct{}
	drain   sync.Once
	// hurry ends the wait for the leases early; gone is closed when nothing is left.
	hurry    chan struct{}
	hurryOne sync.Once
	gone     chan struct{}
	asleep   bool // stopped because nobody used it
}

// EndedError says that a request was not sent because its instance has ended.
type EndedError struct {
	// Key is the workload's, Version what ran.
	Key     string
	Version int64
}

// Error implements error.
func (e *EndedError) Error() string {
	return fmt.Sprintf("the process of %s, version %d, has ended", e.Key, e.Version)
}

// newSite returns a release that is served from a folder.
func (a *Activator) newSite(e *entry, r workload.Release) *running {
	n := a.newRunning(e, r)
	n.handler = a.NewSite(workload.CodeDir(r.Dir), filepath.FromSlash(r.Artifact.Site))
	return n
}

// newProcess returns an instance that is ready.
func (a *Activator) newProcess(e *entry, r workload.Release, i workload.Instance) *running {
	n := a.newRunning(e, r)
	n.instance, n.done, n.transport = i, i.Done(), a.NewTransport(i.Addr())
	n.revision = i.Revision()
	n.log = workload.RunLog(r.Dir)
	return n
}

// What the status of a workload that keeps crashing repeats of its log.
const (
	tailLines = 20
	tailBytes = 2 << 10
)

// lastWords are the last lines of the log of an instance that has ended: most
// programs say there why. Its entry is locked, and those who want the workload
// can wait for a read as short as this.
func (r *running) lastWords() string {
	tail, err := logfile.Tail(r.log, tailLines, tailBytes)
	if err != nil {
		r.a.Log.Warn("the last lines of a log cannot be read", "workload", r.e.key, "version", r.version, "cause", err)
	}
	return strings.TrimSpace(string(tail))
}

func (a *Activator) newRunning(e *entry, r workload.Release) *running {
	n := &running{
		a: a, e: e,
		version: r.Version, revision: r.Revision,
		limit:   max(r.Settings.Concurrency, 0),
		idle:    a.idleTimeout(r.Settings),
		ready:   a.instant(),
		drained: make(chan struct{}),
		hurry:   make(chan struct{}),
		gone:    make(chan struct{}),
	}
	n.used.Store(int64(n.ready))
	return n
}

func (a *Activator) idleTimeout(s workload.Settings) time.Duration {
	if s.IdleTimeout < 0 {
		return max(a.IdleTimeout, 0)
	}
	return s.IdleTimeout
}

func (r *running) ended() bool {
	select {
	case <-r.done:
		return true
	default:
		return false
	}
}

// enter counts a lease, unless the instance is being replaced or has ended.
func (r *running) enter() bool {
	if r.gate.enter() && !r.ended() {
		return true
	}
	r.leave()
	return false
}

func (r *running) leave() {
	if r.gate.leave() {
		r.drain.Do(func() { close(r.drained) })
	}
}

// shut lets no further lease in.
func (r *running) shut() {
	if r.gate.shut() {
		r.drain.Do(func() { close(r.drained) })
	}
}

// touch notes that it is in use. It comes before leave: else it would look
// unused for a moment after a long request.
func (r *running) touch() { r.used.Store(int64(r.a.instant())) }

// unused is for how long nobody has used it, unless somebody does.
func (r *running) unused() time.Duration {
	if r.gate.count() > 0 {
		return 0
	}
	return r.a.instant() - time.Duration(r.used.Load())
}

// finish waits until the leases have ended, at most for limit, and stops it.
func (r *running) finish(limit time.Duration) {
	timer := time.NewTimer(limit)
	defer timer.Stop()
	select {
	case <-r.drained:
	case <-r.done:
	case <-timer.C:
	case <-r.hurry:
	case <-r.a.draining.Done():
	}
	r.stop()
}

// hasten ends the wait for the leases.
func (r *running) hasten() { r.hurryOne.Do(func() { close(r.hurry) }) }

// stop ends the instance and closes the connections to it.
func (r *running) stop() {
	if r.instance == nil {
		return
	}
	r.transport.CloseIdleConnections()
	r.a.end(r.instance)
	r.transport.CloseIdleConnections()
}

// patience is how much longer than its grace the end of a process may take
// before the Activator goes on without it.
const patience = 10 * time.Second

// end stops an instance. It may outlive the request or the deploy that wanted its
// end, but not Close.
func (a *Activator) end(i workload.Instance) {
	ctx, cancel := context.WithTimeout(a.draining, a.StopGrace+patience)
	defer cancel()
	if err := i.Stop(ctx, a.StopGrace); err != nil {
		a.Log.Warn("an instance may not have ended", "workload", i.Key(), "version", i.Version(), "cause", err)
	}
}
