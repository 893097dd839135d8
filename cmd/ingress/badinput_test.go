package main_test

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"
)

// Bad input, sent to the real program over real sockets: each row gets a clear
// answer and changes nothing.

// raw sends bytes as they are and returns everything that comes back until the
// program closes the connection.
func (i *ingress) raw(request string) string {
	i.t.Helper()
	conn := i.dial()
	if _, err := io.WriteString(conn, request); err != nil {
		i.t.Fatalf("send %.60q: %v", request, err)
	}
	answer, _ := io.ReadAll(conn) // a connection reset after the answer ends it as well
	return string(answer)
}

func (i *ingress) dial() net.Conn {
	i.t.Helper()
	conn, err := net.Dial("tcp", i.listen)
	if err != nil {
		i.t.Fatal(err)
	}
	i.t.Cleanup(func() { conn.Close() })
	if err := conn.SetDeadline(time.Now().Add(deadline)); err != nil {
		i.t.Fatal(err)
	}
	return conn
}

// rawOnce is raw for one request of a line and headers.
func (i *ingress) rawOnce(line, host, rest string) string {
	i.t.Helper()
	return i.raw(line + " HTTP/1.1\r\nHost: " + host + "\r\nConnection: close\r\n" + rest + "\r\n")
}

// wantAnswer checks the status of a raw answer, and that it shows nothing of our
// insides.
func wantAnswer(t *testing.T, name, answer, status string) {
	t.Helper()
	if _, got, _ := strings.Cut(answer, " "); !strings.HasPrefix(got, status) {
		t.Errorf("%s: got %.200q, want %s", name, answer, status)
	}
	for _, inside := range []string{"goroutine ", "panic", ".go:", "sql:", "SQLITE", "net/http:", "<nil>", bootstrapKey} {
		if strings.Contains(answer, inside) {
			t.Errorf("%s: the answer shows %q: %.400q", name, inside, answer)
		}
	}
}

// wantCleanLog stops the program and checks its output, race reports included.
func (i *ingress) wantCleanLog(secrets ...string) {
	i.t.Helper()
	i.stop()
	stdout, stderr := i.output()
	for _, never := range append([]string{"goroutine ", "panic", "DATA RACE", bootstrapKey}, secrets...) {
		if strings.Contains(stdout+stderr, never) {
			i.t.Errorf("the output has %q:\n%s%s", never, stdout, stderr)
		}
	}
}

// counter is a backend that counts what it is asked for.
func counter(t *testing.T) (backend *httptest.Server, all, smuggled *atomic.Int32) {
	all, smuggled = new(atomic.Int32), new(atomic.Int32)
	backend = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		all.Add(1)
		if strings.Contains(r.URL.Path, "smuggled") {
			smuggled.Add(1)
		}
		_, _ = io.Copy(io.Discard, r.Body) // may be cut short
		fmt.Fprint(w, "ok")
	}))
	t.Cleanup(backend.Close)
	return backend, all, smuggled
}

