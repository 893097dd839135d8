package api_test

import (
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/m3o/ingress/internal/api"
)

// discard is a ResponseWriter that keeps nothing, so that the benchmarks measure
// the handler and not the recorder.
type discard struct{ header http.Header }

func (d discard) Header() http.Header         { return d.header }
func (d discard) Flush()                      {}
func (d discard) WriteHeader(int)             {}
func (d discard) Write(p []byte) (int, error) { return len(p), nil }

func benchmark(b *testing.B, method, target, body string) {
	k := keys{
		caller: api.Caller{Tenant: "alice", KeyID: "1", Scopes: []string{"*"}},
		rate:   api.Rate{Allowed: true, Limit: 300, Remaining: 299},
	}
	handler, err := api.NewHandler(api.HandlerConfig{
		Services: []api.Service{greeterWith(nil, nil)}, Auth: k, Limiter: k, Logger: slog.New(slog.DiscardHandler),
	})
	if err != nil {
		b.Fatal(err)
	}
	r := httptest.NewRequest(method, target, nil)
	r.Header.Set("Authorization", "Bearer KEY")
	b.ReportAllocs()
	for b.Loop() {
		r.Body = io.NopCloser(strings.NewReader(body))
		handler.ServeHTTP(discard{http.Header{}}, r)
	}
}

func BenchmarkUnaryPost(b *testing.B) {
	benchmark(b, http.MethodPost, "/v1/helloworld/Call", `{"name":"Jane"}`)
}

func BenchmarkUnaryGet(b *testing.B) {
	benchmark(b, http.MethodGet, "/v1/helloworld/Call?name=Jane", "")
}

func BenchmarkStream(b *testing.B) {
	benchmark(b, http.MethodPost, "/v1/helloworld/Stream", `{"name":"Jane","messages":100}`)
}

func BenchmarkUnauthorized(b *testing.B) {
	k := keys{err: api.Unauthorized("v1", "Unauthorized")}
	handler, err := api.NewHandler(api.HandlerConfig{
		Services: []api.Service{greeterWith(nil, nil)}, Auth: k, Limiter: k, Logger: slog.New(slog.DiscardHandler),
	})
	if err != nil {
		b.Fatal(err)
	}
	r := httptest.NewRequest(http.MethodPost, "/v1/helloworld/Call", nil)
	r.Header.Set("Authorization", "Bearer KEY")
	b.ReportAllocs()
	for b.Loop() {
		handler.ServeHTTP(discard{http.Header{}}, r)
	}
}
