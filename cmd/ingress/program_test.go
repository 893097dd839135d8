package main_test

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/m3o/ingress/internal/runner"
)

// scratch holds what all tests of this package share.
var scratch string

func TestMain(m *testing.M) {
	if len(os.Args) > 1 && os.Args[1] == runner.Subcommand {
		// Tests that serve in this process make it the program that starts launchers.
		os.Exit(runner.Launch(os.Args[2:], os.Stdin, os.Stdout))
	}
	os.Exit(func() int {
		var err error
		if scratch, err = os.MkdirTemp("", "ingress-test-"); err != nil {
			fmt.Fprintln(os.Stderr, err)
			return 1
		}
		defer os.RemoveAll(scratch)
		return m.Run()
	}())
}

// build makes the real program, once for all tests; fuzzing needs none.
var build = sync.OnceValues(func() (path string, err error) {
	path = filepath.Join(scratch, "ingress")
	args := []string{"build", "-o", path, "-pgo=off"} // what go test has compiled already
	if raceEnabled {
		args = append(args, "-race", "-gcflags=modernc.org/sqlite/lib=-race=false") // as .ci/run does, which says why
	}
	if out, err := exec.Command("go", append(args, ".")...).CombinedOutput(); err != nil {
		return "", fmt.Errorf("build the program: %w\n%s", err, out)
	}
	return path, nil
})

func binary(t testing.TB) string {
	t.Helper()
	path, err := build()
	if err != nil {
		t.Fatal(err)
	}
	return path
}

// deadline bounds every wait for the program; it is long because machines are
// slow, and never reached when all is well.
const deadline = 4 * time.Minute

// ingress is a running program.
type ingress struct {
	t      testing.TB
	cmd    *exec.Cmd
	dir    string // its data directory
	listen string // host:port of the first public listener
	admin  string // host:port of the admin listener
	exited chan error

	mu             sync.Mutex
	stdout, stderr bytes.Buffer
}

// bootstrapKey is what programs under test are given.
const bootstrapKey = "bootstrap-key-for-tests-only"

// startIngress runs ingress serve on free ports with a temporary data directory
// and waits until it is ready. It is ended, and must end well, with the test.
func startIngress(t testing.TB, args ...string) *ingress {
	t.Helper()
	return startIngressIn(t, shortTempDir(t), nil, args...)
}

// startIngressIn is startIngress with a data directory and further environment.
func startIngressIn(t testing.TB, dir string, env []string, args ...string) *ingress {
	t.Helper()
	return launch(t, dir, env, args...).started()
}

// started waits until the program is ready.
func (i *ingress) started() *ingress {
	i.t.Helper()
	ready := i.awaitReady()
	i.listen, i.admin = ready.Listen[0], ready.Admin
	i.t.Cleanup(func() {
		if i.cmd.ProcessState == nil {
			i.stop()
		}
	})
	return i
}

// shortTempDir is a temporary directory whose path leaves room for a socket's
// name, which has a limit of about a hundred bytes.
func shortTempDir(t testing.TB) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "ing")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := os.RemoveAll(dir); err != nil {
			t.Error(err)
		}
	})
	return filepath.Join(dir, "data")
}

// launch starts the program without waiting for it to be ready.
func launch(t testing.TB, dir string, env []string, args ...string) *ingress {
	t.Helper()
	return launchAs(t, nil, dir, env, args...)
}

// launchAs is launch as another user, which only root can.
func launchAs(t testing.TB, user *syscall.Credential, dir string, env []string, args ...string) *ingress {
	t.Helper()
	return launchProgram(t, binary(t), user, dir, env, args...)
}

// launchProgram is launchAs with a copy of the program.
func launchProgram(t testing.TB, program string, user *syscall.Credential, dir string, env []string, args ...string) *ingress {
	t.Helper()
	return launchWith(t, program, nil, user, dir, env, args...)
}