func TestMalformedHostsGetAnAnswer(t *testing.T) {
	i := startIngress(t)
	backend, reached, _ := counter(t)
	i.mustCall("app/run", fmt.Sprintf(`{"name":"hello","backend":%q}`, backend.URL))
	for host, status := range map[string]string{
		"a b": "400", "a\tb": "400", "a\x01b": "400", "": "400", "..": "400", ".app.localhost": "400", "hello..app.localhost": "400",
		"user:pw@hello.app.localhost": "400", "hello.app.localhost:port": "400", "hello.app.localhost:-1": "400",
		strings.Repeat("a", 64) + ".app.localhost": "400", strings.Repeat("a.", 200) + "localhost": "400",
		"münchen.app.localhost": "400", "hello%2eapp.localhost": "400", "hello\\app.localhost": "400", "*.app.localhost": "400",
		"[::1": "400", "::1": "400", "[127.0.0.1]": "400", "<script>.app.localhost": "400", "'; DROP TABLE apps;--.app.localhost": "400",
		"xn--mnchen-3ya.app.localhost": "404", "xn--.app.localhost": "404", "-abc.app.localhost": "404", "ab.app.localhost": "404",
		"a.hello.app.localhost": "404", "evilapp.localhost": "404", "127.1": "404", "2130706433": "404", "nosuch.example": "404",
		"[fe80::1%25lo]": "200", "[::1]:80": "200",
	} {
		answer := i.rawOnce("GET /", host, "")
		wantAnswer(t, fmt.Sprintf("host %.60q", host), answer, status)
		if strings.Contains(answer, "<script>.") {
			t.Errorf("host %q: repeated unescaped: %q", host, answer)
		}
	}
	for request, status := range map[string]string{
		"GET / HTTP/1.1\r\nHost: localhost\r\nHost: hello.app.localhost\r\n\r\n": "400",
		"GET / HTTP/1.1\r\n\r\n":                    "400",
		"GET / HTTP/1.0\r\n\r\n":                    "400",
		"GET / HTTP/9.9\r\nHost: localhost\r\n\r\n": "505",
		"\x16\x03\x01\x02\x00\x01\x00\r\n\r\n":      "400",
		"GET mailto:x HTTP/1.1\r\nHost: hello.app.localhost\r\nConnection: close\r\n\r\n":               "400",
		"GET * HTTP/1.1\r\nHost: hello.app.localhost\r\nConnection: close\r\n\r\n":                      "400",
		"OPTIONS * HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n":                            "404",
		"GET http://nosuch.example/ HTTP/1.1\r\nHost: hello.app.localhost\r\nConnection: close\r\n\r\n": "400",
	} {
		wantAnswer(t, fmt.Sprintf("%.60q", request), i.raw(request), status)
	}
	if n := reached.Load(); n != 0 {
		t.Errorf("the backend was reached %d times", n)
	}
	wantAnswer(t, "an absolute target", i.raw("GET http://u:targetsecret@hello.app.localhost/ HTTP/1.1\r\nHost: hello.app.localhost\r\nConnection: close\r\n\r\n"), "200")
	i.wantCleanLog("targetsecret")
}

func TestMalformedPathsAndIdsGetAnAnswer(t *testing.T) {
	i := startIngress(t)
	for path, status := range map[string]string{
		"/%zz": "400", "/%": "400", "/a b": "400", "/a\x7fb": "400", "/%00": "404", "/..": "404", `/..\..\x`: "404", "/\xc0\xae": "404",
		"/" + strings.Repeat("a/", 4000): "404", "/" + strings.Repeat("a", 17000): "414",
		"/u/%00": "404", "/u/%2e%2e": "404", "/u/x%0d%0aSet-Cookie:a": "404", "/u/%c0%ae": "404", "/u/' OR 1=1--": "400", "/u/'%20OR%201=1--": "404",
		"/u/": "200", "/u/+": "404", "/url/resolve": "404", "/u/" + strings.Repeat("a", 5000): "404",
		"/user/": "400", "/user/%00": "400", "/user/a/b": "400", "/user/x?token=%ff": "400", "/user/x?token='%20OR%201=1": "400",
		"/api": "400", "/api/x": "400", "/api/a/b/c/d": "400", "/api/%2e%2e/x/y": "400", `/api/\..\x/y`: "400", "/api/helloworld/call%00": "400",
		"/v1/../../etc/passwd": "400", "/v1/..%2f..%2fx": "400", "/v1//": "404", "/v1/helloworld/call%00": "404", "/v1/nosuch/x": "404", "/v1/%3Cscript%3E/x": "404",
	} {
		answer := i.rawOnce("GET "+path, "localhost", "Authorization: Bearer "+bootstrapKey+"\r\n")
		wantAnswer(t, fmt.Sprintf("%.60q", path), answer, status)
		isAPI := strings.HasPrefix(path, "/api") || strings.HasPrefix(path, "/v1")
		if isAPI && !strings.Contains(answer, "Content-Type: application/json") {
			t.Errorf("%q: no JSON: %q", path, answer)
		}
		if strings.Contains(answer, "\nSet-Cookie") {
			t.Errorf("%q: a header was injected: %q", path, answer)
		}
	}
	i.wantCleanLog()
}

