package workload_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/m3o/ingress/internal/api"
	"github.com/m3o/ingress/internal/store"
	"github.com/m3o/ingress/internal/workload"
)

func testLife(t *testing.T, f *fixture) {
	ctx, a := t.Context(), tenant("a")
	s := spec("hello")
	s.Env = map[string]string{"B": "2", "A": "1"}
	made, err := f.Create(ctx, a, s)
	if err != nil {
		t.Fatal(err)
	}
	want := workload.Workload{
		ID: "hello", Tenant: "a", Name: "hello", State: workload.Ready, Region: "local", Backend: backend,
		Revision: 1, Env: []string{"A", "B"}, Created: f.clock.Now(), Updated: f.clock.Now(),
	}
	if diff := cmp.Diff(want, made); diff != "" {
		t.Errorf("created (-want +got):\n%s", diff)
	}
	if got, err := f.Get(ctx, a, "hello"); err != nil || cmp.Diff(want, got) != "" {
		t.Errorf("got %v, %v", got, err)
	}
	if _, err := f.Create(ctx, a, s); !errors.Is(err, workload.ErrExists) {
		t.Errorf("creating it again: %v", err)
	}
	f.delete(t, a, "hello")
	if _, err := f.Get(ctx, a, "hello"); !errors.Is(err, workload.ErrNotFound) {
		t.Errorf("getting it after it was deleted: %v", err)
	}
	if err := f.Delete(ctx, a, "hello"); !errors.Is(err, workload.ErrNotFound) {
		t.Errorf("deleting it again: %v", err)
	}
	if _, err := f.Backend(ctx, "hello"); !api.IsNotFound(err) {
		t.Errorf("resolving it after it was deleted: %v", err)
	}
}

func testListOrder(t *testing.T, f *fixture) {
	a := tenant("a")
	names := []string{"zebra", "apple", "mango"}
	for _, name := range names {
		f.create(t, a, name)
		f.clock.Pass(time.Nanosecond)
	}
	list, err := f.List(t.Context(), a)
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, w := range list {
		got = append(got, w.Name)
	}
	if !slices.Equal(got, names) {
		t.Errorf("listed %v, want %v", got, names)
	}
}

func testUpdate(t *testing.T, f *fixture) {
	ctx, a := t.Context(), tenant("a")
	before := f.create(t, a, "hello")
	f.clock.Pass(time.Second)
	for _, step := range []struct {
		update workload.Update
		change func(*workload.Workload)
	}{
		{workload.Update{}, func(*workload.Workload) {}},
		{workload.Update{Env: map[string]string{"X": "1"}}, func(w *workload.Workload) {
			w.Env, w.Updated, w.Revision = []string{"X"}, f.clock.Now(), 2
		}},
		{workload.Update{Backend: "https://other.example"}, func(w *workload.Workload) {
			w.Backend = "https://other.example"
		}},
		{workload.Update{Env: map[string]string{"Y": "1", "Z": ""}}, func(w *workload.Workload) {
			w.Env, w.Revision = []string{"Y", "Z"}, 3
		}},
	} {
		if err := f.Update(ctx, a, "hello", step.update); err != nil {
			t.Fatal(err)
		}
		step.change(&before)
		got, err := f.Get(ctx, a, "hello")
		if diff := cmp.Diff(before, got); err != nil || diff != "" {
			t.Errorf("after %v (-want +got), %v:\n%s", step.update, err, diff)
		}
	}
	b, err := f.Backend(ctx, "hello")
	if err != nil || b.URL.String() != "https://other.example" {
		t.Errorf("it resolves to %v, %v", b.URL.String(), err)
	}
}

// PostgreSQL does not even look for a text with a NUL in it.
func testNamesThatCannotBe(t *testing.T, f *fixture) {
	ctx, a := t.Context(), tenant("a")
	const name = "a\x00b"
	_, get := f.Get(ctx, a, name)
	_, logs := f.Logs(ctx, a, name, workload.LogRequest{Type: "build"})
	_, _, versions := f.Versions(ctx, a, name)
	_, rollback := f.Rollback(ctx, a, name, 0)
	_, events := f.Events(ctx, a, name)
	for what, err := range map[string]error{
		"get": get, "logs": logs, "versions": versions, "rollback": rollback, "events": events,
		"update":              f.Update(ctx, a, name, workload.Update{Backend: "http://other.example"}),
		"delete":              f.Delete(ctx, a, name),
		"delete a credential": f.DeleteCredential(ctx, a, name),
	} {
		if !errors.Is(err, workload.ErrNotFound) {
			t.Errorf("%s: %v", what, err)
		}
	}
}

