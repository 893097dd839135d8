package store

import (
	"context"
	"fmt"
)

// PruneBatch is how many rows one transaction of Prune removes: others do not wait long
// for it, and what was left for days is removed at all.
const PruneBatch = 1000

// Prune removes rows, at most PruneBatch in each transaction, until there are none left
// to remove, and returns how many there were. The query is a DELETE whose last parameter
// is how many it may remove; args are those before it.
func (db *DB) Prune(ctx context.Context, query string, args ...any) (removed int64, err error) {
	args = append(args, PruneBatch)
	for {
		var some int64
		err := db.Write(ctx, func(tx *Tx) error {
			result, err := tx.ExecContext(ctx, query, args...)
			if err != nil {
				return err
			}
			some, err = result.RowsAffected()
			return err
		})
		if err != nil {
			return removed, err
		}
		if removed += some; some < PruneBatch {
			return removed, nil
		}
	}
}

// PruneChanges removes rows of the change log, and receipts, that nobody can still
// need.
func (db *DB) PruneChanges(ctx context.Context) error {
	err := db.pruneOld(ctx, "changes", "version")
	if err == nil && db.Shared() {
		err = db.pruneOld(ctx, "receipts", "id")
	}
	return err
}

// pruneOld removes what is older than keepChanges from a table.
func (db *DB) pruneOld(ctx context.Context, table, key string) error {
	_, err := db.Prune(ctx, fmt.Sprintf("DELETE FROM %[1]s WHERE %[2]s IN (SELECT %[2]s FROM %[1]s WHERE at < %[3]s - $1 LIMIT $2)",
		table, key, db.engine.now), keepChanges.Nanoseconds())
	return err
}
