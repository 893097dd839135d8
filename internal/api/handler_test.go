package api_test

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/m3o/ingress/internal/api"
	"github.com/m3o/ingress/internal/api/apitest"
	helloworldpb "github.com/m3o/ingress/proto/helloworld"
)

type (
	callFunc   = func(context.Context, api.Caller, *helloworldpb.CallRequest) (*helloworldpb.CallResponse, error)
	streamFunc = func(context.Context, api.Caller, *helloworldpb.StreamRequest, func(*helloworldpb.StreamResponse) error) error
)

// greeterWith is the helloworld service with methods of the test's own. One that
// is nil answers with who called.
func greeterWith(call callFunc, stream streamFunc) api.Service {
	if call == nil {
		call = func(_ context.Context, caller api.Caller, req *helloworldpb.CallRequest) (*helloworldpb.CallResponse, error) {
			return &helloworldpb.CallResponse{Message: caller.Tenant + " " + req.GetName()}, nil
		}
	}
	if stream == nil {
		stream = func(_ context.Context, caller api.Caller, req *helloworldpb.StreamRequest, send func(*helloworldpb.StreamResponse) error) error {
			for range req.GetMessages() {
				if err := send(&helloworldpb.StreamResponse{Message: caller.Tenant + " " + req.GetName()}); err != nil {
					return err
				}
			}
			return nil
		}
	}
	return api.Service{
		Descriptor: helloworldpb.File_helloworld_helloworld_proto.Services().ByName("Helloworld"),
		Methods:    []api.Method{api.Unary("Call", call), api.ServerStream("Stream", stream)},
	}
}

const (
	unauthorized = `{"id":"v1","code":401,"detail":"Unauthorized","status":"Unauthorized"}`
	blocked      = `{"id":"v1.blocked","code":403,"detail":"Request blocked. Insufficient privileges","status":"Forbidden"}`
	malformed    = `{"id":"v1","code":400,"detail":"Request message malformed, please check and try again","status":"Bad Request"}`
	unknown      = `{"id":"go.micro.client","code":404,"detail":"unknown service Helloworld.Nosuch","status":"Not Found"}`
)

