package confine

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

	"github.com/m3o/ingress/internal/leaktest"
	"github.com/m3o/ingress/internal/skiptest"
)

// probeEnv names the helper program, for the tests that a copy of the test
// binary runs as an ordinary user.
const probeEnv = "INGRESS_TEST_CONFINE_PROBE"

var probe string

func TestMain(m *testing.M) {
	os.Exit(withProbe(m))
}

// withProbe builds the program that tries what is forbidden and runs the tests.
func withProbe(m *testing.M) int {
	if probe = os.Getenv(probeEnv); probe == "" {
		dir, err := os.MkdirTemp("", "confine-probe-")
		if err != nil {
			panic(err)
		}
		defer os.RemoveAll(dir)
		if err := os.Chmod(dir, 0o755); err != nil {
			panic(err)
		}
		probe = filepath.Join(dir, "probe")
		build := exec.Command("go", "build", "-o", probe, "./testdata/probe")
		build.Env = append(os.Environ(), "CGO_ENABLED=0")
		if out, err := build.CombinedOutput(); err != nil {
			panic(fmt.Sprintf("%v: %s", err, out))
		}
	}
	return leaktest.Run(m)
}

// TestAsOrdinaryUser runs all other tests again as somebody who is not root.
func TestAsOrdinaryUser(t *testing.T) {
	if os.Geteuid() != 0 {
		skiptest.Skip(t, "the other tests run as an ordinary user already")
	}
	dir, err := os.MkdirTemp("", "confine-user-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := Remove(dir); err != nil {
			t.Error(err)
		}
	})
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(self)
	if err != nil {
		t.Fatal(err)
	}
	copied := filepath.Join(dir, "confine.test")
	if err := os.WriteFile(copied, text, 0o755); err != nil {
		t.Fatal(err)
	}
	nobody := User{UID: 65534, GID: 65534}
	if err := errors.Join(os.Chmod(dir, 0o755), Give(dir, nobody)); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 3*time.Minute)
	defer cancel()
	args := []string{"-test.count=1"}
	if testing.Verbose() {
		args = append(args, "-test.v")
	}
	cmd := exec.CommandContext(ctx, copied, args...)
	cmd.Dir = dir
	cmd.Env = []string{"PATH=/usr/local/go/bin:/usr/bin:/bin", "TMPDIR=" + dir, "HOME=" + dir, probeEnv + "=" + probe,
		"INGRESS_TEST_SECRET=of-the-launcher"}
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: nobody.UID, Gid: nobody.GID}}
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("as an ordinary user: %v\n%s", err, out)
	}
	t.Logf("%s", out)
}

// An app is a confined program under test.
type app struct {
	t      *testing.T
	policy Policy
	dir    string
}

// newApp makes a directory for a workload and a policy that lets it work there.
func newApp(t *testing.T, name string) *app {
	t.Helper()
	a := &app{t: t, dir: filepath.Join(t.TempDir(), name)}
	if err := os.Mkdir(a.dir, 0o700); err != nil {
		t.Fatal(err)
	}
	a.policy = Policy{
		Name:      fmt.Sprintf("test-%s-%d", name, os.Getpid()),
		ReadWrite: []string{a.dir}, ReadOnly: []string{probe},
		Limits: Limits{Memory: 256 << 20, CPU: 1000, Processes: 64, Files: 256},
	}
	if os.Geteuid() == 0 {
		a.policy.User = User{UID: 61234, GID: 61234}
		if err := Give(a.dir, a.policy.User); err != nil {
			t.Fatal(err)
		}
	}
	return a
}

// command is the program with its output.
func (a *app) start(path string, args ...string) (*Process, *os.File) {
	a.t.Helper()
	r, w, err := os.Pipe()
	if err != nil {
		a.t.Fatal(err)
	}
	p, err := Start(a.policy, Command{
		Path: path, Args: append([]string{path}, args...), Dir: a.dir, Output: w,
		Env: []string{"PATH=/usr/local/go/bin:/usr/bin:/bin", "HOME=" + a.dir, "TMPDIR=" + a.dir, "LANG=C"},
	})
	w.Close()
	if err != nil {
		r.Close()
		a.t.Fatal(err)
	}
	a.t.Cleanup(func() {
		p.Kill()
		p.Wait()
		r.Close()
		if err := p.Leftover(); err != nil {
			a.t.Errorf("left behind: %v", err)
		}
	})
	return p, r
}

// run runs a program to its end.
func (a *app) run(path string, args ...string) (Exit, string) {
	a.t.Helper()
	p, r := a.start(path, args...)
	timer := time.AfterFunc(90*time.Second, p.Kill)
	defer timer.Stop()
	out, err := io.ReadAll(r)
	if err != nil {
		a.t.Fatal(err)
	}
	return p.Wait(), string(out)
}

// waitLine reads output until a line appears in it.
func waitLine(t *testing.T, r *os.File, line string) string {
	t.Helper()
	if err := r.SetReadDeadline(time.Now().Add(20 * time.Second)); err != nil {
		t.Fatal(err)
	}
	var out []byte
	buffer := make([]byte, 4096)
	for !strings.Contains(string(out), line) {
		n, err := r.Read(buffer)
		out = append(out, buffer[:n]...)
		if err != nil {
			t.Fatalf("%v before %q in %q", err, line, out)
		}
	}
	return string(out)
}

// gone waits until a process with this number no longer runs.
func gone(t *testing.T, pid int) {
	t.Helper()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for deadline := time.Now().Add(10 * time.Second); ; <-tick.C {
		if p, ok := process(pid); !ok || !p.alive() {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("process %d still runs", pid)
		}
	}
}

func mustWrite(t *testing.T, path, text string, mode os.FileMode) {
	t.Helper()
	if err := errors.Join(os.WriteFile(path, []byte(text), mode), os.Chmod(path, mode)); err != nil {
		t.Fatal(err)
	}
}

// landlocked skips where the machine has no Landlock of the version.
func landlocked(t *testing.T, version int) {
	t.Helper()
	if have := landlockVersion(); have < version {
		skiptest.Skip(t, fmt.Sprintf("Landlock is of version %d, this needs %d", have, version))
	}
}
