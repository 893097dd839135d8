package upstream

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/http/httptrace"
	"net/http/httputil"
	"net/textproto"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// rawBackend serves each connection with the function and then closes it.
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
	return "http://" + listener.Addr().String()
}

// say writes to a connection that may be closed already.
func say(c net.Conn, format string, args ...any) { _, _ = fmt.Fprintf(c, format, args...) }

// readHead reads a request's head, as bytes.
func readHead(in *bufio.Reader) (string, error) {
	var head strings.Builder
	for {
		line, err := in.ReadString('\n')
		head.WriteString(line)
		if err != nil || line == "\r\n" {
			return head.String(), err
		}
	}
}

func newRequest(t testing.TB, method, address string, body io.Reader) *http.Request {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), method, address, body)
	if err != nil {
		t.Fatal(err)
	}
	req.GetBody = nil // as in a proxy
	return req
}

// ask sends a request and returns the answer and its body.
func ask(t testing.TB, rt http.RoundTripper, req *http.Request) (*http.Response, string) {
	t.Helper()
	res, err := rt.RoundTrip(req)
	if err != nil {
		t.Fatal(err)
	}
	body, err := io.ReadAll(res.Body)
	if err = errors.Join(err, res.Body.Close()); err != nil {
		t.Fatal(err)
	}
	return res, string(body)
}

func newTransport(t testing.TB, o Options) *Transport {
	transport := New(o)
	t.Cleanup(transport.CloseIdleConnections)
	return transport
}

// within fails the test if the channel gives nothing for too long.
func within[T any](t testing.TB, what string, c <-chan T) T {
	t.Helper()
	select {
	case v := <-c:
		return v
	case <-time.After(patience):
		t.Fatalf("waited in vain for %s", what)
		panic("unreachable")
	}
}

func TestBodiesAndTrailersGoBothWays(t *testing.T) {
	backend := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Trailer", "X-Announced")
		body, err := io.ReadAll(r.Body)
		if err != nil {
			t.Error(err)
		}
		w.Header().Set("X-Length", fmt.Sprint(r.ContentLength, r.TransferEncoding))
		_, _ = w.Write(body)
		w.Header().Set("X-Announced", "1")
		w.Header().Set(http.TrailerPrefix+"X-Unannounced", "2")
		w.Header().Set(http.TrailerPrefix+"X-Request", r.Trailer.Get("X-End"))
	}))
	defer backend.Close()
	large := strings.Repeat("0123456789abcdef", 64<<10)
	onEachEngine(t, func(t *testing.T, engine Engine) {
		transport := newTransport(t, Options{Engine: engine})
		for _, c := range []struct {
			name, body string
			length     int64
			trailer    bool
			wantLength string
		}{
			{"small", "abc", 3, false, "3 []"},
			{"joinable", large[:joinable], joinable, false, "8192 []"},
			{"large", large, int64(len(large)), false, "1048576 []"},
			{"small, chunked", "abc", -1, false, "-1 [chunked]"},
			{"large, chunked", large, -1, false, "-1 [chunked]"},
			{"empty, chunked", "", -1, false, "-1 [chunked]"},
			{"with trailers", large[:100_000], -1, true, "-1 [chunked]"},
		} {
			for name, wrap := range map[string]func(io.Reader) io.Reader{
				"at once":      func(r io.Reader) io.Reader { return r },
				"byte by byte": func(r io.Reader) io.Reader { return oneByte{r} },
			} {
				if name == "byte by byte" && len(c.body) > 100_000 {
					continue // a write for each would take long
				}
				t.Run(c.name+" "+name, func(t *testing.T) {
					body := &closeCounter{Reader: wrap(strings.NewReader(c.body))}
					req := newRequest(t, "POST", backend.URL, body)
					req.ContentLength = c.length
					want := ""
					if c.trailer {
						req.Trailer = http.Header{"X-End": nil}
						body.Reader = io.MultiReader(body.Reader, doing(func() { req.Trailer.Set("X-End", "end") }))
						want = "end"
					}
					res, got := ask(t, transport, req)
					if got != c.body || res.Header.Get("X-Length") != c.wantLength {
						t.Errorf("%d bytes came back, length %s", len(got), res.Header.Get("X-Length"))
					}
					wantTrailer := http.Header{"X-Announced": {"1"}, "X-Unannounced": {"2"}, "X-Request": {want}}
					if diff := cmp.Diff(wantTrailer, res.Trailer); diff != "" {
						t.Error(diff)
					}
					if body.closed.Load() != 1 {
						t.Errorf("the body was closed %d times", body.closed.Load())
					}
				})
			}
		}
		if s := transport.Stats(); s.Dials != 1 || s.Retried != 0 {
			t.Errorf("one connection would have done: %+v", s)
		}
	})
}

