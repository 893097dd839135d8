package main_test

import (
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/chromedp/cdproto/cdp"
	"github.com/chromedp/cdproto/emulation"
	cdplog "github.com/chromedp/cdproto/log"
	"github.com/chromedp/cdproto/runtime"
	"github.com/chromedp/chromedp"
	"github.com/coder/websocket"

	"github.com/m3o/ingress/internal/skiptest"
)

// The program as a visitor's browser sees it. Chromium itself knows that every
// name under localhost is this machine.

// browser is a running Chromium with one tab.
type browser struct {
	t   *testing.T
	ctx context.Context // the tab's

	mu         sync.Mutex
	complaints []string
}

// newBrowser starts Chromium with a profile of its own; it ends with the test.
func newBrowser(t *testing.T) *browser {
	t.Helper()
	home, err := os.MkdirTemp("", "browser")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), deadline)
	ctx, cancelAllocator := chromedp.NewExecAllocator(ctx,
		chromedp.ExecPath(chromium(t)),
		chromedp.UserDataDir(filepath.Join(home, "profile")),
		chromedp.Env("HOME="+home, "TMPDIR="+home),
		chromedp.WSURLReadTimeout(deadline), // 20 s may be too short for a first start on a slow machine
		chromedp.Headless, chromedp.NoSandbox, chromedp.DisableGPU, chromedp.NoFirstRun, chromedp.NoDefaultBrowserCheck,
		chromedp.Flag("disable-quic", true),
		chromedp.Flag("disable-background-networking", true),
		chromedp.Flag("disable-component-update", true),
		chromedp.Flag("disable-sync", true),
		chromedp.Flag("disable-dev-shm-usage", true),
	)
	ctx, cancelTab := chromedp.NewContext(ctx)
	b := &browser{t: t, ctx: ctx}
	t.Cleanup(func() {
		cancelTab()
		cancelAllocator() // waits for the process
		cancel()
		removeAll(t, home)
	})
	if err := chromedp.Listen(ctx, b.hear); err != nil {
		t.Fatalf("start Chromium: %v", err)
	}
	return b
}

// removeAll removes what Chromium's helper processes, which outlive it by a
// moment, may still be writing to.
func removeAll(t *testing.T, dir string) {
	t.Helper()
	for end := time.Now().Add(deadline); ; {
		err := os.RemoveAll(dir)
		if err == nil {
			return
		}
		if time.Now().After(end) {
			t.Error(err)
			return
		}
	}
}

func chromium(t *testing.T) string {
	t.Helper()
	for _, name := range []string{"chromium", "chromium-browser", "google-chrome"} {
		if path, err := exec.LookPath(name); err == nil {
			return path
		}
	}
	skiptest.Skip(t, "there is no chromium here")
	return ""
}

// hear notes what a developer would see in red in the browser's console: errors
// of scripts, and what a Content-Security-Policy forbade. That a page has an
// error's status is not among them.
func (b *browser) hear(event any) {
	var complaint string
	switch e := event.(type) {
	case *cdplog.EventEntryAdded:
		if e.Entry.Source != cdplog.EntrySourceNetwork && (e.Entry.Level == cdplog.EntryLevelError || e.Entry.Level == cdplog.EntryLevelWarning) {
			complaint = e.Entry.Text
		}
	case *runtime.EventExceptionThrown:
		complaint = e.ExceptionDetails.Text
	case *runtime.EventConsoleAPICalled:
		if e.Type == runtime.ConsoleAPICalledTypeError || e.Type == runtime.ConsoleAPICalledTypeWarning {
			complaint = fmt.Sprintf("console.%s in %d arguments", e.Type, len(e.Args))
		}
	}
	if complaint != "" {
		b.mu.Lock()
		defer b.mu.Unlock()
		b.complaints = append(b.complaints, complaint)
	}
}

// heard returns the complaints since the last call.
func (b *browser) heard() []string {
	b.mu.Lock()
	defer b.mu.Unlock()
	complaints := b.complaints
	b.complaints = nil
	return complaints
}

// open goes to an address and returns the status of what it shows.
func (b *browser) open(address string) int {
	b.t.Helper()
	res, err := chromedp.RunResponse(b.ctx, chromedp.Navigate(address))
	if err != nil {
		b.t.Fatalf("open %s: %v", address, err)
	}
	return int(res.Status)
}

// ask evaluates a script in the page, waits for its promise, and returns what
// comes of it.
func ask[T any](b *browser, script string) T {
	b.t.Helper()
	result, err := chromedp.Run(b.ctx, chromedp.Evaluate[T](script, chromedp.EvalAwaitPromise))
	if err != nil {
		b.t.Fatalf("%s: %v", script, err)
	}
	return result
}

