package api_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/m3o/ingress/internal/api"
	"github.com/m3o/ingress/internal/api/apitest"
	"github.com/m3o/ingress/internal/porttest"
	apppb "github.com/m3o/ingress/proto/app"
	helloworldpb "github.com/m3o/ingress/proto/helloworld"
)

// remoteAt is a client of what a handler pretends to be.
func remoteAt(t *testing.T, handler http.HandlerFunc) *api.Client {
	t.Helper()
	server := httptest.NewServer(handler)
	t.Cleanup(server.Close)
	return clientOf(t, server.URL, server.Client())
}

func clientOf(t *testing.T, address string, doer *http.Client) *api.Client {
	t.Helper()
	parsed, err := url.Parse(address)
	if err != nil {
		t.Fatal(err)
	}
	return &api.Client{Address: parsed, Token: "the-token", HTTP: doer, Timeout: 20 * time.Second}
}

func TestClientCalls(t *testing.T) {
	platform := apitest.NewServer(t, greeterWith(nil, nil))
	client := platform.Client(t, apitest.Alice)
	var res helloworldpb.CallResponse
	if err := client.Call(t.Context(), "helloworld", "Call", &helloworldpb.CallRequest{Name: "<x>"}, &res); err != nil || res.GetMessage() != "alice <x>" {
		t.Errorf("Call: %v, %v", &res, err)
	}
	reply, err := client.CallJSON(t.Context(), "helloworld", "call", []byte(`{"name":"x"}`))
	if err != nil || string(reply) != `{"message":"alice x"}` {
		t.Errorf("CallJSON: %s, %v", reply, err)
	}
	var messages []string
	err = client.Stream(t.Context(), "helloworld", "Stream", []byte(`{"name":"x","messages":"3"}`), func(m json.RawMessage) error {
		messages = append(messages, string(m))
		return nil
	})
	if err != nil || len(messages) != 3 || messages[2] != `{"message":"alice x"}` {
		t.Errorf("Stream: %v, %v", messages, err)
	}
	err = client.Call(t.Context(), "helloworld", "Nosuch", &helloworldpb.CallRequest{}, &res)
	if e, ok := errors.AsType[*api.Error](err); !ok || e.ID != "go.micro.client" || e.Code != 404 || api.IsNotFound(err) {
		t.Errorf("an unknown method: %v", err)
	}
}

func TestClientSends(t *testing.T) {
	var got *http.Request
	var body []byte
	client := remoteAt(t, func(w http.ResponseWriter, r *http.Request) {
		got = r
		body, _ = io.ReadAll(r.Body)
		_, _ = io.WriteString(w, `{}`)
	})
	for _, test := range []struct{ base, token, service, endpoint, path string }{
		{"", "T", "app", "Resolve", "/v1/app/Resolve"},
		{"/base/path", "T", "app", "Resolve", "/base/path/v1/app/Resolve"},
		{"/base/path/", "T", "api/keys", "generate", "/base/path/v1/api/keys/generate"},
		{"", "", "app", "Resolve", "/app/resolve"},
		{"/base", "", "function", "Proxy", "/base/function/proxy"},
		{"", "", "user", "VerifyEmail", "/user/verifyEmail"},
	} {
		one := *client
		one.Token = test.token
		one.Address = client.Address.JoinPath(test.base)
		if err := one.Call(t.Context(), test.service, test.endpoint, &apppb.ResolveRequest{Id: "x"}, &apppb.ResolveResponse{}); err != nil {
			t.Fatal(err)
		}
		if got.Method != http.MethodPost || got.URL.Path != test.path || got.Header.Get("Content-Type") != "application/json" {
			t.Errorf("%+v: sent %s %s as %s", test, got.Method, got.URL.Path, got.Header.Get("Content-Type"))
		}
		want := ""
		if test.token != "" {
			want = "Bearer " + test.token
		}
		if got.Header.Get("Authorization") != want {
			t.Errorf("%+v: sent the authorization %q", test, got.Header.Get("Authorization"))
		}
		var sent map[string]string
		if err := json.Unmarshal(body, &sent); err != nil || len(sent) != 1 || sent["id"] != "x" {
			t.Errorf("%+v: sent %s", test, body)
		}
	}
}