func testIsolation(t *testing.T, f *fixture) {
	ctx, a, b := t.Context(), tenant("a"), tenant("b")
	want := f.create(t, a, "hello")
	stored := f.stored(t)
	if _, err := f.Get(ctx, b, "hello"); !errors.Is(err, workload.ErrNotFound) {
		t.Errorf("get: %v", err)
	}
	if list, err := f.List(ctx, b); err != nil || len(list) != 0 {
		t.Errorf("list: %v, %v", list, err)
	}
	if err := f.Update(ctx, b, "hello", workload.Update{Backend: "http://evil.example"}); !errors.Is(err, workload.ErrNotFound) {
		t.Errorf("update: %v", err)
	}
	if err := f.Delete(ctx, b, "hello"); !errors.Is(err, workload.ErrNotFound) {
		t.Errorf("delete: %v", err)
	}
	if _, err := f.Reserve(ctx, b, "hello"); !errors.Is(err, workload.ErrReserved) {
		t.Errorf("reserve: %v", err)
	}
	if got := f.stored(t); got != stored {
		t.Errorf("the second tenant changed\n%s into\n%s", stored, got)
	}
	// The same name in the second tenant's hands is another workload.
	f.create(t, b, "hello")
	f.delete(t, b, "hello")
	if got, err := f.Get(ctx, a, "hello"); err != nil || cmp.Diff(want, got) != "" {
		t.Errorf("the first tenant's is now %v, %v", got, err)
	}
}

func testKinds(t *testing.T, f *fixture) {
	ctx, a, b := t.Context(), tenant("a"), tenant("b")
	functions := f.registry(workload.Function)
	f.create(t, a, "hello")
	if _, err := functions.Backend(ctx, "hello"); !api.IsNotFound(err) {
		t.Errorf("an app resolves as a function: %v", err)
	}
	w, err := functions.Create(ctx, b, spec("hello"))
	if err != nil || w.ID != "hello" {
		t.Errorf("the function of the same name got the id %q, %v", w.ID, err)
	}
	f.delete(t, a, "hello")
	if _, err := functions.Get(ctx, b, "hello"); err != nil {
		t.Errorf("the function after the app was deleted: %v", err)
	}
}

func testChanges(t *testing.T, f *fixture) {
	ctx, a := t.Context(), tenant("a")
	var mu sync.Mutex
	var seen []string
	f.db.Subscribe(func(c store.Change) {
		mu.Lock()
		defer mu.Unlock()
		seen = append(seen, c.Kind+" "+c.ID)
	})
	f.create(t, a, "hello")
	if err := f.Update(ctx, a, "hello", workload.Update{Backend: "http://new.example"}); err != nil {
		t.Fatal(err)
	}
	f.delete(t, a, "hello")
	want := []string{"app hello", "app hello", "app hello"}
	if !slices.Equal(seen, want) {
		t.Errorf("announced %v, want %v", seen, want)
	}
	for _, err := range []error{
		f.Delete(ctx, a, "hello"),
		f.Update(ctx, a, "hello", workload.Update{Backend: backend}),
	} {
		if err == nil {
			t.Error("changing what is not there succeeded")
		}
	}
	if len(seen) != len(want) {
		t.Errorf("what failed was announced: %v", seen)
	}
}

func testStates(t *testing.T, f *fixture) {
	ctx, a := t.Context(), tenant("a")
	f.create(t, a, "hello")
	ready, err := f.Backend(ctx, "hello")
	if err != nil || ready.Key != "app/hello" || ready.Tenant != "a" || ready.State != workload.Ready || ready.Managed || ready.URL.String() != backend {
		t.Errorf("resolved to %+v, %v", ready, err)
	}
	f.createManaged(t, a, "managed")
	deploying, err := f.Backend(ctx, "managed")
	if err != nil || deploying.State != workload.Pending || !deploying.Managed || deploying.URL.String() != "" {
		t.Errorf("while deploying it resolved to %+v, %v", deploying, err)
	}
	if err := f.Update(ctx, a, "managed", workload.Update{Backend: "http://new.example"}); err != nil {
		t.Fatal(err)
	}
	if b, err := f.Backend(ctx, "managed"); err != nil || b.State != workload.Ready || b.Managed || b.URL.Host != "new.example" {
		t.Errorf("after registering a backend it resolved to %+v, %v", b, err)
	}
}