// doing is an empty reader that does something when it is read.
type doing func()

func (d doing) Read([]byte) (int, error) {
	d()
	return 0, io.EOF
}

// TestABodyThatIsNone sends what servers make of a request over HTTP/2 without a
// body, or with one.
func TestABodyThatIsNone(t *testing.T) {
	heads := make(chan string, 1)
	address := rawBackend(t, func(c net.Conn, in *bufio.Reader) {
		for {
			head, err := readHead(in)
			if err != nil {
				return
			}
			if strings.Contains(head, "chunked") {
				if _, err := io.Copy(io.Discard, httputil.NewChunkedReader(in)); err != nil {
					return
				}
				if _, err := in.Discard(len("\r\n")); err != nil {
					return
				}
			}
			heads <- head
			say(c, "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
		}
	})
	onEachEngine(t, func(t *testing.T, engine Engine) {
		transport := newTransport(t, Options{Engine: engine})
		for _, c := range []struct{ method, body, want string }{
			{"GET", "", ""}, {"DELETE", "", ""}, {"GET", "abc", "Transfer-Encoding: chunked\r\n"},
		} {
			req := newRequest(t, c.method, address, io.NopCloser(strings.NewReader(c.body)))
			req.ContentLength = -1
			req.Header["User-Agent"] = nil
			ask(t, transport, req)
			want := c.method + " / HTTP/1.1\r\nHost: " + req.URL.Host + "\r\n" + c.want + "\r\n"
			if head := within(t, "the request", heads); head != want {
				t.Errorf("%q, want %q", head, want)
			}
		}
	})
}

func TestNothingIsAddedToARequest(t *testing.T) {
	heads := make(chan string, 1)
	address := rawBackend(t, func(c net.Conn, in *bufio.Reader) {
		head, _ := readHead(in)
		heads <- head
		say(c, "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
	})
	for name, c := range map[string]struct {
		change func(*http.Request)
		want   string
	}{
		"path":         {func(*http.Request) {}, "GET /a?b HTTP/1.1\r\nHost: HOST\r\n\r\n"},
		"opaque":       {func(r *http.Request) { r.URL.Opaque = "/a|%2f\xff\"" }, "GET /a|%2f\xff\"?b HTTP/1.1\r\nHost: HOST\r\n\r\n"},
		"asterisk":     {func(r *http.Request) { r.Method, r.URL.Path, r.URL.RawQuery = "OPTIONS", "*", "" }, "OPTIONS * HTTP/1.1\r\nHost: HOST\r\n\r\n"},
		"no path":      {func(r *http.Request) { r.URL.Path, r.URL.ForceQuery, r.URL.RawQuery = "", true, "" }, "GET /? HTTP/1.1\r\nHost: HOST\r\n\r\n"},
		"host":         {func(r *http.Request) { r.Host = "münchen.example:1" }, "GET /a?b HTTP/1.1\r\nHost: xn--mnchen-3ya.example:1\r\n\r\n"},
		"zone":         {func(r *http.Request) { r.Host = "[fe80::1%en0]:1" }, "GET /a?b HTTP/1.1\r\nHost: [fe80::1]:1\r\n\r\n"},
		"user agent":   {func(r *http.Request) { r.Header["User-Agent"] = []string{" x ", "y"} }, "GET /a?b HTTP/1.1\r\nHost: HOST\r\nUser-Agent: x\r\n\r\n"},
		"values":       {func(r *http.Request) { r.Header["X"] = []string{"1", "", " 2\t"} }, "GET /a?b HTTP/1.1\r\nHost: HOST\r\nX: 1\r\nX: \r\nX: 2\r\n\r\n"},
		"no values":    {func(r *http.Request) { r.Header["X"] = nil }, "GET /a?b HTTP/1.1\r\nHost: HOST\r\n\r\n"},
		"no method":    {func(r *http.Request) { r.Method = "" }, "GET /a?b HTTP/1.1\r\nHost: HOST\r\n\r\n"},
		"close":        {func(r *http.Request) { r.Close = true }, "GET /a?b HTTP/1.1\r\nHost: HOST\r\nConnection: close\r\n\r\n"},
		"close twice":  {func(r *http.Request) { r.Close = true; r.Header["Connection"] = []string{"close"} }, "GET /a?b HTTP/1.1\r\nHost: HOST\r\nConnection: close\r\n\r\n"},
		"empty POST":   {func(r *http.Request) { r.Method = "POST" }, "POST /a?b HTTP/1.1\r\nHost: HOST\r\nContent-Length: 0\r\n\r\n"},
		"no body":      {func(r *http.Request) { r.Method, r.Body = "PUT", http.NoBody }, "PUT /a?b HTTP/1.1\r\nHost: HOST\r\nContent-Length: 0\r\n\r\n"},
		"ours to say":  {func(r *http.Request) { r.Header["Content-Length"] = []string{"5"}; r.Header["Host"] = []string{"x"} }, "GET /a?b HTTP/1.1\r\nHost: HOST\r\n\r\n"},
		"other method": {func(r *http.Request) { r.Method = "m!" }, "m! /a?b HTTP/1.1\r\nHost: HOST\r\n\r\n"},
	} {
		t.Run(name, func(t *testing.T) {
			onEachEngine(t, func(t *testing.T, engine Engine) {
				transport := newTransport(t, Options{Engine: engine})
				req := newRequest(t, "GET", address+"/a?b", nil)
				req.Host = ""
				req.Header["User-Agent"] = []string{""}
				c.change(req)
				ask(t, transport, req)
				want := strings.ReplaceAll(c.want, "HOST", req.URL.Host)
				if got := within(t, "the request", heads); sortedFields(got) != sortedFields(want) {
					t.Errorf("%q, want %q", got, want)
				}
			})
		})
	}
}

// sortedFields brings a head's fields into one order.
func sortedFields(head string) string {
	lines := strings.SplitAfter(head, "\r\n")
	slices.SortStableFunc(lines[1:], func(a, b string) int {
		return strings.Compare(strings.SplitN(a, ":", 2)[0], strings.SplitN(b, ":", 2)[0])
	})
	return strings.Join(lines, "")
}

func TestInterimAnswersAreTold(t *testing.T) {
	address := rawBackend(t, func(c net.Conn, in *bufio.Reader) {
		_, _ = readHead(in)
		say(c, "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: </a>\r\nLink: </b>\r\n\r\nHTTP/1.1 199 x\r\nlink: </c>\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
		_, _ = readHead(in)
	})
	refuse := errors.New("refused by the caller")
	onEachEngine(t, func(t *testing.T, engine Engine) {
		transport := newTransport(t, Options{Engine: engine})
		var told []string
		var fail error
		trace := &httptrace.ClientTrace{Got1xxResponse: func(status int, header textproto.MIMEHeader) error {
			told = append(told, fmt.Sprint(status, header["Link"]))
			return fail
		}}
		req := newRequest(t, "GET", address, nil)
		req = req.WithContext(httptrace.WithClientTrace(req.Context(), trace))
		res, body := ask(t, transport, req)
		want := []string{"100 []", "103 [</a> </b>]", "199 [</c>]"}
		if !slices.Equal(told, want) || body != "ok" || len(res.Header) != 1 {
			t.Errorf("%q, %q, %v", told, body, res.Header)
		}
		transport.CloseIdleConnections()
		fail = refuse
		if _, err := transport.RoundTrip(req); !errors.Is(err, refuse) {
			t.Errorf("error %v", err)
		}
	})
}

func TestExpectedBodies(t *testing.T) {
	for name, c := range map[string]struct {
		before  string // is answered before the body
		timeout time.Duration
		sent    bool
	}{
		"100":         {"HTTP/1.1 100 Continue\r\n\r\n", time.Hour, true},
		"103 and 100": {"HTTP/1.1 103 Early Hints\r\n\r\nHTTP/1.1 100 Continue\r\n\r\n", time.Hour, true},
		"silence":     {"", time.Millisecond, true},
		"refusal":     {"HTTP/1.1 417 Expectation Failed\r\nContent-Length: 0\r\n\r\n", time.Hour, false},
	} {
		t.Run(name, func(t *testing.T) {
			rest := make(chan string, 1)
			address := rawBackend(t, func(conn net.Conn, in *bufio.Reader) {
				if _, err := readHead(in); err != nil {
					return
				}
				say(conn, "%s", c.before)
				body := make([]byte, 4)
				n, _ := io.ReadFull(in, body)
				rest <- string(body[:n])
				say(conn, "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
			})
			transport := newTransport(t, Options{Engine: EngineOwn, ContinueTimeout: c.timeout})
			body := &closeCounter{Reader: strings.NewReader("body")}
			req := newRequest(t, "POST", address, body)
			req.ContentLength = 4
			req.Header.Set("Expect", "100-continue")
			res, _ := ask(t, transport, req)
			want := map[bool]string{true: "body"}[c.sent]
			if got := within(t, "the body", rest); got != want {
				t.Errorf("%q was sent, want %q", got, want)
			}
			if c.sent != (res.StatusCode == 200) || body.closed.Load() != 1 {
				t.Errorf("status %d, the body was closed %d times", res.StatusCode, body.closed.Load())
			}
			if kept := transport.Stats().Idle == 1; kept != c.sent {
				t.Errorf("the connection is kept: %v", kept)
			}
		})
	}
}

func TestUpgrades(t *testing.T) {
	address := rawBackend(t, func(c net.Conn, in *bufio.Reader) {
		if _, err := readHead(in); err != nil {
			return
		}
		say(c, "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: echo\r\n\r\nearly ")
		all, _ := io.ReadAll(in) // until our side is closed
		say(c, "%s", all)
	})
	onEachEngine(t, func(t *testing.T, engine Engine) {
		transport := newTransport(t, Options{Engine: engine, ResponseHeaderTimeout: patience})
		req := newRequest(t, "GET", address, nil)
		req.Header.Set("Connection", "Upgrade")
		req.Header.Set("Upgrade", "echo")
		ctx, cancel := context.WithCancel(t.Context())
		res, err := transport.RoundTrip(req.WithContext(ctx))
		if err != nil {
			t.Fatal(err)
		}
		cancel() // does not end what is no request any more
		conn, ok := res.Body.(io.ReadWriteCloser)
		if !ok || res.StatusCode != 101 || res.Header.Get("Upgrade") != "echo" {
			t.Fatalf("%T, %v", res.Body, res)
		}
		if _, err := io.WriteString(conn, "later"); err != nil {
			t.Fatal(err)
		}
		if err := conn.(interface{ CloseWrite() error }).CloseWrite(); err != nil {
			t.Fatal(err)
		}
		all, err := io.ReadAll(conn)
		if string(all) != "early later" || err != nil {
			t.Errorf("%q, %v", all, err)
		}
		if err := conn.Close(); err != nil {
			t.Error(err)
		}
	})
}

// TestSwitchesToSomethingElse are errors, and end the connection.
func TestSwitchesToSomethingElse(t *testing.T) {
	for name, c := range map[string]struct {
		header string
		body   int64
	}{
		"another protocol": {header: "Connection: Upgrade\r\nUpgrade: other\r\n"},
		"no protocol":      {header: "Connection: Upgrade\r\n"},
		"no connection":    {header: "Upgrade: echo\r\n"},
		"before the body":  {header: "Connection: Upgrade\r\nUpgrade: echo\r\n", body: 100},
	} {
		t.Run(name, func(t *testing.T) {
			gone := make(chan error, 1)
			address := rawBackend(t, func(conn net.Conn, in *bufio.Reader) {
				_, _ = readHead(in)
				say(conn, "HTTP/1.1 101 Switching Protocols\r\n%s\r\n", c.header)
				_, err := io.Copy(io.Discard, in)
				gone <- err
			})
			transport := newTransport(t, Options{Engine: EngineOwn})
			body, visitor := io.Pipe()
			defer visitor.Close()
			req := newRequest(t, "GET", address, nil)
			if req.ContentLength = c.body; c.body > 0 {
				req.Body = body
			}
			req.Header.Set("Connection", "Upgrade")
			req.Header.Set("Upgrade", "first, Echo")
			if _, err := transport.RoundTrip(req); !errors.Is(err, errUnasked) {
				t.Errorf("error %v", err)
			}
			within(t, "the end of the connection", gone)
		})
	}
}

func TestAnswersThatEndDifferently(t *testing.T) {
	for name, c := range map[string]struct {
		method, answer, body string
		length               int64
		kept                 bool
	}{
		"length":                {"GET", "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok", "ok", 2, true},
		"chunked":               {"GET", chunkedHead + "2\r\nok\r\n0\r\n\r\n", "ok", -1, true},
		"HEAD":                  {"HEAD", "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n", "", 2, true},
		"HEAD, chunked":         {"HEAD", chunkedHead, "", -1, true},
		"HEAD with a body":      {"HEAD", "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok", "", 2, false},
		"204":                   {"GET", "HTTP/1.1 204 No Content\r\n\r\n", "", 0, true},
		"204 that has a length": {"GET", "HTTP/1.1 204 No Content\r\nContent-Length: 2\r\n\r\n", "", 0, false},
		"304":                   {"GET", "HTTP/1.1 304 Not Modified\r\nContent-Length: 2\r\n\r\n", "", 0, true},
		"closes":                {"GET", "HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 2\r\n\r\nok", "ok", 2, false},
		"1.0":                   {"GET", "HTTP/1.0 200 OK\r\nContent-Length: 2\r\n\r\nok", "ok", 2, false},
		"1.0 that stays":        {"GET", "HTTP/1.0 200 OK\r\nConnection: keep-alive\r\nContent-Length: 2\r\n\r\nok", "ok", 2, true},
		"too much":              {"GET", "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nokHTTP/1.1 200 OK\r\n\r\n", "ok", 2, false},
		"too much, chunked":     {"GET", chunkedHead + "2\r\nok\r\n0\r\n\r\n\r\n", "ok", -1, false},
	} {
		t.Run(name, func(t *testing.T) {
			address := rawBackend(t, func(conn net.Conn, in *bufio.Reader) {
				for {
					if _, err := readHead(in); err != nil {
						return
					}
					say(conn, "%s", c.answer)
				}
			})
			transport := newTransport(t, Options{Engine: EngineOwn})
			for range 2 {
				res, body := ask(t, transport, newRequest(t, c.method, address, nil))
				if body != c.body || res.ContentLength != c.length {
					t.Errorf("%q, length %d", body, res.ContentLength)
				}
			}
			if s := transport.Stats(); (s.Dials == 1 && s.Reused == 1 && s.Idle == 1) != c.kept || s.Dials == 2 == c.kept {
				t.Errorf("%+v", s)
			}
		})
	}
	t.Run("with the connection", func(t *testing.T) {
		onEachEngine(t, func(t *testing.T, engine Engine) {
			for _, head := range []string{"HTTP/1.1 200 OK\r\n\r\n", "HTTP/1.0 200 OK\r\n\r\n", "HTTP/1.0 200 OK\r\nConnection: keep-alive\r\n\r\n"} {
				large := strings.Repeat("x", 100_000)
				address := rawBackend(t, func(c net.Conn, in *bufio.Reader) {
					_, _ = readHead(in)
					say(c, "%s%s", head, large)
				})
				transport := newTransport(t, Options{Engine: engine})
				res, body := ask(t, transport, newRequest(t, "GET", address, nil))
				if body != large || res.ContentLength != -1 || !res.Close || transport.Stats().Idle != 0 {
					t.Errorf("%d bytes, length %d, %+v", len(body), res.ContentLength, transport.Stats())
				}
			}
		})
	})
}

// TestAnAnswerMayComeBeforeTheBodyIsSent has backends that do not wait.
func TestAnAnswerMayComeBeforeTheBodyIsSent(t *testing.T) {
	for name, afterwards := range map[string]func(c net.Conn, in *bufio.Reader){
		"and the backend keeps reading": func(_ net.Conn, in *bufio.Reader) { _, _ = io.Copy(io.Discard, in) },
		"and the backend hangs up":      func(net.Conn, *bufio.Reader) {},
	} {
		for _, length := range []int64{100, 1 << 30, -1} {
			t.Run(fmt.Sprint(name, " ", length), func(t *testing.T) {
				gone := make(chan struct{})
				address := rawBackend(t, func(c net.Conn, in *bufio.Reader) {
					defer close(gone)
					_, _ = readHead(in)
					say(c, "HTTP/1.1 413 Content Too Large\r\nContent-Length: 2\r\n\r\nno")
					afterwards(c, in)
				})
				transport := newTransport(t, Options{Engine: EngineOwn})
				body, visitor := io.Pipe()
				defer visitor.Close()
				req := newRequest(t, "POST", address, body)
				req.ContentLength = length
				res, answer := ask(t, transport, req)
				if res.StatusCode != 413 || answer != "no" || transport.Stats().Idle != 0 {
					t.Errorf("%d %q, %+v", res.StatusCode, answer, transport.Stats())
				}
				within(t, "the end of the connection", gone)
				if _, err := visitor.Write([]byte("x")); err != io.ErrClosedPipe {
					t.Errorf("who sends the body is not told: %v", err)
				}
			})
		}
	}
}

// TestAnAnswerBeforeAnUploadBreaksIsSeen sends more than the backend takes.
func TestAnAnswerBeforeAnUploadBreaksIsSeen(t *testing.T) {
	address := rawBackend(t, func(c net.Conn, in *bufio.Reader) {
		_, _ = readHead(in)
		say(c, "HTTP/1.1 413 Content Too Large\r\nContent-Length: 2\r\n\r\nno")
		_ = c.(*net.TCPConn).CloseWrite()
		_, _ = io.CopyN(io.Discard, in, 1<<20)
	})
	transport := newTransport(t, Options{Engine: EngineOwn})
	req := newRequest(t, "POST", address, io.LimitReader(zeros{}, 1<<30))
	req.ContentLength = 1 << 30
	res, answer := ask(t, transport, req)
	if res.StatusCode != 413 || answer != "no" {
		t.Errorf("%d %q", res.StatusCode, answer)
	}
}

type zeros struct{}

func (zeros) Read(p []byte) (int, error) { clear(p); return len(p), nil }

// TestAHeadDoesNotWaitForItsBody has a visitor who sends nothing of it.
func TestAHeadDoesNotWaitForItsBody(t *testing.T) {
	onEachEngine(t, func(t *testing.T, engine Engine) {
		heads := make(chan string, 1)
		address := rawBackend(t, func(c net.Conn, in *bufio.Reader) {
			head, _ := readHead(in)
			heads <- head
			body := make([]byte, 4)
			_, _ = io.ReadFull(in, body)
			say(c, "HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\n%s", body)
		})
		transport := newTransport(t, Options{Engine: engine})
		body, visitor := io.Pipe()
		req := newRequest(t, "POST", address, body)
		req.ContentLength = 4
		done := make(chan string, 1)
		go func() {
			_, answer := ask(t, transport, req)
			done <- answer
		}()
		within(t, "the head", heads)
		for _, part := range []string{"b", "od", "y"} {
			if _, err := io.WriteString(visitor, part); err != nil {
				t.Fatal(err)
			}
		}
		_ = visitor.Close()
		if answer := within(t, "the answer", done); answer != "body" {
			t.Errorf("%q", answer)
		}
	})
}

// TestSmallRequestsAreWrittenAtOnce counts the writes.
func TestSmallRequestsAreWrittenAtOnce(t *testing.T) {
	backend := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { _, _ = io.Copy(io.Discard, r.Body) }))
	defer backend.Close()
	transport := newTransport(t, Options{Engine: EngineOwn})
	var writes atomic.Int64
	transport.wrapDial(func(c net.Conn) net.Conn { return &writeCounter{c, &writes} })
	for _, body := range []string{"", "x", strings.Repeat("x", joinable)} {
		writes.Store(0)
		req := newRequest(t, "POST", backend.URL, strings.NewReader(body))
		if _, err := transport.RoundTrip(req); err != nil {
			t.Fatal(err)
		}
		// The head goes by itself if the machine is so slow that the body seems to be.
		if n := writes.Load(); n != 1 && (body == "" || n != 2) {
			t.Errorf("%d bytes of body took %d writes", len(body), n)
		}
	}
}

type writeCounter struct {
	net.Conn
	n *atomic.Int64
}

func (c *writeCounter) Write(p []byte) (int, error) {
	c.n.Add(1)
	return c.Conn.Write(p)
}

// TestABodyThatCannotBeRead ends the request and its connection.
func TestABodyThatCannotBeRead(t *testing.T) {
	broken := errors.New("the visitor sent nonsense")
	onEachEngine(t, func(t *testing.T, engine Engine) {
		for _, c := range []struct {
			length int64
			sent   string
			want   error
		}{
			{100, "", broken}, {100, "abc", broken}, {1 << 20, "abc", broken}, {-1, "", broken}, {-1, "abc", broken},
			{100, "abc", io.EOF}, {2, "abc", io.EOF},
		} {
			gone := make(chan error, 1)
			address := rawBackend(t, func(_ net.Conn, in *bufio.Reader) {
				_, err := io.Copy(io.Discard, in)
				gone <- err
			})
			transport := newTransport(t, Options{Engine: engine})
			body := &closeCounter{Reader: io.MultiReader(strings.NewReader(c.sent), failing{c.want})}
			req := newRequest(t, "POST", address, body)
			req.ContentLength = c.length
			_, err := transport.RoundTrip(req)
			if err == nil || c.want == broken && !errors.Is(err, broken) {
				t.Errorf("%d bytes announced, %q and %v: error %v", c.length, c.sent, c.want, err)
			}
			within(t, "the end of the connection", gone)
			if body.closed.Load() != 1 {
				t.Errorf("the body was closed %d times", body.closed.Load())
			}
		}
	})
}

type failing struct{ err error }

func (f failing) Read([]byte) (int, error) { return 0, f.err }

// TestLongHeadsAreAnsweredUnread has a backend that refuses without reading.
func TestLongHeadsAreAnsweredUnread(t *testing.T) {
	long := bytes.Repeat([]byte("x"), 32<<20) // no socket's buffer takes that
	address := rawBackend(t, func(c net.Conn, in *bufio.Reader) {
		if _, err := in.ReadByte(); err != nil {
			return
		}
		say(c, "HTTP/1.1 431 Request Header Fields Too Large\r\nContent-Length: 2\r\n\r\nno")
		_, _ = io.CopyN(io.Discard, in, 1<<20)
	})
	transport := newTransport(t, Options{Engine: EngineOwn})
	req := newRequest(t, "GET", address, nil)
	req.Header.Set("X", string(long))
	res, err := transport.RoundTrip(req)
	if err != nil {
		t.Fatal(err)
	}
	if res.StatusCode != 431 {
		t.Errorf("status %d", res.StatusCode)
	}
	_ = res.Body.Close()
}

// TestAnAnswerToNothingIsNotTaken has a connection on which an answer waits before
// the body that the request waits for has come.
func TestAnAnswerToNothingIsNotTaken(t *testing.T) {
	wrong := &script{rest: []byte(head + "Content-Length: 5\r\n\r\nwrong"), step: 4096}
	right := &gated{
		script: &script{rest: []byte(head + "Content-Length: 5\r\n\r\nright"), step: 4096},
		open:   make(chan struct{}), hungUp: make(chan struct{}),
	}
	transport := newTransport(t, Options{Engine: EngineOwn})
	body, visitor := io.Pipe()
	transport.own.dial = func(context.Context, string, string) (net.Conn, error) {
		go func() {
			_, _ = io.WriteString(visitor, "abc")
			_ = visitor.Close()
		}()
		return right, nil
	}
	idle := newConn(wrong, "a.example", 0)
	transport.own.pool.put(idle)
	req := newRequest(t, "GET", "http://a.example/", body)
	req.ContentLength = -1 // so that the head waits for long
	res, answer := ask(t, transport, req)
	if idle.written.Load() > 0 {
		return // the machine is so slow that the head went first: then it is the answer
	}
	if s := transport.Stats(); res.StatusCode != 200 || answer != "right" || s.Retried != 1 || !wrong.closed {
		t.Errorf("%d %q, %+v", res.StatusCode, answer, s)
	}
	if sent := string(right.bytes()); !strings.HasSuffix(sent, "\r\n\r\n3\r\nabc\r\n0\r\n\r\n") {
		t.Errorf("%q was sent", sent)
	}
}
