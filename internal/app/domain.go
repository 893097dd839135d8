package app

import (
	"cmp"
	"context"
	"errors"

	"github.com/m3o/ingress/internal/api"
	"github.com/m3o/ingress/internal/domain"
	"github.com/m3o/ingress/internal/workload"
	apppb "github.com/m3o/ingress/proto/app"
)

// Domains are what AddDomain needs to know.
type Domains struct {
	// Host returns the host name that visitors reach an app's id by, or nothing when
	// apps have none.
	Host func(id string) string
	// Ours reports whether a host name is the ingress's own to give: one of its
	// hosts, or under the domains of apps and functions.
	Ours func(host string) bool
	// Records says what the DNS has.
	Records *domain.Checker
}

// addDomain answers, and does not fail, when the proof is missing: what has to be
// done is more than the words of an error.
func (a *Apps) addDomain(ctx context.Context, caller api.Caller, req *apppb.AddDomainRequest) (*apppb.AddDomainResponse, error) {
	const method = "app.adddomain"
	w, host, err := a.named(ctx, caller, method, req.GetName(), req.GetDomain())
	if err != nil {
		return nil, err
	}
	if a.domains.Ours(host) {
		return nil, api.BadRequest(method, "invalid domain: %s is given by this ingress, and by no record", host)
	}
	res := &apppb.AddDomainResponse{Domain: host}
	proof, missing, err := a.prove(ctx, caller, w, host)
	if err != nil {
		return nil, workload.Refusal(method, err)
	}
	if missing == "" {
		err = a.registry.AddDomain(ctx, caller, w.Name, host, proof)
	}
	text := domain.TenantRecord(host, w.Tenant)
	switch {
	case errors.Is(err, workload.ErrDomainTaken):
		res.Reason, res.Records = "it is or was another tenant's here, and only the TXT record says whose it is now", records(text)
	case err != nil:
		return nil, workload.Refusal(method, err)
	case missing == "":
		res.Accepted = true
	default:
		res.Reason, res.Records = missing, records(text)
		if target := a.domains.Host(w.ID); target != "" {
			res.Records = records(domain.Alias(host, target), text)
		}
	}
	return res, nil
}

// prove returns the best proof there is that a host name is the caller's, or what
// is missing.
func (a *Apps) prove(ctx context.Context, caller api.Caller, w workload.Workload, host string) (proof workload.Proof, missing string, err error) {
	held, err := a.registry.HoldsDomain(ctx, caller, host)
	if err != nil || held { // by another app of the caller's, which has proved it
		return workload.ProofAlias, "", err
	}
	text, errText := a.domains.Records.Has(ctx, domain.TenantRecord(host, w.Tenant))
	if text {
		return workload.ProofTenant, "", nil
	}
	var alias bool
	var errAlias error
	if target := a.domains.Host(w.ID); target != "" {
		alias, errAlias = a.domains.Records.IsAlias(ctx, host, target)
	}
	switch err := cmp.Or(errText, errAlias); { // one says enough: both are of the same servers
	case alias:
		return workload.ProofAlias, "", nil
	case err != nil:
		return 0, "the DNS cannot be asked now: " + err.Error(), nil
	}
	return 0, "no record shows that it is yours; a new one may take some minutes to be seen", nil
}

func records(list ...domain.Record) (messages []*apppb.DomainRecord) {
	for _, r := range list {
		messages = append(messages, &apppb.DomainRecord{Type: r.Type, Name: r.Name, Value: r.Value})
	}
	return messages
}

func (a *Apps) removeDomain(ctx context.Context, caller api.Caller, req *apppb.RemoveDomainRequest) (*apppb.RemoveDomainResponse, error) {
	const method = "app.removedomain"
	w, host, err := a.named(ctx, caller, method, req.GetName(), req.GetDomain())
	if err != nil {
		return nil, err
	}
	if err := a.registry.RemoveDomain(ctx, caller, w.Name, host); err != nil {
		return nil, workload.Refusal(method, err)
	}
	return &apppb.RemoveDomainResponse{}, nil
}

// named returns the app and the host name that a request names.
func (a *Apps) named(ctx context.Context, caller api.Caller, method, name, given string) (workload.Workload, string, error) {
	switch {
	case name == "":
		return workload.Workload{}, "", api.BadRequest(method, "missing name")
	case given == "":
		return workload.Workload{}, "", api.BadRequest(method, "missing domain")
	}
	host, err := domain.Normalise(given)
	if err != nil {
		return workload.Workload{}, "", api.BadRequest(method, "invalid domain: %v", err)
	}
	w, err := a.registry.Get(ctx, caller, name)
	if err != nil {
		return workload.Workload{}, "", workload.Refusal(method, err)
	}
	return w, host, nil
}
