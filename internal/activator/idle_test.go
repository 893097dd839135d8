package activator

import (
	"testing"
	"time"

	"github.com/m3o/ingress/internal/workload"
)

func TestUnusedWorkloadIsStoppedAndWoken(t *testing.T) {
	bubble(t, nil, func(t *testing.T, w *world) {
		w.acquire(t, hello).Release()
		pass(15*time.Minute - time.Second)
		if w.alive() != 1 {
			t.Fatal("it was stopped before its time")
		}
		pass(2 * time.Second)
		if s, _ := w.Status(hello); w.alive() != 0 || s.State != idle {
			t.Fatalf("after its time the status is %+v and %d run", s, w.alive())
		}
		w.acquire(t, hello).Release()
		w.journal.want(t, "1 starting", "1 ready", "1 idle", "1 starting", "1 ready")
	})
}

func TestLongRequestKeepsItAwake(t *testing.T) {
	bubble(t, nil, func(t *testing.T, w *world) {
		l := w.acquire(t, hello)
		pass(24 * time.Hour)
		if w.alive() != 1 {
			t.Fatal("it was stopped under a request")
		}
		l.Release()
		pass(14 * time.Minute)
		if w.alive() != 1 {
			t.Fatal("the time of the request counts as unused")
		}
		pass(2 * time.Minute)
		if w.alive() != 0 {
			t.Error("it was not stopped after the request")
		}
	})
}

func TestRequestDuringStopWaitsForAFreshStart(t *testing.T) {
	bubble(t, nil, func(t *testing.T, w *world) {
		w.stopTakes = 5 * time.Second
		w.acquire(t, hello).Release()
		pass(15*time.Minute + 2*time.Second)
		if s, _ := w.Status(hello); s.State != idle || w.alive() != 1 {
			t.Fatalf("the status is %+v and %d run, want one that is ending", s, w.alive())
		}
		r := <-w.background(t.Context(), hello)
		if r.err != nil || r.took <= 0 || r.took > 5*time.Second {
			t.Fatalf("the request got %+v", r)
		}
		r.lease.Release()
		if w.starts() != 2 || w.most != 1 {
			t.Errorf("%d starts and %d at once, want 2 and 1", w.starts(), w.most)
		}
	})
}

func TestOwnersChooseTheirIdleTimeout(t *testing.T) {
	bubble(t, func(o *Options) { o.IdleTimeout = -1 }, func(t *testing.T, w *world) {
		quick := release(1)
		quick.ID, quick.Settings = "quick", workload.Settings{IdleTimeout: time.Minute}
		w.releases.set(quick)
		w.acquire(t, "app/quick").Release()
		w.acquire(t, hello).Release() // the operator's default is never
		pass(time.Hour)
		if s, _ := w.Status("app/quick"); s.State != idle {
			t.Errorf("the quick one is %s", s.State)
		}
		if s, _ := w.Status(hello); s.State != workload.Ready {
			t.Errorf("the other is %s", s.State)
		}
	})
}
