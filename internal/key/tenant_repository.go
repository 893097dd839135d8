package key

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/m3o/ingress/internal/api"
	"github.com/m3o/ingress/internal/store"
)

// tenant is a row. Quotas are as stored: zero means the default.
type tenant struct {
	id, name string
	disabled bool
	created  time.Time
	quotas   api.Quotas
}

// errUnknownTenant says that there is no tenant with the id or name given.
var errUnknownTenant = errors.New("unknown tenant")

// errNameTaken says that a tenant with the name is already there.
var errNameTaken = errors.New("tenant name taken")

// withDefaults replaces the quotas that nobody set.
func withDefaults(q api.Quotas) api.Quotas {
	d := api.DefaultQuotas
	return api.Quotas{
		Apps:              cmp.Or(q.Apps, d.Apps),
		Functions:         cmp.Or(q.Functions, d.Functions),
		Links:             cmp.Or(q.Links, d.Links),
		Keys:              cmp.Or(q.Keys, d.Keys),
		VersionBytes:      cmp.Or(q.VersionBytes, d.VersionBytes),
		RequestsPerSecond: cmp.Or(q.RequestsPerSecond, d.RequestsPerSecond),
		Burst:             cmp.Or(q.Burst, d.Burst),
	}
}

// insertTenant writes a new tenant with default quotas, unless the name is
// taken, and announces it.
func insertTenant(ctx context.Context, tx *store.Tx, t tenant) (inserted bool, err error) {
	result, err := tx.ExecContext(ctx,
		"INSERT INTO tenants (id, name, created) VALUES ($1, $2, $3) ON CONFLICT (name) DO NOTHING",
		t.id, t.name, t.created.UnixNano())
	if err != nil {
		return false, fmt.Errorf("store a tenant: %w", err)
	}
	rows, err := result.RowsAffected()
	if err != nil || rows == 0 {
		return false, err
	}
	return true, tx.Changed(ctx, "tenant", t.id)
}

// createTenant writes a new tenant and its first key; errNameTaken when there is
// a tenant of that name.
func (r repository) createTenant(ctx context.Context, t tenant, first key, h hash) error {
	return r.db.Write(ctx, func(tx *store.Tx) error {
		inserted, err := insertTenant(ctx, tx, t)
		if err != nil {
			return err
		}
		if !inserted {
			return errNameTaken
		}
		return insert(ctx, tx, first, h)
	})
}

// tenantID returns the id of the tenant with that id or name, or
// errUnknownTenant. Ids contain a "_" and names do not, so they are never
// confused.
func tenantID(ctx context.Context, q store.Querier, idOrName string) (string, error) {
	if !store.IsText(idOrName) {
		return "", errUnknownTenant
	}
	var id string
	err := q.QueryRowContext(ctx, "SELECT id FROM tenants WHERE id = $1 OR name = $1", idOrName).Scan(&id)
	if store.IsNoRows(err) {
		return "", errUnknownTenant
	}
	if err != nil {
		return "", fmt.Errorf("look up a tenant: %w", err)
	}
	return id, nil
}

// tenants returns all tenants, oldest first.
func (r repository) tenants(ctx context.Context) ([]tenant, error) {
	rows, err := r.db.QueryContext(ctx, `
		SELECT id, name, disabled, created, quota_apps, quota_functions, quota_links, quota_keys,
			quota_version_bytes, quota_requests_per_second, quota_burst
		FROM tenants ORDER BY created, id`)
	if err != nil {
		return nil, fmt.Errorf("list tenants: %w", err)
	}
	defer rows.Close()
	var tenants []tenant
	for rows.Next() {
		var t tenant
		var created int64
		q := &t.quotas
		err := rows.Scan(&t.id, &t.name, &t.disabled, &created, &q.Apps, &q.Functions, &q.Links, &q.Keys,
			&q.VersionBytes, &q.RequestsPerSecond, &q.Burst)
		if err != nil {
			return nil, fmt.Errorf("list tenants: %w", err)
		}
		t.created = time.Unix(0, created)
		tenants = append(tenants, t)
	}
	if err := rows.Err(); err != nil {
		return nil, fmt.Errorf("list tenants: %w", err)
	}
	return tenants, nil
}

// setDisabled ends or restores the access of a tenant and announces it.
func (r repository) setDisabled(ctx context.Context, id string, disabled bool) error {
	return r.updateTenant(ctx, id, "UPDATE tenants SET disabled = $2 WHERE id = $1", disabled)
}

// setQuotas replaces a tenant's quotas and announces it.
func (r repository) setQuotas(ctx context.Context, id string, q api.Quotas) error {
	return r.updateTenant(ctx, id, `
		UPDATE tenants SET quota_apps = $2, quota_functions = $3, quota_links = $4, quota_keys = $5,
			quota_version_bytes = $6, quota_requests_per_second = $7, quota_burst = $8
		WHERE id = $1`,
		q.Apps, q.Functions, q.Links, q.Keys, q.VersionBytes, q.RequestsPerSecond, q.Burst)
}

// updateTenant runs an update whose first argument is the tenant's id.
func (r repository) updateTenant(ctx context.Context, id, query string, args ...any) error {
	return r.db.Write(ctx, func(tx *store.Tx) error {
		if _, err := tx.ExecContext(ctx, query, append([]any{id}, args...)...); err != nil {
			return fmt.Errorf("update a tenant: %w", err)
		}
		return tx.Changed(ctx, "tenant", id)
	})
}
