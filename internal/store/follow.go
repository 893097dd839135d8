package store

import (
	"context"
	"fmt"
	"time"
)

// followEvery is how often Follow looks.
const followEvery = 200 * time.Millisecond

// LastChange returns the version of the latest change that q sees, 0 if there is none.
func LastChange(ctx context.Context, q Querier) (version int64, err error) {
	if err := q.QueryRowContext(ctx, "SELECT coalesce(max(version), 0) FROM changes").Scan(&version); err != nil {
		return 0, fmt.Errorf("read the change log: %w", err)
	}
	return version, nil
}

// Follow tells the subscribers of the changes after the version since, whoever
// makes them: it is for the time in which another process, whose place this one
// has taken, may still write to the same database. They hear of it soon after, and
// of a change of this process twice. Follow returns when ctx ends or, having looked
// once more, after ended is closed.
func (db *DB) Follow(ctx context.Context, since int64, ended <-chan struct{}) {
	tick := time.NewTicker(followEvery)
	defer tick.Stop()
	failed := false
	for last := false; ; {
		var err error
		since, err = db.publishSince(ctx, since)
		switch {
		case ctx.Err() != nil, last && err == nil:
			return
		case err != nil && !failed:
			db.log.Error("what another process changes cannot be read; trying again", "error", err)
		}
		failed = err != nil
		if last {
			ended = nil // only a success is missing
		}
		select {
		case <-ctx.Done():
			return
		case <-ended:
			last = true
		case <-tick.C:
		}
	}
}

// publishSince tells the subscribers of the changes after a version, and returns
// the version of the last one.
func (db *DB) publishSince(ctx context.Context, since int64) (int64, error) {
	rows, err := db.QueryContext(ctx, "SELECT version, kind, id FROM changes WHERE version > $1 ORDER BY version", since)
	if err != nil {
		return since, fmt.Errorf("read the change log: %w", err)
	}
	defer rows.Close()
	var changes []Change
	for rows.Next() {
		var c Change
		if err := rows.Scan(&c.Version, &c.Kind, &c.ID); err != nil {
			return since, fmt.Errorf("read the change log: %w", err)
		}
		changes = append(changes, c)
	}
	if err := rows.Err(); err != nil {
		return since, fmt.Errorf("read the change log: %w", classify(err))
	}
	db.publish(changes)
	if len(changes) > 0 {
		since = changes[len(changes)-1].Version
	}
	return since, nil
}