func TestWrongMethodsOnEveryRoute(t *testing.T) {
	i := startIngress(t)
	i.mustCall("url/create", `{"id":"kept","destinationURL":"https://example.com/"}`)
	for _, route := range [][2]string{
		{"localhost", "/"}, {"localhost", "/u/kept"}, {"localhost", "/user/x"}, {"user.localhost", "/?token=x"}, {"app.localhost", "/"},
		{"localhost", "/favicon.ico"}, {"localhost", "/api/url/list"}, {"localhost", "/v1/url/list"}, {"localhost", "/v1/openapi.json"},
	} {
		for _, method := range []string{"TRACE", "CONNECT", "PATCH", "PROPFIND", "get", strings.Repeat("A", 200)} {
			answer := i.rawOnce(method+" "+route[1], route[0], "Authorization: Bearer "+bootstrapKey+"\r\n")
			wantAnswer(t, method+" "+route[0]+route[1], answer, "405")
			if !strings.Contains(answer, "\nAllow: ") {
				t.Errorf("%s %s: no Allow", method, route[1])
			}
			if isAPI := strings.HasPrefix(route[1], "/api") || strings.HasPrefix(route[1], "/v1"); isAPI && !strings.Contains(answer, `"code":405`) {
				t.Errorf("%s %s: no JSON: %q", method, route[1], answer)
			}
		}
		wantAnswer(t, "M@DE "+route[1], i.rawOnce("M@DE "+route[1], route[0], ""), "400")
	}
	i.wantCleanLog()
}

func TestWhatIsTooLargeIsRefused(t *testing.T) {
	i := startIngress(t)
	const size = 5 << 20
	key := "Authorization: Bearer " + bootstrapKey + "\r\n"
	wantAnswer(t, "header", i.rawOnce("GET /", "localhost", "X: "+strings.Repeat("a", 80<<10)+"\r\n"), "431")
	wantAnswer(t, "URL", i.rawOnce("GET /api/helloworld/call?name="+strings.Repeat("a", 17000), "localhost", ""), "414")
	wantAnswer(t, "length beyond all bounds", i.rawOnce("POST /v1/helloworld/call", "localhost", "Content-Length: 99999999999999999999\r\n"), "400")
	for _, path := range []string{"/v1/helloworld/call", "/api/helloworld/call"} {
		declared := i.rawOnce("POST "+path, "localhost", key+fmt.Sprintf("Content-Length: %d\r\n\r\n%s", size, strings.Repeat(" ", size)))
		expecting := i.rawOnce("POST "+path, "localhost", key+fmt.Sprintf("Expect: 100-continue\r\nContent-Length: %d\r\n", size))
		chunked := i.rawOnce("POST "+path, "localhost", key+fmt.Sprintf("Transfer-Encoding: chunked\r\n\r\n%x\r\n%s\r\n0\r\n", size, strings.Repeat(" ", size)))
		for name, answer := range map[string]string{"declared": declared, "expecting": expecting, "chunked": chunked} {
			wantAnswer(t, name+" "+path, answer, "413")
			if !strings.Contains(answer, `"code":413`) {
				t.Errorf("%s %s: no JSON: %q", name, path, answer)
			}
		}
	}
	app, _, _ := counter(t)
	i.mustCall("app/run", fmt.Sprintf(`{"name":"hello","backend":%q}`, app.URL))
	if a := i.do(http.MethodPost, "http://hello.app.localhost/", nil, strings.Repeat("a", size)); a.status != 200 {
		t.Errorf("an app's upload: %d", a.status)
	}
	i.wantCleanLog()
}

