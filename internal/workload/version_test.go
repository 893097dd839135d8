package workload_test

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/m3o/ingress/internal/api"
	"github.com/m3o/ingress/internal/workload"
)

func testVersionLife(t *testing.T, f *fixture) {
	ctx, a := t.Context(), tenant("a")
	a.Scopes = []string{api.ScopeAll} // a source needs no scope for backends
	made := f.createManaged(t, a, "hello")
	if made.State != workload.Pending || made.Current != 0 || made.Newest == nil || made.Newest.Number != 1 || made.Updating() || !made.Managed() {
		t.Errorf("made %+v", made)
	}
	if got := f.get(t, a, "hello"); cmp.Diff(made, got) != "" {
		t.Errorf("created (-made +got): %s", cmp.Diff(made, got))
	}
	if _, err := f.Current(ctx, "hello"); !isNotDeployed(err, workload.Pending) {
		t.Errorf("current, while pending: %v", err)
	}
	jobs, err := f.Work(ctx)
	if err != nil || len(jobs) != 1 || jobs[0].ID != "hello" || jobs[0].Tenant != "a" || !jobs[0].First || jobs[0].Restart ||
		cmp.Diff(inline(""), jobs[0].Version.Source) != "" || jobs[0].Version.Program.Entrypoint != "hello" {
		t.Fatalf("work: %+v, %v", jobs, err)
	}
	step := workload.Step{Name: workload.StepBuild, Started: f.clock.Now(), Took: time.Second, Detail: "Node"}
	f.advance(t, "hello", 1, workload.Building)
	must(t, f.Advance(ctx, "hello", 1, workload.Building, "", func(v *workload.Version) {
		v.Steps, v.Commit, v.Number = append(v.Steps, step), "abc", 77
	}))
	if url, err := f.Resolve(ctx, a, "app.resolve", "hello"); url != "" || err != nil {
		t.Errorf("resolved to %q, %v while building", url, err)
	}
	f.advance(t, "hello", 1, workload.Starting)
	f.promoted(t, "hello", 1)
	got := f.get(t, a, "hello")
	if got.State != workload.Ready || got.Current != 1 || !cmp.Equal(got.Newest.Steps, []workload.Step{step}) || got.Newest.Commit != "abc" || got.Newest.Size != 1000 {
		t.Errorf("deployed: %+v", got)
	}
	if url, err := f.Resolve(ctx, a, "app.resolve", "hello"); url != "https://hello.example" || err != nil {
		t.Errorf("resolved to %q, %v", url, err)
	}
	r, err := f.Current(ctx, "hello")
	if err != nil || r.Version != 1 || r.Revision != 1 || r.Env["TOKEN"] != "sesame" || r.Artifact.Args[1] != "index.js" || r.Key() != "app/hello" ||
		r.Dir != f.layout.Version(workload.App, "hello", 1) || r.Home != f.layout.Home(workload.App, "hello") || r.Settings != workload.DefaultSettings() {
		t.Errorf("current: %+v, %v", r, err)
	}
	intents, err := f.Intents(ctx)
	want := []workload.Intent{{Key: "app/hello", Version: 1, Revision: 1, State: workload.Ready, IdleTimeout: workload.DefaultIdle}}
	if err != nil || !slices.Equal(intents, want) {
		t.Errorf("intents %v, %v", intents, err)
	}
	if left := f.work(t); len(left) != 0 {
		t.Errorf("still to do: %v", left)
	}
	if stored := f.stored(t); strings.Contains(stored, "sesame") {
		t.Errorf("a secret is readable: %s", stored)
	}
}

