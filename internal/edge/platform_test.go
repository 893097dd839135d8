package edge

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"github.com/coder/websocket"

	"github.com/m3o/ingress/internal/porttest"
	"github.com/m3o/ingress/internal/upstream"
)

func newPlatformFront(t *testing.T, address string, options ...func(*proxyConfig)) *httptest.Server {
	base := parseBackend(t, address)
	return newFront(t, newTestProxy(t, options...).platform(&base))
}

func TestThePlatformGetsTheCallersRequestAndNothingOfOurs(t *testing.T) {
	var r *http.Request
	remote := newBackend(t, func(_ http.ResponseWriter, in *http.Request) { r = in })
	front := newPlatformFront(t, remote.URL+"/base")
	exchange(t, listenAddress(front), "POST /v1/app/Run?a=%zz HTTP/1.1\r\nHost: localhost:8080\r\nAuthorization: Bearer "+testKey+"\r\n"+
		"Micro-Namespace: evil\r\nmicro-id: 1\r\nMicrophone: on\r\nContent-Length: 2\r\n\r\n{}")
	if r.RequestURI != "/base/v1/app/Run?a=%zz" || r.Host != listenAddress(remote) || r.Method != "POST" {
		t.Errorf("%s %s %s", r.Method, r.Host, r.RequestURI)
	}
	if have := r.Header["Authorization"]; len(have) != 1 || have[0] != "Bearer "+testKey {
		t.Errorf("Authorization %q", have)
	}
	for name, want := range map[string]string{"Micro-Namespace": "", "Micro-Id": "", "Microphone": "on", "X-Forwarded-Host": "localhost:8080", "Cdn-Loop": defaultNode} {
		if have := r.Header.Get(name); have != want {
			t.Errorf("%s: %q, want %q", name, have, want)
		}
	}

	exchange(t, listenAddress(front), "GET /v1/app/Run HTTP/1.1\r\nHost: localhost:8080\r\n\r\n")
	if have, ok := r.Header["Authorization"]; ok {
		t.Errorf("Authorization %q was added", have)
	}
}

func TestThePlatformsAnswerIsKept(t *testing.T) {
	for name, c := range map[string]struct {
		answer, kind string
		status       int
		header, body string
	}{
		"empty 200":    {"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", "application/json", 200, "", ""},
		"no type":      {"HTTP/1.1 500 Oops\r\nContent-Length: 4\r\n\r\noops", "application/json", 500, "", "oops"},
		"own type":     {"HTTP/1.1 404 Not Found\r\nContent-Type: text/html\r\nContent-Length: 3\r\n\r\n<p>", "text/html", 404, "", "<p>"},
		"no content":   {"HTTP/1.1 204 No Content\r\n\r\n", "", 204, "", ""},
		"not modified": {"HTTP/1.1 304 Not Modified\r\n\r\n", "", 304, "", ""},
		"redirect": {"HTTP/1.1 302 Found\r\nLocation: http://%[1]s/v1/x\r\nContent-Length: 0\r\n\r\n", "application/json", 302,
			"http://%[1]s/v1/x", ""},
	} {
		t.Run(name, func(t *testing.T) {
			address := rawBackend(t, func(conn net.Conn, in *bufio.Reader) {
				if r, err := http.ReadRequest(in); err == nil {
					fmt.Fprintf(conn, c.answer+"%.0[1]s", r.Host)
				}
			})
			g := exchange(t, listenAddress(newPlatformFront(t, "http://"+address)), "GET /v1/x HTTP/1.1\r\nHost: localhost\r\n\r\n")
			want := c.header
			if want != "" {
				want = fmt.Sprintf(want, address)
			}
			if g.Status != c.status || g.Header.Get("Content-Type") != c.kind || g.Body != c.body || g.Header.Get("Location") != want {
				t.Errorf("%+v", g)
			}
		})
	}
}

