package activator

import (
	"strings"
	"testing"
	"time"

	"github.com/m3o/ingress/internal/confine"
	"github.com/m3o/ingress/internal/logfile"
	"github.com/m3o/ingress/internal/workload"
)

func TestCrashedWorkloadIsStartedAgain(t *testing.T) {
	bubble(t, nil, func(t *testing.T, w *world) {
		l := w.acquire(t, hello)
		w.set(func(r *runner) { r.boot = time.Second })
		w.last().crash(confine.Exit{Code: 3})
		r := <-w.background(t.Context(), hello)
		if r.err != nil || r.took != time.Second {
			t.Fatalf("a request right after the first crash got %+v, want it to wait for the start alone", r)
		}
		r.lease.Release()
		l.Release()
		w.journal.want(t, "1 starting", "1 ready", "1 starting", "1 starting", "1 ready")
		w.last().crash(confine.Exit{Code: -1, Signal: "SIGKILL", Excess: "it used more than 512 MiB of memory"})
		pass(0)
		if s, _ := w.Status(hello); s.State != starting || !strings.Contains(s.Reason, "512 MiB") || time.Until(s.NextTry) != time.Second {
			t.Errorf("after the second crash the status is %+v", s)
		}
		if r = <-w.background(t.Context(), hello); r.err != nil || r.took != 2*time.Second {
			t.Fatalf("a request after the second crash got %+v", r)
		}
		r.lease.Release()
	})
}

func TestBackoffDoublesUpToFiveMinutes(t *testing.T) {
	want := []time.Duration{0, 1, 2, 4, 8, 16, 32, 64, 128, 256, 300, 300}
	for i, seconds := range want {
		if got := backoff(i + 1); got != seconds*time.Second {
			t.Errorf("after %d failures the pause is %v, want %v", i+1, got, seconds*time.Second)
		}
	}
	if backoff(1<<40) != 5*time.Minute {
		t.Error("many failures are too much for the backoff")
	}
}

func TestFiveExitsAreCrashLoopingUntilItRecovers(t *testing.T) {
	bubble(t, nil, func(t *testing.T, w *world) {
		w.set(func(r *runner) {
			r.broken = func(workload.Release) string { return "it used more than 64 MiB of memory" }
		})
		r := <-w.background(t.Context(), hello)
		u := wantUnready(t, r.err, ReasonCrashLooping)
		if r.took != 7*time.Second || u.RetryAfter != 8*time.Second || !strings.Contains(u.Detail, "64 MiB") {
			t.Errorf("the request that waited got %#v after %v", u, r.took)
		}
		if strings.Contains(u.Message, "MiB") {
			t.Error("visitors are told what is the owner's business")
		}
		if w.starts() != 5 {
			t.Errorf("%d starts, want 5", w.starts())
		}
		if s, _ := w.Status(hello); s.State != crashLooped || s.Failures != 5 {
			t.Errorf("the status is %+v", s)
		}
		pass(3 * time.Second)
		if u := w.refused(t, hello, ReasonCrashLooping); u.RetryAfter != 5*time.Second {
			t.Errorf("RetryAfter is %v, want the time to the next try", u.RetryAfter)
		}
		w.set(func(r *runner) { r.broken = nil })
		pass(5 * time.Second) // the timer starts it: nobody asks
		if s, _ := w.Status(hello); s.State != workload.Ready {
			t.Errorf("after the cause is gone the status is %+v", s)
		}
		w.acquire(t, hello).Release()
		pass(10 * time.Minute)
		w.last().crash(confine.Exit{Code: 1})
		pass(0)
		if s, _ := w.Status(hello); s.Failures != 1 || s.State != workload.Ready {
			t.Errorf("ten healthy minutes did not make up for the past: %+v", s)
		}
	})
}

func TestNobodyWaitsForATryThatComesTooLate(t *testing.T) {
	bubble(t, func(o *Options) { o.WakeTimeout = 3 * time.Second }, func(t *testing.T, w *world) {
		w.set(func(r *runner) { r.broken = func(workload.Release) string { return "broken" } })
		r := <-w.background(t.Context(), hello) // fails at 0, 0, 1 s and 3 s
		wantUnready(t, r.err, ReasonStarting)
		pass(0)
		s, _ := w.Status(hello)
		if s.Failures != 4 {
			t.Fatalf("the status is %+v, want 4 failures", s)
		}
		u := w.refused(t, hello, ReasonStarting)
		if u.RetryAfter != 4*time.Second {
			t.Errorf("RetryAfter is %v, want 4s", u.RetryAfter)
		}
	})
}