// launchWith is launchProgram with further files, from descriptor 3 on.
func launchWith(t testing.TB, program string, files []*os.File, user *syscall.Credential, dir string, env []string, args ...string) *ingress {
	t.Helper()
	i := &ingress{t: t, dir: dir, exited: make(chan error, 1)}
	all := append([]string{"serve", "--listen", "127.0.0.1:0", "--admin-listen", "127.0.0.1:0", "--log-format", "json"}, args...)
	i.cmd = exec.Command(program, all...)
	i.cmd.ExtraFiles = files
	i.cmd.Env = append([]string{"HOME=" + filepath.Dir(dir), "INGRESS_DATA_DIR=" + dir, "INGRESS_BOOTSTRAP_KEY=" + bootstrapKey, "PATH=" + os.Getenv("PATH")}, env...)
	if user != nil {
		i.cmd.SysProcAttr = &syscall.SysProcAttr{Credential: user}
	}
	i.cmd.Stdout = &lockedWriter{i: i, to: &i.stdout}
	i.cmd.Stderr = &lockedWriter{i: i, to: &i.stderr}
	if err := i.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	go func() { i.exited <- i.cmd.Wait() }()
	t.Cleanup(func() {
		select {
		case err := <-i.exited:
			i.exited <- err
			return
		default:
		}
		// A failing test got here first; nothing is left behind.
		_ = i.cmd.Process.Kill()
		select {
		case <-i.exited:
		case <-time.After(deadline): // another that took its place holds its output
			t.Error("the program, or one that took its place, is left")
		}
	})
	return i
}

type lockedWriter struct {
	i  *ingress
	to *bytes.Buffer
}

func (w *lockedWriter) Write(p []byte) (int, error) {
	w.i.mu.Lock()
	defer w.i.mu.Unlock()
	return w.to.Write(p)
}

func (i *ingress) output() (stdout, stderr string) {
	i.mu.Lock()
	defer i.mu.Unlock()
	return i.stdout.String(), i.stderr.String()
}

// readyLine is the log line that says where the program listens.
type readyLine struct {
	Msg    string   `json:"msg"`
	Listen []string `json:"listen"`
	Admin  string   `json:"admin"`
}

func (i *ingress) awaitReady() readyLine {
	i.t.Helper()
	var found readyLine
	i.await("the ready line", func() bool {
		_, stderr := i.output()
		lines := bufio.NewScanner(strings.NewReader(stderr))
		for lines.Scan() {
			var line readyLine
			if json.Unmarshal(lines.Bytes(), &line) == nil && line.Msg == "ready" {
				found = line
				return true
			}
		}
		return false
	})
	return found
}

// await polls for a condition of the outside world that announces itself in no
// other way; it fails the test at the deadline or when the program exits.
func (i *ingress) await(what string, condition func() bool) {
	i.t.Helper()
	timeout := time.After(deadline)
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for !condition() {
		select {
		case err := <-i.exited:
			i.exited <- err
			if condition() {
				return
			}
			stdout, stderr := i.output()
			i.t.Fatalf("waiting for %s, the program ended: %v\n%s%s", what, err, stdout, stderr)
		case <-timeout:
			stdout, stderr := i.output()
			i.t.Fatalf("no %s within %v\n%s%s", what, deadline, stdout, stderr)
		case <-tick.C:
		}
	}
}

// stop ends the program as an operator would and checks that it ended well.
func (i *ingress) stop() {
	i.t.Helper()
	if err := i.cmd.Process.Signal(syscall.SIGTERM); err != nil && !errors.Is(err, os.ErrProcessDone) {
		i.t.Error(err)
	}
	if err := i.wait(); err != nil {
		_, stderr := i.output()
		i.t.Errorf("the program did not end well: %v\n%s", err, stderr)
	}
}

// kill ends the program with SIGKILL.
func (i *ingress) kill() {
	i.t.Helper()
	if err := i.cmd.Process.Kill(); err != nil {
		i.t.Error(err)
	}
	_ = i.wait() // "signal: killed"
}

// wait returns how the program ended.
func (i *ingress) wait() error {
	i.t.Helper()
	select {
	case err := <-i.exited:
		i.exited <- err
		return err
	case <-time.After(deadline):
		i.t.Fatal("the program does not end")
		return nil
	}
}

