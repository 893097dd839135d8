package function_test

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/m3o/ingress/internal/api"
	"github.com/m3o/ingress/internal/porttest"
)

// backend registers a handler on a loopback port as Alice's function.
func (f *fixture) backend(t *testing.T, name string, handler http.HandlerFunc) *httptest.Server {
	t.Helper()
	server := httptest.NewServer(handler)
	t.Cleanup(server.Close)
	f.register(t, name, server.URL)
	return server
}

func (f *fixture) register(t *testing.T, name, address string) {
	t.Helper()
	expect(t, f.Post(t, alice, "/v1/function/Deploy", fmt.Sprintf(`{"name":%q,"backend":%q}`, name, address)), 200, `"Deployed"`)
}

func TestACallPostsTheRequestAndReturnsTheReply(t *testing.T) {
	f := serve(t)
	type request struct {
		method, path, body string
		header             http.Header
	}
	requests := make(chan request, 1)
	server := f.backend(t, "echo", func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		if err != nil {
			t.Error(err)
		}
		requests <- request{r.Method, r.URL.Path, string(body), r.Header}
		w.WriteHeader(http.StatusCreated)
		io.WriteString(w, `{"list":[1,"two",null],"nested":{"yes":true}}`)
	})
	f.Post(t, alice, "/v1/function/Update", fmt.Sprintf(`{"name":"echo","backend":%q}`, server.URL+"/base"))
	reply := f.Post(t, alice, "/v1/function/Call", `{"name":"echo","request":{"name":"Alice"}}`)
	expect(t, reply, 200, `{"response":{"list":[1,"two",null],"nested":{"yes":true}}}`)
	got := <-requests
	if got.method != http.MethodPost || got.path != "/base" || strings.ReplaceAll(got.body, " ", "") != `{"name":"Alice"}` {
		t.Errorf("the function saw %+v", got)
	}
	if got.header.Get("Content-Type") != "application/json" || got.header.Get("Authorization") != "" || got.header.Get("Cookie") != "" {
		t.Errorf("the function saw the header %v", got.header)
	}
	f.Post(t, alice, "/v1/function/Call", `{"name":"echo"}`)
	if got := <-requests; got.body != "{}" {
		t.Errorf("without a request the function saw %q", got.body)
	}
}

func TestACallSaysWhatWentWrong(t *testing.T) {
	f := serve(t)
	answer := func(status int, body string) http.HandlerFunc {
		return func(w http.ResponseWriter, _ *http.Request) {
			w.WriteHeader(status)
			io.WriteString(w, body)
		}
	}
	for i, row := range []struct {
		name    string
		handler http.HandlerFunc
		status  int
		detail  string
	}{
		{"an error", answer(500, `{"secret":"sesame"}`), 502, "the function answered with status 500"},
		{"not found", answer(404, `{}`), 502, "the function answered with status 404"},
		{"a redirect", func(w http.ResponseWriter, r *http.Request) {
			if r.URL.Path != "/" {
				t.Error("a redirect was followed")
			}
			http.Redirect(w, r, "/elsewhere", http.StatusTemporaryRedirect)
		}, 502, "the function answered with status 307"},
		{"nothing", answer(200, ""), 502, "not a JSON object"},
		{"a list", answer(200, `["sesame"]`), 502, "not a JSON object"},
		{"null", answer(200, `null`), 502, "not a JSON object"},
		{"HTML", answer(200, "<html>sesame</html>"), 502, "not a JSON object"},
		{"half an object", answer(200, `{"a":`), 502, "not a JSON object"},
		{"two objects", answer(200, `{}{}`), 502, "not a JSON object"},
		{"not UTF-8", answer(200, "{\"a\":\"\xff\"}"), 502, "not a JSON object"},
		{"too deep", answer(200, strings.Repeat(`{"a":`, 20_000)+"1"+strings.Repeat("}", 20_000)), 502, "not a JSON object"},
		{"too much", answer(200, `{"a":"`+strings.Repeat("x", 4<<20)+`"}`), 502, "larger than 4194304 bytes"},
		{"too many values", answer(200, `{"a":[`+strings.Repeat("1,", api.MaxValues)+`1]}`), 502, "more than 100000 values"},
		{"an answer broken off", func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Length", "100")
			io.WriteString(w, `{"a":1}`)
		}, 502, "cannot be reached or broke its answer off"},
		{"no answer", func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) }, 502, "cannot be reached or broke its answer off"},
	} {
		t.Run(row.name, func(t *testing.T) {
			name := fmt.Sprintf("case%d", i)
			f.backend(t, name, row.handler)
			reply := f.Post(t, alice, "/v1/function/Call", fmt.Sprintf(`{"name":%q}`, name))
			expect(t, reply, row.status, `"id":"function.call","code":502,"detail":"`)
			expect(t, reply, row.status, row.detail)
		})
	}
	if logs := f.Logs(); strings.Contains(logs, "sesame") {
		t.Errorf("the log has a function's answer:\n%s", logs)
	}
}

func TestACallToNobodySaysSo(t *testing.T) {
	f := serve(t)
	address := porttest.Closed(t)
	f.register(t, "nobody", "http://"+address)
	reply := f.Post(t, alice, "/v1/function/Call", `{"name":"nobody"}`)
	expect(t, reply, 502, "the function cannot be reached")
	if strings.Contains(reply.Body, address) {
		t.Errorf("the reply has the dialler's words: %s", reply.Body)
	}
}

func TestACallHasADeadline(t *testing.T) {
	f := serve(t)
	f.transport.ResponseHeaderTimeout = 50 * time.Millisecond
	f.backend(t, "silent", func(_ http.ResponseWriter, r *http.Request) {
		io.Copy(io.Discard, r.Body) // the server notices that the caller left only after the body
		<-r.Context().Done()
	})
	expect(t, f.Post(t, alice, "/v1/function/Call", `{"name":"silent"}`), 504, "the function did not answer in time")
}

func TestACallEndsWithItsCaller(t *testing.T) {
	f := serve(t)
	began, ended := make(chan struct{}), make(chan struct{})
	f.backend(t, "silent", func(_ http.ResponseWriter, r *http.Request) {
		io.Copy(io.Discard, r.Body)
		close(began)
		<-r.Context().Done()
		close(ended)
	})
	ctx, cancel := context.WithCancel(t.Context())
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, f.URL+"/v1/function/Call", strings.NewReader(`{"name":"silent"}`))
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Authorization", "Bearer "+alice)
	done := make(chan error, 1)
	go func() {
		res, err := http.DefaultClient.Do(req)
		if err == nil {
			res.Body.Close()
		}
		done <- err
	}()
	<-began
	cancel()
	if err := <-done; err == nil {
		t.Error("the cancelled call got an answer")
	}
	select {
	case <-ended:
	case <-time.After(10 * time.Second):
		t.Error("the function was left waiting for a caller who had gone")
	}
}
