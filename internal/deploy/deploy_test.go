package deploy_test

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/m3o/ingress/internal/api"
	"github.com/m3o/ingress/internal/builder"
	"github.com/m3o/ingress/internal/deploy"
	"github.com/m3o/ingress/internal/leaktest"
	"github.com/m3o/ingress/internal/logfile"
	"github.com/m3o/ingress/internal/source"
	"github.com/m3o/ingress/internal/store"
	"github.com/m3o/ingress/internal/store/storetest"
	"github.com/m3o/ingress/internal/workload"
)

func TestMain(m *testing.M) { leaktest.Main(m) }

const deadline = 30 * time.Second

var caller = api.Caller{Tenant: "a", Scopes: []string{api.ScopeAll, api.ScopeBackend}, Quotas: api.DefaultQuotas}

type anyBackend struct{}

func (anyBackend) Check(context.Context, *url.URL) error { return nil }

// fetcher fetches what hold lets it: the test decides how long it takes and how
// it ends.
type fetcher struct {
	begun chan string   // gets the Name of each fetch
	hold  chan error    // nil: nothing is waited for
	ended chan struct{} // gets a value for each fetch that was cancelled
	saw   chan source.Request
}

func (f *fetcher) Fetch(ctx context.Context, r source.Request) (source.Result, error) {
	f.begun <- r.Name
	if f.saw != nil {
		f.saw <- r
	}
	if f.hold != nil {
		select {
		case err := <-f.hold:
			if err != nil {
				return source.Result{}, err
			}
		case <-ctx.Done():
			f.ended <- struct{}{}
			return source.Result{}, ctx.Err()
		}
	}
	err := os.WriteFile(filepath.Join(r.Dest, "index.html"), []byte("hello"), 0o644)
	return source.Result{Commit: "c0ffee", Detail: "one file"}, err
}

// sites makes a site of everything.
type sites struct{ err error }

func (s sites) Build(_ context.Context, r builder.Request) (workload.Artifact, error) {
	fmt.Fprintln(r.Log, "building")
	return workload.Artifact{Site: ".", Summary: "a site"}, s.err
}

// stage is an activator that runs nothing and remembers.
type stage struct {
	mu       sync.Mutex
	promoted []string
	removed  []string
	err      error
	journal  workload.Journal
}

func (s *stage) Promote(ctx context.Context, r workload.Release, commit func(context.Context) error) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.err != nil {
		return s.err
	}
	if err := commit(ctx); err != nil {
		return err
	}
	if r.Version > 1 && s.journal != nil {
		s.journal.Entered(r.Key(), r.Version-1, workload.Stopped, "")
	}
	s.promoted = append(s.promoted, fmt.Sprintf("%s v%d r%d %s", r.Key(), r.Version, r.Revision, r.Env["COLOUR"]))
	return nil
}

func (s *stage) Remove(_ context.Context, key string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.removed = append(s.removed, key)
	return nil
}

func (s *stage) removals() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.removed)
}

// fail has every later Promote fail, unless err is nil.
func (s *stage) fail(err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.err = err
}

func (s *stage) log() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return strings.Join(s.promoted, ", ")
}

type fixture struct {
	*workload.Registry
	t       *testing.T
	db      *store.DB
	layout  workload.Layout
	options deploy.Options
	fetcher *fetcher
	stage   *stage
	stop    func()
}

func newFixture(t *testing.T) *fixture {
	f := &fixture{
		t: t, db: storetest.Open(t), layout: workload.Layout{Data: t.TempDir()},
		fetcher: &fetcher{begun: make(chan string, 100), ended: make(chan struct{}, 100)}, stage: &stage{},
	}
	f.Registry = workload.NewRegistry(workload.App, workload.Options{
		DB: f.db, Sealer: storetest.Sealer(t), Rules: anyBackend{}, Layout: f.layout,
	})
	f.options = deploy.Options{
		Registries: map[workload.Kind]deploy.Registry{workload.App: f.Registry},
		Fetcher:    f.fetcher, Builder: sites{}, Activator: f.stage, Layout: f.layout, Builds: 2, Keep: 5, LogBytes: 1 << 20,
	}
	return f
}

