package edge

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/net/http2"
)

// countingActivator hands out leases of one backend and counts those that are
// held: an app's requests at the same time.
type countingActivator struct {
	transport http.RoundTripper
	held      atomic.Int64
}

func (a *countingActivator) Acquire(context.Context, string) (Lease, error) {
	a.held.Add(1)
	return Lease{Transport: a.transport, Release: func() { a.held.Add(-1) }}, nil
}

// newSlowRig has a managed app named hello whose requests end at the backend.
func newSlowRig(t *testing.T, h http.HandlerFunc, change func(*Config)) (*rig, *countingActivator) {
	t.Helper()
	to := backend(t, h)
	transport := &http.Transport{DialContext: func(ctx context.Context, network, _ string) (net.Conn, error) {
		var d net.Dialer
		return d.DialContext(ctx, network, to.URL.Host)
	}}
	t.Cleanup(transport.CloseIdleConnections)
	a := &countingActivator{transport: transport}
	r := newRig(t, nil, func(c *Config) {
		c.Activator = a
		change(c)
	})
	r.backends["hello"] = Backend{Key: "hello", Origin: Managed}
	r.backends["other"] = backend(t, func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, "served") })
	return r, a
}

// slowly opens connections that send a part of a request, and returns them.
func (r *rig) slowly(n int, request string) []net.Conn {
	r.t.Helper()
	var conns []net.Conn
	for range n {
		conn := dial(r.t, r.addr)
		if _, err := io.WriteString(conn, request); err != nil {
			r.t.Fatal(err)
		}
		conns = append(conns, conn)
	}
	return conns
}

// wantServed has others served meanwhile.
func (r *rig) wantServed() {
	r.t.Helper()
	for range 20 {
		if answer := r.get("other.app.test/"); answer.body != "served" {
			r.t.Errorf("somebody else got %d %q", answer.StatusCode, answer.body)
		}
	}
}

const slowVisitors = 200

func TestSlowHeadersHoldNoAppAndNoMemory(t *testing.T) {
	r, a := newSlowRig(t, func(http.ResponseWriter, *http.Request) { t.Error("the app was reached") }, func(c *Config) {
		c.Limits.ReadHeader = time.Second
	})
	r.wantServed()
	before := heap()
	conns := r.slowly(slowVisitors, "GET / HTTP/1.1\r\nHost: hello.app.test\r\nX: "+strings.Repeat("x", 10<<10))
	r.wantServed()
	if held := a.held.Load(); held != 0 {
		t.Errorf("%d requests at the app", held)
	}
	if now := heap(); now > before+slowVisitors*100<<10 {
		t.Errorf("the heap has grown from %d to %d bytes", before, now)
	}
	for _, conn := range conns {
		if answer, err := io.ReadAll(conn); errors.Is(err, os.ErrDeadlineExceeded) || strings.Contains(string(answer), " 200 ") {
			t.Fatalf("got %q, %v", answer, err)
		}
	}
}

func TestSlowBodiesAreGivenUp(t *testing.T) {
	var aborted sync.WaitGroup
	aborted.Add(2 * slowVisitors)
	r, a := newSlowRig(t, func(_ http.ResponseWriter, r *http.Request) {
		if _, err := io.Copy(io.Discard, r.Body); err != nil {
			aborted.Done()
		}
	}, func(c *Config) { c.Limits.BodyStall = time.Second })
	r.wantServed()
	before := heap()
	conns := r.slowly(slowVisitors, "POST / HTTP/1.1\r\nHost: hello.app.test\r\nContent-Length: 1000\r\n\r\nabc")
	conns = append(conns, r.slowly(slowVisitors, "POST / HTTP/1.1\r\nHost: hello.app.test\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n")...)
	r.wantServed()
	if now := heap(); now > before+2*slowVisitors*200<<10 {
		t.Errorf("the heap has grown from %d to %d bytes", before, now)
	}
	for _, conn := range conns {
		answer, _ := io.ReadAll(conn)
		if !strings.HasPrefix(string(answer), "HTTP/1.1 408 ") || !strings.Contains(string(answer), "\r\n"+errorHeader+": body_too_slow\r\n") {
			t.Fatalf("got %q", answer)
		}
	}
	aborted.Wait()
	eventually(t, "nothing is held", func() bool { return a.held.Load() == 0 })
}

