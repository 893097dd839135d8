package workload

import (
	"context"
	"fmt"
	"math"
	"strings"

	"github.com/m3o/ingress/internal/api"
	"github.com/m3o/ingress/internal/logfile"
)

// maxLog is the most of a log that one answer has, in bytes.
const maxLog = 1 << 20

// Kinds of logs, for LogRequest.Type.
const (
	BuildLogs = "build"
	RunLogs   = "run"
)

// LogRequest asks for a part of a version's log.
type LogRequest struct {
	// Type is BuildLogs or RunLogs.
	Type string
	// Version is whose; 0 for the current one, or, where there is none and for
	// builds, the one asked for last.
	Version int64
	// Offset is where to begin, in bytes from the first ever written; a negative
	// one counts from the end.
	Offset int64
}

// Log is a part of a log.
type Log struct {
	// Text is at most 1 MiB of the log, with what is no UTF-8 replaced.
	Text string
	// Next is the Offset to go on from.
	Next int64
	// Version is whose log it is.
	Version int64
}

// Logs returns a part of the log of a version of a workload of the caller's; a
// log that is not there yet is empty. The error is ErrRegistered for a backend,
// whose log is where it runs, ErrNoVersion, or ErrPruned.
func (r *Registry) Logs(ctx context.Context, caller api.Caller, name string, req LogRequest) (Log, error) {
	w, err := r.find(ctx, r.db, caller.Tenant, name)
	if err != nil {
		return Log{}, err
	}
	number := req.Version
	if number == 0 {
		if w.Newest == nil {
			return Log{}, ErrRegistered
		}
		number = w.Newest.Number
		if req.Type == RunLogs && w.Current != 0 {
			number = w.Current
		}
	}
	v, err := r.version(ctx, r.db, w.ID, number)
	if err != nil {
		return Log{}, err
	}
	if !v.Available {
		return Log{}, ErrPruned
	}
	path, err := r.logPath(req.Type, w.ID, number)
	if err != nil {
		return Log{}, err
	}
	return readLog(path, number, req.Offset)
}

func (r *Registry) logPath(logType, id string, number int64) (string, error) {
	dir := r.layout.Version(r.kind, id, number)
	switch logType {
	case BuildLogs:
		return BuildLog(dir), nil
	case RunLogs:
		return RunLog(dir), nil
	}
	return "", invalid("logs_type", "it must be %s or %s", BuildLogs, RunLogs)
}

func readLog(path string, number, offset int64) (Log, error) {
	if offset < 0 {
		_, end, err := logfile.Read(path, math.MaxInt64, 0)
		if err != nil {
			return Log{}, fmt.Errorf("find the end of a log: %w", err)
		}
		offset = max(end+offset, 0)
	}
	text, next, err := logfile.Read(path, offset, maxLog)
	if err != nil {
		return Log{}, fmt.Errorf("read a log: %w", err)
	}
	// A replacement takes three bytes for one, and the bound is the answer's.
	for len(text) > 0 {
		valid := strings.ToValidUTF8(string(text), "\uFFFD")
		if len(valid) <= maxLog {
			return Log{Text: valid, Next: next, Version: number}, nil
		}
		half := len(text) / 2
		next -= int64(len(text) - half)
		text = text[:half]
	}
	return Log{Next: next, Version: number}, nil
}
