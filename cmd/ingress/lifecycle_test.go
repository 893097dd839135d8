package main_test

import (
	"bufio"
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/coder/websocket"
)

// The life of the program: start, settings, restarts, ends.

func TestTheFirstStartTellsWhereEverythingIs(t *testing.T) {
	dir := shortTempDir(t)
	i := startIngressIn(t, dir, []string{"INGRESS_BOOTSTRAP_KEY="})
	var stdout string
	i.await("the start-up text", func() bool {
		stdout, _ = i.output()
		return strings.Contains(stdout, "Try:") && strings.HasSuffix(stdout, "\n\n")
	})
	for _, want := range []string{
		"M3O Ingress", "http://" + i.listen + "/api/", "http://app.localhost:", "http://fn.localhost:", "/u/{id}", "http://user.localhost:",
		"data       ~/data", "~/data/bootstrap.key", "curl ",
	} {
		if !strings.Contains(stdout, want) {
			t.Errorf("the start-up lacks %q:\n%s", want, stdout)
		}
	}
	key, err := os.ReadFile(filepath.Join(dir, "bootstrap.key"))
	if err != nil {
		t.Fatal(err)
	}
	secret := strings.TrimSpace(string(key))
	if strings.Contains(stdout, secret) {
		t.Error("the key is shown although nobody sits at a terminal")
	}
	if status, _ := i.call(secret, "helloworld/call", `{"name":"x"}`); status != 200 {
		t.Errorf("the key in the file gets %d", status)
	}
	for name, mode := range map[string]os.FileMode{"": 0o700, "bootstrap.key": 0o600, "ingress.db": 0o600, "secret.key": 0o600, "admin.sock": 0o600} {
		if info, err := os.Stat(filepath.Join(dir, name)); err != nil || info.Mode().Perm() != mode {
			t.Errorf("%q is %v, %v; want mode %v", name, info, err, mode)
		}
	}
}

func TestABadStartSaysWhichFieldAndValue(t *testing.T) {
	busy, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { busy.Close() }) // after the parallel subtests
	badFile := filepath.Join(t.TempDir(), "bad.yaml")
	if err := os.WriteFile(badFile, []byte("apps-domian: m3o.app\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, test := range []struct {
		name string
		env  []string
		args []string
		says []string
	}{
		{"a busy port", nil, []string{"--listen", busy.Addr().String()}, []string{"--listen", busy.Addr().String(), "in use"}},
		{"no port", nil, []string{"--listen", "localhost"}, []string{"--listen", "localhost"}},
		{"a bad duration", nil, []string{"--dial-timeout", "soon"}, []string{"--dial-timeout", "soon"}},
		{"an unknown transport", nil, []string{"--upstream-transport", "fast"}, []string{"--upstream-transport", "fast"}},
		{"a bad duration in the environment", []string{"INGRESS_DIAL_TIMEOUT=soon"}, nil, []string{"dial-timeout", "soon"}},
		{"a bad size", nil, []string{"--max-url-bytes", "big"}, []string{"--max-url-bytes", "big"}},
		{"equal domains", nil, []string{"--apps-domain", "x.localhost", "--functions-domain", "x.localhost"}, []string{"apps-domain", "x.localhost"}},
		{"a bad domain", nil, []string{"--apps-domain", "no domain"}, []string{"apps-domain", "no domain"}},
		{"a bad public URL", nil, []string{"--public-url", "m3o.example"}, []string{"--public-url", "m3o.example"}},
		{"a bad network", nil, []string{"--trusted-proxies", "10.0.0.0/99"}, []string{"--trusted-proxies", "10.0.0.0/99"}},
		{"an unknown key in the file", nil, []string{"--config", badFile}, []string{badFile, "apps-domian"}},
		{"a missing file", nil, []string{"--config", badFile + ".not"}, []string{badFile + ".not"}},
		{"a password in the SMTP URL", nil, []string{"--smtp-url", "smtp://a:topsecret@h", "--mail-from", "a@b.example"}, []string{"--smtp-url", "INGRESS_SMTP_PASSWORD"}},
		{"a short bootstrap key", []string{"INGRESS_BOOTSTRAP_KEY=short"}, nil, []string{"20 characters"}},
		{"an API address without scheme", nil, []string{"--api-address", "api.example"}, []string{"--api-address", "api.example"}},
		{"a bad secret key", []string{"INGRESS_SECRET_KEY=abc"}, nil, []string{"INGRESS_SECRET_KEY"}},
		{"a redirect host that is a URL", nil, []string{"--verify-redirect-hosts", "https://x/"}, []string{"verify-redirect-hosts", "https://x/"}},
		{"an SMTP URL that is none", nil, []string{"--smtp-url", "foo", "--mail-from", "a@b.example"}, []string{"smtp-url", "foo"}},
		{"an access log in no folder", nil, []string{"--access-log", badFile + ".not/log"}, []string{"--access-log", badFile + ".not"}},
		{"an unknown flag", nil, []string{"--lissen", "x"}, []string{"--lissen", "--help"}},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			i := launch(t, shortTempDir(t), test.env, test.args...)
			err := i.wait()
			_, stderr := i.output()
			if err == nil || i.cmd.ProcessState.ExitCode() != 1 {
				t.Fatalf("it ended with %v", err)
			}
			for _, want := range test.says {
				if !strings.Contains(stderr, want) {
					t.Errorf("stderr lacks %q:\n%s", want, stderr)
				}
			}
			if _, err := os.Stat(i.dir); !os.IsNotExist(err) {
				t.Errorf("a start that failed left a data directory behind (%v)", err)
			}
			for _, never := range []string{"topsecret", "goroutine ", "panic"} {
				if strings.Contains(stderr, never) {
					t.Errorf("stderr shows %q:\n%s", never, stderr)
				}
			}
		})
	}
}

