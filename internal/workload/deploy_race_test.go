package workload_test

import (
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"testing"

	"github.com/m3o/ingress/internal/store"
	"github.com/m3o/ingress/internal/workload"
)

func mkdir(t testing.TB, dir string) {
	t.Helper()
	must(t, os.MkdirAll(dir, 0o700))
}

// newFileFixture is a fixture whose database file is known.
func newFileFixture(t *testing.T) (*fixture, string) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "ingress.db")
	return newFixture(t, func(t testing.TB) *store.DB {
		db, err := store.Open(t.Context(), path, slog.New(slog.DiscardHandler))
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() {
			if err := db.Close(); err != nil {
				t.Error(err)
			}
		})
		return db
	}), path
}

func testConcurrentUpdates(t *testing.T, f *fixture) {
	a := tenant("a")
	f.createManaged(t, a, "hello")
	f.promote(t, "hello", 1)
	other := f.another() // another process, as far as memory goes
	must(t, errors.Join(together(8, func(i int) error {
		r := f.Registry
		if i%2 == 0 {
			r = other
		}
		return r.Update(t.Context(), a, "hello", workload.Update{Source: inline(fmt.Sprint(i)), Env: map[string]string{"N": fmt.Sprint(i)}})
	})...))
	w := f.get(t, a, "hello")
	if w.Newest.Number != 9 || w.Revision != 9 || w.Current != 1 {
		t.Errorf("after eight: %+v", w)
	}
	if got := f.work(t); !slices.Equal(got, []int64{9}) {
		t.Errorf("work %v", got)
	}
}

// Whoever reads the list between a version's last step and its promotion, or
// while that is being done, must not see a ready version that is not the current
// one.
func testListWhilePromoting(t *testing.T, f *fixture) {
	a := tenant("a")
	f.createManaged(t, a, "hello")
	f.promote(t, "hello", 1)
	done := make(chan struct{})
	var readers sync.WaitGroup
	for range 2 {
		readers.Go(func() {
			for {
				select {
				case <-done:
					return
				default:
				}
				versions, current, err := f.Versions(t.Context(), a, "hello")
				if err != nil {
					t.Error(err)
					return
				}
				for _, v := range versions {
					if (v.State == workload.Ready) != (v.Number == current) {
						t.Errorf("version %d is %s, and %d the current one", v.Number, v.State, current)
						return
					}
				}
			}
		})
	}
	for n := range int64(40) {
		f.update(t, a, "hello", workload.Update{Source: inline(fmt.Sprint(n))})
		f.promote(t, "hello", n+2)
	}
	close(done)
	readers.Wait()
}

func testDeleteWhileAdvancing(t *testing.T, f *fixture) {
	a := tenant("a")
	for round := range 10 {
		w := f.createManaged(t, a, "hello")
		n := w.Newest.Number
		errs := together(2, func(i int) error {
			if i == 0 {
				return f.Delete(t.Context(), a, "hello")
			}
			for _, step := range []func() error{
				func() error { return f.Advance(t.Context(), "hello", n, workload.Building, "", nil) },
				func() error { return f.Advance(t.Context(), "hello", n, workload.Starting, "", nil) },
				func() error { return f.Promoted(t.Context(), "hello", n, 1) },
			} {
				if err := step(); err != nil {
					return err
				}
			}
			return nil
		})
		if errs[0] != nil || errs[1] != nil && !errors.Is(errs[1], workload.ErrNotFound) {
			t.Fatalf("round %d: %v", round, errs)
		}
		var left int
		must(t, f.db.QueryRowContext(t.Context(), "SELECT (SELECT count(*) FROM workload_versions) + (SELECT count(*) FROM workload_events)").Scan(&left))
		if left != 0 {
			t.Fatalf("%d rows are left of what was deleted", left)
		}
	}
}

func testRollbackWhileUpdating(t *testing.T, f *fixture) {
	a := tenant("a")
	f.createManaged(t, a, "hello")
	f.promote(t, "hello", 1)
	f.update(t, a, "hello", workload.Update{Redeploy: true})
	f.promote(t, "hello", 2)
	for n := int64(3); n < 10; n++ {
		f.update(t, a, "hello", workload.Update{Redeploy: true})
		f.advance(t, "hello", n, workload.Building)
		f.advance(t, "hello", n, workload.Starting)
		errs := together(2, func(i int) error {
			if i == 0 {
				_, err := f.Rollback(t.Context(), a, "hello", 1)
				return err
			}
			return f.Promoted(t.Context(), "hello", n, 1)
		})
		if errs[0] != nil || errs[1] != nil && !errors.Is(errs[1], workload.ErrSuperseded) {
			t.Fatalf("to 1 while %d is promoted: %v", n, errs)
		}
		if got := f.work(t); !slices.Equal(got, []int64{1}) {
			t.Fatalf("work %v: the rollback is lost", got)
		}
		must(t, f.Promoted(t.Context(), "hello", 1, 1))
		if w := f.get(t, a, "hello"); w.Current != 1 || w.Updating() {
			t.Fatalf("after the rollback: %+v", w)
		}
		if _, err := f.Rollback(t.Context(), a, "hello", 2); err != nil {
			t.Fatal(err)
		}
		must(t, f.Promoted(t.Context(), "hello", 2, 1))
	}
}

// testAfterDeath opens what a killed process left: committed transactions.
func testAfterDeath(t *testing.T, f *fixture) {
	ctx, a := t.Context(), tenant("a")
	f.createManaged(t, a, "hello")
	f.promote(t, "hello", 1)
	f.update(t, a, "hello", workload.Update{Redeploy: true})
	f.promote(t, "hello", 2)
	f.update(t, a, "hello", workload.Update{Redeploy: true})
	f.advance(t, "hello", 3, workload.Building)
	f.Registry = f.another()
	intents, err := f.Intents(ctx)
	if err != nil || len(intents) != 1 || intents[0].Version != 2 {
		t.Errorf("intents %v, %v", intents, err)
	}
	want := []workload.State{workload.Stopped, workload.Ready, workload.Building}
	if got := f.states(t, a, "hello"); !slices.Equal(got, want) {
		t.Errorf("states %v, want %v: nothing drains any more", got, want)
	}
	f.promote(t, "hello", 3) // the deploy is repeated from its beginning
	// A transaction that dies in its middle leaves nothing.
	boom := errors.New("killed")
	err = f.db.Write(ctx, func(tx *store.Tx) error {
		if _, err := tx.ExecContext(ctx, "UPDATE workloads SET current_version = 1"); err != nil {
			return err
		}
		return boom
	})
	if w := f.get(t, a, "hello"); !errors.Is(err, boom) || w.Current != 3 {
		t.Errorf("%v; the current one is %d", err, w.Current)
	}
}