func testFailedUpdate(t *testing.T, f *fixture) {
	ctx, a := t.Context(), tenant("a")
	f.createManaged(t, a, "hello")
	f.promote(t, "hello", 1)
	f.update(t, a, "hello", workload.Update{Source: inline("two")})
	if w := f.get(t, a, "hello"); w.State != workload.Ready || !w.Updating() || w.Current != 1 || w.Source.Files["index.js"] != "two" {
		t.Errorf("while updating: %+v", w)
	}
	f.advance(t, "hello", 2, workload.Building)
	must(t, f.Advance(ctx, "hello", 2, workload.Failed, "it does not compile", nil))
	w := f.get(t, a, "hello")
	if w.State != workload.Ready || w.Updating() || w.Current != 1 || w.Newest.State != workload.Failed || w.Newest.Reason != "it does not compile" {
		t.Errorf("after it failed: %+v", w)
	}
	if r, err := f.Current(ctx, "hello"); err != nil || r.Version != 1 {
		t.Errorf("current: %v, %v", r, err)
	}
	if err := f.Advance(ctx, "hello", 2, workload.Starting, "", nil); !errors.Is(err, workload.ErrSuperseded) {
		t.Errorf("advancing what failed: %v", err)
	}
	f.update(t, a, "hello", workload.Update{Redeploy: true})
	if w := f.get(t, a, "hello"); w.Newest.Number != 3 || w.Source.Files["index.js"] != "two" || w.Program.Runtime != "nodejs" {
		t.Errorf("deployed again: %+v", w.Newest)
	}
	f.promote(t, "hello", 3)
	if got := f.states(t, a, "hello"); !slices.Equal(got, []workload.State{workload.Draining, workload.Failed, workload.Ready}) {
		t.Errorf("states %v", got)
	}
}

func testSuperseded(t *testing.T, f *fixture) {
	ctx, a := t.Context(), tenant("a")
	f.createManaged(t, a, "hello")
	f.advance(t, "hello", 1, workload.Building) // has begun, and goes on
	for i := range 4 {
		f.update(t, a, "hello", workload.Update{Source: inline(fmt.Sprint(i))})
	}
	if got := f.work(t); !slices.Equal(got, []int64{1, 5}) {
		t.Errorf("work %v", got)
	}
	versions, _, err := f.Versions(ctx, a, "hello")
	if err != nil || versions[1].State != workload.Stopped || versions[1].Reason != "superseded by version 5" {
		t.Errorf("versions %+v, %v", versions, err)
	}
	if content, there := versions[0].Source.Files["index.js"]; !there || content != "" {
		t.Errorf("a listed version has the files %v", versions[0].Source.Files)
	}
	if err := f.Advance(ctx, "hello", 3, workload.Building, "", nil); !errors.Is(err, workload.ErrSuperseded) {
		t.Errorf("advancing what was superseded: %v", err)
	}
	// The newer one is ready first: the older one must not replace it.
	f.advance(t, "hello", 1, workload.Starting)
	f.promote(t, "hello", 5)
	if err := f.Promoted(ctx, "hello", 1, 1); !errors.Is(err, workload.ErrSuperseded) {
		t.Errorf("promoting an older one: %v", err)
	}
	if w := f.get(t, a, "hello"); w.Current != 5 {
		t.Errorf("the current one is %d", w.Current)
	}
}

func testRollback(t *testing.T, f *fixture) {
	ctx, a := t.Context(), tenant("a")
	f.createManaged(t, a, "hello")
	f.promote(t, "hello", 1)
	f.update(t, a, "hello", workload.Update{Source: inline("two")})
	f.advance(t, "hello", 2, workload.Building)
	must(t, f.Advance(ctx, "hello", 2, workload.Failed, "broken", nil))
	f.update(t, a, "hello", workload.Update{Source: inline("three")})
	f.promote(t, "hello", 3)
	w, err := f.Rollback(ctx, a, "hello", 0)
	if err != nil || w.Current != 3 || w.State != workload.Ready || !w.Updating() || w.Newest.Number != 1 || w.Newest.State != workload.Starting {
		t.Fatalf("rolled back: %+v, %v", w, err)
	}
	if got := f.work(t); !slices.Equal(got, []int64{1}) {
		t.Errorf("work %v", got)
	}
	f.promoted(t, "hello", 1)
	if w := f.get(t, a, "hello"); w.Current != 1 || w.Source.Files["index.js"] != "one" {
		t.Errorf("after it: %+v", w)
	}
	if w, err := f.Rollback(ctx, a, "hello", 3); err != nil || w.Newest.Number != 3 {
		t.Errorf("forward again: %+v, %v", w, err)
	}
	f.promoted(t, "hello", 3)
	f.update(t, a, "hello", workload.Update{Redeploy: true})
	f.advance(t, "hello", 4, workload.Building)
	// Naming the current one gives the update up.
	if w, err := f.Rollback(ctx, a, "hello", 3); err != nil || w.Updating() || w.Newest.Number != 3 {
		t.Errorf("giving an update up: %+v, %v", w, err)
	}
	if err := f.Advance(ctx, "hello", 4, workload.Starting, "", nil); !errors.Is(err, workload.ErrSuperseded) {
		t.Errorf("advancing what was given up: %v", err)
	}
}

