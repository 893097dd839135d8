package activator

import (
	"context"
	"errors"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"pgregory.net/rapid"

	"github.com/m3o/ingress/internal/confine"
	"github.com/m3o/ingress/internal/workload"
)

// model is a workload to which anything may happen, in any order.
type model struct {
	t         *rapid.T
	w         *world
	committed []int64 // the last one is current: promotes may begin in any order
	next      int64
	held      []Lease
	waiting   []chan result
	promotes  sync.WaitGroup
	mu        sync.Mutex // of committed
}

func (m *model) commit(r workload.Release) func(context.Context) error {
	return func(context.Context) error {
		m.mu.Lock()
		defer m.mu.Unlock()
		m.w.releases.set(r)
		m.committed = append(m.committed, r.Version)
		return nil
	}
}

// request acquires in the background and checks what it gets.
func (m *model) request() {
	c := make(chan result, 1)
	m.waiting = append(m.waiting, c)
	go func() {
		l, err := m.w.Acquire(context.Background(), hello)
		if err == nil {
			m.mu.Lock()
			committed := slices.Contains(m.committed, l.Transport.(*leased).r.version)
			m.mu.Unlock()
			if !committed {
				err = errors.New("a lease to a release that is not committed")
			}
		}
		c <- result{lease: l, err: err}
	}()
}

// collect takes the requests that are answered.
func (m *model) collect() {
	var still []chan result
	for _, c := range m.waiting {
		select {
		case r := <-c:
			var u *Unready
			switch {
			case r.err == nil:
				m.held = append(m.held, r.lease)
			case !errors.As(r.err, &u):
				m.t.Errorf("a request failed: %v", r.err)
			}
		default:
			still = append(still, c)
		}
	}
	m.waiting = still
}

func (m *model) release() {
	if len(m.held) > 0 {
		i := rapid.IntRange(0, len(m.held)-1).Draw(m.t, "lease")
		m.held[i].Release()
		m.held[i].Release()
		m.held = append(m.held[:i], m.held[i+1:]...)
	}
}

func (m *model) crash() {
	m.w.set(func(r *runner) {
		for _, i := range r.started {
			go i.crash(confine.Exit{Code: 1})
		}
	})
}

func (m *model) promote(limit int) {
	m.next++
	r := release(m.next)
	r.Settings.Concurrency = limit
	m.promotes.Go(func() {
		err := m.w.Promote(context.Background(), r, m.commit(r))
		if err != nil && !errors.Is(err, ErrSuperseded) && !errors.Is(err, ErrRemoved) && err.Error() != "broken: the process ended before it was ready" && err.Error() != "it did not listen; it printed: waiting for a database" {
			// A crash of everything hits what is being started, too.
			if err.Error() != "the process ended: it exited with code 1" {
				m.t.Errorf("Promote: %v", err)
			}
		}
	})
}

// check holds whenever nothing is under way at this instant.
func (m *model) check() {
	s, _ := m.w.Status(hello)
	if s.InFlight < 0 || s.InFlight > len(m.held) {
		m.t.Errorf("%d in flight of %d held", s.InFlight, len(m.held))
	}
	for _, l := range m.held {
		if l.Transport == nil {
			m.t.Error("a lease leads nowhere")
		}
	}
}

func (m *model) act() {
	switch rapid.SampledFrom([]string{"request", "request", "request", "release", "release", "crash", "promote", "break", "boot", "pass", "pass", "idle", "forget", "remove"}).Draw(m.t, "act") {
	case "request":
		m.request()
	case "release":
		m.release()
	case "crash":
		m.crash()
	case "promote":
		m.promote(rapid.IntRange(0, 2).Draw(m.t, "limit"))
	case "break":
		broken := rapid.Bool().Draw(m.t, "broken")
		m.w.set(func(r *runner) {
			r.broken = nil
			if broken {
				r.broken = func(workload.Release) string { return "broken" }
			}
		})
	case "boot":
		boot, stop := rapid.IntRange(0, 90).Draw(m.t, "boot"), rapid.IntRange(0, 9).Draw(m.t, "stop")
		m.w.set(func(r *runner) {
			r.boot, r.stopTakes = time.Duration(boot)*time.Second, time.Duration(stop)*time.Second
		})
	case "pass":
		pass(time.Duration(rapid.IntRange(1, 40_000).Draw(m.t, "ms")) * time.Millisecond)
	case "idle":
		pass(16 * time.Minute)
	case "forget":
		m.w.Forget(hello)
	case "remove":
		if err := m.w.Remove(context.Background(), hello); err != nil {
			m.t.Errorf("Remove: %v", err)
		}
	}
}

// settle ends everything and checks that nothing is left over.
func (m *model) settle() {
	m.w.set(func(r *runner) { r.boot, r.stopTakes, r.broken = 0, 0, nil })
	for len(m.held) > 0 || len(m.waiting) > 0 {
		for _, l := range m.held {
			l.Release()
		}
		m.held = nil
		before := len(m.waiting)
		pass(time.Minute)
		m.collect()
		if len(m.held) == 0 && len(m.waiting) == before && before > 0 {
			m.t.Fatalf("%d requests wait for ever", before)
		}
	}
	m.promotes.Wait()
	pass(20 * time.Minute)
	l, err := m.w.Acquire(context.Background(), hello)
	if err != nil {
		m.t.Fatalf("it does not recover: %v", err)
	}
	l.Release()
	pass(0)
	if s, _ := m.w.Status(hello); s.InFlight != 0 || s.Waiting != 0 || s.State != workload.Ready || s.Version != m.committed[len(m.committed)-1] {
		m.t.Errorf("in the end the status is %+v, and these were committed: %v", s, m.committed)
	}
	if n := m.w.alive(); n != 1 {
		m.t.Errorf("in the end %d instances run", n)
	}
	pass(16 * time.Minute)
	if n := m.w.alive(); n != 0 {
		m.t.Errorf("%d instances run although nobody uses them", n)
	}
}

func TestAnythingMayHappenInAnyOrder(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		synctest.Test(t, func(t *testing.T) {
			m := &model{t: rt, w: newWorld(t, func(o *Options) { o.Queue = 5 }), committed: []int64{1}, next: 1}
			for range rapid.IntRange(1, 40).Draw(rt, "acts") {
				m.act()
				if rapid.Bool().Draw(rt, "wait") {
					synctest.Wait()
					m.collect()
					m.check()
				}
			}
			m.settle()
		})
	})
}