// shown is what a page looks like to the test.
type shown struct {
	Title, Lang, Text string
	Headings          int
	Wide              bool     // it must be scrolled sideways
	Styled            bool     // its style sheet was accepted
	Faint             []string // texts whose contrast is below WCAG's 4.5
}

// look describes the page that is open.
const look = `(() => {
	const channel = c => (c /= 255) <= 0.04045 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4
	const light = rgb => { const [r, g, b] = rgb.map(channel); return 0.2126 * r + 0.7152 * g + 0.0722 * b }
	const parse = color => color.match(/[\d.]+/g).map(Number)
	const ground = e => { const c = parse(getComputedStyle(e).backgroundColor); return c[3] === 0 ? ground(e.parentElement) : c.slice(0, 3) }
	const contrast = e => {
		const a = light(parse(getComputedStyle(e).color).slice(0, 3)), b = light(ground(e))
		return (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05)
	}
	const texts = [...document.body.querySelectorAll("*")].filter(e => [...e.childNodes].some(n => n.nodeType === 3 && n.data.trim()))
	return {
		Title: document.title, Lang: document.documentElement.lang, Text: document.body.innerText,
		Headings: document.querySelectorAll("h1").length,
		Wide: document.documentElement.scrollWidth > innerWidth,
		Styled: document.styleSheets.length === 1 && getComputedStyle(document.querySelector("main")).boxSizing === "border-box",
		Faint: texts.filter(e => contrast(e) < 4.5).map(e => e.textContent),
	}
})()`

// screens are the sizes and colour schemes pages are looked at in.
var screens = map[string]chromedp.Action[chromedp.Void]{
	"desktop, light": chromedp.Steps(chromedp.EmulateViewport(1280, 800), scheme("light")),
	"phone, dark":    chromedp.Steps(chromedp.EmulateViewport(360, 740, chromedp.EmulateMobile), scheme("dark")),
}

func scheme(name string) chromedp.Action[chromedp.Void] {
	features := []*emulation.MediaFeature{{Name: "prefers-color-scheme", Value: name}}
	return chromedp.Func(func(ctx context.Context, tab *chromedp.Target) error {
		_, err := cdp.Call(ctx, tab, emulation.SetEmulatedMedia, emulation.SetEmulatedMediaParams{Features: features})
		return err
	})
}

func TestPagesInABrowser(t *testing.T) {
	b := newBrowser(t)
	i := startIngress(t)
	_, port, _ := strings.Cut(i.listen, ":")
	i.mustCall("app/run", `{"name":"gone","backend":"http://127.0.0.1:9"}`)
	i.mustCall("url/create", `{"id":"docs","destinationURL":"https://example.com/a/long/path?with=a&long=query-that-goes-on-and-on-and-on"}`)
	for screen, emulate := range screens {
		if err := chromedp.Do(b.ctx, emulate); err != nil {
			t.Fatal(err)
		}
		for _, test := range []struct {
			host, path  string
			status      int
			title, text string
		}{
			{"localhost", "/", 200, "M3O Ingress", "http://{id}.app.localhost:" + port + "/"},
			{"localhost", "/v1/", 200, "API reference", "POST /v1/helloworld/Call"},
			{"app.localhost", "/", 200, "Apps live here", ".app.localhost"},
			{"fn.localhost", "/", 200, "Functions live here", ".fn.localhost"},
			{"localhost", "/u/docs+", 200, "Where this link leads", "https://example.com/a/long/path?with=a"},
			{"localhost", "/nosuch", 404, "There is nothing at this address", "unknown_path"},
			{"localhost", "/u/nosuch", 404, "There is no link at this address", "unknown_link"},
			{"nosuch.localhost", "/", 404, "Nothing is served for this host name", "unknown_host"},
			{"nosuch.app.localhost", "/", 404, "There is no app at this address", "unknown_app"},
			{"nosuch.fn.localhost", "/", 404, "There is no function at this address", "unknown_function"},
			{"gone.app.localhost", "/", 502, "The backend could not be reached", "backend_refused"},
			{"user.localhost", "/", 200, "E-mail addresses are confirmed here", ""},
			{"user.localhost", "/verify", 400, "This address confirms e-mail addresses, and its token is missing", "bad_request"},
			{"user.localhost", "/?token=nosuch", 400, "This link is not valid, or not any more", "verification_failed"},
		} {
			t.Run(screen+"/"+test.host+test.path, func(t *testing.T) {
				b.t = t
				if status := b.open("http://" + test.host + ":" + port + test.path); status != test.status {
					t.Errorf("status %d, want %d", status, test.status)
				}
				page := ask[shown](b, look)
				if page.Title != test.title || !strings.Contains(page.Text, test.text) {
					t.Errorf("want %q and %q, got %q:\n%s", test.title, test.text, page.Title, page.Text)
				}
				if page.Lang != "en" || page.Headings != 1 || page.Wide || !page.Styled || len(page.Faint) > 0 {
					page.Text = ""
					t.Errorf("%+v", page)
				}
				if complaints := b.heard(); len(complaints) > 0 {
					t.Errorf("the console says %q", complaints)
				}
			})
		}
	}
}

