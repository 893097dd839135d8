package activator

import (
	"errors"
	"testing"
	"time"
)

func TestRemoveRefusesAtOnceAndStops(t *testing.T) {
	bubble(t, nil, func(t *testing.T, w *world) {
		l := w.acquire(t, hello)
		removed := make(chan error, 1)
		go func() { removed <- w.Remove(t.Context(), hello) }()
		pass(time.Second)
		w.refused(t, hello, ReasonStopped)
		if w.alive() != 1 {
			t.Error("the request under way got no time")
		}
		began := time.Now()
		if err := <-removed; err != nil || time.Since(began) != 4*time.Second || w.alive() != 0 {
			t.Errorf("Remove returned %v after %v more and %d run", err, time.Since(began), w.alive())
		}
		l.Release()
		if _, known := w.Status(hello); known {
			t.Error("it is still known")
		}
		w.journal.want(t, "1 starting", "1 ready", "1 stopped")
		w.acquire(t, hello).Release() // Releases decides
		if err := w.Remove(t.Context(), "app/unknown"); err != nil {
			t.Error(err)
		}
	})
}

func TestRemoveEndsStartsAndPromotes(t *testing.T) {
	bubble(t, nil, func(t *testing.T, w *world) {
		w.boot, w.stopTakes = 20*time.Second, time.Second
		waiting := w.background(t.Context(), hello)
		promoted := make(chan error, 1)
		go func() { promoted <- w.Promote(t.Context(), release(2), w.releases.commit(release(2))) }()
		pass(time.Second)
		again := make(chan error, 1)
		go func() { again <- w.Remove(t.Context(), hello) }()
		if err := errors.Join(w.Remove(t.Context(), hello), <-again); err != nil {
			t.Fatal(err)
		}
		wantUnready(t, (<-waiting).err, ReasonStopped)
		if err := <-promoted; !errors.Is(err, ErrRemoved) {
			t.Errorf("Promote returns %v", err)
		}
		if w.alive() != 0 {
			t.Errorf("%d run", w.alive())
		}
	})
}

func TestRemoveWaitsForWhatIsEnding(t *testing.T) {
	bubble(t, nil, func(t *testing.T, w *world) {
		l := w.acquire(t, hello)
		w.promote(t, release(2)) // version 1 drains
		if err := w.Remove(t.Context(), hello); err != nil || w.alive() != 0 {
			t.Errorf("Remove returns %v and %d run", err, w.alive())
		}
		l.Release()
	})
}
