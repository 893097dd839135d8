package user

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
)

func TestATenantWithManyCallsDoesNotHoldUpAnother(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		turns := newTurns(1)
		if err := turns.enter(t.Context(), "crowd"); err != nil {
			t.Fatal(err)
		}
		var order []string
		var all sync.WaitGroup
		join := func(tenant string) {
			all.Go(func() {
				if err := turns.enter(t.Context(), tenant); err != nil {
					t.Error(err)
					return
				}
				order = append(order, tenant) // one at a time is what is tested
				turns.leave(tenant)
			})
		}
		const crowd = 50
		for range crowd {
			join("crowd")
		}
		synctest.Wait() // until all of them wait
		join("single")
		synctest.Wait()
		turns.leave("crowd")
		all.Wait()
		if len(order) != crowd+1 || order[0] != "single" || len(turns.lines) != 0 {
			t.Errorf("%d had a turn, %q first; %d lines are left", len(order), order[0], len(turns.lines))
		}
	})
}

func TestNoMoreWorkAtOnceThanMay(t *testing.T) {
	turns := newTurns(2)
	var working, most atomic.Int64
	var all sync.WaitGroup
	for i := range 60 {
		tenant := []string{"a", "b", "c"}[i%3]
		all.Go(func() {
			if err := turns.enter(t.Context(), tenant); err != nil {
				t.Error(err)
				return
			}
			defer turns.leave(tenant)
			n := working.Add(1)
			for old := most.Load(); n > old && !most.CompareAndSwap(old, n); old = most.Load() {
			}
			working.Add(-1)
		})
	}
	all.Wait()
	if most.Load() > 2 || len(turns.lines) != 0 {
		t.Errorf("%d worked at once, %d lines are left", most.Load(), len(turns.lines))
	}
}

func TestWhoGivesUpWaitingLeavesNothingBehind(t *testing.T) {
	turns := newTurns(1)
	if err := turns.enter(t.Context(), "a"); err != nil {
		t.Fatal(err)
	}
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	for _, tenant := range []string{"a", "b"} { // behind its own line, and past it
		if err := turns.enter(ended, tenant); !errors.Is(err, context.Canceled) {
			t.Errorf("%s: %v", tenant, err)
		}
	}
	turns.leave("a")
	if len(turns.lines) != 0 || len(turns.slots) != 0 {
		t.Errorf("%d lines and %d slots are taken", len(turns.lines), len(turns.slots))
	}
	if err := turns.enter(t.Context(), "b"); err != nil {
		t.Error(err)
	}
}
