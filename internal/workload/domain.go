package workload

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/m3o/ingress/internal/api"
	"github.com/m3o/ingress/internal/store"
)

// MaxDomains is how many host names of its own a workload may have.
const MaxDomains = 20

// changeDomain is the kind of change that a host name's way is.
const changeDomain = "domain"

var (
	// ErrNoDomain: the workload has no such host name.
	ErrNoDomain = errors.New("it has no such domain")
	// ErrDomainTaken: the name is, or was, another tenant's, and the proof given is
	// one that both could have.
	ErrDomainTaken = errors.New("the domain is or was another tenant's")
)

// Proof is how sure it is that a host name is a tenant's.
type Proof int

const (
	// ProofAlias: the name is an alias of the workload's own address. Whoever made
	// it meant the workload that had the id then.
	ProofAlias Proof = iota
	// ProofTenant: a record beside the name says that it is this tenant's.
	ProofTenant
)

// AddDomain has a host name, in its normal form, lead to a workload of the
// caller's. The error is ErrDomainTaken when another tenant has had it and the
// proof is not ProofTenant, a *QuotaError when the workload has MaxDomains, and
// ErrNotFound. It is no error to add a name twice.
func (r *Registry) AddDomain(ctx context.Context, caller api.Caller, name, host string, proof Proof) error {
	return r.write(ctx, func(tx *store.Tx) error {
		w, err := r.find(ctx, tx, caller.Tenant, name)
		if err != nil {
			return err
		}
		d, err := r.domain(ctx, tx, host)
		switch {
		case err != nil:
			return err
		case d.leadsTo(r.kind, w.ID):
			return nil
		case d.tenant != "" && d.tenant != caller.Tenant && proof != ProofTenant:
			return ErrDomainTaken
		case len(w.Domains) >= MaxDomains:
			return &QuotaError{Reason: fmt.Sprintf("there are %d domains and at most %d for each app; remove one", len(w.Domains), MaxDomains)}
		}
		_, err = tx.ExecContext(ctx, `
			INSERT INTO domains (host, tenant, kind, id, changed) VALUES ($1, $2, $3, $4, $5)
			ON CONFLICT (host) DO UPDATE SET tenant = excluded.tenant, kind = excluded.kind, id = excluded.id, changed = excluded.changed`,
			host, w.Tenant, string(r.kind), w.ID, r.now().UnixNano())
		if err != nil {
			return fmt.Errorf("store a domain: %w", err)
		}
		return domainChanged(ctx, tx, host, w.ID)
	})
}

// HoldsDomain reports whether a host name leads to a workload of the caller's.
func (r *Registry) HoldsDomain(ctx context.Context, caller api.Caller, host string) (bool, error) {
	d, err := r.domain(ctx, r.db, host)
	return d.tenant == caller.Tenant && d.id != "", err
}

// RemoveDomain has a host name lead nowhere. The error is ErrNoDomain when it does
// not lead to that workload, and ErrNotFound.
func (r *Registry) RemoveDomain(ctx context.Context, caller api.Caller, name, host string) error {
	return r.write(ctx, func(tx *store.Tx) error {
		w, err := r.find(ctx, tx, caller.Tenant, name)
		if err != nil {
			return err
		}
		d, err := r.domain(ctx, tx, host)
		if err != nil {
			return err
		}
		if !d.leadsTo(r.kind, w.ID) {
			return ErrNoDomain
		}
		return r.freeDomains(ctx, tx, w, host)
	})
}

// FormerDomains is of how many host names that lead nowhere it is remembered that a
// tenant had them. Whoever controls a zone can make up names without end.
const FormerDomains = 1000

// freeDomains has host names of a workload lead nowhere. Their last tenant stays
// known, as one of its FormerDomains.
func (r *Registry) freeDomains(ctx context.Context, tx *store.Tx, w record, hosts ...string) error {
	for _, host := range hosts {
		_, err := tx.ExecContext(ctx, "UPDATE domains SET id = '', changed = $1 WHERE host = $2 AND kind = $3 AND id = $4",
			r.now().UnixNano(), host, string(r.kind), w.ID)
		if err != nil {
			return fmt.Errorf("free a domain: %w", err)
		}
		if err := domainChanged(ctx, tx, host, ""); err != nil {
			return err
		}
	}
	if len(hosts) == 0 {
		return nil
	}
	_, err := tx.ExecContext(ctx, `
		DELETE FROM domains WHERE tenant = $1 AND id = '' AND changed <=
			(SELECT changed FROM domains WHERE tenant = $1 AND id = '' ORDER BY changed DESC LIMIT 1 OFFSET $2)`,
		w.Tenant, FormerDomains)
	if err != nil {
		return fmt.Errorf("forget former domains: %w", err)
	}
	return nil
}

// domainChanged announces where a host name leads. The change says so itself:
// whoever hears of it need not read.
func domainChanged(ctx context.Context, tx *store.Tx, host, id string) error {
	return tx.Changed(ctx, changeDomain, host+"/"+id)
}

// domainRow is a host name as it is stored; without a tenant nobody has had it.
type domainRow struct{ tenant, kind, id string }

func (d domainRow) leadsTo(kind Kind, id string) bool { return d.kind == string(kind) && d.id == id }

func (r *Registry) domain(ctx context.Context, q store.Querier, host string) (d domainRow, err error) {
	err = q.QueryRowContext(ctx, "SELECT tenant, kind, id FROM domains WHERE host = $1", host).Scan(&d.tenant, &d.kind, &d.id)
	if err != nil && !store.IsNoRows(err) {
		return domainRow{}, fmt.Errorf("read a domain: %w", err)
	}
	return d, nil
}

// splitChange takes apart what domainChanged announced.
func splitChange(c store.Change) (host, id string) {
	host, id, _ = strings.Cut(c.ID, "/")
	return host, id
}
