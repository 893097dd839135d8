package key

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/m3o/ingress/internal/api"
	"github.com/m3o/ingress/internal/store"
)

// repository is every query on keys. Those of tenants are in
// tenant_repository.go.
type repository struct{ db *store.DB }

// key is a row without its hash.
type key struct {
	id, tenant  string
	scopes      []string
	description string
	bootstrap   bool
	created     time.Time
	lastSeen    int64 // Unix seconds, 0 for never
}

// caller returns who the key with this hash is, or nil when there is no such key
// or its tenant is disabled.
func (r repository) caller(ctx context.Context, h hash) (*api.Caller, error) {
	var caller api.Caller
	var scopes string
	q := &caller.Quotas
	err := r.db.QueryRowContext(ctx, `
		SELECT k.id, k.tenant, k.scopes, k.bootstrap,
			t.quota_apps, t.quota_functions, t.quota_links, t.quota_keys,
			t.quota_version_bytes, t.quota_requests_per_second, t.quota_burst
		FROM keys k JOIN tenants t ON t.id = k.tenant
		WHERE k.hash = $1 AND NOT t.disabled`, h[:]).
		Scan(&caller.KeyID, &caller.Tenant, &scopes, &caller.Unlimited,
			&q.Apps, &q.Functions, &q.Links, &q.Keys, &q.VersionBytes, &q.RequestsPerSecond, &q.Burst)
	if store.IsNoRows(err) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("look up a key: %w", err)
	}
	caller.Scopes = strings.Fields(scopes)
	caller.Quotas = withDefaults(caller.Quotas)
	return &caller, nil
}

// insert writes a new key and announces it.
func insert(ctx context.Context, tx *store.Tx, k key, h hash) error {
	_, err := tx.ExecContext(ctx, `
		INSERT INTO keys (id, tenant, hash, scopes, description, bootstrap, created)
		VALUES ($1, $2, $3, $4, $5, $6, $7)`,
		k.id, k.tenant, h[:], strings.Join(k.scopes, " "), k.description, k.bootstrap, k.created.UnixNano())
	if err != nil {
		return fmt.Errorf("store a key: %w", err)
	}
	return tx.Changed(ctx, "key", k.id)
}

// create writes a new key unless the tenant has as many as it may. It returns
// errUnknownTenant, or a *quotaError.
func (r repository) create(ctx context.Context, k key, h hash) error {
	return r.db.Write(ctx, func(tx *store.Tx) error {
		quota, err := lockTenant(ctx, tx, k.tenant)
		if err != nil {
			return err
		}
		var have int64
		if err := tx.QueryRowContext(ctx, "SELECT COUNT(*) FROM keys WHERE tenant = $1", k.tenant).Scan(&have); err != nil {
			return fmt.Errorf("count the keys of a tenant: %w", err)
		}
		if have >= quota {
			return &quotaError{quota}
		}
		return insert(ctx, tx, k, h)
	})
}

// quotaError says that a tenant has as many keys as it may.
type quotaError struct{ keys int64 }

func (e *quotaError) Error() string { return fmt.Sprintf("the quota of %d keys is reached", e.keys) }

// lockTenant makes other transactions that lock the same tenant wait until this
// one ends, so that two cannot both find room for the last key, and returns its
// quota of keys.
func lockTenant(ctx context.Context, tx *store.Tx, id string) (quota int64, err error) {
	err = tx.QueryRowContext(ctx, "UPDATE tenants SET id = id WHERE id = $1 RETURNING quota_keys", id).Scan(&quota)
	if store.IsNoRows(err) {
		return 0, errUnknownTenant
	}
	if err != nil {
		return 0, fmt.Errorf("lock a tenant: %w", err)
	}
	return withDefaults(api.Quotas{Keys: quota}).Keys, nil
}

// list returns the keys of a tenant, oldest first.
func (r repository) list(ctx context.Context, tenant string) ([]key, error) {
	rows, err := r.db.QueryContext(ctx, `
		SELECT id, tenant, scopes, description, bootstrap, created, last_seen
		FROM keys WHERE tenant = $1 ORDER BY created, id`, tenant)
	if err != nil {
		return nil, fmt.Errorf("list keys: %w", err)
	}
	defer rows.Close()
	var keys []key
	for rows.Next() {
		var k key
		var scopes string
		var created int64
		if err := rows.Scan(&k.id, &k.tenant, &scopes, &k.description, &k.bootstrap, &created, &k.lastSeen); err != nil {
			return nil, fmt.Errorf("list keys: %w", err)
		}
		k.scopes, k.created = strings.Fields(scopes), time.Unix(0, created)
		keys = append(keys, k)
	}
	if err := rows.Err(); err != nil {
		return nil, fmt.Errorf("list keys: %w", err)
	}
	return keys, nil
}

// revoke deletes a key of the tenant for which allowed returns nil, remembers it
// when it is the bootstrap key, and announces it. It reports whether there was
// one.
func (r repository) revoke(ctx context.Context, tenant, id string, now time.Time, allowed func(scopes []string) error) (found bool, err error) {
	if !store.IsText(id) {
		return false, nil
	}
	err = r.db.Write(ctx, func(tx *store.Tx) error {
		var h []byte
		var scopes string
		var bootstrap bool
		found = false
		err := tx.QueryRowContext(ctx, "DELETE FROM keys WHERE id = $1 AND tenant = $2 RETURNING hash, scopes, bootstrap", id, tenant).
			Scan(&h, &scopes, &bootstrap)
		if store.IsNoRows(err) {
			return nil
		}
		if err != nil {
			return fmt.Errorf("delete a key: %w", err)
		}
		if err := allowed(strings.Fields(scopes)); err != nil {
			return err
		}
		if bootstrap {
			if _, err := tx.ExecContext(ctx, "INSERT INTO revoked_bootstrap_keys (hash, revoked) VALUES ($1, $2)", h, now.UnixNano()); err != nil {
				return fmt.Errorf("remember a revoked bootstrap key: %w", err)
			}
		}
		found = true
		return tx.Changed(ctx, "key", id)
	})
	return found, err
}

// seenBatch is how many keys one transaction updates, so that other writers do
// not wait long.
const seenBatch = 500

// saveSeen writes when keys were last used. Keys that are gone are skipped.
func (r repository) saveSeen(ctx context.Context, seen map[string]int64) error {
	for ids := range slices.Chunk(slices.Sorted(maps.Keys(seen)), seenBatch) {
		err := r.db.Write(ctx, func(tx *store.Tx) error {
			for _, id := range ids {
				_, err := tx.ExecContext(ctx, "UPDATE keys SET last_seen = $1 WHERE id = $2 AND last_seen < $1", seen[id], id)
				if err != nil {
					return fmt.Errorf("write when keys were last used: %w", err)
				}
			}
			return nil
		})
		if err != nil {
			return err
		}
	}
	return nil
}
