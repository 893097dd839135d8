package edge

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"net/url"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/coder/websocket"
	"github.com/google/go-cmp/cmp"
	"go.uber.org/goleak"

	"github.com/m3o/ingress/internal/upstream"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const patience = 10 * time.Second

// testKey is the platform's key in these tests.
const testKey = "m3o_platformkey"

// newTestProxy returns a proxy over a real transport, changed by the options.
func newTestProxy(t testing.TB, options ...func(*proxyConfig)) *proxy {
	transport := upstream.New(upstream.Options{})
	t.Cleanup(transport.CloseIdleConnections)
	c := proxyConfig{
		Transport:     transport,
		Registered:    transport,
		TenantDomains: func() []string { return []string{"app.example.com", "fn.example.net"} },
		IsPlatformKey: func(s string) bool { return s == testKey },
	}
	for _, option := range options {
		option(&c)
	}
	return newProxy(c)
}

// newFront returns a server whose every request takes the handler. It renders
// failures barely, as errors.go does at length.
func newFront(t testing.TB, serve handler) *httptest.Server {
	front := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if f := serve(w, r); f != nil {
			w.Header().Set("X-Ingress-Error", string(f.reason))
			w.WriteHeader(f.status)
		}
	}))
	front.Config.ErrorLog = slog.NewLogLogger(slog.DiscardHandler, slog.LevelError)
	front.Start()
	t.Cleanup(front.Close)
	return front
}

// newAppFront returns a front for one backend.
func newAppFront(t testing.TB, p *proxy, b Backend) *httptest.Server {
	return newFront(t, func(w http.ResponseWriter, r *http.Request) *failure {
		return p.serve(w, r, target{Backend: b})
	})
}

func newBackend(t testing.TB, h http.HandlerFunc) *httptest.Server {
	backend := httptest.NewUnstartedServer(h)
	backend.Config.ErrorLog = slog.NewLogLogger(slog.DiscardHandler, slog.LevelError)
	backend.Start()
	t.Cleanup(backend.Close)
	return backend
}

func mustURL(t testing.TB, s string) url.URL {
	t.Helper()
	u, err := url.Parse(s)
	if err != nil {
		t.Fatal(err)
	}
	return *u
}

func preserving(t testing.TB, address string) Backend {
	return Backend{URL: mustURL(t, address), PreserveHost: true}
}

// rawBackend accepts connections and gives each to serve in a goroutine of its own.
func rawBackend(t testing.TB, serve func(c net.Conn, in *bufio.Reader)) string {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = listener.Close() })
	go func() {
		for {
			c, err := listener.Accept()
			if err != nil {
				return
			}
			go func() {
				defer c.Close()
				serve(c, bufio.NewReader(c))
			}()
		}
	}()
	return listener.Addr().String()
}

// dial opens a connection that cannot block a test for ever.
func dial(t testing.TB, address string) net.Conn {
	t.Helper()
	c, err := net.Dial("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	if err := c.SetDeadline(time.Now().Add(patience)); err != nil {
		t.Fatal(err)
	}
	return c
}

// addressOf returns the host and port of a test server.
func addressOf(s *httptest.Server) string { return s.Listener.Addr().String() }

// seen is what a backend saw of a request.
type seen struct {
	Method, Target, Host, Body string
	Header, Trailer            http.Header
	Length                     int64
	Encoding                   []string
}

// got is what a client got for an answer.
type got struct {
	Status          int
	Body            string
	Header, Trailer http.Header
	Length          int64
	Encoding        []string
	Interim         []string
}

// exchange sends raw bytes and returns the answer.
func exchange(t *testing.T, address, request string) got {
	t.Helper()
	c := dial(t, address)
	if _, err := io.WriteString(c, request); err != nil {
		t.Fatal(err)
	}
	method, _, _ := strings.Cut(request, " ")
	in := bufio.NewReader(c)
	var g got
	for {
		res, err := http.ReadResponse(in, &http.Request{Method: method})
		if err != nil {
			t.Fatal(err)
		}
		if res.StatusCode < 200 {
			g.Interim = append(g.Interim, fmt.Sprint(res.StatusCode, res.Header))
			continue
		}
		body, err := io.ReadAll(res.Body)
		if err != nil {
			t.Fatal(err)
		}
		g.Status, g.Body, g.Header, g.Trailer = res.StatusCode, string(body), res.Header, res.Trailer
		g.Length, g.Encoding = res.ContentLength, res.TransferEncoding
		g.Header.Del("Date")
		return g
	}
}

// addedHeaders are those the proxy tells the backend about the way.
var addedHeaders = []string{"X-Forwarded-For", "X-Forwarded-Host", "X-Forwarded-Proto", "Forwarded", "Cdn-Loop"}

