package adapter_test

import (
	"io"
	"net"
	"strings"
	"testing"
	"time"
)

// exchangeRaw sends bytes as they are and returns everything that comes back.
func (p *process) exchangeRaw(t testing.TB, raw string) string {
	t.Helper()
	conn, err := net.Dial("tcp", p.addr)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if err := conn.SetDeadline(time.Now().Add(patience)); err != nil {
		t.Fatal(err)
	}
	sent := make(chan struct{})
	go func() {
		defer close(sent)
		// The other side may have refused and closed already.
		_, _ = io.WriteString(conn, raw)
		_ = conn.(*net.TCPConn).CloseWrite()
	}()
	back, err := io.ReadAll(conn)
	<-sent
	if err != nil && !strings.Contains(err.Error(), "reset") {
		t.Fatalf("%q: %v", raw, err)
	}
	return string(back)
}

// TestTheServerForPythonReadsRequestsAsTheStandardSays is about framing: bytes
// that two servers could read as different requests are refused (RFC 9112).
func TestTheServerForPythonReadsRequestsAsTheStandardSays(t *testing.T) {
	p := start(t, python, tried["python"], "tried")
	const host = "Host: x\r\n"
	for name, c := range map[string]struct {
		raw  string
		want []string // statuses, in order
	}{
		"one":                    {"GET / HTTP/1.1\r\n" + host + "\r\n", []string{"201"}},
		"two at once":            {"GET / HTTP/1.1\r\n" + host + "\r\nPOST /length HTTP/1.1\r\n" + host + "Content-Length: 3\r\n\r\nabc", []string{"201", "200"}},
		"an empty line between":  {"\r\nGET / HTTP/1.1\r\n" + host + "\r\n", []string{"201"}},
		"HTTP/1.0":               {"GET / HTTP/1.0\r\n\r\nGET / HTTP/1.0\r\n\r\n", []string{"201"}},
		"asked to close":         {"GET / HTTP/1.1\r\n" + host + "Connection: x, Close\r\n\r\nGET / HTTP/1.1\r\n" + host + "\r\n", []string{"201"}},
		"chunks":                 {"POST /length HTTP/1.1\r\n" + host + "Transfer-Encoding: chunked\r\n\r\n2;x=y\r\nab\r\n1\r\nc\r\n0\r\nX: y\r\n\r\nGET / HTTP/1.1\r\n" + host + "\r\n", []string{"200", "201"}},
		"chunks nobody read":     {"POST / HTTP/1.1\r\n" + host + "Transfer-Encoding: chunked\r\n\r\n2\r\nab\r\n0\r\n\r\nGET / HTTP/1.1\r\n" + host + "\r\n", []string{"201", "201"}},
		"an absolute address":    {"GET http://x/y HTTP/1.1\r\n" + host + "\r\n", []string{"201"}},
		"the asterisk":           {"OPTIONS * HTTP/1.1\r\n" + host + "\r\n", []string{"201"}},
		"asks before the body":   {"POST /length HTTP/1.1\r\n" + host + "Content-Length: 1\r\nExpect: 100-continue\r\n\r\nx", []string{"100", "200"}},
		"asks for nothing":       {"POST / HTTP/1.1\r\n" + host + "Content-Length: 1\r\nExpect: 100-continue\r\n\r\nx", []string{"201"}},
		"length and chunks":      {"POST / HTTP/1.1\r\n" + host + "Content-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", []string{"400"}},
		"two lengths":            {"POST / HTTP/1.1\r\n" + host + "Content-Length: 1\r\nContent-Length: 1\r\n\r\nx", []string{"400"}},
		"a length with a sign":   {"POST / HTTP/1.1\r\n" + host + "Content-Length: +1\r\n\r\nx", []string{"400"}},
		"a length in digits":     {"POST / HTTP/1.1\r\n" + host + "Content-Length: \xb2\r\n\r\nx", []string{"400"}},
		"another coding":         {"POST / HTTP/1.1\r\n" + host + "Transfer-Encoding: gzip, chunked\r\n\r\n", []string{"400"}},
		"chunks of old":          {"POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", []string{"400"}},
		"a size that is none":    {"POST /length HTTP/1.1\r\n" + host + "Transfer-Encoding: chunked\r\n\r\n0x1\r\na\r\n0\r\n\r\n", []string{"400"}},
		"a chunk too long":       {"POST /length HTTP/1.1\r\n" + host + "Transfer-Encoding: chunked\r\n\r\n1\r\nab\r\n0\r\n\r\n", []string{"400"}},
		"a space before a colon": {"GET / HTTP/1.1\r\n" + host + "A : b\r\n\r\n", []string{"400"}},
		"a folded line":          {"GET / HTTP/1.1\r\n" + host + "A: b\r\n c\r\n\r\n", []string{"400"}},
		"a bare line feed":       {"GET / HTTP/1.1\r\n" + host + "A: b\nC: d\r\n\r\n", []string{"400"}},
		"no host":                {"GET / HTTP/1.1\r\n\r\n", []string{"400"}},
		"two hosts":              {"GET / HTTP/1.1\r\n" + host + host + "\r\n", []string{"400"}},
		"another version":        {"GET / HTTP/2.0\r\n" + host + "\r\n", []string{"505"}},
		"no version":             {"GET /\r\n\r\n", []string{"400"}},
		"no path":                {"GET x HTTP/1.1\r\n" + host + "\r\n", []string{"400"}},
		"much too long a head":   {"GET / HTTP/1.1\r\n" + host + "A: " + strings.Repeat("x", 1<<18) + "\r\n\r\n", []string{"431"}},
		"half a request":         {"GET / HTTP/1.1\r\nHo", nil},
		"half a body":            {"POST /length HTTP/1.1\r\n" + host + "Content-Length: 2\r\n\r\na", nil},
	} {
		t.Run(name, func(t *testing.T) {
			var got []string
			for _, part := range strings.Split(p.exchangeRaw(t, c.raw), "HTTP/1.1 ")[1:] {
				got = append(got, part[:3])
			}
			if strings.Join(got, " ") != strings.Join(c.want, " ") {
				t.Errorf("%q, want %q", got, c.want)
			}
		})
	}
}

