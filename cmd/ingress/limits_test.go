package main_test

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"testing"

	"github.com/m3o/ingress/internal/porttest"
)

// Each limit of the data plane, given as a flag to the real program and reached.

// limitedBackend answers /, hangs on /hang until the test ends, reads a body on
// /read, and speaks a protocol of its own when asked for one.
func limitedBackend(t *testing.T) (address string, hanging chan struct{}) {
	t.Helper()
	release := make(chan struct{})
	hanging = make(chan struct{}, 100)
	backend := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch {
		case r.Header.Get("Upgrade") != "":
			conn, _, err := http.NewResponseController(w).Hijack()
			if err != nil {
				t.Error(err)
				return
			}
			defer conn.Close()
			_, _ = io.WriteString(conn, "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: echo\r\n\r\n")
			_, _ = io.Copy(conn, conn)
		case r.URL.Path == "/hang":
			hanging <- struct{}{}
			<-release
		case r.URL.Path == "/read":
			_, _ = io.Copy(io.Discard, r.Body) // it breaks off
		}
		fmt.Fprint(w, "ok")
	}))
	t.Cleanup(backend.Close)
	t.Cleanup(func() { close(release) }) // before that
	return backend.URL, hanging
}

// wantReason checks an answer in which the program says why.
func wantReason(t *testing.T, name, answer, status, reason string) {
	t.Helper()
	if !strings.HasPrefix(answer, "HTTP/1.1 "+status+" ") || !strings.Contains(answer, "\r\nX-Ingress-Error: "+reason+"\r\n") {
		t.Errorf("%s: got %.300q, want %s %s", name, answer, status, reason)
	}
}

const (
	toHello  = "Host: hello.app.localhost\r\n"
	lastOne  = "Connection: close\r\n"
	getHello = "GET / HTTP/1.1\r\n" + toHello + lastOne + "\r\n"
)

func TestLimitsOfRequestsOfTheWholeProgram(t *testing.T) {
	i := startIngress(t, "--max-headers", "10", "--request-timeout", "5s", "--body-stall-timeout", "200ms", "--tunnel-idle-timeout", "200ms")
	address, _ := limitedBackend(t)
	i.mustCall("app/run", fmt.Sprintf(`{"name":"hello","backend":%q}`, address))
	wantReason(t, "headers", i.raw("GET / HTTP/1.1\r\n"+toHello+lastOne+strings.Repeat("X: y\r\n", 9)+"\r\n"), "431", "too_many_headers")
	wantReason(t, "a body that stops", i.raw("POST /read HTTP/1.1\r\n"+toHello+"Content-Length: 9\r\n\r\nabc"), "408", "body_too_slow")
	wantReason(t, "a request that takes too long", i.raw("GET /hang HTTP/1.1\r\n"+toHello+lastOne+"\r\n"), "504", "request_timeout")
	if answer := i.raw("GET / HTTP/1.1\r\n" + toHello + "Connection: Upgrade\r\nUpgrade: echo\r\n\r\n"); !strings.HasPrefix(answer, "HTTP/1.1 101 ") {
		t.Errorf("an upgraded connection that is silent: %q", answer) // raw has waited for its end
	}
	if answer := i.raw(getHello); !strings.HasPrefix(answer, "HTTP/1.1 200 ") {
		t.Errorf("an ordinary request: %q", answer)
	}
	i.wantCleanLog()
}

func TestLimitsOfClientsOfTheWholeProgram(t *testing.T) {
	i := startIngress(t, "--client-requests-per-second", "1", "--client-burst", "5", "--trusted-proxies", "127.0.0.0/8")
	address, _ := limitedBackend(t)
	i.mustCall("app/run", fmt.Sprintf(`{"name":"hello","backend":%q}`, address))
	asClient := func(client string) string {
		return i.raw("GET / HTTP/1.1\r\n" + toHello + lastOne + "X-Forwarded-For: " + client + "\r\n\r\n")
	}
	// However slow the machine, a hundred requests take less than 95 s.
	refused := ""
	for range 100 {
		if answer := asClient("192.0.2.1"); !strings.HasPrefix(answer, "HTTP/1.1 200 ") {
			refused = answer
			break
		}
	}
	wantReason(t, "too many requests", refused, "429", "client_rate")
	if !strings.Contains(refused, "\r\nRetry-After: 1\r\n") {
		t.Errorf("no Retry-After: %q", refused)
	}
	if answer := asClient("192.0.2.2"); !strings.HasPrefix(answer, "HTTP/1.1 200 ") {
		t.Errorf("another client: %q", answer)
	}
	i.wantCleanLog()
}

