package api_test

import (
	"context"
	"encoding/json"
	"io"
	"log/slog"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/m3o/ingress/internal/api"
)

// fakeRemote answers resolves as the original does, and counts those of links.
type fakeRemote struct {
	resolves atomic.Int64
	down     atomic.Bool // answers with the error page of a proxy
}

func (f *fakeRemote) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if f.down.Load() {
		w.WriteHeader(http.StatusBadGateway)
		_, _ = io.WriteString(w, "<h1>bad gateway</h1>")
		return
	}
	var req struct{ ID, Token string }
	if err := json.NewDecoder(r.Body).Decode(&req); err != nil {
		w.WriteHeader(http.StatusInternalServerError)
		return
	}
	switch r.URL.Path + " " + req.ID + req.Token {
	case "/v1/app/Resolve up":
		_, _ = io.WriteString(w, `{"url":"http://10.0.0.1:8080"}`)
	case "/v1/app/Resolve deploying", "/v1/function/Proxy deploying", "/v1/url/Resolve nowhere":
		_, _ = io.WriteString(w, `{}`)
	case "/v1/function/Proxy up":
		_, _ = io.WriteString(w, `{"url":"https://f.example/base"}`)
	case "/v1/url/Resolve up":
		f.resolves.Add(1)
		_, _ = io.WriteString(w, `{"destinationURL":"https://example.com/"}`)
	case "/v1/user/VerifyEmail up":
		_, _ = io.WriteString(w, `{}`)
	case "/v1/user/VerifyEmail ":
		w.WriteHeader(http.StatusBadRequest)
		_, _ = io.WriteString(w, `{"id":"user.verifytoken","code":400,"detail":"missing token","status":"Bad Request"}`)
	default:
		w.WriteHeader(http.StatusInternalServerError)
		_, _ = io.WriteString(w, `{"id":"x","code":500,"detail":"not found","status":"Internal Server Error"}`)
	}
}

func newRemote(t *testing.T, f *fakeRemote) *api.Remote {
	t.Helper()
	return api.NewRemote(remoteAt(t, f.ServeHTTP), slog.New(slog.DiscardHandler))
}

// closed closes the remote and returns the error.
func closed(t *testing.T, r *api.Remote) error {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	return r.Close(ctx)
}

func TestRemoteResolves(t *testing.T) {
	fake := &fakeRemote{}
	remote := newRemote(t, fake)
	defer closed(t, remote)
	tests := []struct {
		name     string
		resolve  func(context.Context, string) (string, error)
		id, want string
		fails    bool
		notFound bool
	}{
		{"an app", remote.ResolveApp, "up", "http://10.0.0.1:8080", false, false},
		{"an app that deploys", remote.ResolveApp, "deploying", "", false, false},
		{"no app", remote.ResolveApp, "nosuch", "", true, true},
		{"a function", remote.ResolveFunction, "up", "https://f.example/base", false, false},
		{"a function that deploys", remote.ResolveFunction, "deploying", "", false, false},
		{"no function", remote.ResolveFunction, "nosuch", "", true, true},
		{"a link", remote.ResolveLink, "up", "https://example.com/", false, false},
		{"a link that leads nowhere", remote.ResolveLink, "nowhere", "", true, false},
		{"no link", remote.ResolveLink, "nosuch", "", true, true},
	}
	for _, test := range tests {
		got, err := test.resolve(t.Context(), test.id)
		if got != test.want || (err != nil) != test.fails || api.IsNotFound(err) != test.notFound {
			t.Errorf("%s: got %q, %v", test.name, got, err)
		}
	}
	if err := remote.VerifyEmail(t.Context(), "up"); err != nil {
		t.Errorf("a good token: %v", err)
	}
	if err := remote.VerifyEmail(t.Context(), ""); err == nil || !strings.Contains(err.Error(), "missing token") {
		t.Errorf("no token: %v", err)
	}
	fake.down.Store(true)
	for _, test := range tests {
		if got, err := test.resolve(t.Context(), test.id); got != "" || err == nil || api.IsNotFound(err) {
			t.Errorf("%s, with the platform down: got %q, %v", test.name, got, err)
		}
	}
}

func TestRemoteCountsEveryVisitOnce(t *testing.T) {
	fake := &fakeRemote{}
	remote := newRemote(t, fake)
	for range 3 { // a miss and two refreshes of the edge's cache
		if _, err := remote.ResolveLink(t.Context(), "up"); err != nil {
			t.Fatal(err)
		}
	}
	for range 100 {
		remote.Hit("up")
	}
	if err := closed(t, remote); err != nil {
		t.Fatal(err)
	}
	if got := fake.resolves.Load(); got != 100 || remote.DroppedHits() != 0 {
		t.Errorf("100 visits became %d Resolves, %d dropped", got, remote.DroppedHits())
	}
	remote.Hit("up")
	if remote.DroppedHits() != 1 || fake.resolves.Load() != 100 {
		t.Error("a visit after the end was not dropped")
	}
	if err := closed(t, remote); err != nil {
		t.Errorf("closing twice: %v", err)
	}
}
