package certs

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/caddyserver/certmagic"

	"github.com/m3o/ingress/internal/store"
	"github.com/m3o/ingress/internal/store/storetest"
)

func newTestStorage(t testing.TB, db *store.DB, sealer *store.Sealer) *Storage {
	t.Helper()
	s := NewStorage(db, sealer, slog.New(slog.DiscardHandler))
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	return s
}

// TestStorageConformance holds what the comments of certmagic.Storage say, for
// ours and for the files that remote mode uses.
func TestStorageConformance(t *testing.T) {
	in := func(open func(testing.TB) *store.DB) func(testing.TB) certmagic.Storage {
		return func(t testing.TB) certmagic.Storage { return newTestStorage(t, open(t), storetest.Sealer(t)) }
	}
	t.Run("files", func(t *testing.T) {
		testStorage(t, func(t testing.TB) certmagic.Storage { return &certmagic.FileStorage{Path: t.TempDir()} })
	})
	t.Run("SQLite", func(t *testing.T) { testStorage(t, in(storetest.Open)) })
	t.Run("with conflicts", func(t *testing.T) { testStorage(t, in(storetest.OpenConflicting)) })
	t.Run("PostgreSQL", func(t *testing.T) { testStorage(t, in(storetest.Postgres(t))) })
}

func testStorage(t *testing.T, open func(testing.TB) certmagic.Storage) {
	t.Run("values", func(t *testing.T) { testValues(t, open(t)) })
	t.Run("folders", func(t *testing.T) { testFolders(t, open(t)) })
	t.Run("locks", func(t *testing.T) { testLocks(t, open(t)) })
	t.Run("many at once", func(t *testing.T) { testConcurrency(t, open(t)) })
}

func testValues(t *testing.T, s certmagic.Storage) {
	ctx := t.Context()
	for _, key := range []string{"a", "certificates/ca.example/m3o.example/m3o.example.key", "with space/ü"} {
		if _, err := s.Load(ctx, key); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("load of nothing: %v", err)
		}
		if _, err := s.Stat(ctx, key); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("stat of nothing: %v", err)
		}
		if s.Exists(ctx, key) {
			t.Errorf("%s is there before it is stored", key)
		}
		if err := s.Delete(ctx, key); err != nil {
			t.Errorf("delete of nothing: %v", err)
		}
		before := time.Now().Add(-time.Minute)
		for _, value := range [][]byte{[]byte("one"), {}, bytes.Repeat([]byte{0, 255, 10}, 30_000)} {
			if err := s.Store(ctx, key, value); err != nil {
				t.Fatal(err)
			}
			got, err := s.Load(ctx, key)
			if err != nil || !bytes.Equal(got, value) {
				t.Fatalf("%s: %d bytes, %v; want %d", key, len(got), err, len(value))
			}
			info, err := s.Stat(ctx, key)
			if err != nil || info.Key != key || !info.IsTerminal || info.Size != int64(len(value)) || info.Modified.Before(before) {
				t.Errorf("%s: %+v, %v", key, info, err)
			}
			if !s.Exists(ctx, key) {
				t.Errorf("%s is not there", key)
			}
		}
		if err := s.Delete(ctx, key); err != nil || s.Exists(ctx, key) {
			t.Errorf("%s survives its deletion: %v", key, err)
		}
	}
	ended, cancel := context.WithCancel(ctx)
	cancel()
	if err := s.Lock(ended, "x"); err == nil { // certmagic's files do not look before the first try
		if err := s.Unlock(ctx, "x"); err != nil {
			t.Error(err)
		}
	}
}

