package workload_test

import (
	"errors"
	"testing"

	"github.com/m3o/ingress/internal/api"
	"github.com/m3o/ingress/internal/workload"
)

// inline is a source that needs nothing else.
func inline(content string) workload.Source {
	return workload.Source{Files: map[string]string{"index.js": content}}
}

func managedSpec(name string) workload.Spec {
	return workload.Spec{
		Name: name, Region: "local", Source: inline("one"), Program: workload.Program{Runtime: "nodejs", Entrypoint: "hello"},
		Settings: workload.DefaultSettings(), Env: map[string]string{"TOKEN": "sesame"},
	}
}

// createManaged makes a workload with a pending version.
func (f *fixture) createManaged(t testing.TB, caller api.Caller, name string) workload.Workload {
	t.Helper()
	w, err := f.Create(t.Context(), caller, managedSpec(name))
	if err != nil {
		t.Fatalf("create %s for %s: %v", name, caller.Tenant, err)
	}
	return w
}

// advance takes a version a step, which must work.
func (f *fixture) advance(t testing.TB, id string, number int64, to workload.State) {
	t.Helper()
	err := f.Advance(t.Context(), id, number, to, "", func(v *workload.Version) {
		if to == workload.Starting {
			v.Artifact, v.Size = workload.Artifact{Args: []string{"/usr/bin/node", "index.js"}}, 1000
		}
	})
	if err != nil {
		t.Fatalf("%s %d to %s: %v", id, number, to, err)
	}
}

// promote deploys a version to where it is the current one.
func (f *fixture) promote(t testing.TB, id string, number int64) {
	t.Helper()
	f.advance(t, id, number, workload.Building)
	f.advance(t, id, number, workload.Starting)
	f.promoted(t, id, number)
}

func (f *fixture) promoted(t testing.TB, id string, number int64) {
	t.Helper()
	r, err := f.Release(t.Context(), id, number)
	if err != nil {
		t.Fatal(err)
	}
	if err := f.Promoted(t.Context(), id, number, r.Revision); err != nil {
		t.Fatalf("promote %s %d: %v", id, number, err)
	}
}

// update is an update that must work.
func (f *fixture) update(t testing.TB, caller api.Caller, name string, u workload.Update) {
	t.Helper()
	if err := f.Update(t.Context(), caller, name, u); err != nil {
		t.Fatalf("update %s: %v", name, err)
	}
}

func (f *fixture) get(t testing.TB, caller api.Caller, name string) workload.Workload {
	t.Helper()
	w, err := f.Get(t.Context(), caller, name)
	if err != nil {
		t.Fatal(err)
	}
	return w
}

// states returns those of all versions, oldest first.
func (f *fixture) states(t testing.TB, caller api.Caller, name string) []workload.State {
	t.Helper()
	versions, _, err := f.Versions(t.Context(), caller, name)
	if err != nil {
		t.Fatal(err)
	}
	states := make([]workload.State, len(versions))
	for i, v := range versions {
		states[len(versions)-1-i] = v.State
	}
	return states
}

// work returns the numbers there is to deploy; restarts are negative.
func (f *fixture) work(t testing.TB) []int64 {
	t.Helper()
	jobs, err := f.Work(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	numbers := []int64{}
	for _, j := range jobs {
		if j.Restart {
			numbers = append(numbers, -j.Version.Number)
		} else {
			numbers = append(numbers, j.Version.Number)
		}
	}
	return numbers
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func isNotDeployed(err error, state workload.State) bool {
	var not *workload.NotDeployedError
	return errors.As(err, &not) && not.State == state
}