func testRollbackRefusals(t *testing.T, f *fixture) {
	ctx, a := t.Context(), tenant("a")
	f.createManaged(t, a, "hello")
	f.create(t, a, "registered")
	for _, row := range []struct {
		name   string
		number int64
		want   error
	}{{"nosuch", 1, workload.ErrNotFound}, {"registered", 1, workload.ErrRegistered}, {"hello", 0, workload.ErrNoVersion},
		{"hello", 1, workload.ErrNeverBuilt}, {"hello", 9, workload.ErrNoVersion}, {"hello", -1, workload.ErrNoVersion}} {
		if _, err := f.Rollback(ctx, a, row.name, row.number); !errors.Is(err, row.want) {
			t.Errorf("%s to %d: %v, want %v", row.name, row.number, err, row.want)
		}
	}
	f.promote(t, "hello", 1)
	if _, err := f.Rollback(ctx, a, "hello", 1); !errors.Is(err, workload.ErrIsCurrent) {
		t.Errorf("to the current one: %v", err)
	}
	for n := range int64(3) {
		f.update(t, a, "hello", workload.Update{Redeploy: true})
		f.promote(t, "hello", n+2)
		f.Entered("app/hello", n+1, workload.Stopped, "")
	}
	if gone, err := f.Prune(ctx, "hello", 1); err != nil || !slices.Equal(gone, []int64{2, 1}) {
		t.Errorf("pruned %v, %v", gone, err)
	}
	if _, err := f.Rollback(ctx, a, "hello", 1); !errors.Is(err, workload.ErrPruned) {
		t.Errorf("to a pruned one: %v", err)
	}
	if w, err := f.Rollback(ctx, a, "hello", 0); err != nil || w.Newest.Number != 3 {
		t.Errorf("to the one before: %v, %v", w, err)
	}
}

func testRestart(t *testing.T, f *fixture) {
	ctx, a := t.Context(), tenant("a")
	f.createManaged(t, a, "hello")
	f.promote(t, "hello", 1)
	health, idle := "/health", time.Minute
	f.update(t, a, "hello", workload.Update{Env: map[string]string{"TOKEN": workload.Hidden}})
	if w := f.get(t, a, "hello"); w.Revision != 1 {
		t.Errorf("nothing changed, and the revision is %d", w.Revision)
	}
	f.update(t, a, "hello", workload.Update{Env: map[string]string{"TOKEN": "open"}, HealthPath: &health, IdleTimeout: &idle})
	w := f.get(t, a, "hello")
	if w.Revision != 2 || w.Settings != (workload.Settings{HealthPath: health, IdleTimeout: idle}) || w.State != workload.Ready || w.Updating() {
		t.Errorf("changed: %+v", w)
	}
	if got := f.work(t); !slices.Equal(got, []int64{-1}) {
		t.Errorf("work %v", got)
	}
	must(t, f.RestartFailed(ctx, "hello", 1, 2, "it wants a secret"))
	if w := f.get(t, a, "hello"); len(f.work(t)) != 0 || w.State != workload.Ready || w.Reason != "it wants a secret" {
		t.Errorf("after the start failed: %+v, work %v", w, f.work(t))
	}
	f.update(t, a, "hello", workload.Update{Env: map[string]string{"TOKEN": "sesame"}})
	f.promoted(t, "hello", 1)
	if w := f.get(t, a, "hello"); len(f.work(t)) != 0 || w.Reason != "" || w.Revision != 3 {
		t.Errorf("started anew: %+v, work %v", w, f.work(t))
	}
	bad := "no path"
	if err := f.Update(ctx, a, "hello", workload.Update{HealthPath: &bad}); !isInvalid("health_path")(err) {
		t.Errorf("a bad health path: %v", err)
	}
}

