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
	registry  *workload.Registry
	url       func(id string) string
	client    *http.Client
	languages Runtimes
	managed   Caller
}

// Runtimes knows the languages functions are written in. It is used concurrently.
type Runtimes interface {
	// Runtimes returns the languages this machine can run, under their versionless
	// names, and why it cannot run the others of the contract.
	Runtimes(ctx context.Context) (available []string, unavailable map[string]string)
	// ParseRuntime returns the versionless name of a language given with or without
	// a version, "python" for "python39" (WIRE.md 5), and whether there is such a
	// language, on this machine or not.
	ParseRuntime(name string) (runtime string, ok bool)
	// SourceFile returns the name that a function of one file has, such as "main.py".
	SourceFile(runtime string) string
	// DefaultEntrypoint returns what is called when a function's owner did not say:
	// the function's name in the language's spelling.
	DefaultEntrypoint(runtime, name string) string
}

// Caller sends requests to the functions that run here. It is used concurrently.
type Caller interface {
	// Do sends a request to the function with that key, such as "function/hello",
	// waking it when it sleeps, and returns its answer, whose body the caller must
	// close; the function stays awake until then. Scheme and host of the request's
	// URL do not matter. Redirects are not followed. The error is an *UnreadyError
	// when the function takes no requests now; any other means that it could not be
	// reached or broke off, and may name addresses.
	Do(ctx context.Context, key string, r *http.Request) (*http.Response, error)
}

// UnreadyError is why a function that runs here takes no requests now.
type UnreadyError struct {
	// Message says why in words fit for the function's owner, such as "it did not
	// start within 30s".
	Message string
	// RetryAfter is when it is worth trying again; zero when nobody knows.
	RetryAfter time.Duration
}

// Error implements error.
func (e *UnreadyError) Error() string { return e.Message }

// Options are what the service is made of. All are required.
type Options struct {
	// Registry is one of the kind workload.Function.
	Registry *workload.Registry
	// URL returns where visitors reach a function's id; it is asked for every
	// answer, since settings change while running, and must be safe for concurrent
	// use.
	URL func(id string) string
	// Transport calls registered backends; it must keep the rules for them on every
	// connection it opens.
	Transport http.RoundTripper
	// Runtimes knows the languages, and Managed reaches what runs here.
	Runtimes Runtimes
	Managed  Caller
}

// New returns the service.
func New(o Options) *Functions {
	return &Functions{registry: o.Registry, url: o.URL, client: newClient(o.Transport), languages: o.Runtimes, managed: o.Managed}
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
			api.Upload("Upload", f.upload),
			api.Unary("Versions", f.versions),
			api.Unary("Rollback", f.rollback),
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

// runtimes lists the languages this machine can run, and why not the others.
func (f *Functions) runtimes(ctx context.Context, _ api.Caller, _ *functionpb.RuntimesRequest) (*functionpb.RuntimesResponse, error) {
	available, unavailable := f.languages.Runtimes(ctx)
	return &functionpb.RuntimesResponse{Runtimes: available, Unavailable: unavailable}, nil
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
