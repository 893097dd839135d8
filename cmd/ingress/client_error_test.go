package main

import (
	"context"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/m3o/ingress/internal/porttest"
)

func TestErrorsAreOneSentenceAndAHint(t *testing.T) {
	for name, test := range map[string]struct {
		status int
		reply  string
		want   string
	}{
		"the API's own": {400, `{"id":"url.create","code":400,"detail":"id already exists","status":"Bad Request"}`,
			"ingress: url create: id already exists (400 url.create)\nChoose another, or let it lead somewhere else with: ingress url update ID URL\n"},
		"a bad key": {401, `{"id":"v1","code":401,"detail":"Unauthorized","status":"Unauthorized"}`,
			"ingress: url create: Unauthorized (401 v1)\nThe key is not one of ADDRESS. Set M3O_API_TOKEN to one that is; make one with: ingress key create --scope '*'\n"},
		"a missing scope": {403, `{"id":"v1.blocked","code":403,"detail":"Request blocked. Insufficient privileges","status":"Forbidden"}`,
			"ingress: url create: Request blocked. Insufficient privileges (403 v1.blocked)\nThe key may not do this. One that may is made with: ingress key create --scope SERVICE (with --backend: SERVICE,backend)\n"},
		"too many": {429, `{"id":"v1.blocked","code":429,"detail":"Too Many Requests","status":"Too Many Requests"}`,
			"ingress: url create: Too Many Requests (429 v1.blocked)\nThe key is over its rate limit. Wait a few seconds and try again.\n"},
		"an error that is a 200": {200, `{"id":"url.create","code":500,"detail":"broken","status":"Internal Server Error"}`,
			"ingress: url create: broken (500 url.create)\n"},
		"the original's words": {400, `{"id":"app.run","code":400,"detail":"invalidate name format","status":"Bad Request"}`,
			"ingress: url create: invalidate name format (400 app.run)\nA name has 3 to 54 characters, lower-case letters and digits alone.\n"},
		"commands to the terminal": {400, `{"id":"url.create","code":400,"detail":"\u001b[2Jgone\u009b1m\u202e\n","status":"Bad Request"}`,
			"ingress: url create: \\x1b[2Jgone\\u009b1m\\u202e\\n (400 url.create)\n"},
	} {
		t.Run(name, func(t *testing.T) {
			p := newFakePlatform(t, test.status, test.reply)
			got := withKey().run(t, "url", "create", "https://example.com/", "--address", p.URL)
			want := outcome{"", strings.ReplaceAll(test.want, "ADDRESS", p.URL), 1}
			if got != want {
				t.Errorf("got %+v\nwant %+v", got, want)
			}
		})
	}
}

func TestStrangeAnswersAreErrors(t *testing.T) {
	for name, test := range map[string]struct {
		status int
		reply  string
	}{
		"empty 200":             {200, ""},
		"text labelled as JSON": {200, "internal error"},
		"a list":                {200, "[]"},
		"truncated":             {200, `{"url":{"id":"x"`},
		"wrong type":            {200, `{"urlPairs":"none"}`},
		"a proxy's page":        {502, "<html>Bad Gateway</html>"},
	} {
		p := newFakePlatform(t, test.status, test.reply)
		got := withKey().run(t, "url", "list", "--address", p.URL)
		if got.code != 1 || got.stdout != "" || !strings.HasPrefix(got.stderr, "ingress: url list: ") {
			t.Errorf("%s: %+v", name, got)
		}
	}
}

func TestQuotaThatIsUsedUpDoesNotBlameTheKey(t *testing.T) {
	p := newFakePlatform(t, 403, `{"id":"key.generate","code":403,"detail":"100 keys are all you may have","status":"Forbidden"}`)
	got := withKey().run(t, "key", "create", "--scope", "url", "--address", p.URL)
	if want := (outcome{"", "ingress: key create: 100 keys are all you may have (403 key.generate)\n", 1}); got != want {
		t.Errorf("got %+v", got)
	}
}

func TestLoginThatFailsDoesNotBlameTheKey(t *testing.T) {
	p := newFakePlatform(t, 401, `{"id":"user.login","code":401,"detail":"wrong password","status":"Unauthorized"}`)
	s := withKey()
	s.stdin = strings.NewReader("hunter22\n")
	got := s.run(t, "user", "login", "--username", "jane", "--address", p.URL)
	if want := (outcome{"", "ingress: user login: wrong password (401 user.login)\n", 1}); got != want {
		t.Errorf("got %+v", got)
	}
}

