package main_test

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"

	"github.com/coder/websocket"
)

// upgrade has the running process put another in its place, and returns the
// other's number.
func (i *ingress) upgrade() int {
	i.t.Helper()
	res, err := i.operator().Post("http://ingress/upgrade", "", nil)
	if err != nil {
		i.t.Fatal(err)
	}
	defer res.Body.Close()
	text, err := io.ReadAll(res.Body)
	if err != nil {
		i.t.Fatal(err)
	}
	var answer struct{ PID int }
	if err := json.Unmarshal(text, &answer); err != nil || answer.PID == 0 || res.StatusCode != http.StatusOK {
		_, stderr := i.output()
		i.t.Fatalf("the upgrade is answered %d %s\n%s", res.StatusCode, text, stderr)
	}
	return answer.PID
}

// ended waits until a process that is not this test's child has ended.
func ended(t testing.TB, pid int) {
	t.Helper()
	within(t, fmt.Sprintf("end of process %d", pid), func() bool { return errors.Is(syscall.Kill(pid, 0), syscall.ESRCH) })
}

// upgradable starts a platform whose process may be replaced: the last one is
// ended with the test.
func upgradable(t *testing.T, args ...string) (i *ingress, replace func() int) {
	return replaceable(t, startPlatform(t, args...))
}

func replaceable(t *testing.T, i *ingress) (same *ingress, replace func() int) {
	last := i.cmd.Process.Pid
	t.Cleanup(func() {
		if last != i.cmd.Process.Pid {
			if err := syscall.Kill(last, syscall.SIGTERM); err != nil {
				t.Error(err)
			}
			ended(t, last)
			// Its output was the first one's, too, which is waited for until that ends.
			err := <-i.exited
			i.exited <- err
			if err != nil {
				t.Errorf("the first process ended with %v", err)
			}
		}
	})
	return i, func() int {
		before := last
		last = i.upgrade()
		ended(t, before)
		return last
	}
}

// beginReplacing has another process take the place of one that has requests to finish
// yet, and returns once it has. awaitEnd waits for the end of the first.
func (i *ingress) beginReplacing(replace func() int) (awaitEnd func()) {
	i.t.Helper()
	replaced := make(chan struct{})
	go func() { defer close(replaced); replace() }()
	i.await("the other program", func() bool {
		_, stderr := i.output()
		return strings.Contains(stderr, "has taken this one's place")
	})
	return func() { <-replaced }
}

// TestTenUpgradesUnderLoadDropNothing: clients never see that the process is
// another, and apps never notice.
func TestTenUpgradesUnderLoadDropNothing(t *testing.T) {
	needs(t, "python3")
	i, replace := upgradable(t)
	i.deployed("app", "run", "steady", "--dir", steadyApp(t), "--idle-timeout", "0s")
	i.mustCall("url/create", `{"id":"steady","destinationURL":"https://example.com/"}`)
	before := sorted(launchers(t, i.dir))

	stop := make(chan struct{})
	var served atomic.Int64
	var clients sync.WaitGroup
	for _, target := range []struct {
		url    string
		status int
	}{{appURL("steady", "/"), 200}, {appURL("steady", "/slow"), 200}, {"http://localhost/u/steady", 302}, {"http://nosuch.app.localhost/", 404}} {
		for range 2 {
			clients.Go(func() {
				client := i.client()
				for {
					select {
					case <-stop:
						return
					default:
					}
					status, err := send(client, http.MethodGet, target.url, "", "")
					if err != nil || status != target.status {
						t.Errorf("%s is answered %d, %v", target.url, status, err)
						return
					}
					served.Add(1)
				}
			})
		}
	}
	for n := range 10 {
		reached := served.Load() + 50 // each process has some to answer
		within(t, "answers between upgrades", func() bool { return served.Load() >= reached || t.Failed() })
		pid := replace()
		if t.Failed() {
			t.Fatalf("after upgrade %d", n+1)
		}
		if got := sorted(launchers(t, i.dir)); !slices.Equal(got, before) {
			t.Fatalf("after upgrade %d, to process %d, the launchers are %v, before they were %v", n+1, pid, got, before)
		}
	}
	close(stop)
	clients.Wait()
	t.Logf("%d requests were answered", served.Load())

	// The last one does what the first did: it writes, deploys, and wakes.
	i.mustCall("url/create", `{"id":"later","destinationURL":"https://example.com/"}`)
	i.deployed("app", "run", "later", "--dir", steadyApp(t))
	if a := i.get(appURL("later", "/")); a.status != http.StatusOK {
		t.Errorf("an app deployed afterwards is answered %d %s", a.status, a.body)
	}
}

