package helloworld_test

import (
	"net/http"
	"strings"
	"testing"

	"github.com/m3o/ingress/internal/api/apitest"
	"github.com/m3o/ingress/internal/helloworld"
)

func TestHelloworld(t *testing.T) {
	platform := apitest.NewServer(t, helloworld.New().Service())
	tests := []struct {
		name, path, body string
		status           int
		want             string
	}{
		{"greets", "/v1/helloworld/Call", `{"name":"Jane"}`, 200, `{"message":"Hello Jane"}`},
		{"greets an empty name as such", "/v1/helloworld/call", ``, 200, `{"message":"Hello "}`},
		{"keeps any text", "/v1/helloworld/call", `{"name":"<b>\"Zoë\" 🌍</b>"}`, 200, `{"message":"Hello <b>\"Zoë\" 🌍</b>"}`},
		{"streams", "/v1/helloworld/Stream", `{"name":"Jane","messages":2}`, 200, "{\"message\":\"Hello Jane\"}\n{\"message\":\"Hello Jane\"}\n"},
		{"streams nothing when asked for none", "/v1/helloworld/Stream", `{"name":"Jane"}`, 200, ""},
		{"streams no negative number", "/v1/helloworld/Stream", `{"messages":-1}`, 400, `{"id":"helloworld.stream","code":400,"detail":"messages must be between 0 and 10000","status":"Bad Request"}`},
		{"repeats no long name for long", "/v1/helloworld/Stream", `{"messages":10000,"name":"` + strings.Repeat("x", 2000) + `"}`, 400, `{"id":"helloworld.stream","code":400,"detail":"name is too long for that many messages: at most 16777216 bytes together","status":"Bad Request"}`},
		{"streams no endless number", "/v1/helloworld/Stream", `{"messages":10001}`, 400, `{"id":"helloworld.stream","code":400,"detail":"messages must be between 0 and 10000","status":"Bad Request"}`},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			reply := platform.Post(t, apitest.Alice, test.path, test.body)
			if reply.Status != test.status || reply.Body != test.want {
				t.Errorf("got %d %s, want %d %s", reply.Status, reply.Body, test.status, test.want)
			}
		})
	}
}

func TestTheLongestStreamIsWhole(t *testing.T) {
	platform := apitest.NewServer(t, helloworld.New().Service())
	reply := platform.Get(t, apitest.Bob, "/v1/helloworld/stream?name=Joe&messages=10000")
	if got := strings.Count(reply.Body, "\n"); reply.Status != http.StatusOK || got != 10_000 {
		t.Errorf("got %d with %d messages, want 200 with 10000", reply.Status, got)
	}
}