// everything asks for all that is read from what a visitor sent.
const everything = `
def everything(request):
    found = [request.args.to_dict(flat=False), request.form.to_dict(), list(request.files.items()), request.cookies.to_dict(),
             request.get_json(silent=True), request.url, request.full_path, request.headers.items(), request.access_route,
             request.values.lists(), request.mimetype, request.content_length, request.get_data(as_text=True)]
    return repr(found)
`

// FuzzPythonRequest: no bytes make the server fail, or not answer the next one.
func FuzzPythonRequest(f *testing.F) {
	p := start(f, python, map[string]string{"main.py": everything}, "everything")
	for _, seed := range []string{
		"GET /a%20b?c=d&e HTTP/1.1\r\nHost: x\r\nCookie: a=b; c=\"d\"\r\nX-Forwarded-For: 1.2.3.4, 5\r\n\r\n",
		"POST / HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: 7\r\n\r\n{\"a\":1}",
		"POST / HTTP/1.1\r\nHost: x\r\nContent-Type: application/x-www-form-urlencoded\r\nContent-Length: 5\r\n\r\na=%ff",
		"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n1;a\r\nx\r\n0\r\nA: b\r\n\r\n",
		"POST / HTTP/1.1\r\nHost: x\r\nContent-Type: multipart/form-data; boundary=b\r\nContent-Length: 89\r\n\r\n--b\r\nContent-Disposition: form-data; name=\"f\"; filename=\"g\"\r\nContent-Type: a/b\r\n\r\nx\r\n--b--\r\n",
	} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, raw string) {
		for _, part := range strings.Split(p.exchangeRaw(t, raw), "HTTP/1.1 ")[1:] {
			if strings.HasPrefix(part, "500") {
				t.Fatalf("it failed: %s", p.out)
			}
		}
		if got := p.exchangeRaw(t, "GET / HTTP/1.0\r\n\r\n"); !strings.HasPrefix(got, "HTTP/1.1 200 ") {
			t.Fatalf("then %q", got)
		}
	})
}
