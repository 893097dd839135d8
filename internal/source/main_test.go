package source

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/m3o/ingress/internal/confine"
	"github.com/m3o/ingress/internal/leaktest"
	"github.com/m3o/ingress/internal/runner"
	"github.com/m3o/ingress/internal/skiptest"
	"github.com/m3o/ingress/internal/workload"
)

// The test's program is also the one that fetches without a system git, and the
// launcher of confined processes.
func TestMain(m *testing.M) {
	if len(os.Args) == 3 && os.Args[1] == "fetch" {
		os.Exit(FetchMain(os.Args[2:], os.Getenv, os.Stdout))
	}
	if len(os.Args) > 1 && os.Args[1] == runner.Subcommand {
		os.Exit(runner.Launch(os.Args[2:], os.Stdin, os.Stdout))
	}
	leaktest.Main(m)
}

// processes runs tasks as plain processes, in a group that ends with the task. It
// keeps all arguments it saw, for the test that no secret is in them.
type processes struct {
	t    *testing.T
	args []string
}

func (p *processes) Run(ctx context.Context, task workload.Task) (confine.Exit, error) {
	p.args = append(p.args, task.Args...)
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	cmd := exec.CommandContext(ctx, task.Args[0], task.Args[1:]...)
	cmd.Env, cmd.Dir = task.Env, task.Dir
	out := &failing{w: task.Output, cancel: cancel}
	cmd.Stdout, cmd.Stderr = out, out
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if !task.User.IsZero() {
		cmd.SysProcAttr.Credential = &syscall.Credential{Uid: task.User.UID, Gid: task.User.GID}
	}
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }
	err := cmd.Run()
	if ctx.Err() != nil {
		return confine.Exit{}, ctx.Err()
	}
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		return confine.Exit{}, err
	}
	return confine.Exit{Code: cmd.ProcessState.ExitCode()}, nil
}

// failing ends a task when its output cannot be written.
type failing struct {
	w      io.Writer
	cancel func()
}

func (f *failing) Write(p []byte) (int, error) {
	n, err := f.w.Write(p)
	if err != nil {
		f.cancel()
	}
	return n, err
}

func needGit(t testing.TB) {
	t.Helper()
	if _, err := exec.LookPath("git"); err != nil {
		skiptest.Skip(t, "there is no git, whose server and rules this test needs")
	}
}

// deadline is a context that ends when a test takes far too long.
func deadline(t testing.TB) context.Context {
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	t.Cleanup(cancel)
	return ctx
}

// runGit runs git in a folder, with nobody's settings, and returns what it printed.
func runGit(t testing.TB, dir string, args ...string) string {
	t.Helper()
	cmd := exec.Command("git", args...)
	cmd.Dir = dir
	cmd.Env = []string{"PATH=" + os.Getenv("PATH"), "HOME=" + dir, "GIT_CONFIG_NOSYSTEM=1", "GIT_ALLOW_PROTOCOL=file",
		"GIT_AUTHOR_NAME=a", "GIT_AUTHOR_EMAIL=a@example.com", "GIT_COMMITTER_NAME=a", "GIT_COMMITTER_EMAIL=a@example.com"}
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("git %v: %v\n%s", args, err, out)
	}
	return strings.TrimSpace(string(out))
}

// write writes files; those whose content begins with "-> " are links.
func write(t testing.TB, dir string, files map[string]string) {
	t.Helper()
	for name, content := range files {
		file := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
			t.Fatal(err)
		}
		var err error
		if target, ok := strings.CutPrefix(content, "-> "); ok {
			err = os.Symlink(target, file)
		} else {
			err = os.WriteFile(file, []byte(content), 0o644)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
}

// read returns a folder's files, links as write takes them and empty folders as "/".
func read(t testing.TB, dir string) map[string]string {
	t.Helper()
	files := map[string]string{}
	err := filepath.Walk(dir, func(file string, info os.FileInfo, err error) error {
		if err != nil || file == dir {
			return err
		}
		name, _ := filepath.Rel(dir, file)
		switch {
		case info.Mode()&os.ModeSymlink != 0:
			target, err := os.Readlink(file)
			files[name] = "-> " + target
			return err
		case info.Mode().IsRegular():
			text, err := os.ReadFile(file)
			files[name] = string(text)
			return err
		}
		entries, err := os.ReadDir(file)
		if len(entries) == 0 {
			files[name] = "/"
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return files
}

// reason returns the reason of an error, or says what it is instead.
func reason(err error) Reason {
	var e *Error
	if errors.As(err, &e) {
		return e.Reason
	}
	return Reason(fmt.Sprintf("no Error: %v", err))
}

func wantEmpty(t testing.TB, dir string) {
	t.Helper()
	if left := read(t, dir); len(left) > 0 {
		t.Errorf("an error left %v behind", left)
	}
}
