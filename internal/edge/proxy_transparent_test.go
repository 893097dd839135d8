package edge

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// requestSeen is what a backend saw of a request.
type requestSeen struct {
	Method, Target, Host, Body string
	Header, Trailer            http.Header
	Length                     int64
	Encoding                   []string
}

// answerGot is what a client got for an answer.
type answerGot struct {
	Status          int
	Body            string
	Header, Trailer http.Header
	Length          int64
	Encoding        []string
	Interim         []string
}

// exchange sends raw bytes and returns the answer.
func exchange(t *testing.T, address, request string) answerGot {
	t.Helper()
	c := dial(t, address)
	if _, err := io.WriteString(c, request); err != nil {
		t.Fatal(err)
	}
	method, _, _ := strings.Cut(request, " ")
	in := bufio.NewReader(c)
	var g answerGot
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
		g.forgetEmptyFraming()
		return g
	}
}

// forgetEmptyFraming makes the ways to send an empty body equal: framing is each
// hop's own affair (RFC 9112 6.1).
func (g *answerGot) forgetEmptyFraming() {
	if g.Body == "" && g.Encoding != nil {
		g.Encoding, g.Length = nil, 0
		g.Header.Set("Content-Length", "0")
	}
}

// addedHeaders are those the proxy tells the backend about the way.
var addedHeaders = []string{"X-Forwarded-For", "X-Forwarded-Host", "X-Forwarded-Proto", "Forwarded", "Cdn-Loop"}

// TestTheVisitorCannotTellThatAProxyIsThere sends each request to the backend
// directly and through the proxy: the backend must see, and the visitor must get,
// the same.
func TestTheVisitorCannotTellThatAProxyIsThere(t *testing.T) {
	var last requestSeen
	backend := newBackend(t, func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		if err != nil {
			t.Errorf("backend reads the body: %v", err)
		}
		last = requestSeen{r.Method, r.RequestURI, r.Host, string(body), r.Header.Clone(), r.Trailer, r.ContentLength, r.TransferEncoding}
		answerAs(t, w, r)
	})
	front := newAppFront(t, newTestProxy(t), preserving(t, backend.URL))

	for name, request := range transparencyCases() {
		t.Run(name, func(t *testing.T) {
			wantGot := exchange(t, listenAddress(backend), request)
			wantSeen := last
			haveGot := exchange(t, listenAddress(front), request)
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
		"unannounced trailers":  "POST /x" + host + "Transfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\nX-Sum: 6\r\n\r\n",
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
		"/a?b", "/a?b=%zz", "/a?a=1;b=2", "/a?b=%", "/a?b=c?d", "/a?&&=&", "/a?x=ä", "/a??", "/a?b#c", "//host/a?b", "//a%2Fb%7e?x",
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
	g := exchange(t, listenAddress(front), "GET / HTTP/1.1\r\nHost: a\r\nConnection: X-Mine, keep-alive\r\nX-Mine: 1\r\n"+
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

// TestOnlyForbiddenBytesBehindTwoSlashesAreEncoded checks the one kind of path
// that net/http's client cannot send as it came.
func TestOnlyForbiddenBytesBehindTwoSlashesAreEncoded(t *testing.T) {
	var target string
	backend := newBackend(t, func(_ http.ResponseWriter, r *http.Request) { target = r.RequestURI })
	front := newAppFront(t, newTestProxy(t), preserving(t, backend.URL))
	for sent, want := range map[string]string{
		`//a%2Fb"c`: "//a%2Fb%22c", "//a|b%7e?x|y": "//a%7Cb%7e?x|y", "//ä": "//%C3%A4", "//a#b%23": "//a%23b%23", "//h{}/[a]": "//h%7B%7D/[a]",
	} {
		exchange(t, listenAddress(front), "GET "+sent+" HTTP/1.1\r\nHost: a\r\n\r\n")
		if target != want {
			t.Errorf("%s became %s, want %s", sent, target, want)
		}
	}
}

func TestHTTP2InTheClearIsNotAnUpgrade(t *testing.T) {
	var header http.Header
	backend := newBackend(t, func(_ http.ResponseWriter, r *http.Request) { header = r.Header })
	front := newAppFront(t, newTestProxy(t), preserving(t, backend.URL))
	exchange(t, listenAddress(front), "GET / HTTP/1.1\r\nHost: a\r\nConnection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABk\r\n\r\n")
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
		exchange(t, listenAddress(front), "OPTIONS "+c.sent+" HTTP/1.1\r\nHost: a\r\n\r\n")
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
	own := listenAddress(backend)
	for _, c := range []struct {
		backend  Backend
		host     string
		location string
	}{
		{Backend{URL: parseBackend(t, backend.URL+"/base"), Origin: Registered}, own, "http://shop.app.example.com/login"},
		{Backend{URL: parseBackend(t, backend.URL+"/base"), Origin: Remote}, own, "http://shop.app.example.com/login"},
		{Backend{URL: parseBackend(t, backend.URL+"/base"), PreserveHost: true}, "shop.app.example.com", "http://shop.app.example.com/base/login"},
	} {
		front := newAppFront(t, newTestProxy(t), c.backend)
		g := exchange(t, listenAddress(front), "GET /x HTTP/1.1\r\nHost: shop.app.example.com\r\n\r\n")
		if host := g.Header.Get("X-Host"); host != c.host {
			t.Errorf("%+v: Host %q, want %q", c.backend, host, c.host)
		}
		if location := g.Header.Get("Location"); location != c.location {
			t.Errorf("%+v: Location %q, want %q", c.backend, location, c.location)
		}
	}
}
