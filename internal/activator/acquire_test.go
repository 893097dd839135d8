package activator

import (
	"context"
	"errors"
	"net/http"
	"testing"
	"time"

	"github.com/m3o/ingress/internal/confine"
	"github.com/m3o/ingress/internal/workload"
)

func TestOneStartHoweverManyWait(t *testing.T) {
	bubble(t, nil, func(t *testing.T, w *world) {
		w.boot = 3 * time.Second
		var waiting []<-chan result
		for range 100 {
			waiting = append(waiting, w.background(t.Context(), hello))
		}
		pass(time.Second)
		if s, _ := w.Status(hello); s.Waiting != 100 || s.State != starting {
			t.Errorf("the status while starting is %+v", s)
		}
		u := w.refused(t, hello, ReasonQueueFull)
		if u.RetryAfter <= 0 {
			t.Error("nobody is told when to come back")
		}
		for _, c := range waiting {
			r := <-c
			if r.err != nil || r.lease.ColdStart != 3*time.Second || r.took != 3*time.Second {
				t.Fatalf("a request that waited got %+v", r)
			}
			defer r.lease.Release()
		}
		late := w.acquire(t, hello)
		if late.ColdStart != 0 {
			t.Errorf("a request that did not wait is told of a cold start of %v", late.ColdStart)
		}
		late.Release()
		late.Release() // does nothing
		if s, _ := w.Status(hello); s.InFlight != 100 || s.Waiting != 0 || s.State != workload.Ready {
			t.Errorf("the status is %+v, want 100 in flight", s)
		}
		if w.starts() != 1 {
			t.Errorf("%d instances were started", w.starts())
		}
		w.journal.want(t, "1 starting", "1 ready")
	})
}

func TestRequestThatLeavesFreesItsPlaceButStartGoesOn(t *testing.T) {
	bubble(t, func(o *Options) { o.Queue = 1 }, func(t *testing.T, w *world) {
		w.boot = 3 * time.Second
		ctx, cancel := context.WithCancel(t.Context())
		first := w.background(ctx, hello)
		pass(time.Second)
		w.refused(t, hello, ReasonQueueFull)
		cancel()
		if r := <-first; !errors.Is(r.err, context.Canceled) {
			t.Errorf("the request that left got %v", r.err)
		}
		second := <-w.background(t.Context(), hello)
		if second.err != nil || second.took != 2*time.Second {
			t.Errorf("the request in its place got %+v", second)
		}
		second.lease.Release()
		if w.starts() != 1 {
			t.Errorf("%d instances were started", w.starts())
		}
	})
}

func TestRequestWaitsNoLongerThanWakeTimeout(t *testing.T) {
	bubble(t, nil, func(t *testing.T, w *world) {
		w.boot = 50 * time.Second
		r := <-w.background(t.Context(), hello)
		wantUnready(t, r.err, ReasonStarting)
		if r.took != 30*time.Second {
			t.Errorf("it waited %v", r.took)
		}
		pass(21 * time.Second)
		w.acquire(t, hello).Release()
		if w.starts() != 1 {
			t.Errorf("%d instances were started", w.starts())
		}
	})
}

func TestWhatReleasesSayIsPassedOn(t *testing.T) {
	bubble(t, nil, func(t *testing.T, w *world) {
		w.refused(t, "app/other", ReasonDeploying)
		if _, known := w.Status("app/other"); known {
			t.Error("an unknown workload is remembered")
		}
		down := errors.New("the database is down")
		w.releases.fail(down)
		if _, err := w.Acquire(t.Context(), hello); !errors.Is(err, down) {
			t.Errorf("the error is %v", err)
		}
		w.releases.fail(nil)
		w.acquire(t, hello).Release()
	})
}

func TestConcurrencyIsLimitedInOrder(t *testing.T) {
	bubble(t, func(o *Options) { o.Queue = 2 }, func(t *testing.T, w *world) {
		limited := release(1)
		limited.Settings.Concurrency = 2
		w.releases.set(limited)
		a, b := w.acquire(t, hello), w.acquire(t, hello)
		third := w.background(t.Context(), hello)
		pass(time.Second)
		fourth := w.background(t.Context(), hello)
		pass(time.Second)
		w.refused(t, hello, ReasonBusy)
		a.Release()
		r := <-third
		if r.err != nil || r.took != 2*time.Second || r.lease.ColdStart != 0 {
			t.Fatalf("the third request got %+v", r)
		}
		select {
		case <-fourth:
			t.Fatal("the fourth was let in beyond the limit")
		default:
		}
		last := <-fourth
		wantUnready(t, last.err, ReasonBusy)
		if last.took != 30*time.Second {
			t.Errorf("the fourth waited %v", last.took)
		}
		b.Release()
		r.lease.Release()
		if s, _ := w.Status(hello); s.InFlight != 0 || s.Waiting != 0 {
			t.Errorf("the status is %+v, want nothing in flight", s)
		}
	})
}

