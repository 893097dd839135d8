package main_test

import (
	"context"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/coder/websocket"
)

// The life of an app through the whole program: real processes, real requests.

func TestAnAppFromAFolder(t *testing.T) {
	i := startPlatform(t)
	out, progress, code := i.run(nil, "app", "run", "hello", "--dir", nodeApp(t, "one"), "--env", "COLOUR=blue")
	if code != 0 {
		t.Fatalf("exit code %d\n%s%s", code, out, progress)
	}
	out += progress
	for _, want := range []string{"fetch", "build", "start", "http://hello.app.localhost"} {
		if !strings.Contains(out, want) {
			t.Errorf("the progress does not say %q:\n%s", want, out)
		}
	}
	if a := i.get(appURL("hello", "/")); a.status != 200 || a.body != "version one" {
		t.Fatalf("got %d %q", a.status, a.body)
	}
	s := i.service("hello")
	if s["status"] != "Running" || s["state"] != "ready" || s["version"] != "1" || s["env_vars"].(map[string]any)["COLOUR"] != "***" {
		t.Errorf("status: %v", s)
	}
	env := decoded(t, i.get(appURL("hello", "/env")))
	if env["COLOUR"] != "blue" || env["PORT"] == "" || env["HOME"] == "" || env["TMPDIR"] == "" {
		t.Errorf("environment: %v", env)
	}
	for _, name := range []string{"INGRESS_BOOTSTRAP_KEY", "INGRESS_DATA_DIR", "INGRESS_SECRET_KEY"} {
		if _, ok := env[name]; ok {
			t.Errorf("the app was given the ingress's %s", name)
		}
	}
	headers := decoded(t, i.get(appURL("hello", "/headers")))
	if headers["host"] != "hello.app.localhost" || headers["x-forwarded-for"] == nil {
		t.Errorf("headers: %v", headers)
	}
	if logs := i.deployed("app", "logs", "hello"); !strings.Contains(logs, "version one listens") {
		t.Errorf("the run log: %s", logs)
	}
	if logs := i.deployed("app", "logs", "hello", "--type", "build"); !strings.Contains(logs, "Node") {
		t.Errorf("the build log: %s", logs)
	}
	i.mustCall("app/Delete", `{"name":"hello"}`)
	within(t, "end of the app's process", func() bool { return len(launchers(t, i.dir)) == 0 })
	i.await("removal of the app's folder", func() bool {
		_, err := os.Stat(filepath.Join(i.dir, "apps", "hello"))
		return os.IsNotExist(err)
	})
	if a := i.get(appURL("hello", "/")); a.status != 404 {
		t.Errorf("after it was deleted: %d", a.status)
	}
}

func TestAnAppFromGit(t *testing.T) {
	i := startPlatform(t, "--allow-local-repos")
	dir := nodeApp(t, "one")
	repo := repository(t, dir)
	i.deployed("app", "run", "hello", "--repo", repo, "--branch", "main")
	if a := i.get(appURL("hello", "/")); a.body != "version one" {
		t.Fatalf("got %d %q", a.status, a.body)
	}
	if err := os.WriteFile(filepath.Join(dir, "version"), []byte("two"), 0o644); err != nil {
		t.Fatal(err)
	}
	want := commit(t, dir, "second")
	i.deployed("app", "update", "hello")
	if a := i.get(appURL("hello", "/")); a.body != "version two" {
		t.Errorf("after the update: %d %q", a.status, a.body)
	}
	if s := i.service("hello"); s["version"] != "2" || s["commit"] != want {
		t.Errorf("status: %v, want commit %s", s, want)
	}
	i.deployed("app", "rollback", "hello")
	if a := i.get(appURL("hello", "/")); a.body != "version one" {
		t.Errorf("after the rollback: %d %q", a.status, a.body)
	}
	versions := i.mustCall("app/Versions", `{"name":"hello"}`)["versions"].([]any)
	if len(versions) != 2 || versions[1].(map[string]any)["current"] != true {
		t.Errorf("versions: %v", versions)
	}
}

