package main

import (
	"context"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/alecthomas/kong"
)

func TestHelloworldCall(t *testing.T) {
	checkExchanges(t, []exchange{{
		args: []string{"helloworld", "call", "--name", "Jane"},
		path: "/v1/helloworld/Call", body: `{"name":"Jane"}`,
		reply: `{"message":"Hello Jane"}`, stdout: "Hello Jane\n",
	}})
}

// newStream is a platform that sends each of the messages when it is told to.
func newStream(t *testing.T, messages ...string) (address string, next chan<- struct{}) {
	t.Helper()
	tick := make(chan struct{})
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if body, _ := io.ReadAll(r.Body); !sameJSON(t, string(body), `{"name":"Jane","messages":"2"}`) {
			t.Errorf("request %s", body)
		}
		for _, message := range messages {
			select {
			case <-tick:
			case <-r.Context().Done():
				return
			}
			_, _ = io.WriteString(w, message+"\n")
			_ = http.NewResponseController(w).Flush()
		}
	}))
	t.Cleanup(server.Close)
	return server.URL, tick
}

// told tells about each write to it.
type told struct{ writes chan string }

func (w told) Write(p []byte) (int, error) {
	w.writes <- string(p)
	return len(p), nil
}

// soon receives what must come, within a time no working machine needs.
func soon[T any](t *testing.T, from <-chan T) T {
	t.Helper()
	select {
	case value := <-from:
		return value
	case <-time.After(time.Minute):
		t.Fatal("nothing came")
		panic("not reached")
	}
}

func TestStreamShowsEachMessageAsItComes(t *testing.T) {
	address, next := newStream(t, `{"message":"Hello Jane"}`, `{"message":"Hello again\u0007"}`)
	out := told{make(chan string)}
	failed := make(chan error, 1)
	cli := &commandLine{}
	parser := newParser(t, cli, io.Discard, kong.BindTo(t.Context(), (*context.Context)(nil)),
		kong.BindSingletonProvider(func() (*client, error) {
			return newClient(cli.clientFlags, surroundings{
				Stdin: strings.NewReader(""), Stdout: out, Stderr: io.Discard,
				LookupEnv: func(string) (string, bool) { return "test-key", true },
			})
		}))
	parsed, err := parser.Parse([]string{"helloworld", "stream", "--name", "Jane", "--messages", "2", "--address", address})
	if err != nil {
		t.Fatal(err)
	}
	go func() { failed <- parsed.Run() }()
	for _, want := range []string{"Hello Jane\n", "Hello again\\x07\n"} {
		next <- struct{}{}
		if got := soon(t, out.writes); got != want {
			t.Errorf("got %q, want %q", got, want)
		}
	}
	if err := soon(t, failed); err != nil {
		t.Error(err)
	}
}

func TestStreamAsJSON(t *testing.T) {
	p := newFakePlatform(t, http.StatusOK, `{"message":"one"}`+"\n"+`{"message":"two"}`+"\n")
	for _, args := range [][]string{{"helloworld", "stream", "--json"}, {"call", "helloworld", "stream"}} {
		got := withKey().run(t, append(args, "--address", p.URL)...)
		if got != (outcome{"{\n  \"message\": \"one\"\n}\n{\n  \"message\": \"two\"\n}\n", "", 0}) {
			t.Errorf("%q: %+v", args, got)
		}
	}
}

func TestStreamThatBreaksOffFails(t *testing.T) {
	p := newFakePlatform(t, http.StatusOK, `{"message":"one"}`+"\n"+`{"id":"helloworld.stream","code":500,"detail":"broken","status":"Internal Server Error"}`+"\n")
	got := withKey().run(t, "helloworld", "stream", "--address", p.URL)
	if got != (outcome{"one\n", "ingress: helloworld stream: broken (500 helloworld.stream)\n", 1}) {
		t.Errorf("%+v", got)
	}
	truncated := newFakePlatform(t, http.StatusOK, `{"message":"one"}`+"\n"+`{"mess`)
	got = withKey().run(t, "helloworld", "stream", "--address", truncated.URL)
	if got.code != 1 || got.stdout != "one\n" || !strings.Contains(got.stderr, "broke off") {
		t.Errorf("%+v", got)
	}
}