func testRetry(t *testing.T, f *fixture) {
	ctx, a := t.Context(), tenant("a")
	f.createManaged(t, a, "hello")
	f.advance(t, "hello", 1, workload.Building)
	f.advance(t, "hello", 1, workload.Starting)
	must(t, f.Advance(ctx, "hello", 1, workload.Failed, "it wants a secret", nil))
	if _, err := f.Current(ctx, "hello"); !isNotDeployed(err, workload.Failed) {
		t.Errorf("current: %v", err)
	}
	f.update(t, a, "hello", workload.Update{Env: map[string]string{"SECRET": "x"}})
	if got := f.work(t); !slices.Equal(got, []int64{1}) {
		t.Errorf("work %v", got)
	}
	f.promoted(t, "hello", 1)
}

func testToBackend(t *testing.T, f *fixture) {
	ctx, a := t.Context(), tenant("a")
	f.createManaged(t, a, "hello")
	f.promote(t, "hello", 1)
	f.update(t, a, "hello", workload.Update{Redeploy: true})
	f.update(t, a, "hello", workload.Update{Backend: backend})
	w := f.get(t, a, "hello")
	if w.Managed() || w.Current != 0 || w.Newest != nil || w.State != workload.Ready || !w.Source.IsZero() {
		t.Errorf("registered: %+v", w)
	}
	if got := f.states(t, a, "hello"); !slices.Equal(got, []workload.State{workload.Stopped, workload.Stopped}) {
		t.Errorf("states %v", got)
	}
	if err := f.Promoted(ctx, "hello", 2, 1); !errors.Is(err, workload.ErrSuperseded) {
		t.Errorf("promoting: %v", err)
	}
	if err := f.Update(ctx, a, "hello", workload.Update{Redeploy: true}); !errors.Is(err, workload.ErrRegistered) {
		t.Errorf("redeploying: %v", err)
	}
	if intents, err := f.Intents(ctx); err != nil || len(intents) != 0 || len(f.work(t)) != 0 {
		t.Errorf("intents %v, %v, work %v", intents, err, f.work(t))
	}
	none := a
	none.Scopes = []string{api.ScopeAll}
	f.createManaged(t, none, "other")
	if err := f.Update(ctx, none, "other", workload.Update{Backend: backend}); !errors.Is(err, workload.ErrScope) {
		t.Errorf("without the scope: %v", err)
	}
}

func testToManaged(t *testing.T, f *fixture) {
	ctx, a := t.Context(), tenant("a")
	f.create(t, a, "hello")
	f.update(t, a, "hello", workload.Update{Source: inline("one")})
	w := f.get(t, a, "hello")
	if w.Managed() || w.State != workload.Ready || !w.Updating() {
		t.Errorf("on its way: %+v", w)
	}
	if b, err := f.Backend(ctx, "hello"); err != nil || b.URL.String() != backend || b.Managed {
		t.Errorf("on its way it resolves to %+v, %v", b, err)
	}
	f.promote(t, "hello", 1)
	if w := f.get(t, a, "hello"); !w.Managed() || w.Current != 1 || w.State != workload.Ready {
		t.Errorf("after it: %+v", w)
	}
	if b, err := f.Backend(ctx, "hello"); err != nil || b.URL.String() != "" || !b.Managed {
		t.Errorf("after it, it resolves to %+v, %v", b, err)
	}
}