func TestNoRequestIsSmuggled(t *testing.T) {
	i := startIngress(t)
	backend, _, smuggled := counter(t)
	i.mustCall("app/run", fmt.Sprintf(`{"name":"hello","backend":%q}`, backend.URL))
	const hidden = "GET /smuggled HTTP/1.1\r\nHost: hello.app.localhost\r\n\r\n"
	for name, rest := range map[string]string{
		"CL.TE":             fmt.Sprintf("Content-Length: %d\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 5+len(hidden)) + hidden,
		"TE.CL":             fmt.Sprintf("Content-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n%x\r\n%s\r\n0\r\n\r\n", len(hidden), hidden),
		"TE with a tab":     "Content-Length: 6\r\nTransfer-Encoding:\tchunked\r\n\r\n0\r\n\r\n" + hidden,
		"TE folded":         "Transfer-Encoding:\r\n chunked\r\n\r\n0\r\n\r\n" + hidden,
		"TE unknown":        "Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n" + hidden,
		"TE twice":          "Transfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n\r\n0\r\n\r\n" + hidden,
		"TE space":          "Transfer-Encoding : chunked\r\n\r\n0\r\n\r\n" + hidden,
		"CL space":          "Content-Length : 5\r\n\r\n" + hidden,
		"CL twice":          fmt.Sprintf("Content-Length: 0\r\nContent-Length: %d\r\n\r\n", len(hidden)) + hidden,
		"CL list":           fmt.Sprintf("Content-Length: 0, %d\r\n\r\n", len(hidden)) + hidden,
		"CL plus":           "Content-Length: +0\r\n\r\n" + hidden,
		"CL hexadecimal":    "Content-Length: 0x0\r\n\r\n" + hidden,
		"chunk extension":   "Transfer-Encoding: chunked\r\n\r\n3;a=\"\r\nabc\r\n0\r\n\r\n" + hidden,
		"chunk bare LF":     "Transfer-Encoding: chunked\r\n\r\n3\nabc\n0\n\n" + hidden,
		"chunk of nonsense": "Transfer-Encoding: chunked\r\n\r\nzz\r\n" + hidden,
		"chunk negative":    "Transfer-Encoding: chunked\r\n\r\n-1\r\n" + hidden,
		"chunk overrun":     "Transfer-Encoding: chunked\r\n\r\n3\r\nabcXX\r\n" + hidden,
		"bare CR":           "X: a\rTransfer-Encoding: chunked\r\n\r\n" + hidden,
		"NUL":               "X: a\x00b\r\n\r\n" + hidden,
	} {
		answer := i.raw("POST /s HTTP/1.1\r\nHost: hello.app.localhost\r\n" + rest)
		if n := strings.Count(answer, "HTTP/1.1 "); n != 1 {
			t.Errorf("%s: %d answers: %q", name, n, answer)
		}
	}
	if n := smuggled.Load(); n != 0 {
		t.Errorf("%d smuggled requests reached the backend", n)
	}
	i.wantCleanLog()
}

func TestSlowAndVanishingClientsHoldNothingUp(t *testing.T) {
	hasty := startIngress(t, "--read-header-timeout", "300ms")
	slow := hasty.dial()
	if _, err := io.WriteString(slow, "GET / HTTP/1.1\r\nHost: hello.app"); err != nil {
		t.Fatal(err)
	}
	if answer, err := io.ReadAll(slow); errors.Is(err, os.ErrDeadlineExceeded) || strings.Contains(string(answer), " 200 ") {
		t.Errorf("a request that never ends got %q, %v", answer, err)
	}
	hasty.wantCleanLog()

	i := startIngress(t) // which gives up nobody who only is on a slow machine
	started, left := make(chan struct{}, 10), make(chan struct{}, 10)
	backend := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		started <- struct{}{}
		_, err := io.Copy(io.Discard, r.Body)
		for err == nil {
			if _, err = w.Write(bytes.Repeat([]byte("x"), 64<<10)); err == nil {
				err = http.NewResponseController(w).Flush()
			}
		}
		left <- struct{}{}
	}))
	t.Cleanup(backend.Close)
	i.mustCall("app/run", fmt.Sprintf(`{"name":"hello","backend":%q}`, backend.URL))

	for name, request := range map[string]string{
		"in mid-body":          "POST / HTTP/1.1\r\nHost: hello.app.localhost\r\nContent-Length: 1000\r\n\r\nabc",
		"in mid-chunk":         "POST / HTTP/1.1\r\nHost: hello.app.localhost\r\nTransfer-Encoding: chunked\r\n\r\n10\r\nabc",
		"while being answered": "GET / HTTP/1.1\r\nHost: hello.app.localhost\r\n\r\n",
	} {
		conn := i.dial()
		if _, err := io.WriteString(conn, request); err != nil {
			t.Fatal(err)
		}
		select {
		case <-started:
		case <-time.After(deadline):
			t.Fatalf("%s: the backend is not asked", name)
		}
		conn.Close()
		select {
		case <-left:
		case <-time.After(deadline):
			t.Errorf("%s: the backend is not told that the client has gone", name)
		}
	}
	for _, path := range []string{"/v1/url/create", "/api/url/create"} {
		conn := i.dial()
		if _, err := io.WriteString(conn, "POST "+path+" HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer "+bootstrapKey+
			"\r\nContent-Length: 1000\r\n\r\n{\"id\":\"half\",\"destinationURL\":\"https://example.com/\"}"); err != nil {
			t.Fatal(err)
		}
		conn.Close()
	}
	i.wantCleanLog()
	again := startIngressIn(t, i.dir, nil)
	if status, _ := again.call(bootstrapKey, "url/resolve", `{"id":"half"}`); status != 404 {
		t.Errorf("half a request made a link: %d", status)
	}
}

