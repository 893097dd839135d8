package key

import (
	"context"
	"errors"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/m3o/ingress/internal/api"
	apipb "github.com/m3o/ingress/proto/api"
)

// maxDescription bounds what a key's maker may write about it, in bytes.
const maxDescription = 1024

// generate makes a key and shows it, this once.
func (s *Service) generate(ctx context.Context, caller api.Caller, req *apipb.GenerateRequest) (*apipb.GenerateResponse, error) {
	const id = "keys.generate"
	scopes, err := s.grant(caller, req.GetScopes())
	if err != nil {
		return nil, err
	}
	if d := req.GetDescription(); len(d) > maxDescription || !utf8.ValidString(d) || strings.ContainsFunc(d, unicode.IsControl) {
		return nil, api.BadRequest(id, "description must be one line of at most %d bytes", maxDescription)
	}
	tenant, err := s.tenantFor(ctx, caller, id, req.GetTenant())
	if err != nil {
		return nil, err
	}
	secret := newSecret()
	k := key{id: newKeyID(), tenant: tenant, scopes: scopes, description: req.GetDescription(), created: s.now()}
	err = s.keys.create(ctx, k, hashOf(secret))
	if full, ok := errors.AsType[*quotaError](err); ok {
		return nil, api.Forbidden(id, "%v; revoke one that is not needed", full)
	}
	if err != nil {
		return nil, err
	}
	return &apipb.GenerateResponse{ApiKey: secret, ApiKeyId: k.id}, nil
}

// grant checks the scopes asked for a new key: known ones, and none that its
// maker does not have.
func (s *Service) grant(caller api.Caller, asked []string) ([]string, error) {
	const id = "keys.generate"
	if len(asked) == 0 {
		return nil, api.BadRequest(id, "missing scopes; there are: %s", strings.Join(s.scopes, ", "))
	}
	for _, scope := range asked {
		if !slices.Contains(s.scopes, scope) {
			return nil, api.BadRequest(id, "unknown scope %q; there are: %s", shorten(scope), strings.Join(s.scopes, ", "))
		}
	}
	for _, scope := range asked {
		if !caller.Has(scope) {
			return nil, api.Forbidden(id, "your key does not have the scope %q, so it cannot give it to another", scope)
		}
	}
	return slices.Compact(slices.Sorted(slices.Values(asked))), nil
}

// shorten keeps what a caller sent from filling an error.
func shorten(text string) string {
	const longest = 64
	if len(text) > longest {
		return text[:longest] + "…"
	}
	return text
}

// tenantFor returns the id of the tenant a request is about: the caller's own,
// or any for operators.
func (s *Service) tenantFor(ctx context.Context, caller api.Caller, method, asked string) (string, error) {
	if asked == "" || asked == caller.Tenant {
		return caller.Tenant, nil
	}
	if !caller.Has(api.ScopeOperator) {
		return "", api.Forbidden(method, "another tenant's keys need the scope %q", api.ScopeOperator)
	}
	return s.findTenant(ctx, method, asked)
}

// list returns the keys of a tenant, without their secrets.
func (s *Service) list(ctx context.Context, caller api.Caller, req *apipb.ListRequest) (*apipb.ListResponse, error) {
	tenant, err := s.tenantFor(ctx, caller, "keys.list", req.GetTenant())
	if err != nil {
		return nil, err
	}
	keys, err := s.keys.list(ctx, tenant)
	if err != nil {
		return nil, err
	}
	res := &apipb.ListResponse{}
	for _, k := range keys {
		res.ApiKeys = append(res.ApiKeys, &apipb.APIKey{
			Id:          k.id,
			Description: k.description,
			CreatedTime: k.created.Unix(),
			Scopes:      k.scopes,
			LastSeen:    max(k.lastSeen, s.seen.of(k.id)),
		})
	}
	return res, nil
}

// revoke ends a key. When it returns, this process accepts it no more; other nodes follow
// when they hear of it.
func (s *Service) revoke(ctx context.Context, caller api.Caller, req *apipb.RevokeRequest) (*apipb.RevokeResponse, error) {
	const id = "keys.revoke"
	if req.GetId() == "" {
		return nil, api.BadRequest(id, "missing id")
	}
	tenant, err := s.tenantFor(ctx, caller, id, req.GetTenant())
	if err != nil {
		return nil, err
	}
	// A tenant may lend out keys; none of them may lock out the operator.
	mayRevoke := func(scopes []string) error {
		if slices.Contains(scopes, api.ScopeOperator) && !caller.Has(api.ScopeOperator) {
			return api.Forbidden(id, "a key with the scope %q is revoked with another such key", api.ScopeOperator)
		}
		return nil
	}
	found, err := s.keys.revoke(ctx, tenant, req.GetId(), s.now(), mayRevoke)
	if err != nil {
		return nil, err
	}
	if !found {
		return nil, api.NotFound(id)
	}
	return &apipb.RevokeResponse{}, nil
}