// All the ways in which a platform's address can fail to answer (WIRE.md 7), and
// the few that are answers.
func TestWhatCountsAsAnAnswer(t *testing.T) {
	reply := func(status int, contentType, body string) http.HandlerFunc {
		return func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", contentType)
			w.WriteHeader(status)
			_, _ = io.WriteString(w, body)
		}
	}
	fails := func(code int, id, detail string) http.HandlerFunc {
		return reply(code, "application/json", fmt.Sprintf(`{"id":%q,"code":%d,"detail":%q,"status":%q}`, id, code, detail, http.StatusText(code)))
	}
	tests := []struct {
		name     string
		answer   http.HandlerFunc
		code     int // of the error; 0 when there is none
		id       string
		notFound bool
	}{
		{"an answer", reply(200, "application/json", `{"url":"http://x"}`), 0, "", false},
		{"an answer with fields of the future", reply(200, "text/plain", `{"url":"http://x","colour":{"r":1}}`), 0, "", false},
		{"not found, as we say it", fails(404, "app.resolve", "not found"), 404, "app.resolve", true},
		{"not found, as the original says it", fails(500, "app.resolve", "not found"), 500, "app.resolve", true},
		{"an invalid id", fails(400, "app.resolve", "invalid id"), 400, "app.resolve", true},
		{"another bad request", fails(400, "app.resolve", "missing id"), 400, "app.resolve", false},
		{"a bad key", fails(401, "v1", "Unauthorized"), 401, "v1", false},
		{"a key that may not", fails(403, "v1.blocked", "not found"), 403, "v1.blocked", false},
		{"too many requests", fails(429, "v1.blocked", "Too Many Requests"), 429, "v1.blocked", false},
		{"an unknown service", fails(404, "go.micro.client", "unknown service App.Resolve"), 404, "go.micro.client", false},
		{"an internal error", fails(500, "app.resolve", "database gone"), 500, "app.resolve", false},
		{"an empty 200", reply(200, "application/json", ""), 502, "ingress.remote", false},
		{"blanks", reply(200, "application/json", " \n"), 502, "ingress.remote", false},
		{"text labelled JSON", reply(200, "application/json", "upstream connect error"), 502, "ingress.remote", false},
		{"HTML", reply(200, "text/html", "<html>parked</html>"), 502, "ingress.remote", false},
		{"null", reply(200, "application/json", "null"), 502, "ingress.remote", false},
		{"a list", reply(200, "application/json", "[]"), 502, "ingress.remote", false},
		{"truncated JSON", reply(200, "application/json", `{"url":"http`), 502, "ingress.remote", false},
		{"another contract's reply", reply(200, "application/json", `{"url":{"id":"x"}}`), 502, "ingress.remote", false},
		{"an error with status 200", reply(200, "application/json", `{"id":"app.resolve","code":500,"detail":"boom","status":"x"}`), 500, "app.resolve", false},
		{"an HTML 404", reply(404, "text/html", "<h1>not found</h1>"), 502, "ingress.remote", false},
		{"an empty 404", reply(404, "application/json", ""), 502, "ingress.remote", false},
		{"another program's 404", reply(404, "application/json", `{"detail":"Not Found"}`), 502, "ingress.remote", false},
		{"a 404 about another status", reply(404, "application/json", `{"id":"x","code":500,"detail":"not found","status":"x"}`), 502, "ingress.remote", false},
		{"a bad gateway", reply(502, "text/html", "<h1>nginx</h1>"), 502, "ingress.remote", false},
		{"an empty 204", reply(204, "application/json", ""), 502, "ingress.remote", false},
		{"a connection cut in the body", func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Length", "100")
			_, _ = io.WriteString(w, `{"url":"http://x"}`)
		}, 503, "ingress.remote", false},
		{"a connection cut at once", func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) }, 503, "ingress.remote", false},
		{"an endless reply", func(w http.ResponseWriter, r *http.Request) {
			for r.Context().Err() == nil {
				if _, err := io.WriteString(w, strings.Repeat(" ", 1<<16)); err != nil {
					return
				}
			}
		}, 502, "ingress.remote", false},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			client := remoteAt(t, test.answer)
			client.MaxReply = 1 << 20
			var res apppb.ResolveResponse
			err := client.Call(t.Context(), "app", "Resolve", &apppb.ResolveRequest{Id: "x"}, &res)
			if test.code == 0 {
				if err != nil || res.GetUrl() != "http://x" {
					t.Errorf("got %v, %v", &res, err)
				}
				return
			}
			e, ok := errors.AsType[*api.Error](err)
			if !ok || e.Code != test.code || e.ID != test.id || api.IsNotFound(err) != test.notFound {
				t.Errorf("got %v (not found: %v), want %d %s (%v)", err, api.IsNotFound(err), test.code, test.id, test.notFound)
			}
			if ok && strings.Contains(e.Error(), "the-token") {
				t.Errorf("the error has the token: %v", e)
			}
		})
	}
}

func TestARemoteMaySayWhenToComeBack(t *testing.T) {
	for header, want := range map[string]time.Duration{"7": 7 * time.Second, "": 0, "-1": 0, "soon": 0, "99999999999999999999": 0} {
		client := remoteAt(t, func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Retry-After", header)
			w.WriteHeader(http.StatusTooManyRequests)
			_, _ = io.WriteString(w, `{"id":"v1.blocked","code":429,"detail":"Too Many Requests","status":"Too Many Requests"}`)
		})
		_, err := client.CallJSON(t.Context(), "app", "Resolve", nil)
		if e, ok := errors.AsType[*api.Error](err); !ok || e.Code != 429 || e.RetryAfter != want {
			t.Errorf("Retry-After %q: got %+v", header, e)
		}
	}
}

