package app

import (
	"context"

	"github.com/m3o/ingress/internal/api"
	"github.com/m3o/ingress/internal/workload"
	apppb "github.com/m3o/ingress/proto/app"
)

// Words with which an update takes back a setting that empty would leave alone.
const (
	noHealthPath  = "-"
	topFolder     = "."
	noConcurrency = -1
)

// update changes an app. One that names nothing but the app deploys the latest of
// its source, as in the original.
func (a *Apps) update(ctx context.Context, caller api.Caller, req *apppb.UpdateRequest) (*apppb.UpdateResponse, error) {
	const method = "app.update"
	if req.GetName() == "" {
		return nil, api.BadRequest(method, "missing name")
	}
	w, err := a.registry.Get(ctx, caller, req.GetName())
	if err != nil {
		return nil, workload.Refusal(method, err)
	}
	change, err := a.changeOf(method, w, req)
	if err != nil {
		return nil, err
	}
	if err := a.registry.Update(ctx, caller, req.GetName(), change); err != nil {
		return nil, workload.Refusal(method, err)
	}
	return &apppb.UpdateResponse{}, nil
}

// changeOf returns what the request changes in an app.
func (a *Apps) changeOf(method string, w workload.Workload, req *apppb.UpdateRequest) (change workload.Update, err error) {
	change = workload.Update{Backend: req.GetBackend(), Env: req.GetEnvVars()}
	if change.Source, err = a.newSource(method, w, req); err != nil {
		return change, err
	}
	if err := changeSettings(&change, req); err != nil {
		return change, workload.Refusal(method, err)
	}
	nothing := change.Backend == "" && len(change.Env) == 0 && change.Source.Origin() == "" &&
		change.HealthPath == nil && change.IdleTimeout == nil && change.Concurrency == nil
	change.Redeploy = nothing && w.Newest != nil
	return change, nil
}

// newSource returns the source to deploy instead of the present one, or the zero
// Source. A branch or a folder by itself is one of the present repository.
func (a *Apps) newSource(method string, w workload.Workload, req *apppb.UpdateRequest) (workload.Source, error) {
	var none workload.Source
	ofRepo := req.GetRepo() != "" || req.GetBranch() != "" || req.GetPath() != ""
	given := 0
	for _, is := range []bool{req.GetBackend() != "", req.GetUpload() != "", ofRepo} {
		if is {
			given++
		}
	}
	switch {
	case given > 1:
		return none, api.BadRequest(method, "backend, upload and repo exclude each other")
	case req.GetUpload() != "":
		return workload.Source{Upload: req.GetUpload()}, nil
	case !ofRepo:
		return none, nil
	case req.GetRepo() != "" && !a.registry.ValidRepo(req.GetRepo()):
		return none, api.BadRequest(method, "invalid git repo")
	}
	source := workload.Source{Repo: req.GetRepo(), Ref: req.GetBranch(), Path: folder(req.GetPath())}
	if source.Repo != "" {
		return source, nil
	}
	if w.Source.Repo == "" {
		return none, api.BadRequest(method, "branch and path need a repo: %s was not made from one", w.Name)
	}
	source = w.Source
	if req.GetBranch() != "" {
		source.Ref = req.GetBranch()
	}
	if req.GetPath() != "" {
		source.Path = folder(req.GetPath())
	}
	return source, nil
}

func folder(path string) string {
	if path == topFolder {
		return ""
	}
	return path
}

// changeSettings reads the settings that the request has.
func changeSettings(change *workload.Update, req *apppb.UpdateRequest) error {
	if path := req.GetHealthPath(); path != "" {
		if path == noHealthPath {
			path = ""
		}
		change.HealthPath = &path
	}
	if text := req.GetIdleTimeout(); text != "" {
		idle, err := workload.ParseIdle(text)
		if err != nil {
			return err
		}
		change.IdleTimeout = &idle
	}
	if n := int(req.GetConcurrency()); n != 0 {
		if n == noConcurrency {
			n = 0
		}
		change.Concurrency = &n
	}
	return nil
}