func TestWorkloadThatFailsAndNobodyUsesIsLeftAlone(t *testing.T) {
	bubble(t, nil, func(t *testing.T, w *world) {
		w.set(func(r *runner) { r.broken = func(workload.Release) string { return "broken" } })
		<-w.background(t.Context(), hello)
		pass(20 * time.Minute)
		if s, _ := w.Status(hello); s.State != idle || !s.NextTry.IsZero() {
			t.Errorf("after a while the status is %+v, want idle", s)
		}
		before := w.starts()
		pass(24 * time.Hour)
		if w.starts() != before {
			t.Error("it is started although nobody uses it")
		}
		w.set(func(r *runner) { r.broken = nil })
		w.acquire(t, hello).Release()
	})
}

func TestResidentWorkloadIsTriedForEver(t *testing.T) {
	bubble(t, nil, func(t *testing.T, w *world) {
		r := release(1)
		r.Settings.IdleTimeout = 0
		w.releases.set(r)
		w.acquire(t, hello).Release()
		pass(48 * time.Hour)
		if w.alive() != 1 {
			t.Fatal("it was stopped")
		}
		w.set(func(r *runner) { r.broken = func(workload.Release) string { return "broken" } })
		w.last().crash(confine.Exit{Code: 1})
		pass(24 * time.Hour)
		w.set(func(r *runner) { r.broken = nil })
		pass(5 * time.Minute)
		if w.alive() != 1 {
			t.Error("it was given up")
		}
	})
}

func TestUnusedWorkloadThatEndsIsJustIdle(t *testing.T) {
	bubble(t, nil, func(t *testing.T, w *world) {
		w.acquire(t, hello).Release()
		w.stopRun() // nothing stops it but itself
		pass(16 * time.Minute)
		w.last().crash(confine.Exit{Code: 1})
		pass(0)
		if s, _ := w.Status(hello); s.State != idle || s.Failures != 0 || w.starts() != 1 {
			t.Errorf("the status is %+v", s)
		}
	})
}

func TestForgetTriesAtOnce(t *testing.T) {
	bubble(t, nil, func(t *testing.T, w *world) {
		w.set(func(r *runner) { r.broken = func(workload.Release) string { return "broken" } })
		<-w.background(t.Context(), hello)
		w.refused(t, hello, ReasonCrashLooping)
		w.set(func(r *runner) { r.broken = nil })
		w.Forget(hello)
		w.acquire(t, hello).Release()
		w.Forget(hello)
		w.acquire(t, hello).Release()
		if w.alive() != 1 {
			t.Error("Forget stopped what runs")
		}
	})
}

func TestWorkloadThatEndsUnderALongRequestIsStartedAgain(t *testing.T) {
	bubble(t, nil, func(t *testing.T, w *world) {
		l := w.acquire(t, hello)
		pass(time.Hour)
		w.last().crash(confine.Exit{Code: 1})
		pass(0)
		if w.alive() != 1 {
			t.Error("it was not started again although somebody used it until it ended")
		}
		l.Release()
	})
}

func TestACrashLoopSaysWhatWasPrintedLast(t *testing.T) {
	bubble(t, nil, func(t *testing.T, w *world) {
		r := release(1)
		r.Dir = t.TempDir()
		w.releases.set(r)
		log, err := logfile.Create(workload.RunLog(r.Dir), 1<<20)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := log.Write([]byte("early\n" + strings.Repeat("more\n", tailLines-2) + "bad \xff\nthere is no database\n")); err != nil {
			t.Fatal(err)
		}
		if err := log.Close(); err != nil {
			t.Fatal(err)
		}
		for n := range crashLimit {
			l := w.acquire(t, hello)
			w.last().crash(confine.Exit{Code: 3})
			l.Release()
			pass(0)
			if s, _ := w.Status(hello); n < crashLimit-1 && strings.Contains(s.Reason, "database") {
				t.Errorf("after %d crashes the reason is %q", n+1, s.Reason)
			}
		}
		s, _ := w.Status(hello)
		for _, want := range []string{"5 times within 10m0s", "code 3", "it printed last:\nmore\n", "bad \xff\nthere is no database"} {
			if s.State != crashLooped || !strings.Contains(s.Reason, want) || strings.Contains(s.Reason, "early") {
				t.Errorf("the state is %s, because %q, want %q", s.State, s.Reason, want)
			}
		}
		u := w.refused(t, hello, ReasonCrashLooping)
		if strings.Contains(u.Message, "database") || u.RetryAfter <= 0 {
			t.Errorf("visitors are told %q", u.Message)
		}
	})
}