// TestTheVisitorCannotTellThatAProxyIsThere sends each request to the backend
// directly and through the proxy: the backend must see, and the visitor must get,
// the same.
func TestTheVisitorCannotTellThatAProxyIsThere(t *testing.T) {
	var last seen
	backend := newBackend(t, func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		if err != nil {
			t.Errorf("backend reads the body: %v", err)
		}
		last = seen{r.Method, r.RequestURI, r.Host, string(body), r.Header.Clone(), r.Trailer, r.ContentLength, r.TransferEncoding}
		answerAs(t, w, r)
	})
	front := newAppFront(t, newTestProxy(t), preserving(t, backend.URL))

	for name, request := range transparencyCases() {
		t.Run(name, func(t *testing.T) {
			wantGot := exchange(t, addressOf(backend), request)
			wantSeen := last
			haveGot := exchange(t, addressOf(front), request)
			haveSeen := last
			for _, header := range addedHeaders {
				if haveSeen.Header.Get(header) == "" {
					t.Errorf("%s is missing", header)
				}
				haveSeen.Header.Del(header)
			}
			if diff := cmp.Diff(wantSeen, haveSeen); diff != "" {
				t.Errorf("the backend saw something else (-direct +proxied):\n%s", diff)
			}
			if diff := cmp.Diff(wantGot, haveGot); diff != "" {
				t.Errorf("the visitor got something else (-direct +proxied):\n%s", diff)
			}
		})
	}
}

// transparencyCases are whole requests. The header Answer tells the backend how to
// answer.
func transparencyCases() map[string]string {
	const host = " HTTP/1.1\r\nHost: shop.app.example.com\r\n"
	cases := map[string]string{
		"post":                  "POST /x" + host + "Content-Length: 3\r\n\r\nabc",
		"post nothing":          "POST /x" + host + "Content-Length: 0\r\n\r\n",
		"chunked":               "PUT /x" + host + "Transfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n",
		"large upload":          "POST /x" + host + "Content-Length: 3000000\r\n\r\n" + strings.Repeat("0123456789", 300_000),
		"chunked get":           "GET /x" + host + "Transfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n",
		"get with a body":       "GET /x" + host + "Content-Length: 3\r\n\r\nabc",
		"delete with a body":    "DELETE /x" + host + "Content-Length: 3\r\n\r\nabc",
		"request trailers":      "POST /x" + host + "TE: trailers\r\nTrailer: X-Sum\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\nX-Sum: 6\r\n\r\n",
		"own method":            "BREW /pot" + host + "\r\n",
		"options *":             "OPTIONS /x" + host + "\r\n",
		"trace":                 "TRACE /x" + host + "\r\n",
		"repeated headers":      "GET /x" + host + "X-A: 1\r\nX-A: 2\r\nCookie: a=1\r\n\r\n",
		"user agent":            "GET /x" + host + "User-Agent: curl/8\r\nAccept-Encoding: br\r\n\r\n",
		"no user agent":         "GET /x" + host + "\r\n",
		"basic of the app":      "GET /x" + host + "Authorization: Basic YTpi\r\n\r\n",
		"bearer of the app":     "GET /x" + host + "Authorization: Bearer own\r\n\r\n",
		"expect":                "POST /x" + host + "Expect: 100-continue\r\nContent-Length: 3\r\n\r\nabc",
		"many query parameters": "GET /?" + strings.Repeat("a=1&", 3000) + host + "\r\n",
	}
	for _, target := range []string{
		"/", "//", "///a//b", "/a/../b", "/./a", "/a%2Fb", "/a%2fb", "/%2F%2f", "/%zz"[:1], "/a|b", `/a"b`, "/{a}", "/a^b`", "/ä",
		"/a%20b", "/%C3%A4", "/a;b=c", "/a,b", "/a:b@c", "/~a", "/%7Ea", "/a#b", "/a\\b", "/a%00b", "/a?",
		"/a?b", "/a?b=%zz", "/a?a=1;b=2", "/a?b=%", "/a?b=c?d", "/a?&&=&", "/a?x=ä", "/a??", "/a?b#c", "//host/a?b",
	} {
		cases["path "+target] = "GET " + target + host + "\r\n"
	}
	for _, answer := range []string{
		"gzip", "no type", "cookies", "empty", "chunked empty", "204", "205", "304", "404", "418", "500", "503", "599", "301", "308", "trailers", "late trailers",
		"early", "large", "length", "close", "location", "own headers", "no date",
	} {
		cases["answer "+answer] = "GET /x" + host + "Answer: " + answer + "\r\n\r\n"
		if answer == "trailers" {
			continue // what is announced to HEAD, which has none, is lost
		}
		cases["head of "+answer] = "HEAD /x" + host + "Answer: " + answer + "\r\n\r\n"
	}
	return cases
}

