package app

import (
	"context"
	"time"

	"github.com/m3o/ingress/internal/api"
	"github.com/m3o/ingress/internal/workload"
	apppb "github.com/m3o/ingress/proto/app"
)

// tokenUser goes with a token when no user is given: the git servers that take
// tokens take any name beside them.
const tokenUser = "git"

// setCredential stores how to fetch from a host, for the tenant's apps and
// functions alike.
func (a *Apps) setCredential(ctx context.Context, caller api.Caller, req *apppb.SetCredentialRequest) (*apppb.SetCredentialResponse, error) {
	const method = "app.setcredential"
	switch {
	case req.GetHost() == "":
		return nil, api.BadRequest(method, "missing host")
	case req.GetPassword() == "" && req.GetSshKey() == "" && req.GetKnownHosts() == "":
		return nil, api.BadRequest(method, "missing password or ssh_key")
	}
	username := req.GetUsername()
	if username == "" && req.GetPassword() != "" {
		username = tokenUser
	}
	err := a.registry.SetCredential(ctx, caller, workload.Credential{
		Host: req.GetHost(), Username: username, Password: req.GetPassword(),
		SSHKey: req.GetSshKey(), KnownHosts: req.GetKnownHosts(),
	})
	if err != nil {
		return nil, workload.Refusal(method, err)
	}
	return &apppb.SetCredentialResponse{}, nil
}

// listCredentials says which there are. No secret leaves the store for it.
func (a *Apps) listCredentials(ctx context.Context, caller api.Caller, _ *apppb.ListCredentialsRequest) (*apppb.ListCredentialsResponse, error) {
	list, err := a.registry.Credentials(ctx, caller)
	if err != nil {
		return nil, workload.Refusal("app.listcredentials", err)
	}
	res := &apppb.ListCredentialsResponse{}
	for _, c := range list {
		res.Credentials = append(res.Credentials, &apppb.Credential{
			Host: c.Host, Username: c.Username, HasPassword: c.Password != "", HasSshKey: c.SSHKey != "", Updated: updated(c),
		})
	}
	return res, nil
}

func (a *Apps) deleteCredential(ctx context.Context, caller api.Caller, req *apppb.DeleteCredentialRequest) (*apppb.DeleteCredentialResponse, error) {
	const method = "app.deletecredential"
	if req.GetHost() == "" {
		return nil, api.BadRequest(method, "missing host")
	}
	if err := a.registry.DeleteCredential(ctx, caller, req.GetHost()); err != nil {
		return nil, workload.Refusal(method, err)
	}
	return &apppb.DeleteCredentialResponse{}, nil
}

func updated(c workload.Credential) string {
	if c.Updated.IsZero() {
		return ""
	}
	return c.Updated.Format(time.RFC3339Nano)
}