func TestOneProcessPerDataDirectory(t *testing.T) {
	i := startIngress(t)
	second := launch(t, i.dir, nil)
	if err := second.wait(); err == nil {
		t.Fatal("a second process started")
	}
	if _, stderr := second.output(); !strings.Contains(stderr, i.dir) || !strings.Contains(stderr, "in use by another process; stop that one or give another directory") {
		t.Errorf("it says %s", stderr)
	}
	i.mustCall("helloworld/call", `{}`)
}

func TestSettingsTakeEffectWithoutRestart(t *testing.T) {
	dir := shortTempDir(t)
	i := startIngressIn(t, dir, nil)
	app := recorder(t, "app")
	i.mustCall("app/run", fmt.Sprintf(`{"name":"hello","backend":%q}`, app.URL))

	set := func(args ...string) (string, string) {
		t.Helper()
		stdout, stderr, code := i.run(nil, append([]string{"config"}, args...)...)
		if code != 0 {
			t.Fatalf("config %v: %s", args, stderr)
		}
		return stdout, stderr
	}
	set("set", "micro.app.domain", "m3o.app")
	if a := i.get("http://hello.m3o.app/"); a.header.Get("Backend") != "app" {
		t.Errorf("the new domain: %d %v", a.status, a.header)
	}
	if a := i.get("http://hello.app.localhost/"); a.status != 404 {
		t.Errorf("the old domain: %d", a.status)
	}
	got := i.mustCall("app/get", `{"name":"hello"}`)["service"].(map[string]any)["url"].(string)
	if !strings.HasPrefix(got, "http://hello.m3o.app:") {
		t.Errorf("the app's URL is %s", got)
	}
	set("set", "micro.url.host_prefix", "https://m3o.one/u/")
	if short := i.mustCall("url/shorten", `{"destinationURL":"https://example.com/"}`)["shortURL"].(string); !strings.HasPrefix(short, "https://m3o.one/u/") {
		t.Errorf("the short URL is %s", short)
	} else if a := i.get(strings.Replace(short, "https:", "http:", 1)); a.status != 302 {
		t.Errorf("%s: %d", short, a.status)
	}
	if out, _ := set("get", "micro.app.domain"); strings.TrimSpace(out) != "m3o.app" {
		t.Errorf("config get: %q", out)
	}
	if out, _ := set("list"); !strings.Contains(out, "m3o.app") || !strings.Contains(out, "stored") || strings.Contains(out, bootstrapKey) || !strings.Contains(out, "***") {
		t.Errorf("config list:\n%s", out)
	}
	for _, bad := range [][]string{{"set", "micro.app.domain", "fn.localhost"}, {"set", "micro.app.domain", "no domain"}, {"set", "listen", ":80"}, {"get", "nosuch"}} {
		if _, stderr, code := i.run(nil, append([]string{"config"}, bad...)...); code != 1 || stderr == "" {
			t.Errorf("config %v: code %d, %q", bad, code, stderr)
		}
	}
	if a := i.get("http://hello.m3o.app/"); a.header.Get("Backend") != "app" {
		t.Errorf("after refused settings: %d", a.status)
	}

	i.stop()
	if out, _, code := runProgram(t, []string{"INGRESS_DATA_DIR=" + dir}, "config", "get", "apps-domain"); code != 0 || strings.TrimSpace(out) != "m3o.app" {
		t.Errorf("without a running process: %q", out)
	}
	if _, stderr, code := runProgram(t, []string{"INGRESS_DATA_DIR=" + dir}, "config", "unset", "micro.url.host_prefix"); code != 0 {
		t.Errorf("unset without a running process: %s", stderr)
	}
	clash := []string{"INGRESS_DATA_DIR=" + dir, "INGRESS_FUNCTIONS_DOMAIN=m3o.app"}
	if _, stderr, _ := runProgram(t, clash, "config", "list"); !strings.Contains(stderr, "would not start") {
		t.Errorf("a list of what does not go together: %q", stderr)
	}
	if _, stderr, code := runProgram(t, clash, "config", "unset", "apps-domain"); code != 0 || stderr != "" {
		t.Errorf("what is mended is complained of: %d %q", code, stderr)
	}
	if _, stderr, code := runProgram(t, clash, "config", "set", "apps-domain", "m3o.app"); code != 1 || !strings.Contains(stderr, "must differ") {
		t.Errorf("set to what clashes: %d %q", code, stderr)
	}
	again := startIngressIn(t, dir, nil, "--apps-domain", "flag.localhost")
	if a := again.get("http://hello.flag.localhost/"); a.header.Get("Backend") != "app" {
		t.Errorf("a flag does not override: %d", a.status)
	}
	if _, stderr, code := again.run(nil, "config", "set", "micro.app.domain", "other.app"); code != 0 || !strings.Contains(stderr, "--apps-domain") {
		t.Errorf("an overridden setting: %d %q", code, stderr)
	}
}