func TestAMistypedCommandIsNoArgumentOfServe(t *testing.T) {
	for _, name := range []string{"nosuch", "Serve", "rl"} {
		stdout, stderr, code := runMain(t, name, "list")
		if want := "ingress: there is no command " + name + "\nSee: ingress --help\n"; stdout != "" || stderr != want || code != 1 {
			t.Errorf("%s: %d, %q, %q", name, code, stdout, stderr)
		}
	}
	if _, stderr, _ := runMain(t, "--address", "http://localhost:1", "nosuch", "list"); !strings.HasPrefix(stderr, "ingress: there is no command nosuch\n") {
		t.Errorf("behind a flag: %q", stderr)
	}
	if _, stderr, code := runMain(t, "serve", "nosuch"); code != 1 || !strings.HasPrefix(stderr, "ingress: serve: unexpected argument nosuch\n") {
		t.Errorf("%d, %q", code, stderr)
	}
}

// runMain runs a whole command line inside this process.
func runMain(t *testing.T, args ...string) (stdout, stderr string, code int) {
	t.Helper()
	var out, errs strings.Builder
	p := &program{ctx: t.Context(), stdin: strings.NewReader(""), stdout: &out, stderr: &errs, env: func(string) string { return "" }}
	code = p.main(args)
	return out.String(), errs.String(), code
}

func TestTheVersionIsAFlagAsWell(t *testing.T) {
	want, _, _ := runMain(t, "version")
	if stdout, stderr, code := runMain(t, "--version"); stdout != want || want == "" || stderr != "" || code != 0 {
		t.Errorf("%d, %q, %q", code, stdout, stderr)
	}
}

func TestAFlagWithoutItsValueIsSaidInWords(t *testing.T) {
	for _, args := range [][]string{{"db", "status", "--database"}, {"serve", "--database-connections"}, {"serve", "--auth-max-stale"}, {"url", "list", "--timeout"}} {
		_, stderr, code := runMain(t, args...)
		if want := args[len(args)-1] + ": its value is missing\nSee: ingress "; code != 1 || !strings.Contains(stderr, want) {
			t.Errorf("%q: %d %s, want %q", args, code, stderr, want)
		}
	}
}

func TestNobodyListens(t *testing.T) {
	address := "http://" + porttest.Closed(t)
	for _, args := range [][]string{{"url", "list"}, {"helloworld", "stream"}, {"tenant", "quotas", "acme"}, {"function", "call", "f"}} {
		got := withKey().run(t, append(args, "--address", address)...)
		want := "ingress: " + args[0] + " " + args[1] + ": " + address + " refused the connection\nIs it running? Start it with: ingress serve. If it listens elsewhere, say where with --address.\n"
		if got != (outcome{"", want, 1}) {
			t.Errorf("%q: %+v", args, got)
		}
	}
}

// newSilence is a platform that never answers. waiting is closed once it has a
// request.
func newSilence(t *testing.T) (address string, waiting <-chan struct{}) {
	t.Helper()
	started, done := make(chan struct{}), make(chan struct{})
	server := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		close(started)
		<-done
	}))
	t.Cleanup(server.Close)
	t.Cleanup(func() { close(done) })
	return server.URL, started
}

func TestSlowPlatformRunsIntoTheTimeout(t *testing.T) {
	for _, args := range [][]string{{"url", "list"}, {"call", "url", "list"}} {
		address, _ := newSilence(t)
		got := withKey().run(t, append(args, "--address", address, "--timeout", "50ms")...)
		if got.code != 1 || !strings.Contains(got.stderr, "no reply from "+address+" within 50ms") || !strings.Contains(got.stderr, "--timeout") {
			t.Errorf("%q: %+v", args, got)
		}
	}
}

func TestInterruptEndsACall(t *testing.T) {
	address, waiting := newSilence(t)
	ctx, interrupt := context.WithCancel(t.Context())
	go func() {
		<-waiting
		interrupt()
	}()
	s := withKey()
	s.ctx = ctx
	if got := s.run(t, "url", "list", "--address", address); got != (outcome{"", "ingress: url list: interrupted\n", 1}) {
		t.Errorf("%+v", got)
	}
}

func TestInterruptEndsReadingStdin(t *testing.T) {
	reader, writer := io.Pipe()
	t.Cleanup(func() { writer.Close() })
	ctx, interrupt := context.WithCancel(t.Context())
	interrupt()
	s := withKey()
	s.ctx, s.stdin = ctx, reader
	if got := s.run(t, "call", "url", "list", "-"); got != (outcome{"", "ingress: call: interrupted\n", 1}) {
		t.Errorf("%+v", got)
	}
}

