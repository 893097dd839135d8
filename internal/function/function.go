// Package function is the contract's function service: it translates between
// the messages of proto/function and the workloads of package workload, and
// calls functions for their owners.
package function

import (
	"context"
	"net/http"
	"time"

	"github.com/m3o/ingress/internal/api"
	"github.com/m3o/ingress/internal/workload"
	functionpb "github.com/m3o/ingress/proto/function"
)

// Functions is the service. Its methods are safe for concurrent use.
type Functions struct {
	registry *workload.Registry
	url      func(id string) string
	client   *http.Client
}

// New returns the service over a registry of the kind workload.Function. url
// returns where visitors reach a function's id; it is asked for every answer,
// since settings change while running, and must be safe for concurrent use.
// transport makes the calls; it must keep the rules for registered backends on
// every connection it opens.
func New(registry *workload.Registry, url func(id string) string, transport http.RoundTripper) *Functions {
	return &Functions{registry: registry, url: url, client: newClient(transport)}
}

// Service returns the table of the service's methods.
func (f *Functions) Service() api.Service {
	return api.Service{
		Descriptor: functionpb.File_function_function_proto.Services().ByName("Function"),
		Methods: []api.Method{
			api.Unary("Call", f.call),
			api.Unary("Deploy", f.deploy),
			api.Unary("List", f.list),
			api.Unary("Delete", f.delete),
			api.Unary("Describe", f.describe),
			api.Unary("Update", f.update),
			api.Unary("Proxy", f.proxy),
			api.Unary("Regions", f.regions),
			api.Unary("Reserve", f.reserve),
			api.Unary("Runtimes", f.runtimes),
			api.Unary("Logs", f.logs),
		},
	}
}

func (f *Functions) reserve(ctx context.Context, caller api.Caller, req *functionpb.ReserveRequest) (*functionpb.ReserveResponse, error) {
	const method = "function.reserve"
	if req.GetName() == "" {
		return nil, api.BadRequest(method, "missing function name")
	}
	res, err := f.registry.Reserve(ctx, caller, req.GetName())
	if err != nil {
		return nil, workload.Refusal(method, err)
	}
	return &functionpb.ReserveResponse{Reservation: &functionpb.Reservation{
		Name:    res.Name,
		Owner:   res.Tenant,
		Token:   res.Token,
		Created: res.Created.Format(time.RFC3339Nano),
		Expires: res.Expires.Format(time.RFC3339Nano),
	}}, nil
}

func (f *Functions) regions(context.Context, api.Caller, *functionpb.RegionsRequest) (*functionpb.RegionsResponse, error) {
	return &functionpb.RegionsResponse{Regions: f.registry.Regions()}, nil
}

// runtimes lists the languages this machine can run. That is none: a registered
// backend needs no language, and nothing else runs yet.
func (f *Functions) runtimes(context.Context, api.Caller, *functionpb.RuntimesRequest) (*functionpb.RuntimesResponse, error) {
	return &functionpb.RuntimesResponse{}, nil
}

func (f *Functions) describe(ctx context.Context, caller api.Caller, req *functionpb.DescribeRequest) (*functionpb.DescribeResponse, error) {
	const method = "function.describe"
	if req.GetName() == "" {
		return nil, api.BadRequest(method, "Missing function name")
	}
	w, err := f.registry.Get(ctx, caller, req.GetName())
	if err != nil {
		return nil, workload.Refusal(method, err)
	}
	return &functionpb.DescribeResponse{Function: f.message(w)}, nil
}

func (f *Functions) list(ctx context.Context, caller api.Caller, _ *functionpb.ListRequest) (*functionpb.ListResponse, error) {
	list, err := f.registry.List(ctx, caller)
	if err != nil {
		return nil, err
	}
	res := &functionpb.ListResponse{}
	for _, w := range list {
		res.Functions = append(res.Functions, f.message(w))
	}
	return res, nil
}

func (f *Functions) delete(ctx context.Context, caller api.Caller, req *functionpb.DeleteRequest) (*functionpb.DeleteResponse, error) {
	const method = "function.delete"
	if req.GetName() == "" {
		return nil, api.BadRequest(method, "Missing function name")
	}
	if err := f.registry.Delete(ctx, caller, req.GetName()); err != nil {
		return nil, workload.Refusal(method, err)
	}
	return &functionpb.DeleteResponse{}, nil
}

func (f *Functions) proxy(ctx context.Context, caller api.Caller, req *functionpb.ProxyRequest) (*functionpb.ProxyResponse, error) {
	address, err := f.registry.Resolve(ctx, caller, "function.proxy", req.GetId())
	if err != nil {
		return nil, err
	}
	return &functionpb.ProxyResponse{Url: address}, nil
}

// logs has nothing to show: what a registered backend prints stays where it
// runs. Saying so beats an empty log, which would mean that it printed nothing.
// The error id is the original's for both services (WIRE.md 4).
func (f *Functions) logs(ctx context.Context, caller api.Caller, req *functionpb.LogsRequest) (*functionpb.LogsResponse, error) {
	const method = "app.Logs"
	switch req.GetLogsType() {
	case "", "build", "run":
	default:
		return nil, api.BadRequest(method, "Invalid logs_type specified")
	}
	if req.GetName() == "" {
		return nil, api.BadRequest(method, "Missing function name")
	}
	if _, err := f.registry.Get(ctx, caller, req.GetName()); err != nil {
		return nil, workload.Refusal(method, err)
	}
	return nil, api.NotImplemented(method, "%s is a registered backend, which is built and runs elsewhere; its logs are there, too", req.GetName())
}

func (f *Functions) message(w workload.Workload) *functionpb.Func {
	return &functionpb.Func{
		Id:      w.ID,
		Name:    w.Name,
		Region:  w.Region,
		EnvVars: w.HiddenEnv(),
		Status:  status(w),
		Url:     f.url(w.ID),
		Backend: w.Backend,
		Created: w.Created.Format(time.RFC3339Nano),
		Updated: w.Updated.Format(time.RFC3339Nano),
	}
}

// status returns the platform's word for a state (WIRE.md 5).
func status(w workload.Workload) string {
	switch w.State {
	case workload.Ready:
		return "Deployed"
	case workload.Failed:
		return "DeploymentError"
	default:
		return "Deploying"
	}
}