func TestLookingAtSettingsMakesNothing(t *testing.T) {
	dir := shortTempDir(t)
	env := []string{"INGRESS_DATA_DIR=" + dir}
	if out, stderr, code := runProgram(t, env, "config", "get", "apps-domain"); code != 0 || strings.TrimSpace(out) != "app.localhost" {
		t.Errorf("config get: %d %q %s", code, out, stderr)
	}
	if out, stderr, code := runProgram(t, env, "config", "list"); code != 0 || !strings.Contains(out, "micro.app.domain") {
		t.Errorf("config list: %d %s", code, stderr)
	}
	if _, _, code := runProgram(t, env, "explain", "hello.app.localhost"); code != 1 {
		t.Errorf("explain: %d", code)
	}
	if _, err := os.Stat(dir); !os.IsNotExist(err) {
		t.Errorf("looking made a data directory (%v)", err)
	}
	_, stderr, code := runProgram(t, env, "config", "set", "micro.app.domain", "m3o.app")
	if where := filepath.Join(dir, "ingress.db"); code != 0 || !strings.Contains(stderr, "no ingress is running") || !strings.Contains(stderr, where) {
		t.Errorf("config set: %d %s", code, stderr)
	}
	if out, _, _ := runProgram(t, env, "config", "get", "apps-domain"); strings.TrimSpace(out) != "m3o.app" {
		t.Errorf("after config set: %q", out)
	}
}

