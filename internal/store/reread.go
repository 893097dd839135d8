package store

import (
	"context"
	"errors"
	"slices"
	"time"
)

// rereadAfter is how long what could not be read is left alone.
const rereadAfter = time.Second

// Reread has f called after changes of the kinds, made here or by another node, and when
// some may have been missed (OnGap): for what is read anew rather than told by a change.
// It follows from the call on, and calls f in what it returns, which runs until its
// context ends. What could not be read because the database is away is read again, since
// nobody tells of a change twice; f's error is logged once in a row.
func (db *DB) Reread(f func(ctx context.Context) error, kinds ...string) (run func(ctx context.Context)) {
	changed := make(chan struct{}, 1)
	db.Subscribe(func(c Change) {
		if slices.Contains(kinds, c.Kind) {
			signal(changed)
		}
	})
	db.OnGap(func(context.Context) error { signal(changed); return nil })
	return func(ctx context.Context) {
		var again <-chan time.Time
		for {
			repeated := false
			select {
			case <-changed:
			case <-again:
				repeated = true
			case <-ctx.Done():
				return
			}
			again = nil
			err := f(ctx)
			if err != nil && ctx.Err() == nil && !repeated {
				db.log.Error("what has changed in the database is not in force here", "kinds", kinds, "error", err)
			}
			if _, away := errors.AsType[*UnavailableError](err); away {
				again = time.After(rereadAfter)
			}
		}
	}
}
