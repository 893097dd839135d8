package edge

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"syscall"
	"testing"
	"time"
)

// answering returns the address of a backend that gives every request the same
// bytes and hangs up, and what it saw of the last one.
func answering(t *testing.T, answer string) (address string, seen chan http.Header) {
	seen = make(chan http.Header, 10)
	return rawBackend(t, func(c net.Conn, in *bufio.Reader) {
		r, err := http.ReadRequest(in)
		if err != nil {
			return
		}
		seen <- r.Header
		fmt.Fprint(c, answer)
	}), seen
}

// everything sends raw bytes and returns all that comes back until the end.
func everything(t *testing.T, address, request string) string {
	t.Helper()
	c := dial(t, address)
	fmt.Fprint(c, request)
	answer, err := io.ReadAll(c)
	if err != nil {
		t.Fatalf("%q, %v", answer, err)
	}
	return string(answer)
}

func TestHTTP10HasNoUpgradesAndNoInterimAnswers(t *testing.T) {
	const request = "GET / HTTP/1.0\r\nHost: a\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n"
	for answer, want := range map[string]string{
		"HTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok":   "HTTP/1.0 200 OK",
		"HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\nframes": "HTTP/1.0 502 Bad Gateway",
	} {
		address, seen := answering(t, answer)
		front := newAppFront(t, newTestProxy(t), preserving(t, "http://"+address))
		got := everything(t, listenAddress(front), request)
		if !strings.HasPrefix(got, want) || strings.Contains(got, "Link") || strings.Contains(got, "frames") {
			t.Errorf("got %q, want %s", got, want)
		}
		if header := <-seen; header.Get("Upgrade") != "" || header.Get("Connection") != "" {
			t.Errorf("the backend was asked to upgrade: %v", header)
		}
	}
}

// RFC 9113 8.2.2: an answer with Upgrade is malformed in HTTP/2, whatever it says.
func TestADemandForWebSocketsIsNoErrorInHTTP2(t *testing.T) {
	address, _ := answering(t, "HTTP/1.1 426 Upgrade Required\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nContent-Length: 2\r\n\r\nno")
	r := newRig(t, nil)
	r.backends["socket"] = preserving(t, "http://"+address)
	tls, trust := r.serveTLS()
	res, err := h2Client(t, tls, trust).Get("https://socket.app.test/")
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	if res.StatusCode != 426 || res.Header["Upgrade"] != nil || res.Header["Connection"] != nil {
		t.Errorf("got %d %v", res.StatusCode, res.Header)
	}
}

func TestADemandForWebSocketsKeepsItsHeader(t *testing.T) {
	for protocol, want := range map[string]string{"websocket": "websocket", "h2c": ""} {
		address, _ := answering(t, "HTTP/1.1 426 Upgrade Required\r\nConnection: Upgrade\r\nUpgrade: "+protocol+"\r\nContent-Length: 2\r\n\r\nno")
		front := newAppFront(t, newTestProxy(t), preserving(t, "http://"+address))
		g := exchange(t, listenAddress(front), "GET / HTTP/1.1\r\nHost: a\r\n\r\n")
		if g.Status != 426 || g.Body != "no" || g.Header.Get("Upgrade") != want {
			t.Errorf("%s: got %+v", protocol, g)
		}
	}
}

func TestRefusedUpgradesAreOrdinaryAnswers(t *testing.T) {
	for _, status := range []string{"200 OK", "403 Forbidden"} {
		address, _ := answering(t, "HTTP/1.1 "+status+"\r\nContent-Length: 2\r\n\r\nno")
		front := newAppFront(t, newTestProxy(t), preserving(t, "http://"+address))
		const upgrade = "GET / HTTP/1.1\r\nHost: a\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n"
		last := strings.Replace(upgrade, "upgrade\r\n", "upgrade, close\r\n", 1)
		got := everything(t, listenAddress(front), upgrade+last)
		if strings.Count(got, "HTTP/1.1 "+status) != 2 || strings.Count(got, "\r\n\r\nno") != 2 {
			t.Errorf("%s: the connection was not kept, or the answer altered: %q", status, got)
		}
	}
}

func TestOnlyWeSayThatTheIngressAnswered(t *testing.T) {
	address, _ := answering(t, "HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: websocket\r\nX-Ingress-Error: lie\r\n\r\nframes")
	front := newAppFront(t, newTestProxy(t), preserving(t, "http://"+address))
	got := everything(t, listenAddress(front), "GET / HTTP/1.1\r\nHost: a\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n")
	if !strings.HasPrefix(got, "HTTP/1.1 101") || !strings.HasSuffix(got, "frames") || strings.Contains(got, "lie") {
		t.Errorf("got %q", got)
	}
}

func TestAStatusThatIsNoneIsABrokenBackend(t *testing.T) {
	address, _ := answering(t, "HTTP/1.1 099 Odd\r\nContent-Length: 2\r\n\r\nok")
	front := newAppFront(t, newTestProxy(t), preserving(t, "http://"+address))
	g := exchange(t, listenAddress(front), "GET / HTTP/1.1\r\nHost: a\r\n\r\n")
	if g.Status != 502 || g.Header.Get(errorHeader) != string(ReasonBackendBroken) {
		t.Errorf("got %+v", g)
	}
}

// A backend that switches to what nobody asked for is not left with a connection
// that nobody reads, and nobody closes.
func TestAnUnaskedSwitchEndsTheConnection(t *testing.T) {
	for name, upgrade := range map[string]string{
		"to a plain request": "", "one of two": "Connection: upgrade\r\nUpgrade: foo, bar\r\n", "another": "Connection: upgrade\r\nUpgrade: foo\r\n",
	} {
		t.Run(name, func(t *testing.T) {
			ended := make(chan error, 1)
			address := rawBackend(t, func(c net.Conn, in *bufio.Reader) {
				if _, err := http.ReadRequest(in); err != nil {
					return
				}
				fmt.Fprint(c, "HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: bar\r\n\r\n")
				_ = c.SetReadDeadline(time.Now().Add(patience)) // a failure is the error of reading
				_, err := in.ReadByte()
				ended <- err
			})
			r := newRig(t, nil)
			r.backends["switch"] = preserving(t, "http://"+address)
			got := r.raw("GET / HTTP/1.1\r\nHost: switch.app.test\r\n" + upgrade + "\r\nGET / HTTP/1.1\r\nHost: own.test\r\nConnection: close\r\n\r\n")
			if !strings.HasPrefix(got, "HTTP/1.1 502") || !strings.Contains(got, "X-Ingress-Error: backend_broken") {
				t.Errorf("got %.200q", got)
			}
			if err := <-ended; err != io.EOF && !errors.Is(err, syscall.ECONNRESET) {
				t.Errorf("the backend's connection: %v", err)
			}
		})
	}
}