func testFolders(t *testing.T, s certmagic.Storage) {
	ctx := t.Context()
	for _, key := range []string{"a/b/1", "a/b/2", "a/b/c/3", "a/bc/4", "a/5", "ab/6", "A/7"} {
		if err := s.Store(ctx, key, []byte(key)); err != nil {
			t.Fatal(err)
		}
	}
	for _, test := range []struct {
		prefix    string
		recursive bool
		want      []string
	}{
		{"a", false, []string{"a/5", "a/b", "a/bc"}},
		{"a", true, []string{"a/5", "a/b", "a/b/1", "a/b/2", "a/b/c", "a/b/c/3", "a/bc", "a/bc/4"}},
		{"a/b", false, []string{"a/b/1", "a/b/2", "a/b/c"}},
		{"a/b", true, []string{"a/b/1", "a/b/2", "a/b/c", "a/b/c/3"}},
		{"ab", true, []string{"ab/6"}},
	} {
		got, err := s.List(ctx, test.prefix, test.recursive)
		slices.Sort(got)
		if err != nil || !slices.Equal(got, test.want) {
			t.Errorf("list %s, recursively %v: %v, %v; want %v", test.prefix, test.recursive, got, err, test.want)
		}
	}
	if keys, err := s.List(ctx, "nothing", true); !errors.Is(err, fs.ErrNotExist) || len(keys) != 0 {
		t.Errorf("a list of nothing: %v, %v", keys, err)
	}
	if info, err := s.Stat(ctx, "a/b"); err != nil || info.IsTerminal || info.Key != "a/b" {
		t.Errorf("a folder: %+v, %v", info, err)
	}
	if !s.Exists(ctx, "a/b") {
		t.Error("a folder is not there")
	}
	if err := s.Delete(ctx, "a/b"); err != nil {
		t.Fatal(err)
	}
	for key, want := range map[string]bool{"a/b/1": false, "a/b/c/3": false, "a/b": false, "a/bc/4": true, "ab/6": true, "A/7": true, "a/5": true} {
		if s.Exists(ctx, key) != want {
			t.Errorf("after the deletion of a/b, %s is there: %v", key, !want)
		}
	}
}

func testLocks(t *testing.T, s certmagic.Storage) {
	ctx := t.Context()
	if err := s.Lock(ctx, "one"); err != nil {
		t.Fatal(err)
	}
	if err := s.Lock(ctx, "another"); err != nil { // another name is another lock
		t.Fatal(err)
	}
	if got, err := s.(certmagic.TryLocker).TryLock(ctx, "one"); got {
		t.Errorf("a held lock was got: %v", err)
	}
	short, cancel := context.WithCancel(ctx)
	gaveUp := make(chan error, 1)
	go func() { gaveUp <- s.Lock(short, "one") }()
	cancel()
	if err := <-gaveUp; !errors.Is(err, context.Canceled) {
		t.Errorf("a wait that was given up: %v", err)
	}
	got := make(chan error, 1)
	go func() { got <- s.Lock(ctx, "one") }()
	if err := s.Unlock(ctx, "one"); err != nil {
		t.Fatal(err)
	}
	if err := <-got; err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"one", "another"} {
		if err := s.Unlock(ctx, name); err != nil {
			t.Error(err)
		}
	}
	if err := s.Unlock(ctx, "one"); err == nil {
		t.Error("what is not locked was unlocked")
	}
}

func testConcurrency(t *testing.T, s certmagic.Storage) {
	ctx := t.Context()
	var inside atomic.Int32
	var all sync.WaitGroup
	for worker := range 4 {
		all.Go(func() {
			for range 3 {
				if err := s.Lock(ctx, "shared"); err != nil {
					t.Error(err)
					return
				}
				if inside.Add(1) != 1 {
					t.Error("two have the lock")
				}
				inside.Add(-1)
				if err := s.Unlock(ctx, "shared"); err != nil {
					t.Error(err)
				}
			}
			for round := range 20 {
				if err := s.Store(ctx, "shared", bytes.Repeat([]byte{byte('a' + worker)}, 500+round)); err != nil {
					t.Error(err)
				}
				value, err := s.Load(ctx, "shared")
				if err != nil || len(value) < 500 || strings.Trim(string(value), string(value[:1])) != "" {
					t.Errorf("a mixture of %d bytes was read: %v", len(value), err)
				}
			}
		})
	}
	all.Wait()
}

