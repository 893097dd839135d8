package api_test

import (
	"context"
	"errors"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/coder/websocket"
	"github.com/m3o/ingress/internal/api"
	"github.com/m3o/ingress/internal/api/apitest"
	helloworldpb "github.com/m3o/ingress/proto/helloworld"
)

// dial opens a WebSocket with the header lines given as name, value, ….
func dial(t *testing.T, base, path string, header ...string) (*websocket.Conn, *http.Response) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	options := &websocket.DialOptions{HTTPHeader: http.Header{}, HTTPClient: &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}}
	for i := 0; i+1 < len(header); i += 2 {
		if header[i] == "Sec-WebSocket-Protocol" {
			options.Subprotocols = []string{header[i+1]}
			continue
		}
		options.HTTPHeader.Set(header[i], header[i+1])
	}
	conn, res, err := websocket.Dial(ctx, base+path, options)
	if err != nil {
		t.Fatalf("the upgrade was refused: %v", err)
	}
	t.Cleanup(func() { _ = conn.CloseNow() })
	return conn, res
}

// frames reads text frames until the connection is closed.
func frames(t *testing.T, conn *websocket.Conn) ([]string, websocket.StatusCode) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	var all []string
	for {
		kind, data, err := conn.Read(ctx)
		if err != nil {
			return all, websocket.CloseStatus(err)
		}
		if kind != websocket.MessageText {
			t.Errorf("frame of kind %v", kind)
		}
		all = append(all, string(data))
	}
}

func say(t *testing.T, conn *websocket.Conn, text string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	if err := conn.Write(ctx, websocket.MessageText, []byte(text)); err != nil {
		t.Fatal(err)
	}
}

func TestWebSockets(t *testing.T) {
	platform := apitest.NewServer(t, greeterWith(nil, nil))
	platform.Grant("narrow", api.Caller{Tenant: "alice", Scopes: []string{"url"}})
	alice := []string{"Authorization", "Bearer " + apitest.Alice}
	tests := []struct {
		name, path string
		header     []string
		request    string // none is sent when empty
		want       []string
		status     websocket.StatusCode
	}{
		{"a stream", "/v1/helloworld/stream", alice, `{"name":"x","messages":2}`, []string{`{"message":"alice x"}`, `{"message":"alice x"}`}, 1000},
		{"a stream of nothing", "/v1/helloworld/stream", alice, `{}`, nil, 1000},
		{"one reply", "/v1/helloworld/Call", alice, `{"name":"x"}`, []string{`{"message":"alice x"}`}, 1000},
		{"the key as subprotocol", "/v1/helloworld/call", []string{"Sec-WebSocket-Protocol", apitest.Bob}, `{"name":"x"}`, []string{`{"message":"bob x"}`}, 1000},
		{"any origin", "/v1/helloworld/call", append([]string{"Origin", "https://elsewhere.example"}, alice...), `{"name":"x"}`, []string{`{"message":"alice x"}`}, 1000},
		{"no key", "/v1/helloworld/call", nil, "", []string{unauthorized}, 1008},
		{"a bad key", "/v1/helloworld/call", []string{"Sec-WebSocket-Protocol", "nonsense"}, "", []string{unauthorized}, 1008},
		{"a key for other services", "/v1/helloworld/call", []string{"Authorization", "Bearer narrow"}, "", []string{blocked}, 1008},
		{"an unknown method", "/v1/helloworld/nosuch", alice, "", []string{unknown}, 1008},
		{"a malformed request", "/v1/helloworld/call", alice, `{"name":`, []string{malformed}, 1008},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			conn, res := dial(t, platform.URL, test.path, test.header...)
			if test.request != "" {
				say(t, conn, test.request)
			}
			got, status := frames(t, conn)
			if strings.Join(got, "\n") != strings.Join(test.want, "\n") || status != test.status {
				t.Errorf("got %v and %v, want %v and %v", got, status, test.want, test.status)
			}
			if len(test.header) > 0 && test.header[0] == "Sec-WebSocket-Protocol" && res.Header.Get("Sec-WebSocket-Protocol") != test.header[1] {
				t.Errorf("the subprotocol chosen is %q", res.Header.Get("Sec-WebSocket-Protocol"))
			}
		})
	}
}