// run runs a deployer until the test, or stop, ends it.
func (f *fixture) run() {
	f.t.Helper()
	d := deploy.New(f.options)
	ctx, cancel := context.WithCancel(context.Background())
	var running sync.WaitGroup
	running.Go(func() { d.Run(ctx) })
	f.db.Subscribe(func(c store.Change) { d.Notify(workload.Kind(c.Kind), c.ID) })
	f.stop = sync.OnceFunc(func() { cancel(); running.Wait() })
	f.t.Cleanup(f.stop)
}

func (f *fixture) create(name string) workload.Workload {
	f.t.Helper()
	w, err := f.Create(f.t.Context(), caller, workload.Spec{
		Name: name, Region: "local", Source: workload.Source{Files: map[string]string{"index.html": "hello"}},
		Env: map[string]string{"COLOUR": "blue"},
	})
	if err != nil {
		f.t.Fatal(err)
	}
	return w
}

func (f *fixture) update(name string, u workload.Update) {
	f.t.Helper()
	if err := f.Update(f.t.Context(), caller, name, u); err != nil {
		f.t.Fatal(err)
	}
}

// await polls the store, whose changes are announced to deployers, not to tests.
func (f *fixture) await(what string, condition func() bool) {
	f.t.Helper()
	ctx, cancel := context.WithTimeout(f.t.Context(), deadline)
	defer cancel()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for !condition() {
		select {
		case <-tick.C:
		case <-ctx.Done():
			f.t.Fatalf("no %s within %v; promoted %s", what, deadline, f.stage.log())
		}
	}
}

func (f *fixture) awaitVersion(name string, number int64, state workload.State) workload.Version {
	f.t.Helper()
	var seen workload.Version
	f.await(fmt.Sprintf("version %d of %s that is %s", number, name, state), func() bool {
		versions, _, err := f.Versions(f.t.Context(), caller, name)
		if err != nil {
			f.t.Fatal(err)
		}
		for _, v := range versions {
			if v.Number == number {
				seen = v
			}
		}
		return seen.State == state
	})
	return seen
}

// folders returns the numbers of the first ten versions that have a folder.
func (f *fixture) folders(id string) string {
	var left []string
	for n := int64(1); n <= 10; n++ {
		if _, err := os.Stat(f.layout.Version(workload.App, id, n)); err == nil {
			left = append(left, fmt.Sprint(n))
		}
	}
	return strings.Join(left, " ")
}

func TestAVersionIsFetchedBuiltAndStarted(t *testing.T) {
	f := newFixture(t)
	f.fetcher.saw = make(chan source.Request, 1)
	f.run()
	f.create("hello")
	if r := <-f.fetcher.saw; r.Source.Files["index.html"] != "hello" {
		t.Errorf("fetched was %+v", r.Source)
	}
	v := f.awaitVersion("hello", 1, workload.Ready)
	f.await("the steps", func() bool {
		v = f.awaitVersion("hello", 1, workload.Ready)
		return len(v.Steps) == 3 && v.Steps[2].Took > 0
	})
	if v.Commit != "c0ffee" || v.Size != 4096 || v.Artifact.Site != "." || v.Steps[0].Detail != "one file" || v.Steps[1].Detail != "a site" {
		t.Errorf("stored %+v", v)
	}
	if got := f.stage.log(); got != "app/hello v1 r1 blue" {
		t.Errorf("promoted %s", got)
	}
	text, _, err := logfile.Read(workload.BuildLog(f.layout.Version(workload.App, "hello", 1)), 0, 1<<10)
	if err != nil || !strings.Contains(string(text), "building") {
		t.Errorf("the build log is %q, %v", text, err)
	}
	if info, err := os.Stat(f.layout.Home(workload.App, "hello")); err != nil || info.Mode().Perm() != 0o700 {
		t.Errorf("its home: %v, %v", info, err)
	}
}

