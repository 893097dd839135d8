package main

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/alecthomas/kong"
	"github.com/google/go-cmp/cmp"
)

// request is a call as it reached the platform.
type request struct{ method, path, auth, body string }

// fakePlatform is an HTTP server in the platform's place. It records every request
// and gives the same answer to each.
type fakePlatform struct {
	*httptest.Server
	mu   sync.Mutex
	seen []request
}

func newFakePlatform(t *testing.T, status int, reply string) *fakePlatform {
	t.Helper()
	p := &fakePlatform{}
	p.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		if err != nil {
			t.Errorf("read the request: %v", err)
		}
		p.mu.Lock()
		p.seen = append(p.seen, request{r.Method, r.URL.Path, r.Header.Get("Authorization"), string(body)})
		p.mu.Unlock()
		w.Header().Set("Content-Type", "application/json")
		w.WriteHeader(status)
		_, _ = io.WriteString(w, reply)
	}))
	t.Cleanup(p.Close)
	return p
}

func (p *fakePlatform) requests() []request {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.seen
}

// shell is where a command is run.
type shell struct {
	env     map[string]string
	stdin   io.Reader
	stderr  io.Writer // instead of the outcome's
	dataDir string
	ctx     context.Context
}

// outcome is what a command left behind.
type outcome struct {
	stdout, stderr string
	code           int
}

// commandLine is the part of the program's command line under test.
type commandLine struct {
	clientFlags    `embed:""`
	clientCommands `embed:""`
}

func newParser(t *testing.T, cli *commandLine, stdout io.Writer, options ...kong.Option) *kong.Kong {
	t.Helper()
	parser, err := kong.New(cli, append(options, kong.Name("ingress"), kong.Writers(stdout, stdout), kong.Exit(func(int) {}))...)
	if err != nil {
		t.Fatal(err)
	}
	return parser
}

// run runs a command as the program does.
func (s shell) run(t *testing.T, args ...string) outcome {
	t.Helper()
	var stdout, stderr bytes.Buffer
	if s.stdin == nil {
		s.stdin = strings.NewReader("")
	}
	if s.ctx == nil {
		s.ctx = t.Context()
	}
	errors := firstWriter(s.stderr, &stderr)
	in := surroundings{
		Stdin: s.stdin, Stdout: &stdout, Stderr: errors, DataDir: s.dataDir, Zone: time.UTC,
		LookupEnv: func(name string) (string, bool) { value, ok := s.env[name]; return value, ok },
	}
	cli := &commandLine{}
	parser := newParser(t, cli, &stdout,
		kong.BindTo(s.ctx, (*context.Context)(nil)),
		kong.BindSingletonProvider(func() (*client, error) { return newClient(cli.clientFlags, in) }))
	var parsed *kong.Context
	err := checkArguments(args)
	if err == nil {
		parsed, err = parser.Parse(args)
	}
	if err == nil {
		err = parsed.Run()
	}
	if err == nil {
		return outcome{stdout.String(), stderr.String(), 0}
	}
	reportError(errors, commandName(parsed), err)
	return outcome{stdout.String(), stderr.String(), 1}
}

func firstWriter(chosen, standard io.Writer) io.Writer {
	if chosen != nil {
		return chosen
	}
	return standard
}

// withKey is a shell that has a key for any platform.
func withKey() shell { return shell{env: map[string]string{tokenVariable: "test-key"}} }

// exchange is one command, the call it must make, and what it must show for the
// reply.
type exchange struct {
	args   []string
	stdin  string
	path   string
	body   string
	reply  string
	stdout string
	stderr string
}

// checkExchanges runs each command twice: as it is and with --json.
func checkExchanges(t *testing.T, exchanges []exchange) {
	t.Helper()
	for _, e := range exchanges {
		t.Run(strings.Join(e.args, " "), func(t *testing.T) {
			e.checkText(t)
			e.checkJSON(t)
		})
	}
}

func (e exchange) checkText(t *testing.T) {
	t.Helper()
	p := newFakePlatform(t, http.StatusOK, e.reply)
	s := withKey()
	s.stdin = strings.NewReader(e.stdin)
	got := s.run(t, append([]string{"--address", p.URL}, e.args...)...)
	if diff := cmp.Diff(outcome{e.stdout, e.stderr, 0}, got, cmp.AllowUnexported(outcome{})); diff != "" {
		t.Errorf("outcome (-want +got):\n%s", diff)
	}
	seen := p.requests()
	if len(seen) != 1 {
		t.Fatalf("made %d calls, want 1", len(seen))
	}
	if seen[0].method != http.MethodPost || seen[0].path != e.path || seen[0].auth != "Bearer test-key" {
		t.Errorf("called %s %s with authorization %q, want POST %s with the key", seen[0].method, seen[0].path, seen[0].auth, e.path)
	}
	if diff := cmp.Diff(decoded(t, e.body), decoded(t, seen[0].body)); diff != "" {
		t.Errorf("request (-want +got):\n%s", diff)
	}
}