func TestCalls(t *testing.T) {
	platform := apitest.NewServer(t, greeterWith(nil, nil))
	platform.Grant("narrow", api.Caller{Tenant: "alice", KeyID: "narrow", Scopes: []string{"url", "resolve"}})
	platform.Grant("exact", api.Caller{Tenant: "carol", KeyID: "exact", Scopes: []string{"helloworld"}})
	big := `{"name":"` + strings.Repeat("x", 4<<20) + `"}`
	tests := []struct {
		name, method, key, path, body string
		status                        int
		want                          string
	}{
		{"POST", "POST", apitest.Alice, "/v1/helloworld/Call", `{"name":"x"}`, 200, `{"message":"alice x"}`},
		{"another tenant is another caller", "POST", apitest.Bob, "/v1/helloworld/Call", `{"name":"x"}`, 200, `{"message":"bob x"}`},
		{"PUT is POST", "PUT", apitest.Alice, "/v1/helloworld/call", `{"name":"x"}`, 200, `{"message":"alice x"}`},
		{"DELETE is POST", "DELETE", apitest.Alice, "/v1/HELLOWORLD/CALL", `{"name":"x"}`, 200, `{"message":"alice x"}`},
		{"three segments", "POST", apitest.Alice, "/v1/helloworld/Helloworld/Call", `{"name":"x"}`, 200, `{"message":"alice x"}`},
		{"no body", "POST", apitest.Alice, "/v1/helloworld/call", ``, 200, `{"message":"alice "}`},
		{"GET", "GET", apitest.Alice, "/v1/helloworld/call?name=a%20b", ``, 200, `{"message":"alice a b"}`},
		{"GET with what looks like a number", "GET", apitest.Alice, "/v1/helloworld/call?name=007", ``, 200, `{"message":"alice 007"}`},
		{"GET with brackets and quotes", "GET", apitest.Alice, "/v1/helloworld/call?name=%3Cb%3E%22", ``, 200, `{"message":"alice <b>\""}`},
		{"GET with a parameter twice", "GET", apitest.Alice, "/v1/helloworld/call?name=a&name=b", ``, 200, `{"message":"alice a"}`},
		{"GET with an unknown parameter", "GET", apitest.Alice, "/v1/helloworld/call?nosuch=a", ``, 200, `{"message":"alice "}`},
		{"GET with invalid UTF-8", "GET", apitest.Alice, "/v1/helloworld/call?name=%ff", ``, 400, malformed},
		{"GET with a bad escape", "GET", apitest.Alice, "/v1/helloworld/call?name=%zz", ``, 400, malformed},
		{"truncated JSON", "POST", apitest.Alice, "/v1/helloworld/call", `{"name":`, 400, malformed},
		{"a wrong type", "POST", apitest.Alice, "/v1/helloworld/call", `{"name":1}`, 400, malformed},
		{"too large a body", "POST", apitest.Alice, "/v1/helloworld/call", big, 413,
			`{"id":"v1","code":413,"detail":"Request body is larger than the limit of 4194304 bytes","status":"Request Entity Too Large"}`},
		{"no key", "POST", "", "/v1/helloworld/call", `{}`, 401, unauthorized},
		{"a bad key", "POST", "nonsense", "/v1/helloworld/call", `{}`, 401, unauthorized},
		{"a key in the query", "GET", "", "/v1/helloworld/call?api_key=" + apitest.Alice, ``, 401, unauthorized},
		{"no key and an unknown service", "POST", "", "/v1/nosuch/call", `{}`, 401, unauthorized},
		{"no key and a wrong HTTP method", "PATCH", "", "/v1/helloworld/call", `{}`, 405,
			`{"id":"v1","code":405,"detail":"Method PATCH is not allowed, use POST","status":"Method Not Allowed"}`},
		{"a key for other services", "POST", "narrow", "/v1/helloworld/call", `{}`, 403, blocked},
		{"a key for this service", "POST", "exact", "/v1/helloworld/call", `{"name":"x"}`, 200, `{"message":"carol x"}`},
		{"an unknown method", "POST", apitest.Alice, "/v1/helloworld/nosuch", `{}`, 404, unknown},
		{"an unknown service", "POST", apitest.Alice, "/v1/nosuch/call", `{}`, 404,
			`{"id":"go.micro.client","code":404,"detail":"unknown service Nosuch.Call","status":"Not Found"}`},
		{"PATCH", "PATCH", apitest.Alice, "/v1/helloworld/call", `{}`, 405,
			`{"id":"v1","code":405,"detail":"Method PATCH is not allowed, use POST","status":"Method Not Allowed"}`},
		{"HEAD", "HEAD", apitest.Alice, "/v1/helloworld/call", ``, 405, ""},
		{"OPTIONS needs no key", "OPTIONS", "", "/v1/helloworld/call", ``, 204, ""},
		{"OPTIONS tells nothing of what exists", "OPTIONS", "", "/v1/nosuch/call", ``, 204, ""},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			reply := platform.Do(t, test.method, test.key, test.path, test.body)
			if reply.Status != test.status || reply.Body != test.want {
				t.Errorf("got %d %s\nwant %d %s", reply.Status, reply.Body, test.status, test.want)
			}
			if got := reply.Header.Get("Allow"); (test.status == 405) != (got != "") {
				t.Errorf("Allow is %q", got)
			}
			if got := reply.Header.Get("WWW-Authenticate"); (test.status == 401) != (got != "") {
				t.Errorf("WWW-Authenticate is %q", got)
			}
		})
	}
}

func TestContentTypes(t *testing.T) {
	platform := apitest.NewServer(t, greeterWith(nil, nil))
	tests := []struct {
		contentType, body string
		status            int
	}{
		{"", `{"name":"x"}`, 200},
		{"application/json", `{"name":"x"}`, 200},
		{"application/json; charset=utf-8", `{"name":"x"}`, 200},
		{"Application/JSON;charset", `{"name":"x"}`, 200},
		{"application/x-www-form-urlencoded", `name=x`, 415},
		{"application/x-www-form-urlencoded", ` {"name":"x"}`, 200}, // what curl -d calls JSON
		{"multipart/form-data; boundary=b", "--b--", 415},
		{"text/plain", `{"name":"x"}`, 415},
		{"nonsense/", `{"name":"x"}`, 415},
		{"application/x-www-form-urlencoded", ``, 200}, // what curl -X POST -d '' sends
	}
	for _, test := range tests {
		req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, platform.URL+"/v1/helloworld/call", strings.NewReader(test.body))
		if err != nil {
			t.Fatal(err)
		}
		req.Header["Content-Type"] = []string{test.contentType}
		req.Header.Set("Authorization", "Bearer "+apitest.Alice)
		if reply := platform.Send(t, req); reply.Status != test.status {
			t.Errorf("%q: got %d %s, want %d", test.contentType, reply.Status, reply.Body, test.status)
		}
	}
}

