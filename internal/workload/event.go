package workload

import (
	"context"
	"fmt"
	"time"

	"github.com/m3o/ingress/internal/api"
	"github.com/m3o/ingress/internal/store"
)

// keepEvents is how many events of a workload are kept.
const keepEvents = 100

// Event is a change of a version's state.
type Event struct {
	// Version is the number; 0 for what became of the workload itself.
	Version int64
	// State is the one entered, and Reason why.
	State  State
	Reason string
	// At is UTC.
	At time.Time
}

// Events returns what became of a workload of the caller's, newest first: the
// last hundred events.
func (r *Registry) Events(ctx context.Context, caller api.Caller, name string) ([]Event, error) {
	w, err := r.find(ctx, r.db, caller.Tenant, name)
	if err != nil {
		return nil, err
	}
	rows, err := r.db.QueryContext(ctx,
		"SELECT version, state, reason, at FROM workload_events WHERE kind = $1 AND id = $2 ORDER BY event DESC", string(r.kind), w.ID)
	if err != nil {
		return nil, fmt.Errorf("list events: %w", err)
	}
	defer rows.Close()
	var list []Event
	for rows.Next() {
		var e Event
		var at int64
		if err := rows.Scan(&e.Version, &e.State, &e.Reason, &at); err != nil {
			return nil, fmt.Errorf("list events: %w", err)
		}
		e.At = time.Unix(0, at).UTC()
		list = append(list, e)
	}
	if err := rows.Err(); err != nil {
		return nil, fmt.Errorf("list events: %w", err)
	}
	return list, nil
}

// record adds an event and drops the one that is too many.
func (r *Registry) record(ctx context.Context, tx *store.Tx, id string, e Event) error {
	var number int64
	err := tx.QueryRowContext(ctx, "UPDATE workloads SET events = events + 1 WHERE kind = $1 AND id = $2 RETURNING events",
		string(r.kind), id).Scan(&number)
	if err != nil {
		return fmt.Errorf("count an event: %w", err)
	}
	_, err = tx.ExecContext(ctx, `
		INSERT INTO workload_events (kind, id, event, version, state, reason, at) VALUES ($1, $2, $3, $4, $5, $6, $7)`,
		string(r.kind), id, number, e.Version, string(e.State), e.Reason, e.At.UnixNano())
	if err != nil {
		return fmt.Errorf("store an event: %w", err)
	}
	_, err = tx.ExecContext(ctx, "DELETE FROM workload_events WHERE kind = $1 AND id = $2 AND event <= $3",
		string(r.kind), id, number-keepEvents)
	if err != nil {
		return fmt.Errorf("drop old events: %w", err)
	}
	return nil
}
