package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/m3o/ingress/internal/api/apitest"
	"github.com/m3o/ingress/internal/app"
	"github.com/m3o/ingress/internal/logfile"
	"github.com/m3o/ingress/internal/store/storetest"
	"github.com/m3o/ingress/internal/workload"
)

// anyBackend lets every address be registered.
type anyBackend struct{}

func (anyBackend) Check(context.Context, *url.URL) error { return nil }

// deployer is a platform with the real app service, whose versions are deployed by
// the test: each fails with the next of its faults, or answers when that is empty.
type deployer struct {
	*apitest.Server
	t        *testing.T
	registry *workload.Registry
	layout   workload.Layout
	mu       sync.Mutex
	faults   []string
	held     bool
}

func newDeployer(t *testing.T, faults ...string) *deployer {
	t.Helper()
	d := &deployer{t: t, layout: workload.Layout{Data: t.TempDir()}, faults: faults}
	public := func(id string) string { return "http://" + id + ".app.localhost:8080" }
	d.registry = workload.NewRegistry(workload.App, workload.Options{
		DB: storetest.Open(t), Sealer: storetest.Sealer(t), Rules: anyBackend{}, Layout: d.layout, PublicURL: public,
	})
	d.Server = apitest.NewServer(t, app.New(app.Options{Registry: d.registry, URL: public}).Service())
	ctx, cancel := context.WithCancel(context.Background())
	var running sync.WaitGroup
	running.Go(func() { d.work(ctx) })
	t.Cleanup(func() { cancel(); running.Wait() })
	return d
}

func (d *deployer) work(ctx context.Context) {
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
		case <-ctx.Done():
			return
		}
		d.mu.Lock()
		held := d.held
		d.mu.Unlock()
		jobs, err := d.registry.Work(ctx)
		if ctx.Err() != nil {
			return
		}
		if err != nil {
			d.t.Error(err)
		}
		for _, job := range jobs {
			if !held {
				d.deploy(ctx, job)
			}
		}
	}
}

func (d *deployer) deploy(ctx context.Context, job workload.Job) {
	number := job.Version.Number
	fault := ""
	d.mu.Lock()
	if !job.Version.Built() && len(d.faults) > 0 {
		fault, d.faults = d.faults[0], d.faults[1:]
	}
	d.mu.Unlock()
	dir := d.layout.Version(workload.App, job.ID, number)
	err := os.MkdirAll(dir, 0o700)
	if err == nil && !job.Version.Built() {
		err = writeLog(workload.BuildLog(dir), number)
	}
	if err == nil && !job.Version.Built() {
		err = d.registry.Advance(ctx, job.ID, number, workload.Building, "", func(v *workload.Version) {
			v.Artifact = workload.Artifact{Site: "."}
			v.Steps = []workload.Step{
				{Name: "fetch", Started: time.Now(), Took: 120 * time.Millisecond, Detail: "from " + v.Source.Origin()[:6]},
				{Name: "build", Started: time.Now(), Took: 1300 * time.Millisecond, Detail: "Go module"},
			}
		})
	}
	switch {
	case err == nil && fault != "":
		err = d.registry.Advance(ctx, job.ID, number, workload.Failed, fault, nil)
	case err == nil:
		start := workload.Step{Name: "start", Started: time.Now(), Took: 20 * time.Millisecond}
		err = errors.Join(d.registry.Advance(ctx, job.ID, number, workload.Starting, "", func(v *workload.Version) {
			v.Steps = append(slices.DeleteFunc(v.Steps, func(s workload.Step) bool { return s.Name == "start" }), start)
		}), d.registry.Promoted(ctx, job.ID, number, job.Revision))
	}
	if err != nil && ctx.Err() == nil {
		d.t.Error(err)
	}
}

// writeLog writes a log of 40 lines.
func writeLog(path string, number int64) error {
	log, err := logfile.Create(path, 1<<20)
	if err != nil {
		return err
	}
	for i := range 40 {
		if _, err := fmt.Fprintf(log, "version %d line %d\n", number, i+1); err != nil {
			return err
		}
	}
	return log.Close()
}

