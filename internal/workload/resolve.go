package workload

import (
	"context"
	"fmt"
	"net/url"

	"github.com/m3o/ingress/internal/api"
	"github.com/m3o/ingress/internal/store"
)

// Backend returns where requests to an id go, whoever asks: visitors have no
// tenant. An error for which api.IsNotFound holds means that there is no such
// id; any other, that the store could not tell.
func (r *Registry) Backend(ctx context.Context, id string) (Backend, error) {
	b, _, err := r.backend(ctx, id)
	return b, err
}

// backend returns the current version's number as well.
func (r *Registry) backend(ctx context.Context, id string) (Backend, int64, error) {
	if !ValidID(id) {
		return Backend{}, 0, api.NotFound(string(r.kind))
	}
	w := record{Workload: Workload{ID: id}}
	pending := r.journal.pending()
	err := r.db.QueryRowContext(ctx, `
		SELECT w.tenant, w.backend, w.current_version, coalesce(c.state, ''), coalesce(c.reason, ''),
			coalesce(v.number, 0), coalesce(v.state, ''), coalesce(v.reason, '')`+joined+"WHERE w.kind = $1 AND w.id = $2",
		string(r.kind), id).Scan(&w.Tenant, &w.Backend, &w.Current, &w.current.state, &w.current.reason,
		&w.wanted.Number, &w.wanted.State, &w.wanted.Reason)
	if store.IsNoRows(err) {
		return Backend{}, 0, api.NotFound(string(r.kind))
	}
	if err != nil {
		return Backend{}, 0, fmt.Errorf("resolve %s %s: %w", r.kind, id, err)
	}
	w.overlay(pending[id])
	w.derive()
	b := Backend{Key: string(r.kind) + "/" + id, Tenant: w.Tenant, Managed: w.Managed(), State: w.State, Reason: w.Reason}
	if w.Managed() {
		return b, w.Current, nil
	}
	u, err := url.Parse(w.Backend)
	if err != nil {
		return Backend{}, 0, fmt.Errorf("resolve %s %s: %w", r.kind, id, err)
	}
	b.URL = *u
	return b, 0, nil
}

// Resolve returns the address behind an id for a caller's Resolve or Proxy;
// method is the error id. It answers for the caller's own ids, and for everybody's
// when the key has the scope "resolve", as an ingress's own has. An id of another
// tenant is not found, rather than forbidden, so that ids cannot be probed. For
// what runs here that is its public address, because a loopback port is nobody
// else's, and nothing until its first version answers.
func (r *Registry) Resolve(ctx context.Context, caller api.Caller, method, id string) (string, error) {
	if id == "" {
		return "", api.BadRequest(method, "missing id")
	}
	if !ValidID(id) {
		return "", api.BadRequest(method, "invalid id")
	}
	b, current, err := r.backend(ctx, id)
	if api.IsNotFound(err) || err == nil && b.Tenant != caller.Tenant && !caller.Has(api.ScopeResolve) {
		return "", api.NotFound(method)
	}
	if err == nil && current != 0 {
		return r.publicURL(id), nil
	}
	return b.URL.String(), err
}