// answerAs gives the answer the request asks for.
func answerAs(t *testing.T, w http.ResponseWriter, r *http.Request) {
	h := w.Header()
	switch answer := r.Header.Get("Answer"); answer {
	case "":
		fmt.Fprint(w, "hello")
	case "gzip":
		h.Set("Content-Encoding", "gzip")
		w.Write([]byte{0x1f, 0x8b, 1, 2, 3})
	case "no type":
		h["Content-Type"] = nil
		fmt.Fprint(w, "<html>")
	case "cookies":
		h.Add("Set-Cookie", "a=1; Path=/; HttpOnly")
		h.Add("Set-Cookie", "b=2; Domain=shop.app.example.com")
	case "empty", "own headers":
		h.Set("X-Frame-Options", "DENY")
		h["X-Twice"] = []string{"1", "2"}
	case "chunked empty":
		http.NewResponseController(w).Flush()
	case "204", "205", "304", "404", "418", "500", "503", "599", "301", "308":
		h.Set("Location", "/elsewhere")
		h.Set("Etag", `"1"`)
		var status int
		fmt.Sscan(answer, &status)
		w.WriteHeader(status)
	case "trailers":
		h.Set("Trailer", "X-Sum")
		fmt.Fprint(w, "abc")
		h.Set("X-Sum", "6")
	case "late trailers":
		fmt.Fprint(w, "abc")
		http.NewResponseController(w).Flush()
		h.Set(http.TrailerPrefix+"X-Sum", "6")
	case "early":
		h.Set("Link", "</a.css>; rel=preload")
		w.WriteHeader(http.StatusEarlyHints)
		h.Set("Link", "</b.css>; rel=preload")
		w.WriteHeader(http.StatusEarlyHints)
		h.Del("Link")
		fmt.Fprint(w, "abc")
	case "large":
		w.Write(bytes.Repeat([]byte("0123456789"), 100_000))
	case "length":
		h.Set("Content-Length", "5")
		fmt.Fprint(w, "abcde")
	case "close":
		h.Set("Connection", "close")
		fmt.Fprint(w, "abc")
	case "location":
		h.Set("Location", "http://elsewhere.example/a?b#c")
		h.Set("Refresh", "5; url=/next")
		w.WriteHeader(302)
	case "no date":
		h.Set("Date", "Thu, 01 Jan 1970 00:00:00 GMT")
	default:
		t.Errorf("no answer %q", answer)
	}
}

func TestHopByHopHeadersAreDropped(t *testing.T) {
	var header http.Header
	address := rawBackend(t, func(c net.Conn, in *bufio.Reader) {
		r, err := http.ReadRequest(in)
		if err != nil {
			return
		}
		header = r.Header
		fmt.Fprint(c, "HTTP/1.1 200 OK\r\nConnection: X-Hop\r\nX-Hop: 1\r\nKeep-Alive: timeout=5\r\n"+
			"Proxy-Authenticate: Basic\r\nX-End: 1\r\nContent-Length: 0\r\n\r\n")
	})
	front := newAppFront(t, newTestProxy(t), preserving(t, "http://"+address))
	g := exchange(t, addressOf(front), "GET / HTTP/1.1\r\nHost: a\r\nConnection: X-Mine, keep-alive\r\nX-Mine: 1\r\n"+
		"Keep-Alive: 5\r\nProxy-Authorization: x\r\nProxy-Connection: x\r\nTE: trailers, gzip\r\nUpgrade: h2c\r\nX-End: 1\r\n\r\n")
	for _, name := range []string{"X-Mine", "Keep-Alive", "Proxy-Authorization", "Proxy-Connection", "Connection", "Upgrade"} {
		if values, ok := header[name]; ok {
			t.Errorf("the backend saw %s: %q", name, values)
		}
	}
	if header.Get("X-End") != "1" || header.Get("Te") != "trailers" {
		t.Errorf("X-End %q, TE %q", header.Get("X-End"), header.Get("Te"))
	}
	for _, name := range []string{"X-Hop", "Keep-Alive", "Proxy-Authenticate"} {
		if values, ok := g.Header[name]; ok {
			t.Errorf("the visitor got %s: %q", name, values)
		}
	}
	if g.Header.Get("X-End") != "1" {
		t.Error("X-End was lost")
	}
}

func TestHTTP2InTheClearIsNotAnUpgrade(t *testing.T) {
	var header http.Header
	backend := newBackend(t, func(_ http.ResponseWriter, r *http.Request) { header = r.Header })
	front := newAppFront(t, newTestProxy(t), preserving(t, backend.URL))
	exchange(t, addressOf(front), "GET / HTTP/1.1\r\nHost: a\r\nConnection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABk\r\n\r\n")
	for _, name := range []string{"Upgrade", "Connection", "Http2-Settings"} {
		if values, ok := header[name]; ok {
			t.Errorf("the backend saw %s: %q", name, values)
		}
	}
}

func TestTheBasePathIsPutInFront(t *testing.T) {
	var target string
	backend := newBackend(t, func(_ http.ResponseWriter, r *http.Request) { target = r.RequestURI })
	p := newTestProxy(t)
	for _, c := range []struct{ base, sent, want string }{
		{"", "/", "/"},
		{"/", "//x", "//x"},
		{"/base", "/", "/base/"},
		{"/base/", "/x", "/base/x"},
		{"/base/", "//x", "/base//x"},
		{"/ba%2Fse", "/x", "/ba%2Fse/x"},
		{"/base", "/a%2Fb?c=%zz;d", "/base/a%2Fb?c=%zz;d"},
		{"/base", "/a|b", "/base/a|b"},
		{"/base", "*", "/base"},
		{"/base", "/../x", "/base/../x"},
	} {
		front := newAppFront(t, p, preserving(t, backend.URL+c.base))
		front.Config.DisableGeneralOptionsHandler = true
		exchange(t, addressOf(front), "OPTIONS "+c.sent+" HTTP/1.1\r\nHost: a\r\n\r\n")
		if target != c.want {
			t.Errorf("base %q, sent %q: the backend saw %q, want %q", c.base, c.sent, target, c.want)
		}
	}
}