func TestMalformedJSONIsRefused(t *testing.T) {
	i := startIngress(t)
	for name, row := range map[string]struct {
		body   string
		status int
	}{
		"truncated":         {`{"name":"a`, 400},
		"null":              {`null`, 400},
		"list":              {`[]`, 400},
		"string":            {`"x"`, 400},
		"number":            {`5`, 400},
		"wrong type":        {`{"name":{}}`, 400},
		"number for string": {`{"name":5}`, 400},
		"duplicate key":     {`{"name":"a","name":"b"}`, 400},
		"10,000 lists deep": {`{"x":` + strings.Repeat("[", 10000) + strings.Repeat("]", 10000) + `}`, 400},
		"10,000 objects":    {strings.Repeat(`{"x":`, 10000) + "1" + strings.Repeat("}", 10000), 400},
		"never closed":      {`{"x":` + strings.Repeat("[", 10000), 400},
		"invalid UTF-8":     {"{\"name\":\"\xff\"}", 400},
		"invalid, unknown":  {"{\"zzz\":\"\xff\"}", 400},
		"overlong UTF-8":    {"{\"name\":\"\xc0\xae\"}", 400},
		"raw NUL":           {"{\"name\":\"a\x00b\"}", 400},
		"raw line break":    {"{\"name\":\"a\nb\"}", 400},
		"lone surrogate":    {`{"name":"\ud800"}`, 400},
		"byte order mark":   {"\ufeff{\"name\":\"a\"}", 400},
		"trailing garbage":  {`{"name":"a"} x`, 400},
		"two objects":       {`{"name":"a"}{"name":"b"}`, 400},
		"trailing comma":    {`{"name":"a",}`, 400},
		"comment":           {`{"name":"a"/**/}`, 400},
		"not a number":      {`{"name":NaN}`, 400},
		"unknown field":     {`{"nosuch":1e400,"name":"a"}`, 200},
		"escaped NUL":       {`{"name":"a\u0000b"}`, 200},
	} {
		for _, path := range []string{"/v1/helloworld/call", "/api/helloworld/call", "/api/helloworld/call?other=1"} {
			a := i.do(http.MethodPost, "http://localhost"+path, []string{"Authorization", "Bearer " + bootstrapKey, "Content-Type", "application/json"}, row.body)
			if a.status != row.status || a.header.Get("Content-Type") != "application/json" {
				t.Errorf("%s: %s: %d %q", name, path, a.status, a.body)
			}
			if row.status == 400 && !strings.Contains(a.body, `"code":400`) {
				t.Errorf("%s: %s: %q", name, path, a.body)
			}
		}
	}
	for name, row := range map[string]struct {
		kind, body string
		status     int
	}{
		"bad escape":         {"application/x-www-form-urlencoded", "name=%zz", 400},
		"form not UTF-8":     {"application/x-www-form-urlencoded", "name=%ff", 400},
		"semicolon":          {"application/x-www-form-urlencoded", "name=a;b=c", 200},
		"10,000 parameters":  {"application/x-www-form-urlencoded", manyParameters(10000), 400},
		"no boundary":        {"multipart/form-data", "x", 400},
		"wrong boundary":     {"multipart/form-data; boundary=b", "--c\r\n\r\nx\r\n--c--\r\n", 400},
		"no end":             {"multipart/form-data; boundary=b", "--b\r\nContent-Disposition: form-data; name=\"name\"\r\n\r\nx\r\n", 400},
		"file":               {"multipart/form-data; boundary=b", "--b\r\nContent-Disposition: form-data; name=\"name\"; filename=\"../../x\"\r\n\r\nx\r\n--b--\r\n", 200},
		"thousands of parts": {"multipart/form-data; boundary=b", strings.Repeat("--b\r\n\r\nx\r\n", 3000) + "--b--\r\n", 400},
		"not a content type": {"garbage", "x", 415},
	} {
		a := i.do(http.MethodPost, "http://localhost/api/helloworld/call", []string{"Authorization", "Bearer " + bootstrapKey, "Content-Type", row.kind}, row.body)
		if a.status != row.status || a.header.Get("Content-Type") != "application/json" {
			t.Errorf("%s: %d %q", name, a.status, a.body)
		}
	}
	i.wantCleanLog()
}

