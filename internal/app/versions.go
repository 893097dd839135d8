package app

import (
	"context"
	"io"

	"github.com/m3o/ingress/internal/api"
	"github.com/m3o/ingress/internal/workload"
	apppb "github.com/m3o/ingress/proto/app"
)

// upload stores an archive for a Run or an Update that follows.
func (a *Apps) upload(ctx context.Context, caller api.Caller, body io.Reader) (*apppb.UploadResponse, error) {
	id, size, err := a.registry.AddUpload(ctx, caller, body)
	if err != nil {
		return nil, workload.Refusal("app.upload", err)
	}
	return &apppb.UploadResponse{Upload: id, Size: size}, nil
}

func (a *Apps) versions(ctx context.Context, caller api.Caller, req *apppb.VersionsRequest) (*apppb.VersionsResponse, error) {
	const method = "app.versions"
	if req.GetName() == "" {
		return nil, api.BadRequest(method, "missing name")
	}
	list, current, err := a.registry.Versions(ctx, caller, req.GetName())
	if err != nil {
		return nil, workload.Refusal(method, err)
	}
	res := &apppb.VersionsResponse{}
	for _, v := range list {
		res.Versions = append(res.Versions, versionMessage(v, current))
	}
	return res, nil
}

func (a *Apps) rollback(ctx context.Context, caller api.Caller, req *apppb.RollbackRequest) (*apppb.RollbackResponse, error) {
	const method = "app.rollback"
	if req.GetName() == "" {
		return nil, api.BadRequest(method, "missing name")
	}
	if req.GetVersion() < 0 {
		return nil, workload.Refusal(method, workload.ErrNoVersion)
	}
	w, err := a.registry.Rollback(ctx, caller, req.GetName(), req.GetVersion())
	if err != nil {
		return nil, workload.Refusal(method, err)
	}
	return &apppb.RollbackResponse{Service: a.message(w)}, nil
}

// logs returns a part of what an app printed. A registered backend has none here:
// saying so beats an empty log, which would mean that it printed nothing.
func (a *Apps) logs(ctx context.Context, caller api.Caller, req *apppb.LogsRequest) (*apppb.LogsResponse, error) {
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
		return nil, api.BadRequest(method, "missing name")
	}
	if req.GetOffset() < 0 || req.GetVersion() < 0 {
		return nil, api.BadRequest(method, "offset and version must not be negative")
	}
	w, err := a.registry.Get(ctx, caller, req.GetName())
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
	part, err := a.registry.Logs(ctx, caller, w.Name, workload.LogRequest{Type: logType, Version: version, Offset: req.GetOffset()})
	if err != nil {
		return nil, workload.Refusal(method, err)
	}
	return &apppb.LogsResponse{Logs: part.Text, Next: part.Next, Version: part.Version, Latest: latest}, nil
}
