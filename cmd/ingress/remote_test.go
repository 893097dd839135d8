package main_test

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/coder/websocket"

	"github.com/m3o/ingress/internal/porttest"
)

// Remote mode: the same program without state in front of somebody else's
// platform.

const remoteToken = "token-of-the-remote-platform"

// startRemote runs the program in remote mode. It must keep nothing.
func startRemote(t *testing.T, api string, args ...string) *ingress {
	t.Helper()
	dir := shortTempDir(t)
	i := startIngressIn(t, dir, []string{"M3O_API_TOKEN=" + remoteToken, "INGRESS_BOOTSTRAP_KEY="}, append([]string{"--api-address", api}, args...)...)
	t.Cleanup(func() {
		if _, err := os.Stat(dir); !os.IsNotExist(err) {
			t.Errorf("remote mode made a data directory: %v", err)
		}
	})
	return i
}

func TestASecondCopyAsTheRemotePlatform(t *testing.T) {
	home := startIngressIn(t, shortTempDir(t), []string{"INGRESS_BOOTSTRAP_KEY=" + remoteToken})
	callHome := func(path, body string) map[string]any {
		t.Helper()
		status, decoded := home.call(remoteToken, path, body)
		if status != 200 {
			t.Fatalf("%s: %d %v", path, status, decoded)
		}
		return decoded
	}
	app, fn := recorder(t, "app"), recorder(t, "fn")
	callHome("app/run", fmt.Sprintf(`{"name":"hello","backend":%q}`, app.URL))
	callHome("function/deploy", fmt.Sprintf(`{"name":"greet","backend":%q}`, fn.URL))
	callHome("url/create", `{"id":"x","destinationURL":"https://example.com/"}`)
	callHome("user/create", `{"email":"jane@example.com","username":"jane","password":"correct horse"}`)
	callHome("user/sendVerificationEmail", `{"email":"jane@example.com","subject":"s","text_content":"$micro_verification_link",
		"redirect_url":"https://shop.example/ok","failure_redirect_url":"https://shop.example/bad"}`)
	link := mailedLink(t, home)

	i := startRemote(t, "http://"+home.listen, "--verify-redirect-hosts", "shop.example")
	if a := i.get("http://localhost/api/helloworld/Call?name=Jane&api_key=" + remoteToken); a.status != 200 || strings.TrimSpace(a.body) != `{"message":"Hello Jane"}` {
		t.Errorf("/api: %d %s", a.status, a.body)
	}
	if a := i.get("http://localhost/api/helloworld/Call?name=Jane"); a.status != 401 {
		t.Errorf("/api without a key: %d; the ingress's own token must not help", a.status)
	}
	if a := i.get("http://hello.app.localhost/p"); !strings.HasPrefix(a.body, "app GET /p") {
		t.Errorf("an app: %d %s", a.status, a.body)
	}
	if a := i.get("http://greet.fn.localhost/p"); !strings.HasPrefix(a.body, "fn GET /p") {
		t.Errorf("a function: %d %s", a.status, a.body)
	}
	if a := i.get("http://nosuch.app.localhost/"); a.status != 404 || a.header.Get("X-Ingress-Error") != "unknown_app" {
		t.Errorf("an unknown app: %d %v", a.status, a.header)
	}
	for range 3 {
		if a := i.do("GET", "http://localhost/u/x", []string{"User-Agent", "Mozilla/5.0"}, ""); a.status != 302 || a.header.Get("Location") != "https://example.com/" {
			t.Errorf("a link: %d %v", a.status, a.header)
		}
	}
	link.Host = "user.localhost"
	if a := i.get(link.String()); a.status != 302 || a.header.Get("Location") != "https://shop.example/ok" {
		t.Errorf("verification: %d %v %s", a.status, a.header, a.body)
	}

	home.stop()
	for _, url := range []string{"http://hello.app.localhost/p", "http://greet.fn.localhost/p"} {
		if a := i.get(url); a.status != 200 {
			t.Errorf("%s with the platform away: %d %v", url, a.status, a.header)
		}
	}
	if a := i.get("http://localhost/u/x"); a.status != 302 {
		t.Errorf("the link with the platform away: %d", a.status)
	}
	for url, json := range map[string]bool{"http://new.app.localhost/": false, "http://localhost/u/new": false, "http://localhost/api/helloworld/Call": true} {
		a := i.get(url)
		if a.status < 502 || a.status > 504 || a.header.Get("X-Ingress-Error") != "platform_down" || a.body == "" {
			t.Errorf("%s with the platform away: %d %v", url, a.status, a.header)
		}
		if got := strings.HasPrefix(a.header.Get("Content-Type"), "application/json"); got != json {
			t.Errorf("%s answers %s", url, a.header.Get("Content-Type"))
		}
	}
}

