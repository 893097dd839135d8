package key

import (
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/m3o/ingress/internal/api"
	"github.com/m3o/ingress/internal/api/apitest"
	"github.com/m3o/ingress/internal/helloworld"
	apipb "github.com/m3o/ingress/proto/api"
)

// post calls a method of a server that really authenticates and limits.
func post(t *testing.T, server *httptest.Server, secret, path, body string) apitest.Reply {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, server.URL+path, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Authorization", "Bearer "+secret)
	req.Header.Set("Content-Type", "application/json")
	res, err := server.Client().Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	text, err := io.ReadAll(res.Body)
	if err != nil {
		t.Fatal(err)
	}
	apitest.Validate(t, req.Method, path, res.StatusCode, res.Header, text)
	return apitest.Reply{Status: res.StatusCode, Header: res.Header, Body: string(text)}
}

func TestKeysOnTheWire(t *testing.T) {
	c := newClock()
	w := newWorld(t, Options{Now: c.now})
	handler, err := api.NewHandler(api.HandlerConfig{
		Services: append(w.Services(), helloworld.New().Service()),
		Auth:     w.Service, Limiter: w.Service,
		Logger: slog.New(slog.DiscardHandler),
	})
	if err != nil {
		t.Fatal(err)
	}
	server := httptest.NewServer(handler)
	defer server.Close()
	hello := func(secret string) apitest.Reply {
		t.Helper()
		return post(t, server, secret, "/v1/helloworld/Call", `{"name":"x"}`)
	}
	secret, id := w.newKey(t, w.alice, "helloworld")
	if reply := hello(secret); reply.Status != 200 || reply.Header.Get("RateLimit-Limit") != "300" || reply.Header.Get("RateLimit-Remaining") != "299" {
		t.Errorf("a good key: %d %s %v", reply.Status, reply.Body, reply.Header)
	}
	if reply := post(t, server, secret, "/v1/api/keys/list", `{}`); reply.Status != 403 || !strings.Contains(reply.Body, "v1.blocked") {
		t.Errorf("without the scope: %d %s", reply.Status, reply.Body)
	}
	for range 298 {
		hello(secret)
	}
	if reply := hello(secret); reply.Status != 429 || reply.Header.Get("Retry-After") != "1" || reply.Header.Get("RateLimit-Remaining") != "0" || !strings.Contains(reply.Body, `"Too Many Requests"`) {
		t.Errorf("one too many: %d %s %v", reply.Status, reply.Body, reply.Header)
	}
	if reply := hello(w.bobKey); reply.Status != 200 {
		t.Errorf("another tenant meanwhile: %d", reply.Status)
	}
	if reply := post(t, server, w.aliceKey, "/v1/api/keys/revoke", fmt.Sprintf(`{"id":%q}`, id)); reply.Status != 200 {
		t.Fatalf("revoke: %d %s", reply.Status, reply.Body)
	}
	if reply := hello(secret); reply.Status != 401 || reply.Body != `{"id":"v1","code":401,"detail":"Unauthorized","status":"Unauthorized"}`+"\n" && reply.Body != `{"id":"v1","code":401,"detail":"Unauthorized","status":"Unauthorized"}` {
		t.Errorf("revoked: %d %q", reply.Status, reply.Body)
	}
	if _, err := w.disableTenant(t.Context(), w.operator, &apipb.DisableRequest{Tenant: "bob"}); err != nil {
		t.Fatal(err)
	}
	if reply := hello(w.bobKey); reply.Status != 401 {
		t.Errorf("a disabled tenant: %d", reply.Status)
	}
}