func TestLinksInABrowser(t *testing.T) {
	b := newBrowser(t)
	i := startIngress(t)
	b.open("http://" + i.listen + "/")
	click := func(selector string) string {
		t.Helper()
		href := ask[string](b, `document.querySelector("`+selector+`").href`)
		if _, err := chromedp.RunResponse(b.ctx, chromedp.Click(chromedp.CSS(selector))); err != nil {
			t.Fatalf("click %s: %v", selector, err)
		}
		location := ask[string](b, "location.href")
		if location != href {
			t.Errorf("the link to %s led to %s", href, location)
		}
		return location
	}
	if at := click("main a"); at != "http://"+i.listen+"/v1/" {
		t.Errorf("the index leads to %s", at)
	}
	anchors := ask[int](b, `document.querySelectorAll("a[href^='#']").length`)
	dangling := ask[[]string](b, `[...document.querySelectorAll("a[href^='#']")].filter(a => !document.getElementById(a.hash.slice(1))).map(a => a.hash)`)
	if anchors < 40 || len(dangling) > 0 {
		t.Errorf("%d anchors, of which %q lead nowhere", anchors, dangling)
	}
	click("header a")
	if version := ask[string](b, "JSON.parse(document.body.innerText).openapi"); !strings.HasPrefix(version, "3.") {
		t.Errorf("it is no OpenAPI 3 document, but of version %q", version)
	}
	if complaints := b.heard(); len(complaints) > 0 {
		t.Errorf("the console says %q", complaints)
	}
}

// runApp serves a handler as an app and returns its address.
func runApp(t *testing.T, i *ingress, name string, h http.Handler) string {
	t.Helper()
	backend := httptest.NewServer(h)
	t.Cleanup(backend.Close)
	i.mustCall("app/run", fmt.Sprintf(`{"name":%q,"backend":%q}`, name, backend.URL))
	return "http://" + name + ".app.localhost" + strings.TrimPrefix(i.listen, "127.0.0.1") + "/"
}

// blank is a page for scripts to run in.
func blank(w http.ResponseWriter, _ *http.Request) {
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	fmt.Fprint(w, `<!doctype html><html lang="en"><title>app</title><link rel="icon" href="data:,"><h1>app</h1></html>`)
}

// serveEcho repeats each message of a WebSocket until the visitor closes it.
func serveEcho(t *testing.T) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		conn, err := websocket.Accept(w, r, &websocket.AcceptOptions{OriginPatterns: []string{"hello.app.localhost:*"}})
		if err != nil {
			t.Errorf("accept a WebSocket: %v", err)
			return
		}
		for {
			kind, message, err := conn.Read(r.Context())
			if err != nil {
				if websocket.CloseStatus(err) != websocket.StatusNormalClosure {
					t.Errorf("the WebSocket ended with %v", err)
				}
				return
			}
			if err := conn.Write(r.Context(), kind, append([]byte("echo "), message...)); err != nil {
				t.Error(err)
				return
			}
		}
	}
}

// serveEvents sends an event, and the next one only after the page said that it
// has the one before: nothing in between may wait for more.
func serveEvents(seen <-chan struct{}) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "text/event-stream")
		for n := range 3 {
			fmt.Fprintf(w, "data: event %d\n\n", n)
			if err := http.NewResponseController(w).Flush(); err != nil {
				return
			}
			select {
			case <-seen:
			case <-r.Context().Done():
				return
			}
		}
	}
}

func TestStreamsOfAnAppInABrowser(t *testing.T) {
	b := newBrowser(t)
	i := startIngress(t)
	seen := make(chan struct{}, 3)
	mux := http.NewServeMux()
	mux.HandleFunc("GET /", blank)
	mux.HandleFunc("GET /echo", serveEcho(t))
	mux.HandleFunc("GET /events", serveEvents(seen))
	mux.HandleFunc("POST /seen", func(http.ResponseWriter, *http.Request) { seen <- struct{}{} })
	if status := b.open(runApp(t, i, "hello", mux)); status != 200 {
		t.Fatalf("status %d", status)
	}
	echoes := ask[[]string](b, `new Promise((resolve, reject) => {
		const got = [], socket = new WebSocket("ws://" + location.host + "/echo")
		socket.onopen = () => socket.send("one")
		socket.onmessage = e => { got.push(e.data); got.length < 3 ? socket.send("größer") : socket.close(1000) }
		socket.onclose = e => resolve([...got, e.code + " " + e.wasClean])
		socket.onerror = () => reject(new Error("the WebSocket failed"))
	})`)
	if got := strings.Join(echoes, ", "); got != "echo one, echo größer, echo größer, 1000 true" {
		t.Errorf("the WebSocket got %s", got)
	}
	events := ask[[]string](b, `new Promise((resolve, reject) => {
		const got = [], source = new EventSource("/events")
		source.onmessage = e => {
			got.push(e.data)
			if (got.length === 3) { source.close(); resolve(got) }
			fetch("/seen", {method: "POST"})
		}
		source.onerror = () => reject(new Error("the event stream failed"))
	})`)
	if got := strings.Join(events, ", "); got != "event 0, event 1, event 2" {
		t.Errorf("the event stream got %s", got)
	}
	if complaints := b.heard(); len(complaints) > 0 {
		t.Errorf("the console says %q", complaints)
	}
}

