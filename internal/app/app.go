// Package app is the contract's app service: it translates between the
// messages of proto/app and the workloads of package workload.
package app

import (
	"context"
	"time"

	"github.com/m3o/ingress/internal/api"
	"github.com/m3o/ingress/internal/workload"
	apppb "github.com/m3o/ingress/proto/app"
)

// Apps is the service. Its methods are safe for concurrent use.
type Apps struct {
	registry *workload.Registry
	url      func(id string) string
	domains  Domains
}

// Options are the service's collaborators. Its functions are asked for every
// answer, since settings change while running, and must be safe for concurrent use.
type Options struct {
	// Registry is of the kind workload.App.
	Registry *workload.Registry
	// URL returns where visitors reach an app's id.
	URL func(id string) string
	// Domains are what AddDomain needs to know.
	Domains Domains
}

// New returns the service.
func New(o Options) *Apps {
	return &Apps{registry: o.Registry, url: o.URL, domains: o.Domains}
}

// Service returns the table of the service's methods.
func (a *Apps) Service() api.Service {
	return api.Service{
		Descriptor: apppb.File_app_app_proto.Services().ByName("App"),
		Methods: []api.Method{
			api.Unary("Reserve", a.reserve),
			api.Unary("Regions", a.regions),
			api.Unary("Run", a.run),
			api.Unary("Get", a.get),
			api.Unary("Update", a.update),
			api.Unary("Delete", a.delete),
			api.Unary("Status", a.status),
			api.Unary("List", a.list),
			api.Unary("Resolve", a.resolve),
			api.Unary("Logs", a.logs),
			api.Upload("Upload", a.upload),
			api.Unary("Versions", a.versions),
			api.Unary("Rollback", a.rollback),
			api.Unary("SetCredential", a.setCredential),
			api.Unary("ListCredentials", a.listCredentials),
			api.Unary("DeleteCredential", a.deleteCredential),
			api.Unary("AddDomain", a.addDomain),
			api.Unary("RemoveDomain", a.removeDomain),
		},
	}
}

func (a *Apps) reserve(ctx context.Context, caller api.Caller, req *apppb.ReserveRequest) (*apppb.ReserveResponse, error) {
	const method = "app.reserve"
	if req.GetName() == "" {
		return nil, api.BadRequest(method, "missing app name")
	}
	res, err := a.registry.Reserve(ctx, caller, req.GetName())
	if err != nil {
		return nil, workload.Refusal(method, err)
	}
	return &apppb.ReserveResponse{Reservation: &apppb.Reservation{
		Name:    res.Name,
		Owner:   res.Tenant,
		Token:   res.Token,
		Created: res.Created.Format(time.RFC3339Nano),
		Expires: res.Expires.Format(time.RFC3339Nano),
	}}, nil
}

func (a *Apps) regions(context.Context, api.Caller, *apppb.RegionsRequest) (*apppb.RegionsResponse, error) {
	return &apppb.RegionsResponse{Regions: a.registry.Regions()}, nil
}

func (a *Apps) get(ctx context.Context, caller api.Caller, req *apppb.GetRequest) (*apppb.GetResponse, error) {
	service, err := a.find(ctx, caller, "app.get", req.GetName())
	return &apppb.GetResponse{Service: service}, err
}

func (a *Apps) status(ctx context.Context, caller api.Caller, req *apppb.StatusRequest) (*apppb.StatusResponse, error) {
	service, err := a.find(ctx, caller, "app.status", req.GetName())
	return &apppb.StatusResponse{Service: service}, err
}

func (a *Apps) find(ctx context.Context, caller api.Caller, method, name string) (*apppb.Service, error) {
	if name == "" {
		return nil, api.BadRequest(method, "missing name")
	}
	w, err := a.registry.Get(ctx, caller, name)
	if err != nil {
		return nil, workload.Refusal(method, err)
	}
	return a.message(w), nil
}

func (a *Apps) list(ctx context.Context, caller api.Caller, _ *apppb.ListRequest) (*apppb.ListResponse, error) {
	list, err := a.registry.List(ctx, caller)
	if err != nil {
		return nil, err
	}
	res := &apppb.ListResponse{}
	for _, w := range list {
		res.Services = append(res.Services, a.message(w))
	}
	return res, nil
}

func (a *Apps) delete(ctx context.Context, caller api.Caller, req *apppb.DeleteRequest) (*apppb.DeleteResponse, error) {
	const method = "app.delete"
	if req.GetName() == "" {
		return nil, api.BadRequest(method, "missing name")
	}
	if err := a.registry.Delete(ctx, caller, req.GetName()); err != nil {
		return nil, workload.Refusal(method, err)
	}
	return &apppb.DeleteResponse{}, nil
}

func (a *Apps) resolve(ctx context.Context, caller api.Caller, req *apppb.ResolveRequest) (*apppb.ResolveResponse, error) {
	address, err := a.registry.Resolve(ctx, caller, "app.resolve", req.GetId())
	if err != nil {
		return nil, err
	}
	return &apppb.ResolveResponse{Url: address}, nil
}