func TestWhatMethodsReturn(t *testing.T) {
	secret := errors.New("password is hunter2")
	tests := []struct {
		name   string
		call   callFunc
		status int
		want   string
		logged string
	}{
		{"an error of the contract", func(context.Context, api.Caller, *helloworldpb.CallRequest) (*helloworldpb.CallResponse, error) {
			return nil, api.BadRequest("helloworld.call", "bad <name>")
		}, 400, `{"id":"helloworld.call","code":400,"detail":"bad \u003cname\u003e","status":"Bad Request"}`, ""},
		{"any other error", func(context.Context, api.Caller, *helloworldpb.CallRequest) (*helloworldpb.CallResponse, error) {
			return nil, secret
		}, 500, `{"id":"helloworld.call","code":500,"detail":"internal error","status":"Internal Server Error"}`, "hunter2"},
		{"an error with a status that is none", func(context.Context, api.Caller, *helloworldpb.CallRequest) (*helloworldpb.CallResponse, error) {
			return nil, &api.Error{ID: "x", Code: 7}
		}, 500, `{"id":"helloworld.call","code":500,"detail":"internal error","status":"Internal Server Error"}`, "(7)"},
		{"a panic", func(context.Context, api.Caller, *helloworldpb.CallRequest) (*helloworldpb.CallResponse, error) {
			panic("at the disco")
		}, 500, `{"id":"helloworld.call","code":500,"detail":"internal error","status":"Internal Server Error"}`, "at the disco"},
		{"a deadline of its own", func(context.Context, api.Caller, *helloworldpb.CallRequest) (*helloworldpb.CallResponse, error) {
			return nil, context.DeadlineExceeded
		}, 504, `{"id":"helloworld.call","code":504,"detail":"the call took too long","status":"Gateway Timeout"}`, "deadline"},
		{"text that is not UTF-8", func(context.Context, api.Caller, *helloworldpb.CallRequest) (*helloworldpb.CallResponse, error) {
			return &helloworldpb.CallResponse{Message: "\xff"}, nil
		}, 500, `{"id":"helloworld.call","code":500,"detail":"internal error","status":"Internal Server Error"}`, "UTF-8"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			platform := apitest.NewServer(t, greeterWith(test.call, nil))
			reply := platform.Post(t, apitest.Alice, "/v1/helloworld/call", `{"name":"in the body"}`)
			if reply.Status != test.status || reply.Body != test.want {
				t.Errorf("got %d %s\nwant %d %s", reply.Status, reply.Body, test.status, test.want)
			}
			logs := platform.Logs()
			if !strings.Contains(logs, test.logged) || (test.logged == "") != (logs == "") {
				t.Errorf("the log should have %q: %s", test.logged, logs)
			}
			if strings.Contains(logs, apitest.Alice) || strings.Contains(logs, "in the body") {
				t.Errorf("the log has the key or the body: %s", logs)
			}
			if test.logged != "" && !(strings.Contains(logs, "method=helloworld.Helloworld.Call") && strings.Contains(logs, "key=alice-1")) {
				t.Errorf("the log does not say which method and key: %s", logs)
			}
		})
	}
}

func TestStreamsEndWithTheErrorThatBrokeThem(t *testing.T) {
	platform := apitest.NewServer(t, greeterWith(nil, func(_ context.Context, _ api.Caller, req *helloworldpb.StreamRequest, send func(*helloworldpb.StreamResponse) error) error {
		if req.GetMessages() > 0 {
			if err := send(&helloworldpb.StreamResponse{Message: "one"}); err != nil {
				return err
			}
		}
		if req.GetName() == "panic" {
			panic("in mid-stream")
		}
		return api.Forbidden("helloworld.stream", "enough")
	}))
	enough := `{"id":"helloworld.stream","code":403,"detail":"enough","status":"Forbidden"}`
	broken := `{"id":"helloworld.stream","code":500,"detail":"internal error","status":"Internal Server Error"}`
	for _, test := range []struct {
		body   string
		status int
		want   string
	}{
		{`{}`, 403, enough},
		{`{"messages":1}`, 200, `{"message":"one"}` + "\n" + enough + "\n"},
		{`{"messages":1,"name":"panic"}`, 200, `{"message":"one"}` + "\n" + broken + "\n"},
		{`{"name":"panic"}`, 500, broken},
	} {
		reply := platform.Post(t, apitest.Alice, "/v1/helloworld/stream", test.body)
		if reply.Status != test.status || reply.Body != test.want {
			t.Errorf("%s: got %d %s\nwant %d %s", test.body, reply.Status, reply.Body, test.status, test.want)
		}
	}
}