func TestAFailedVersionLeavesTheLogAndNoCode(t *testing.T) {
	for name, breakIt := range map[string]func(*fixture){
		"fetch": func(f *fixture) {
			f.fetcher.hold = make(chan error, 1)
			f.fetcher.hold <- &source.Error{Reason: source.NotFound, Text: "it broke"}
		},
		"build": func(f *fixture) { f.options.Builder = sites{err: &builder.Error{Step: "build", Reason: "it broke"}} },
	} {
		t.Run(name, func(t *testing.T) {
			f := newFixture(t)
			breakIt(f)
			f.run()
			f.create("hello")
			v := f.awaitVersion("hello", 1, workload.Failed)
			if !strings.Contains(v.Reason, "it broke") {
				t.Errorf("the reason is %q", v.Reason)
			}
			dir := f.layout.Version(workload.App, "hello", 1)
			f.await("removal of its code", func() bool {
				_, err := os.Stat(workload.CodeDir(dir))
				return os.IsNotExist(err)
			})
			text, _, err := logfile.Read(workload.BuildLog(dir), 0, 1<<10)
			if err != nil || !strings.Contains(string(text), "it broke") {
				t.Errorf("the build log is %q, %v", text, err)
			}
		})
	}
}

// What it lacked may be a variable: then it is started again, and not built again.
func TestAVersionThatWasBuiltKeepsItsCodeWhenItDoesNotStart(t *testing.T) {
	f := newFixture(t)
	f.stage.err = errors.New("it lacks a variable")
	f.run()
	f.create("hello")
	if v := f.awaitVersion("hello", 1, workload.Failed); !strings.Contains(v.Reason, "lacks a variable") {
		t.Errorf("the reason is %q", v.Reason)
	}
	f.stage.fail(nil)
	f.update("hello", workload.Update{Env: map[string]string{"COLOUR": "red"}})
	f.awaitVersion("hello", 1, workload.Ready)
	if _, err := os.Stat(workload.CodeDir(f.layout.Version(workload.App, "hello", 1))); err != nil {
		t.Errorf("it was started without its code: %v", err)
	}
	if got := f.stage.log(); got != "app/hello v1 r2 red" {
		t.Errorf("promoted %s", got)
	}
}

func TestTheMachinesFailuresAreNotTheOwners(t *testing.T) {
	f := newFixture(t)
	f.fetcher.hold = make(chan error, 1)
	f.fetcher.hold <- errors.New("open /secret/place: permission denied")
	f.run()
	f.create("hello")
	if v := f.awaitVersion("hello", 1, workload.Failed); strings.Contains(v.Reason, "secret") || !strings.Contains(v.Reason, "operator") {
		t.Errorf("the reason is %q", v.Reason)
	}
}

// lostStore cannot write that a version is the current one.
type lostStore struct{ deploy.Registry }

func (lostStore) Promoted(context.Context, string, int64, int64) error {
	return errors.New("open /secret/ingress.db: input/output error")
}

func TestAStartThatCannotBeStoredIsNotTheOwnersFailure(t *testing.T) {
	f := newFixture(t)
	f.options.Registries = map[workload.Kind]deploy.Registry{workload.App: lostStore{f.Registry}}
	f.run()
	f.create("hello")
	if v := f.awaitVersion("hello", 1, workload.Failed); strings.Contains(v.Reason, "secret") || !strings.Contains(v.Reason, "operator") {
		t.Errorf("the reason is %q", v.Reason)
	}
}

func TestANewerVersionEndsTheDeployOfAnOlderOne(t *testing.T) {
	f := newFixture(t)
	f.fetcher.hold = make(chan error)
	f.run()
	f.create("hello")
	<-f.fetcher.begun
	f.update("hello", workload.Update{Redeploy: true})
	<-f.fetcher.ended
	<-f.fetcher.begun
	f.fetcher.hold <- nil
	f.awaitVersion("hello", 2, workload.Ready)
	if v := f.awaitVersion("hello", 1, workload.Stopped); !strings.Contains(v.Reason, "superseded") {
		t.Errorf("the reason is %q", v.Reason)
	}
	if got := f.stage.log(); got != "app/hello v2 r1 blue" {
		t.Errorf("promoted %s", got)
	}
}