// load asks an app for its front page from several connections until stop, and
// counts what is not a 200 of the app.
type load struct {
	cancel   context.CancelFunc
	running  sync.WaitGroup
	answered atomic.Int64
	mu       sync.Mutex
	failures []string
}

func (i *ingress) load(name string, connections int) *load {
	ctx, cancel := context.WithCancel(context.Background())
	l := &load{cancel: cancel}
	for range connections {
		client := i.client()
		l.running.Go(func() {
			defer client.CloseIdleConnections()
			tick := time.NewTicker(2 * time.Millisecond) // the machine has other things to do as well
			defer tick.Stop()
			for ctx.Err() == nil {
				l.ask(ctx, client, appURL(name, "/"))
				<-tick.C
			}
		})
	}
	return l
}

func (l *load) ask(ctx context.Context, client *http.Client, url string) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		l.fail(err.Error())
		return
	}
	res, err := client.Do(req)
	if err != nil {
		if ctx.Err() == nil {
			l.fail(err.Error())
		}
		return
	}
	defer res.Body.Close()
	if res.StatusCode != 200 {
		l.fail(fmt.Sprintf("status %d, %s", res.StatusCode, res.Header.Get("X-Ingress-Error")))
		return
	}
	l.answered.Add(1)
}

func (l *load) fail(what string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.failures = append(l.failures, what)
}

// stop ends the load and returns how many requests were answered and what failed.
func (l *load) stop() (answered int64, failures []string) {
	l.cancel()
	l.running.Wait()
	return l.answered.Load(), l.failures
}

func TestFiftyUpdatesUnderLoadDropNothing(t *testing.T) {
	i := startPlatform(t, "--drain-timeout", "5s")
	dir := nodeApp(t, "0")
	i.deployed("app", "run", "hello", "--dir", dir)
	l := i.load("hello", 4)
	updates := 50
	if testing.Short() {
		updates = 5
	}
	for n := 1; n <= updates; n++ {
		if err := os.WriteFile(filepath.Join(dir, "version"), []byte(fmt.Sprint(n)), 0o644); err != nil {
			t.Fatal(err)
		}
		i.deployed("app", "update", "hello", "--dir", dir)
		if a := i.get(appURL("hello", "/")); a.body != fmt.Sprint("version ", n) {
			t.Fatalf("after update %d: %d %q", n, a.status, a.body)
		}
	}
	answered, failures := l.stop()
	t.Logf("%d requests answered during %d updates", answered, updates)
	if len(failures) > 0 || answered == 0 {
		t.Errorf("%d of %d requests failed: %.500v", len(failures), answered, failures)
	}
	i.await("old processes to end", func() bool { return len(launchers(t, i.dir)) == 1 })
	kept, err := os.ReadDir(filepath.Join(i.dir, "apps", "hello"))
	if err != nil || len(kept) > 8 {
		t.Errorf("%d folders are left, %v", len(kept), err)
	}
}

func TestABadVersionNeverReplacesAGoodOne(t *testing.T) {
	i := startPlatform(t)
	i.deployed("app", "run", "hello", "--dir", nodeApp(t, "good"))
	// What never listens is given up soon, which the good one must not be on a slow machine.
	i.stop()
	i = startIngressIn(t, i.dir, nil, "--start-timeout", "3s")
	for name, files := range map[string]map[string]string{
		"exits":          {"package.json": `{}`, "server.js": `console.error("no way"); process.exit(7)`},
		"never listens":  {"package.json": `{}`, "server.js": `setInterval(() => {}, 1000); console.log("idling")`},
		"wrong port":     {"package.json": `{}`, "server.js": `require("http").createServer().listen(Number(process.env.PORT) + 1)`},
		"syntax":         {"package.json": `{}`, "server.js": `this is not JavaScript`},
		"build fails":    {"package.json": `{"scripts":{"build":"echo broken build; exit 4"}}`, "server.js": ``},
		"nothing to run": {"README": "hello"},
	} {
		stdout, stderr, code := i.run(nil, "app", "update", "hello", "--dir", folder(t, files))
		if code == 0 || stderr == "" {
			t.Errorf("%s: exit code %d\n%s%s", name, code, stdout, stderr)
		}
		if a := i.get(appURL("hello", "/")); a.status != 200 || a.body != "version good" {
			t.Errorf("%s: the good version answers %d %q", name, a.status, a.body)
		}
		t.Logf("%s: %s", name, stderr)
	}
	if s := i.service("hello"); s["status"] != "Running" || s["version"] != "1" {
		t.Errorf("status: %v", s)
	}
	within(t, "end of what failed", func() bool { return len(launchers(t, i.dir)) == 1 })
}

