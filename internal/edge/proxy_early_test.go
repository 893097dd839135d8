package edge

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptrace"
	"os"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/m3o/ingress/internal/porttest"
	"github.com/m3o/ingress/internal/upstream"
)

// TestAnAnswerBeforeTheEndOfTheBodyIsTheLast has a backend answer while the
// visitor is still sending. The visitor must learn that nothing more will be
// answered on the connection, and what it goes on to send must not be taken for
// a request.
func TestAnAnswerBeforeTheEndOfTheBodyIsTheLast(t *testing.T) {
	const smuggled = "GET /smuggled HTTP/1.1\r\nHost: early.app.test\r\n\r\n"
	for name, test := range map[string]struct {
		first, more, answer string
		status              int
	}{
		"chunked": {"Transfer-Encoding: chunked\r\n\r\n2\r\nab\r\n", fmt.Sprintf("%x\r\n", len(smuggled)), "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok", 200},
		"length":  {fmt.Sprintf("Content-Length: %d\r\n\r\nab", 2+len(smuggled)), "", "HTTP/1.1 413 Too Large\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 413},
	} {
		t.Run(name, func(t *testing.T) {
			paths, begun, answer := make(chan string, 10), make(chan struct{}), make(chan struct{})
			address := rawBackend(t, func(c net.Conn, in *bufio.Reader) {
				r, err := http.ReadRequest(in)
				if err != nil {
					return
				}
				paths <- r.URL.Path
				if r.URL.Path == "/early" {
					_, _ = io.ReadFull(r.Body, make([]byte, 2))
					close(begun)
					<-answer
				}
				fmt.Fprint(c, test.answer)
				_, _ = io.Copy(io.Discard, in)
			})
			r := newRig(t, nil)
			r.backends["early"] = preserving(t, "http://"+address)
			c := dial(t, r.addr)
			in := bufio.NewReader(c)
			fmt.Fprint(c, "POST /early HTTP/1.1\r\nHost: early.app.test\r\n"+test.first)
			<-begun
			fmt.Fprint(c, test.more)
			close(answer)
			res, err := http.ReadResponse(in, nil)
			if err != nil {
				t.Fatal(err)
			}
			if res.StatusCode != test.status || !res.Close {
				t.Errorf("status %d, last %t", res.StatusCode, res.Close)
			}
			if _, err := io.ReadAll(res.Body); err != nil {
				t.Error(err)
			}
			fmt.Fprint(c, smuggled, "\r\n0\r\n\r\n", smuggled)
			if rest, _ := io.ReadAll(in); len(rest) > 0 { // an error is the closed connection
				t.Errorf("more was answered: %q", rest)
			}
			if len(paths) != 1 {
				t.Errorf("the backend got %d requests, want 1", len(paths))
			}
		})
	}
}

func TestAnAnswerToAWholeBodyKeepsTheConnection(t *testing.T) {
	r := newRig(t, nil)
	r.backends["whole"] = backend(t, func(w http.ResponseWriter, r *http.Request) { _, _ = io.Copy(w, r.Body) })
	r.backends["dead"] = Backend{URL: *urlOf(t, "http://"+porttest.Closed(t))}
	c := dial(t, r.addr)
	in := bufio.NewReader(c)
	for _, host := range []string{"whole", "missing", "whole", "dead"} {
		fmt.Fprint(c, "POST / HTTP/1.1\r\nHost: "+host+".app.test\r\nContent-Length: 3\r\n\r\nabc")
		res, err := http.ReadResponse(in, nil)
		if err != nil {
			t.Fatalf("%s: %v", host, err)
		}
		if _, err := io.ReadAll(res.Body); err != nil {
			t.Fatalf("%s: %v", host, err)
		}
		// Where there was nobody to read the body it is not known to be whole.
		if res.Close != (host == "dead") {
			t.Errorf("%s: last %t", host, res.Close)
		}
	}
}

func TestNothingIsReadBehindABodyThatMakesNoSense(t *testing.T) {
	r := newRig(t, nil)
	r.backends["reads"] = backend(t, func(_ http.ResponseWriter, r *http.Request) { _, _ = io.Copy(io.Discard, r.Body) })
	answer := r.raw("POST / HTTP/1.1\r\nHost: reads.app.test\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\nnonsense\r\n" +
		"GET / HTTP/1.1\r\nHost: reads.app.test\r\nConnection: close\r\n\r\n")
	if !strings.HasPrefix(answer, "HTTP/1.1 400") || strings.Count(answer, "HTTP/1.1 ") != 1 || !strings.Contains(answer, "Connection: close") {
		t.Errorf("got %q", answer)
	}
}

func TestABodyThatNeverComesDoesNotHoldOurAnswerBack(t *testing.T) {
	// It is what the head may take as well, which must come in time.
	r := newRig(t, nil, func(c *Config) { c.Limits.ReadHeader = 2 * time.Second })
	for _, framing := range []string{"Content-Length: 100\r\n\r\nabc", "Transfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n"} {
		answer := r.raw("POST / HTTP/1.1\r\nHost: unknown.test\r\n" + framing)
		if !strings.HasPrefix(answer, "HTTP/1.1 404") || !strings.Contains(answer, "Connection: close") {
			t.Errorf("got %q", answer)
		}
	}
}

// In HTTP/2 an answer that begins before the request has ended is nothing unusual:
// gRPC's streams are such. It must not have the connection given up (GOAWAY).
func TestAnAnswerBeforeTheEndOfTheBodyKeepsHTTP2(t *testing.T) {
	r := newRig(t, nil)
	r.backends["early"] = backend(t, func(w http.ResponseWriter, r *http.Request) {
		if err := http.NewResponseController(w).EnableFullDuplex(); err != nil {
			t.Error(err)
		}
		w.(http.Flusher).Flush()
		_, _ = io.Copy(w, r.Body) // what went wrong shows in the answer
	})
	address, trust := r.serveTLS()
	client := h2Client(t, address, trust)
	for i := range 3 {
		from, to := io.Pipe()
		reused := false
		ctx := httptrace.WithClientTrace(t.Context(), &httptrace.ClientTrace{GotConn: func(c httptrace.GotConnInfo) { reused = c.Reused }})
		req, err := http.NewRequestWithContext(ctx, "POST", "https://early.app.test/", from)
		if err != nil {
			t.Fatal(err)
		}
		res, err := client.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		fmt.Fprint(to, "abc")
		to.Close()
		if text, err := io.ReadAll(res.Body); string(text) != "abc" || err != nil || res.ProtoMajor != 2 {
			t.Errorf("%d: got %q, %v over %s", i, text, err, res.Proto)
		}
		res.Body.Close()
		if reused != (i > 0) {
			t.Errorf("%d: the connection was used before: %t", i, reused)
		}
	}
}

// The server reads some of what a visitor has still to send when the answer is out. A
// visitor who never sends it must not hold the connection for ever: it counts as
// being served, so that nobody may have its place, and a shutdown waits for it.
func TestABodyThatNeverComesDoesNotHoldTheConnection(t *testing.T) {
	hasty := rawBackend(t, func(c net.Conn, in *bufio.Reader) {
		if r, err := http.ReadRequest(in); err == nil {
			_, _ = io.ReadFull(r.Body, make([]byte, 2))
			fmt.Fprint(c, "HTTP/1.1 403 Forbidden\r\nContent-Length: 2\r\n\r\nno")
			_, _ = io.Copy(io.Discard, in)
		}
	})
	broken := rawBackend(t, func(c net.Conn, in *bufio.Reader) {
		if r, err := http.ReadRequest(in); err == nil {
			_, _ = io.ReadFull(r.Body, make([]byte, 2))
			fmt.Fprint(c, "nonsense\r\n\r\n")
		}
	})
	r := newRig(t, nil, func(c *Config) {
		c.Transport = newTransport(t, upstream.Options{Engine: upstream.EngineOwn})
		c.Limits.ReadHeader = time.Second // which the rest gets as well
		c.Secure = &Secure{Covers: func(host string) bool { return host == "own.test" }}
	})
	r.backends["hasty"] = preserving(t, "http://"+hasty)
	r.backends["broken"] = preserving(t, "http://"+broken)
	for _, c := range []struct {
		host   string
		status int
	}{{"hasty.app.test", 403}, {"broken.app.test", 502}, {"own.test", 308}} {
		conn := dial(t, r.addr)
		if err := conn.SetDeadline(time.Now().Add(patience / 3)); err != nil {
			t.Fatal(err)
		}
		fmt.Fprintf(conn, "POST / HTTP/1.1\r\nHost: %s\r\nContent-Length: 100000\r\n\r\nab", c.host)
		in := bufio.NewReader(conn)
		res, err := http.ReadResponse(in, nil)
		if err != nil {
			t.Fatalf("%s: %v", c.host, err)
		}
		if _, err := io.ReadAll(res.Body); err != nil || res.StatusCode != c.status {
			t.Errorf("%s: got %d, %v", c.host, res.StatusCode, err)
		}
		if _, err := in.ReadByte(); errors.Is(err, os.ErrDeadlineExceeded) {
			t.Errorf("%s: the connection is still there", c.host)
		}
	}
}

// deadlines records the deadlines of reads that are set.
type deadlines struct {
	net.Conn
	read time.Time
}

func (d *deadlines) SetReadDeadline(t time.Time) error {
	d.read = t
	return nil
}

// The bound is on the rest of one request, whatever net/http does meanwhile, and not on
// the next one.
func TestTheBoundOnTheRestOfABodyEndsWithIt(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		conn := &deadlines{}
		c := &frontConn{Conn: conn}
		begin := time.Now()
		for i, step := range []struct {
			do   func()
			want time.Time
		}{
			{func() { c.SetReadDeadline(time.Time{}) }, time.Time{}},
			{func() { c.awaitRestUnlessBounded(10 * time.Second) }, begin.Add(10 * time.Second)},
			{func() { c.awaitRestUnlessBounded(time.Hour) }, begin.Add(10 * time.Second)},
			{func() { c.SetReadDeadline(time.Unix(1, 0)) }, time.Unix(1, 0)}, // a read is interrupted
			{func() { c.SetReadDeadline(time.Time{}) }, begin.Add(10 * time.Second)},
			{func() { c.SetReadDeadline(begin.Add(time.Minute)) }, begin.Add(time.Minute)}, // for the next request
			{func() { c.SetReadDeadline(time.Time{}) }, time.Time{}},
			{func() { c.awaitRest(time.Second) }, begin.Add(time.Second)},
		} {
			step.do()
			if !conn.read.Equal(step.want) {
				t.Errorf("step %d: the deadline is %v, want %v", i, conn.read, step.want)
			}
		}
	})
}