func TestTheHostIsTheBackendsOwnUnlessItIsPreserved(t *testing.T) {
	backend := newBackend(t, func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("X-Host", r.Host)
		w.Header().Set("Location", "http://"+r.Host+"/base/login")
	})
	own := addressOf(backend)
	for _, c := range []struct {
		backend  Backend
		host     string
		location string
	}{
		{Backend{URL: mustURL(t, backend.URL+"/base"), Origin: Registered}, own, "http://shop.app.example.com/login"},
		{Backend{URL: mustURL(t, backend.URL+"/base"), Origin: Remote}, own, "http://shop.app.example.com/login"},
		{Backend{URL: mustURL(t, backend.URL+"/base"), PreserveHost: true}, "shop.app.example.com", "http://shop.app.example.com/base/login"},
	} {
		front := newAppFront(t, newTestProxy(t), c.backend)
		g := exchange(t, addressOf(front), "GET /x HTTP/1.1\r\nHost: shop.app.example.com\r\n\r\n")
		if host := g.Header.Get("X-Host"); host != c.host {
			t.Errorf("%+v: Host %q, want %q", c.backend, host, c.host)
		}
		if location := g.Header.Get("Location"); location != c.location {
			t.Errorf("%+v: Location %q, want %q", c.backend, location, c.location)
		}
	}
}

