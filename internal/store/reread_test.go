package store_test

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/m3o/ingress/internal/store"
)

// A change is told of once: what cannot be read at that moment is read until it can be.
func TestWhatCannotBeReadAtOnceIsReadAgain(t *testing.T) {
	var log bytes.Buffer // read when nobody writes any more
	db, err := store.Open(t.Context(), filepath.Join(t.TempDir(), "ingress.db"), slog.New(slog.NewTextHandler(&log, nil)))
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	answers := make(chan error, 10)
	read := make(chan string)
	run := db.Reread(func(ctx context.Context) error {
		select {
		case err := <-answers:
			return err
		default:
		}
		settings, err := db.Settings(ctx)
		if err == nil {
			read <- settings["a"]
		}
		return err
	}, "setting", "tenant")
	ctx, cancel := context.WithCancel(t.Context())
	var running sync.WaitGroup
	running.Go(func() { run(ctx) })

	away := &store.UnavailableError{Detail: "away", Cause: errors.New("cut")}
	answers <- away
	answers <- away
	for _, value := range []string{"first", "second"} {
		if err := db.SetSetting(t.Context(), "a", value); err != nil {
			t.Fatal(err)
		}
		if got := <-read; got != value {
			t.Errorf("%q was read, want %q", got, value)
		}
	}
	// What is of another kind, or wrong for good, is not read again.
	answers <- errors.New("wrong")
	if err := db.SetSetting(t.Context(), "a", "third"); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the wrong value to be read", func() bool { return len(answers) == 0 })
	err = db.Write(t.Context(), func(tx *store.Tx) error { return tx.Changed(t.Context(), "link", "b") })
	if err != nil {
		t.Fatal(err)
	}
	select {
	case got := <-read:
		t.Errorf("%q was read after a change of another kind", got)
	default:
	}
	cancel()
	running.Wait()
	if n := strings.Count(log.String(), "not in force"); n != 2 {
		t.Errorf("two failures are spoken of %d times:\n%s", n, &log)
	}
}
