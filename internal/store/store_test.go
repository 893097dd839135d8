package store_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/prometheus/client_golang/prometheus"
	dto "github.com/prometheus/client_model/go"

	"github.com/m3o/ingress/internal/store"
	"github.com/m3o/ingress/internal/store/storetest"
)

var discard = slog.New(slog.DiscardHandler)

func TestWhatIsWrittenIsThereAfterReopening(t *testing.T) {
	path := filepath.Join(t.TempDir(), "ingress.db")
	for round := range 3 {
		db, err := store.Open(t.Context(), path, discard)
		if err != nil {
			t.Fatal(err)
		}
		settings, err := db.Settings(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if len(settings) != round {
			t.Errorf("round %d: found %v", round, settings)
		}
		if err := db.SetSetting(t.Context(), fmt.Sprint("name", round), "value"); err != nil {
			t.Fatal(err)
		}
		if err := db.Close(); err != nil {
			t.Fatal(err)
		}
	}
	if info, err := os.Stat(path); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("the database file is %v, %v; want mode 0600", info, err)
	}
}

func TestOpenRefusesWhatItCannotRead(t *testing.T) {
	newer := func(t *testing.T, path string) {
		db, err := store.Open(t.Context(), path, discard)
		if err != nil {
			t.Fatal(err)
		}
		err = db.Write(t.Context(), func(tx *store.Tx) error {
			_, err := tx.Exec("INSERT INTO goose_db_version (version_id, is_applied) VALUES (99999, true)")
			return err
		})
		if err := errors.Join(err, db.Close()); err != nil {
			t.Fatal(err)
		}
	}
	truncated := func(t *testing.T, path string) {
		db, err := store.Open(t.Context(), path, discard)
		if err != nil {
			t.Fatal(err)
		}
		for i := range 50 {
			if err := db.SetSetting(t.Context(), fmt.Sprint(i), strings.Repeat("x", 4000)); err != nil {
				t.Fatal(err)
			}
		}
		if err := db.Close(); err != nil {
			t.Fatal(err)
		}
		info, err := os.Stat(path)
		if err != nil {
			t.Fatal(err)
		}
		if err := os.Truncate(path, info.Size()/2); err != nil {
			t.Fatal(err)
		}
	}
	garbage := func(t *testing.T, path string) {
		if err := os.WriteFile(path, []byte(strings.Repeat("this is not a database\n", 500)), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	for _, test := range []struct {
		name    string
		prepare func(*testing.T, string)
		says    string
	}{
		{"no database", garbage, "not a database"},
		{"cut in half", truncated, "restore it from a backup"},
		{"from a newer release", newer, "newer release"},
	} {
		t.Run(test.name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "ingress.db")
			test.prepare(t, path)
			before, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			db, err := store.Open(t.Context(), path, discard)
			if err == nil {
				db.Close()
				t.Fatal("it opened")
			}
			if !strings.Contains(err.Error(), test.says) || !strings.Contains(err.Error(), path) {
				t.Errorf("the error %q should say %q and name the file", err, test.says)
			}
			after, err := os.ReadFile(path)
			if err != nil || string(after) != string(before) {
				t.Errorf("the file was changed by the refusal (%v)", err)
			}
		})
	}
}

func TestADatabaseInAFolderWithAnOddName(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "a b?c#d%41&e")
	if err := os.Mkdir(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	db, err := store.Open(t.Context(), filepath.Join(dir, "ingress.db"), discard)
	if err != nil {
		t.Fatal(err)
	}
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(filepath.Join(dir, "ingress.db")); err != nil {
		t.Errorf("the file is elsewhere: %v", err)
	}
}

func TestAFailedWriteLeavesNothingAndAnnouncesNothing(t *testing.T) {
	onEachEngine(t, func(t *testing.T, open opener) {
		db := open(t)
		db.Subscribe(func(c store.Change) { t.Errorf("announced %v", c) })
		refused := errors.New("refused")
		err := db.Write(t.Context(), func(tx *store.Tx) error {
			if _, err := tx.Exec("INSERT INTO settings (name, value, updated) VALUES ('a', 'b', 0)"); err != nil {
				return err
			}
			if err := tx.Changed(t.Context(), "setting", "a"); err != nil {
				return err
			}
			return refused
		})
		if !errors.Is(err, refused) {
			t.Errorf("got %v", err)
		}
		if settings, err := db.Settings(t.Context()); err != nil || len(settings) != 0 {
			t.Errorf("found %v, %v", settings, err)
		}
	})
}