// steadyApp is a folder with an app that answers at once, or slowly.
func steadyApp(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	const code = `import http.server, os, time

class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    def do_GET(self):
        if self.path == "/slow":
            time.sleep(0.2)
        self.send_response(200)
        self.send_header("Content-Length", "6")
        self.end_headers()
        self.wfile.write(b"steady")
    def log_message(self, *args):
        pass

http.server.ThreadingHTTPServer(("127.0.0.1", int(os.environ["PORT"])), Handler).serve_forever()
`
	if err := os.WriteFile(filepath.Join(dir, "app.py"), []byte(code), 0o644); err != nil {
		t.Fatal(err)
	}
	return dir
}

// TestAnUpgradeTellsWebSockets: they stay where they are for as long as they may, and
// are told before the end.
func TestAnUpgradeTellsWebSockets(t *testing.T) {
	backend := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		conn, err := websocket.Accept(w, r, nil)
		if err != nil {
			t.Error(err)
			return
		}
		defer conn.CloseNow()
		_, _, _ = conn.Read(r.Context()) // until the visitor closes
	}))
	defer backend.Close()
	i, replace := upgradable(t, "--shutdown-timeout", "6s")
	i.mustCall("app/run", fmt.Sprintf(`{"name":"socket","backend":%q}`, backend.URL))
	ctx, cancel := context.WithTimeout(t.Context(), deadline)
	defer cancel()
	dial := func() *websocket.Conn {
		t.Helper()
		ws, _, err := websocket.Dial(ctx, "ws://socket.app.localhost/", &websocket.DialOptions{HTTPClient: i.client()})
		if err != nil {
			t.Fatal(err)
		}
		return ws
	}
	before := dial()
	defer before.CloseNow()
	told := make(chan error, 1)
	go func() {
		_, _, err := before.Read(ctx)
		told <- err
	}()
	replace()
	if err := <-told; websocket.CloseStatus(err) != websocket.StatusGoingAway {
		t.Errorf("the visitor was told %v", err)
	}
	after := dial()
	if err := after.Close(websocket.StatusNormalClosure, ""); err != nil {
		t.Errorf("the new process's WebSocket: %v", err)
	}
}

