package app

import (
	"time"

	"github.com/m3o/ingress/internal/workload"
	apppb "github.com/m3o/ingress/proto/app"
)

func (a *Apps) message(w workload.Workload) *apppb.Service {
	return &apppb.Service{
		Id:          w.ID,
		Name:        w.Name,
		Repo:        w.Source.Repo,
		Branch:      w.Source.Ref,
		Path:        w.Source.Path,
		Region:      w.Region,
		Status:      status(w),
		Url:         a.url(w.ID),
		Backend:     w.Backend,
		Created:     w.Created.Format(time.RFC3339Nano),
		Updated:     w.Updated.Format(time.RFC3339Nano),
		EnvVars:     w.HiddenEnv(),
		Version:     w.Current,
		Commit:      commit(w),
		HealthPath:  w.Settings.HealthPath,
		IdleTimeout: idle(w),
		Concurrency: int32(w.Settings.Concurrency),
		State:       string(w.State),
		Reason:      w.WhyNot(),
		Newest:      newest(w),

		CustomDomains: w.Domains,
	}
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

func newest(w workload.Workload) *apppb.Version {
	if w.Newest == nil {
		return nil
	}
	return versionMessage(*w.Newest, w.Current)
}

func versionMessage(v workload.Version, current int64) *apppb.Version {
	shown := &apppb.Version{
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

func stepMessage(step workload.Step) *apppb.Step {
	shown := &apppb.Step{Name: step.Name, Started: step.Started.Format(time.RFC3339Nano), Detail: step.Detail}
	if step.Took > 0 {
		shown.Took = step.Took.String()
	}
	return shown
}

// status returns the platform's word for a state (WIRE.md 5). An app that sleeps,
// or is started again, runs as far as its clients are concerned: the next request
// is answered.
func status(w workload.Workload) string {
	answers := w.Current != 0 || !w.Managed()
	switch {
	case w.Updating():
		return "Updating"
	case answers && (w.State == workload.Ready || w.State == workload.Idle || w.State == workload.Starting || w.State == workload.Draining):
		return "Running"
	case w.State.OnItsWay():
		return "Deploying"
	case w.Reason != "":
		return "DeploymentError: " + w.Reason
	}
	return "DeploymentError: " + string(w.State)
}