func (e exchange) checkJSON(t *testing.T) {
	t.Helper()
	p := newFakePlatform(t, http.StatusOK, e.reply)
	s := withKey()
	s.stdin = strings.NewReader(e.stdin)
	got := s.run(t, append(e.args, "--json", "--address", p.URL)...)
	if got.code != 0 || got.stderr != "" {
		t.Errorf("with --json: exit code %d, stderr %q", got.code, got.stderr)
	}
	if diff := cmp.Diff(decoded(t, e.reply), decoded(t, got.stdout)); diff != "" {
		t.Errorf("with --json: reply (-want +got):\n%s", diff)
	}
}

func decoded(t *testing.T, text string) any {
	t.Helper()
	decoder := json.NewDecoder(strings.NewReader(text))
	decoder.UseNumber()
	var value any
	if err := decoder.Decode(&value); err != nil {
		t.Fatalf("%q is not JSON: %v", text, err)
	}
	return value
}

func TestAddressMayStandBeforeOrAfterTheCommand(t *testing.T) {
	p := newFakePlatform(t, http.StatusOK, `{"message":"Hello Jane"}`)
	for _, args := range [][]string{
		{"--address", p.URL, "helloworld", "call", "--name", "Jane"},
		{"helloworld", "--address", p.URL, "call", "--name", "Jane"},
		{"helloworld", "call", "--name", "Jane", "--address", p.URL},
		{"helloworld", "call", "--name", "Jane", "--address", strings.TrimPrefix(p.URL, "http://")},
		{"helloworld", "call", "--name", "Jane", "--address", p.URL + "/"},
	} {
		if got := withKey().run(t, args...); got.stdout != "Hello Jane\n" || got.code != 0 {
			t.Errorf("%q: %+v", args, got)
		}
	}
}

func TestAddressFromTheEnvironment(t *testing.T) {
	p := newFakePlatform(t, http.StatusOK, `{"message":"Hello Jane"}`)
	t.Setenv("INGRESS_ADDRESS", p.URL+"/base")
	if got := withKey().run(t, "helloworld", "call"); got.code != 0 {
		t.Fatalf("%+v", got)
	}
	if got := p.requests()[0].path; got != "/base/v1/helloworld/Call" {
		t.Errorf("called %s; the base path must be kept", got)
	}
}

func TestBadAddressesAreRefusedWithoutRepeatingSecrets(t *testing.T) {
	for address, want := range map[string]string{
		"":                                   "has no host",
		"ftp://example.com":                  "must begin with http:// or https://",
		"http://":                            "has no host",
		"http://jane:hunter22@localhost":     "must not contain a user or password",
		"http://localhost/?api_key=hunter22": "must not have a query",
		"http://local host/hunter22":         "is not a URL",
	} {
		got := withKey().run(t, "url", "list", "--address="+address)
		if got.code != 1 || !strings.Contains(got.stderr, want) || strings.Contains(got.stderr, "hunter22") {
			t.Errorf("%q: %+v, want %q", address, got, want)
		}
	}
}

func TestGuessedScheme(t *testing.T) {
	for text, want := range map[string]string{
		"localhost:8080":           "http://localhost:8080",
		"127.0.0.1:80":             "http://127.0.0.1:80",
		"[::1]:80":                 "http://[::1]:80",
		"ingress.localhost":        "http://ingress.localhost",
		"example.com":              "https://example.com",
		"localhost.example.com":    "https://localhost.example.com",
		"evillocalhost":            "https://evillocalhost",
		"http://example.com":       "http://example.com",
		"https://example.com/base": "https://example.com/base",
	} {
		address, err := parseAddress(text)
		if err != nil || address.String() != want {
			t.Errorf("parseAddress(%q) = %v, %v; want %s", text, address, err, want)
		}
	}
}

func TestBootstrapKeyIsUsedOnThisMachine(t *testing.T) {
	p := newFakePlatform(t, http.StatusOK, `{"message":"Hello "}`)
	got := shell{dataDir: dataDirWith(t, "bootstrap-secret\n")}.run(t, "helloworld", "call", "--address", p.URL)
	if got.code != 0 {
		t.Fatalf("%+v", got)
	}
	if auth := p.requests()[0].auth; auth != "Bearer bootstrap-secret" {
		t.Errorf("authorization %q", auth)
	}
}

