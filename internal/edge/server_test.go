package edge

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/coder/websocket"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/m3o/ingress/internal/api"
	"github.com/m3o/ingress/internal/leaktest"
	"github.com/m3o/ingress/internal/upstream"
)

func TestMain(m *testing.M) { leaktest.Main(m) }

func TestFailuresArePagesForPeopleAndJSONForPrograms(t *testing.T) {
	r := newRig(t, nil)
	r.backends["dead"] = Backend{Origin: Remote, URL: *urlOf(t, "http://127.0.0.1:1")}
	r.backends["soon"] = Backend{}
	for _, test := range []struct {
		address string
		status  int
		reason  Reason
	}{
		{"nobody.test/", 404, ReasonUnknownHost},
		{"own.test/nothing", 404, ReasonUnknownPath},
		{"missing.app.test/", 404, ReasonUnknownApp},
		{"missing.fn.test/", 404, ReasonUnknownFunction},
		{"own.test/u/missing", 404, ReasonUnknownLink},
		{"a.b.app.test/", 404, ReasonUnknownHost},
		{"app.test/nothing", 404, ReasonUnknownPath},
		{"soon.app.test/", 503, ReasonDeploying},
		{"dead.app.test/", 502, ReasonBackendRefused},
	} {
		page := r.get(test.address, "Accept", "text/html,application/xhtml+xml,*/*;q=0.8")
		page.wantFailure(t, test.status, test.reason)
		policy := page.Header.Get("Content-Security-Policy")
		if page.Header.Get("Content-Type") != htmlType || !strings.Contains(page.body, string(test.reason)) || !strings.Contains(policy, "default-src 'none'") {
			t.Errorf("%s: %v %s", test.address, page.Header, page.body)
		}
		if strings.Contains(page.body, "127.0.0.1") || strings.Contains(page.body, "://") {
			t.Errorf("%s: the page says too much or loads something: %s", test.address, page.body)
		}
		program := r.get(test.address, "Accept", "application/json")
		program.wantFailure(t, test.status, test.reason)
		var answer api.Error
		if err := json.Unmarshal([]byte(program.body), &answer); err != nil || answer.ID != "ingress."+string(test.reason) {
			t.Errorf("%s: %v %s", test.address, err, program.body)
		}
		head := r.do(http.MethodHead, test.address, "")
		head.wantFailure(t, test.status, test.reason)
		if head.body != "" {
			t.Errorf("%s: HEAD has a body", test.address)
		}
		if test.status == 503 && page.Header.Get("Retry-After") == "" {
			t.Errorf("%s: no Retry-After", test.address)
		}
		if !strings.Contains(r.log.String(), fmt.Sprintf(`"reason":%q`, test.reason)) {
			t.Errorf("%s: the log has no reason %s", test.address, test.reason)
		}
	}
}

// Who names neither JSON nor HTML, as curl does, gets what can be read in a terminal.
func TestFailuresInATerminal(t *testing.T) {
	r := newRig(t, nil)
	for _, accept := range []string{"", "*/*", "text/plain", "image/avif,image/webp,*/*;q=0.8"} {
		res := r.get("missing.app.test/<script>", "Accept", accept)
		res.wantFailure(t, 404, ReasonUnknownApp)
		if res.Header.Get("Content-Type") != textType || res.Header.Get("X-Content-Type-Options") != "nosniff" {
			t.Errorf("%q: %v", accept, res.Header)
		}
		request := res.Header.Get(requestIDHeader)
		if !strings.HasPrefix(res.body, "404 Not Found: ") || !strings.HasSuffix(res.body, "\n") || strings.Contains(res.body, "<") ||
			!strings.Contains(res.body, "Answered by the ingress: unknown_app, request "+request+"\n") || request == "" {
			t.Errorf("%q: %s", accept, res.body)
		}
		if lines := strings.Count(res.body, "\n"); lines != 3 { // what, what to do, and who says so
			t.Errorf("%q: %d lines: %s", accept, lines, res.body)
		}
	}
}