// client speaks to the program whatever host a URL names, as if every name
// resolved to it. It follows no redirects.
func (i *ingress) client() *http.Client {
	transport := &http.Transport{
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			var d net.Dialer
			return d.DialContext(ctx, "tcp", i.listen)
		},
		DisableCompression: true,
	}
	i.t.Cleanup(transport.CloseIdleConnections)
	return &http.Client{
		Transport:     transport,
		Timeout:       deadline,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
}

// answer is a whole response.
type answer struct {
	status int
	header http.Header
	body   string
}

// get fetches a URL without a key.
func (i *ingress) get(url string) answer {
	i.t.Helper()
	return i.do(http.MethodGet, url, nil, "")
}

// do sends a request; headers come as pairs.
func (i *ingress) do(method, url string, headers []string, body string) answer {
	i.t.Helper()
	var content io.Reader
	if body != "" {
		content = strings.NewReader(body)
	}
	req, err := http.NewRequestWithContext(i.t.Context(), method, url, content)
	if err != nil {
		i.t.Fatal(err)
	}
	for h := 0; h+1 < len(headers); h += 2 {
		if http.CanonicalHeaderKey(headers[h]) == "Host" {
			req.Host = headers[h+1]
		}
		req.Header.Set(headers[h], headers[h+1])
	}
	client := i.client()
	defer client.CloseIdleConnections() // a client may have so many connections and no more
	res, err := client.Do(req)
	if err != nil {
		i.t.Fatalf("%s %s: %v", method, url, err)
	}
	defer res.Body.Close()
	content2, err := io.ReadAll(res.Body)
	if err != nil {
		i.t.Fatalf("%s %s: read the answer: %v", method, url, err)
	}
	return answer{res.StatusCode, res.Header, string(content2)}
}

// call calls a method of the platform with a key and returns the decoded
// answer, whatever its status.
func (i *ingress) call(key, path, body string) (int, map[string]any) {
	i.t.Helper()
	a := i.do(http.MethodPost, "http://localhost/v1/"+path, []string{"Authorization", "Bearer " + key, "Content-Type", "application/json"}, body)
	var decoded map[string]any
	if err := json.Unmarshal([]byte(a.body), &decoded); err != nil {
		i.t.Fatalf("%s %s: the answer %q is no JSON object: %v", path, body, a.body, err)
	}
	return a.status, decoded
}

// mustCall is call for what must work.
func (i *ingress) mustCall(path, body string) map[string]any {
	i.t.Helper()
	status, decoded := i.call(bootstrapKey, path, body)
	if status != http.StatusOK {
		i.t.Fatalf("%s %s: %d %v", path, body, status, decoded)
	}
	return decoded
}

// run runs a command of the program to its end.
func (i *ingress) run(env []string, args ...string) (stdout, stderr string, code int) {
	i.t.Helper()
	return runProgram(i.t, append([]string{"INGRESS_DATA_DIR=" + i.dir, "INGRESS_ADDRESS=http://" + i.listen, "M3O_API_TOKEN=" + bootstrapKey}, env...), args...)
}

// operator is a client of the control socket, at http://ingress.
func (i *ingress) operator() *http.Client {
	return &http.Client{Timeout: deadline, Transport: &http.Transport{
		DisableKeepAlives: true,
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, "unix", filepath.Join(i.dir, "admin.sock"))
		},
	}}
}

// runProgram runs the binary to its end.
func runProgram(t testing.TB, env []string, args ...string) (stdout, stderr string, code int) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), deadline)
	defer cancel()
	cmd := exec.CommandContext(ctx, binary(t), args...)
	var out, errs bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errs
	cmd.Env = append([]string{"HOME=" + t.TempDir(), "PATH=" + os.Getenv("PATH")}, env...)
	err := cmd.Run()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		t.Fatalf("ingress %s: %v", strings.Join(args, " "), err)
	}
	return out.String(), errs.String(), cmd.ProcessState.ExitCode()
}