// The directory of one of several ingresses has no key, which is somewhere else.
func TestWhereTheBootstrapKeyIsNotThereItIsSaidWhereToLook(t *testing.T) {
	p := newFakePlatform(t, http.StatusOK, `{"message":"Hello "}`)
	dir := t.TempDir()
	got := shell{dataDir: dir}.run(t, "helloworld", "call", "--address", p.URL)
	for _, want := range []string{"there is no " + filepath.Join(dir, bootstrapKeyFile), tokenVariable, "--data-dir", "several ingresses"} {
		if got.code != 1 || !strings.Contains(got.stderr, want) {
			t.Errorf("%q is not in %+v", want, got)
		}
	}
	if strings.Contains(got.stderr, `\`) || strings.Count(got.stderr, "\n") != 2 {
		t.Errorf("it is not a sentence and a hint: %s", got.stderr)
	}
	if n := len(p.requests()); n != 0 {
		t.Errorf("%d requests were made without a key", n)
	}
}

func TestKeyInTheEnvironmentBeatsTheBootstrapKey(t *testing.T) {
	p := newFakePlatform(t, http.StatusOK, `{"message":"Hello "}`)
	s := withKey()
	s.dataDir = dataDirWith(t, "bootstrap-secret\n")
	s.run(t, "helloworld", "call", "--address", p.URL)
	if auth := p.requests()[0].auth; auth != "Bearer test-key" {
		t.Errorf("authorization %q", auth)
	}
}

func TestBootstrapKeyNeverLeavesTheMachine(t *testing.T) {
	dir := dataDirWith(t, "bootstrap-secret\n")
	for _, address := range []string{
		"https://example.com", "http://192.0.2.1:8080", "http://10.0.0.1", "http://localhost.example.com",
		"http://127.0.0.1.example.com", "http://0.0.0.0:8080", "http://[2001:db8::1]", "http://localhostx", "http://xlocalhost",
	} {
		got := shell{dataDir: dir}.run(t, "helloworld", "call", "--address", address)
		if got.code != 1 || !strings.Contains(got.stderr, "no key for "+address) || strings.Contains(got.stderr, "bootstrap-secret") {
			t.Errorf("%s: %+v", address, got)
		}
	}
}

func TestLocalConnectionRefusesOtherMachines(t *testing.T) {
	for address, ok := range map[string]bool{
		"127.0.0.1:80": true, "127.9.9.9:80": true, "[::1]:80": true, "[::ffff:127.0.0.1]:80": true,
		"192.0.2.1:80": false, "[2001:db8::1]:80": false, "0.0.0.0:80": false, "nonsense": false,
	} {
		if err := refuseRemote("tcp", address, nil); (err == nil) != ok {
			t.Errorf("refuseRemote(%s) = %v", address, err)
		}
	}
	transport := newTransport(true)
	if transport.Proxy != nil {
		t.Error("the bootstrap key may go through a proxy")
	}
}

func TestLocalConnectionIgnoresWhereANameLeads(t *testing.T) {
	transport := newTransport(true)
	if conn, err := transport.DialContext(t.Context(), "tcp", "192.0.2.1:9"); err == nil {
		conn.Close()
		t.Fatal("connected to another machine")
	} else if !strings.Contains(err.Error(), "not on this machine") {
		t.Errorf("dial: %v", err)
	}
}

func TestNamesUnderLocalhostNeedNoResolver(t *testing.T) {
	p := newFakePlatform(t, http.StatusOK, `{"message":"Hello "}`)
	_, port, _ := strings.Cut(strings.TrimPrefix(p.URL, "http://"), ":")
	if got := withKey().run(t, "helloworld", "call", "--address", "http://some.localhost:"+port); got.code != 0 {
		t.Errorf("%+v", got)
	}
}

func TestRedirectsTakeTheKeyNowhere(t *testing.T) {
	other := newFakePlatform(t, http.StatusOK, `{"message":"caught"}`)
	redirecting := httptest.NewServer(http.RedirectHandler(other.URL+"/v1/helloworld/Call", http.StatusTemporaryRedirect))
	t.Cleanup(redirecting.Close)
	got := withKey().run(t, "helloworld", "call", "--address", redirecting.URL)
	if got.code != 1 || len(other.requests()) != 0 {
		t.Errorf("%+v; the other host saw %v", got, other.requests())
	}
}

func TestWithoutAKeyTheErrorSaysWhatToDo(t *testing.T) {
	p := newFakePlatform(t, http.StatusOK, `{}`)
	empty := t.TempDir()
	for name, s := range map[string]shell{
		"no data directory":     {},
		"empty data directory":  {dataDir: empty},
		"empty file":            {dataDir: dataDirWith(t, "\n")},
		"two words in the file": {dataDir: dataDirWith(t, "bootstrap secret")},
		"line end in the key":   {env: map[string]string{tokenVariable: "bootstrap\nsecret"}},
	} {
		got := s.run(t, "url", "list", "--address", p.URL)
		if got.code != 1 || strings.Count(got.stderr, "\n") != 2 || strings.Contains(got.stderr, "secret\n") {
			t.Errorf("%s: %+v", name, got)
		}
	}
	if n := len(p.requests()); n != 0 {
		t.Errorf("made %d calls without a key", n)
	}
}

func dataDirWith(t *testing.T, key string) string {
	t.Helper()
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, bootstrapKeyFile), []byte(key), 0o600); err != nil {
		t.Fatal(err)
	}
	return dir
}