// folder makes an app's folder.
func folder(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	for name, content := range map[string]string{"index.html": "<h1>hello</h1>", "secret.txt": "sesame", ".ingressignore": "secret.txt\n"} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

// asAlice runs a command as Alice.
func (d *deployer) asAlice(args ...string) outcome {
	d.t.Helper()
	s := shell{env: map[string]string{tokenVariable: apitest.Alice}}
	return s.run(d.t, append(args, "--address", d.URL)...)
}

// has reports what of the texts is missing, in order.
func missing(text string, wanted ...string) string {
	for _, want := range wanted {
		_, rest, ok := strings.Cut(text, want)
		if !ok {
			return want
		}
		text = rest
	}
	return ""
}

func TestRunUploadsAFolderAndFollowsItsDeploy(t *testing.T) {
	d := newDeployer(t)
	dir := folder(t)
	got := d.asAlice("app", "run", "shop", "--dir", dir)
	if got.code != 0 || got.stdout != "http://shop.app.localhost:8080\n" {
		t.Fatalf("%+v", got)
	}
	if lost := missing(got.stderr, "upload ", "2 files, ", "fetch      120ms  from upload\n", "build       1.3s  Go module\n", "version 1 answers after "); lost != "" {
		t.Errorf("no %q in\n%s", lost, got.stderr)
	}
	if strings.Contains(got.stderr, "line 1") || strings.Contains(got.stderr, "\x1b") {
		t.Errorf("shown without being asked, or to no terminal:\n%s", got.stderr)
	}
	got = d.asAlice("app", "run", "shop", "--dir", dir, "--verbose")
	if lost := missing(got.stderr, "app shop is there already; updating it\n", "version 2 line 1\n", "version 2 line 40\n", "version 2 answers"); got.code != 0 || lost != "" {
		t.Errorf("no %q in %+v", lost, got)
	}
	got = d.asAlice("app", "run", "shop", "--dir", dir, "--json")
	if got.code != 0 || missing(got.stdout, `"status": "Running"`, `"number": "3"`) != "" {
		t.Errorf("%+v", got)
	}
}

func TestOneFileIsCountedAsOne(t *testing.T) {
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "index.html"), []byte("<h1>hello</h1>"), 0o600); err != nil {
		t.Fatal(err)
	}
	if got := newDeployer(t).asAlice("app", "run", "shop", "--dir", dir); got.code != 0 || !strings.Contains(got.stderr, " 1 file, ") {
		t.Errorf("%+v", got)
	}
}

func TestADeployThatFailsShowsWhyAndTheEndOfItsLog(t *testing.T) {
	d := newDeployer(t, "", "go build: exit status 1\n# shop\n./main.go:1: no")
	if got := d.asAlice("app", "run", "shop", "--repo", "https://example.com/shop"); got.code != 0 {
		t.Fatalf("%+v", got)
	}
	got := d.asAlice("app", "update", "shop", "--branch", "next")
	lost := missing(got.stderr, "the last 30 lines of its build log:\n", "  version 2 line 11\n", "  version 2 line 40\n",
		"ingress: app update: version 2 failed: go build: exit status 1\n", "Version 1 goes on answering.\n")
	if got.code != 1 || got.stdout != "" || lost != "" || strings.Contains(got.stderr, "line 10\n") {
		t.Errorf("no %q in %+v", lost, got)
	}
	got = d.asAlice("app", "status", "shop")
	if lost := missing(got.stdout, "Running\n", "REASON   version 2: go build: exit status 1 # shop ./main.go:1: no", "VERSION  1", "NEWEST   2, failed", "build "); lost != "" {
		t.Errorf("no %q in\n%s", lost, got.stdout)
	}
	got = d.asAlice("app", "versions", "shop")
	if lost := missing(got.stdout, "VERSION  STATE", "2        failed  no", "next", "1        ready   yes", "https://example.com/shop"); lost != "" {
		t.Errorf("no %q in\n%s", lost, got.stdout)
	}
	if got := d.asAlice("app", "update", "shop"); got.code != 0 || !strings.Contains(got.stderr, "version 3 answers") {
		t.Errorf("%+v", got)
	}
	// Its fetch and its build are not those of today.
	got = d.asAlice("app", "rollback", "shop", "1")
	if lost := missing(got.stderr, "start       20ms\n", "version 1 answers"); got.code != 0 || lost != "" || strings.Count(got.stderr, "\n") != 2 {
		t.Errorf("no %q in %+v", lost, got)
	}
	if got := d.asAlice("app", "rollback", "shop", "9"); got.code != 1 || !strings.Contains(got.stderr, "there is no such version") {
		t.Errorf("%+v", got)
	}
}

