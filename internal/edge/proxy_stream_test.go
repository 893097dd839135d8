package edge

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/coder/websocket"

	"github.com/m3o/ingress/internal/porttest"
	"github.com/m3o/ingress/internal/upstream"
)

func TestEachPieceOfABodyIsForwardedAsItComes(t *testing.T) {
	for _, kind := range []string{"text/event-stream", "application/octet-stream", "of known length"} {
		t.Run(kind, func(t *testing.T) {
			next := make(chan string, 1)
			defer close(next)
			backend := newBackend(t, func(w http.ResponseWriter, r *http.Request) {
				w.Header().Set("Content-Type", kind)
				if kind == "of known length" {
					w.Header().Set("Content-Length", "48")
				}
				for piece := range next {
					fmt.Fprint(w, piece)
					http.NewResponseController(w).Flush()
				}
			})
			front := newAppFront(t, newTestProxy(t), preserving(t, backend.URL))
			c := dial(t, listenAddress(front))
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
	c := dial(t, listenAddress(front))
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

	c := dial(t, listenAddress(front))
	fmt.Fprint(c, "POST /refused HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 3\r\n\r\n")
	if res, err := http.ReadResponse(bufio.NewReader(c), nil); err != nil || res.StatusCode != 417 {
		t.Fatalf("%v, %v", res, err)
	}

	c = dial(t, listenAddress(front))
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
	c := dial(t, listenAddress(front))
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
	refused := "http://" + porttest.Closed(t)
	transport := newTransport(t, upstream.Options{})
	p := newTestProxy(t, func(c *proxyConfig) { c.Transport, c.Registered = nil, nil })
	var released atomic.Int64
	ended := make(chan struct{}, 1)
	front := newFront(t, func(w http.ResponseWriter, r *http.Request) *failure {
		defer func() { ended <- struct{}{} }()
		lease := &Lease{Transport: transport, Release: func() { released.Add(1) }}
		if r.URL.Path == "/static" {
			lease.Transport, lease.Handler = nil, http.NotFoundHandler()
		}
		b := Backend{URL: parseBackend(t, backend.URL), Origin: Managed}
		if r.URL.Path == "/refused" {
			b.URL = parseBackend(t, refused)
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

	g := exchange(t, listenAddress(front), "GET / HTTP/1.1\r\nHost: a\r\nCDN-Loop: m3o-ingress,m3o-ingress,m3o-ingress\r\n\r\n")
	<-ended
	if g.Status != 508 {
		t.Errorf("status %d", g.Status)
	}
	expect("loop", 1)
}