func TestABrokenHandshakeIsRefusedInJSON(t *testing.T) {
	platform := apitest.NewServer(t, greeterWith(nil, nil))
	for name, want := range map[string]int{"Sec-WebSocket-Version": 426, "Sec-WebSocket-Key": 400} {
		req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, platform.URL+"/v1/helloworld/call", nil)
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set("Connection", "Upgrade")
		req.Header.Set("Upgrade", "websocket")
		req.Header.Set("Sec-WebSocket-Version", "13")
		req.Header.Set("Sec-WebSocket-Key", "dGhlIHNhbXBsZSBub25jZQ==")
		req.Header.Set(name, "wrong")
		if reply := platform.Send(t, req); reply.Status != want {
			t.Errorf("a wrong %s: got %d, want %d", name, reply.Status, want)
		}
	}
}

// serveSockets serves with its own handler, for the settings of WebSockets.
func serveSockets(t *testing.T, service api.Service, set func(*api.HandlerConfig)) (*api.Handler, string) {
	t.Helper()
	k := keys{caller: api.Caller{Tenant: "alice", Scopes: []string{"*"}}, rate: api.Rate{Allowed: true}}
	config := api.HandlerConfig{Services: []api.Service{service}, Auth: k, Limiter: k, Logger: slog.New(slog.DiscardHandler)}
	set(&config)
	handler, err := api.NewHandler(config)
	if err != nil {
		t.Fatal(err)
	}
	server := httptest.NewServer(handler)
	t.Cleanup(server.Close)
	return handler, server.URL
}

var bearer = []string{"Authorization", "Bearer KEY"}

func TestAWebSocketThatAsksNothingIsClosed(t *testing.T) {
	_, base := serveSockets(t, greeterWith(nil, nil), func(c *api.HandlerConfig) { c.Patience = 20 * time.Millisecond })
	conn, _ := dial(t, base, "/v1/helloworld/call", bearer...)
	got, status := frames(t, conn)
	want := `{"id":"v1","code":408,"detail":"No request arrived within 20ms","status":"Request Timeout"}`
	if len(got) != 1 || got[0] != want || status != websocket.StatusPolicyViolation {
		t.Errorf("got %v and %v", got, status)
	}
}

func TestAWebSocketRequestIsBounded(t *testing.T) {
	_, base := serveSockets(t, greeterWith(nil, nil), func(c *api.HandlerConfig) { c.MaxWebSocketRequest = 100 })
	conn, _ := dial(t, base, "/v1/helloworld/call", bearer...)
	say(t, conn, `{"name":"`+strings.Repeat("x", 200)+`"}`)
	if got, status := frames(t, conn); status != websocket.StatusMessageTooBig {
		t.Errorf("got %v and %v", got, status)
	}
}

// endless streams until its context ends, and says so.
func endless(ended chan<- error) streamFunc {
	return func(ctx context.Context, _ api.Caller, _ *helloworldpb.StreamRequest, send func(*helloworldpb.StreamResponse) error) error {
		if err := send(&helloworldpb.StreamResponse{Message: "on air"}); err != nil {
			return err
		}
		<-ctx.Done()
		ended <- ctx.Err()
		return ctx.Err()
	}
}

func onAir(t *testing.T, base string) *websocket.Conn {
	t.Helper()
	conn, _ := dial(t, base, "/v1/helloworld/stream", bearer...)
	say(t, conn, `{}`)
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	if _, data, err := conn.Read(ctx); err != nil || !strings.Contains(string(data), "on air") {
		t.Fatalf("%s, %v", data, err)
	}
	return conn
}