func TestSlowReadersAreGivenUp(t *testing.T) {
	var over sync.WaitGroup
	over.Add(slowVisitors)
	r, a := newSlowRig(t, func(w http.ResponseWriter, _ *http.Request) {
		defer over.Done()
		for piece := make([]byte, 64<<10); ; {
			if _, err := w.Write(piece); err != nil {
				return
			}
		}
	}, func(c *Config) { c.Limits.WriteStall = time.Second })
	r.wantServed()
	before := heap()
	r.slowly(slowVisitors, "GET / HTTP/1.1\r\nHost: hello.app.test\r\n\r\n")
	eventually(t, "all are being answered", func() bool { return a.held.Load() > 0 })
	r.wantServed()
	if now := heap(); now > before+slowVisitors*400<<10 {
		t.Errorf("the heap has grown from %d to %d bytes", before, now)
	}
	over.Wait()
	eventually(t, "nothing is held", func() bool { return a.held.Load() == 0 })
}

// wantSilence waits for longer than the limits and wants nothing to come.
func wantSilence(t *testing.T, conn net.Conn, d time.Duration) {
	t.Helper()
	if err := conn.SetReadDeadline(time.Now().Add(d)); err != nil {
		t.Fatal(err)
	}
	if n, err := conn.Read(make([]byte, 1)); n > 0 || !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Fatalf("read %d bytes, %v", n, err)
	}
	if err := conn.SetReadDeadline(time.Now().Add(patience)); err != nil {
		t.Fatal(err)
	}
}

func TestWhatIsSilentStays(t *testing.T) {
	// Long enough for a busy machine to bring a request's head within it, and the
	// beginning of an answer.
	const limit = 2 * time.Second
	release := make(chan struct{})
	r, _ := newSlowRig(t, func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case "/events":
			fmt.Fprint(w, "first\n")
			_ = http.NewResponseController(w).Flush()
		case "/both": // the answer begins before the end of the body
			w.WriteHeader(http.StatusOK)
			_ = http.NewResponseController(w).EnableFullDuplex()
			_ = http.NewResponseController(w).Flush()
			<-release
			_, _ = io.Copy(w, r.Body)
		case "/poll":
			_, _ = io.Copy(io.Discard, r.Body)
		}
		<-release
		fmt.Fprint(w, "last\n")
	}, func(c *Config) { c.Limits.BodyStall, c.Limits.WriteStall, c.Limits.ReadHeader = limit, limit, limit })
	type stream struct {
		conn net.Conn
		in   *bufio.Reader
	}
	streams := map[string]stream{}
	for path, rest := range map[string]string{
		"/events": "\r\n", "/poll": "Content-Length: 3\r\n\r\nabc", "/both": "Transfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n",
	} {
		conn := r.slowly(1, "POST "+path+" HTTP/1.1\r\nHost: hello.app.test\r\n"+rest)[0]
		streams[path] = stream{conn, bufio.NewReader(conn)}
	}
	for path, wait := range map[string]string{"/events": "first\n", "/both": "\r\n\r\n"} {
		s := streams[path]
		for got := ""; !strings.Contains(got, wait); {
			line, err := s.in.ReadString('\n')
			if err != nil {
				t.Fatalf("%s: %v after %q", path, err, got)
			}
			got += line
		}
		// What is left of the chunk that carried it is not silence.
		_, _ = s.in.Discard(s.in.Buffered())
	}
	wantSilence(t, streams["/poll"].conn, limit+limit/2)
	close(release)
	if _, err := io.WriteString(streams["/both"].conn, "4\r\nlate\r\n0\r\n\r\n"); err != nil {
		t.Fatal(err)
	}
	for path, want := range map[string]string{"/events": "last\n", "/poll": "last\n", "/both": "late"} {
		s := streams[path]
		for got := ""; !strings.Contains(got, want); {
			line, err := s.in.ReadString('\n')
			if got += line; err != nil {
				t.Fatalf("%s: %v after %q", path, err, got)
			}
		}
	}
}

