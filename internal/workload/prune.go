package workload

import (
	"context"
	"fmt"

	"github.com/m3o/ingress/internal/store"
)

// Kept is what the store knows of: the ids of workloads, and of each the numbers
// of the versions whose folders have not been pruned.
type Kept map[string]map[int64]bool

// Workload reports whether there is a workload of that id.
func (k Kept) Workload(id string) bool { return k[id] != nil }

// Version reports whether the version's folder may be needed.
func (k Kept) Version(id string, number int64) bool { return k[id][number] }

// Kept returns what of the data directory is somebody's. To find strays, list the
// folders first and ask then: the folder of a version is made after its row.
func (r *Registry) Kept(ctx context.Context) (Kept, error) {
	rows, err := r.db.QueryContext(ctx, `
		SELECT w.id, coalesce(v.number, 0) FROM workloads w
		LEFT JOIN workload_versions v ON v.kind = w.kind AND v.id = w.id AND v.available = TRUE
		WHERE w.kind = $1`, string(r.kind))
	if err != nil {
		return nil, fmt.Errorf("find what is kept: %w", err)
	}
	defer rows.Close()
	kept := Kept{}
	for rows.Next() {
		var id string
		var number int64
		if err := rows.Scan(&id, &number); err != nil {
			return nil, fmt.Errorf("find what is kept: %w", err)
		}
		if kept[id] == nil {
			kept[id] = map[int64]bool{}
		}
		if number != 0 {
			kept[id][number] = true
		}
	}
	if err := rows.Err(); err != nil {
		return nil, fmt.Errorf("find what is kept: %w", err)
	}
	return kept, nil
}

// Tenants returns the tenants that have workloads of this kind, in no order.
func (r *Registry) Tenants(ctx context.Context) ([]string, error) {
	rows, err := r.db.QueryContext(ctx, "SELECT DISTINCT tenant FROM workloads WHERE kind = $1", string(r.kind))
	if err != nil {
		return nil, fmt.Errorf("find tenants with workloads: %w", err)
	}
	defer rows.Close()
	var tenants []string
	for rows.Next() {
		var tenant string
		if err := rows.Scan(&tenant); err != nil {
			return nil, fmt.Errorf("find tenants with workloads: %w", err)
		}
		tenants = append(tenants, tenant)
	}
	if err := rows.Err(); err != nil {
		return nil, fmt.Errorf("find tenants with workloads: %w", err)
	}
	return tenants, nil
}

// Prune marks the versions of a workload beyond the newest keep as unavailable,
// and returns their numbers, newest first: their folders may go now. It spares
// the current version, the one asked for last, those on their way or draining,
// and the one a rollback would go to.
func (r *Registry) Prune(ctx context.Context, id string, keep int) ([]int64, error) {
	var gone []int64
	err := r.write(ctx, func(tx *store.Tx) error {
		gone = nil
		w, err := r.byID(ctx, tx, id)
		if err != nil {
			return err
		}
		rows, err := r.versionRows(ctx, tx, listed,
			"WHERE v.kind = $1 AND v.id = $2 AND v.available = TRUE ORDER BY v.number DESC", string(r.kind), id)
		if err != nil {
			return err
		}
		back := int64(0)
		for i, v := range rows {
			if back == 0 && v.good && v.Built() && v.Number < w.Current {
				back = v.Number
			}
			if i < keep || v.Number == w.Current || v.Number == w.wanted.Number || v.Number == back || v.State.OnItsWay() || v.State == Draining {
				continue
			}
			v.Available = false
			if err := r.saveVersion(ctx, tx, v); err != nil {
				return err
			}
			if err := r.dropFiles(ctx, tx, v); err != nil {
				return err
			}
			gone = append(gone, v.Number)
		}
		if len(gone) == 0 {
			return nil
		}
		return tx.Changed(ctx, string(r.kind), id)
	})
	return gone, err
}

// dropFiles forgets the content of a version's inline files.
func (r *Registry) dropFiles(ctx context.Context, tx *store.Tx, v versionRow) error {
	_, err := tx.ExecContext(ctx, "UPDATE workload_versions SET files = '' WHERE kind = $1 AND id = $2 AND number = $3",
		string(r.kind), v.id, v.Number)
	if err != nil {
		return fmt.Errorf("drop the files of a version: %w", err)
	}
	return nil
}