// Who looks for the process at another socket than its own is told to give that.
func TestAProcessAtAnotherSocketIsNamed(t *testing.T) {
	i := startIngress(t)
	for _, command := range [][]string{{"config", "list"}, {"explain", "http://localhost"}, {"upgrade"}} {
		_, stderr, code := i.run([]string{"INGRESS_ADMIN_SOCKET=" + filepath.Join(i.dir, "other.sock")}, command...)
		if code != 1 || !strings.Contains(stderr, "one uses "+i.dir) || !strings.Contains(stderr, "\nGive the --admin-socket of that one") {
			t.Errorf("%s: %d %s", command[0], code, stderr)
		}
	}
}

// An older release does not start with a newer schema.
func TestLookingAtSettingsLeavesTheSchema(t *testing.T) {
	dir := shortTempDir(t)
	env := []string{"INGRESS_DATA_DIR=" + dir}
	if _, stderr, code := runProgram(t, env, "config", "set", "micro.app.domain", "m3o.app"); code != 0 {
		t.Fatalf("config set: %d %s", code, stderr)
	}
	db, err := sql.Open("sqlite", filepath.Join(dir, "ingress.db"))
	if err != nil {
		t.Fatal(err)
	}
	_, dropped := db.Exec("DROP TABLE domains")
	_, forgotten := db.Exec("DELETE FROM goose_db_version WHERE version_id = 8")
	if err := errors.Join(dropped, forgotten, db.Close()); err != nil {
		t.Fatal(err)
	}
	if out, stderr, code := runProgram(t, env, "config", "get", "apps-domain"); code != 0 || strings.TrimSpace(out) != "m3o.app" {
		t.Errorf("config get: %d %q %s", code, out, stderr)
	}
	if _, _, code := runProgram(t, env, "explain", "hello.app.localhost"); code != 1 {
		t.Errorf("explain: %d", code)
	}
	if out, stderr, code := runProgram(t, env, "db", "status"); code != 0 || !strings.Contains(out, "7 of ") {
		t.Errorf("afterwards: %d %s%s", code, out, stderr)
	}
}

func TestTheAdminListenerTellsNoSecrets(t *testing.T) {
	i := startIngress(t)
	get := func(path string) (int, string) {
		t.Helper()
		res, err := http.Get("http://" + i.admin + path)
		if err != nil {
			t.Fatal(err)
		}
		defer res.Body.Close()
		body, err := io.ReadAll(res.Body)
		if err != nil {
			t.Fatal(err)
		}
		return res.StatusCode, string(body)
	}
	i.get("http://nosuch.app.localhost/")
	for path, want := range map[string]string{"/healthz": "ok", "/readyz": "ready", "/metrics": "unknown_app"} {
		if status, body := get(path); status != 200 || !strings.Contains(body, want) {
			t.Errorf("%s: %d %s", path, status, body)
		}
	}
	for _, path := range []string{"/debug/pprof/", "/settings", "/"} {
		if status, _ := get(path); status != 404 {
			t.Errorf("%s: %d, want it on the socket only", path, status)
		}
	}
	if res, err := http.Get("http://" + i.listen + "/metrics"); err != nil || res.StatusCode != 404 {
		t.Errorf("the public listener serves /metrics: %v %v", res, err)
	}
}