// TestAnUpgradeThatFailsChangesNothing: the new program cannot start, because its
// configuration has become wrong.
func TestAnUpgradeThatFailsChangesNothing(t *testing.T) {
	config := filepath.Join(t.TempDir(), "ingress.yaml")
	if err := os.WriteFile(config, []byte("user-host: user.localhost\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	i := startIngress(t, "--config", config)
	i.mustCall("url/create", `{"id":"kept","destinationURL":"https://example.com/"}`)
	if err := os.WriteFile(config, []byte("no-such-setting: 1\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := i.cmd.Process.Signal(syscall.SIGHUP); err != nil {
		t.Fatal(err)
	}
	i.await("the failed upgrade", func() bool {
		_, stderr := i.output()
		return strings.Contains(stderr, "the upgrade failed, and this process goes on")
	})
	_, stderr := i.output()
	if !strings.Contains(stderr, "no-such-setting") {
		t.Errorf("the log does not say why: %s", stderr)
	}
	if a := i.do("GET", "http://localhost/u/kept", nil, ""); a.status != http.StatusFound {
		t.Errorf("afterwards a link is answered %d", a.status)
	}
	i.mustCall("url/create", `{"id":"later","destinationURL":"https://example.com/"}`)
}

// TestNobodyElseGetsTheDataDirectoryMeanwhile: the lock is handed over, not given
// up and taken.
func TestNobodyElseGetsTheDataDirectoryMeanwhile(t *testing.T) {
	i, replace := upgradable(t)
	replace()
	other := launch(t, i.dir, nil, "--admin-socket", filepath.Join(t.TempDir(), "s"))
	if err := other.wait(); err == nil {
		t.Error("another process has taken the data directory")
	}
	if _, stderr := other.output(); !strings.Contains(stderr, "in use by another process") {
		t.Errorf("it says %s", stderr)
	}
	if a := i.get("http://localhost/"); a.status != http.StatusOK {
		t.Errorf("the one that has it answers %d", a.status)
	}
}

// TestAnUpgradeWaitsForWhoWaits: a request that wakes an app while its process is
// replaced is answered.
func TestAnUpgradeWaitsForWhoWaits(t *testing.T) {
	needs(t, "python3")
	i, replace := upgradable(t)
	i.deployed("app", "run", "sleepy", "--dir", steadyApp(t), "--idle-timeout", "1s")
	i.awaitState("sleepy", "idle")
	answered := make(chan answer, 1)
	go func() { answered <- i.get(appURL("sleepy", "/")) }()
	replace()
	if a := <-answered; a.status != http.StatusOK {
		t.Errorf("it is answered %d %s", a.status, a.body)
	}
}

// TestTheProgramIsReplacedAtItsPath: whoever moves the old file away and puts a new
// one in its place means the new one, however broken it is. Until the upgrade apps
// are started by the program that runs.
func TestTheProgramIsReplacedAtItsPath(t *testing.T) {
	needs(t, "python3")
	good, err := os.ReadFile(binary(t))
	if err != nil {
		t.Fatal(err)
	}
	program := filepath.Join(t.TempDir(), "ingress")
	put := func(content []byte) {
		t.Helper()
		err := os.Rename(program, program+".old")
		if err != nil && !errors.Is(err, os.ErrNotExist) {
			t.Fatal(err)
		}
		if err := os.WriteFile(program, content, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	put(good)
	dir := shortTempDir(t)
	endAppsOf(t, dir)
	i, replace := replaceable(t, launchProgram(t, program, nil, dir, nil).started())
	i.deployed("app", "run", "sleepy", "--dir", steadyApp(t), "--idle-timeout", "1s")
	for what, content := range map[string]string{
		"no program": "no program", "a script that fails": "#!/bin/sh\necho it is broken >&2\nexit 3\n",
	} {
		put([]byte(content))
		_, stderr, code := i.run(nil, "upgrade")
		if code != 1 || !strings.Contains(stderr, "ingress") {
			t.Errorf("%s: the upgrade ends with %d and says %q", what, code, stderr)
		}
		i.awaitState("sleepy", "idle")
		if a := i.get(appURL("sleepy", "/")); a.status != http.StatusOK {
			t.Errorf("%s: an app that slept is answered %d %s", what, a.status, a.body)
		}
	}
	put(good)
	replace()
	if a := i.get(appURL("sleepy", "/")); a.status != http.StatusOK {
		t.Errorf("after the upgrade an app is answered %d %s", a.status, a.body)
	}
}

// TestSystemdOpensTheListeners: the descriptors are as systemd hands them over, and
// go on to the next program.
func TestSystemdOpensTheListeners(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	file, err := l.(*net.TCPListener).File()
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	// The shell's number is the program's: exec keeps it.
	script := filepath.Join(t.TempDir(), "activate")
	text := "#!/bin/sh\nLISTEN_PID=$$ LISTEN_FDS=1 LISTEN_FDNAMES=ingress.socket exec " + binary(t) + " \"$@\"\n"
	if err := os.WriteFile(script, []byte(text), 0o755); err != nil {
		t.Fatal(err)
	}
	i, replace := replaceable(t, launchWith(t, script, []*os.File{file}, nil, shortTempDir(t), nil).started())
	if i.listen != l.Addr().String() {
		t.Fatalf("it listens on %s, and not on %s, which it was given", i.listen, l.Addr())
	}
	for range 2 {
		if a := i.get("http://localhost/"); a.status != http.StatusOK {
			t.Errorf("it answers %d", a.status)
		}
		if out, stderr, _ := i.run(nil, "config", "get", "listen", "--json"); !strings.Contains(out, l.Addr().String()) || !strings.Contains(out, `"systemd"`) {
			t.Errorf("the settings say that it listens on %s%s", out, stderr)
		}
		replace()
	}
	if a := i.get("http://localhost/"); a.status != http.StatusOK {
		t.Errorf("the last one answers %d", a.status)
	}
}

func TestSocketsForAnotherProcessAreLeftAlone(t *testing.T) {
	i := startIngressIn(t, shortTempDir(t), []string{"LISTEN_PID=1", "LISTEN_FDS=3"})
	if a := i.get("http://localhost/"); a.status != http.StatusOK {
		t.Errorf("it answers %d", a.status)
	}
}

// patience is for a program with slow calls: it waits for them for as long as a test
// takes on a slow machine.
var patience = []string{"--read-body-timeout", deadline.String(), "--shutdown-timeout", deadline.String()}

// slowCall begins a call that the present process answers, whatever comes meanwhile,
// once finish is called, which returns its status. The program needs patience.
func (i *ingress) slowCall(path, body string) (finish func() int) {
	i.t.Helper()
	conn := i.dial()
	if _, err := fmt.Fprintf(conn, "POST /v1/%s HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer %s\r\n"+
		"Content-Type: application/json\r\nContent-Length: %d\r\nExpect: 100-continue\r\nConnection: close\r\n\r\n",
		path, bootstrapKey, len(body)); err != nil {
		i.t.Fatal(err)
	}
	answers := bufio.NewReader(conn)
	if line, err := answers.ReadString('\n'); err != nil || !strings.Contains(line, "100 Continue") {
		i.t.Fatalf("the request is answered %q, %v", line, err)
	}
	if line, err := answers.ReadString('\n'); err != nil || line != "\r\n" {
		i.t.Fatalf("after 100 comes %q, %v", line, err)
	}
	return func() int {
		defer conn.Close()
		if _, err := io.WriteString(conn, body); err != nil {
			i.t.Fatal(err)
		}
		res, err := http.ReadResponse(answers, nil)
		if err != nil {
			i.t.Fatal(err)
		}
		return res.StatusCode
	}
}

// TestWhatTheOldProgramChangesLastIsHeardOf: its last requests may revoke a key that
// the new one has just found good, or delete an app that it has taken over.
func TestWhatTheOldProgramChangesLastIsHeardOf(t *testing.T) {
	needs(t, "python3")
	i, replace := upgradable(t, patience...)
	i.deployed("app", "run", "steady", "--dir", steadyApp(t), "--idle-timeout", "0s")
	made := i.mustCall("api/keys/generate", `{"scopes":["*"]}`)
	revoke := i.slowCall("api/keys/revoke", fmt.Sprintf(`{"id":%q}`, made["api_key_id"]))
	remove := i.slowCall("app/delete", `{"name":"steady"}`)
	awaitEnd := i.beginReplacing(replace)
	client := i.client()
	withKey := func() int {
		status, err := send(client, http.MethodPost, "http://localhost/v1/helloworld/Call", made["api_key"].(string), "{}")
		if err != nil {
			t.Fatal(err)
		}
		return status
	}
	if got := withKey(); got != http.StatusOK {
		t.Fatalf("the key is answered %d before it is revoked", got)
	}
	for what, finish := range map[string]func() int{"revoking": revoke, "deleting": remove} {
		if got := finish(); got != http.StatusOK {
			t.Errorf("%s is answered %d", what, got)
		}
	}
	i.await("the new program to refuse the key", func() bool { return withKey() == http.StatusUnauthorized })
	i.await("the app's end", func() bool {
		_, err := os.Stat(filepath.Join(i.dir, "apps", "steady"))
		return errors.Is(err, os.ErrNotExist)
	})
	awaitEnd()
}

// TestOperatorsMeetTheNewProgramOnly: the old one still answers a visitor, but
// neither a balancer that asks whether it is ready nor a change of a setting.
func TestOperatorsMeetTheNewProgramOnly(t *testing.T) {
	i, replace := upgradable(t, patience...)
	finish := i.slowCall("helloworld/Call", "{}")
	awaitEnd := i.beginReplacing(replace)
	balancer := &http.Client{Timeout: deadline, Transport: &http.Transport{DisableKeepAlives: true}}
	for n := range 20 {
		ready, err := balancer.Get("http://" + i.admin + "/readyz")
		if err != nil {
			t.Fatal(err)
		}
		_ = ready.Body.Close()
		if ready.StatusCode != http.StatusOK {
			t.Fatalf("at question %d a balancer is told %d", n+1, ready.StatusCode)
		}
		domain := fmt.Sprintf("apps%d.localhost", n)
		if _, stderr, code := i.run(nil, "config", "set", "apps-domain", domain); code != 0 {
			t.Fatalf("a setting is not changed: %s", stderr)
		}
		if got := i.get("http://nosuch." + domain + "/").header.Get("X-Ingress-Error"); got != "unknown_app" {
			t.Fatalf("change %d of a setting is not in force: %s", n+1, got)
		}
	}
	if got := finish(); got != http.StatusOK {
		t.Errorf("the old program's last answer is %d", got)
	}
	awaitEnd()
}
