package function

import (
	"context"
	"slices"

	"github.com/m3o/ingress/internal/api"
	"github.com/m3o/ingress/internal/workload"
	functionpb "github.com/m3o/ingress/proto/function"
)

// invalidRuntime is the original's word for a language it does not have. Ours says
// in addition why this machine does not.
const invalidRuntime = "invalid runtime"

// deploy makes a function. What can be wrong with the request is looked for in
// the original's order, because clients match on its words (WIRE.md 4). It does not
// wait for the function: that is Deploying until it has been built and started.
func (f *Functions) deploy(ctx context.Context, caller api.Caller, req *functionpb.DeployRequest) (*functionpb.DeployResponse, error) {
	const method = "function.deploy"
	spec := workload.Spec{Name: req.GetName(), Backend: req.GetBackend(), Env: req.GetEnvVars(), Settings: workload.DefaultSettings()}
	var err error
	if req.GetName() == "" {
		return nil, api.BadRequest(method, "Missing name")
	}
	if req.GetBackend() != "" {
		err = checkAlone(method, req)
	} else {
		spec.Source, spec.Program, err = f.code(ctx, method, req)
	}
	if err != nil {
		return nil, err
	}
	var ok bool
	if spec.Region, ok = f.registry.Regions().Pick(req.GetRegion()); !ok {
		return nil, api.BadRequest(method, "Unsupported region")
	}
	if err := workload.CheckName(req.GetName()); err != nil {
		return nil, workload.Refusal(method, err)
	}
	if spec.Settings, err = settingsOf(req); err != nil {
		return nil, workload.Refusal(method, err)
	}
	w, err := f.registry.Create(ctx, caller, spec)
	if err != nil {
		return nil, workload.Refusal(method, err)
	}
	return &functionpb.DeployResponse{Function: f.message(w)}, nil
}

// code returns what a request for a new function says of its source.
func (f *Functions) code(ctx context.Context, method string, req *functionpb.DeployRequest) (source workload.Source, program workload.Program, err error) {
	if req.GetSource() == "" && req.GetRepo() == "" && req.GetUpload() == "" && len(req.GetFiles()) == 0 {
		return source, program, api.BadRequest(method, "Missing source or repo")
	}
	if program.Runtime, err = f.runtime(ctx, method, req.GetRuntime()); err != nil {
		return source, program, err
	}
	if program.Entrypoint = req.GetEntrypoint(); program.Entrypoint == "" {
		program.Entrypoint = f.languages.DefaultEntrypoint(program.Runtime, req.GetName())
	}
	source, err = f.source(method, program.Runtime, req)
	if err == nil && source.Repo == "" && (req.GetBranch() != "" || req.GetSubfolder() != "") {
		err = api.BadRequest(method, "branch and subfolder go with repo only")
	}
	source.Ref, source.Path = req.GetBranch(), folder(req.GetSubfolder())
	return source, program, err
}

// origin is what requests to deploy and to update say of the source.
type origin interface {
	GetSource() string
	GetRepo() string
	GetUpload() string
	GetFiles() map[string]string
}

// source returns the one source a request has; the zero Source when it has none.
func (f *Functions) source(method, runtime string, req origin) (workload.Source, error) {
	given := 0
	for _, is := range []bool{req.GetSource() != "", req.GetRepo() != "", req.GetUpload() != "", len(req.GetFiles()) > 0} {
		if is {
			given++
		}
	}
	switch {
	case given > 1:
		return workload.Source{}, api.BadRequest(method, "source, files, upload and repo exclude each other")
	case req.GetSource() != "":
		return workload.Source{Files: map[string]string{f.languages.SourceFile(runtime): req.GetSource()}}, nil
	case req.GetRepo() != "" && !f.registry.ValidRepo(req.GetRepo()):
		return workload.Source{}, api.BadRequest(method, "invalid git repo")
	}
	source := workload.Source{Repo: req.GetRepo(), Upload: req.GetUpload()}
	if len(req.GetFiles()) > 0 { // an empty object is no source
		source.Files = req.GetFiles()
	}
	return source, nil
}

// runtime returns the versionless name of a language this machine can run.
func (f *Functions) runtime(ctx context.Context, method, asked string) (string, error) {
	name, ok := f.languages.ParseRuntime(asked)
	available, unavailable := f.languages.Runtimes(ctx)
	switch {
	case ok && slices.Contains(available, name):
		return name, nil
	case asked == "":
		return "", api.BadRequest(method, "%s", invalidRuntime)
	case ok && unavailable[name] != "":
		return "", api.BadRequest(method, "%s: %s", invalidRuntime, unavailable[name])
	}
	return "", api.BadRequest(method, "%s: there is no language of that name; function/Runtimes lists those there are", invalidRuntime)
}

// checkAlone refuses what would have no effect beside a backend.
func checkAlone(method string, req *functionpb.DeployRequest) error {
	for _, field := range []string{
		req.GetSource(), req.GetRepo(), req.GetUpload(), req.GetBranch(), req.GetSubfolder(), req.GetEntrypoint(), req.GetRuntime(),
	} {
		if field != "" || len(req.GetFiles()) > 0 {
			return api.BadRequest(method, "source, files, upload, repo, branch, subfolder, entrypoint and runtime do not go with backend, whose URL says all of it")
		}
	}
	if req.GetIdleTimeout() != "" || req.GetConcurrency() != 0 {
		return api.BadRequest(method, "idle_timeout and concurrency do not go with backend, which is run elsewhere")
	}
	return nil
}

// settingsOf returns how to run it. Its errors are those of a Registry.
func settingsOf(req *functionpb.DeployRequest) (workload.Settings, error) {
	settings := workload.DefaultSettings()
	settings.Concurrency = int(req.GetConcurrency())
	if text := req.GetIdleTimeout(); text != "" {
		idle, err := workload.ParseIdle(text)
		if err != nil {
			return settings, err
		}
		settings.IdleTimeout = idle
	}
	return settings, nil
}

// folder returns a folder of a repository as it is stored: "." is its top.
func folder(path string) string {
	if path == "." {
		return ""
	}
	return path
}
