package function

import (
	"time"

	"github.com/m3o/ingress/internal/workload"
	functionpb "github.com/m3o/ingress/proto/function"
)

func (f *Functions) message(w workload.Workload) *functionpb.Func {
	source, files := f.inline(w)
	return &functionpb.Func{
		Id:          w.ID,
		Name:        w.Name,
		Source:      source,
		Repo:        w.Source.Repo,
		Branch:      w.Source.Ref,
		Entrypoint:  w.Program.Entrypoint,
		Subfolder:   w.Source.Path,
		Runtime:     w.Program.Runtime,
		Region:      w.Region,
		EnvVars:     w.HiddenEnv(),
		Status:      status(w),
		Url:         f.url(w.ID),
		Created:     w.Created.Format(time.RFC3339Nano),
		Updated:     w.Updated.Format(time.RFC3339Nano),
		Backend:     w.Backend,
		Version:     w.Current,
		Commit:      commit(w),
		IdleTimeout: idle(w),
		Concurrency: int32(w.Settings.Concurrency),
		State:       string(w.State),
		Reason:      w.WhyNot(),
		Newest:      newest(w),
		Files:       files,
	}
}

// inline shows source that was given inline as it was given: a single file under
// the name that source is stored under is source.
func (f *Functions) inline(w workload.Workload) (source string, files map[string]string) {
	if len(w.Source.Files) == 1 {
		if source, ok := w.Source.Files[f.languages.SourceFile(w.Program.Runtime)]; ok {
			return source, nil
		}
	}
	return "", w.Source.Files
}

// idle is empty for a registered backend, which nobody here stops.
func idle(w workload.Workload) string {
	if !w.Managed() {
		return ""
	}
	return workload.FormatIdle(w.Settings.IdleTimeout)
}

// commit returns what the version that answers was built from, as far as it is
// known: an older one's is among its versions.
func commit(w workload.Workload) string {
	if w.Newest == nil || w.Newest.Number != w.Current {
		return ""
	}
	return w.Newest.Commit
}

func newest(w workload.Workload) *functionpb.Version {
	if w.Newest == nil {
		return nil
	}
	return versionMessage(*w.Newest, w.Current)
}

func versionMessage(v workload.Version, current int64) *functionpb.Version {
	shown := &functionpb.Version{
		Number:    v.Number,
		State:     string(v.State),
		Reason:    v.Reason,
		Source:    v.Source.Origin(),
		Branch:    v.Source.Ref,
		Commit:    v.Commit,
		Size:      v.Size,
		Created:   v.Created.Format(time.RFC3339Nano),
		Current:   v.Number == current,
		Available: v.Available,
	}
	for _, step := range v.Steps {
		shown.Steps = append(shown.Steps, stepMessage(step))
	}
	return shown
}

func stepMessage(step workload.Step) *functionpb.Step {
	shown := &functionpb.Step{Name: step.Name, Started: step.Started.Format(time.RFC3339Nano), Detail: step.Detail}
	if step.Took > 0 {
		shown.Took = step.Took.String()
	}
	return shown
}

// status returns the platform's word for a state (WIRE.md 5). A function that
// sleeps is as active as any: the next request is answered.
func status(w workload.Workload) string {
	switch {
	case !w.Managed():
		return "Deployed"
	case w.Current != 0 && (w.State == workload.Ready || w.State == workload.Idle || w.State == workload.Starting || w.State == workload.Draining):
		return "Active"
	case w.State.OnItsWay():
		return "Deploying"
	}
	return "DeploymentError"
}