func TestChangesAreAnnouncedBeforeTheWriteReturnsAndGrow(t *testing.T) {
	onEachEngine(t, func(t *testing.T, open opener) {
		db := open(t)
		var mu sync.Mutex
		var seen []store.Change
		db.Subscribe(func(c store.Change) {
			mu.Lock()
			defer mu.Unlock()
			seen = append(seen, c)
		})
		var writers sync.WaitGroup
		for w := range 8 {
			writers.Go(func() {
				for i := range 10 {
					name := fmt.Sprintf("%d-%d", w, i)
					if err := db.SetSetting(t.Context(), name, "v"); err != nil {
						t.Error(err)
					}
					mu.Lock()
					last := seen[len(seen)-1]
					announced := last.ID == name
					for _, c := range seen {
						announced = announced || c.ID == name
					}
					mu.Unlock()
					if !announced {
						t.Errorf("%s was not announced when its write returned", name)
					}
				}
			})
		}
		writers.Wait()
		versions := map[int64]bool{}
		for _, c := range seen {
			versions[c.Version] = true
		}
		if len(versions) != 80 {
			t.Errorf("80 changes had %d versions", len(versions))
		}
	})
}

func TestConcurrentReadersSeeOnlyCommittedState(t *testing.T) {
	onEachEngine(t, func(t *testing.T, open opener) {
		db := open(t)
		set := func(a, b string) error {
			return db.Write(t.Context(), func(tx *store.Tx) error {
				for name, value := range map[string]string{"a": a, "b": b} {
					_, err := tx.Exec("INSERT INTO settings VALUES ($1, $2, 0) ON CONFLICT (name) DO UPDATE SET value = excluded.value", name, value)
					if err != nil {
						return err
					}
				}
				return nil
			})
		}
		if err := set("0", "0"); err != nil {
			t.Fatal(err)
		}
		done := make(chan struct{})
		var readers sync.WaitGroup
		for range 4 {
			readers.Go(func() {
				for {
					select {
					case <-done:
						return
					default:
					}
					s, err := db.Settings(t.Context())
					if err != nil || s["a"] != s["b"] {
						t.Errorf("read %v, %v: half a transaction", s, err)
						return
					}
				}
			})
		}
		for range 50 {
			v := fmt.Sprint(rand.Int())
			if err := set(v, v); err != nil {
				t.Error(err)
			}
		}
		close(done)
		readers.Wait()
	})
}

func TestAReadSeesOneStateThroughout(t *testing.T) {
	onEachEngine(t, func(t *testing.T, open opener) {
		db := open(t)
		for range 20 { // more often than there are connections: none stays in a transaction
			if err := db.SetSetting(t.Context(), "a", "before"); err != nil {
				t.Fatal(err)
			}
			err := db.Read(t.Context(), func(q store.Querier) error {
				for _, when := range []string{"before", "after"} {
					var value string
					if err := q.QueryRowContext(t.Context(), "SELECT value FROM settings WHERE name = 'a'").Scan(&value); err != nil {
						return err
					}
					if value != "before" {
						t.Errorf("%s a write it reads %q", when, value)
					}
					if err := db.SetSetting(t.Context(), "a", "after"); err != nil {
						return err
					}
				}
				return nil
			})
			if err != nil {
				t.Fatal(err)
			}
			if s, err := db.Settings(t.Context()); err != nil || s["a"] != "after" {
				t.Fatalf("afterwards %v, %v", s, err)
			}
		}
		ours := errors.New("ours")
		if err := db.Read(t.Context(), func(store.Querier) error { return ours }); !errors.Is(err, ours) {
			t.Errorf("got %v", err)
		}
		ended, cancel := context.WithCancel(t.Context())
		cancel()
		if err := db.Read(ended, func(store.Querier) error { return nil }); !errors.Is(err, context.Canceled) {
			t.Errorf("with a context that has ended: %v", err)
		}
	})
}

func TestTheDirectoryHasOneOwner(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "data")
	lock, err := store.LockDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := store.LockDir(dir); !errors.Is(err, store.ErrDirInUse) || !strings.Contains(err.Error(), dir) {
		t.Errorf("a second lock: %v", err)
	}
	if info, err := os.Stat(dir); err != nil || info.Mode().Perm() != 0o700 {
		t.Errorf("the directory is %v, %v; want mode 0700", info, err)
	}
	if err := lock.Close(); err != nil {
		t.Fatal(err)
	}
	again, err := store.LockDir(dir)
	if err != nil {
		t.Fatalf("after the first was given up: %v", err)
	}
	if err := again.Close(); err != nil {
		t.Fatal(err)
	}
}