func testSources(t *testing.T, f *fixture) {
	a := tenant("a")
	f.createManaged(t, a, "there")
	many := map[string]string{}
	for i := range 300 {
		many[fmt.Sprint(i)] = ""
	}
	for _, row := range []struct {
		source workload.Source
		want   string
	}{
		{workload.Source{Repo: "github.com/a/b", Upload: "x"}, "exactly one"},
		{workload.Source{Path: "x"}, "exactly one"},
		{workload.Source{Repo: "https://u:sesame@github.com/a/b"}, "must not hold a password"},
		{workload.Source{Repo: "https://sesame@github.com/a/b"}, "must not hold a password"},
		{workload.Source{Repo: "--upload-pack=x"}, "no address"},
		{workload.Source{Repo: "github.com/a/b", Ref: "-x"}, "no name of a branch"},
		{workload.Source{Repo: "github.com/a/b", Path: "../x"}, "a folder of the source"},
		{workload.Source{Upload: "../../ingress.db"}, "no such upload"},
		{workload.Source{Files: map[string]string{}}, "no files"},
		{workload.Source{Files: map[string]string{"../x": ""}}, "no name of a file"},
		{workload.Source{Files: map[string]string{"/etc/x": ""}}, "no name of a file"},
		{workload.Source{Files: map[string]string{"a\x00b": ""}}, "no name of a file"},
		{workload.Source{Files: map[string]string{"x": strings.Repeat("x", 5<<20)}}, "upload an archive"},
		{workload.Source{Files: many}, "300 files"},
	} {
		s := managedSpec("hello")
		s.Source = row.source
		if _, err := f.Create(t.Context(), a, s); !isInvalid(row.want)(err) || strings.Contains(err.Error(), "sesame") {
			t.Errorf("create from %.100v: %v", row.source, err)
		}
		if err := f.Update(t.Context(), a, "there", workload.Update{Source: row.source}); !isInvalid(row.want)(err) {
			t.Errorf("update to %.100v: %v", row.source, err)
		}
	}
	both := managedSpec("hello")
	both.Backend = backend
	if _, err := f.Create(t.Context(), a, both); !isInvalid("and not both")(err) {
		t.Errorf("a source and a backend: %v", err)
	}
	if _, err := f.Get(t.Context(), a, "hello"); !errors.Is(err, workload.ErrNotFound) {
		t.Errorf("what was refused is there: %v", err)
	}
}

func testPrune(t *testing.T, f *fixture) {
	ctx, a := t.Context(), tenant("a")
	f.createManaged(t, a, "hello")
	f.promote(t, "hello", 1)
	for n := int64(2); n <= 7; n++ {
		f.update(t, a, "hello", workload.Update{Redeploy: true})
		f.advance(t, "hello", n, workload.Building)
		must(t, f.Advance(ctx, "hello", n, workload.Failed, "broken", nil))
	}
	f.update(t, a, "hello", workload.Update{Redeploy: true})
	f.promote(t, "hello", 8)
	f.Entered("app/hello", 1, workload.Stopped, "")
	gone, err := f.Prune(ctx, "hello", 3)
	if err != nil || !slices.Equal(gone, []int64{5, 4, 3, 2}) {
		t.Errorf("pruned %v, %v: 1 is the only good one before the current", gone, err)
	}
	if again, err := f.Prune(ctx, "hello", 3); err != nil || len(again) != 0 {
		t.Errorf("pruned again: %v, %v", again, err)
	}
	kept, err := f.Kept(ctx)
	if err != nil || !kept.Workload("hello") || kept.Workload("nosuch") || kept.Version("hello", 3) || !kept.Version("hello", 1) || !kept.Version("hello", 8) {
		t.Errorf("kept %v, %v", kept, err)
	}
	if _, err := f.Release(ctx, "hello", 3); !errors.Is(err, workload.ErrPruned) {
		t.Errorf("the release of a pruned one: %v", err)
	}
	if _, err := f.Prune(ctx, "nosuch", 3); !errors.Is(err, workload.ErrNotFound) {
		t.Errorf("pruning what is not there: %v", err)
	}
}

// testWorkIsLean: a hundred functions of 4 MiB each may wait for hours, and what there
// is to do is asked for with every change.
func testWorkIsLean(t *testing.T, f *fixture) {
	f.createManaged(t, tenant("a"), "hello")
	jobs, err := f.Work(t.Context())
	if err != nil || len(jobs) != 1 {
		t.Fatalf("the jobs are %+v, %v", jobs, err)
	}
	if content, there := jobs[0].Version.Source.Files["index.js"]; !there || content != "" {
		t.Errorf("a job holds the files %v", jobs[0].Version.Source.Files)
	}
	source, err := f.Source(t.Context(), "hello", 1)
	if err != nil || source.Files["index.js"] != "one" {
		t.Errorf("the source is %+v, %v", source, err)
	}
	if _, err := f.Source(t.Context(), "hello", 2); !errors.Is(err, workload.ErrNoVersion) {
		t.Errorf("the source of no version: %v", err)
	}
}

