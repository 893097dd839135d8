package apitest

import (
	"net/http"
	"strings"
	"testing"
)

func TestCheck(t *testing.T) {
	good := http.Header{"Content-Type": {"application/json"}, "Access-Control-Allow-Origin": {"*"}}
	link := `{"id":"x","destinationURL":"https://example.com","shortURL":"s","created":"c","hitCount":"0"}`
	notFound := `{"id":"url.resolve","code":404,"detail":"not found","status":"Not Found"}`
	tests := []struct {
		name, method, path string
		status             int
		header             http.Header
		body               string
		fault              string // what is found wrong, or nothing
	}{
		{"a reply", "POST", "/v1/url/Create", 200, good, `{"url":` + link + `}`, ""},
		{"in any case", "GET", "/v1/URL/create?id=x", 200, good, `{"url":` + link + `}`, ""},
		{"three segments", "POST", "/v1/url/Url/Create", 200, good, `{"url":` + link + `}`, ""},
		{"a service of another name", "POST", "/v1/api/keys/generate", 200, good, `{"api_key":"k","api_key_id":"i"}`, ""},
		{"the ingress's own route", "POST", "/api/url/create", 200, good, `{"url":` + link + `}`, ""},
		{"an absent message", "POST", "/v1/url/Create", 200, good, `{"url":null}`, ""},
		{"an error", "POST", "/v1/url/Resolve", 404, good, notFound, ""},
		{"a stream", "POST", "/v1/helloworld/Stream", 200, good, `{"message":"a"}` + "\n" + `{"message":"b"}` + "\n", ""},
		{"a stream that broke", "POST", "/v1/helloworld/Stream", 200, good, `{"message":"a"}` + "\n" + notFound + "\n", ""},
		{"an empty stream", "POST", "/v1/helloworld/Stream", 200, good, "", ""},
		{"nothing", "OPTIONS", "/v1/url/Create", 204, good, "", ""},

		{"no body", "POST", "/v1/url/Create", 200, good, "", "not JSON"},
		{"two bodies", "POST", "/v1/url/Create", 200, good, `{"url":null}{"url":null}`, "more than one"},
		{"a missing field", "POST", "/v1/url/Create", 200, good, `{}`, `"url" is missing`},
		{"a missing field below", "POST", "/v1/url/List", 200, good, `{"urlPairs":[{"id":"x"}]}`, "is missing"},
		{"a list that is null", "POST", "/v1/url/List", 200, good, `{"urlPairs":null}`, "not nullable"},
		{"an unknown field", "POST", "/v1/url/Create", 200, good, `{"url":null,"secret":"x"}`, "secret"},
		{"an unknown field below", "POST", "/v1/url/Create", 200, good, `{"url":` + strings.Replace(link, "{", `{"owner":"x",`, 1) + `}`, "owner"},
		{"a 64-bit integer as a number", "POST", "/v1/url/Create", 200, good, `{"url":` + strings.Replace(link, `"0"`, "0", 1) + `}`, "hitCount"},
		{"an unknown path", "POST", "/v1/url/Nosuch", 200, good, `{}`, "no such path"},
		{"an error of another shape", "POST", "/v1/url/Resolve", 404, good, `{"error":"not found"}`, "unsupported"},
		{"half an error", "POST", "/v1/url/Resolve", 404, good, `{"id":"x","code":404,"status":"Not Found"}`, `"detail" is missing`},
		{"an error with another status", "POST", "/v1/url/Resolve", 500, good, notFound, "code 404"},
		{"a reply with an error's status", "POST", "/v1/url/Create", 400, good, `{"url":null}`, "unsupported"},
		{"an error in mid-stream", "POST", "/v1/helloworld/Stream", 200, good, notFound + "\n" + `{"message":"a"}` + "\n", "line 1"},
		{"a stream cut off", "POST", "/v1/helloworld/Stream", 200, good, `{"message":"a"}`, "does not end"},
		{"another content type", "POST", "/v1/url/Create", 200, http.Header{"Content-Type": {"text/plain"}, "Access-Control-Allow-Origin": {"*"}}, `{"url":null}`, "content type"},
		{"closed to browsers", "POST", "/v1/url/Create", 200, http.Header{"Content-Type": {"application/json"}}, `{"url":null}`, "browsers"},
		{"a body for HEAD", "HEAD", "/v1/url/Create", 405, good, `{}`, "has a body"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			err := check(test.method, test.path, test.status, test.header, []byte(test.body))
			if (err == nil) != (test.fault == "") || err != nil && !strings.Contains(err.Error(), test.fault) {
				t.Errorf("got %v, want %q", err, test.fault)
			}
		})
	}
}