func TestRedirectsAreNotFollowed(t *testing.T) {
	for _, status := range []int{301, 302, 303, 307, 308} {
		elsewhere := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			t.Errorf("a redirect was followed, with the authorization %q", r.Header.Get("Authorization"))
		}))
		client := remoteAt(t, func(w http.ResponseWriter, r *http.Request) {
			http.Redirect(w, r, elsewhere.URL+"/v1?key=hunter2", status)
		})
		err := client.Call(t.Context(), "app", "Resolve", &apppb.ResolveRequest{}, &apppb.ResolveResponse{})
		if err == nil || api.IsNotFound(err) || !strings.Contains(err.Error(), "redirect") {
			t.Errorf("%d: got %v", status, err)
		}
		// Where to, for who is to give another address, and nothing secret.
		if e, ok := errors.AsType[*api.Error](err); !ok || e.Cause.Error() != fmt.Sprintf("status %d to %s", status, elsewhere.URL) {
			t.Errorf("%d: got %+v", status, e)
		}
		err = client.Stream(t.Context(), "helloworld", "Stream", nil, func(json.RawMessage) error { return nil })
		if err == nil || !strings.Contains(err.Error(), "redirect") {
			t.Errorf("%d: got %v from a stream", status, err)
		}
		elsewhere.Close()
	}
}

func TestRefusedConnections(t *testing.T) {
	err := clientOf(t, "http://"+porttest.Closed(t), nil).Call(t.Context(), "app", "Resolve", &apppb.ResolveRequest{}, &apppb.ResolveResponse{})
	if e, ok := errors.AsType[*api.Error](err); !ok || e.Code != 503 || api.IsNotFound(err) {
		t.Errorf("got %v", err)
	}
}

func TestAPlatformThatHangs(t *testing.T) {
	client := remoteAt(t, func(_ http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		<-r.Context().Done()
	})
	client.Timeout = 20 * time.Millisecond
	calls := map[string]func() error{
		"Call": func() error {
			return client.Call(t.Context(), "app", "Resolve", &apppb.ResolveRequest{}, &apppb.ResolveResponse{})
		},
		"Stream": func() error {
			return client.Stream(t.Context(), "helloworld", "Stream", nil, func(json.RawMessage) error { return nil })
		},
	}
	for name, call := range calls {
		if e, ok := errors.AsType[*api.Error](call()); !ok || e.Code != 504 || api.IsNotFound(e) {
			t.Errorf("%s: got %v", name, e)
		}
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := client.Call(ctx, "app", "Resolve", &apppb.ResolveRequest{}, &apppb.ResolveResponse{}); !errors.Is(err, context.Canceled) {
		t.Errorf("a cancelled call: got %v", err)
	}
}

func TestStreamsFromARemote(t *testing.T) {
	stop := errors.New("enough")
	tests := []struct {
		name, body string
		each       func(json.RawMessage) error
		messages   int
		err        string
	}{
		{"lines", "{\"message\":\"a\"}\n{\"message\":\"b\"}\n", nil, 2, ""},
		{"without line breaks", `{"message":"a"}{"message":"b"}`, nil, 2, ""},
		{"nothing", "", nil, 0, ""},
		{"an error at the end", "{\"message\":\"a\"}\n" + unauthorized, nil, 1, "Unauthorized"},
		{"text at the end", "{\"message\":\"a\"}\nupstream reset", nil, 1, "broke off"},
		{"half a message at the end", "{\"message\":\"a\"}\n{\"mess", nil, 1, "broke off"},
		{"too large a message", `{"message":"` + strings.Repeat("x", 1<<20) + `"}`, nil, 0, "larger than the limit"},
		{"many messages beyond the bound of one", strings.Repeat(`{"message":"`+strings.Repeat("x", 1000)+`"}`, 200), nil, 200, ""},
		{"a reader who has enough", "{}\n{}\n{}\n", func(json.RawMessage) error { return stop }, 1, "enough"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			client := remoteAt(t, func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, test.body) })
			client.MaxReply = 100_000
			messages := 0
			err := client.Stream(t.Context(), "helloworld", "Stream", []byte(`{}`), func(m json.RawMessage) error {
				messages++
				if test.each != nil {
					return test.each(m)
				}
				return nil
			})
			if messages != test.messages || (err == nil) != (test.err == "") || err != nil && !strings.Contains(err.Error(), test.err) {
				t.Errorf("got %d messages and %v, want %d and %q", messages, err, test.messages, test.err)
			}
		})
	}
}