func TestPreferencesOfCallers(t *testing.T) {
	const text, page, program = "text", "page", "JSON"
	for accept, want := range map[string]string{
		"": text, "*/*": text, "text/html": page, "application/json": program, "application/problem+json": program,
		"text/html, application/json;q=0.9": page, "text/html;q=0.5,application/json": program, "application/json;q=0": text,
		"application/json;q=x": program, "APPLICATION/JSON": program, "image/*": text, "application/xhtml+xml": page,
		"text/html;q=0": text, "text/html,application/json": page,
	} {
		got := text
		switch asJSON, asPage := preferences([]string{accept}); {
		case asJSON && asPage:
			got = "both"
		case asJSON:
			got = program
		case asPage:
			got = page
		}
		if got != want {
			t.Errorf("%q: got %s, want %s", accept, got, want)
		}
	}
}

func TestAppsAndFunctionsReachTheirBackends(t *testing.T) {
	r := newRig(t, nil)
	r.backends["hello"] = backend(t, func(w http.ResponseWriter, r *http.Request) {
		fmt.Fprintf(w, "%s %s", r.Method, r.RequestURI)
	})
	for _, host := range []string{"hello.app.test", "hello.fn.test"} {
		if res := r.do("PUT", host+"/u/abc?x=1", "body"); res.StatusCode != 200 || res.body != "PUT /u/abc?x=1" || res.Header.Get(errorHeader) != "" {
			t.Errorf("%s: got %d %q", host, res.StatusCode, res.body)
		}
	}
	delete(r.backends, "hello")
	if err := r.edge.Invalidate(App, "hello"); err != nil {
		t.Fatal(err)
	}
	r.get("hello.app.test/").wantFailure(t, 404, ReasonUnknownApp)
	if res := r.get("hello.fn.test/"); res.StatusCode != 200 {
		t.Errorf("the function went with the app: %d", res.StatusCode)
	}
	if err := r.edge.Invalidate("user", "hello"); err == nil {
		t.Error("an unknown kind was invalidated")
	}
}

func TestAppsCannotSpeakForTheIngress(t *testing.T) {
	r := newRig(t, nil)
	for id, write := range map[string]func(http.ResponseWriter){
		"explicit": func(w http.ResponseWriter) { w.WriteHeader(500) },
		"implicit": func(w http.ResponseWriter) { _, _ = io.WriteString(w, "x") },
	} {
		r.backends[id] = backend(t, func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set(errorHeader, "deploying")
			write(w)
		})
		if res := r.get(id + ".app.test/"); res.Header.Get(errorHeader) != "" {
			t.Errorf("%s: the app's %q got through", id, res.Header.Get(errorHeader))
		}
	}
}

func TestImpatientVisitorsAreOnlyInTheLog(t *testing.T) {
	entered, release := make(chan struct{}), make(chan struct{})
	r := newRig(t, nil, func(c *Config) {
		c.Apps = resolverFunc(func(context.Context, string) (Backend, error) {
			close(entered)
			<-release
			return Backend{}, errOutage
		})
	})
	defer close(release)
	ctx, leave := context.WithCancel(t.Context())
	req, err := http.NewRequestWithContext(ctx, "GET", "http://hello.app.test/", nil)
	if err != nil {
		t.Fatal(err)
	}
	go func() {
		<-entered
		leave()
	}()
	if _, err := r.client.Do(req); !errors.Is(err, context.Canceled) {
		t.Fatalf("got %v", err)
	}
	eventually(t, "the visitor who left is in the log", func() bool { return strings.Contains(r.log.String(), `"reason":"client_gone"`) })
}

