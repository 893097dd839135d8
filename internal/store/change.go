package store

import (
	"context"
	"fmt"
	"time"
)

// Change says that something a cache may hold is no longer what it was.
type Change struct {
	// Version grows with every change.
	Version int64
	// Kind is what changed: "app", "function", "link", "key", "tenant", "setting",
	// "domain", "account" or "certificate".
	Kind string
	// ID is which one.
	ID string
}

// keepChanges is how long the change log reaches back: far longer than a node goes
// without reading it, unless it cannot (OnGap).
const keepChanges = 24 * time.Hour

// Changed announces a change in the transaction that makes it: a row in the
// change log, and, once committed, a call to every subscriber.
func (tx *Tx) Changed(ctx context.Context, kind, id string) error {
	c := Change{Kind: kind, ID: id}
	err := tx.QueryRowContext(ctx, "INSERT INTO changes (kind, id, at) VALUES ($1, $2, "+tx.now+") RETURNING version", kind, id).Scan(&c.Version)
	if err != nil {
		return fmt.Errorf("record the change of %s: %w", kind, classify(err))
	}
	tx.changes = append(tx.changes, c)
	return nil
}

// Subscribe has f called after every commit that announced changes, before the
// write is acknowledged: whoever made the change finds it in force. f must be
// quick and must not write to the database. There is no way to unsubscribe; a
// subscriber lives as long as the DB.
func (db *DB) Subscribe(f func(Change)) {
	db.mu.Lock()
	defer db.mu.Unlock()
	db.subscribers = append(db.subscribers, f)
}

// OnGap has f called when changes of other nodes may have been missed: this one could
// not reach the database for very long, or found another server behind its address.
// f must forget or read anew what subscribers keep. When it returns an error, it is
// called again.
func (db *DB) OnGap(f func(ctx context.Context) error) {
	db.mu.Lock()
	defer db.mu.Unlock()
	db.gaps = append(db.gaps, f)
}

// crossGap calls what OnGap was given.
func (db *DB) crossGap(ctx context.Context) error {
	db.mu.Lock()
	gaps := db.gaps
	db.mu.Unlock()
	for _, f := range gaps {
		if err := f(ctx); err != nil {
			return fmt.Errorf("make up for missed changes: %w", err)
		}
	}
	return nil
}

func (db *DB) publish(changes []Change) {
	if len(changes) == 0 {
		return
	}
	db.mu.Lock()
	subscribers := db.subscribers
	db.mu.Unlock()
	for _, c := range changes {
		for _, f := range subscribers {
			f(c)
		}
	}
}
