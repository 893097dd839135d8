package app

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/m3o/ingress/internal/workload"
	apppb "github.com/m3o/ingress/proto/app"
)

func TestStatusWords(t *testing.T) {
	version := func(number int64, state workload.State) *workload.Version {
		return &workload.Version{Number: number, State: state, Reason: "why"}
	}
	for want, all := range map[string][]workload.Workload{
		"Deploying": {{State: workload.Pending}, {State: workload.Building}, {State: workload.Starting, Newest: version(1, workload.Starting)}},
		"Running": {
			{Backend: "http://a.b", State: workload.Ready},
			{State: workload.Ready, Current: 1}, {State: workload.Idle, Current: 1}, {State: workload.Starting, Current: 1},
			{State: workload.Ready, Current: 1, Newest: version(2, workload.Failed)},
		},
		"Updating": {
			{State: workload.Ready, Current: 1, Newest: version(2, workload.Building)},
			{State: workload.Idle, Current: 1, Newest: version(2, workload.Pending)},
			{Backend: "http://a.b", State: workload.Ready, Newest: version(1, workload.Building)},
		},
		"DeploymentError: no such branch": {{State: workload.Failed, Reason: "no such branch"}},
		"DeploymentError: exit status 1":  {{State: workload.CrashLooping, Current: 1, Reason: "exit status 1"}},
		"DeploymentError: stopped":        {{State: workload.Stopped}},
	} {
		for _, w := range all {
			if got := status(w); got != want {
				t.Errorf("%+v: got %s, want %s", w, got, want)
			}
		}
	}
}

func TestAFailedUpdateSaysWhyWhileTheOldVersionAnswers(t *testing.T) {
	a := New(Options{URL: func(id string) string { return "http://" + id }})
	w := workload.Workload{
		ID: "hello", State: workload.Ready, Current: 1, Env: []string{"TOKEN"},
		Source:   workload.Source{Repo: "github.com/a/b", Ref: "main", Path: "x"},
		Settings: workload.Settings{HealthPath: "/up", IdleTimeout: 15 * time.Minute, Concurrency: 3},
		Newest: &workload.Version{
			Number: 2, State: workload.Failed, Reason: "no such branch", Source: workload.Source{Upload: "u1"}, Available: true,
			Steps: []workload.Step{{Name: workload.StepFetch, Took: 1250 * time.Millisecond, Detail: "git"}, {Name: workload.StepBuild}},
		},
	}
	got := a.message(w)
	if got.GetStatus() != "Running" || got.GetReason() != "version 2: no such branch" || got.GetIdleTimeout() != "15m0s" ||
		got.GetRepo() != "github.com/a/b" || got.GetBranch() != "main" || got.GetPath() != "x" || got.GetHealthPath() != "/up" || got.GetConcurrency() != 3 ||
		got.GetEnvVars()["TOKEN"] != workload.Hidden || got.GetVersion() != 1 || got.GetCommit() != "" {
		t.Errorf("got %v", got)
	}
	newest := got.GetNewest()
	if newest.GetSource() != "upload" || newest.GetCurrent() || !newest.GetAvailable() || newest.GetSteps()[0].GetTook() != "1.25s" || newest.GetSteps()[1].GetTook() != "" {
		t.Errorf("got newest %v", newest)
	}
}

func TestWhatAnUpdateChanges(t *testing.T) {
	w := workload.Workload{Name: "hello", Source: workload.Source{Repo: "github.com/a/b", Ref: "main", Path: "x"}, Newest: &workload.Version{Number: 1}}
	zero, minute, none, health := 0, time.Minute, "", "/up"
	apps := &Apps{registry: workload.NewRegistry(workload.App, workload.Options{})}
	for name, row := range map[string]struct {
		req  *apppb.UpdateRequest
		want workload.Update
	}{
		"nothing but the name": {&apppb.UpdateRequest{}, workload.Update{Redeploy: true}},
		"the environment":      {&apppb.UpdateRequest{EnvVars: map[string]string{"A": "b"}}, workload.Update{Env: map[string]string{"A": "b"}}},
		"the branch":           {&apppb.UpdateRequest{Branch: "next"}, workload.Update{Source: workload.Source{Repo: "github.com/a/b", Ref: "next", Path: "x"}}},
		"the folder":           {&apppb.UpdateRequest{Path: "."}, workload.Update{Source: workload.Source{Repo: "github.com/a/b", Ref: "main"}}},
		"the repository":       {&apppb.UpdateRequest{Repo: "github.com/c/d"}, workload.Update{Source: workload.Source{Repo: "github.com/c/d"}}},
		"an upload":            {&apppb.UpdateRequest{Upload: "u1"}, workload.Update{Source: workload.Source{Upload: "u1"}}},
		"settings":             {&apppb.UpdateRequest{HealthPath: "/up", IdleTimeout: "1m"}, workload.Update{HealthPath: &health, IdleTimeout: &minute}},
		"settings taken back":  {&apppb.UpdateRequest{HealthPath: "-", Concurrency: -1}, workload.Update{HealthPath: &none, Concurrency: &zero}},
	} {
		got, err := apps.changeOf("app.update", w, row.req)
		if diff := cmp.Diff(row.want, got); err != nil || diff != "" {
			t.Errorf("%s: %v (-want +got):\n%s", name, err, diff)
		}
	}
	registered := workload.Workload{Backend: "http://a.b"}
	if got, err := apps.changeOf("app.update", registered, &apppb.UpdateRequest{}); err != nil || got.Redeploy {
		t.Errorf("a registered backend is deployed again: %+v, %v", got, err)
	}
}
