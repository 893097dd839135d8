package apitest

import (
	"context"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/m3o/ingress/internal/api"
	"github.com/m3o/ingress/internal/logtest"
)

// The keys every server knows. Alice and Bob are two tenants with keys for all
// services and nothing beyond; Operator is a third whose key has every scope
// there is.
const (
	Alice    = "key-of-alice"
	Bob      = "key-of-bob"
	Operator = "key-of-operator"
)

// Server serves services over real HTTP on a loopback port. It ends with the
// test. Its methods may be called concurrently.
type Server struct {
	// URL is the address, without a trailing slash.
	URL string
	// Handler is what serves.
	Handler *api.Handler

	client  *http.Client
	logs    *logtest.Buffer
	mu      sync.Mutex
	callers map[string]api.Caller
}

// NewServer starts a server for the services. Their logs, which the test may
// look into with Logs, are shown when the test fails.
func NewServer(t testing.TB, services ...api.Service) *Server {
	t.Helper()
	s := &Server{logs: &logtest.Buffer{}, callers: map[string]api.Caller{
		Alice:    {Tenant: "alice", KeyID: "alice-1", Scopes: []string{api.ScopeAll}, Quotas: api.DefaultQuotas},
		Bob:      {Tenant: "bob", KeyID: "bob-1", Scopes: []string{api.ScopeAll}, Quotas: api.DefaultQuotas},
		Operator: {Tenant: "operator", KeyID: "operator-1", Scopes: allScopes(), Quotas: api.DefaultQuotas, Unlimited: true},
	}}
	handler, err := api.NewHandler(api.HandlerConfig{
		Services: services,
		Auth:     s,
		Limiter:  s,
		Logger:   slog.New(slog.NewTextHandler(s.logs, nil)),
	})
	if err != nil {
		t.Fatalf("start the API: %v", err)
	}
	uploads, err := api.Uploads()
	if err != nil {
		t.Fatalf("read the contract: %v", err)
	}
	listener := httptest.NewServer(limitBody(handler, uploads))
	t.Cleanup(func() {
		listener.Close()
		if t.Failed() {
			t.Logf("log of the API:\n%s", s.Logs())
		}
	})
	s.URL, s.Handler, s.client = listener.URL, handler, listener.Client()
	return s
}

func allScopes() []string {
	return []string{api.ScopeAll, api.ScopeOperator, api.ScopeBackend, api.ScopeResolve}
}

// MaxUpload is the longest upload a Server takes, in bytes.
const MaxUpload = 16 << 20

// limitBody bounds bodies as the program does in front of the handler.
func limitBody(next http.Handler, uploads func(path string) bool) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		limit := int64(4 << 20)
		if uploads(r.URL.EscapedPath()) {
			limit = MaxUpload
		}
		// The server looks at its own request's body to see whether the client still
		// waits for "100 Continue", so that is left as it is.
		bounded := r.WithContext(r.Context())
		bounded.Body = http.MaxBytesReader(w, r.Body, limit)
		next.ServeHTTP(w, bounded)
	})
}

// Grant makes the server know a key, or know it as somebody else.
func (s *Server) Grant(key string, caller api.Caller) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.callers[key] = caller
}

// Authenticate implements api.Authenticator with the keys granted.
func (s *Server) Authenticate(_ context.Context, secret string) (api.Caller, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	caller, ok := s.callers[secret]
	if !ok {
		return api.Caller{}, api.Unauthorized("v1", "Unauthorized")
	}
	return caller, nil
}

// Take implements api.Limiter and allows everything.
func (s *Server) Take(caller api.Caller) api.Rate {
	return api.Rate{Allowed: true, Limit: caller.Quotas.Burst, Remaining: caller.Quotas.Burst}
}

// Logs returns what the handler has logged so far.
func (s *Server) Logs() string { return s.logs.String() }

// Reply is the answer to a call.
type Reply struct {
	Status int
	Header http.Header
	Body   string
}

// Post calls a method such as "/v1/url/Create" with a JSON body and checks the
// reply against the OpenAPI document.
func (s *Server) Post(t testing.TB, key, path, body string) Reply {
	t.Helper()
	return s.Do(t, http.MethodPost, key, path, body)
}

// Get calls a method with parameters, such as "/v1/url/List?shortURL=x", and
// checks the reply against the OpenAPI document.
func (s *Server) Get(t testing.TB, key, path string) Reply {
	t.Helper()
	return s.Do(t, http.MethodGet, key, path, "")
}

// Do makes a request, without a key when it is empty, and checks the reply
// against the OpenAPI document.
func (s *Server) Do(t testing.TB, method, key, path, body string) Reply {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, method, s.URL+path, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	if key != "" {
		req.Header.Set("Authorization", "Bearer "+key)
	}
	if body != "" {
		req.Header.Set("Content-Type", "application/json")
	}
	return s.Send(t, req)
}

// Send makes a request of the test's own making and checks the reply against the
// OpenAPI document.
func (s *Server) Send(t testing.TB, req *http.Request) Reply {
	t.Helper()
	res, err := s.client.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	body, err := io.ReadAll(res.Body)
	if err != nil {
		t.Fatal(err)
	}
	Validate(t, req.Method, req.URL.EscapedPath(), res.StatusCode, res.Header, body)
	return Reply{Status: res.StatusCode, Header: res.Header, Body: string(body)}
}

// Client returns a client that calls the server with the key.
func (s *Server) Client(t testing.TB, key string) *api.Client {
	t.Helper()
	address, err := url.Parse(s.URL)
	if err != nil {
		t.Fatal(err)
	}
	return &api.Client{Address: address, Token: key, HTTP: s.client}
}
