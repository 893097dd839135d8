package app

import (
	"context"
	"errors"

	"github.com/m3o/ingress/internal/api"
	"github.com/m3o/ingress/internal/workload"
	apppb "github.com/m3o/ingress/proto/app"
)

// run makes an app. What can be wrong with the request is looked for in the
// original's order, because clients match on its words (WIRE.md 4).
func (a *Apps) run(ctx context.Context, caller api.Caller, req *apppb.RunRequest) (*apppb.RunResponse, error) {
	const method = "app.run"
	if err := checkRun(method, req); err != nil {
		return nil, err
	}
	region, ok := a.registry.Regions().Pick(req.GetRegion())
	if !ok {
		return nil, api.BadRequest(method, "Unsupported region")
	}
	if req.GetRepo() != "" {
		return nil, api.NotImplemented(method, "this ingress cannot build and run a repository; "+
			"start the app yourself and give its address in the field backend instead of repo")
	}
	w, err := a.registry.Create(ctx, caller, workload.Spec{
		Name: req.GetName(), Region: region, Backend: req.GetBackend(), Env: req.GetEnvVars(),
	})
	if errors.Is(err, workload.ErrExists) {
		return nil, api.BadRequest(method, "%s already running", req.GetName())
	}
	if err != nil {
		return nil, workload.Refusal(method, err)
	}
	return &apppb.RunResponse{Service: a.message(w)}, nil
}

// checkRun looks at the name and at where the app shall come from.
func checkRun(method string, req *apppb.RunRequest) error {
	if req.GetName() == "" {
		return api.BadRequest(method, "missing name")
	}
	if req.GetRepo() == "" && req.GetBackend() == "" {
		return api.BadRequest(method, "missing repo")
	}
	if err := workload.CheckName(req.GetName()); err != nil {
		return workload.Refusal(method, err)
	}
	if req.GetBackend() == "" {
		if !workload.ValidRepo(req.GetRepo()) {
			return api.BadRequest(method, "invalid git repo")
		}
		return nil
	}
	if req.GetRepo() != "" || req.GetBranch() != "" || req.GetPath() != "" || req.GetPort() != 0 {
		return api.BadRequest(method, "repo, branch, path and port do not go with backend, whose URL says all of it")
	}
	return nil
}