func testAdmission(t *testing.T, f *fixture) {
	a := tenant("a")
	all := a
	all.Scopes = []string{api.ScopeAll}
	gone, cancel := context.WithCancel(t.Context())
	cancel()
	f.create(t, a, "there")
	for _, row := range []struct {
		name    string
		ctx     context.Context
		caller  api.Caller
		backend string
		want    func(error) bool
	}{
		{"no scope", t.Context(), all, backend, is(workload.ErrScope)},
		{"no scope, bad URL", t.Context(), all, "ftp://x", is(workload.ErrScope)},
		{"nothing", t.Context(), a, "ftp://x", isInvalid("http:// or https://")},
		{"refused by the rules", t.Context(), a, "http://forbidden.example/x", isInvalid("forbidden.example is ours")},
		{"a caller who left", gone, a, "http://silent.example", is(context.Canceled)},
	} {
		t.Run(row.name, func(t *testing.T) {
			s := spec("hello")
			s.Backend = row.backend
			if _, err := f.Create(row.ctx, row.caller, s); !row.want(err) {
				t.Errorf("create: %v", err)
			}
			if err := f.Update(row.ctx, row.caller, "there", workload.Update{Backend: row.backend}); !row.want(err) {
				t.Errorf("update: %v", err)
			}
		})
	}
	if _, err := f.Backend(t.Context(), "hello"); !api.IsNotFound(err) {
		t.Errorf("a refused one was created: %v", err)
	}
	if b, err := f.Backend(t.Context(), "there"); err != nil || b.URL.String() != backend {
		t.Errorf("a refused one was updated: %v, %v", b, err)
	}
}

func is(want error) func(error) bool {
	return func(err error) bool { return errors.Is(err, want) }
}

func isInvalid(reason string) func(error) bool {
	return func(err error) bool {
		var invalid *workload.InvalidError
		return errors.As(err, &invalid) && strings.Contains(invalid.Error(), reason)
	}
}

func isQuota(err error) bool {
	var quota *workload.QuotaError
	return errors.As(err, &quota)
}

func testQuota(t *testing.T, f *fixture) {
	ctx, a := t.Context(), tenant("a")
	a.Quotas.Apps = 2
	f.create(t, a, "one")
	f.create(t, a, "two")
	if _, err := f.Create(ctx, a, spec("three")); !isQuota(err) {
		t.Errorf("a third of two: %v", err)
	}
	if _, err := f.Create(ctx, a, spec("one")); !errors.Is(err, workload.ErrExists) {
		t.Errorf("what exists, over the quota: %v", err)
	}
	if _, err := f.registry(workload.Function).Create(ctx, a, spec("one")); err != nil {
		t.Errorf("functions have a quota of their own: %v", err)
	}
	f.create(t, tenant("b"), "three")
	f.delete(t, a, "one")
	f.create(t, a, "three")
}

func TestRegionsArePicked(t *testing.T) {
	regions := workload.Regions{"north", "south"}
	for _, row := range []struct {
		name, want string
		ok         bool
	}{
		{"", "north", true},
		{"north", "north", true},
		{"south", "south", true},
		{"us-east1", "north", true},
		{"local", "", false},
		{"North", "", false},
	} {
		if got, ok := regions.Pick(row.name); got != row.want || ok != row.ok {
			t.Errorf("%q means %q, %v; want %q, %v", row.name, got, ok, row.want, row.ok)
		}
	}
}

func TestRefusalsAreThePlatformsAnswers(t *testing.T) {
	other := errors.New("the disk is gone")
	for _, row := range []struct {
		err    error
		id     string
		code   int
		detail string
	}{
		{workload.ErrNotFound, "app.run", 404, "not found"},
		{workload.ErrExists, "app.run", 400, "already exists"},
		{workload.ErrName, "app.run", 400, "invalidate name format"},
		{workload.ErrReserved, "app.run", 400, "name already reserved"},
		{workload.ErrScope, "v1.blocked", 403, "Request blocked. Insufficient privileges"},
		{workload.ErrNoVersion, "app.run", 404, "there is no such version"},
		{workload.ErrPruned, "app.run", 400, workload.ErrPruned.Error()},
		{workload.ErrIsCurrent, "app.run", 400, workload.ErrIsCurrent.Error()},
		{workload.ErrNeverBuilt, "app.run", 400, workload.ErrNeverBuilt.Error()},
		{workload.ErrUploadAgain, "app.run", 400, workload.ErrUploadAgain.Error()},
		{&workload.InvalidError{Field: "backend", Reason: "100%s"}, "app.run", 400, "invalid backend: 100%s"},
		{&workload.QuotaError{Reason: "enough"}, "app.run", 403, "deployment limit reached: enough"},
	} {
		for _, err := range []error{row.err, fmt.Errorf("wrapped: %w", row.err)} {
			var got *api.Error
			if !errors.As(workload.Refusal("app.run", err), &got) {
				t.Errorf("%v is no refusal", err)
			} else if got.ID != row.id || got.Code != row.code || got.Detail != row.detail {
				t.Errorf("%v became %v", err, got)
			}
		}
	}
	if got := workload.Refusal("app.run", other); got != other {
		t.Errorf("an error of the store became %v", got)
	}
}