// testInlineFiles: sent again and again, they must not fill the disk.
func testInlineFiles(t *testing.T, f *fixture) {
	ctx, a := t.Context(), tenant("a")
	f.createManaged(t, a, "hello")
	f.promote(t, "hello", 1)
	again := func(number int64) {
		f.update(t, a, "hello", workload.Update{Source: inline(strings.Repeat("x", 1000))})
		if w := f.get(t, a, "hello"); w.Newest.Number != number || len(w.Source.Files["index.js"]) != 1000 {
			t.Fatalf("the version asked for is %d, with %v", w.Newest.Number, w.Source.Files)
		}
	}
	for n := int64(2); n <= 9; n++ { // one failed, the others were never begun
		again(n)
		if n == 5 {
			f.advance(t, "hello", n, workload.Building)
			must(t, f.Advance(ctx, "hello", n, workload.Failed, "broken", nil))
		}
	}
	if n := f.versionsWithFiles(t); n != 2 {
		t.Errorf("the files of %d versions are stored, want those of the first and the last", n)
	}
	f.promote(t, "hello", 9)
	f.Entered("app/hello", 1, workload.Stopped, "")
	again(10)
	f.promote(t, "hello", 10)
	f.Entered("app/hello", 9, workload.Stopped, "")
	if gone, err := f.Prune(ctx, "hello", 1); err != nil || slices.Contains(gone, 9) || !slices.Contains(gone, 1) {
		t.Errorf("pruned %v, %v", gone, err)
	}
	if n := f.versionsWithFiles(t); n != 2 {
		t.Errorf("the files of %d versions are stored, want those of the current one and of the one to go back to", n)
	}
	for n := int64(11); n <= 130; n++ {
		again(n)
	}
	if list, _, err := f.Versions(ctx, a, "hello"); err != nil || len(list) > 102 { // with the current one and the one to go back to
		t.Errorf("%d versions are listed, %v", len(list), err)
	}
}

// versionsWithFiles returns of how many versions the inline files are stored.
func (f *fixture) versionsWithFiles(t testing.TB) (n int) {
	t.Helper()
	if err := f.db.QueryRowContext(t.Context(), "SELECT count(*) FROM workload_versions WHERE files <> ''").Scan(&n); err != nil {
		t.Fatal(err)
	}
	return n
}

func testVersionQuota(t *testing.T, f *fixture) {
	ctx, a := t.Context(), tenant("a")
	a.Quotas.VersionBytes = 2500
	size := func(n int64) func(*workload.Version) { return func(v *workload.Version) { v.Size = n } }
	f.createManaged(t, a, "hello")
	f.promote(t, "hello", 1) // 1000 bytes
	f.update(t, a, "hello", workload.Update{Redeploy: true})
	f.advance(t, "hello", 2, workload.Building)
	if err := f.Advance(ctx, "hello", 2, workload.Building, "", size(1501)); !isQuota(err) {
		t.Errorf("2501 of 2500 bytes: %v", err)
	}
	if v := f.get(t, a, "hello").Newest; v.Size != 0 {
		t.Errorf("what was refused is stored: %+v", v)
	}
	must(t, f.Advance(ctx, "hello", 2, workload.Building, "", size(1500)))
	must(t, f.Advance(ctx, "hello", 2, workload.Failed, "broken", nil))
	if err := f.Update(ctx, a, "hello", workload.Update{Redeploy: true}); !isQuota(err) {
		t.Errorf("another one when all is full: %v", err)
	}
	if _, err := f.registry(workload.Function).Create(ctx, a, managedSpec("hello")); !isQuota(err) {
		t.Errorf("a function when all is full: %v", err)
	}
	f.createManaged(t, tenant("b"), "other")
	f.delete(t, a, "hello")
	big := managedSpec("hello")
	big.Source = inline(strings.Repeat("x", 2501))
	if _, err := f.Create(ctx, a, big); !isQuota(err) {
		t.Errorf("files beyond the quota: %v", err)
	}
	f.createManaged(t, a, "hello")
}