// keep opens a connection, uses it once, and leaves it open.
func (i *ingress) keep() net.Conn {
	i.t.Helper()
	conn := i.dial()
	if _, err := io.WriteString(conn, "GET /robots.txt HTTP/1.1\r\nHost: localhost\r\n\r\n"); err != nil {
		i.t.Fatal(err)
	}
	res, err := http.ReadResponse(bufio.NewReader(conn), nil)
	if err != nil {
		i.t.Fatal(err)
	}
	if _, err := io.Copy(io.Discard, res.Body); err != nil {
		i.t.Fatal(err)
	}
	return conn
}

// wantEnd waits for a connection to end without a word.
func wantEnd(t *testing.T, name string, conn net.Conn) {
	t.Helper()
	if n, err := conn.Read(make([]byte, 1)); n > 0 || err == nil || errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("%s: read %d bytes, %v", name, n, err)
	}
}

func TestLimitsOfConnectionsOfTheWholeProgram(t *testing.T) {
	i := startIngress(t, "--max-connections", "3", "--max-client-connections", "2")
	first := i.keep()
	i.await("one is idle", func() bool { return i.figure(`ingress_connections{state="idle"}`) == 1 })
	second := i.keep()
	wantEnd(t, "the third of one client", i.dial())
	i.await("that is counted", func() bool { return i.figure(`ingress_connections_refused_total{limit="client"}`) == 1 })
	first.Close()
	second.Close()
	i.await("both are gone", func() bool { return i.figure(`ingress_connections{state="idle"}`) == 0 })
	i.stop()
	_, log := i.output()
	if !strings.Contains(log, "--max-client-connections") {
		t.Errorf("the log does not say what to change:\n%s", log)
	}

	i = startIngress(t, "--max-connections", "2")
	first = i.keep()
	i.await("one is idle", func() bool { return i.figure(`ingress_connections{state="idle"}`) == 1 })
	i.keep()
	i.await("two are idle", func() bool { return i.figure(`ingress_connections{state="idle"}`) == 2 })
	i.keep()
	wantEnd(t, "the one that was idle for longest", first)
}

func TestLimitsOfBackendsOfTheWholeProgram(t *testing.T) {
	const most, queue = 5, 2
	i := startIngress(t, "--backend-max-requests", fmt.Sprint(most), "--backend-queue", fmt.Sprint(queue))
	still, hanging := limitedBackend(t)
	other, _ := limitedBackend(t)
	i.mustCall("app/run", fmt.Sprintf(`{"name":"still","backend":%q}`, still))
	i.mustCall("app/run", fmt.Sprintf(`{"name":"hello","backend":%q}`, other))
	for range most {
		if _, err := io.WriteString(i.dial(), "GET /hang HTTP/1.1\r\nHost: still.app.localhost\r\n\r\n"); err != nil {
			t.Fatal(err)
		}
		<-hanging
	}
	const one = "GET /hang HTTP/1.1\r\nHost: still.app.localhost\r\nConnection: close\r\n\r\n"
	answers := make(chan string, 50)
	for range cap(answers) {
		conn := i.dial()
		go func() {
			_, _ = io.WriteString(conn, one) // what comes of it is in the answer
			answer, _ := io.ReadAll(conn)
			answers <- string(answer)
		}()
	}
	for range cap(answers) {
		if answer := i.raw(getHello); !strings.HasPrefix(answer, "HTTP/1.1 200 ") {
			t.Errorf("somebody else's app: %.200q", answer)
		}
		wantReason(t, "a still backend", <-answers, "503", "backend_busy") // those in the queue 3 s later
	}

	i.mustCall("app/run", fmt.Sprintf(`{"name":"gone","backend":"http://%s"}`, porttest.Closed(t)))
	const gone = "GET / HTTP/1.1\r\nHost: gone.app.localhost\r\nConnection: close\r\n\r\n"
	i.await("that nobody tries any more", func() bool {
		answer := i.raw(gone)
		return strings.Contains(answer, "\r\nX-Ingress-Error: backend_ejected\r\n") && strings.Contains(answer, "\r\nRetry-After: ")
	})
	if n := i.figure("ingress_backend_ejections_total"); n < 1 {
		t.Errorf("%v ejections are counted", n)
	}
}