func TestOldChangesArePruned(t *testing.T) {
	onEachEngine(t, func(t *testing.T, open opener) {
		db := open(t)
		if err := db.SetSetting(t.Context(), "a", "b"); err != nil {
			t.Fatal(err)
		}
		err := db.Write(t.Context(), func(tx *store.Tx) error {
			_, err := tx.Exec("INSERT INTO changes (kind, id, at) VALUES ('setting', 'old', 1)")
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
		if err := db.PruneChanges(t.Context()); err != nil {
			t.Fatal(err)
		}
		var left string
		if err := db.QueryRowContext(t.Context(), "SELECT min(id) || max(id) FROM changes").Scan(&left); err != nil || left != "aa" {
			t.Errorf("left are %q, %v; want only the fresh one", left, err)
		}
	})
}

func TestACheckpointTruncatesTheLog(t *testing.T) {
	path := filepath.Join(t.TempDir(), "ingress.db")
	db, err := store.Open(t.Context(), path, discard)
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	if err := db.SetSetting(t.Context(), "big", strings.Repeat("x", 1<<20)); err != nil {
		t.Fatal(err)
	}
	logSize := func() int64 {
		info, err := os.Stat(path + "-wal")
		if err != nil {
			t.Fatal(err)
		}
		return info.Size()
	}
	if logSize() < 1<<20 {
		t.Fatalf("the log has %d bytes before", logSize())
	}
	if err := db.Checkpoint(t.Context()); err != nil || logSize() != 0 {
		t.Errorf("the log has %d bytes, %v", logSize(), err)
	}
	if settings, err := db.Settings(t.Context()); err != nil || len(settings["big"]) != 1<<20 {
		t.Errorf("found %d bytes, %v", len(settings["big"]), err)
	}
}

func TestConflictsAreRecognised(t *testing.T) {
	onEachEngine(t, func(t *testing.T, open opener) {
		db := open(t)
		insert := func() error {
			return db.Write(t.Context(), func(tx *store.Tx) error {
				_, err := tx.Exec("INSERT INTO settings (name, value, updated) VALUES ('a', 'b', 0)")
				return err
			})
		}
		if err := insert(); err != nil || store.IsConflict(err) {
			t.Fatal(err)
		}
		if err := insert(); !store.IsConflict(err) {
			t.Errorf("inserting twice: %v", err)
		}
		err := db.Write(t.Context(), func(tx *store.Tx) error {
			_, err := tx.Exec("INSERT INTO settings (name) VALUES ('c')")
			return err
		})
		if err == nil || store.IsConflict(err) {
			t.Errorf("a missing value is not a conflict: %v", err)
		}
	})
}

func TestAFullDiskIsSaidAndLosesNothing(t *testing.T) {
	db := storetest.Open(t)
	if err := db.SetSetting(t.Context(), "kept", "yes"); err != nil {
		t.Fatal(err)
	}
	// The engine's own page limit fails exactly as a full disk does.
	err := db.Write(t.Context(), func(tx *store.Tx) error {
		_, err := tx.Exec("PRAGMA max_page_count = 1")
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	err = db.SetSetting(t.Context(), "big", strings.Repeat("x", 1<<20))
	var down *store.UnavailableError
	if !errors.As(err, &down) || !strings.Contains(down.Unavailable(), "disk is full") {
		t.Fatalf("got %v, want it to say that the disk is full", err)
	}
	settings, err := db.Settings(t.Context())
	if err != nil || settings["kept"] != "yes" || settings["big"] != "" {
		t.Errorf("found %d settings, %v", len(settings), err)
	}
}

func TestADataDirectoryThatCannotBeOneSaysSo(t *testing.T) {
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, []byte("kept"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := store.LockDir(file); err == nil || !strings.Contains(err.Error(), "not a directory") || !strings.Contains(err.Error(), file) {
		t.Errorf("a file: %v", err)
	}
	if content, err := os.ReadFile(file); err != nil || string(content) != "kept" {
		t.Errorf("the file is %q, %v", content, err)
	}
}

func TestHowLongItTakesIsMeasured(t *testing.T) {
	onEachEngine(t, func(t *testing.T, open opener) {
		db := open(t)
		registry := prometheus.NewRegistry()
		if err := registry.Register(db.Collector()); err != nil {
			t.Fatal(err)
		}
		count := func(operation string) (n uint64) {
			families, err := registry.Gather()
			if err != nil {
				t.Fatal(err)
			}
			at := slices.IndexFunc(families, func(f *dto.MetricFamily) bool { return f.GetName() == "ingress_store_duration_seconds" })
			if at < 0 {
				t.Fatal("it is not measured")
			}
			for _, m := range families[at].GetMetric() {
				if m.GetLabel()[0].GetValue() == operation {
					n = m.GetHistogram().GetSampleCount()
				}
			}
			return n
		}
		reads, writes := count("read"), count("write")
		if err := db.SetSetting(t.Context(), "a", "b"); err != nil {
			t.Fatal(err)
		}
		if err := db.Ping(t.Context()); err != nil {
			t.Fatal(err)
		}
		if r, w := count("read")-reads, count("write")-writes; r != 1 || w != 1 {
			t.Errorf("%d reads and %d writes are counted, want one of each", r, w)
		}
	})
}