// misbehaving is a remote platform that does what WIRE.md 7 says real ones do.
type misbehaving struct {
	*httptest.Server
	backend string
	mode    atomic.Value // string

	mu   sync.Mutex
	seen []*http.Request
}

func newMisbehaving(t *testing.T, backend string) *misbehaving {
	m := &misbehaving{backend: backend}
	m.mode.Store("good")
	m.Server = httptest.NewServer(m)
	t.Cleanup(m.Close)
	return m
}

func (m *misbehaving) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	m.mu.Lock()
	m.seen = append(m.seen, r.Clone(context.Background()))
	m.mu.Unlock()
	if strings.HasSuffix(strings.ToLower(r.URL.Path), "/stream") {
		m.stream(w, r)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	switch m.mode.Load() {
	case "good":
		fmt.Fprintf(w, `{"url":%q,"destinationURL":"https://example.com/"}`, m.backend)
	case "not found":
		w.WriteHeader(http.StatusInternalServerError)
		fmt.Fprint(w, `{"id":"app.resolve","code":500,"detail":"not found","status":"Internal Server Error"}`)
	case "an empty url":
		fmt.Fprint(w, `{"url":"","destinationURL":""}`)
	case "an empty 200":
	case "plain text labelled JSON":
		fmt.Fprint(w, "upstream connect error")
	case "an HTML 404":
		w.Header().Set("Content-Type", "text/html")
		w.WriteHeader(http.StatusNotFound)
		fmt.Fprint(w, "<h1>not found</h1>")
	case "401":
		w.WriteHeader(http.StatusUnauthorized)
		fmt.Fprint(w, `{"id":"v1","code":401,"detail":"Unauthorized","status":"Unauthorized"}`)
	case "429":
		w.WriteHeader(http.StatusTooManyRequests)
		fmt.Fprint(w, `{"id":"v1.blocked","code":429,"detail":"Too Many Requests","status":"Too Many Requests"}`)
	case "a redirect":
		http.Redirect(w, r, "https://evil.example/", http.StatusTemporaryRedirect)
	case "a dropped connection":
		panic(http.ErrAbortHandler)
	case "a hang":
		// Reading to the end lets the server notice that the client left.
		_, _ = io.Copy(io.Discard, r.Body)
		<-r.Context().Done()
	}
}

// stream sends one frame and drops the connection without a close frame.
func (m *misbehaving) stream(w http.ResponseWriter, r *http.Request) {
	conn, err := websocket.Accept(w, r, nil)
	if err != nil {
		return
	}
	if err := conn.Write(r.Context(), websocket.MessageText, []byte(`{"message":"once"}`)); err != nil {
		return
	}
	_ = conn.CloseNow()
}

func TestARemotePlatformThatMisbehaves(t *testing.T) {
	app := recorder(t, "app")
	for _, test := range []struct {
		mode   string
		status int // for an id never seen
		reason string
	}{
		{mode: "not found", status: 404, reason: "unknown_app"},
		{mode: "an empty url", status: 503, reason: "deploying"},
		{mode: "an empty 200", status: 503, reason: "platform_down"},
		{mode: "plain text labelled JSON", status: 503, reason: "platform_down"},
		{mode: "an HTML 404", status: 503, reason: "platform_down"},
		{mode: "401", status: 503, reason: "platform_down"},
		{mode: "429", status: 503, reason: "platform_down"},
		{mode: "a redirect", status: 503, reason: "platform_down"},
		{mode: "a dropped connection", status: 503, reason: "platform_down"},
		{mode: "a hang", status: 503, reason: "platform_down"},
	} {
		t.Run(test.mode, func(t *testing.T) {
			t.Parallel()
			m := newMisbehaving(t, app.URL)
			limit := deadline
			if test.mode == "a hang" { // which has to be given up
				limit = 500 * time.Millisecond
			}
			i := startRemote(t, m.URL+"/base", "--resolve-timeout", limit.String())
			i.awaitStatus("http://known.app.localhost/", 200) // the first try may be given up, too, on a slow machine
			m.mode.Store(test.mode)
			if a := i.get("http://known.app.localhost/"); a.status != 200 {
				t.Errorf("a route that worked now gets %d %v", a.status, a.header)
			}
			a := i.get("http://fresh.app.localhost/")
			if a.status != test.status || a.header.Get("X-Ingress-Error") != test.reason || a.body == "" {
				t.Errorf("an id never seen: %d %v %q", a.status, a.header, a.body)
			}
			if a.status == 503 && a.header.Get("Retry-After") == "" {
				t.Error("a 503 without Retry-After")
			}
			if a := i.get("http://localhost/u/fresh"); a.status != 404 && a.status != 503 || a.body == "" || a.header.Get("Location") != "" {
				t.Errorf("a link never seen: %d %v", a.status, a.header)
			}
			m.checkRequests(t)
		})
	}
}