func TestEachPieceOfABodyIsForwardedAsItComes(t *testing.T) {
	for _, kind := range []string{"text/event-stream", "application/octet-stream"} {
		t.Run(kind, func(t *testing.T) {
			next := make(chan string, 1)
			defer close(next)
			backend := newBackend(t, func(w http.ResponseWriter, r *http.Request) {
				w.Header().Set("Content-Type", kind)
				for piece := range next {
					fmt.Fprint(w, piece)
					http.NewResponseController(w).Flush()
				}
			})
			front := newAppFront(t, newTestProxy(t), preserving(t, backend.URL))
			c := dial(t, addressOf(front))
			fmt.Fprint(c, "GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
			next <- "data: 0\n"
			res, err := http.ReadResponse(bufio.NewReader(c), nil)
			if err != nil {
				t.Fatal(err)
			}
			lines := bufio.NewReader(res.Body)
			for i := range 5 {
				if line, err := lines.ReadString('\n'); err != nil || line != fmt.Sprintf("data: %d\n", i) {
					t.Fatalf("piece %d: %q, %v", i, line, err)
				}
				next <- fmt.Sprintf("data: %d\n", i+1)
			}
		})
	}
}

// TestBothDirectionsFlowAtOnce has a backend echo each line before the visitor
// sends the next.
func TestBothDirectionsFlowAtOnce(t *testing.T) {
	backend := newBackend(t, func(w http.ResponseWriter, r *http.Request) {
		control := http.NewResponseController(w)
		if err := control.EnableFullDuplex(); err != nil {
			t.Error(err)
		}
		for lines := bufio.NewScanner(r.Body); lines.Scan(); {
			fmt.Fprintln(w, lines.Text())
			control.Flush()
		}
	})
	front := newAppFront(t, newTestProxy(t), preserving(t, backend.URL))
	c := dial(t, addressOf(front))
	fmt.Fprint(c, "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n3\r\n-1\n\r\n")
	in := bufio.NewReader(c)
	res, err := http.ReadResponse(in, nil)
	if err != nil {
		t.Fatal(err)
	}
	lines := bufio.NewReader(res.Body)
	if line, err := lines.ReadString('\n'); line != "-1\n" {
		t.Fatalf("%q, %v", line, err)
	}
	for i := range 5 {
		fmt.Fprintf(c, "2\r\n%d\n\r\n", i)
		if line, err := lines.ReadString('\n'); line != fmt.Sprintln(i) {
			t.Fatalf("%q, %v", line, err)
		}
	}
	fmt.Fprint(c, "0\r\n\r\n")
	if rest, err := io.ReadAll(lines); len(rest) > 0 || err != nil {
		t.Fatalf("rest %q, %v", rest, err)
	}
}

// TestContinueIsTheBackendsToSay checks that the visitor is told to go on only
// once the backend has said so, and that its refusal needs no body.
func TestContinueIsTheBackendsToSay(t *testing.T) {
	var bodies atomic.Int64
	address := rawBackend(t, func(c net.Conn, in *bufio.Reader) {
		r, err := http.ReadRequest(in)
		if err != nil {
			return
		}
		if r.URL.Path == "/refused" {
			fmt.Fprint(c, "HTTP/1.1 417 Expectation Failed\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
			return
		}
		fmt.Fprint(c, "HTTP/1.1 100 Continue\r\n\r\n")
		body, _ := io.ReadAll(r.Body)
		bodies.Add(int64(len(body)))
		fmt.Fprint(c, "HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
	})
	front := newAppFront(t, newTestProxy(t), preserving(t, "http://"+address))

	c := dial(t, addressOf(front))
	fmt.Fprint(c, "POST /refused HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 3\r\n\r\n")
	if res, err := http.ReadResponse(bufio.NewReader(c), nil); err != nil || res.StatusCode != 417 {
		t.Fatalf("%v, %v", res, err)
	}

	c = dial(t, addressOf(front))
	in := bufio.NewReader(c)
	fmt.Fprint(c, "POST /go HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 3\r\n\r\n")
	if res, err := http.ReadResponse(in, nil); err != nil || res.StatusCode != 100 {
		t.Fatalf("%v, %v", res, err)
	}
	fmt.Fprint(c, "abc")
	if res, err := http.ReadResponse(in, nil); err != nil || res.StatusCode != 200 {
		t.Fatalf("%v, %v", res, err)
	}
	if bodies.Load() != 3 {
		t.Errorf("the backend read %d bytes, want 3", bodies.Load())
	}
}

func TestWebSocketsPass(t *testing.T) {
	backend := newBackend(t, func(w http.ResponseWriter, r *http.Request) {
		ws, err := websocket.Accept(w, r, &websocket.AcceptOptions{Subprotocols: []string{"chat"}, InsecureSkipVerify: true})
		if err != nil {
			t.Error(err)
			return
		}
		defer ws.CloseNow()
		ws.SetReadLimit(1 << 20)
		for {
			kind, message, err := ws.Read(r.Context())
			if err != nil {
				return
			}
			if err := ws.Write(r.Context(), kind, append([]byte(r.Header.Get("Sec-Websocket-Protocol")+" "), message...)); err != nil {
				return
			}
		}
	})
	p := newTestProxy(t)
	served := make(chan struct{})
	front := newFront(t, func(w http.ResponseWriter, r *http.Request) *failure {
		defer close(served)
		return p.serve(w, r, target{Backend: preserving(t, backend.URL)})
	})
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	ws, _, err := websocket.Dial(ctx, front.URL, &websocket.DialOptions{Subprotocols: []string{testKey, "chat"}})
	if err != nil {
		t.Fatal(err)
	}
	if ws.Subprotocol() != "chat" {
		t.Errorf("subprotocol %q", ws.Subprotocol())
	}
	for i := range 3 {
		message := fmt.Sprint(i, strings.Repeat("x", i*50_000))
		if err := ws.Write(ctx, websocket.MessageText, []byte(message)); err != nil {
			t.Fatal(err)
		}
		ws.SetReadLimit(1 << 20)
		if _, reply, err := ws.Read(ctx); err != nil || string(reply) != "chat "+message {
			t.Fatalf("%.20q, %v", reply, err)
		}
	}
	if err := ws.Close(websocket.StatusNormalClosure, "bye"); err != nil {
		t.Errorf("close: %v", err)
	}
	<-served
}

// TestBytesAroundAnUpgradeAreNotLost sends data together with the request and
// with the answer, and has each side end its half alone.
func TestBytesAroundAnUpgradeAreNotLost(t *testing.T) {
	address := rawBackend(t, func(c net.Conn, in *bufio.Reader) {
		if _, err := http.ReadRequest(in); err != nil {
			return
		}
		fmt.Fprint(c, "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: echo\r\n\r\nwelcome;")
		all, _ := io.ReadAll(in) // until the visitor ends its half
		fmt.Fprintf(c, "you said %s", all)
	})
	front := newAppFront(t, newTestProxy(t), preserving(t, "http://"+address))
	c := dial(t, addressOf(front))
	fmt.Fprint(c, "GET / HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: echo\r\n\r\nearly,")
	in := bufio.NewReader(c)
	res, err := http.ReadResponse(in, nil)
	if err != nil || res.StatusCode != 101 || res.Header.Get("Upgrade") != "echo" {
		t.Fatalf("%+v, %v", res, err)
	}
	fmt.Fprint(c, "late")
	if err := c.(*net.TCPConn).CloseWrite(); err != nil {
		t.Fatal(err)
	}
	if all, err := io.ReadAll(in); string(all) != "welcome;you said early,late" || err != nil {
		t.Errorf("%q, %v", all, err)
	}
}

func TestFailures(t *testing.T) {
	silent := rawBackend(t, func(c net.Conn, in *bufio.Reader) { _, _ = io.Copy(io.Discard, in) })
	rude := rawBackend(t, func(_ net.Conn, in *bufio.Reader) { _, _ = http.ReadRequest(in) })
	foreign := rawBackend(t, func(c net.Conn, in *bufio.Reader) {
		_, _ = http.ReadRequest(in)
		fmt.Fprint(c, "220 mail.example.com ESMTP\r\n")
	})
	fine := newBackend(t, func(_ http.ResponseWriter, r *http.Request) { _, _ = io.Copy(io.Discard, r.Body) })
	impatient := upstream.New(upstream.Options{ResponseHeaderTimeout: 50 * time.Millisecond, Rules: &upstream.Rules{AllowPrivate: true}})
	strict := upstream.New(upstream.Options{Rules: &upstream.Rules{}})
	defer impatient.CloseIdleConnections()
	defer strict.CloseIdleConnections()

	for name, c := range map[string]struct {
		address   string
		transport http.RoundTripper
		request   string
		status    int
		reason    Reason
	}{
		"refused":            {address: closedPort(t), status: 502, reason: ReasonBackendRefused},
		"no such name":       {address: "nowhere.invalid", status: 502, reason: ReasonBackendRefused},
		"silent":             {address: silent, transport: impatient, status: 504, reason: ReasonBackendTimeout},
		"hangs up":           {address: rude, status: 502, reason: ReasonBackendBroken},
		"not HTTP":           {address: foreign, status: 502, reason: ReasonBackendBroken},
		"forbidden":          {address: addressOf(fine), transport: strict, status: 502, reason: ReasonBackendForbidden},
		"no rules":           {address: addressOf(fine), transport: noTransport, status: 502, reason: ReasonBackendForbidden},
		"loop":               {address: addressOf(fine), request: "CDN-Loop: a, m3o-ingress\r\nCDN-Loop: M3O-Ingress; x=\"a,m3o-ingress\", m3o-ingress\r\n", status: 508, reason: ReasonLoop},
		"no loop":            {address: addressOf(fine), request: "CDN-Loop: m3o-ingress, m3o-ingressx, m3o-ingress, other\r\n", status: 200},
		"too large":          {address: addressOf(fine), request: "Content-Length: 2000\r\n", status: 413, reason: ReasonBodyTooLarge},
		"too large, chunked": {address: addressOf(fine), request: "Transfer-Encoding: chunked\r\n", status: 413, reason: ReasonBodyTooLarge},
		"bad chunk":          {address: addressOf(fine), request: "Transfer-Encoding: chunked\r\nX-Bad: 1\r\n", status: 400, reason: ReasonBadRequest},
	} {
		t.Run(name, func(t *testing.T) {
			p := newTestProxy(t, func(config *proxyConfig) {
				if c.transport == noTransport {
					config.Registered = nil
				} else if c.transport != nil {
					config.Registered = c.transport
				}
			})
			var served *failure
			front := newFront(t, func(w http.ResponseWriter, r *http.Request) *failure {
				r.Body = http.MaxBytesReader(w, r.Body, 1000)
				served = p.serve(w, r, target{Backend: Backend{URL: mustURL(t, "http://"+c.address), Origin: Registered}})
				return served
			})
			body := strings.Repeat("x", 2000)
			switch {
			case strings.Contains(c.request, "X-Bad"):
				body = "zz\r\n"
			case strings.Contains(c.request, "chunked"):
				body = "7d0\r\n" + body + "\r\n0\r\n\r\n"
			case !strings.Contains(c.request, "Content-Length"):
				body = ""
			}
			g := exchange(t, addressOf(front), "POST / HTTP/1.1\r\nHost: a\r\n"+c.request+"\r\n"+body)
			if g.Status != c.status || g.Header.Get("X-Ingress-Error") != string(c.reason) {
				t.Errorf("status %d, reason %q, want %d, %q (%v)", g.Status, g.Header.Get("X-Ingress-Error"), c.status, c.reason, served)
			}
			if g.Body != "" {
				t.Errorf("something was written: %q", g.Body)
			}
		})
	}
}

// noTransport marks a configuration without a transport for registered backends.
var noTransport = forbiddenTransport{}

// closedPort returns an address at which nobody listens.
func closedPort(t *testing.T) string {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	return listener.Addr().String()
}

func TestABodyThatBreaksOffNeverLooksWhole(t *testing.T) {
	for name, answer := range map[string]string{
		"length":  "HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhalf",
		"chunked": "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nhalf\r\n",
	} {
		t.Run(name, func(t *testing.T) {
			address := rawBackend(t, func(c net.Conn, in *bufio.Reader) {
				_, _ = http.ReadRequest(in)
				fmt.Fprint(c, answer)
			})
			front := newAppFront(t, newTestProxy(t), preserving(t, "http://"+address))
			res, err := front.Client().Get(front.URL)
			if err != nil {
				t.Fatal(err)
			}
			defer res.Body.Close()
			if body, err := io.ReadAll(res.Body); err == nil {
				t.Errorf("the body %q ended cleanly", body)
			}
		})
	}
}

func TestAVisitorWhoLeavesIsNoFailureOfTheBackend(t *testing.T) {
	arrived := make(chan struct{})
	backend := newBackend(t, func(_ http.ResponseWriter, r *http.Request) {
		close(arrived)
		<-r.Context().Done()
	})
	p := newTestProxy(t)
	records := make(chan *record, 1)
	front := newFront(t, func(w http.ResponseWriter, r *http.Request) *failure {
		rec := &record{}
		defer func() { records <- rec }()
		if f := p.serve(w, withRecord(r, rec), target{Backend: preserving(t, backend.URL)}); f != nil {
			t.Errorf("failure %v", f)
		}
		return nil
	})
	c := dial(t, addressOf(front))
	fmt.Fprint(c, "GET / HTTP/1.1\r\nHost: a\r\n\r\n")
	<-arrived
	c.Close()
	if rec := <-records; rec.reason != ReasonClientGone {
		t.Errorf("reason %q", rec.reason)
	}
}

// TestALeaseIsReleasedOnceWhenTheBodyHasEnded covers each way a request can end.
func TestALeaseIsReleasedOnceWhenTheBodyHasEnded(t *testing.T) {
	finish := make(chan struct{})
	backend := newBackend(t, func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case "/slow":
			fmt.Fprint(w, "begin")
			http.NewResponseController(w).Flush()
			<-finish
		case "/cut":
			fmt.Fprint(w, "begin")
			http.NewResponseController(w).Flush()
			panic(http.ErrAbortHandler)
		case "/ws":
			ws, err := websocket.Accept(w, r, nil)
			if err != nil {
				t.Error(err)
				return
			}
			_, _, _ = ws.Read(r.Context())
			ws.CloseNow()
		}
	})
	refused := "http://" + closedPort(t)
	transport := upstream.New(upstream.Options{})
	defer transport.CloseIdleConnections()
	p := newTestProxy(t, func(c *proxyConfig) { c.Transport, c.Registered = nil, nil })
	var released atomic.Int64
	ended := make(chan struct{}, 1)
	front := newFront(t, func(w http.ResponseWriter, r *http.Request) *failure {
		defer func() { ended <- struct{}{} }()
		lease := &Lease{Transport: transport, Release: func() { released.Add(1) }}
		if r.URL.Path == "/static" {
			lease.Transport, lease.Handler = nil, http.NotFoundHandler()
		}
		b := Backend{URL: mustURL(t, backend.URL), Origin: Managed}
		if r.URL.Path == "/refused" {
			b.URL = mustURL(t, refused)
		}
		return p.serve(w, r, target{Backend: b, Lease: lease})
	})
	expect := func(what string, want int64) {
		t.Helper()
		if n := released.Swap(0); n != want {
			t.Errorf("%s: released %d times, want %d", what, n, want)
		}
	}
	for _, path := range []string{"/", "/refused", "/static", "/cut"} {
		res, err := front.Client().Get(front.URL + path)
		if err != nil {
			t.Fatal(err)
		}
		_, _ = io.Copy(io.Discard, res.Body)
		_ = res.Body.Close()
		<-ended
		expect(path, 1)
	}

	res, err := front.Client().Get(front.URL + "/slow")
	if err != nil {
		t.Fatal(err)
	}
	_, _ = io.ReadFull(res.Body, make([]byte, 5))
	expect("in mid-body", 0)
	close(finish)
	_, _ = io.Copy(io.Discard, res.Body)
	_ = res.Body.Close()
	<-ended
	expect("/slow", 1)

	ws, _, err := websocket.Dial(t.Context(), front.URL+"/ws", nil)
	if err != nil {
		t.Fatal(err)
	}
	expect("open WebSocket", 0)
	_ = ws.CloseNow()
	<-ended
	expect("/ws", 1)

	g := exchange(t, addressOf(front), "GET / HTTP/1.1\r\nHost: a\r\nCDN-Loop: m3o-ingress,m3o-ingress,m3o-ingress\r\n\r\n")
	<-ended
	if g.Status != 508 {
		t.Errorf("status %d", g.Status)
	}
	expect("loop", 1)
}

func TestASiteWithoutAProcessSeesARequestLikeAProcess(t *testing.T) {
	var header http.Header
	site := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { header = r.Header })
	p := newTestProxy(t)
	front := newFront(t, func(w http.ResponseWriter, r *http.Request) *failure {
		return p.serve(w, r, target{Backend: Backend{Origin: Managed}, Lease: &Lease{Handler: site}})
	})
	exchange(t, addressOf(front), "GET / HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer "+testKey+"\r\nX-Forwarded-For: 9.9.9.9\r\n\r\n")
	if header.Get("Authorization") != "" || header.Get("X-Forwarded-For") != "127.0.0.1" {
		t.Errorf("the site saw %v", header)
	}
}