func TestLeaseNeverReachesAnotherProcess(t *testing.T) {
	bubble(t, nil, func(t *testing.T, w *world) {
		l := w.acquire(t, hello)
		if _, err := l.Transport.RoundTrip(&http.Request{}); err != nil {
			t.Fatal(err)
		}
		dead := w.last()
		dead.crash(confine.Exit{Code: 1})
		if _, err := l.Transport.RoundTrip(&http.Request{}); err != nil {
			t.Errorf("a dead instance's transport returns %v; the one started in its place is not asked", err)
		}
		if next := w.last(); next == dead || w.byAddr[next.addr].sent != 1 {
			t.Error("the request did not go to the instance started in the dead one's place")
		}
		pass(0)
		tr := w.byAddr[dead.addr]
		if tr.sent != 1 || tr.closed == 0 {
			t.Errorf("%d requests were sent and connections closed %d times, want 1 and at least once", tr.sent, tr.closed)
		}
		l.Release()
		again := w.acquire(t, hello)
		if again.Transport == l.Transport {
			t.Error("the dead instance was leased again")
		}
		again.Release()
	})
}

func TestSiteHasNoProcess(t *testing.T) {
	bubble(t, nil, func(t *testing.T, w *world) {
		r := release(1)
		r.Artifact = workload.Artifact{Site: "public/html"}
		w.releases.set(r)
		l := w.acquire(t, hello)
		if l.Transport != nil || l.Handler != site("/data/apps/hello/1/code/public/html") {
			t.Errorf("the lease is %+v", l)
		}
		l.Release()
		pass(time.Hour)
		if s, _ := w.Status(hello); s.State != idle {
			t.Errorf("an unused site is %s", s.State)
		}
		w.acquire(t, hello).Release()
		if w.starts() != 0 {
			t.Error("a process was started")
		}
		w.journal.want(t)
	})
}

func TestCloseLeavesWhatRuns(t *testing.T) {
	bubble(t, nil, func(t *testing.T, w *world) {
		w.acquire(t, hello).Release()
		other := release(1)
		other.ID = "slow"
		w.releases.set(other)
		w.set(func(r *runner) { r.boot = 10 * time.Second })
		waiting := w.background(t.Context(), "app/slow")
		pass(time.Second)
		if err := w.Close(t.Context()); err != nil {
			t.Fatal(err)
		}
		wantUnready(t, (<-waiting).err, ReasonStarting)
		if w.alive() != 2 {
			t.Errorf("%d instances run after Close, want both", w.alive())
		}
		w.refused(t, "app/third", ReasonStarting)
		if err := w.Promote(t.Context(), release(2), w.releases.commit(release(2))); !errors.Is(err, ErrClosed) {
			t.Errorf("Promote after Close returns %v", err)
		}
	})
}

// A port is chosen before the process is started: whoever takes it meanwhile is
// somebody else at the next try.
func TestAPortThatWasTakenIsAnotherTheNextTime(t *testing.T) {
	for taken := range portTries + 1 {
		bubble(t, nil, func(t *testing.T, w *world) {
			w.set(func(r *runner) { r.portsTaken = taken })
			w.acquire(t, hello).Release()
			if w.starts() != taken+1 || w.alive() != 1 {
				t.Errorf("with %d ports taken it was started %d times, and %d instances run", taken, w.starts(), w.alive())
			}
		})
		bubble(t, nil, func(t *testing.T, w *world) {
			w.set(func(r *runner) { r.portsTaken = taken })
			err := w.Promote(t.Context(), release(2), w.releases.commit(release(2)))
			if taken < portTries {
				if err != nil || w.starts() != taken+1 || w.alive() != 1 {
					t.Errorf("promoted with %d ports taken: %v, %d starts, %d instances", taken, err, w.starts(), w.alive())
				}
			} else if !errors.Is(err, workload.ErrPortTaken) || w.starts() != portTries || w.alive() != 0 {
				t.Errorf("promoted with %d ports taken: %v, %d starts, %d instances", taken, err, w.starts(), w.alive())
			}
		})
	}
}
