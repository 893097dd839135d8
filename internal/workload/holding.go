package workload

import (
	"context"
	"fmt"
	"math"
	"time"

	"github.com/m3o/ingress/internal/api"
	"github.com/m3o/ingress/internal/store"
)

// keepID is how long a deleted workload's id is kept from other tenants, so that
// nobody inherits its visitors (DESIGN 6).
const keepID = 30 * 24 * time.Hour

// inUse is the deadline of an id that a workload has.
const inUse = math.MaxInt64

// churn is how many times its quota of ids a tenant may hold after deleting
// their workloads. Without a bound, making and deleting in a loop would take
// every good name away from the others.
const churn = 10

// suffixTries is how many random ids are tried. At 40 random bits a second try
// is already next to impossible.
const suffixTries = 4

// takeID gives the tenant an id for a name: the one it holds for that name
// already, or the name, or the name with a suffix.
func (r *Registry) takeID(ctx context.Context, tx *store.Tx, caller api.Caller, name string, now time.Time) (string, error) {
	if err := r.dropLapsed(ctx, tx, caller.Tenant, name, now); err != nil {
		return "", err
	}
	held, err := r.heldID(ctx, tx, caller.Tenant, name)
	if err != nil {
		return "", err
	}
	if held != "" {
		if ok, err := r.claim(ctx, tx, caller.Tenant, name, held); ok || err != nil {
			return held, err
		}
	}
	if err := r.checkChurn(ctx, tx, caller); err != nil {
		return "", err
	}
	for try := range suffixTries {
		id := name
		if try > 0 {
			id += "-" + r.suffix()
		}
		if ok, err := r.claim(ctx, tx, caller.Tenant, name, id); ok || err != nil {
			return id, err
		}
	}
	return "", fmt.Errorf("find an id for a %s: %d in a row were taken", r.kind, suffixTries)
}

// dropLapsed removes the rows that hold nothing any more, as far as they could
// be in the way: the tenant's own and that of the name.
func (r *Registry) dropLapsed(ctx context.Context, tx *store.Tx, tenant, name string, now time.Time) error {
	_, err := tx.ExecContext(ctx, `
		DELETE FROM identities WHERE owner IN (
			SELECT kind || '/' || id || '/' || tenant FROM workload_ids
			WHERE kind = $1 AND (id = $2 OR tenant = $3) AND used_until <= $4 AND reserved_until <= $4)`,
		string(r.kind), name, tenant, now.UnixNano())
	if err != nil {
		return fmt.Errorf("drop lapsed identities: %w", err)
	}
	_, err = tx.ExecContext(ctx, `
		DELETE FROM workload_ids
		WHERE kind = $1 AND (id = $2 OR tenant = $3) AND used_until <= $4 AND reserved_until <= $4`,
		string(r.kind), name, tenant, now.UnixNano())
	if err != nil {
		return fmt.Errorf("drop lapsed ids: %w", err)
	}
	return nil
}

// heldID returns the id the tenant holds for a name, or "". The plain one is
// preferred: a tenant that had to do with a suffix may have reserved the name
// since.
func (r *Registry) heldID(ctx context.Context, tx *store.Tx, tenant, name string) (string, error) {
	var id string
	err := tx.QueryRowContext(ctx, `
		SELECT id FROM workload_ids WHERE kind = $1 AND tenant = $2 AND name = $3
		ORDER BY length(id), used_until DESC LIMIT 1`,
		string(r.kind), tenant, name).Scan(&id)
	if err != nil && !store.IsNoRows(err) {
		return "", fmt.Errorf("find a held id: %w", err)
	}
	return id, nil
}

// claim marks an id as in use by the tenant, and returns false when another
// tenant holds it. The primary key decides between two who try at once.
func (r *Registry) claim(ctx context.Context, tx *store.Tx, tenant, name, id string) (bool, error) {
	result, err := tx.ExecContext(ctx, `
		INSERT INTO workload_ids (kind, id, tenant, name, used_until, reserved, reserved_until, token_hash)
		VALUES ($1, $2, $3, $4, $5, 0, 0, '')
		ON CONFLICT (kind, id) DO UPDATE SET used_until = excluded.used_until
		WHERE workload_ids.tenant = excluded.tenant`,
		string(r.kind), id, tenant, name, int64(inUse))
	if err != nil {
		return false, fmt.Errorf("claim an id: %w", err)
	}
	n, err := result.RowsAffected()
	if err != nil {
		return false, fmt.Errorf("claim an id: %w", err)
	}
	return n == 1, nil
}

// checkChurn refuses a new id to a tenant that holds too many unused ones.
func (r *Registry) checkChurn(ctx context.Context, tx *store.Tx, caller api.Caller) error {
	var held int64
	err := tx.QueryRowContext(ctx, `
		SELECT count(*) FROM workload_ids
		WHERE kind = $1 AND tenant = $2 AND used_until > 0 AND used_until < $3`,
		string(r.kind), caller.Tenant, int64(inUse)).Scan(&held)
	if err != nil {
		return fmt.Errorf("count the ids of a tenant: %w", err)
	}
	if held >= churn*r.kind.quota(caller) {
		return &QuotaError{Reason: fmt.Sprintf("%d names were used and deleted in the last 30 days; use one of them again", held)}
	}
	return nil
}

// releaseID starts the time for which a deleted workload's id is kept.
func (r *Registry) releaseID(ctx context.Context, tx *store.Tx, tenant, id string, now time.Time) error {
	_, err := tx.ExecContext(ctx,
		"UPDATE workload_ids SET used_until = $1 WHERE kind = $2 AND id = $3 AND tenant = $4",
		now.Add(keepID).UnixNano(), string(r.kind), id, tenant)
	if err != nil {
		return fmt.Errorf("release an id: %w", err)
	}
	return nil
}
