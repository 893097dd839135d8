package builder

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/m3o/ingress/internal/confine"
	"github.com/m3o/ingress/internal/leaktest"
	"github.com/m3o/ingress/internal/porttest"
	"github.com/m3o/ingress/internal/skiptest"
	"github.com/m3o/ingress/internal/workload"
)

// cacheDir is a tenant's cache that all tests build into, so that the standard
// library is compiled once. As root's it is of the group of TestConfinedBuilds.
var cacheDir string

func TestMain(m *testing.M) {
	dir, err := os.MkdirTemp("", "builder")
	if err == nil {
		cacheDir = filepath.Join(dir, "cache")
		err = errors.Join(os.Chmod(dir, 0o711), os.Mkdir(cacheDir, 0o770))
	}
	if err == nil && os.Geteuid() == 0 {
		err = errors.Join(os.Chown(cacheDir, 0, tenantGID), os.Chmod(cacheDir, 0o770|os.ModeSetgid))
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	leaktest.Main(m, func() error { return os.RemoveAll(dir) })
}

// tenantGID is the group of the users that TestConfinedBuilds builds as.
const tenantGID = 64000

// tasks runs steps as real processes without confinement, and remembers them.
type tasks struct {
	mu  sync.Mutex
	ran []workload.Task
}

// Run implements workload.TaskRunner.
func (r *tasks) Run(ctx context.Context, t workload.Task) (confine.Exit, error) {
	r.mu.Lock()
	r.ran = append(r.ran, t)
	r.mu.Unlock()
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	cmd := exec.CommandContext(ctx, t.Args[0], t.Args[1:]...)
	cmd.Env, cmd.Dir = t.Env, t.Dir
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if !t.User.IsZero() {
		cmd.SysProcAttr.Credential = &syscall.Credential{Uid: t.User.UID, Gid: t.User.GID}
	}
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }
	out := &ending{w: t.Output, end: cancel}
	cmd.Stdout, cmd.Stderr = out, out
	err := cmd.Run()
	var exit *exec.ExitError
	switch {
	case err == nil:
		return confine.Exit{}, nil
	case errors.As(err, &exit):
		if status := exit.Sys().(syscall.WaitStatus); status.Signaled() {
			return confine.Exit{Code: -1, Signal: status.Signal().String()}, nil
		}
		return confine.Exit{Code: exit.ExitCode()}, nil
	case out.failed:
		return confine.Exit{Code: -1, Signal: "SIGKILL"}, nil
	}
	return confine.Exit{}, err
}

// ending ends the task when its output fails.
type ending struct {
	w      io.Writer
	end    func()
	failed bool
}

func (e *ending) Write(p []byte) (int, error) {
	n, err := e.w.Write(p)
	if err != nil {
		e.failed = true
		e.end()
	}
	return n, err
}

// world is a builder with a place to build in.
type world struct {
	*testing.T
	*Builder
	tasks *tasks
	req   Request
	log   *bytes.Buffer
}

func newWorld(t *testing.T, o Options) *world {
	t.Helper()
	runner, log, dir := &tasks{}, &bytes.Buffer{}, t.TempDir()
	if o.Tasks == nil {
		o.Tasks = runner
	}
	if o.Env == nil {
		o.Env = PassedEnv(os.Environ())
	}
	w := &world{T: t, Builder: New(o), tasks: runner, log: log, req: Request{Name: "app-test-build", Cache: cacheDir, Log: log}}
	for name, field := range map[string]*string{"code": &w.req.Code, "tmp": &w.req.Temp, "home": &w.req.Home} {
		*field = filepath.Join(dir, name)
		if err := os.Mkdir(*field, 0o775); err != nil {
			t.Fatal(err)
		}
	}
	return w
}

// files writes files into the code folder.
func (w *world) files(files map[string]string) {
	w.Helper()
	for name, content := range files {
		path := filepath.Join(w.req.Code, name)
		if err := errors.Join(os.MkdirAll(filepath.Dir(path), 0o755), os.WriteFile(path, []byte(content), 0o644)); err != nil {
			w.Fatal(err)
		}
	}
}

// build builds what must succeed.
func (w *world) build() workload.Artifact {
	w.Helper()
	artifact, err := w.Build(w.Context(), w.req)
	if err != nil {
		w.Fatalf("build: %v\n%s", err, w.log)
	}
	if !artifact.IsSite() && !filepath.IsAbs(artifact.Args[0]) {
		w.Fatalf("the command %q does not begin with an absolute path", artifact.Args)
	}
	return artifact
}

// fails builds what must fail for a reason that is the owner's, and holds words.
func (w *world) fails(words ...string) *Error {
	w.Helper()
	artifact, err := w.Build(w.Context(), w.req)
	var failure *Error
	if !errors.As(err, &failure) {
		w.Fatalf("got %v and %v, want an *Error\n%s", artifact, err, w.log)
	}
	for _, word := range words {
		if !strings.Contains(failure.Error(), word) {
			w.Errorf("the error does not say %q: %v\n%s", word, failure, w.log)
		}
	}
	return failure
}

// says checks that the log holds words.
func (w *world) says(words ...string) {
	w.Helper()
	for _, word := range words {
		if !strings.Contains(w.log.String(), word) {
			w.Errorf("the log does not say %q:\n%s", word, w.log)
		}
	}
}

// serves starts what was built, asks it for / and returns the answer.
func (w *world) serves(a workload.Artifact) string {
	w.Helper()
	addr := porttest.Closed(w)
	_, port, _ := net.SplitHostPort(addr)
	cmd := exec.Command(a.Args[0], a.Args[1:]...)
	cmd.Dir = filepath.Join(w.req.Code, a.Dir)
	cmd.Env = environ(a.Env, map[string]string{"PORT": port, "HOME": w.req.Home, "TMPDIR": w.req.Temp})
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if err := cmd.Start(); err != nil {
		w.Fatalf("start %q: %v", a.Args, err)
	}
	ended := make(chan struct{})
	go func() {
		cmd.Wait() //nolint:errcheck // it is killed below
		close(ended)
	}()
	defer func() {
		syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL)
		<-ended
	}()
	return w.get("http://"+addr, ended, &out)
}

func (w *world) get(url string, ended <-chan struct{}, out *bytes.Buffer) string {
	w.Helper()
	client := http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	deadline := time.After(30 * time.Second)
	for {
		if resp, err := client.Get(url); err == nil {
			defer resp.Body.Close()
			body, err := io.ReadAll(resp.Body)
			if err != nil {
				w.Fatal(err)
			}
			return string(body)
		}
		select {
		case <-tick.C:
		case <-ended:
			w.Fatalf("it ended without serving: %s", out)
		case <-deadline:
			w.Fatal("it did not serve in time")
		}
	}
}

// commands are the steps that were run, without what the builder puts before them.
func (w *world) commands() []string {
	var commands []string
	for _, t := range w.tasks.ran {
		commands = append(commands, strings.Join(t.Args[4:], " "))
	}
	return commands
}

// needs skips a test whose language this machine does not have.
func needs(t *testing.T, names ...string) {
	t.Helper()
	available, unavailable := New(Options{}).Runtimes(t.Context())
	for _, name := range names {
		if slices.ContainsFunc(available, func(r Runtime) bool { return r.Name == name }) {
			continue
		}
		skiptest.Skip(t, unavailable[name])
	}
}