// A rollback is for when something is wrong: it must not wait for a build.
func TestARollbackEndsTheDeployOfANewerVersion(t *testing.T) {
	f := newFixture(t)
	f.stage.journal = f.Registry
	f.fetcher.hold = make(chan error)
	f.run()
	f.create("hello")
	for n := int64(1); n <= 2; n++ {
		<-f.fetcher.begun
		f.fetcher.hold <- nil
		f.awaitVersion("hello", n, workload.Ready)
		f.update("hello", workload.Update{Redeploy: true})
	}
	<-f.fetcher.begun
	if _, err := f.Rollback(t.Context(), caller, "hello", 1); err != nil {
		t.Fatal(err)
	}
	select {
	case <-f.fetcher.ended:
	case <-time.After(deadline):
		t.Fatal("the fetch of version 3 goes on")
	}
	f.awaitVersion("hello", 1, workload.Ready)
	f.awaitVersion("hello", 3, workload.Stopped)
}

// fullStore cannot write what becomes of a deploy.
type fullStore struct {
	deploy.Registry
	tried chan struct{}
}

func (s *fullStore) Advance(context.Context, string, int64, workload.State, string, func(*workload.Version)) error {
	s.tried <- struct{}{}
	return &store.UnavailableError{Detail: "the disk is full", Cause: syscall.ENOSPC}
}

// The log of the operator is on the same disk.
func TestADeployThatCannotBeStoredIsNotRepeatedAtOnce(t *testing.T) {
	f := newFixture(t)
	full := &fullStore{f.Registry, make(chan struct{}, 100)}
	f.options.Registries = map[workload.Kind]deploy.Registry{workload.App: full}
	f.run()
	f.create("hello")
	<-full.tried // its first step
	<-full.tried // that it has failed
	select {
	case <-full.tried:
		t.Error("it was begun again at once")
	case <-time.After(200 * time.Millisecond):
	}
}

// What runs of a workload is removed when a backend takes its place, and a deploy
// under way is ended. The one that is to replace the backend is not.
func TestABackendIsReplacedByAVersion(t *testing.T) {
	f := newFixture(t)
	f.fetcher.hold = make(chan error)
	f.run()
	f.create("hello")
	<-f.fetcher.begun
	f.update("hello", workload.Update{Backend: "http://example.com"})
	<-f.fetcher.ended
	f.await("removal", func() bool { return f.stage.removals() > 0 })
	f.update("hello", workload.Update{Source: workload.Source{Files: map[string]string{"index.html": "hello"}}})
	<-f.fetcher.begun
	f.fetcher.hold <- nil
	f.awaitVersion("hello", 2, workload.Ready)
	f.stop()
	if n := len(f.fetcher.begun) + len(f.fetcher.ended); n != 0 {
		t.Errorf("it was begun again %d times", n)
	}
	if w, err := f.Get(t.Context(), caller, "hello"); err != nil || w.Current != 2 || w.Backend != "" {
		t.Errorf("it is %+v, %v", w, err)
	}
}

func TestDeletingEndsADeployAndLeavesNothing(t *testing.T) {
	f := newFixture(t)
	f.fetcher.hold = make(chan error)
	f.run()
	f.create("hello")
	<-f.fetcher.begun
	if err := f.Delete(t.Context(), caller, "hello"); err != nil {
		t.Fatal(err)
	}
	<-f.fetcher.ended
	f.await("removal of its folder", func() bool {
		_, err := os.Stat(f.layout.Workload(workload.App, "hello"))
		return os.IsNotExist(err)
	})
	if got := f.stage.log(); got != "" {
		t.Errorf("promoted %s", got)
	}
}