func TestStreamsAreFlushedAndEndWithTheirClient(t *testing.T) {
	ended := make(chan error, 1)
	platform := apitest.NewServer(t, greeterWith(nil, func(ctx context.Context, _ api.Caller, _ *helloworldpb.StreamRequest, send func(*helloworldpb.StreamResponse) error) error {
		if err := send(&helloworldpb.StreamResponse{Message: "first"}); err != nil {
			return err
		}
		<-ctx.Done()
		ended <- send(&helloworldpb.StreamResponse{Message: "nobody hears this"})
		return ctx.Err()
	}))
	ctx, leave := context.WithCancel(t.Context())
	defer leave()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, platform.URL+"/v1/helloworld/stream", nil)
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Authorization", "Bearer "+apitest.Alice)
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	res, err := client.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	first := make([]byte, len(`{"message":"first"}`))
	if _, err := io.ReadFull(res.Body, first); err != nil || string(first) != `{"message":"first"}` {
		t.Fatalf("the first message did not come while the stream was open: %q, %v", first, err)
	}
	leave()
	select {
	case err := <-ended:
		if err == nil {
			t.Error("send did not tell that the client had gone")
		}
	case <-time.After(20 * time.Second):
		t.Fatal("the method did not learn that its client had gone")
	}
}

// keys is an Authenticator and a Limiter whose answers the test sets.
type keys struct {
	caller api.Caller
	err    error
	rate   api.Rate
}

func (k keys) Authenticate(context.Context, string) (api.Caller, error) { return k.caller, k.err }
func (k keys) Take(api.Caller) api.Rate                                 { return k.rate }

func serve(t *testing.T, k keys, services ...api.Service) *httptest.Server {
	t.Helper()
	handler, err := api.NewHandler(api.HandlerConfig{Services: services, Auth: k, Limiter: k, Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	server := httptest.NewServer(handler)
	t.Cleanup(server.Close)
	return server
}

func TestAccess(t *testing.T) {
	alice := api.Caller{Tenant: "alice", KeyID: "1", Scopes: []string{"*"}}
	rate := api.Rate{Allowed: true, Limit: 300, Remaining: 299, Reset: 1500 * time.Millisecond}
	tests := []struct {
		name   string
		keys   keys
		status int
		want   string
		header map[string]string
	}{
		{"within the limit", keys{caller: alice, rate: rate}, 200, `{"message":"alice "}`,
			map[string]string{"RateLimit-Limit": "300", "RateLimit-Remaining": "299", "RateLimit-Reset": "2", "Retry-After": ""}},
		{"over the limit", keys{caller: alice, rate: api.Rate{Limit: 300, Reset: 3 * time.Second, RetryAfter: 10 * time.Millisecond}}, 429,
			`{"id":"v1.blocked","code":429,"detail":"Too Many Requests","status":"Too Many Requests"}`,
			map[string]string{"RateLimit-Limit": "300", "RateLimit-Remaining": "0", "RateLimit-Reset": "3", "Retry-After": "1"}},
		{"without a limit", keys{caller: alice, rate: api.Rate{Allowed: true}}, 200, `{"message":"alice "}`,
			map[string]string{"RateLimit-Limit": "", "RateLimit-Remaining": "", "RateLimit-Reset": ""}},
		{"a bad key, however it is put", keys{err: api.Unauthorized("key.check", "checksum of abc is wrong"), rate: rate}, 401, unauthorized,
			map[string]string{"RateLimit-Limit": ""}},
		{"an answer of the key service's own", keys{err: api.Forbidden("v1.blocked", "tenant disabled"), rate: rate}, 403,
			`{"id":"v1.blocked","code":403,"detail":"tenant disabled","status":"Forbidden"}`, nil},
		{"keys that cannot be checked", keys{err: errors.New("disk on fire"), rate: rate}, 503,
			`{"id":"v1","code":503,"detail":"keys cannot be checked at the moment, please try again","status":"Service Unavailable"}`, nil},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			server := serve(t, test.keys, greeterWith(nil, nil))
			req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, server.URL+"/v1/helloworld/call", nil)
			if err != nil {
				t.Fatal(err)
			}
			req.Header.Set("Authorization", "Bearer KEY")
			res, err := server.Client().Do(req)
			if err != nil {
				t.Fatal(err)
			}
			defer res.Body.Close()
			body, err := io.ReadAll(res.Body)
			if err != nil || res.StatusCode != test.status || string(body) != test.want {
				t.Errorf("got %d %s, %v\nwant %d %s", res.StatusCode, body, err, test.status, test.want)
			}
			apitest.Validate(t, "POST", "/v1/helloworld/call", res.StatusCode, res.Header, body)
			for name, want := range test.header {
				if got := res.Header.Get(name); got != want {
					t.Errorf("%s is %q, want %q", name, got, want)
				}
			}
			if exposed := res.Header.Get("Access-Control-Expose-Headers"); !strings.Contains(exposed, "RateLimit-Remaining") || !strings.Contains(exposed, "Retry-After") {
				t.Errorf("browsers may only read %q", exposed)
			}
		})
	}
}