func TestAPlatformThatDoesNotAnswerIsDown(t *testing.T) {
	silent := rawBackend(t, func(_ net.Conn, in *bufio.Reader) {
		_, _ = http.ReadRequest(in)
		_, _ = in.ReadByte()
	})
	rude := rawBackend(t, func(net.Conn, *bufio.Reader) {})
	// Only where nothing ever comes: on a slow machine the news that a backend has hung
	// up may take longer than this.
	impatient := newTransport(t, upstream.Options{ResponseHeaderTimeout: 50 * time.Millisecond})
	patient := newTransport(t, upstream.Options{})
	for name, c := range map[string]struct {
		address   string
		transport http.RoundTripper
		status    int
	}{
		"refused":  {porttest.Closed(t), patient, 502},
		"hangs up": {rude, patient, 502},
		"silent":   {silent, impatient, 504},
	} {
		front := newPlatformFront(t, "http://"+c.address, func(config *proxyConfig) { config.Transport = c.transport })
		g := exchange(t, listenAddress(front), "GET /v1/x HTTP/1.1\r\nHost: localhost\r\n\r\n")
		if g.Status != c.status || g.Header.Get("X-Ingress-Error") != string(ReasonPlatformDown) {
			t.Errorf("%s: %+v", name, g)
		}
	}
}

func TestThePlatformMayNotBeOurselves(t *testing.T) {
	var front *httptest.Server
	p := newTestProxy(t)
	front = newFront(t, func(w http.ResponseWriter, r *http.Request) *failure {
		base := parseBackend(t, front.URL)
		return p.platform(&base)(w, r)
	})
	g := exchange(t, listenAddress(front), "GET /v1/x HTTP/1.1\r\nHost: localhost\r\n\r\n")
	if g.Status != http.StatusLoopDetected || g.Header.Get("X-Ingress-Error") != string(ReasonLoop) {
		t.Errorf("%+v", g)
	}
}

func TestThePlatformsWebSocketsPassUntouched(t *testing.T) {
	remote := newBackend(t, func(w http.ResponseWriter, r *http.Request) {
		ws, err := websocket.Accept(w, r, &websocket.AcceptOptions{Subprotocols: []string{testKey}})
		if err != nil {
			t.Error(err)
			return
		}
		_ = ws.Write(r.Context(), websocket.MessageText, []byte(`{"code":401}`))
		_ = ws.Close(websocket.StatusPolicyViolation, "")
	})
	ws, _, err := websocket.Dial(t.Context(), newPlatformFront(t, remote.URL).URL, &websocket.DialOptions{Subprotocols: []string{testKey}})
	if err != nil {
		t.Fatal(err)
	}
	defer ws.CloseNow()
	if ws.Subprotocol() != testKey {
		t.Errorf("subprotocol %q", ws.Subprotocol())
	}
	if _, message, err := ws.Read(t.Context()); err != nil || string(message) != `{"code":401}` {
		t.Errorf("%q, %v", message, err)
	}
	if _, _, err := ws.Read(t.Context()); websocket.CloseStatus(err) != websocket.StatusPolicyViolation {
		t.Errorf("closed with %v", err)
	}
}

// What is passed on as it comes may pause, but a body that never comes must not hold
// a connection to the platform for ever: nobody need have a key for that.
func TestABodyForARemotePlatformThatNeverComesIsGivenUp(t *testing.T) {
	remote := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body) // it is cut off
	}))
	defer remote.Close()
	r := newRig(t, nil, func(c *Config) {
		c.Platform, c.PlatformURL, c.Limits.BodyStall = nil, urlOf(t, remote.URL), 50*time.Millisecond
	})
	for _, path := range []string{"/v1/url/create", "/api/url/create"} {
		conn := dial(t, r.addr)
		fmt.Fprintf(conn, "POST %s HTTP/1.1\r\nHost: own.test\r\nContent-Type: application/json\r\nContent-Length: 100\r\n\r\n{", path)
		res, err := http.ReadResponse(bufio.NewReader(conn), nil)
		if err != nil || res.StatusCode != 408 || res.Header.Get(errorHeader) != string(ReasonBodyTooSlow) {
			t.Fatalf("%s: got %v, %v", path, res, err)
		}
	}
}