// Each has a log, of up to 10 MiB, and counts in no quota.
func TestVersionsThatFailArePruned(t *testing.T) {
	f := newFixture(t)
	f.options.Keep = 2
	f.options.Builder = sites{err: &builder.Error{Step: "build", Reason: "it broke"}}
	f.run()
	f.create("hello")
	f.awaitVersion("hello", 1, workload.Failed)
	for n := int64(2); n <= 5; n++ {
		f.update("hello", workload.Update{Redeploy: true})
		f.awaitVersion("hello", n, workload.Failed)
	}
	f.await("removal of old folders", func() bool { return f.folders("hello") == "4 5" })
}

// littering is a builder that leaves something in its TMPDIR.
type littering struct{ sites }

func (b littering) Build(ctx context.Context, r builder.Request) (workload.Artifact, error) {
	artifact, err := b.sites.Build(ctx, r)
	return artifact, errors.Join(err, os.WriteFile(filepath.Join(r.Temp, "litter"), nil, 0o600))
}

// making has a build make folders, and go into those that are a shell's to name.
type making struct{ command string }

func (m making) Build(ctx context.Context, r builder.Request) (workload.Artifact, error) {
	cmd := exec.CommandContext(ctx, "/bin/sh", "-c", m.command)
	cmd.Dir = r.Code
	return workload.Artifact{Site: ".", Summary: "a site"}, cmd.Run()
}

// What a quota of disk is for can be used up without a byte in any file, and by
// names that are longer together than the system takes at once.
func TestFoldersAndEmptyFilesTakeRoom(t *testing.T) {
	const block = 4096
	for command, want := range map[string]int64{
		"mkdir a a/b a/b/c": 4 * block,
		": > a; : > b":      3 * block,
		"n=$(printf %0200d 0); for i in 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20 21 22 23 24 25; do mkdir $n; cd -P $n; done": 26 * block,
	} {
		f := newFixture(t)
		f.options.Builder = making{command}
		f.run()
		f.create("hello")
		if v := f.awaitVersion("hello", 1, workload.Ready); v.Size != want {
			t.Errorf("%.20s: it takes %d bytes, want %d", command, v.Size, want)
		}
	}
}

// It may have as much as a build may have, and a site has no process whose start
// would clear it away.
func TestTheTemporaryFolderOfABuildGoesWithIt(t *testing.T) {
	for state, err := range map[workload.State]error{workload.Ready: nil, workload.Failed: &builder.Error{Step: "build", Reason: "it broke"}} {
		t.Run(string(state), func(t *testing.T) {
			f := newFixture(t)
			f.options.Builder = littering{sites{err: err}}
			f.run()
			f.create("hello")
			f.awaitVersion("hello", 1, state)
			if _, err := os.Stat(workload.TempDir(f.layout.Version(workload.App, "hello", 1))); !os.IsNotExist(err) {
				t.Errorf("it is there: %v", err)
			}
		})
	}
}