func testIdentities(t *testing.T, f *fixture) {
	ctx, a, b := t.Context(), tenant("a"), tenant("b")
	f.createManaged(t, a, "one")
	f.createManaged(t, a, "two")
	f.createManaged(t, b, "three")
	errs := together(8, func(int) error { _, err := f.Release(ctx, "one", 1); return err })
	if err := errors.Join(errs...); err != nil {
		t.Fatal(err)
	}
	user := func(id string, number int64) [2]uint32 {
		r, err := f.Release(ctx, id, number)
		if err != nil {
			t.Fatal(err)
		}
		return [2]uint32{r.User.UID, r.User.GID}
	}
	one, two, three := user("one", 1), user("two", 1), user("three", 1)
	if one[0] == two[0] || one[1] != two[1] || one[1] == three[1] || one[0] == three[0] || one[0] <= 1_900_000_000 || user("one", 1) != one {
		t.Errorf("users %v %v %v", one, two, three)
	}
	f.delete(t, a, "one")
	f.createManaged(t, a, "one")
	if again := user("one", 2); again != one {
		t.Errorf("made again it is %v, and was %v", again, one)
	}
	f.delete(t, a, "one")
	f.clock.Pass(31 * day)
	f.createManaged(t, b, "one")
	if other := user("one", 1); other[0] == one[0] || other[1] != three[1] {
		t.Errorf("another tenant's is %v, and it was %v", other, one)
	}
	o := f.options()
	o.SwitchUser = false
	if r, err := workload.NewRegistry(workload.App, o).Release(ctx, "two", 1); err != nil || !r.User.IsZero() {
		t.Errorf("without root it is %v, %v", r.User, err)
	}
}

func testEvents(t *testing.T, f *fixture) {
	ctx, a := t.Context(), tenant("a")
	f.createManaged(t, a, "hello")
	f.promote(t, "hello", 1)
	events, err := f.Events(ctx, a, "hello")
	var got []workload.State
	for _, e := range events {
		got = append(got, e.State)
	}
	if err != nil || !slices.Equal(got, []workload.State{workload.Ready, workload.Starting, workload.Building, workload.Pending}) || !events[0].At.Equal(f.clock.Now()) {
		t.Errorf("events %v, %v", events, err)
	}
	for range 150 {
		f.update(t, a, "hello", workload.Update{Redeploy: true})
	}
	events, err = f.Events(ctx, a, "hello")
	if err != nil || len(events) != 100 || events[0].Version != 151 {
		t.Errorf("%d events, %v", len(events), err)
	}
}

func testNumbersGoOn(t *testing.T, f *fixture) {
	a := tenant("a")
	f.createManaged(t, a, "hello")
	f.advance(t, "hello", 1, workload.Building)
	f.delete(t, a, "hello")
	if w := f.createManaged(t, a, "hello"); w.Newest.Number != 2 {
		t.Errorf("made again, its version is %d", w.Newest.Number)
	}
	if err := f.Advance(t.Context(), "hello", 1, workload.Starting, "", nil); !errors.Is(err, workload.ErrNotFound) {
		t.Errorf("the deploy of the deleted one: %v", err)
	}
}

// Where nothing is deployed nothing runs either, whatever was said of it where it did.
func testDeployedElsewhere(t *testing.T, f *fixture) {
	ctx, caller := t.Context(), tenant("alice")
	f.promote(t, f.createManaged(t, caller, "pages").ID, 1)
	f.create(t, caller, "hello")
	o := f.options()
	o.NoSources = "it runs on one machine"
	list, err := workload.NewRegistry(workload.App, o).List(ctx, caller)
	if err != nil {
		t.Fatal(err)
	}
	for _, w := range list {
		one, err := workload.NewRegistry(workload.App, o).Get(ctx, caller, w.Name)
		if err != nil || one.State != w.State || one.Reason != w.Reason {
			t.Errorf("alone %s is %s, %q, %v; in the list %s, %q", w.Name, one.State, one.Reason, err, w.State, w.Reason)
		}
		want, why := workload.Stopped, o.NoSources
		if w.Name == "hello" { // a registered backend
			want, why = workload.Ready, ""
		}
		if w.State != want || w.Reason != why {
			t.Errorf("%s is %s, %q; want %s, %q", w.Name, w.State, w.Reason, want, why)
		}
	}
	if len(list) != 2 {
		t.Errorf("there are %d", len(list))
	}
	if _, err := workload.NewRegistry(workload.App, o).Get(ctx, caller, "nosuch"); !errors.Is(err, workload.ErrNotFound) {
		t.Errorf("what is not there: %v", err)
	}
	if got := f.get(t, caller, "pages"); got.State != workload.Ready || got.Reason != "" {
		t.Errorf("where it runs it is %s, %q", got.State, got.Reason)
	}
}