// TestAnswersThatBreakOffHaveAReason looks for the reason in the log, where the
// status that was sent says that all is well.
func TestAnswersThatBreakOffHaveAReason(t *testing.T) {
	r := newRig(t, nil)
	begun := make(chan struct{})
	r.backends["broken"] = backend(t, func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Length", "10")
		_, _ = io.WriteString(w, "half")
	})
	r.backends["slow"] = backend(t, func(w http.ResponseWriter, r *http.Request) {
		_ = http.NewResponseController(w).Flush()
		<-r.Context().Done()
	})
	r.backends["mute"] = backend(t, func(_ http.ResponseWriter, r *http.Request) {
		close(begun)
		<-r.Context().Done()
	})
	r.raw("GET / HTTP/1.1\r\nHost: broken.app.test\r\n\r\n")
	slow := dial(t, r.addr)
	fmt.Fprint(slow, "GET / HTTP/1.1\r\nHost: slow.app.test\r\n\r\n")
	if _, err := slow.Read(make([]byte, 1)); err != nil {
		t.Fatal(err)
	}
	slow.Close()
	mute := dial(t, r.addr)
	fmt.Fprint(mute, "GET / HTTP/1.1\r\nHost: mute.app.test\r\n\r\n")
	<-begun
	mute.Close()
	for host, want := range map[string]string{
		"broken": `"status":200,"bytes":4,.*"reason":"backend_broken"`, "slow": `"status":200,"bytes":0,.*"reason":"client_gone"`,
		"mute": `"status":499,"bytes":0,.*"reason":"client_gone"`,
	} {
		line := regexp.MustCompile(`"host":"` + host + `.app.test".*` + want)
		eventually(t, host+" is in the log", func() bool { return line.MatchString(r.log.String()) })
	}
}

// resolverFunc is a Resolver made of a function.
type resolverFunc func(context.Context, string) (Backend, error)

func (f resolverFunc) Resolve(ctx context.Context, id string) (Backend, error) { return f(ctx, id) }

func TestIndexListsTheRoutes(t *testing.T) {
	r := newRig(t, nil)
	res := r.get("own.test:8080/")
	for _, want := range []string{"http://own.test:8080/v1/", "http://{id}.app.test:8080/", "http://{id}.fn.test:8080/", "http://own.test:8080/u/{id}", "http://user.test:8080/"} {
		if !strings.Contains(res.body, want) {
			t.Errorf("the index lacks %s: %s", want, res.body)
		}
	}
	for address, want := range map[string]string{"app.test/": ".app.test", "fn.test/": ".fn.test", "own.test/robots.txt": "Disallow: /v1/"} {
		if res := r.get(address); res.StatusCode != 200 || !strings.Contains(res.body, want) {
			t.Errorf("%s: got %d %s", address, res.StatusCode, res.body)
		}
	}
	if res := r.get("own.test/favicon.ico"); res.StatusCode != 204 {
		t.Errorf("favicon: got %d", res.StatusCode)
	}
	r.do("POST", "own.test/", "x").wantFailure(t, 405, ReasonMethodNotAllowed)
}

func TestHostsChangeWhileRunning(t *testing.T) {
	r := newRig(t, nil)
	r.get("hello.m3o.app/").wantFailure(t, 404, ReasonUnknownHost)
	if err := r.edge.SetHosts(Hosts{Own: []string{"own.test"}, AppsDomain: "m3o.app", FunctionsDomain: "m3o.app"}); err == nil {
		t.Error("equal domains were taken")
	}
	r.get("hello.app.test/").wantFailure(t, 404, ReasonUnknownApp)
	if err := r.edge.SetHosts(Hosts{Own: []string{"own.test"}, AppsDomain: "m3o.app"}); err != nil {
		t.Fatal(err)
	}
	r.get("hello.m3o.app/").wantFailure(t, 404, ReasonUnknownApp)
	r.get("hello.app.test/").wantFailure(t, 404, ReasonUnknownHost)
}

func TestAPrefixThatLeadsNowhereIsWarnedOf(t *testing.T) {
	r := newRig(t, nil)
	for prefix, want := range map[string]bool{
		"": false, "https://own.test/u/": false, "https://own.test/url/": false,
		"https://own.test/": true, "https://own.test/s/": true, "https://own.test/u": true, "https://own.test/u/x/": true,
	} {
		before := r.log.String()
		if err := r.edge.SetHosts(Hosts{Own: []string{"own.test"}, URLPrefix: prefix}); err != nil {
			t.Fatal(err)
		}
		if got := strings.Contains(strings.TrimPrefix(r.log.String(), before), `"url-prefix":`); got != want {
			t.Errorf("%q: warned %t, want %t", prefix, got, want)
		}
	}
}