func TestAnEndThatWasAskedForIsNoFailure(t *testing.T) {
	i := startIngress(t)
	res, err := http.Get("http://" + i.admin + "/readyz") // so that it serves there
	if err != nil {
		t.Fatal(err)
	}
	res.Body.Close()
	i.stop()
	if _, stderr := i.output(); !strings.Contains(stderr, `"draining; `) || strings.Contains(stderr, `"level":"ERROR"`) {
		t.Errorf("the log of an end that was asked for:\n%s", stderr)
	}
}

func TestARequestInFlightAndAWebSocketOutliveSIGTERM(t *testing.T) {
	for _, transport := range []string{"std", "own"} {
		t.Run(transport, func(t *testing.T) { outliveSIGTERM(t, "--upstream-transport", transport) })
	}
}

func outliveSIGTERM(t *testing.T, args ...string) {
	entered, release := make(chan struct{}), make(chan struct{})
	backend := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/ws" {
			conn, err := websocket.Accept(w, r, nil)
			if err != nil {
				t.Error(err)
				return
			}
			defer conn.CloseNow()
			for {
				kind, message, err := conn.Read(r.Context())
				if err != nil {
					return
				}
				if err := conn.Write(r.Context(), kind, message); err != nil {
					return
				}
			}
		}
		close(entered)
		<-release
		fmt.Fprint(w, "finished")
	}))
	defer backend.Close()
	i := startIngress(t, args...)
	i.mustCall("app/run", fmt.Sprintf(`{"name":"slow","backend":%q}`, backend.URL))

	ctx, cancel := context.WithTimeout(t.Context(), deadline)
	defer cancel()
	ws, _, err := websocket.Dial(ctx, "ws://slow.app.localhost/ws", &websocket.DialOptions{HTTPClient: i.client()})
	if err != nil {
		t.Fatal(err)
	}
	defer ws.CloseNow()
	echo := func() error {
		if err := ws.Write(ctx, websocket.MessageText, []byte("hi")); err != nil {
			return err
		}
		_, _, err := ws.Read(ctx)
		return err
	}
	if err := echo(); err != nil {
		t.Fatal(err)
	}
	slow := make(chan answer, 1)
	go func() { slow <- i.get("http://slow.app.localhost/") }()
	<-entered

	if err := i.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	i.await("the listener to close", func() bool {
		conn, err := net.Dial("tcp", i.listen)
		if err == nil {
			conn.Close()
		}
		return err != nil
	})
	if err := echo(); err != nil {
		t.Errorf("the WebSocket ended with the signal: %v", err)
	}
	close(release)
	if a := <-slow; a.status != 200 || a.body != "finished" {
		t.Errorf("the request in flight got %d %q", a.status, a.body)
	}
	if err := ws.Close(websocket.StatusNormalClosure, ""); err != nil {
		t.Errorf("close the WebSocket: %v", err)
	}
	if err := i.wait(); err != nil {
		t.Errorf("the program ended with %v", err)
	}
}

func TestASecondSignalEndsAtOnce(t *testing.T) {
	entered := make(chan struct{})
	backend := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		close(entered)
		<-r.Context().Done()
	}))
	defer backend.Close()
	i := startIngress(t, "--shutdown-timeout", "10m")
	i.mustCall("app/run", fmt.Sprintf(`{"name":"slow","backend":%q}`, backend.URL))
	go func() { // ends with the program
		res, err := i.client().Get("http://slow.app.localhost/")
		if err == nil {
			res.Body.Close()
		}
	}()
	<-entered
	if err := i.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	i.await("the drain to begin", func() bool {
		_, log := i.output()
		return strings.Contains(log, "draining")
	})
	if err := i.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	if err := i.wait(); err == nil {
		t.Error("it claims to have ended well with a request unanswered")
	}
}

