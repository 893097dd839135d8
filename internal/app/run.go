package app

import (
	"context"
	"errors"

	"github.com/m3o/ingress/internal/api"
	"github.com/m3o/ingress/internal/workload"
	apppb "github.com/m3o/ingress/proto/app"
)

// run makes an app. What can be wrong with the request is looked for in the
// original's order, because clients match on its words (WIRE.md 4). It does not
// wait for the app: that is Deploying until it has been fetched, built and started.
func (a *Apps) run(ctx context.Context, caller api.Caller, req *apppb.RunRequest) (*apppb.RunResponse, error) {
	const method = "app.run"
	if err := a.checkRun(method, req); err != nil {
		return nil, err
	}
	region, ok := a.registry.Regions().Pick(req.GetRegion())
	if !ok {
		return nil, api.BadRequest(method, "Unsupported region")
	}
	settings, err := settingsOf(req)
	if err != nil {
		return nil, workload.Refusal(method, err)
	}
	w, err := a.registry.Create(ctx, caller, workload.Spec{
		Name: req.GetName(), Region: region, Backend: req.GetBackend(), Env: req.GetEnvVars(),
		Source: sourceOf(req), Settings: settings,
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
func (a *Apps) checkRun(method string, req *apppb.RunRequest) error {
	if req.GetName() == "" {
		return api.BadRequest(method, "missing name")
	}
	if req.GetRepo() == "" && req.GetBackend() == "" && req.GetUpload() == "" {
		return api.BadRequest(method, "missing repo")
	}
	if err := workload.CheckName(req.GetName()); err != nil {
		return workload.Refusal(method, err)
	}
	switch {
	case req.GetBackend() != "":
		return checkAlone(method, req)
	case req.GetUpload() != "":
		if req.GetRepo() != "" || req.GetBranch() != "" || req.GetPath() != "" {
			return api.BadRequest(method, "repo, branch and path do not go with upload, which is the source itself")
		}
	case !a.registry.ValidRepo(req.GetRepo()):
		return api.BadRequest(method, "invalid git repo")
	}
	return nil
}

// checkAlone refuses what would have no effect beside a backend.
func checkAlone(method string, req *apppb.RunRequest) error {
	if req.GetRepo() != "" || req.GetUpload() != "" || req.GetBranch() != "" || req.GetPath() != "" || req.GetPort() != 0 {
		return api.BadRequest(method, "repo, upload, branch, path and port do not go with backend, whose URL says all of it")
	}
	if req.GetHealthPath() != "" || req.GetIdleTimeout() != "" || req.GetConcurrency() != 0 {
		return api.BadRequest(method, "health_path, idle_timeout and concurrency do not go with backend, which is run elsewhere")
	}
	return nil
}

// sourceOf returns what to build; the zero Source for a backend.
func sourceOf(req *apppb.RunRequest) workload.Source {
	return workload.Source{Repo: req.GetRepo(), Ref: req.GetBranch(), Path: folder(req.GetPath()), Upload: req.GetUpload()}
}

// settingsOf returns how to run it. Its errors are those of a Registry.
func settingsOf(req *apppb.RunRequest) (workload.Settings, error) {
	settings := workload.DefaultSettings()
	settings.HealthPath, settings.Concurrency = req.GetHealthPath(), int(req.GetConcurrency())
	if text := req.GetIdleTimeout(); text != "" {
		idle, err := workload.ParseIdle(text)
		if err != nil {
			return settings, err
		}
		settings.IdleTimeout = idle
	}
	return settings, nil
}