// cookieApp sets cookies for itself and for everything beside it, and shows those
// it gets.
func cookieApp(w http.ResponseWriter, r *http.Request) {
	if r.URL.Path == "/set" {
		for _, cookie := range []string{"own=1", "dotted=1; Domain=.app.localhost", "wide=1; Domain=app.localhost", "all=1; Domain=localhost; Path=/"} {
			w.Header().Add("Set-Cookie", cookie)
		}
	}
	w.Header().Set("Content-Type", "text/html")
	fmt.Fprintf(w, `<!doctype html><link rel="icon" href="data:,"><p>%s</p>`, r.Header.Get("Cookie"))
}

func TestCookiesOfAnAppStayWithItInABrowser(t *testing.T) {
	b := newBrowser(t)
	i := startIngress(t)
	first := runApp(t, i, "first", http.HandlerFunc(cookieApp))
	second := runApp(t, i, "second", http.HandlerFunc(cookieApp))
	cookies := func(address string) string {
		t.Helper()
		if status := b.open(address); status != 200 {
			t.Fatalf("%s: status %d", address, status)
		}
		return ask[string](b, `document.querySelector("p").innerText`)
	}
	cookies(first + "set")
	if got := cookies(first); !strings.Contains(got, "own=1") || !strings.Contains(got, "dotted=1") {
		t.Errorf("the app gets back %q", got)
	}
	for _, address := range []string{second, second + "set"} {
		if got := cookies(address); got != "" {
			t.Errorf("its sibling sees %q", got)
		}
	}
}

// TestTheAPIFromAnotherOriginInABrowser calls the API from an app's page, which
// works only with the right CORS headers on preflights, replies and failures.
func TestTheAPIFromAnotherOriginInABrowser(t *testing.T) {
	b := newBrowser(t)
	i := startIngress(t)
	b.open(runApp(t, i, "hello", http.HandlerFunc(blank)))
	for name, test := range map[string]struct{ path, options, want string }{
		"JSON with a key": {"/v1/helloworld/Call",
			`{method: "POST", headers: {"Authorization": "Bearer KEY", "Content-Type": "application/json"}, body: '{"name":"Jane"}'}`,
			`200 {"message":"Hello Jane"}`},
		"parameters with a key": {"/api/helloworld/Call?name=Jane", `{headers: {"Authorization": "Bearer KEY", "Micro-Namespace": "x"}}`, `200 {"message":"Hello Jane"}`},
		"PUT":                   {"/v1/helloworld/Call", `{method: "PUT", headers: {"Authorization": "Bearer KEY", "Content-Type": "application/json"}, body: '{"name":"Jane"}'}`, `200 {"message":"Hello Jane"}`},
		"no preflight":          {"/api/helloworld/Call?name=Jane&api_key=KEY", `{}`, `200 {"message":"Hello Jane"}`},
		"a bad key":             {"/v1/helloworld/Call", `{headers: {"Authorization": "Bearer bad"}}`, `401 {"id":"v1","code":401,"detail":"Unauthorized","status":"Unauthorized"}`},
		"the ingress's failure": {"/api/helloworld", `{headers: {"Authorization": "Bearer KEY"}}`, `400 bad_request`},
	} {
		t.Run(name, func(t *testing.T) {
			b.t = t
			got := ask[string](b, strings.ReplaceAll(fmt.Sprintf(`fetch("http://localhost:" + location.port + %q, %s).then(async r =>
				r.status + " " + (r.headers.get("X-Ingress-Error") || await r.text()))`, test.path, test.options), "KEY", bootstrapKey))
			if strings.TrimSpace(got) != test.want {
				t.Errorf("got %s, want %s", got, test.want)
			}
		})
	}
	if complaints := b.heard(); len(complaints) > 0 {
		t.Errorf("the console says %q", complaints)
	}
}