func TestARevokedBootstrapKeyStaysRevoked(t *testing.T) {
	dir := shortTempDir(t)
	i := startIngressIn(t, dir, nil)
	other := i.mustCall("api/keys/generate", `{"scopes":["*"],"description":"another"}`)["api_key"].(string)
	for _, each := range i.mustCall("api/keys/list", `{}`)["api_keys"].([]any) {
		key := each.(map[string]any)
		if key["description"] != "another" {
			i.mustCall("api/keys/revoke", fmt.Sprintf(`{"id":%q}`, key["id"]))
		}
	}
	if status, _ := i.call(bootstrapKey, "helloworld/call", `{}`); status != 401 {
		t.Errorf("the revoked key gets %d", status)
	}
	i.stop()
	again := startIngressIn(t, dir, nil)
	if status, _ := again.call(bootstrapKey, "helloworld/call", `{}`); status != 401 {
		t.Errorf("after a restart the revoked key gets %d", status)
	}
	if status, _ := again.call(other, "helloworld/call", `{}`); status != 200 {
		t.Errorf("the other key gets %d", status)
	}
	again.stop()
	third := startIngressIn(t, dir, []string{"INGRESS_BOOTSTRAP_KEY=a-new-bootstrap-key-for-tests"})
	if status, _ := third.call("a-new-bootstrap-key-for-tests", "helloworld/call", `{}`); status != 200 {
		t.Errorf("a changed bootstrap key gets %d", status)
	}
}

func TestTheAccessLogHasOneLineForARequest(t *testing.T) {
	i := startIngress(t)
	i.get("http://nosuch.app.localhost/some/path?secret=hidden&api_key=alsohidden")
	i.await("the access log line", func() bool {
		_, log := i.output()
		lines := bufio.NewScanner(strings.NewReader(log))
		for lines.Scan() {
			var line map[string]any
			if json.Unmarshal(lines.Bytes(), &line) == nil && line["reason"] == "unknown_app" {
				return line["path"] == "/some/path" && line["id"] == "nosuch"
			}
		}
		return false
	})
	if _, log := i.output(); strings.Contains(log, "hidden") {
		t.Errorf("the log shows the query:\n%s", log)
	}
}

func TestTheExampleFileHasEverySettingAndStarts(t *testing.T) {
	content, err := os.ReadFile("../../ingress.example.yaml")
	if err != nil {
		t.Fatal(err)
	}
	i := startIngressIn(t, shortTempDir(t), nil, "--config", "../../ingress.example.yaml")
	out, stderr, code := i.run(nil, "config", "list", "--json")
	var list []struct{ Name, Source string }
	if err := json.Unmarshal([]byte(out), &list); err != nil || code != 0 {
		t.Fatalf("config list: %v %s", err, stderr)
	}
	for _, s := range list {
		if s.Name == "bootstrap-key" { // from the environment alone
			continue
		}
		if !strings.Contains(string(content), "\n"+s.Name+":") && !strings.Contains(string(content), "\n# "+s.Name+":") {
			t.Errorf("the file does not explain %s", s.Name)
		}
	}
	if len(list) < 30 {
		t.Errorf("only %d settings are listed", len(list))
	}
}

// Told to end, an ingress says so to balancers, and serves on until they have noticed.
func TestBalancersNoticeTheEndBeforeItComes(t *testing.T) {
	t.Parallel()
	i := startIngress(t, "--shutdown-delay", "15s") // long enough for what follows on a slow machine
	link := i.shortened("https://example.com/")
	if err := i.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	i.await("the ingress not to be ready", func() bool { return i.adminGet("/readyz") == "not ready\n" })
	if a := i.get("http://localhost/u/" + link); a.status != http.StatusFound {
		t.Errorf("a visitor meanwhile: %d", a.status)
	}
	if _, stderr, code := i.run(nil, "upgrade"); code == 0 || !strings.Contains(stderr, "told to end") {
		t.Errorf("an upgrade meanwhile: %d %s", code, stderr)
	}
	if err := i.wait(); err != nil {
		t.Errorf("it ended with %v", err)
	}
}