func TestPanicsBecomeFailures(t *testing.T) {
	r := newRig(t, func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case "/v1/panic/late":
			w.WriteHeader(200)
			_ = http.NewResponseController(w).Flush()
			panic("secret detail")
		case "/v1/panic/abort":
			panic(http.ErrAbortHandler)
		}
		w.Header().Set("Content-Length", "1000")
		panic("secret detail")
	})
	res := r.get("own.test/v1/panic/early")
	res.wantFailure(t, 500, ReasonInternal)
	if strings.Contains(res.body, "secret detail") || !strings.Contains(r.log.String(), "secret detail") {
		t.Errorf("body %s, log %s", res.body, r.log)
	}
	for _, path := range []string{"late", "abort"} {
		answer := r.raw("GET /v1/panic/" + path + " HTTP/1.1\r\nHost: own.test\r\n\r\n")
		if strings.HasSuffix(answer, "0\r\n\r\n") {
			t.Errorf("%s: half an answer looks whole: %q", path, answer)
		}
	}
	if n := strings.Count(r.log.String(), `"msg":"request"`); n != 3 {
		t.Errorf("%d lines for 3 requests: %s", n, r.log)
	}
}

func TestRawRequestsThatMakeNoSense(t *testing.T) {
	r := newRig(t, nil)
	r.backends["hello"] = backend(t, func(http.ResponseWriter, *http.Request) { t.Error("the backend was reached") })
	for request, want := range map[string]string{
		"GET / HTTP/1.1\r\nHost: hello..app.test\r\n\r\n":                                          "400",
		"GET / HTTP/1.1\r\nHost: hello.app.test:port\r\n\r\n":                                      "400",
		"GET / HTTP/1.1\r\n\r\n":                                                                   "400",
		"GET / HTTP/1.0\r\n\r\n":                                                                   "400",
		"TRACE / HTTP/1.1\r\nHost: hello.app.test\r\n\r\n":                                         "405",
		"CONNECT hello.app.test:443 HTTP/1.1\r\nHost: hello.app.test\r\n\r\n":                      "405",
		"GET /" + strings.Repeat("a", 16<<10) + " HTTP/1.1\r\nHost: hello.app.test\r\n\r\n":        "414",
		"GET / HTTP/1.1\r\nHost: hello.app.test\r\nX: " + strings.Repeat("a", 80<<10) + "\r\n\r\n": "431",
		"GET http://evilapp.test/ HTTP/1.1\r\nHost: hello.app.test\r\n\r\n":                        "400",
		"GET / HTTP/1.1\r\nHost: evilapp.test\r\nX-Forwarded-Host: hello.app.test\r\n\r\n":         "404",
		"nonsense\r\n\r\n": "400",
	} {
		request = strings.Replace(request, "\r\n\r\n", "\r\nConnection: close\r\n\r\n", 1)
		if answer := r.raw(request); !strings.HasPrefix(answer, "HTTP/1.1 "+want) && !strings.HasPrefix(answer, "HTTP/1.0 "+want) {
			t.Errorf("%.60q: got %.60q, want %s", request, answer, want)
		}
	}
}

func TestOptionsOfTheServerAreTheApps(t *testing.T) {
	r := newRig(t, nil)
	r.backends["hello"] = Backend{URL: *urlOf(t, "http://"+rawBackend(t, func(c net.Conn, in *bufio.Reader) {
		line, _ := in.ReadString('\n')
		fmt.Fprintf(c, "HTTP/1.1 200 OK\r\nContent-Length: %d\r\nConnection: close\r\n\r\n%s", len(line), line)
	}))}
	for host, want := range map[string]string{"hello.app.test": "OPTIONS * HTTP/1.1\r\n", "own.test": "HTTP/1.1 404", "user.test": "HTTP/1.1 405"} {
		if answer := r.raw("OPTIONS * HTTP/1.1\r\nHost: " + host + "\r\nConnection: close\r\n\r\n"); !strings.Contains(answer, want) {
			t.Errorf("%s: got %q, want %q", host, answer, want)
		}
	}
}

func TestSlowHeadersAreCutOff(t *testing.T) {
	r := newRig(t, nil, func(c *Config) { c.Limits.ReadHeader = 50 * time.Millisecond })
	if answer := r.raw("GET / HTTP/1.1\r\nHost: own"); strings.Contains(answer, "200 OK") {
		t.Errorf("got %q", answer)
	}
}

