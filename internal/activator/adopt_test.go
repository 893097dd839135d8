package activator

import (
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/m3o/ingress/internal/workload"
)

func named(id string, version, revision int64) workload.Release {
	r := release(version)
	r.ID, r.Revision = id, revision
	return r
}

func TestAdoptTakesOverAndEndsStrays(t *testing.T) {
	bubble(t, nil, func(t *testing.T, w *world) {
		good := w.leave(named("good", 3, 2))
		stale := w.leave(named("stale", 1, 1)) // its restart had been committed
		twice := w.leave(named("twice", 1, 1))
		second := w.leave(named("twice", 1, 1))
		stray := w.leave(named("stray", 1, 1))
		ended := w.leave(named("ended", 1, 1))
		w.releases.set(named("good", 3, 2))
		w.releases.set(named("stale", 1, 2))
		w.releases.set(named("twice", 1, 1))
		err := w.Activator.Adopt(t.Context(), []Intent{
			{Key: "app/good", Version: 3, Revision: 2, State: workload.Ready},
			{Key: "app/stale", Version: 1, Revision: 2, State: idle},
			{Key: "app/twice", Version: 1, Revision: 1, State: idle},
			{Key: "app/ended", Version: 1, Revision: 1, State: halted},
		})
		if err != nil {
			t.Fatal(err)
		}
		l := w.acquire(t, "app/good")
		if l.Transport.(*leased).r.instance != good {
			t.Error("another instance than the adopted one answers")
		}
		if l.ColdStart != 0 {
			t.Error("adoption counts as a cold start")
		}
		l.Release()
		pass(0)
		for _, i := range []*instance{stale, second, stray, ended} {
			<-i.Done()
		}
		if s, _ := w.Status("app/twice"); s.Addr != twice.addr {
			t.Errorf("the status of the one that ran twice is %+v", s)
		}
		if w.starts() != 0 {
			t.Errorf("%d were started", w.starts())
		}
	})
}

// An environment that changed, and could not be put in force or is not yet, is no
// reason to end what answers.
func TestAdoptKeepsWhatRunsWhenItsEnvironmentHasChanged(t *testing.T) {
	bubble(t, nil, func(t *testing.T, w *world) {
		before := w.leave(named("before", 1, 1))
		after := w.leave(named("after", 1, 2))
		uncommitted := w.leave(named("both", 1, 2))
		committed := w.leave(named("both", 1, 1))
		replaced := w.leave(named("replaced", 1, 1))
		for _, id := range []string{"before", "after", "both", "replaced"} {
			r := named(id, 1, 2)
			r.Settings.HealthPath = "/new"
			w.releases.set(r)
		}
		w.runner.unhealthy = "/new"
		err := w.Activator.Adopt(t.Context(), []Intent{
			{Key: "app/before", Version: 1, Revision: 1, State: workload.Ready},
			{Key: "app/after", Version: 1, Revision: 1, State: workload.Ready},
			{Key: "app/both", Version: 1, Revision: 1, State: workload.Ready},
			{Key: "app/replaced", Version: 1, Revision: 2, State: idle},
		})
		if err != nil {
			t.Fatal(err)
		}
		pass(0)
		for key, want := range map[string]*instance{"app/before": before, "app/both": committed} {
			if s, _ := w.Status(key); s.Addr != want.addr || s.Revision != want.revision {
				t.Errorf("the status of %s is %+v", key, s)
			}
		}
		if after.ended() {
			t.Error("one that was woken after the change was ended")
		}
		for _, i := range []*instance{uncommitted, replaced} {
			<-i.Done()
		}
		if w.starts() != 0 {
			t.Errorf("%d were started", w.starts())
		}
	})
}

func TestAdoptStartsWhatShouldRunAFewAtATime(t *testing.T) {
	bubble(t, nil, func(t *testing.T, w *world) {
		w.boot = time.Second
		var intents []Intent
		for i := range 10 {
			r := named(fmt.Sprintf("app%d", i), 1, 1)
			w.releases.set(r)
			intents = append(intents, Intent{Key: r.Key(), Version: 1, Revision: 1, State: workload.Ready})
		}
		intents[8].State = idle
		intents[9].State, intents[9].Resident = idle, true
		if err := w.Activator.Adopt(t.Context(), intents); err != nil {
			t.Fatal(err)
		}
		for _, want := range []int{4, 8, 9} {
			pass(time.Second / 2)
			if w.starts() != want {
				t.Errorf("%d were started, want %d", w.starts(), want)
			}
			pass(time.Second / 2)
		}
		if _, known := w.Status("app/app8"); known {
			t.Error("the idle one was woken")
		}
	})
}

func TestAdoptedInstanceOutlastsADatabaseThatIsDown(t *testing.T) {
	bubble(t, nil, func(t *testing.T, w *world) {
		w.leave(release(1))
		w.releases.fail(errors.New("the database is down"))
		if err := w.Activator.Adopt(t.Context(), []Intent{{Key: hello, Version: 1, State: workload.Ready}}); err != nil {
			t.Fatal(err)
		}
		pass(10 * time.Minute)
		if w.alive() != 1 {
			t.Fatal("it was ended")
		}
		waiting := w.background(t.Context(), hello)
		w.releases.fail(nil)
		r := <-waiting
		if r.err != nil {
			t.Fatal(r.err)
		}
		r.lease.Release()
		if w.starts() != 0 {
			t.Error("a second one was started")
		}
	})
}

// Nobody's request would start what works without any.
func TestWhatShouldRunIsStartedOnceTheDatabaseIsBack(t *testing.T) {
	bubble(t, nil, func(t *testing.T, w *world) {
		w.releases.fail(errors.New("the database is down"))
		err := w.Activator.Adopt(t.Context(), []Intent{{Key: hello, Version: 1, State: workload.Ready, Resident: true}})
		if err != nil {
			t.Fatal(err)
		}
		pass(time.Minute)
		w.releases.fail(nil)
		pass(time.Minute)
		if w.starts() != 1 {
			t.Errorf("it was started %d times", w.starts())
		}
	})
}