func TestASleepingAppWakes(t *testing.T) {
	i := startPlatform(t)
	i.deployed("app", "run", "hello", "--dir", nodeApp(t, "one"), "--idle-timeout", "3s") // in which all visitors come, also on a slow machine
	i.awaitState("hello", "idle")
	within(t, "end of the idle process", func() bool { return len(launchers(t, i.dir)) == 0 })
	if s := i.service("hello"); s["status"] != "Running" {
		t.Errorf("a sleeping app's status is %v", s["status"])
	}
	var woken sync.WaitGroup
	answers := make(chan answer, 50)
	for range cap(answers) {
		woken.Go(func() { answers <- i.get(appURL("hello", "/pid")) })
	}
	woken.Wait()
	close(answers)
	pids := map[string]int{}
	for a := range answers {
		if a.status != 200 {
			t.Errorf("got %d %s", a.status, a.body)
		}
		pids[a.body]++
	}
	if len(pids) != 1 {
		t.Errorf("50 requests woke %d processes: %v", len(pids), pids)
	}
	i.awaitState("hello", "idle")
	if a := i.get(appURL("hello", "/")); a.status != 200 || !strings.Contains(a.header.Get("Server-Timing"), "cold-start;dur=") {
		t.Errorf("got %d, Server-Timing %q", a.status, a.header.Get("Server-Timing"))
	}
}

func TestAWebSocketKeepsAnAppAwake(t *testing.T) {
	i := startPlatform(t)
	i.deployed("app", "run", "hello", "--dir", nodeApp(t, "one"), "--idle-timeout", "1s")
	i.awaitState("hello", "idle")
	ctx, cancel := context.WithTimeout(t.Context(), deadline)
	defer cancel()
	client := i.client()
	defer client.CloseIdleConnections()
	conn, _, err := websocket.Dial(ctx, "ws://hello.app.localhost/", &websocket.DialOptions{HTTPClient: client})
	if err != nil {
		t.Fatal(err)
	}
	defer conn.CloseNow()
	begin := time.Now()
	tick := time.NewTicker(500 * time.Millisecond)
	defer tick.Stop()
	for time.Since(begin) < 4*time.Second {
		<-tick.C
		if err := conn.Write(ctx, websocket.MessageText, []byte("still here")); err != nil {
			t.Fatal(err)
		}
		if _, text, err := conn.Read(ctx); err != nil || string(text) != "still here" {
			t.Fatalf("%q, %v", text, err)
		}
	}
	if s := i.service("hello"); s["state"] != "ready" {
		t.Errorf("with an open WebSocket it is %v", s["state"])
	}
	conn.CloseNow()
	i.awaitState("hello", "idle")
}

func TestACrashingAppIsStartedAgain(t *testing.T) {
	i := startPlatform(t)
	i.deployed("app", "run", "hello", "--dir", nodeApp(t, "one"))
	first := i.get(appURL("hello", "/pid")).body
	i.get(appURL("hello", "/crash"))
	a := i.get(appURL("hello", "/pid"))
	if a.status != 200 || a.body == first {
		t.Errorf("after a crash: %d, pid %s, before %s", a.status, a.body, first)
	}
	if logs := i.deployed("app", "logs", "hello"); !strings.Contains(logs, "crashing as told") {
		t.Errorf("the log lost what was printed before the crash:\n%s", logs)
	}
}
