package activator

import (
	"context"
	"errors"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/m3o/ingress/internal/confine"
	"github.com/m3o/ingress/internal/workload"
)

// promote promotes a release that must succeed.
func (w *world) promote(t testing.TB, r workload.Release) {
	t.Helper()
	if err := w.Promote(t.Context(), r, w.releases.commit(r)); err != nil {
		t.Fatalf("Promote version %d: %v", r.Version, err)
	}
}

func TestPromoteSwitchesWhenReadyAndDrainsTheOld(t *testing.T) {
	bubble(t, nil, func(t *testing.T, w *world) {
		old := w.acquire(t, hello)
		first := w.last()
		w.set(func(r *runner) { r.boot = 5 * time.Second })
		promoted := make(chan error, 1)
		go func() { promoted <- w.Promote(t.Context(), release(2), w.releases.commit(release(2))) }()
		pass(4 * time.Second)
		during := w.acquire(t, hello)
		if version(t, during) != 1 {
			t.Error("a request got the new version before it was ready")
		}
		during.Release()
		if err := <-promoted; err != nil {
			t.Fatal(err)
		}
		fresh := w.acquire(t, hello)
		defer fresh.Release()
		if version(t, fresh) != 2 {
			t.Error("a request after Promote got the old version")
		}
		pass(20 * time.Second)
		if w.alive() != 2 {
			t.Error("the old version was stopped under its request")
		}
		old.Release()
		<-first.Done()
		w.journal.want(t, "1 starting", "1 ready", "2 starting", "2 ready", "1 draining", "1 stopped")
	})
}

func TestOldVersionIsStoppedWhenDrainingTakesTooLong(t *testing.T) {
	bubble(t, nil, func(t *testing.T, w *world) {
		old := w.acquire(t, hello)
		w.promote(t, release(2))
		pass(30*time.Second - 1)
		if w.alive() != 2 {
			t.Error("the old version was stopped too early")
		}
		pass(1)
		if w.alive() != 1 {
			t.Error("the old version still runs")
		}
		old.Release()
	})
}

func TestBadVersionNeverReplacesAGoodOne(t *testing.T) {
	cases := map[string]struct {
		spoil func(r *runner)
		err   error // of commit
		want  string
	}{
		"does not start":   {spoil: func(r *runner) { r.startErr = errors.New("no such command") }, want: "no such command"},
		"ends at once":     {spoil: func(r *runner) { r.broken = func(workload.Release) string { return "too much memory" } }, want: "too much memory"},
		"never listens":    {spoil: func(r *runner) { r.boot = -1 }, want: "it printed"},
		"cannot be stored": {err: errors.New("the disk is full"), want: "the disk is full"},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			bubble(t, nil, func(t *testing.T, w *world) {
				w.acquire(t, hello).Release()
				if c.spoil != nil {
					w.set(c.spoil)
				}
				err := w.Promote(t.Context(), release(2), func(context.Context) error { return c.err })
				if err == nil || !strings.Contains(err.Error(), c.want) {
					t.Errorf("the error is %v, want one that says %q", err, c.want)
				}
				if w.alive() != 1 {
					t.Errorf("%d run afterwards", w.alive())
				}
				l := w.acquire(t, hello)
				if version(t, l) != 1 {
					t.Error("the bad version got a request")
				}
				l.Release()
				w.journal.want(t, "1 starting", "1 ready", "2 starting", "2 failed")
				if s, _ := w.Status(hello); s.State != workload.Ready || s.Version != 1 || s.Failures != 0 {
					t.Errorf("the status is %+v", s)
				}
			})
		})
	}
}

func TestLaterPromoteSupersedes(t *testing.T) {
	bubble(t, nil, func(t *testing.T, w *world) {
		w.acquire(t, hello).Release()
		w.set(func(r *runner) { r.boot = 10 * time.Second })
		var errs [4]error
		var wg sync.WaitGroup
		for v := range errs {
			wg.Go(func() {
				errs[v] = w.Promote(t.Context(), release(int64(v+2)), w.releases.commit(release(int64(v+2))))
			})
			pass(time.Second)
		}
		wg.Wait()
		for v, err := range errs[:3] {
			if !errors.Is(err, ErrSuperseded) {
				t.Errorf("Promote of version %d returns %v", v+2, err)
			}
		}
		if errs[3] != nil {
			t.Errorf("the last one returns %v", errs[3])
		}
		l := w.acquire(t, hello)
		if version(t, l) != 5 {
			t.Errorf("version %d is current", version(t, l))
		}
		l.Release()
		pass(0)
		if w.alive() != 1 || w.most > 2 {
			t.Errorf("%d run, and %d ran at once", w.alive(), w.most)
		}
	})
}

func TestCommitThatHasBegunCounts(t *testing.T) {
	bubble(t, nil, func(t *testing.T, w *world) {
		begun, proceed := make(chan struct{}), make(chan struct{})
		first := make(chan error, 1)
		go func() {
			first <- w.Promote(t.Context(), release(2), func(ctx context.Context) error {
				close(begun)
				<-proceed
				w.releases.set(release(2))
				return ctx.Err()
			})
		}()
		<-begun
		second := make(chan error, 1)
		go func() { second <- w.Promote(t.Context(), release(3), w.releases.commit(release(3))) }()
		waiting := w.background(t.Context(), hello)
		pass(time.Second)
		if w.starts() != 1 {
			t.Errorf("%d starts while it is not known which release is current", w.starts())
		}
		close(proceed)
		if r := <-waiting; r.err != nil {
			t.Error(r.err)
		} else {
			r.lease.Release()
		}
		if err := errors.Join(<-first, <-second); err != nil {
			t.Error(err)
		}
		pass(0)
		if s, _ := w.Status(hello); s.Version != 3 || w.alive() != 1 {
			t.Errorf("the status is %+v and %d run", s, w.alive())
		}
	})
}