func TestMetricsCountByRouteAndReason(t *testing.T) {
	registry := prometheus.NewRegistry()
	r := newRig(t, nil, func(c *Config) { c.Metrics = registry })
	r.links["abc"] = "https://example.com/"
	r.get("own.test/u/abc")
	r.get("own.test/u/missing")
	eventually(t, "the requests are counted", func() bool {
		families, err := registry.Gather()
		if err != nil {
			t.Fatal(err)
		}
		text := fmt.Sprint(families)
		return strings.Contains(text, `value:"3xx"`) && strings.Contains(text, `value:"unknown_link"`) && strings.Contains(text, `value:"link"`)
	})
	families, err := registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, family := range families {
		if n := family.GetMetric()[0].GetCounter().GetValue(); family.GetName() == "ingress_link_hits_total" && n != 1 {
			t.Errorf("%v hits are counted, want 1", n)
		}
	}
}

func TestShutdownWaitsForWebSockets(t *testing.T) {
	for _, patient := range []bool{true, false} {
		t.Run(fmt.Sprint("patient=", patient), func(t *testing.T) { shutdownWithWebSocket(t, patient) })
	}
}

// echoOnce answers one WebSocket message with itself and closes cleanly.
func echoOnce(t *testing.T, opened chan<- struct{}, patient bool) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		c, err := websocket.Accept(w, r, nil)
		if err != nil {
			t.Error(err)
			return
		}
		close(opened)
		kind, message, err := c.Read(context.Background())
		if err == nil {
			err = errors.Join(c.Write(context.Background(), kind, message), c.Close(websocket.StatusNormalClosure, ""))
		}
		if patient && err != nil {
			t.Error(err)
		}
	}
}

func shutdownWithWebSocket(t *testing.T, patient bool) {
	opened := make(chan struct{})
	e, err := New(Config{Hosts: testHosts, Transport: newTransport(t, upstream.Options{}), Platform: echoOnce(t, opened, patient)})
	if err != nil {
		t.Fatal(err)
	}
	defer e.Close()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s := NewServer(e)
	ended := make(chan error, 1)
	go func() { ended <- s.Serve(l) }()
	client, _, err := websocket.Dial(t.Context(), "ws://"+l.Addr().String()+"/v1/helloworld/stream", &websocket.DialOptions{Host: "own.test"})
	if err != nil {
		t.Fatal(err)
	}
	defer client.CloseNow()
	<-opened
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	down := make(chan error, 1)
	go func() { down <- s.Shutdown(ctx) }()
	if err := <-ended; err != nil {
		t.Errorf("serve: %v", err)
	}
	if !patient {
		cancel()
		if err := <-down; !errors.Is(err, context.Canceled) {
			t.Errorf("shutdown: %v", err)
		}
		if _, _, err := client.Read(t.Context()); err == nil {
			t.Error("the WebSocket is still open")
		}
		return
	}
	select {
	case err := <-down:
		t.Fatalf("shut down with a WebSocket open: %v", err)
	default:
	}
	if err := client.Write(t.Context(), websocket.MessageText, []byte("still here")); err != nil {
		t.Fatal(err)
	}
	if _, message, err := client.Read(t.Context()); err != nil || string(message) != "still here" {
		t.Errorf("got %q, %v", message, err)
	}
	if _, _, err := client.Read(t.Context()); websocket.CloseStatus(err) != websocket.StatusNormalClosure {
		t.Errorf("not closed cleanly: %v", err)
	}
	if err := <-down; err != nil {
		t.Errorf("shutdown: %v", err)
	}
}