func TestWhatIsStoredIsSealed(t *testing.T) {
	db, sealer := storetest.Open(t), storetest.Sealer(t)
	s := newTestStorage(t, db, sealer)
	if err := s.Store(t.Context(), "a/x.key", []byte("PRIVATE KEY")); err != nil {
		t.Fatal(err)
	}
	var sealed string
	if err := db.QueryRowContext(t.Context(), "SELECT sealed FROM certificate_files").Scan(&sealed); err != nil || strings.Contains(sealed, "PRIVATE") {
		t.Errorf("the database has %q, %v", sealed, err)
	}
	if _, err := newTestStorage(t, db, storetest.Sealer(t)).Load(t.Context(), "a/x.key"); !errors.Is(err, fs.ErrNotExist) || !strings.Contains(err.Error(), "secret.key") {
		t.Errorf("with another key: %v", err)
	}
	err := db.Write(t.Context(), func(tx *store.Tx) error {
		_, err := tx.Exec("UPDATE certificate_files SET key = 'b/y.key'")
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := s.Load(t.Context(), "b/y.key"); err == nil {
		t.Error("a value that was moved to another key opens")
	}
}

// TestALockOutlivesItsHolderByTheLease has one holder die, with the lease moved into the
// past instead of waited for. The nodes' own clocks are wrong.
func TestALockOutlivesItsHolderByTheLease(t *testing.T) {
	t.Run("SQLite", func(t *testing.T) { testLease(t, storetest.Open(t)) })
	t.Run("PostgreSQL", func(t *testing.T) { testLease(t, storetest.Postgres(t)(t)) })
}

func testLease(t *testing.T, db *store.DB) {
	sealer := storetest.Sealer(t)
	dead, next := newTestStorage(t, db, sealer), newTestStorage(t, db, sealer)
	dead.now = func() time.Time { return time.Now().Add(-time.Hour) }
	next.now = func() time.Time { return time.Now().Add(time.Hour) }
	if err := dead.Lock(t.Context(), "x"); err != nil {
		t.Fatal(err)
	}
	if err := dead.Close(); err != nil { // nobody renews any more
		t.Fatal(err)
	}
	if got, err := next.TryLock(t.Context(), "x"); got || err != nil {
		t.Errorf("the lock was got within the lease: %v", err)
	}
	expire(t, db)
	if got, err := next.TryLock(t.Context(), "x"); !got || err != nil {
		t.Fatalf("the lock of a dead holder was not got: %v", err)
	}
	// The first holder was only slow: its Unlock must not take away the other's.
	if err := dead.Unlock(t.Context(), "x"); err != nil {
		t.Errorf("unlock of a lost lock: %v", err)
	}
	third := newTestStorage(t, db, sealer)
	if got, err := third.TryLock(t.Context(), "x"); got || err != nil {
		t.Errorf("the lock is free although it is held: %v", err)
	}
	if err := next.renew(t.Context(), "x", "somebody else"); !errors.Is(err, errLockLost) {
		t.Errorf("renewing another's lock: %v", err)
	}
	expire(t, db)
	if err := next.renew(t.Context(), "x", next.held["x"].holder); err != nil {
		t.Fatal(err)
	}
	if got, err := third.TryLock(t.Context(), "x"); got || err != nil {
		t.Errorf("the lock is free although its lease was renewed: %v", err)
	}
	if err := next.Unlock(t.Context(), "x"); err != nil {
		t.Error(err)
	}
}

// expire ends all leases.
func expire(t *testing.T, db *store.DB) {
	t.Helper()
	err := db.Write(t.Context(), func(tx *store.Tx) error {
		_, err := tx.ExecContext(t.Context(), "UPDATE certificate_locks SET expires = expires - $1", (lease + time.Second).Nanoseconds())
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
}

func TestListingFromTheRoot(t *testing.T) {
	s := newTestStorage(t, storetest.Open(t), storetest.Sealer(t))
	if keys, err := s.List(t.Context(), "", true); err != nil || len(keys) != 0 {
		t.Errorf("an empty store: %v, %v", keys, err)
	}
	for n := range 3 {
		if err := s.Store(t.Context(), fmt.Sprintf("a/%d", n), nil); err != nil {
			t.Fatal(err)
		}
	}
	if keys, err := s.List(t.Context(), "", false); err != nil || !slices.Equal(keys, []string{"a"}) {
		t.Errorf("the root: %v, %v", keys, err)
	}
}
