package function

import (
	"context"
	"slices"
	"strings"

	"github.com/m3o/ingress/internal/api"
	"github.com/m3o/ingress/internal/workload"
	functionpb "github.com/m3o/ingress/proto/function"
)

// noRunner is what is said to source, which nothing here can run.
const noRunner = "this ingress cannot build and run source; " +
	"start the function yourself and give its address in the field backend instead"

// deploy makes a function. What can be wrong with the request is looked for in
// the original's order, because clients match on its words (WIRE.md 4).
func (f *Functions) deploy(ctx context.Context, caller api.Caller, req *functionpb.DeployRequest) (*functionpb.DeployResponse, error) {
	const method = "function.deploy"
	if err := checkSource(method, req); err != nil {
		return nil, err
	}
	region, ok := f.registry.Regions().Pick(req.GetRegion())
	if !ok {
		return nil, api.BadRequest(method, "Unsupported region")
	}
	if err := workload.CheckName(req.GetName()); err != nil {
		return nil, workload.Refusal(method, err)
	}
	if req.GetBackend() == "" {
		return nil, api.NotImplemented(method, noRunner)
	}
	w, err := f.registry.Create(ctx, caller, workload.Spec{
		Name: req.GetName(), Region: region, Backend: req.GetBackend(), Env: req.GetEnvVars(),
	})
	if err != nil {
		return nil, workload.Refusal(method, err)
	}
	return &functionpb.DeployResponse{Function: f.message(w)}, nil
}

// checkSource looks at where the function shall come from.
func checkSource(method string, req *functionpb.DeployRequest) error {
	switch {
	case req.GetName() == "":
		return api.BadRequest(method, "Missing name")
	case req.GetBackend() != "":
		return checkAlone(method, req)
	case req.GetSource() == "" && req.GetRepo() == "":
		return api.BadRequest(method, "Missing source or repo")
	case !isRuntime(req.GetRuntime()):
		return api.BadRequest(method, "invalid runtime")
	case req.GetSource() == "" && !workload.ValidRepo(req.GetRepo()):
		return api.BadRequest(method, "invalid git repo")
	}
	return nil
}

// checkAlone refuses what would have no effect beside a backend.
func checkAlone(method string, req *functionpb.DeployRequest) error {
	for _, field := range []string{
		req.GetSource(), req.GetRepo(), req.GetBranch(), req.GetSubfolder(), req.GetEntrypoint(), req.GetRuntime(),
	} {
		if field != "" {
			return api.BadRequest(method, "source, repo, branch, subfolder, entrypoint and runtime do not go with backend, whose URL says all of it")
		}
	}
	return nil
}

// isRuntime reports whether a runtime is one of the languages of the contract,
// with or without a version: "python" or "python39" (WIRE.md 5).
func isRuntime(runtime string) bool {
	languages := []string{"nodejs", "python", "go", "java", "dotnet", "ruby", "php"}
	return slices.Contains(languages, strings.TrimRight(runtime, "0123456789."))
}

// update changes a function.
func (f *Functions) update(ctx context.Context, caller api.Caller, req *functionpb.UpdateRequest) (*functionpb.UpdateResponse, error) {
	const method = "function.update"
	if req.GetName() == "" {
		return nil, api.BadRequest(method, "Missing name")
	}
	if req.GetSource() != "" {
		if _, err := f.registry.Get(ctx, caller, req.GetName()); err != nil {
			return nil, workload.Refusal(method, err)
		}
		return nil, api.NotImplemented(method, noRunner)
	}
	if err := f.registry.Update(ctx, caller, req.GetName(), workload.Update{Backend: req.GetBackend()}); err != nil {
		return nil, workload.Refusal(method, err)
	}
	return &functionpb.UpdateResponse{}, nil
}