func TestProxiedUpgradesAreCountedAndFreed(t *testing.T) {
	r := newRig(t, nil)
	r.backends["echo"] = backend(t, func(w http.ResponseWriter, r *http.Request) {
		c, err := websocket.Accept(w, r, nil)
		if err != nil {
			t.Error(err)
			return
		}
		defer c.CloseNow()
		kind, message, err := c.Read(r.Context())
		if err == nil {
			_ = c.Write(r.Context(), kind, message)
		}
	})
	client, _, err := websocket.Dial(t.Context(), "ws://"+r.addr+"/", &websocket.DialOptions{Host: "echo.app.test"})
	if err != nil {
		t.Fatal(err)
	}
	count := func() int {
		r.edge.tunnels.mu.Lock()
		defer r.edge.tunnels.mu.Unlock()
		return len(r.edge.tunnels.open)
	}
	if count() != 1 {
		t.Errorf("%d tunnels are counted, want 1", count())
	}
	if err := client.Write(t.Context(), websocket.MessageText, []byte("x")); err != nil {
		t.Fatal(err)
	}
	if _, _, err := client.Read(t.Context()); err != nil {
		t.Error(err)
	}
	client.CloseNow()
	eventually(t, "nobody is connected", func() bool { return count() == 0 })
	// The echo's frame, but not the headers.
	eventually(t, "the WebSocket is in the log", func() bool { return strings.Contains(r.log.String(), `"status":101,"bytes":3,`) })
}

// hijacker is a ResponseWriter that is asked for its connection.
type hijacker struct {
	http.ResponseWriter
	hijack func() net.Conn
}

func (h hijacker) Hijack() (net.Conn, *bufio.ReadWriter, error) { return h.hijack(), nil, nil }

func TestNobodyWaitsPastAConnectionThatIsBeingTaken(t *testing.T) {
	tunnels := newTunnels()
	waited := make(chan error, 1)
	mine, theirs := net.Pipe()
	defer theirs.Close()
	taken, _, err := tunnels.take(hijacker{hijack: func() net.Conn {
		go func() { waited <- tunnels.wait(t.Context()) }()
		if tunnels.mu.TryLock() {
			t.Error("a shutdown could find no connection now")
			tunnels.mu.Unlock()
		}
		return mine
	}}, false)
	if err != nil {
		t.Fatal(err)
	}
	tunnels.closeAll()
	if _, err := theirs.Read(make([]byte, 1)); err != io.EOF {
		t.Errorf("the connection is still open: %v", err)
	}
	tunnels.remove(taken)
	if err := <-waited; err != nil {
		t.Error(err)
	}
}

func TestConfigsThatMakeNoSense(t *testing.T) {
	good := Config{Hosts: testHosts, Platform: http.NotFoundHandler(), Transport: http.DefaultTransport}
	for name, change := range map[string]func(*Config){
		"Platform":              func(c *Config) { c.Platform = nil },
		"PlatformURL":           func(c *Config) { c.PlatformURL = urlOf(t, "http://a.test") },
		"Transport":             func(c *Config) { c.Transport = nil },
		"PublicResolve":         func(c *Config) { c.Platform, c.PlatformURL, c.PublicResolve = nil, urlOf(t, "http://a.test"), true },
		"limit":                 func(c *Config) { c.Limits.BodyBytes = -1 },
		"verify-redirect-hosts": func(c *Config) { c.VerifyRedirectHosts = []string{"a b"} },
		"apps-domain":           func(c *Config) { c.Hosts.AppsDomain = "a b" },
	} {
		c := good
		change(&c)
		if _, err := New(c); err == nil || !strings.Contains(err.Error(), name) {
			t.Errorf("%s: got %v", name, err)
		}
	}
}

func TestResponsesStreamThroughTheChain(t *testing.T) {
	next := make(chan struct{})
	r := newRig(t, func(w http.ResponseWriter, _ *http.Request) {
		_, _ = io.WriteString(w, "one\n")
		if err := http.NewResponseController(w).Flush(); err != nil {
			t.Error(err)
		}
		<-next
		_, _ = io.WriteString(w, "two\n")
	})
	req, err := http.NewRequestWithContext(t.Context(), "GET", "http://own.test/v1/helloworld/Stream", nil)
	if err != nil {
		t.Fatal(err)
	}
	res, err := r.client.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	body := bufio.NewReader(res.Body)
	if line, err := body.ReadString('\n'); line != "one\n" {
		t.Fatalf("got %q, %v", line, err)
	}
	close(next)
	if line, err := body.ReadString('\n'); line != "two\n" {
		t.Errorf("got %q, %v", line, err)
	}
}