func TestCallerGivesUpAPromote(t *testing.T) {
	bubble(t, nil, func(t *testing.T, w *world) {
		w.set(func(r *runner) { r.boot = 10 * time.Second })
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		err := w.Promote(ctx, release(2), w.releases.commit(release(2)))
		if !errors.Is(err, context.DeadlineExceeded) || w.alive() != 0 {
			t.Errorf("it returns %v and %d run", err, w.alive())
		}
	})
}

func TestRestartOfTheSameVersion(t *testing.T) {
	bubble(t, nil, func(t *testing.T, w *world) {
		w.acquire(t, hello).Release()
		r := release(1)
		r.Revision = 7
		w.promote(t, r)
		pass(0)
		if s, _ := w.Status(hello); s.Revision != 7 || w.alive() != 1 {
			t.Errorf("the status is %+v", s)
		}
		w.journal.want(t, "1 starting", "1 ready", "1 ready")
		w.set(func(r *runner) { r.startErr = errors.New("no") })
		r.Revision = 8
		if err := w.Promote(t.Context(), r, w.releases.commit(r)); err == nil {
			t.Error("it started")
		}
		w.journal.want(t) // the version has not failed
	})
}

func TestPromoteBetweenSiteAndProcess(t *testing.T) {
	bubble(t, nil, func(t *testing.T, w *world) {
		w.acquire(t, hello).Release()
		folder := release(2)
		folder.Artifact = workload.Artifact{Site: "."}
		w.promote(t, folder)
		l := w.acquire(t, hello)
		if l.Handler == nil || l.Transport != nil {
			t.Errorf("the lease is %+v", l)
		}
		pass(time.Second)
		if w.alive() != 0 {
			t.Error("the process still runs")
		}
		w.promote(t, release(3))
		l.Release()
		l = w.acquire(t, hello)
		if version(t, l) != 3 {
			t.Error("the site is still there")
		}
		l.Release()
		pass(0)
		w.journal.want(t, "1 starting", "1 ready", "2 starting", "2 ready", "1 draining", "1 stopped",
			"3 starting", "3 ready", "2 draining", "2 stopped")
	})
}

func TestPromoteForgivesAndServesThoseWhoWait(t *testing.T) {
	bubble(t, nil, func(t *testing.T, w *world) {
		w.set(func(r *runner) {
			r.broken = func(r workload.Release) string {
				if r.Version == 1 {
					return "broken"
				}
				return ""
			}
		})
		waiting := w.background(t.Context(), hello)
		pass(5 * time.Second)
		w.promote(t, release(2))
		r := <-waiting
		if r.err != nil {
			t.Fatal(r.err)
		}
		r.lease.Release()
		pass(time.Hour)
		if s, _ := w.Status(hello); s.Version != 2 || s.Failures != 0 {
			t.Errorf("the status is %+v", s)
		}
	})
}

func TestCloseEndsWhatIsNotCommitted(t *testing.T) {
	bubble(t, nil, func(t *testing.T, w *world) {
		l := w.acquire(t, hello)
		w.promote(t, release(2))
		w.set(func(r *runner) { r.boot, r.stopTakes = time.Minute, time.Second })
		promoted := make(chan error, 1)
		go func() { promoted <- w.Promote(t.Context(), release(3), w.releases.commit(release(3))) }()
		pass(time.Second)
		ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
		defer cancel()
		if err := w.Close(ctx); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("Close returns %v although a request of the old version goes on", err)
		}
		if err := <-promoted; !errors.Is(err, ErrClosed) {
			t.Errorf("Promote returns %v", err)
		}
		if s, _ := w.Status(hello); w.alive() != 1 || s.Version != 2 {
			t.Errorf("%d run and the status is %+v, want version 2 alone", w.alive(), s)
		}
		l.Release()
	})
}

func TestFiftyPromotesUnderLoadFailNoRequest(t *testing.T) {
	for _, limit := range []int{0, 3} {
		w := newWorld(t, nil)
		var stop atomic.Bool
		var served atomic.Int64
		var clients sync.WaitGroup
		first := release(1)
		first.Settings.Concurrency = limit
		w.releases.set(first)
		for range 8 {
			clients.Go(func() {
				for !stop.Load() {
					l, err := w.Acquire(context.Background(), hello)
					if err != nil {
						t.Errorf("a request failed: %v", err)
						return
					}
					if l.Transport.(*leased).r.ended() {
						t.Error("a request got an instance that has ended")
					}
					served.Add(1)
					l.Release()
				}
			})
		}
		for v := int64(2); v <= 51; v++ {
			r := release(v)
			r.Settings.Concurrency = limit
			w.promote(t, r)
			l := w.acquire(t, hello)
			if got := version(t, l); got != v {
				t.Errorf("after Promote of version %d a request got version %d", v, got)
			}
			l.Release()
		}
		stop.Store(true)
		clients.Wait()
		if s, _ := w.Status(hello); s.InFlight != 0 || s.Version != 51 || s.Failures != 0 {
			t.Errorf("the status is %+v", s)
		}
		t.Logf("limit %d: %d requests during 50 promotes", limit, served.Load())
	}
}

func TestInstanceThatDiesBetweenReadyAndSwitchIsACrash(t *testing.T) {
	bubble(t, nil, func(t *testing.T, w *world) {
		err := w.Promote(t.Context(), release(2), func(context.Context) error {
			w.releases.set(release(2))
			w.last().crash(confine.Exit{Code: 9})
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
		l := w.acquire(t, hello)
		if version(t, l) != 2 || w.starts() != 2 {
			t.Errorf("version %d after %d starts", version(t, l), w.starts())
		}
		l.Release()
	})
}