func TestTheContractIsShownToEverybody(t *testing.T) {
	server := serve(t, keys{err: errors.New("no key is good")}, greeterWith(nil, nil))
	for _, test := range []struct {
		method, path string
		status       int
		contentType  string
		has          string
	}{
		{"GET", "/v1/openapi.json", 200, "application/json", `"/v1/helloworld/Call"`},
		{"GET", "/v1/", 200, "text/html; charset=utf-8", "Call returns one greeting for a name."},
		{"GET", "/v1", 200, "text/html; charset=utf-8", "POST /v1/helloworld/Stream"},
		{"GET", "/v1/docs", 200, "text/html; charset=utf-8", "<h1>API reference</h1>"},
		{"HEAD", "/v1/openapi.json", 200, "application/json", ""},
		{"POST", "/v1/openapi.json", 405, "application/json", "use GET"},
		{"GET", "/v1/openapi.jsonx", 401, "application/json", "Unauthorized"},
	} {
		req, err := http.NewRequestWithContext(t.Context(), test.method, server.URL+test.path, nil)
		if err != nil {
			t.Fatal(err)
		}
		res, err := server.Client().Do(req)
		if err != nil {
			t.Fatal(err)
		}
		body, err := io.ReadAll(res.Body)
		res.Body.Close()
		if err != nil || res.StatusCode != test.status || res.Header.Get("Content-Type") != test.contentType || !strings.Contains(string(body), test.has) {
			t.Errorf("%s %s: got %d %s, %v\n%.300s", test.method, test.path, res.StatusCode, res.Header.Get("Content-Type"), err, body)
		}
		if strings.Contains(string(body), "url.Create") && test.path == "/v1/openapi.json" {
			t.Error("the document describes a service that is not served")
		}
	}
}

func TestAHandlerNeedsWholeTables(t *testing.T) {
	whole := api.HandlerConfig{Services: []api.Service{greeterWith(nil, nil)}, Auth: keys{}, Limiter: keys{}, Logger: slog.New(slog.DiscardHandler)}
	if _, err := api.NewHandler(whole); err != nil {
		t.Fatal(err)
	}
	forgotten := whole
	forgotten.Services = []api.Service{{Descriptor: whole.Services[0].Descriptor, Methods: whole.Services[0].Methods[:1]}}
	if _, err := api.NewHandler(forgotten); err == nil || !strings.Contains(err.Error(), "Stream has no row") {
		t.Errorf("a forgotten method: %v", err)
	}
	for _, strip := range []func(*api.HandlerConfig){
		func(c *api.HandlerConfig) { c.Auth = nil },
		func(c *api.HandlerConfig) { c.Limiter = nil },
		func(c *api.HandlerConfig) { c.Logger = nil },
	} {
		bare := whole
		strip(&bare)
		if _, err := api.NewHandler(bare); err == nil {
			t.Error("a handler without one of its parts was made")
		}
	}
}