func TestAStreamEndsWhenItsWebSocketDoes(t *testing.T) {
	ended := make(chan error, 1)
	_, base := serveSockets(t, greeterWith(nil, endless(ended)), func(*api.HandlerConfig) {})
	if err := onAir(t, base).CloseNow(); err != nil {
		t.Fatal(err)
	}
	select {
	case <-ended:
	case <-time.After(20 * time.Second):
		t.Fatal("the method did not learn that its client had gone")
	}
}

func TestShutdownWaitsForWebSockets(t *testing.T) {
	finish := make(chan struct{})
	service := greeterWith(nil, func(ctx context.Context, _ api.Caller, _ *helloworldpb.StreamRequest, send func(*helloworldpb.StreamResponse) error) error {
		if err := send(&helloworldpb.StreamResponse{Message: "on air"}); err != nil {
			return err
		}
		select {
		case <-finish:
			return send(&helloworldpb.StreamResponse{Message: "the end"})
		case <-ctx.Done():
			return ctx.Err()
		}
	})
	handler, base := serveSockets(t, service, func(*api.HandlerConfig) {})
	conn := onAir(t, base)
	silent, _ := dial(t, base, "/v1/helloworld/call", bearer...)
	down := make(chan error, 1)
	go func() { down <- handler.Shutdown(t.Context()) }()
	if got, status := frames(t, silent); len(got) != 1 || !strings.Contains(got[0], "shutting down") || status != websocket.StatusGoingAway {
		t.Errorf("one that had asked nothing: got %v and %v", got, status)
	}
	waitRefused(t, base)
	select {
	case err := <-down:
		t.Fatalf("Shutdown returned %v while a WebSocket was open", err)
	default:
	}
	close(finish)
	if got, status := frames(t, conn); len(got) != 1 || got[0] != `{"message":"the end"}` || status != websocket.StatusNormalClosure {
		t.Errorf("got %v and %v", got, status)
	}
	if err := <-down; err != nil {
		t.Error(err)
	}
}

// waitRefused returns once new WebSockets are refused.
func waitRefused(t *testing.T, base string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	for {
		conn, res, err := websocket.Dial(ctx, base+"/v1/helloworld/call", &websocket.DialOptions{HTTPClient: client})
		if err == nil {
			_ = conn.CloseNow()
			continue
		}
		if res == nil || res.StatusCode != http.StatusServiceUnavailable {
			t.Fatalf("a WebSocket during shutdown: %v", err)
		}
		return
	}
}

func TestShutdownCutsWebSocketsShortAtItsDeadline(t *testing.T) {
	ended := make(chan error, 1)
	handler, base := serveSockets(t, greeterWith(nil, endless(ended)), func(*api.HandlerConfig) {})
	conn := onAir(t, base)
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer cancel()
	if err := handler.Shutdown(ctx); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("got %v", err)
	}
	got, status := frames(t, conn)
	if len(got) != 1 || !strings.Contains(got[0], `"code":503`) || status != websocket.StatusGoingAway {
		t.Errorf("got %v and %v", got, status)
	}
}

// impatience is how long a client may not read. It may take no longer to ask for
// something either, which this leaves time for.
const impatience = 2 * time.Second

func TestAClientThatStopsReadingLosesItsStream(t *testing.T) {
	ended := make(chan error, 2)
	flood := greeterWith(nil, func(_ context.Context, _ api.Caller, _ *helloworldpb.StreamRequest, send func(*helloworldpb.StreamResponse) error) error {
		message := &helloworldpb.StreamResponse{Message: strings.Repeat("x", 1<<20)}
		for {
			if err := send(message); err != nil {
				ended <- err
				return err
			}
		}
	})
	_, base := serveSockets(t, flood, func(c *api.HandlerConfig) { c.Patience = impatience })
	conn, _ := dial(t, base, "/v1/helloworld/stream", bearer...)
	say(t, conn, `{}`)
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, base+"/v1/helloworld/stream", nil)
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set(bearer[0], bearer[1])
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	res, err := client.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	for range 2 {
		select {
		case <-ended:
		case <-time.After(20 * time.Second):
			t.Fatal("a method still waits for a client that does not read")
		}
	}
}