func TestAManagedBackendIsReachedByItsLeaseAlone(t *testing.T) {
	var asked *http.Request
	lease := &Lease{
		Transport: roundTripper(func(r *http.Request) (*http.Response, error) {
			asked = r
			return nil, errors.New("nobody home")
		}),
		Release: func() {},
	}
	p := newTestProxy(t)
	front := newFront(t, func(w http.ResponseWriter, r *http.Request) *failure {
		return p.serve(w, r, target{Backend: Backend{Key: "k", Origin: Managed}, Lease: lease})
	})
	g := exchange(t, addressOf(front), "GET /a?b HTTP/1.1\r\nHost: shop.app.example.com:8080\r\n\r\n")
	if g.Status != 502 || asked == nil || asked.Host != "shop.app.example.com:8080" || asked.URL.String() != "http://managed.invalid/a?b" {
		t.Errorf("status %d, request %+v", g.Status, asked)
	}
}

type roundTripper func(*http.Request) (*http.Response, error)

func (f roundTripper) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }

func TestOurKeysAndForeignCookiesStop(t *testing.T) {
	var header http.Header
	backend := newBackend(t, func(w http.ResponseWriter, r *http.Request) {
		header = r.Header
		w.Header().Set("Set-Cookie", "a=1; Domain=app.example.com; Secure")
		w.WriteHeader(http.StatusEarlyHints)
		w.Header().Add("Set-Cookie", "b=2; domain=.Example.COM.")
	})
	front := newAppFront(t, newTestProxy(t), preserving(t, backend.URL))
	g := exchange(t, addressOf(front), "GET / HTTP/1.1\r\nHost: a\r\nAuthorization: bearer "+testKey+"\r\nSec-WebSocket-Protocol: a, "+testKey+"\r\n\r\n")
	if header.Get("Authorization") != "" || header.Get("Sec-WebSocket-Protocol") != "a" {
		t.Errorf("the backend saw %v", header)
	}
	if want := []string{"a=1; Secure", "b=2"}; !slices.Equal(g.Header["Set-Cookie"], want) {
		t.Errorf("cookies %q, want %q", g.Header["Set-Cookie"], want)
	}
	if len(g.Interim) != 1 || strings.Contains(strings.ToLower(g.Interim[0]), "domain") {
		t.Errorf("interim answer %q", g.Interim)
	}
}

