package edge

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/coder/websocket"
	"golang.org/x/net/http2"

	"github.com/m3o/ingress/internal/upstream"
)

// front is a way to a rig's data plane.
type front struct {
	name, scheme string
	client       *http.Client // whose URLs may name any host
}

// fronts are HTTP/1.1 in the clear and under TLS, and HTTP/2.
func fronts(t *testing.T, r *rig) []front {
	address, trust := r.serveTLS()
	secure := &http.Transport{DialTLSContext: func(context.Context, string, string) (net.Conn, error) {
		return dialTLS(t, address, trust, "http/1.1"), nil
	}}
	t.Cleanup(secure.CloseIdleConnections)
	return []front{
		{"HTTP/1.1", "http", clientOf(t, r.addr)},
		{"HTTP/1.1 under TLS", "https", &http.Client{Transport: secure}},
		{"HTTP/2.0", "https", h2Client(t, address, trust)},
	}
}

// TestWebSocketsPassCompressedAndInPieces and with pings, the subprotocol that was
// agreed on, and the code and reason of the end.
func TestWebSocketsPassCompressedAndInPieces(t *testing.T) {
	for _, engine := range engines() {
		transport := newTransport(t, upstream.Options{Engine: engine})
		r := newRig(t, nil, func(c *Config) { c.Transport = transport })
		ended := make(chan error, 1)
		r.backends["echo"] = backend(t, func(w http.ResponseWriter, r *http.Request) {
			c, err := websocket.Accept(w, r, &websocket.AcceptOptions{Subprotocols: []string{"echo.v1"}, CompressionMode: websocket.CompressionContextTakeover})
			if err != nil {
				t.Error(err)
				return
			}
			c.SetReadLimit(1 << 20)
			ended <- echo(r.Context(), c)
		})
		for _, front := range fronts(t, r)[:2] { // HTTP/2 has no upgrades
			t.Run(string(engine)+" "+front.name, func(t *testing.T) {
				talk(t, front.scheme+"://echo.app.test/", front.client)
				if err := <-ended; websocket.CloseStatus(err) != 4001 || !strings.Contains(err.Error(), "enough") {
					t.Errorf("the backend was told %v", err)
				}
			})
		}
	}
}

// echo sends each message back, in pieces, until the other side closes.
func echo(ctx context.Context, c *websocket.Conn) error {
	for {
		kind, message, err := c.Read(ctx)
		if err != nil {
			return err
		}
		if err := inPieces(ctx, c, kind, message); err != nil {
			return err
		}
	}
}

// inPieces sends a message in several frames.
func inPieces(ctx context.Context, c *websocket.Conn, kind websocket.MessageType, message []byte) error {
	w, err := c.Writer(ctx, kind)
	if err != nil {
		return err
	}
	for len(message) > 0 {
		n := min(len(message), 1+rand.IntN(5000))
		if _, err := w.Write(message[:n]); err != nil {
			return err
		}
		message = message[n:]
	}
	return w.Close()
}

func talk(t *testing.T, url string, client *http.Client) {
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	c, res, err := websocket.Dial(ctx, url, &websocket.DialOptions{
		HTTPClient: client, Subprotocols: []string{"echo.v2", "echo.v1"}, CompressionMode: websocket.CompressionContextTakeover,
	})
	if err != nil {
		t.Fatal(err)
	}
	defer c.CloseNow()
	if !strings.Contains(res.Header.Get("Sec-WebSocket-Extensions"), "permessage-deflate") || c.Subprotocol() != "echo.v1" {
		t.Errorf("agreed on %q and the protocol %q", res.Header.Get("Sec-WebSocket-Extensions"), c.Subprotocol())
	}
	c.SetReadLimit(1 << 20)
	random := make([]byte, 200_000)
	for i := range random {
		random[i] = byte(rand.Uint32())
	}
	for _, message := range []struct {
		kind    websocket.MessageType
		content []byte
	}{
		{websocket.MessageText, []byte("hello")}, {websocket.MessageBinary, random}, {websocket.MessageText, bytes.Repeat([]byte("again "), 50_000)}, {websocket.MessageText, nil},
	} {
		if err := inPieces(ctx, c, message.kind, message.content); err != nil {
			t.Fatal(err)
		}
		kind, got, err := c.Read(ctx)
		if err != nil || kind != message.kind || !bytes.Equal(got, message.content) {
			t.Fatalf("%d bytes came back as %d of kind %v, %v", len(message.content), len(got), kind, err)
		}
	}
	reading := c.CloseRead(ctx) // pongs are read there
	if err := c.Ping(ctx); err != nil {
		t.Errorf("a ping: %v", err)
	}
	if err := c.Close(4001, "enough"); err != nil {
		t.Errorf("the end: %v", err)
	}
	<-reading.Done()
}