func manyParameters(n int) string {
	var b strings.Builder
	for i := range n {
		fmt.Fprintf(&b, "p%d=1&", i)
	}
	return b.String()
}

func TestInjectionsChangeNothing(t *testing.T) {
	i := startIngress(t)
	i.mustCall("url/create", `{"id":"kept","destinationURL":"https://example.com/"}`)
	i.mustCall("user/create", `{"email":"jane@example.com","password":"apasswordsecret"}`)
	for _, row := range []struct{ path, body string }{
		{"url/create", `{"id":"a\r\nSet-Cookie: x","destinationURL":"https://example.com/"}`},
		{"url/create", `{"destinationURL":"https://example.com/\r\nSet-Cookie: x"}`},
		{"url/create", `{"destinationURL":"javascript:alert(1)"}`},
		{"url/create", `{"id":"' OR 1=1;--","destinationURL":"https://example.com/"}`},
		{"url/delete", `{"id":"%"}`}, {"url/delete", `{"id":"' OR 1=1--"}`}, {"url/resolve", `{"id":"' OR '1'='1"}`},
		{"app/run", `{"name":"../x","backend":"http://127.0.0.1:1"}`},
		{"app/run", `{"name":"abc","backend":"http://127.0.0.1:1\r\nX: y"}`},
		{"app/run", `{"name":"abc","backend":"http://u:backendsecret@127.0.0.1:1"}`},
		{"app/run", `{"name":"abc","backend":"http://127.0.0.1:1","env_vars":{"A\r\nB":"anenvsecret"}}`},
		{"app/run", `{"name":"abc","backend":"http://127.0.0.1:1","env_vars":{"A":"anenvsecret\u0000"}}`},
		{"app/get", `{"name":"' OR 1=1--"}`}, {"app/resolve", `{"id":"kept\u0000"}`},
		{"user/create", `{"email":"a@b.example\r\nBcc: evil@example.net","password":"apasswordsecret"}`},
		{"user/login", `{"email":"' OR 1=1--","password":"apasswordsecret"}`},
		{"user/readSession", `{"session_id":"' OR 1=1--"}`}, {"user/verifyEmail", `{"token":"' OR 1=1--"}`},
		{"user/sendVerificationEmail", `{"email":"jane@example.com\r\nBcc: evil@example.net","subject":"s","text_content":"$micro_verification_link"}`},
		{"api/keys/generate", `{"scopes":["x\r\ny"]}`}, {"api/keys/revoke", `{"id":"' OR 1=1--"}`},
	} {
		status, answer := i.call(bootstrapKey, row.path, row.body)
		if status < 400 || status >= 500 || answer["detail"] == "" {
			t.Errorf("%s %s: %d %v", row.path, row.body, status, answer)
		}
	}
	// A subject may be refused or folded into one line; it must not add a header.
	i.call(bootstrapKey, "user/sendVerificationEmail", `{"email":"jane@example.com","subject":"s\r\nBcc: evil@example.net","from_name":"n\r\nBcc: evil@example.net","text_content":"$micro_verification_link"}`)
	mails, err := filepath.Glob(filepath.Join(i.dir, "outbox", "*.eml"))
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range mails {
		if content, err := os.ReadFile(name); err != nil || strings.Contains(string(content), "\nBcc:") {
			t.Errorf("a header was injected into a mail: %v\n%s", err, content)
		}
	}
	if got := i.mustCall("url/list", `{}`)["urlPairs"].([]any); len(got) != 1 {
		t.Errorf("the links are %v", got)
	}
	i.wantCleanLog("apasswordsecret", "anenvsecret", "backendsecret")
}

