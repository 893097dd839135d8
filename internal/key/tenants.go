package key

import (
	"context"
	"errors"
	"regexp"

	"github.com/m3o/ingress/internal/api"
	apipb "github.com/m3o/ingress/proto/api"
)

// tenantName is what a tenant may be called: a DNS label in lower case.
var tenantName = regexp.MustCompile(`^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$`)

// createTenant makes a tenant and its first key, for all services.
func (s *Service) createTenant(ctx context.Context, _ api.Caller, req *apipb.CreateRequest) (*apipb.CreateResponse, error) {
	const id = "tenants.create"
	if !tenantName.MatchString(req.GetName()) {
		return nil, api.BadRequest(id, `invalid name; it must be 1 to 63 lower-case letters, digits and "-", with a letter or digit at both ends`)
	}
	secret := newSecret()
	t := tenant{id: newTenantID(), name: req.GetName(), created: s.now()}
	first := key{id: newKeyID(), tenant: t.id, scopes: []string{api.ScopeAll}, description: "first key", created: s.now()}
	err := s.keys.createTenant(ctx, t, first, hashOf(secret))
	if errors.Is(err, errNameTaken) {
		return nil, api.BadRequest(id, "name already taken")
	}
	if err != nil {
		return nil, err
	}
	return &apipb.CreateResponse{Tenant: tenantMessage(t), ApiKey: secret}, nil
}

// listTenants returns all tenants with the quotas in force.
func (s *Service) listTenants(ctx context.Context, _ api.Caller, _ *apipb.ListTenantsRequest) (*apipb.ListTenantsResponse, error) {
	tenants, err := s.keys.tenants(ctx)
	if err != nil {
		return nil, err
	}
	res := &apipb.ListTenantsResponse{}
	for _, t := range tenants {
		res.Tenants = append(res.Tenants, tenantMessage(t))
	}
	return res, nil
}

func tenantMessage(t tenant) *apipb.Tenant {
	q := withDefaults(t.quotas)
	return &apipb.Tenant{
		Id:       t.id,
		Name:     t.name,
		Disabled: t.disabled,
		Created:  t.created.Unix(),
		Quotas: &apipb.Quotas{
			Apps: q.Apps, Functions: q.Functions, Links: q.Links, Keys: q.Keys,
			VersionBytes:      q.VersionBytes,
			RequestsPerSecond: q.RequestsPerSecond, Burst: q.Burst,
		},
	}
}

// disableTenant ends all access of a tenant at once.
func (s *Service) disableTenant(ctx context.Context, caller api.Caller, req *apipb.DisableRequest) (*apipb.DisableResponse, error) {
	const method = "tenants.disable"
	id, err := s.findTenant(ctx, method, req.GetTenant())
	if err != nil {
		return nil, err
	}
	if id == caller.Tenant {
		return nil, api.BadRequest(method, "your own tenant cannot be disabled: nobody could enable it again")
	}
	if err := s.keys.setDisabled(ctx, id, true); err != nil {
		return nil, err
	}
	return &apipb.DisableResponse{}, nil
}

// enableTenant undoes disableTenant.
func (s *Service) enableTenant(ctx context.Context, _ api.Caller, req *apipb.EnableRequest) (*apipb.EnableResponse, error) {
	id, err := s.findTenant(ctx, "tenants.enable", req.GetTenant())
	if err != nil {
		return nil, err
	}
	if err := s.keys.setDisabled(ctx, id, false); err != nil {
		return nil, err
	}
	return &apipb.EnableResponse{}, nil
}

// maxQuota keeps sums and products of quotas far from overflowing: a pebibyte,
// for the largest of them.
const maxQuota = 1 << 50

// maxRate bounds the rates, which are multiplied by nanoseconds.
const maxRate = 1_000_000_000

// setQuotas replaces the quotas of a tenant whole.
func (s *Service) setQuotas(ctx context.Context, _ api.Caller, req *apipb.SetQuotasRequest) (*apipb.SetQuotasResponse, error) {
	const method = "tenants.setquotas"
	q := req.GetQuotas()
	for _, n := range []int64{q.GetApps(), q.GetFunctions(), q.GetLinks(), q.GetKeys(), q.GetVersionBytes()} {
		if n < 0 || n > maxQuota {
			return nil, api.BadRequest(method, "a quota must be between 0, which means the default, and %d", int64(maxQuota))
		}
	}
	for _, n := range []int64{q.GetRequestsPerSecond(), q.GetBurst()} {
		if n < 0 || n > maxRate {
			return nil, api.BadRequest(method, "a rate must be between 0, which means the default, and %d", int64(maxRate))
		}
	}
	id, err := s.findTenant(ctx, method, req.GetTenant())
	if err != nil {
		return nil, err
	}
	err = s.keys.setQuotas(ctx, id, api.Quotas{
		Apps: q.GetApps(), Functions: q.GetFunctions(), Links: q.GetLinks(), Keys: q.GetKeys(),
		VersionBytes:      q.GetVersionBytes(),
		RequestsPerSecond: q.GetRequestsPerSecond(), Burst: q.GetBurst(),
	})
	if err != nil {
		return nil, err
	}
	return &apipb.SetQuotasResponse{}, nil
}

// findTenant returns the id of the tenant that an operator named by its id or
// its name.
func (s *Service) findTenant(ctx context.Context, method, asked string) (string, error) {
	if asked == "" {
		return "", api.BadRequest(method, "missing tenant")
	}
	id, err := tenantID(ctx, s.keys.db, asked)
	if errors.Is(err, errUnknownTenant) {
		return "", api.NotFound(method)
	}
	return id, err
}