// A WebSocket over HTTP/2 (RFC 8441) is not announced, because Go's server has it
// switched off; a client that tries all the same is told so by its stream alone.
func TestWebSocketsOverHTTP2AreNotAnnounced(t *testing.T) {
	r := newRig(t, nil)
	r.backends["hello"] = backend(t, func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, "hello") })
	address, trust := r.serveTLS()
	a := newH2Attack(t, address, trust)
	id, err := a.openWith([][2]string{{":method", "CONNECT"}, {":protocol", "websocket"}, {":scheme", "https"}, {":authority", "hello.app.test"}, {":path", "/"}, {"sec-websocket-version", "13"}}, false)
	if err != nil {
		t.Fatal(err)
	}
	for refused := false; !refused; {
		frame, err := a.framer.ReadFrame()
		if err != nil {
			t.Fatal(err)
		}
		switch frame := frame.(type) {
		case *http2.SettingsFrame:
			if value, ok := frame.Value(http2.SettingEnableConnectProtocol); ok && value != 0 {
				t.Error("it is announced")
			}
		case *http2.RSTStreamFrame:
			refused = frame.StreamID == id
		case *http2.GoAwayFrame:
			t.Fatalf("the connection ends: %v", frame)
		}
	}
}

// Ranges, conditions and what else a backend and a visitor settle between them pass
// as they are, by each front.
func TestWhatIsBetweenVisitorAndBackendPasses(t *testing.T) {
	content := strings.Repeat("0123456789", 1000)
	modified := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	r := newRig(t, nil)
	r.backends["files"] = backend(t, func(w http.ResponseWriter, q *http.Request) {
		if q.Header.Get("Early-Data") == "1" && q.Method == http.MethodPost {
			w.WriteHeader(http.StatusTooEarly)
			return
		}
		w.Header().Set("ETag", `"v1"`)
		http.ServeContent(w, q, "a.txt", modified, strings.NewReader(content))
	})
	ways := fronts(t, r)
	for name, row := range map[string]struct {
		method string
		header [2]string
		status int
		body   string
		want   [2]string // a header of the answer
	}{
		"whole":                     {"GET", [2]string{}, 200, content, [2]string{"Accept-Ranges", "bytes"}},
		"a range":                   {"GET", [2]string{"Range", "bytes=5-9"}, 206, "56789", [2]string{"Content-Range", "bytes 5-9/10000"}},
		"the end":                   {"GET", [2]string{"Range", "bytes=-3"}, 206, "789", [2]string{"Content-Length", "3"}},
		"beyond the end":            {"GET", [2]string{"Range", "bytes=20000-"}, 416, "invalid range: failed to overlap\n", [2]string{"Content-Range", "bytes */10000"}},
		"not modified":              {"GET", [2]string{"If-None-Match", `"v1"`}, 304, "", [2]string{"ETag", `"v1"`}},
		"not modified since":        {"GET", [2]string{"If-Modified-Since", modified.Format(http.TimeFormat)}, 304, "", [2]string{}},
		"modified":                  {"GET", [2]string{"If-None-Match", `"v0"`}, 200, content, [2]string{}},
		"a condition that fails":    {"GET", [2]string{"If-Match", `"v0"`}, 412, "", [2]string{}},
		"head":                      {"HEAD", [2]string{}, 200, "", [2]string{"Content-Length", "10000"}},
		"early data, which is safe": {"GET", [2]string{"Early-Data", "1"}, 200, content, [2]string{}},
		"early data, which is not":  {"POST", [2]string{"Early-Data", "1"}, 425, "", [2]string{}},
	} {
		for _, front := range ways {
			req, err := http.NewRequestWithContext(t.Context(), row.method, front.scheme+"://files.app.test/a.txt", nil)
			if err != nil {
				t.Fatal(err)
			}
			req.Header.Set("Accept-Encoding", "identity")
			if row.header[0] != "" {
				req.Header.Set(row.header[0], row.header[1])
			}
			res, err := front.client.Do(req)
			if err != nil {
				t.Fatalf("%s by %s: %v", name, front.name, err)
			}
			body, err := io.ReadAll(res.Body)
			_ = res.Body.Close()
			if err != nil || res.StatusCode != row.status || string(body) != row.body || row.want[0] != "" && res.Header.Get(row.want[0]) != row.want[1] {
				t.Errorf("%s by %s: %d, %d bytes, %v, %v", name, front.name, res.StatusCode, len(body), res.Header, err)
			}
		}
	}
}
