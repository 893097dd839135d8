package adapter_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/m3o/ingress/internal/adapter"
	"github.com/m3o/ingress/internal/logtest"
	"github.com/m3o/ingress/internal/porttest"
	"github.com/m3o/ingress/internal/skiptest"
)

const patience = 60 * time.Second

// toolchain is a way to run functions of one runtime.
type toolchain struct {
	name    string
	runtime string
	// command replaces the program that a plan names.
	command func(t testing.TB) []string
}

var (
	node     = toolchain{"node", "nodejs", func(t testing.TB) []string { return []string{program(t, "node")} }}
	golang   = toolchain{"go", "go", func(t testing.TB) []string { return []string{program(t, "go")} }}
	python   = toolchain{"python", "python", func(t testing.TB) []string { return []string{pythonProgram(t), "-S"} }}
	flask    = toolchain{"python with Flask", "python", func(t testing.TB) []string { return []string{flaskProgram(t)} }}
	everyone = []toolchain{node, golang, python, flask}
)

func program(t testing.TB, name string) string {
	t.Helper()
	found, err := exec.LookPath(name)
	if err != nil {
		skiptest.Skip(t, name+" is not installed")
	}
	return found
}

// pythonProgram is the interpreter itself, not a script that looks for one. It is
// run with -S, which leaves out what is installed beside Python's own library.
func pythonProgram(t testing.TB) string {
	t.Helper()
	out, err := exec.Command(program(t, "python3"), "-c", "import sys; print(sys.executable)").Output()
	if err != nil {
		t.Fatal(err)
	}
	return strings.TrimSpace(string(out))
}

func flaskProgram(t testing.TB) string {
	t.Helper()
	python := pythonProgram(t)
	if err := exec.Command(python, "-c", "import flask").Run(); err != nil {
		skiptest.Skip(t, "Flask is not installed")
	}
	return python
}

// folder makes a folder with the files.
func folder(t testing.TB, files map[string]string) string {
	t.Helper()
	dir := t.TempDir()
	for name, content := range files {
		full := filepath.Join(dir, filepath.FromSlash(name))
		if err := os.MkdirAll(filepath.Dir(full), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(full, []byte(content), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

// process is a function that runs.
type process struct {
	dir  string
	addr string
	cmd  *exec.Cmd
	out  *logtest.Buffer
	done chan struct{}
}

// launch prepares, compiles and starts a function and does not wait for it.
func launch(t testing.TB, tool toolchain, dir, entrypoint string) *process {
	t.Helper()
	command := tool.command(t)
	plan, err := adapter.Prepare(tool.runtime, dir, entrypoint)
	if err != nil {
		t.Fatal(err)
	}
	for _, step := range plan.Compile {
		cmd := exec.Command(step[0], step[1:]...)
		cmd.Dir = dir
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("%v: %v\n%s", step, err, out)
		}
	}
	args := append(command, plan.Args[1:]...)
	if strings.Contains(plan.Args[0], "/") {
		args = append([]string{filepath.Join(dir, plan.Args[0])}, plan.Args[1:]...)
	}
	return run(t, dir, args, plan.Env)
}

func run(t testing.TB, dir string, args []string, env map[string]string) *process {
	t.Helper()
	port := fmt.Sprint(porttest.Free(t))
	p := &process{dir: dir, addr: "127.0.0.1:" + port, cmd: exec.Command(args[0], args[1:]...), out: &logtest.Buffer{}, done: make(chan struct{})}
	p.cmd.Dir = dir
	p.cmd.Env = []string{"PORT=" + port, "PATH=/usr/bin:/bin", "HOME=" + dir, "COLOR=blue"}
	for name, value := range env {
		p.cmd.Env = append(p.cmd.Env, name+"="+value)
	}
	p.cmd.Stdout, p.cmd.Stderr = p.out, p.out
	if err := p.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	go func() {
		defer close(p.done)
		var exit *exec.ExitError
		if err := p.cmd.Wait(); err != nil && !errors.As(err, &exit) {
			t.Error(err)
		}
	}()
	t.Cleanup(func() {
		http.DefaultClient.CloseIdleConnections()
		if err := p.cmd.Process.Kill(); err != nil && !errors.Is(err, os.ErrProcessDone) {
			t.Error(err)
		}
		<-p.done
		if t.Failed() {
			t.Logf("it printed:\n%s", p.out)
		}
	})
	return p
}

// start is launch, and returns when the function can be reached.
func start(t testing.TB, tool toolchain, files map[string]string, entrypoint string) *process {
	t.Helper()
	p := launch(t, tool, folder(t, files), entrypoint)
	p.ready(t)
	return p
}

func (p *process) ready(t testing.TB) {
	t.Helper()
	eventually(t, "the function listens", func() bool {
		select {
		case <-p.done:
			t.Fatalf("it ended: %s", p.out)
		default:
		}
		return p.listens()
	})
}

func (p *process) listens() bool {
	conn, err := net.Dial("tcp", p.addr)
	if err != nil {
		return false
	}
	return conn.Close() == nil
}

// exit waits for the end and returns the code.
func (p *process) exit(t testing.TB) int {
	t.Helper()
	select {
	case <-p.done:
		return p.cmd.ProcessState.ExitCode()
	case <-time.After(patience):
		t.Fatalf("it did not end; it printed: %s", p.out)
		return 0
	}
}

func (p *process) signal(t testing.TB, s syscall.Signal) {
	t.Helper()
	if err := p.cmd.Process.Signal(s); err != nil {
		t.Fatal(err)
	}
}

func eventually(t testing.TB, what string, true func() bool) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	tick := time.NewTicker(2 * time.Millisecond)
	defer tick.Stop()
	for !true() {
		select {
		case <-tick.C:
		case <-ctx.Done():
			t.Fatalf("never: %s", what)
		}
	}
}

// reply is an answer as a test looks at it.
type reply struct {
	status int
	header http.Header
	body   string
}

// send makes one request. Headers are "Name: value".
func (p *process) send(t testing.TB, method, path string, headers []string, body io.Reader) reply {
	t.Helper()
	req, err := http.NewRequest(method, "http://"+p.addr+path, body)
	if err != nil {
		t.Fatal(err)
	}
	for _, line := range headers {
		name, value, _ := strings.Cut(line, ": ")
		if req.Header.Set(name, value); name == "Host" {
			req.Host = value
		}
	}
	client := http.Client{Timeout: patience, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	res, err := client.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	got, err := io.ReadAll(res.Body)
	if err != nil {
		t.Fatal(err)
	}
	return reply{res.StatusCode, res.Header, string(got)}
}

func (p *process) get(t testing.TB, path string) reply {
	t.Helper()
	return p.send(t, "GET", path, nil, nil)
}

// breaksOff reports whether an answer begins and does not come to its end.
func (p *process) breaksOff(path string) bool {
	res, err := http.Get("http://" + p.addr + path)
	if err != nil {
		return p.listens() // its head did not get out
	}
	defer res.Body.Close()
	_, err = io.ReadAll(res.Body)
	return err != nil
}

// says waits until the process has printed a text: what it prints comes through
// a pipe, at times after the answer.
func (p *process) says(t testing.TB, text string) {
	t.Helper()
	eventually(t, "it prints "+text, func() bool { return strings.Contains(p.out.String(), text) })
}