func TestWhatIsNotFoundCanBeLookedUp(t *testing.T) {
	for _, test := range []struct {
		args []string
		id   string
		want string
	}{
		{[]string{"app", "get", "helo"}, "app.get", "Your apps are shown by: ingress app list\n"},
		{[]string{"url", "resolve", "exampel"}, "url.resolve", "Your links are shown by: ingress url list\n"},
		{[]string{"user", "read", "jane@example.com"}, "user.read", "Accounts go by their ids, which are shown by: ingress user list\n"},
		{[]string{"key", "revoke", "k1"}, "keys.revoke", "Keys go by their ids, which are shown by: ingress key list\n"},
		{[]string{"call", "user", "readSession"}, "user.readsession", ""},
		{[]string{"key", "list", "--tenant", "nosuch"}, "keys.list", ""},
		{[]string{"call", "shop", "buy"}, "shop.buy", ""},
	} {
		p := newFakePlatform(t, 404, `{"id":"`+test.id+`","code":404,"detail":"not found","status":"Not Found"}`)
		got := withKey().run(t, append(test.args, "--address", p.URL)...)
		if _, hint, _ := strings.Cut(got.stderr, "\n"); got.code != 1 || hint != test.want {
			t.Errorf("%q: %+v, want the hint %q", test.args, got, test.want)
		}
	}
}

func TestWhatIsSaidTerselyHasAHint(t *testing.T) {
	for detail, want := range map[string]string{
		"invalid id":        "A link's id has 1 to 128 letters, digits, _ and -",
		"id already exists": "Choose another",
	} {
		p := newFakePlatform(t, 400, `{"id":"url.create","code":400,"detail":"`+detail+`","status":"Bad Request"}`)
		got := withKey().run(t, "url", "create", "https://example.com/", "--id", "a b", "--address", p.URL)
		if _, hint, _ := strings.Cut(got.stderr, "\n"); got.code != 1 || !strings.HasPrefix(hint, want) {
			t.Errorf("%s: %+v", detail, got)
		}
	}
}

func TestUsageErrorsPointToTheHelp(t *testing.T) {
	p := newFakePlatform(t, 200, `{}`)
	for _, test := range []struct {
		args []string
		want string
	}{
		{[]string{"url"}, "See: ingress url --help\n"},
		{[]string{"url", "create"}, "See: ingress url create --help\n"},
		{[]string{"url", "nonsense"}, "See: ingress url --help\n"},
		{[]string{"url", "list", "--nonsense"}, "See: ingress url list --help\n"},
		{[]string{"user", "read"}, "See: ingress user read --help\n"},
		{[]string{"user", "read", "jane1", "--email", "jane@example.com"}, "See: ingress user read --help\n"},
		{[]string{"user", "login"}, "See: ingress user login --help\n"},
		{[]string{"user", "create", "--email", "jane@example.com", "--password", "hunter22"}, "See: ingress user create --help\n"},
		{[]string{"function", "deploy", "f"}, "See: ingress function deploy --help\n"},
		{[]string{"function", "deploy", "f", "--repo", "x", "--backend", "y"}, "See: ingress function deploy --help\n"},
		{[]string{"app", "logs", "shop", "--type", "all"}, "See: ingress app logs --help\n"},
		{[]string{"app", "run", "shop", "--env", "=x"}, "See: ingress app run --help\n"},
		{[]string{"app", "run", "shop", "--env", "A=1", "--env", "A=2"}, "See: ingress app run --help\n"},
		{[]string{"app", "run", "shop", "--env", "NOT_SET"}, "See: ingress app run --help\n"},
		{[]string{"key", "create"}, "See: ingress key create --help\n"},
		{[]string{"key", "revoke", "m3o_secret"}, "See: ingress key revoke --help\n"},
		{[]string{"call", "url"}, "See: ingress call --help\n"},
		{[]string{"call", "url", "a/b/c"}, "See: ingress call --help\n"},
		{[]string{"call", "..", "list"}, "See: ingress call --help\n"},
		{[]string{"call", "url", "../../healthz"}, "See: ingress call --help\n"},
		{[]string{"call", "url", "list?x=1"}, "See: ingress call --help\n"},
		{[]string{"call", "url", "list", "{"}, "See: ingress call --help\n"},
		{[]string{"call", "url", "list", "x=1", "x=2"}, "See: ingress call --help\n"},
		{[]string{"call", "url", "list", "x:=hunter22"}, "See: ingress call --help\n"},
		{[]string{"call", "url", "list", "hunter22"}, "See: ingress call --help\n"},
		{[]string{"call", "url", "list", "x=\xff"}, "See: ingress --help\n"},
		{[]string{"call", "url", "list", "-", "x=1"}, "See: ingress call --help\n"},
	} {
		s := withKey()
		s.stdin = strings.NewReader("a password\n")
		got := s.run(t, append(test.args, "--address", p.URL)...)
		if got.code != 1 || got.stdout != "" || !strings.HasSuffix(got.stderr, "\n"+test.want) {
			t.Errorf("%q: %+v, want the hint %q", test.args, got, test.want)
		}
		if strings.Contains(got.stderr, "hunter22") {
			t.Errorf("%q: the error repeats a value that may be a secret: %s", test.args, got.stderr)
		}
	}
	if seen := p.requests(); len(seen) != 0 {
		t.Errorf("calls were made: %v", seen)
	}
}
