// Package storetest gives tests a real database in a temporary directory.
package storetest

import (
	"log/slog"
	"os"
	"path/filepath"
	"testing"

	"github.com/m3o/ingress/internal/store"
)

// Open returns an empty database that is closed when the test ends.
func Open(t testing.TB) *store.DB {
	t.Helper()
	db, err := store.Open(t.Context(), filepath.Join(memoryDir(t), "ingress.db"), slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatalf("open a database: %v", err)
	}
	t.Cleanup(func() {
		if err := db.Close(); err != nil {
			t.Errorf("close the database: %v", err)
		}
	})
	return db
}

// memoryDir is a directory that ends with the test, in memory where there is such a place:
// every transaction waits for the disk otherwise, which no crash of the machine is tested with.
func memoryDir(t testing.TB) string {
	t.Helper()
	dir, err := os.MkdirTemp("/dev/shm", "store")
	if err != nil {
		return t.TempDir()
	}
	t.Cleanup(func() {
		if err := os.RemoveAll(dir); err != nil {
			t.Error(err)
		}
	})
	return dir
}

// OpenConflicting is Open with every transaction run twice, as one is that another
// gets in the way of.
func OpenConflicting(t testing.TB) *store.DB {
	t.Helper()
	db := Open(t)
	db.SimulateConflicts()
	return db
}

// Sealer returns a sealer with a fresh key.
func Sealer(t testing.TB) *store.Sealer {
	t.Helper()
	sealer, err := store.OpenSealer(filepath.Join(t.TempDir(), "secret.key"), "")
	if err != nil {
		t.Fatalf("make a sealer: %v", err)
	}
	return sealer
}
