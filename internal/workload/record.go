package workload

import (
	"context"
	"fmt"
	"net/url"
	"time"

	"github.com/m3o/ingress/internal/api"
	"github.com/m3o/ingress/internal/store"
)

// record is a workload as it is stored.
type record struct {
	Workload
	env sealedEnv
}

const columns = "id, tenant, name, state, reason, region, backend, env, created, updated"

// Get returns a workload of the caller's, or ErrNotFound.
func (r *Registry) Get(ctx context.Context, caller api.Caller, name string) (Workload, error) {
	w, err := r.find(ctx, r.db, caller.Tenant, name)
	return w.Workload, err
}

// List returns the caller's workloads, oldest first.
func (r *Registry) List(ctx context.Context, caller api.Caller) ([]Workload, error) {
	rows, err := r.db.QueryContext(ctx,
		"SELECT "+columns+" FROM workloads WHERE kind = $1 AND tenant = $2 ORDER BY created, id",
		string(r.kind), caller.Tenant)
	if err != nil {
		return nil, fmt.Errorf("list workloads: %w", err)
	}
	defer rows.Close()
	var list []Workload
	for rows.Next() {
		w, err := scan(rows)
		if err != nil {
			return nil, fmt.Errorf("list workloads: %w", err)
		}
		list = append(list, w.Workload)
	}
	if err := rows.Err(); err != nil {
		return nil, fmt.Errorf("list workloads: %w", err)
	}
	return list, nil
}

// Backend returns where requests to an id go, whoever asks: visitors have no
// tenant. An error for which api.IsNotFound holds means that there is no such
// id; any other, that the store could not tell.
func (r *Registry) Backend(ctx context.Context, id string) (Backend, error) {
	if !ValidID(id) {
		return Backend{}, api.NotFound(string(r.kind))
	}
	b := Backend{Key: string(r.kind) + "/" + id}
	var address string
	err := r.db.QueryRowContext(ctx, "SELECT tenant, state, backend FROM workloads WHERE kind = $1 AND id = $2",
		string(r.kind), id).Scan(&b.Tenant, &b.State, &address)
	if store.IsNoRows(err) {
		return Backend{}, api.NotFound(string(r.kind))
	}
	if err != nil {
		return Backend{}, fmt.Errorf("resolve %s %s: %w", r.kind, id, err)
	}
	if b.State != Ready {
		return b, nil
	}
	u, err := url.Parse(address)
	if err != nil {
		return Backend{}, fmt.Errorf("resolve %s %s: %w", r.kind, id, err)
	}
	b.URL = *u
	return b, nil
}

// Resolve returns the address behind an id for a caller's Resolve or Proxy;
// method is the error id. It answers for the caller's own ids, and for everybody's
// when the key has the scope "resolve", as an ingress's own has. An id of another
// tenant is not found, rather than forbidden, so that ids cannot be probed. The
// address is empty while the workload is being deployed.
func (r *Registry) Resolve(ctx context.Context, caller api.Caller, method, id string) (string, error) {
	if id == "" {
		return "", api.BadRequest(method, "missing id")
	}
	if !ValidID(id) {
		return "", api.BadRequest(method, "invalid id")
	}
	b, err := r.Backend(ctx, id)
	if api.IsNotFound(err) || err == nil && b.Tenant != caller.Tenant && !caller.Has(api.ScopeResolve) {
		return "", api.NotFound(method)
	}
	return b.URL.String(), err
}

// find returns the tenant's workload of that name, or ErrNotFound.
func (r *Registry) find(ctx context.Context, q store.Querier, tenant, name string) (record, error) {
	w, err := scan(q.QueryRowContext(ctx,
		"SELECT "+columns+" FROM workloads WHERE kind = $1 AND tenant = $2 AND name = $3",
		string(r.kind), tenant, name))
	if store.IsNoRows(err) {
		return record{}, ErrNotFound
	}
	if err != nil {
		return record{}, fmt.Errorf("read a workload: %w", err)
	}
	return w, nil
}

func scan(row interface{ Scan(dest ...any) error }) (record, error) {
	var w record
	var env string
	var created, updated int64
	err := row.Scan(&w.ID, &w.Tenant, &w.Name, &w.State, &w.Reason, &w.Region, &w.Backend, &env, &created, &updated)
	if err != nil {
		return record{}, err
	}
	if w.env, err = parseSealedEnv(env); err != nil {
		return record{}, err
	}
	w.Env = w.env.names()
	w.Created, w.Updated = time.Unix(0, created).UTC(), time.Unix(0, updated).UTC()
	return w, nil
}

func (r *Registry) insert(ctx context.Context, tx *store.Tx, w record) error {
	env, err := w.env.text()
	if err != nil {
		return err
	}
	_, err = tx.ExecContext(ctx,
		"INSERT INTO workloads (kind, "+columns+") VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11)",
		string(r.kind), w.ID, w.Tenant, w.Name, string(w.State), w.Reason, w.Region, w.Backend, env,
		w.Created.UnixNano(), w.Updated.UnixNano())
	if store.IsConflict(err) {
		return ErrExists // made by another node since find looked
	}
	if err != nil {
		return fmt.Errorf("store a workload: %w", err)
	}
	return nil
}

// save writes what Update may change.
func (r *Registry) save(ctx context.Context, tx *store.Tx, w record) error {
	env, err := w.env.text()
	if err != nil {
		return err
	}
	_, err = tx.ExecContext(ctx, `
		UPDATE workloads SET state = $1, reason = $2, backend = $3, env = $4, updated = $5
		WHERE kind = $6 AND id = $7 AND tenant = $8`,
		string(w.State), w.Reason, w.Backend, env, w.Updated.UnixNano(), string(r.kind), w.ID, w.Tenant)
	if err != nil {
		return fmt.Errorf("store a workload: %w", err)
	}
	return nil
}