// A deployer that looks at neither in between has only the job to tell the two by.
func TestAWorkloadMadeAgainHasNothingOfTheOneBefore(t *testing.T) {
	f := newFixture(t)
	f.run()
	f.create("hello")
	f.awaitVersion("hello", 1, workload.Ready)
	f.stop()
	left := filepath.Join(f.layout.Home(workload.App, "hello"), "left")
	if err := os.WriteFile(left, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := f.Delete(t.Context(), caller, "hello"); err != nil {
		t.Fatal(err)
	}
	f.create("hello")
	before := f.stage.removals()
	f.fetcher.hold = make(chan error)
	f.run()
	for range 2 {
		<-f.fetcher.begun
	}
	if _, err := os.Stat(left); !os.IsNotExist(err) {
		t.Errorf("its home has what the one before left: %v", err)
	}
	if f.stage.removals() == before {
		t.Error("what runs of the one before goes on")
	}
	f.fetcher.hold <- nil
	f.awaitVersion("hello", 2, workload.Ready)
	if _, err := os.Stat(f.layout.Version(workload.App, "hello", 1)); !os.IsNotExist(err) {
		t.Errorf("the folder of the one before is there: %v", err)
	}
}

func TestADeployThatWasCutOffBeginsAgain(t *testing.T) {
	f := newFixture(t)
	f.fetcher.hold = make(chan error)
	f.run()
	f.create("hello")
	<-f.fetcher.begun
	f.stop()
	f.awaitVersion("hello", 1, workload.Building)
	f.run()
	<-f.fetcher.begun
	f.fetcher.hold <- nil
	f.awaitVersion("hello", 1, workload.Ready)
}

func TestANewEnvironmentRestarts(t *testing.T) {
	f := newFixture(t)
	f.run()
	f.create("hello")
	f.awaitVersion("hello", 1, workload.Ready)
	f.update("hello", workload.Update{Env: map[string]string{"COLOUR": "red"}})
	f.await("a restart", func() bool { return strings.HasSuffix(f.stage.log(), "app/hello v1 r2 red") })
	f.stage.fail(errors.New("it does not like that"))
	f.update("hello", workload.Update{Env: map[string]string{"COLOUR": "green"}})
	f.await("the reason why it could not be restarted", func() bool {
		w, err := f.Get(t.Context(), caller, "hello")
		return err == nil && w.State == workload.Ready && strings.Contains(w.Reason, "does not like")
	})
}

func TestBuildsAreBounded(t *testing.T) {
	f := newFixture(t)
	f.fetcher.hold = make(chan error)
	f.run()
	for n := range 5 {
		f.create(fmt.Sprintf("hello%d", n))
	}
	<-f.fetcher.begun
	<-f.fetcher.begun
	select {
	case name := <-f.fetcher.begun:
		t.Fatalf("a third build began: %s", name)
	case <-time.After(100 * time.Millisecond):
	}
	for range 5 {
		f.fetcher.hold <- nil
	}
	for n := range 5 {
		f.awaitVersion(fmt.Sprintf("hello%d", n), 1, workload.Ready)
	}
}

// One tenant has many to build: another's is built when the next slot is free, or one
// soon after that, if it comes to wait too late.
func TestTenantsTakeTurnsToBuild(t *testing.T) {
	f := newFixture(t)
	f.options.Builds = 1
	f.fetcher.hold = make(chan error)
	f.run()
	const many = 12
	for n := range many {
		f.create(fmt.Sprintf("many%d", n))
	}
	<-f.fetcher.begun
	other := caller
	other.Tenant = "b"
	_, err := f.Create(t.Context(), other, workload.Spec{Name: "other", Region: "local", Source: workload.Source{Files: map[string]string{"index.html": "hello"}}})
	if err != nil {
		t.Fatal(err)
	}
	var begun []string
	for range many {
		f.fetcher.hold <- nil
		begun = append(begun, <-f.fetcher.begun)
	}
	f.fetcher.hold <- nil
	if at := slices.Index(begun, "app-other-1-fetch"); at < 0 || at > many/2 {
		t.Errorf("it is built after %d others: %v", at+1, begun)
	}
}

func TestOldVersionsArePrunedAndStraysRemoved(t *testing.T) {
	f := newFixture(t)
	f.options.Keep = 2
	f.stage.journal = f.Registry
	stray := filepath.Join(f.layout.Workload(workload.App, "nobody"), "1")
	if err := os.MkdirAll(stray, 0o755); err != nil {
		t.Fatal(err)
	}
	f.run()
	f.create("hello")
	f.awaitVersion("hello", 1, workload.Ready)
	for n := int64(2); n <= 5; n++ {
		f.update("hello", workload.Update{Redeploy: true})
		f.awaitVersion("hello", n, workload.Ready)
	}
	f.await("removal of old folders", func() bool { return f.folders("hello") == "4 5" })
	if _, err := os.Stat(filepath.Dir(stray)); !os.IsNotExist(err) {
		t.Errorf("the stray folder is there: %v", err)
	}
}