// checkRequests checks what the ingress sent on its own behalf.
func (m *misbehaving) checkRequests(t *testing.T) {
	t.Helper()
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, r := range m.seen {
		if r.Method != http.MethodPost || !strings.HasPrefix(r.URL.Path, "/base/v1/") || r.Header.Get("Authorization") != "Bearer "+remoteToken {
			t.Errorf("the ingress sent %s %s with %q", r.Method, r.URL, r.Header.Get("Authorization"))
		}
	}
}

func TestTheTokenGoesNowhereElse(t *testing.T) {
	app := recorder(t, "app")
	m := newMisbehaving(t, app.URL)
	i := startRemote(t, m.URL)
	if a := i.get("http://known.app.localhost/"); strings.Contains(a.body, remoteToken) {
		t.Errorf("the backend saw the token: %s", a.body)
	}
	if a := i.do("GET", "http://known.app.localhost/", []string{"Authorization", "Bearer " + remoteToken}, ""); strings.Contains(a.body, remoteToken) {
		t.Errorf("the backend saw the token a visitor sent: %s", a.body)
	}
	m.mu.Lock()
	m.seen = nil
	m.mu.Unlock()
	i.do("POST", "http://localhost/v1/app/List", []string{"Micro-Namespace", "foreign", "Content-Type", "application/json"}, "{}")
	i.do("GET", "http://localhost/api/app/List?api_key=callers-own&x=1", nil, "")
	m.mu.Lock()
	defer m.mu.Unlock()
	if len(m.seen) != 2 {
		t.Fatalf("the platform saw %d requests", len(m.seen))
	}
	if r := m.seen[0]; r.Header.Get("Authorization") != "" || r.Header.Get("Micro-Namespace") != "" {
		t.Errorf("a caller's request was given %v", r.Header)
	}
	if r := m.seen[1]; r.Header.Get("Authorization") != "Bearer callers-own" || r.URL.RawQuery != "" || r.Method != "POST" {
		t.Errorf("the caller's key: %s %s %v", r.Method, r.URL, r.Header)
	}
	if _, log := i.output(); strings.Contains(log, remoteToken) || strings.Contains(log, "callers-own") {
		t.Error("the log shows a key")
	}
}

func TestAWebSocketDroppedByThePlatformEnds(t *testing.T) {
	m := newMisbehaving(t, "")
	i := startRemote(t, m.URL)
	ctx, cancel := context.WithTimeout(t.Context(), deadline)
	defer cancel()
	conn, _, err := websocket.Dial(ctx, "ws://localhost/api/helloworld/Stream", &websocket.DialOptions{HTTPClient: i.client()})
	if err != nil {
		t.Fatal(err)
	}
	defer conn.CloseNow()
	if _, message, err := conn.Read(ctx); err != nil || string(message) != `{"message":"once"}` {
		t.Errorf("read %s, %v", message, err)
	}
	if _, _, err := conn.Read(ctx); err == nil || ctx.Err() != nil {
		t.Errorf("after the platform dropped it: %v", err)
	}
}

func TestRemoteHitsAreResolvesOneEach(t *testing.T) {
	m := newMisbehaving(t, "")
	i := startRemote(t, m.URL)
	const visits = 20
	for range visits {
		if a := i.do("GET", "http://localhost/u/x", []string{"User-Agent", "Mozilla/5.0"}, ""); a.status != 302 {
			t.Fatalf("%d %v", a.status, a.header)
		}
	}
	i.stop() // waits for the resolves in the background
	m.mu.Lock()
	defer m.mu.Unlock()
	if len(m.seen) != visits {
		t.Errorf("%d visits made %d resolves, each of which counts a hit", visits, len(m.seen))
	}
}

