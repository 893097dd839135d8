package function

import (
	"context"
	"io"

	"github.com/m3o/ingress/internal/api"
	"github.com/m3o/ingress/internal/workload"
	functionpb "github.com/m3o/ingress/proto/function"
)

// upload stores an archive for a Deploy or an Update that follows.
func (f *Functions) upload(ctx context.Context, caller api.Caller, body io.Reader) (*functionpb.UploadResponse, error) {
	id, size, err := f.registry.AddUpload(ctx, caller, body)
	if err != nil {
		return nil, workload.Refusal("function.upload", err)
	}
	return &functionpb.UploadResponse{Upload: id, Size: size}, nil
}

func (f *Functions) versions(ctx context.Context, caller api.Caller, req *functionpb.VersionsRequest) (*functionpb.VersionsResponse, error) {
	const method = "function.versions"
	if req.GetName() == "" {
		return nil, api.BadRequest(method, "Missing name")
	}
	list, current, err := f.registry.Versions(ctx, caller, req.GetName())
	if err != nil {
		return nil, workload.Refusal(method, err)
	}
	res := &functionpb.VersionsResponse{}
	for _, v := range list {
		res.Versions = append(res.Versions, versionMessage(v, current))
	}
	return res, nil
}

func (f *Functions) rollback(ctx context.Context, caller api.Caller, req *functionpb.RollbackRequest) (*functionpb.RollbackResponse, error) {
	const method = "function.rollback"
	if req.GetName() == "" {
		return nil, api.BadRequest(method, "Missing name")
	}
	if req.GetVersion() < 0 {
		return nil, workload.Refusal(method, workload.ErrNoVersion)
	}
	w, err := f.registry.Rollback(ctx, caller, req.GetName(), req.GetVersion())
	if err != nil {
		return nil, workload.Refusal(method, err)
	}
	return &functionpb.RollbackResponse{Function: f.message(w)}, nil
}

// logs returns a part of what a function printed. A registered backend has none
// here: saying so beats an empty log, which would mean that it printed nothing. The
// error id is the original's for both services (WIRE.md 4).
func (f *Functions) logs(ctx context.Context, caller api.Caller, req *functionpb.LogsRequest) (*functionpb.LogsResponse, error) {
	const method = "app.Logs"
	logType := req.GetLogsType()
	switch logType {
	case "":
		logType = workload.BuildLogs
	case workload.BuildLogs, workload.RunLogs:
	default:
		return nil, api.BadRequest(method, "Invalid logs_type specified")
	}
	if req.GetName() == "" {
		return nil, api.BadRequest(method, "Missing function name")
	}
	if req.GetOffset() < 0 || req.GetVersion() < 0 {
		return nil, api.BadRequest(method, "offset and version must not be negative")
	}
	w, err := f.registry.Get(ctx, caller, req.GetName())
	if err != nil {
		return nil, workload.Refusal(method, err)
	}
	if w.Newest == nil {
		return nil, api.NotImplemented(method, "%s is a registered backend, which is built and runs elsewhere; its logs are there, too", w.Name)
	}
	latest := w.Latest(logType)
	version := req.GetVersion()
	if version == 0 {
		version = latest
	}
	part, err := f.registry.Logs(ctx, caller, w.Name, workload.LogRequest{Type: logType, Version: version, Offset: req.GetOffset()})
	if err != nil {
		return nil, workload.Refusal(method, err)
	}
	return &functionpb.LogsResponse{Logs: part.Text, Next: part.Next, Version: part.Version, Latest: latest}, nil
}
