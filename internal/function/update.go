package function

import (
	"context"

	"github.com/m3o/ingress/internal/api"
	"github.com/m3o/ingress/internal/workload"
	functionpb "github.com/m3o/ingress/proto/function"
)

// noConcurrency takes back a limit, which zero would leave alone.
const noConcurrency = -1

// update changes a function. One that names nothing but the function deploys the
// latest of its source.
func (f *Functions) update(ctx context.Context, caller api.Caller, req *functionpb.UpdateRequest) (*functionpb.UpdateResponse, error) {
	const method = "function.update"
	if req.GetName() == "" {
		return nil, api.BadRequest(method, "Missing name")
	}
	w, err := f.registry.Get(ctx, caller, req.GetName())
	if err != nil {
		return nil, workload.Refusal(method, err)
	}
	change, err := f.changeOf(ctx, method, w, req)
	if err != nil {
		return nil, err
	}
	if err := f.registry.Update(ctx, caller, req.GetName(), change); err != nil {
		return nil, workload.Refusal(method, err)
	}
	return &functionpb.UpdateResponse{}, nil
}

// changeOf returns what the request changes in a function.
func (f *Functions) changeOf(ctx context.Context, method string, w workload.Workload, req *functionpb.UpdateRequest) (change workload.Update, err error) {
	change = workload.Update{Backend: req.GetBackend(), Env: req.GetEnvVars()}
	program, err := f.newProgram(ctx, method, w, req)
	if err != nil {
		return change, err
	}
	if program != w.Program {
		change.Program = &program
	}
	if change.Source, err = f.newSource(method, program.Runtime, w, req); err != nil {
		return change, err
	}
	if change.Backend != "" && (change.Program != nil || change.Source.Origin() != "") {
		return change, api.BadRequest(method, "source, files, upload, repo, branch, subfolder, entrypoint and runtime do not go with backend, whose URL says all of it")
	}
	if text := req.GetIdleTimeout(); text != "" {
		idle, err := workload.ParseIdle(text)
		if err != nil {
			return change, workload.Refusal(method, err)
		}
		change.IdleTimeout = &idle
	}
	if n := int(req.GetConcurrency()); n != 0 {
		if n == noConcurrency {
			n = 0
		}
		change.Concurrency = &n
	}
	nothing := change.Backend == "" && len(change.Env) == 0 && change.Source.Origin() == "" && change.Program == nil &&
		change.IdleTimeout == nil && change.Concurrency == nil
	change.Redeploy = nothing && w.Newest != nil
	return change, nil
}

// newProgram returns what the function is written in from now on. An entrypoint
// that was never chosen goes with the language. A registered backend, which has
// none, needs one for the source that is to replace it.
func (f *Functions) newProgram(ctx context.Context, method string, w workload.Workload, req *functionpb.UpdateRequest) (program workload.Program, err error) {
	program = w.Program
	code := req.GetSource() != "" || req.GetRepo() != "" || req.GetUpload() != "" || len(req.GetFiles()) > 0
	if req.GetRuntime() != "" || code && program.Runtime == "" {
		if program.Runtime, err = f.runtime(ctx, method, req.GetRuntime()); err != nil {
			return program, err
		}
	}
	if program.Runtime != w.Program.Runtime && w.Program.Entrypoint == f.defaultEntrypoint(w) {
		program.Entrypoint = f.languages.DefaultEntrypoint(program.Runtime, w.Name)
	}
	if req.GetEntrypoint() != "" {
		program.Entrypoint = req.GetEntrypoint()
	}
	return program, nil
}

func (f *Functions) defaultEntrypoint(w workload.Workload) string {
	if w.Program.Runtime == "" {
		return ""
	}
	return f.languages.DefaultEntrypoint(w.Program.Runtime, w.Name)
}

// newSource returns the source to deploy instead of the present one, or the zero
// Source. A branch or a folder by itself is one of the present repository.
func (f *Functions) newSource(method, runtime string, w workload.Workload, req *functionpb.UpdateRequest) (workload.Source, error) {
	source, err := f.source(method, runtime, req)
	if err != nil {
		return source, err
	}
	if req.GetBranch() == "" && req.GetSubfolder() == "" {
		return source, nil
	}
	if source.Origin() == "" {
		source = w.Source
	}
	if source.Repo == "" {
		return source, api.BadRequest(method, "branch and subfolder go with repo only")
	}
	if req.GetBranch() != "" {
		source.Ref = req.GetBranch()
	}
	if req.GetSubfolder() != "" {
		source.Path = folder(req.GetSubfolder())
	}
	return source, nil
}
