package store_test

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"testing"
	"time"

	"github.com/m3o/ingress/internal/store"
)

func insert(tx *store.Tx, name string) error {
	_, err := tx.Exec("INSERT INTO settings (name, value, updated) VALUES ($1, 'x', 0)", name)
	return err
}

// checkUnharmed checks that nothing was written and that the next writer gets
// the connection.
func checkUnharmed(t *testing.T, db *store.DB) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	if settings, err := db.Settings(ctx); err != nil || len(settings) != 0 {
		t.Errorf("found %v, %v; want nothing", settings, err)
	}
	if err := db.SetSetting(ctx, "next", "value"); err != nil {
		t.Errorf("the next write: %v", err)
	}
}

func TestAPanicInAWriteRollsBackAndFreesTheConnection(t *testing.T) {
	onEachEngine(t, func(t *testing.T, open opener) {
		db := open(t)
		db.Subscribe(func(c store.Change) {
			if c.ID != "next" {
				t.Errorf("announced %v", c)
			}
		})
		func() {
			defer func() {
				if got := recover(); got != "broken" {
					t.Errorf("recovered %v, want the panic itself", got)
				}
			}()
			// A context without an end: nothing else would free the connection.
			_ = db.Write(context.Background(), func(tx *store.Tx) error {
				if err := insert(tx, "a"); err != nil {
					t.Error(err)
				}
				if err := tx.Changed(t.Context(), "setting", "a"); err != nil {
					t.Error(err)
				}
				panic("broken")
			})
		}()
		checkUnharmed(t, db)
	})
}

func TestAContextThatEndsInTheMiddleOfAWriteRollsBack(t *testing.T) {
	onEachEngine(t, func(t *testing.T, open opener) {
		for _, test := range []struct {
			name string
			rest func(ctx context.Context, tx *store.Tx) error
		}{
			{"before the commit", func(context.Context, *store.Tx) error { return nil }},
			{"before the next statement", func(_ context.Context, tx *store.Tx) error { return insert(tx, "b") }},
			{"during a statement", func(ctx context.Context, tx *store.Tx) error {
				_, err := tx.ExecContext(ctx, "INSERT INTO settings (name, value, updated) VALUES ('b', 'x', 0)")
				return err
			}},
		} {
			t.Run(test.name, func(t *testing.T) {
				db := open(t)
				ctx, cancel := context.WithCancel(t.Context())
				defer cancel()
				err := db.Write(ctx, func(tx *store.Tx) error {
					if err := insert(tx, "a"); err != nil {
						return err
					}
					cancel()
					return test.rest(ctx, tx)
				})
				if !errors.Is(err, context.Canceled) {
					t.Errorf("got %v, want it to say that the context ended", err)
				}
				checkUnharmed(t, db)
			})
		}
	})
}

func TestAContextThatEndsDuringALongStatement(t *testing.T) {
	onEachEngine(t, func(t *testing.T, open opener) {
		db := open(t)
		ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
		defer cancel()
		err := db.Write(ctx, func(tx *store.Tx) error {
			_, err := tx.ExecContext(ctx, `INSERT INTO settings (name, value, updated)
			WITH RECURSIVE n(i) AS (SELECT CAST(1 AS BIGINT) UNION ALL SELECT i + 1 FROM n WHERE i < 1000000000) SELECT 'n' || max(i), 'x', 0 FROM n`)
			return err
		})
		if !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("got %v, want it to say that the time was over", err)
		}
		checkUnharmed(t, db)
	})
}

func TestAWriterThatGivesUpWaitingLeavesTheQueue(t *testing.T) {
	onEachEngine(t, func(t *testing.T, open opener) {
		db := open(t)
		entered, release, done := make(chan struct{}), make(chan struct{}), make(chan error, 1)
		go func() {
			done <- db.Write(context.Background(), func(*store.Tx) error {
				close(entered)
				<-release
				return nil
			})
		}()
		<-entered
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		if err := db.SetSetting(ctx, "a", "b"); !errors.Is(err, context.Canceled) {
			t.Errorf("the writer that gave up got %v", err)
		}
		close(release)
		if err := <-done; err != nil {
			t.Error(err)
		}
		checkUnharmed(t, db)
	})
}

// TestAFirstStartCutShort opens a database whose migrations were interrupted at
// ever later moments, as a process that is killed would leave it.
func TestAFirstStartCutShort(t *testing.T) {
	path := filepath.Join(t.TempDir(), "ingress.db")
	for round := range 20 {
		ctx, cancel := context.WithTimeout(t.Context(), time.Duration(round)*time.Millisecond)
		if db, err := store.Open(ctx, path, discard); err == nil {
			if err := db.Close(); err != nil {
				t.Error(err)
			}
		}
		cancel()
	}
	db, err := store.Open(t.Context(), path, discard)
	if err != nil {
		t.Fatal(fmt.Errorf("after interrupted starts: %w", err))
	}
	defer db.Close()
	checkUnharmed(t, db)
}