func TestARequestHasATimeInAll(t *testing.T) {
	release := make(chan struct{})
	r := newRig(t, nil, func(c *Config) { c.Limits.Request = time.Second })
	r.backends["slow"] = backend(t, func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/begun" {
			fmt.Fprint(w, "begun")
			_ = http.NewResponseController(w).Flush()
		}
		<-release
	})
	r.backends["hello"] = echoing(t)
	r.get("slow.app.test/").wantFailure(t, http.StatusGatewayTimeout, ReasonRequestTimeout)
	answer := r.raw("GET /begun HTTP/1.1\r\nHost: slow.app.test\r\n\r\n")
	if !strings.Contains(answer, "begun") || strings.HasSuffix(answer, "0\r\n\r\n") {
		t.Errorf("an answer that had begun: %q", answer)
	}
	eventually(t, "both are in the log", func() bool { return strings.Count(r.log.String(), `"reason":"request_timeout"`) == 2 })
	conn, in := r.upgrade("hello.app.test")
	wantSilence(t, conn, 1500*time.Millisecond)
	if _, err := io.WriteString(conn, "still here\n"); err != nil {
		t.Fatal(err)
	}
	if line, err := in.ReadString('\n'); line != "still here\n" {
		t.Errorf("got %q, %v", line, err)
	}
	close(release)
}

func TestHeadersAreCounted(t *testing.T) {
	r := newRig(t, nil, func(c *Config) { c.Limits.Headers = 10 })
	r.backends["hello"] = backend(t, func(http.ResponseWriter, *http.Request) {})
	request := func(more int) string {
		return "GET / HTTP/1.1\r\nHost: hello.app.test\r\nConnection: close\r\n" + strings.Repeat("X: y\r\n", more) + "\r\n"
	}
	if answer := r.raw(request(8)); !strings.HasPrefix(answer, "HTTP/1.1 200") {
		t.Errorf("as many as there may be: %q", answer)
	}
	if answer := r.raw(request(9)); !strings.HasPrefix(answer, "HTTP/1.1 431") || !strings.Contains(answer, errorHeader+": too_many_headers\r\n") {
		t.Errorf("one more: %q", answer)
	}
}

// An answer so small that the handler is done before any of it is sent holds its
// stream no longer than a large one, when the visitor of HTTP/2 takes nothing.
func TestSmallAnswersThatNobodyTakesAreGivenUp(t *testing.T) {
	const streams = 20
	r := newRig(t, nil, func(c *Config) { c.Limits.WriteStall = 100 * time.Millisecond })
	r.backends["hello"] = backend(t, func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, "hello") })
	address, trust := r.serveTLS()
	a := newH2Attack(t, address, trust, http2.Setting{ID: http2.SettingInitialWindowSize, Val: 0})
	open := make(map[uint32]bool)
	for n := range streams {
		host := "hello.app.test"
		if n%2 == 0 {
			host = "nothing.test" // a page of ours
		}
		id, err := a.open(host)
		if err != nil {
			t.Fatal(err)
		}
		open[id] = true
	}
	for len(open) > 0 {
		frame, err := a.framer.ReadFrame()
		if err != nil {
			t.Fatalf("%d streams are held: %v", len(open), err)
		}
		switch frame := frame.(type) {
		case *http2.RSTStreamFrame:
			delete(open, frame.StreamID)
		case *http2.DataFrame:
			t.Fatalf("stream %d got %q, for which there is no room", frame.StreamID, frame.Data())
		}
	}
}
