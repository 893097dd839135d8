package activator

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/m3o/ingress/internal/workload"
)

// adoptsAtOnce is how many workloads are started at a time when the ingress
// starts.
const adoptsAtOnce = 4

// Intent is what is stored of a workload that has a current version.
type Intent struct {
	// Key names the workload. Version and Revision are those of its current
	// release.
	Key               string
	Version, Revision int64
	// State is what the Journal was last told of that version.
	State workload.State
	// Resident workloads are never idle: their idle timeout is zero.
	Resident bool
}

// awake reports whether it should run although nobody asks for it.
func (i Intent) awake() bool {
	switch i.State {
	case workload.Ready, starting, crashLooped:
		return true
	case halted, workload.Failed:
		return false
	}
	return i.Resident
}

// Adopt takes over what an earlier run of the ingress left running: an instance of
// an intended release gets requests again, once it has shown that it is ready, and
// every other is stopped. What should run and does not is started in the
// background, a few at a time. Requests may come as soon as Adopt has returned:
// they wait for what is being taken over. It must be called once, before Run.
func (a *Activator) Adopt(ctx context.Context, intents []Intent) error {
	instances, err := a.Runner.Adopt(ctx)
	if err != nil {
		return fmt.Errorf("take over what an earlier run left running: %w", err)
	}
	wanted := make(map[string]Intent, len(intents))
	for _, i := range intents {
		wanted[i.Key] = i
	}
	// Of two of one version that which is in force comes first.
	slices.SortStableFunc(instances, func(a, b workload.Instance) int { return cmp.Compare(a.Revision(), b.Revision()) })
	for _, i := range instances {
		if intent, ok := wanted[i.Key()]; ok && intent.describes(i) {
			a.adopt(i)
			continue
		}
		a.Log.Info("an instance that nothing wants is stopped", "workload", i.Key(), "version", i.Version())
		a.spawn(func() { a.end(i) })
	}
	a.startAll(intents)
	return nil
}

// describes reports whether an instance may answer for the workload. One of a
// later revision was woken after a change that is not in force yet, or never will
// be; one of an earlier revision was being replaced.
func (i Intent) describes(instance workload.Instance) bool {
	return i.State != halted && i.Version == instance.Version() && i.Revision <= instance.Revision()
}

// adopt makes an instance the one of its workload, or ends it when there is one
// already.
func (a *Activator) adopt(i workload.Instance) {
	e := a.lock(i.Key())
	defer e.mu.Unlock()
	if e.wake != nil || e.current.Load() != nil {
		a.Log.Warn("a second instance is stopped", "workload", i.Key(), "version", i.Version())
		a.spawn(func() { a.end(i) })
		return
	}
	a.start(e, "it ran on while the ingress was restarted", i)
}

// startAll starts what should run and does not, a few at a time. What nobody can
// tell anything of is tried again later: for a workload that works without requests
// nobody else would.
func (a *Activator) startAll(intents []Intent) {
	var awake []string
	for _, i := range intents {
		if i.awake() {
			awake = append(awake, i.Key)
		}
	}
	a.spawn(func() {
		for again := firstBackoff; ; again = min(2*again, longestPause) {
			if awake = a.startEach(awake); len(awake) == 0 {
				return
			}
			timer := time.NewTimer(again)
			select {
			case <-timer.C:
			case <-a.ctx.Done():
				timer.Stop()
				return
			}
		}
	})
}

// startEach starts workloads and returns those of which nobody can tell what to
// start.
func (a *Activator) startEach(keys []string) (unknown []string) {
	var mu sync.Mutex
	next := func() (key string, ok bool) {
		mu.Lock()
		defer mu.Unlock()
		if len(keys) == 0 {
			return "", false
		}
		key, keys = keys[0], keys[1:]
		return key, true
	}
	var starting sync.WaitGroup
	for range min(adoptsAtOnce, len(keys)) {
		starting.Go(func() {
			for key, ok := next(); ok && a.ctx.Err() == nil; key, ok = next() {
				if !a.startAndWait(key) {
					mu.Lock()
					unknown = append(unknown, key)
					mu.Unlock()
				}
			}
		})
	}
	starting.Wait()
	return unknown
}

// startAndWait starts a workload unless it runs, and waits for the outcome. It is
// false when nobody could tell what to start.
func (a *Activator) startAndWait(key string) bool {
	e := a.lock(key)
	if e.wake == nil {
		a.start(e, "the ingress was started", nil)
	}
	w := e.wake
	e.mu.Unlock()
	if w == nil {
		return true
	}
	<-w.done
	return !w.unknown
}