// eager is a context's interruption at the first text that contains something.
type eager struct {
	mu        sync.Mutex
	text      strings.Builder
	at        string
	interrupt context.CancelFunc
}

func (e *eager) Write(p []byte) (int, error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.text.Write(p)
	if strings.Contains(e.text.String(), e.at) {
		e.interrupt()
	}
	return len(p), nil
}

func (e *eager) String() string {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.text.String()
}

func TestAnInterruptedFollowLeavesTheDeployAlone(t *testing.T) {
	d := newDeployer(t)
	d.mu.Lock()
	d.held = true
	d.mu.Unlock()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	s := shell{env: map[string]string{tokenVariable: apitest.Alice}, ctx: ctx}
	got := s.run(t, "app", "run", "shop", "--dir", folder(t), "--address", atLook(t, d.URL, 2, cancel))
	if got.code != 1 || missing(got.stderr, "upload ", "interrupted; the deploy of app shop goes on", "ingress app status shop") != "" {
		t.Errorf("code %d: %s", got.code, got.stderr)
	}
	if got := d.asAlice("app", "status", "shop"); !strings.HasPrefix(got.stdout, "Deploying\n") {
		t.Errorf("%+v", got)
	}
}

// atLook is another address of a platform, where f is called when an app's status is
// asked for the nth time, before it is told. Who follows a deploy asks again and again.
func atLook(t *testing.T, platform string, n int32, f func()) (address string) {
	t.Helper()
	u, err := url.Parse(platform)
	if err != nil {
		t.Fatal(err)
	}
	proxy := &httputil.ReverseProxy{
		Rewrite:      func(r *httputil.ProxyRequest) { r.SetURL(u) },
		ErrorHandler: func(http.ResponseWriter, *http.Request, error) {}, // who asked has gone
	}
	var looks atomic.Int32
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/v1/app/Status" && looks.Add(1) == n {
			f()
		}
		proxy.ServeHTTP(w, r)
	}))
	t.Cleanup(server.Close)
	return server.URL
}

func TestDetachedRunsShowTheAppAsItIs(t *testing.T) {
	d := newDeployer(t)
	got := d.asAlice("app", "run", "shop", "--repo", "https://example.com/shop", "--detach")
	if got.code != 0 || missing(got.stdout, "NAME", "shop", "STATUS", "Deploying") != "" {
		t.Errorf("%+v", got)
	}
}

func TestWhatCannotBePackedIsNotDeployed(t *testing.T) {
	d := newDeployer(t)
	got := d.asAlice("app", "run", "shop", "--dir", filepath.Join(t.TempDir(), "nosuch"))
	if got.code != 1 || !strings.Contains(got.stderr, "cannot pack") {
		t.Errorf("%+v", got)
	}
	if got := d.asAlice("app", "get", "shop"); got.code != 1 {
		t.Errorf("%+v", got)
	}
	// The client is gone before the platform has noticed.
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for deadline := time.Now().Add(20 * time.Second); d.files() > 0; <-tick.C {
		if time.Now().After(deadline) {
			t.Fatal("a part of the upload is left")
		}
	}
	if got := d.asAlice("app", "run", "shop"); got.code != 1 || !strings.Contains(got.stderr, "--dir, --repo and --backend") {
		t.Errorf("%+v", got)
	}
}

