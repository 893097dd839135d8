package store_test

import (
	"fmt"
	"path/filepath"
	"testing"
	"time"

	"github.com/m3o/ingress/internal/store"
)

// TestFollowHearsOfAnotherProcess: two programs share the database for as long as
// one takes the other's place.
func TestFollowHearsOfAnotherProcess(t *testing.T) {
	path := filepath.Join(t.TempDir(), "ingress.db")
	open := func() *store.DB {
		db, err := store.Open(t.Context(), path, discard)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() {
			if err := db.Close(); err != nil {
				t.Error(err)
			}
		})
		return db
	}
	old, successor := open(), open()
	heard := make(chan string, 10)
	successor.Subscribe(func(c store.Change) { heard <- c.Kind + " " + c.ID })
	change := func(name string) {
		t.Helper()
		if err := old.SetSetting(t.Context(), name, "x"); err != nil {
			t.Fatal(err)
		}
	}
	wants := func(names ...string) {
		t.Helper()
		for _, name := range names {
			select {
			case got := <-heard:
				if got != "setting "+name {
					t.Errorf("heard of %q, want %q", got, name)
				}
			case <-time.After(time.Minute):
				t.Fatalf("nothing was heard of %q", name)
			}
		}
	}
	change("before")
	since, err := store.LastChange(t.Context(), successor)
	if err != nil {
		t.Fatal(err)
	}
	change("between")
	ended, returned := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(returned)
		successor.Follow(t.Context(), since, ended)
	}()
	wants("between")
	for n := range 3 {
		name := fmt.Sprint("later", n)
		change(name)
		wants(name)
	}
	change("last")
	close(ended)
	wants("last")
	<-returned
	if len(heard) > 0 {
		t.Errorf("heard again of %q", <-heard)
	}
}
