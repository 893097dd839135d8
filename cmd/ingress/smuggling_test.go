package main_test

import (
	"bufio"
	"cmp"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"
)

// Request smuggling: what a proxy in front of us, or an app behind us, could
// understand in another way than we do must not get through. Each row is sent as
// raw bytes to the real program, with a canary behind it; the backend records the
// raw bytes it gets.

// recordingBackend speaks HTTP/1.1 over plain sockets and keeps connections open,
// so that bytes smuggled into one would be a request to it.
type recordingBackend struct {
	listener net.Listener

	mu       sync.Mutex
	raw      strings.Builder
	requests []string
}

func newRecordingBackend(t *testing.T) *recordingBackend {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	b := &recordingBackend{listener: listener}
	t.Cleanup(func() { _ = listener.Close() })
	go func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			go b.serve(conn)
		}
	}()
	return b
}

// Write records raw bytes; it implements io.Writer.
func (b *recordingBackend) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.raw.Write(p)
}

func (b *recordingBackend) serve(conn net.Conn) {
	defer conn.Close()
	in := bufio.NewReader(io.TeeReader(conn, b))
	for {
		r, err := http.ReadRequest(in)
		if err != nil {
			return
		}
		body, err := io.ReadAll(r.Body)
		if err != nil {
			return // it was aborted: no request
		}
		host := r.Host
		if host == b.listener.Addr().String() {
			host = "itself" // its own name, as every registered backend gets
		}
		seen := fmt.Sprintf("%s %s %s %q", r.Method, r.RequestURI, host, body)
		for name, values := range r.Trailer {
			seen += fmt.Sprintf(" %s=%s", name, strings.Join(values, ","))
		}
		b.mu.Lock()
		b.requests = append(b.requests, seen)
		b.mu.Unlock()
		fmt.Fprint(conn, "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
	}
}

// take returns what came since the last time.
func (b *recordingBackend) take() (requests []string, raw string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	requests, raw = b.requests, b.raw.String()
	b.requests = nil
	b.raw.Reset()
	return requests, raw
}

const (
	canary      = "GET /canary HTTP/1.1\r\nHost: hello.app.localhost\r\nConnection: close\r\n\r\n"
	smuggleHost = "Host: hello.app.localhost\r\n"
	smuggleLine = "POST /s HTTP/1.1\r\n"
	smuggleHead = smuggleLine + smuggleHost
	onlyBody    = `POST /s itself "abc"`
	noBody      = `POST /s itself ""`
)

// smuggled is one variant. The canary is sent behind it unless alone is set. Where
// the variant is clear and keeps the connection alive it is answered, too.
type smuggled struct {
	name, sent string
	status     string // of the one answer; "-": the connection is closed without one; "400 or -": either
	seen       string // what the backend sees, whole; empty: not a byte
	alone      bool   // nothing is sent behind it, and our side is closed
	head       bool   // not a byte of it may reach the backend
}

// refusedHeads never reach the backend in any part.
func refusedHeads() []smuggled {
	length := fmt.Sprint(len(canary))
	rows := []smuggled{
		{name: "CL.TE", sent: smuggleHead + "Content-Length: " + length + "\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"},
		{name: "TE.CL", sent: smuggleHead + "Transfer-Encoding: chunked\r\nContent-Length: 4\r\n\r\n5c\r\n"},
		{name: "CL.0 and TE", sent: smuggleHead + "Content-Length: 0\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n"},
		{name: "CL and a bad TE", sent: smuggleHead + "Content-Length: 3\r\nTransfer-Encoding: x\r\n\r\nabc", status: "501"},
		{name: "TE in HTTP/1.0", sent: "POST /s HTTP/1.0\r\n" + smuggleHost + "Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n"},
		{name: "TE in HTTP/1.0, kept alive", sent: "POST /s HTTP/1.0\r\n" + smuggleHost + "Connection: keep-alive\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"},
		{name: "TE folded", sent: smuggleHead + "Transfer-Encoding:\r\n chunked\r\n\r\n0\r\n\r\n"},
		{name: "TE folded with a tab", sent: smuggleHead + "Transfer-Encoding:\r\n\tchunked\r\n\r\n0\r\n\r\n"},
		{name: "TE folded into another header", sent: smuggleHead + "X: y\r\n Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n"},
		{name: "CL folded", sent: smuggleHead + "Content-Length:\r\n 3\r\n\r\nabc"},
		{name: "Host folded", sent: smuggleLine + "Host:\r\n hello.app.localhost\r\n\r\n"},
		{name: "space before the first header", sent: "GET /s HTTP/1.1\r\n " + smuggleHost + smuggleHost + "\r\n"},
		{name: "bare LF everywhere", sent: "POST /s HTTP/1.1\nHost: hello.app.localhost\nContent-Length: 3\n\nabc"},
		{name: "bare LF after the request line", sent: "POST /s HTTP/1.1\n" + smuggleHost + "\r\n"},
		{name: "bare LF hides a header", sent: smuggleHead + "X: y\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"},
		{name: "bare LF ends the head", sent: smuggleHead + "Content-Length: 3\r\n\nabc"},
		{name: "LF before CR LF", sent: smuggleHead + "X: y\n\r\n"},
		{name: "bare CR hides a header", sent: smuggleHead + "X: y\rTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"},
		{name: "bare CR in the request line", sent: "POST /s\rx HTTP/1.1\r\n" + smuggleHost + "\r\n"},
		{name: "CR CR LF", sent: smuggleHead + "Content-Length: 3\r\r\n\r\nabc"},
		{name: "CR CR LF ends the head", sent: smuggleHead + "X: y\r\n\r\r\n"},
		{name: "NUL in a value", sent: smuggleHead + "X: a\x00b\r\n\r\n"},
		{name: "NUL in a name", sent: smuggleHead + "X\x00: a\r\n\r\n"},
		{name: "NUL in the target", sent: "GET /s\x00 HTTP/1.1\r\n" + smuggleHost + "\r\n"},
		{name: "NUL in CL", sent: smuggleHead + "Content-Length: 3\x00\r\n\r\nabc"},
		{name: "two hosts", sent: smuggleHead + "Host: hello.app.localhost\r\n\r\n"},
		{name: "two different hosts", sent: smuggleHead + "Host: localhost\r\n\r\n"},
		{name: "no host", sent: "GET /s HTTP/1.1\r\n\r\n"},
		{name: "no host in HTTP/1.0", sent: "GET /s HTTP/1.0\r\n\r\n"},
		{name: "empty host", sent: "GET /s HTTP/1.1\r\nHost: \r\n\r\n"},
		{name: "host with userinfo", sent: "GET /s HTTP/1.1\r\nHost: localhost@hello.app.localhost\r\n\r\n"},
		{name: "host with a space", sent: "GET /s HTTP/1.1\r\nHost: hello.app.localhost localhost\r\n\r\n"},
		{name: "host list", sent: "GET /s HTTP/1.1\r\nHost: hello.app.localhost, localhost\r\n\r\n"},
		{name: "host with a path", sent: "GET /s HTTP/1.1\r\nHost: hello.app.localhost/x\r\n\r\n"},
		{name: "host with a bad port", sent: "GET /s HTTP/1.1\r\nHost: hello.app.localhost:80a\r\n\r\n"},
		{name: "host with a space before the colon", sent: "GET /s HTTP/1.1\r\nHost : hello.app.localhost\r\n\r\n"},
		{name: "absolute target, another host", sent: "GET http://hello.app.localhost/s HTTP/1.1\r\nHost: localhost\r\n\r\n"},
		{name: "absolute target, host hello", sent: "GET http://localhost/ HTTP/1.1\r\n" + smuggleHost + "\r\n"},
		{name: "absolute target with userinfo", sent: "GET http://hello.app.localhost@localhost/ HTTP/1.1\r\n" + smuggleHost + "\r\n"},
		{name: "absolute target, empty host", sent: "GET http://hello.app.localhost/s HTTP/1.1\r\nHost:\r\n\r\n"},
		{name: "absolute target, no host", sent: "GET http://hello.app.localhost/s HTTP/1.1\r\n\r\n"},
		{name: "target without a path", sent: "GET mailto:x HTTP/1.1\r\n" + smuggleHost + "Connection: close\r\n\r\n"},
		{name: "space in the name", sent: smuggleHead + "X Y: z\r\n\r\n"},
		{name: "space before the colon", sent: smuggleHead + "Content-Length : 3\r\n\r\nabc"},
		{name: "tab before the colon", sent: smuggleHead + "Content-Length\t: 3\r\n\r\nabc"},
		{name: "no colon", sent: smuggleHead + "Transfer-Encoding chunked\r\n\r\n0\r\n\r\n"},
		{name: "no name", sent: smuggleHead + ": chunked\r\n\r\n"},
		{name: "CL with an underscore", sent: smuggleHead + "Content_Length: 3\r\n\r\n"},
		{name: "TE with an underscore", sent: smuggleHead + "Transfer_Encoding: chunked\r\n\r\n"},
		{name: "CL and one with an underscore", sent: smuggleHead + "content_length: 0\r\nContent-Length: 3\r\n\r\nabc"},
		{name: "HTTP/0.9", sent: "GET /s\r\n\r\n"},
		{name: "HTTP/0.9 with a version", sent: "GET /s HTTP/0.9\r\n" + smuggleHost + "\r\n", status: "505"},
		{name: "HTTP/2.0", sent: "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"},
		{name: "lower-case version", sent: "GET /s http/1.1\r\n" + smuggleHost + "\r\n"},
		{name: "version with a sign", sent: "GET /s HTTP/+1.1\r\n" + smuggleHost + "\r\n"},
		{name: "two spaces in the request line", sent: "GET  /s HTTP/1.1\r\n" + smuggleHost + "\r\n"},
		{name: "space at the end of the request line", sent: "GET /s HTTP/1.1 \r\n" + smuggleHost + "\r\n"},
		{name: "tab in the request line", sent: "GET\t/s HTTP/1.1\r\n" + smuggleHost + "\r\n"},
		{name: "a request in the request line", sent: "GET /s HTTP/1.1 GET /canary HTTP/1.1\r\n" + smuggleHost + "\r\n"},
		{name: "odd Expect", sent: smuggleHead + "Expect: 200-ok\r\nContent-Length: 3\r\n\r\nabc", status: "417"},
		{name: "head that breaks off", sent: smuggleHead + "Content-Length: 3\r\n", alone: true},
		{name: "request line that breaks off", sent: "POST /s HT", alone: true},
		{name: "nothing but line breaks", sent: "\r\n\r\n"},
	}
	for _, length := range []string{"-1", "+3", "0x3", "3a", "3 3", "3,3", "3, 3", "3;x", "1e1", "3.0", "\"3\"", "\v3", "99999999999999999999", "18446744073709551619", "-0", "٣", ""} {
		rows = append(rows, smuggled{name: fmt.Sprintf("CL %q", length), sent: smuggleHead + "Content-Length: " + length + "\r\n\r\nabc"})
	}
	for _, pair := range [][2]string{{"3", "3"}, {"0", "3"}, {"3", "0"}, {"3", ""}, {"", "3"}, {"3", "03"}} {
		rows = append(rows, smuggled{name: fmt.Sprintf("CL %q and %q", pair[0], pair[1]), sent: smuggleHead + "Content-Length: " + pair[0] + "\r\ncontent-length: " + pair[1] + "\r\n\r\nabc"})
	}
	// RFC 9112 6.1: what is not understood is answered with 501.
	for _, coding := range []string{"xchunked", "chunked, identity", "identity, chunked", "identity", "gzip, chunked", "chunked, chunked", "chunked,", ",chunked", "chunked;x=y", "\"chunked\"", "chunk", "chunkedx", "chunked chunked", ""} {
		rows = append(rows, smuggled{name: fmt.Sprintf("TE %q", coding), sent: smuggleHead + "Transfer-Encoding: " + coding + "\r\n\r\n0\r\n\r\n", status: "501"})
	}
	for _, coding := range []string{"\vchunked", "chunked\v", "\x00chunked", "chunked\x00", "\fchunked", "\u00a0chunked", "chun\u212aed"} {
		rows = append(rows, smuggled{name: fmt.Sprintf("TE %q", coding), sent: smuggleHead + "Transfer-Encoding: " + coding + "\r\n\r\n0\r\n\r\n", status: "4xx or 501"})
	}
	for _, pair := range [][2]string{{"chunked", "identity"}, {"identity", "chunked"}, {"chunked", "chunked"}, {"chunked", "x"}} {
		rows = append(rows, smuggled{name: fmt.Sprintf("TE %q and %q", pair[0], pair[1]), sent: smuggleHead + "Transfer-Encoding: " + pair[0] + "\r\nTransfer-encoding: " + pair[1] + "\r\n\r\n0\r\n\r\n", status: "501"})
	}
	for _, name := range []string{"Transfer-Encoding ", "Transfer-Encoding\t", " Transfer-Encoding", "Transfer-Encoding\x00", "Transfer Encoding", "Transfer-Encoding\v", "\rTransfer-Encoding", "X\rTransfer-Encoding", "Transfer-Encoding\x85"} {
		rows = append(rows, smuggled{name: fmt.Sprintf("name %q", name), sent: smuggleHead + name + ": chunked\r\n\r\n0\r\n\r\n"})
	}
	return rows
}

// refusedBodies have a good head; their request never becomes whole at the
// backend, and nothing of what follows gets there.
func refusedBodies() []smuggled {
	const chunked = smuggleHead + "Transfer-Encoding: chunked\r\n\r\n"
	var rows []smuggled
	for name, body := range map[string]string{
		"0x":                                "0x3\r\nabc\r\n0\r\n\r\n",
		"plus":                              "+3\r\nabc\r\n0\r\n\r\n",
		"minus":                             "-3\r\nabc\r\n0\r\n\r\n",
		"no number":                         "zz\r\nabc\r\n0\r\n\r\n",
		"no size":                           "\r\nabc\r\n0\r\n\r\n",
		"overflow by 2^64":                  "10000000000000003\r\nabc\r\n0\r\n\r\n",
		"negative as 64 bits":               "fffffffffffffffe\r\nabc\r\n0\r\n\r\n",
		"17 digits":                         "00000000000000003\r\nabc\r\n0\r\n\r\n",
		"leading space":                     " 3\r\nabc\r\n0\r\n\r\n",
		"trailing space":                    "3 \r\nabc\r\n0\r\n\r\n",
		"trailing tab":                      "3\t\r\nabc\r\n0\r\n\r\n",
		"underscore":                        "1_0\r\nabcdefghijklmnop\r\n0\r\n\r\n",
		"space before an extension":         "3 ;x\r\nabc\r\n0\r\n\r\n",
		"bare LF after the size":            "3\nabc\r\n0\r\n\r\n",
		"bare LF after the data":            "3\r\nabc\n0\r\n\r\n",
		"bare LF at the end":                "3\r\nabc\r\n0\n\n",
		"bare LF in an extension":           "3;x\nabc\r\n0\r\n\r\n",
		"bare LF after the last size":       "3\r\nabc\r\n0\n\r\n",
		"bare LF as last line":              "3\r\nabc\r\n0\r\n\n",
		"bare CR after the size":            "3\rabc\r\n0\r\n\r\n",
		"bare CR in an extension":           "3;x\ry\r\nabc\r\n0\r\n\r\n",
		"NUL in the size":                   "3\x00\r\nabc\r\n0\r\n\r\n",
		"NUL in an extension":               "3;x\x00\r\nabc\r\n0\r\n\r\n",
		"an extension with an open quote":   "3;x=\"\r\nabc\r\n0\r\n\r\n",
		"more data than the size":           "3\r\nabcXX\r\n0\r\n\r\n",
		"less data than the size":           "5\r\nabc\r\n0\r\n\r\n",
		"no line break after the data":      "3\r\nabc0\r\n\r\n",
		"trailer Content-Length":            "3\r\nabc\r\n0\r\nContent-Length: 30\r\n\r\n",
		"trailer Transfer-Encoding":         "3\r\nabc\r\n0\r\nTransfer-Encoding: chunked\r\n\r\n",
		"trailer Transfer_Encoding":         "3\r\nabc\r\n0\r\nTransfer_Encoding: chunked\r\n\r\n",
		"trailer Host":                      "3\r\nabc\r\n0\r\nHost: localhost\r\n\r\n",
		"trailer Authorization":             "3\r\nabc\r\n0\r\nauthorization: Bearer x\r\n\r\n",
		"trailer with a space before colon": "3\r\nabc\r\n0\r\nX : y\r\n\r\n",
		"trailer folded":                    "3\r\nabc\r\n0\r\nX: y\r\n z\r\n\r\n",
		"trailer without a colon":           "3\r\nabc\r\n0\r\n" + "GET /canary HTTP/1.1\r\n\r\n",
		"trailer with a bare LF":            "3\r\nabc\r\n0\r\nX: y\nZ: z\r\n\r\n",
	} {
		rows = append(rows, smuggled{name: "chunk: " + name, sent: chunked + body})
	}
	return append(rows,
		smuggled{name: "trailer announced: Content-Length", sent: smuggleHead + "Trailer: Content-Length\r\nTransfer-Encoding: chunked\r\n\r\n0\r\nContent-Length: 3\r\n\r\n"},
		smuggled{name: "trailer announced: Transfer-Encoding", sent: smuggleHead + "Trailer: Transfer-Encoding\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"},
		smuggled{name: "body that breaks off", sent: smuggleHead + "Content-Length: 10\r\n\r\nabc", status: "-", alone: true},
		smuggled{name: "chunk that breaks off", sent: chunked + "a\r\nabc", status: "-", alone: true},
		smuggled{name: "no last chunk", sent: chunked + "3\r\nabc\r\n", status: "-", alone: true},
		// Who hangs up before the end is told so or not, whichever is noticed first.
		smuggled{name: "no line break at the end", sent: chunked + "3\r\nabc\r\n0\r\n", status: "400 or -", alone: true},
	)
}

// passed are odd but clear. What the backend sees is exactly this.
func passed() []smuggled {
	const ok = "200"
	length := fmt.Sprint(len(canary))
	return []smuggled{
		{"chunked", smuggleHead + "Transfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n", ok, onlyBody, false, false},
		{"chunked in capitals", smuggleHead + "TRANSFER-ENCODING: CHUNKED\r\n\r\n3\r\nabc\r\n0\r\n\r\n", ok, onlyBody, false, false},
		{"chunked after a tab", smuggleHead + "Transfer-Encoding:\tchunked \r\n\r\n3\r\nabc\r\n0\r\n\r\n", ok, onlyBody, false, false},
		{"chunked without a space", smuggleHead + "Transfer-Encoding:chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n", ok, onlyBody, false, false},
		{"chunk sizes with zeros", smuggleHead + "Transfer-Encoding: chunked\r\n\r\n0000000000000003\r\nabc\r\n000\r\n\r\n", ok, onlyBody, false, false},
		{"chunk extension", smuggleHead + "Transfer-Encoding: chunked\r\n\r\n3;x=\"y;z\"\r\nabc\r\n0;last\r\n\r\n", ok, onlyBody, false, false},
		{"trailer", smuggleHead + "Transfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\nX-Sum: 1\r\n\r\n", ok, onlyBody + " X-Sum=1", false, false},
		{"canary in a chunk", smuggleHead + "Transfer-Encoding: chunked\r\n\r\n" + fmt.Sprintf("%x\r\n%s\r\n0\r\n\r\n", len(canary), canary), ok, fmt.Sprintf("POST /s itself %q", canary), false, false},
		{"canary in a body", smuggleHead + "Connection: close\r\nContent-Length: " + length + "\r\n\r\n" + canary, ok, fmt.Sprintf("POST /s itself %q", canary), false, false},
		{"GET with a body", "GET /s HTTP/1.1\r\n" + smuggleHost + "Connection: close\r\nContent-Length: " + length + "\r\n\r\n" + canary, ok, fmt.Sprintf("GET /s itself %q", canary), false, false},
		{"GET in chunks", "GET /s HTTP/1.1\r\n" + smuggleHost + "Transfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n", ok, `GET /s itself "abc"`, false, false},
		{"length with zeros", smuggleHead + "Connection: close\r\nContent-Length: 003\r\n\r\nabc", ok, onlyBody, false, false},
		{"hop-by-hop Content-Length", smuggleHead + "Connection: close, Content-Length\r\nContent-Length: 3\r\n\r\nabc", ok, onlyBody, false, false},
		{"hop-by-hop Transfer-Encoding", smuggleHead + "Connection: close, Transfer-Encoding\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n", ok, onlyBody, false, false},
		{"hop-by-hop Host", smuggleHead + "Connection: close, Host\r\n\r\n", ok, noBody, false, false},
		{"hop-by-hop X-Forwarded-For", smuggleHead + "Connection: close, X-Forwarded-For, Forwarded\r\n\r\n", ok, noBody, false, false},
		{"upgrade to h2c", smuggleHead + "Connection: close, Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABkAAQCAAAAAAIAAAAA\r\n\r\n", ok, noBody, false, false},
		{"Expect with a body", smuggleHead + "Connection: close\r\nExpect: 100-continue\r\nContent-Length: 3\r\n\r\nabc", ok, onlyBody, false, false},
		{"Expect without a body", smuggleHead + "Connection: close\r\nExpect: 100-continue\r\n\r\n", ok, noBody, false, false},
		{"absolute target", "GET http://hello.app.localhost/s HTTP/1.1\r\n" + smuggleHost + "Connection: close\r\n\r\n", ok, `GET /s itself ""`, false, false},
		{"absolute target in capitals", "GET http://HELLO.app.localhost/s HTTP/1.1\r\n" + smuggleHost + "Connection: close\r\n\r\n", ok, `GET /s itself ""`, false, false},
		{"request in the query", "GET /s?x=HTTP/1.1%0d%0aHost:%20y%0d%0a%0d%0aGET%20/canary HTTP/1.1\r\n" + smuggleHost + "Connection: close\r\n\r\n", ok, `GET /s?x=HTTP/1.1%0d%0aHost:%20y%0d%0a%0d%0aGET%20/canary itself ""`, false, false},
		{"HTTP/1.0", "POST /s HTTP/1.0\r\n" + smuggleHost + "Content-Length: 3\r\n\r\nabc", ok, onlyBody, false, false},
		{"HTTP/1.0 kept alive with a body", "POST /s HTTP/1.0\r\n" + smuggleHost + "Connection: keep-alive\r\nContent-Length: 3\r\n\r\nabc", ok, onlyBody, false, false},
		{"a later HTTP/1", "GET /s HTTP/1.2\r\n" + smuggleHost + "Connection: close\r\n\r\n", ok, `GET /s itself ""`, false, false},
		{"line breaks before it", "\r\n" + smuggleHead + "\r\n", "400", "", false, false},
	}
}

func TestSmugglingTable(t *testing.T) {
	i := startIngress(t)
	b := newRecordingBackend(t)
	i.mustCall("app/run", fmt.Sprintf(`{"name":"hello","backend":"http://%s"}`, b.listener.Addr()))
	for _, row := range refusedHeads() {
		row.status, row.head = cmp.Or(row.status, "400"), true
		i.smuggle(b, row)
	}
	for _, row := range refusedBodies() {
		row.status = cmp.Or(row.status, "400")
		i.smuggle(b, row)
	}
	for _, row := range passed() {
		i.smuggle(b, row)
	}
	i.wantCleanLog()
}

// smuggle sends a row and checks the answer, that the connection ends, and what
// the backend saw.
func (i *ingress) smuggle(b *recordingBackend, row smuggled) {
	i.t.Helper()
	b.take()
	conn := i.dial().(*net.TCPConn)
	defer conn.Close()
	if err := conn.SetDeadline(time.Now().Add(deadline)); err != nil {
		i.t.Fatal(err)
	}
	sent := row.sent
	if !row.alone {
		sent += canary
	}
	if _, err := io.WriteString(conn, sent); err != nil {
		i.t.Fatalf("%s: %v", row.name, err)
	}
	if row.alone {
		if err := conn.CloseWrite(); err != nil {
			i.t.Fatal(err)
		}
	}
	answer, err := io.ReadAll(conn)
	if errors.Is(err, os.ErrDeadlineExceeded) {
		i.t.Errorf("%s: the connection stays open, after %q", row.name, answer)
	}
	requests, raw := b.take()
	if row.keepsAlive() {
		wantCanaryServed(i.t, row, string(answer), requests)
		return
	}
	wantOneAnswer(i.t, row, string(answer))
	switch {
	case row.seen != "" && (len(requests) != 1 || requests[0] != row.seen):
		i.t.Errorf("%s: the backend saw %q, want %q", row.name, requests, row.seen)
	case row.seen == "" && len(requests) > 0:
		i.t.Errorf("%s: the backend saw %q", row.name, requests)
	case row.seen == "" && row.head && raw != "":
		i.t.Errorf("%s: the backend got %q", row.name, raw)
	case strings.Contains(raw, "/canary") && !strings.Contains(row.seen, "/canary"):
		i.t.Errorf("%s: the canary got to the backend: %q", row.name, raw)
	}
}

// keepsAlive reports whether there is no doubt about the row, and nobody wants the
// connection closed: then the canary is a request of its own.
func (row smuggled) keepsAlive() bool {
	head, _, _ := strings.Cut(row.sent, "\r\n\r\n")
	version, _, _ := strings.Cut(head, "\r\n")
	kept := strings.HasSuffix(version, "HTTP/1.1") || strings.Contains(head, "Connection: keep-alive")
	return row.status == "200" && kept && !strings.Contains(head, "Connection: close")
}

// wantCanaryServed checks that both requests were seen and answered, as what they
// are.
func wantCanaryServed(t testing.TB, row smuggled, answer string, requests []string) {
	t.Helper()
	const canarySeen = `GET /canary itself ""`
	if len(requests) != 2 || requests[0] != row.seen || requests[1] != canarySeen {
		t.Errorf("%s: the backend saw %q, want %q and the canary", row.name, requests, row.seen)
	}
	if n := len(statusLine.FindAllString(answer, -1)); n != 2 || strings.Count(answer, " 200 OK") != 2 {
		t.Errorf("%s: got %q, want two answers", row.name, answer)
	}
}

var statusLine = regexp.MustCompile(`HTTP/1\.[01] [0-9]{3} `)

// wantOneAnswer checks the status, and that nothing else was taken for a request.
func wantOneAnswer(t testing.TB, row smuggled, answer string) {
	t.Helper()
	final := strings.TrimPrefix(answer, "HTTP/1.1 100 Continue\r\n\r\n")
	final = strings.Replace(final, "HTTP/1.0 ", "HTTP/1.1 ", 1) // to a client of that version
	switch n := len(statusLine.FindAllString(final, -1)); {
	case row.status == "400 or -" && (n == 0 || n == 1 && strings.HasPrefix(final, "HTTP/1.1 400 ")):
	case row.status == "-" && n > 0, row.status != "-" && n != 1:
		t.Errorf("%s: %d answers: %q", row.name, n, answer)
	case row.status == "-":
	case row.status == "4xx or 501" && (strings.HasPrefix(final, "HTTP/1.1 400 ") || strings.HasPrefix(final, "HTTP/1.1 501 ")):
	case !strings.HasPrefix(final, "HTTP/1.1 "+row.status+" "):
		t.Errorf("%s: got %.300q, want %s", row.name, answer, row.status)
	}
}