func TestTheAPIKeyInStrangePlacesIsNeverLogged(t *testing.T) {
	i := startIngress(t)
	const form = "application/x-www-form-urlencoded"
	for _, row := range []struct {
		query, kind, body string
		status            int
	}{
		{"api_key=KEY&name=x", "", "", 200}, {"api%5Fkey=KEY", "", "", 200}, {"API_KEY=KEY", "", "", 200},
		{"api_key=KEY&api_key=other", "", "", 200}, {"api_key=&name=x", "", "", 401}, {"name=x;api_key=KEY", "", "", 401},
		{"name=%zz&api_key=KEY", "", "", 400}, {"", form, "api_key=KEY&name=x", 200}, {"", form, "API%5Fkey=KEY", 200},
		{"api_key=other", form, "api_key=KEY", 401}, {"api_key=KEY", form, "api_key=other", 200},
		{"", "application/json", `{"api_key":"KEY"}`, 401}, {"", form, "api_key=KEY%0d%0aX:y", 400},
	} {
		method := http.MethodGet
		var headers []string
		if row.kind != "" {
			method, headers = http.MethodPost, []string{"Content-Type", row.kind}
		}
		withKey := strings.NewReplacer("=KEY", "="+bootstrapKey, `"KEY"`, `"`+bootstrapKey+`"`)
		a := i.do(method, "http://localhost/api/helloworld/call?"+withKey.Replace(row.query), headers, withKey.Replace(row.body))
		if a.status != row.status || strings.Contains(a.body, bootstrapKey) {
			t.Errorf("%+v: %d %s", row, a.status, a.body)
		}
	}
	i.wantCleanLog()
}

// TestABodyThatStopsComingIsNotWaitedFor: on /api a form is read before anybody
// knows whose it is, on /v1 a body after its key.
func TestABodyThatStopsComingIsNotWaitedFor(t *testing.T) {
	i := startIngressIn(t, shortTempDir(t), nil, "--read-body-timeout", "300ms")
	for name, head := range map[string]string{
		"a form without a key": "POST /api/helloworld/Call HTTP/1.1\r\nContent-Type: application/x-www-form-urlencoded\r\n",
		"JSON with a key":      "POST /v1/helloworld/Call HTTP/1.1\r\nContent-Type: application/json\r\nAuthorization: Bearer " + bootstrapKey + "\r\n",
	} {
		t.Run(name, func(t *testing.T) {
			conn, err := net.Dial("tcp", i.listen)
			if err != nil {
				t.Fatal(err)
			}
			defer conn.Close()
			if err := conn.SetDeadline(time.Now().Add(deadline)); err != nil {
				t.Fatal(err)
			}
			if _, err := io.WriteString(conn, head+"Host: localhost\r\nContent-Length: 10\r\n\r\n{"); err != nil {
				t.Fatal(err)
			}
			res, err := http.ReadResponse(bufio.NewReader(conn), nil)
			if err != nil {
				t.Fatal(err)
			}
			defer res.Body.Close()
			if res.StatusCode != http.StatusRequestTimeout || res.Header.Get("Content-Type") != "application/json" {
				t.Errorf("got %d %v", res.StatusCode, res.Header)
			}
		})
	}
}

// A variable that is misspelt is said when the program starts, without its value.
func TestAMisspeltVariableIsSaid(t *testing.T) {
	i := startIngressIn(t, shortTempDir(t), []string{"INGRESS_DATABSE=postgres://user:sesame@localhost/x"})
	_, log := i.output()
	if !strings.Contains(log, `"variable":"INGRESS_DATABSE","did_you_mean":"INGRESS_DATABASE"`) || strings.Contains(log, "sesame") {
		t.Errorf("the log is %s", log)
	}
}