// What is refused whatever the folder holds is refused without it.
func TestWhatIsRefusedAnyhowIsNotUploadedFirst(t *testing.T) {
	d := newDeployer(t)
	dir := folder(t)
	for name, test := range map[string]struct {
		args []string
		says string
	}{
		"a name with capitals": {[]string{"app", "run", "Shop"}, "ingress: app run: invalidate name format\nA name has 3 to 54"},
		"a reserved name":      {[]string{"app", "run", "www"}, "ingress: app run: name already reserved\n"},
		"no such app":          {[]string{"app", "update", "nosuch"}, "not found"},
		"a function's name":    {[]string{"function", "deploy", "a b", "--runtime", "go"}, "invalidate name format"},
	} {
		got := d.asAlice(append(test.args, "--dir", dir)...)
		if got.code != 1 || !strings.Contains(got.stderr, test.says) || strings.Contains(got.stderr, "upload") {
			t.Errorf("%s: %+v", name, got)
		}
	}
}

func TestALanguageThatIsNotThereIsToldBeforeTheUpload(t *testing.T) {
	p := newFakePlatform(t, http.StatusOK, `{"runtimes":["go","python"],"unavailable":{"nodejs":"there is no program node"}}`)
	for runtime, says := range map[string]string{
		"cobol": "invalid runtime\nName its language with --runtime", "": "invalid runtime\nName its language", "node22": "invalid runtime: there is no program node\n",
	} {
		got := withKey().run(t, "function", "deploy", "greet", "--runtime", runtime, "--dir", t.TempDir(), "--address", p.URL)
		if got.code != 1 || !strings.Contains(got.stderr, says) || strings.Contains(got.stderr, "upload") {
			t.Errorf("%q: %+v", runtime, got)
		}
	}
	for _, r := range p.requests() {
		if r.path != "/v1/function/Runtimes" {
			t.Errorf("it asked %s", r.path)
		}
	}
}

// files counts those of the data directory.
func (d *deployer) files() (n int) {
	d.t.Helper()
	err := filepath.WalkDir(d.layout.Data, func(_ string, entry fs.DirEntry, err error) error {
		if errors.Is(err, fs.ErrNotExist) {
			return nil // removed meanwhile
		}
		if err == nil && !entry.IsDir() {
			n++
		}
		return err
	})
	if err != nil {
		d.t.Fatal(err)
	}
	return n
}

func TestLogsAreFollowedAcrossVersions(t *testing.T) {
	d := newDeployer(t)
	if got := d.asAlice("app", "run", "shop", "--repo", "https://example.com/shop"); got.code != 0 {
		t.Fatalf("%+v", got)
	}
	if got := d.asAlice("app", "logs", "shop", "--type", "build"); got.code != 0 || strings.Count(got.stdout, "\n") != 40 {
		t.Errorf("%+v", got)
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	stderr := &eager{at: "version 2:\n", interrupt: cancel}
	followed := make(chan outcome)
	s := shell{env: map[string]string{tokenVariable: apitest.Alice}, ctx: ctx, stderr: stderr}
	go func() {
		followed <- s.run(t, "app", "logs", "shop", "-f", "--type", "build", "--address", d.URL)
	}()
	if got := d.asAlice("app", "update", "shop"); got.code != 0 {
		t.Errorf("%+v", got)
	}
	got := <-followed
	if got.code != 0 || !strings.Contains(stderr.String(), "version 2:\n") && !strings.Contains(got.stdout, "version 2 line 1\n") {
		t.Errorf("%+v, %s", got, stderr)
	}
}

func TestCredentialsAreReadFromStdin(t *testing.T) {
	d := newDeployer(t)
	s := shell{env: map[string]string{tokenVariable: apitest.Alice}, stdin: strings.NewReader("sesame\n")}
	if got := s.run(t, "app", "credential", "set", "github.com", "--address", d.URL); got.code != 0 || got.stderr != "the credential for github.com is stored\n" {
		t.Errorf("%+v", got)
	}
	got := d.asAlice("app", "credential", "list")
	if missing(got.stdout, "HOST", "github.com", "git", "yes", "no") != "" || strings.Contains(got.stdout, "sesame") {
		t.Errorf("%+v", got)
	}
	if got := d.asAlice("app", "credential", "delete", "github.com"); got.code != 0 {
		t.Errorf("%+v", got)
	}
}