func TestRemoteVisitsToOurOwnPlatformAreHits(t *testing.T) {
	home := startIngressIn(t, shortTempDir(t), []string{"INGRESS_BOOTSTRAP_KEY=" + remoteToken})
	if status, answer := home.call(remoteToken, "url/create", `{"id":"x","destinationURL":"https://example.com/"}`); status != 200 {
		t.Fatalf("%d %v", status, answer)
	}
	i := startRemote(t, "http://"+home.listen)
	for range 5 {
		i.do("GET", "http://localhost/u/x", []string{"User-Agent", "Mozilla/5.0"}, "")
	}
	i.stop() // waits for the resolves in the background
	home.do("GET", "http://localhost/u/x", []string{"User-Agent", "Mozilla/5.0"}, "")
	_, list := home.call(remoteToken, "url/list", `{}`)
	if got := list["urlPairs"].([]any)[0].(map[string]any)["hitCount"]; got != "6" {
		t.Errorf("after five visits there and one here hitCount is %v", got)
	}
}

func TestReadinessSaysThatThePlatformIsAway(t *testing.T) {
	app := recorder(t, "app")
	m := newMisbehaving(t, app.URL)
	i := startRemote(t, m.URL)
	readiness := func() string {
		t.Helper()
		res, err := http.Get("http://" + i.admin + "/readyz")
		if err != nil {
			t.Fatal(err)
		}
		defer res.Body.Close()
		body, err := io.ReadAll(res.Body)
		if err != nil || res.StatusCode != 200 {
			t.Fatalf("%d %v", res.StatusCode, err)
		}
		return string(body)
	}
	for mode, want := range map[string]string{"good": "ready", "not found": "ready", "401": "degraded", "a dropped connection": "degraded"} {
		m.mode.Store(mode)
		i.get("http://fresh" + strings.ReplaceAll(strings.ToLower(mode), " ", "") + ".app.localhost/")
		if got := readiness(); !strings.HasPrefix(got, want) {
			t.Errorf("%s: %q", mode, got)
		}
	}
}

func TestARefusedConnectionIsAnOutage(t *testing.T) {
	closed := porttest.Closed(t)
	i := startRemote(t, "http://"+closed)
	a := i.do("GET", "http://xyz.app.localhost/", []string{"Accept", "application/json"}, "")
	var decoded map[string]any
	if err := json.Unmarshal([]byte(a.body), &decoded); err != nil || a.status != 503 || decoded["code"] != 503.0 {
		t.Errorf("%d %s (%v)", a.status, a.body, err)
	}
	if strings.Contains(a.body, closed) || strings.Contains(a.body, "connect") && strings.Contains(a.body, "refused") {
		t.Errorf("the page shows internals: %s", a.body)
	}
}

func TestAnIngressWithoutATokenUsesThePublicForm(t *testing.T) {
	home := startIngressIn(t, shortTempDir(t), nil, "--public-resolve")
	app := recorder(t, "app")
	home.mustCall("app/run", fmt.Sprintf(`{"name":"hello","backend":%q}`, app.URL))
	home.mustCall("url/create", `{"id":"x","destinationURL":"https://example.com/"}`)
	if status, _ := home.call("", "app/resolve", `{"id":"hello"}`); status != 401 {
		t.Errorf("/v1/app/resolve without a key: %d", status)
	}
	if a := home.do("POST", "http://localhost/app/list", nil, "{}"); a.status != 404 {
		t.Errorf("/app/list without /v1: %d %s", a.status, a.body)
	}

	i := startIngressIn(t, shortTempDir(t), []string{"INGRESS_BOOTSTRAP_KEY="}, "--api-address", "http://"+home.listen)
	if a := i.get("http://hello.app.localhost/"); a.header.Get("Backend") != "app" {
		t.Errorf("an app: %d %v %s", a.status, a.header, a.body)
	}
	if a := i.get("http://localhost/u/x"); a.header.Get("Location") != "https://example.com/" {
		t.Errorf("a link: %d %v", a.status, a.header)
	}
	if a := i.get("http://nosuch.app.localhost/"); a.header.Get("X-Ingress-Error") != "unknown_app" {
		t.Errorf("an unknown app: %d %v", a.status, a.header)
	}

	shut := startIngress(t)
	if a := shut.do("POST", "http://localhost/app/resolve", nil, `{"id":"hello"}`); a.status != 404 {
		t.Errorf("without --public-resolve: %d %s", a.status, a.body)
	}
}