func TestARetryIsNoted(t *testing.T) {
	var wasFirst atomic.Bool
	address := rawBackend(t, func(c net.Conn, in *bufio.Reader) {
		stale := wasFirst.CompareAndSwap(false, true)
		for n := 0; ; n++ {
			if _, err := http.ReadRequest(in); err != nil || stale && n == 1 {
				return
			}
			fmt.Fprint(c, "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
		}
	})
	p := newTestProxy(t)
	rec := &record{}
	front := newFront(t, func(w http.ResponseWriter, r *http.Request) *failure {
		return p.serve(w, withRecord(r, rec), target{Backend: preserving(t, "http://"+address)})
	})
	for i := range 2 {
		if g := exchange(t, addressOf(front), "GET / HTTP/1.1\r\nHost: a\r\n\r\n"); g.Status != 200 || rec.retried != (i == 1) {
			t.Errorf("request %d: status %d, retried %t", i, g.Status, rec.retried)
		}
	}
}

func TestBackendsSeeWhoCame(t *testing.T) {
	backend := newBackend(t, func(w http.ResponseWriter, r *http.Request) { _ = json.NewEncoder(w).Encode(r.Header) })
	const request = "GET / HTTP/1.1\r\nHost: shop.app.example.com\r\nX-Forwarded-For: 9.9.9.9, 203.0.113.7\r\nX-Forwarded-Proto: https\r\n" +
		"X-Forwarded-Host: www.example.org\r\nX-Forwarded-Port: 443\r\nForwarded: for=8.8.8.8\r\n\r\n"
	for name, c := range map[string]struct {
		trusted []netip.Prefix
		want    map[string]string
	}{
		"from anyone": {nil, map[string]string{
			"X-Forwarded-For": "127.0.0.1", "X-Forwarded-Host": "shop.app.example.com", "X-Forwarded-Proto": "http", "X-Forwarded-Port": "",
			"Forwarded": `for=127.0.0.1;host="shop.app.example.com";proto=http`,
		}},
		"from a trusted proxy": {[]netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}, map[string]string{
			"X-Forwarded-For": "9.9.9.9, 203.0.113.7, 127.0.0.1", "X-Forwarded-Host": "www.example.org", "X-Forwarded-Proto": "https", "X-Forwarded-Port": "443",
			"Forwarded": `for=9.9.9.9, for=203.0.113.7;host="www.example.org";proto=https, for=127.0.0.1`,
		}},
	} {
		t.Run(name, func(t *testing.T) {
			p := newTestProxy(t, func(config *proxyConfig) { config.Forwarded = newForwarded(c.trusted) })
			front := newAppFront(t, p, preserving(t, backend.URL))
			g := exchange(t, addressOf(front), request)
			var header http.Header
			if err := json.Unmarshal([]byte(g.Body), &header); err != nil {
				t.Fatal(err)
			}
			for name, want := range c.want {
				if have := strings.Join(header[name], "; "); have != want {
					t.Errorf("%s: %q, want %q", name, have, want)
				}
			}
		})
	}
}

func BenchmarkProxy1KiB(b *testing.B) {
	body := bytes.Repeat([]byte("x"), 1024)
	backend := newBackend(b, func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/plain")
		_, _ = w.Write(body)
	})
	front := newAppFront(b, newTestProxy(b), preserving(b, backend.URL))
	for name, address := range map[string]string{"direct": backend.URL, "proxied": front.URL} {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			b.SetBytes(int64(len(body)))
			client := front.Client()
			for b.Loop() {
				res, err := client.Get(address)
				if err != nil {
					b.Fatal(err)
				}
				if n, err := io.Copy(io.Discard, res.Body); n != int64(len(body)) || err != nil {
					b.Fatal(n, err)
				}
				_ = res.Body.Close()
			}
		})
	}
}
