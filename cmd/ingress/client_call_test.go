package main

import (
	"encoding/json"
	"net/http"
	"strings"
	"testing"
	"unicode/utf8"
)

func TestCallReachesEveryMethod(t *testing.T) {
	for _, test := range []struct {
		args  []string
		stdin string
		path  string
		body  string
	}{
		{args: []string{"url", "list"}, path: "/v1/url/list", body: `{}`},
		{args: []string{"url", "Url/List"}, path: "/v1/url/Url/List", body: `{}`},
		{args: []string{"api/keys", "list"}, path: "/v1/api/keys/list", body: `{}`},
		{args: []string{"api", "keys/list"}, path: "/v1/api/keys/list", body: `{}`},
		{args: []string{"url", "create", "id=12345", "destinationURL=https://e.org/?a=b,c;d"}, path: "/v1/url/create",
			body: `{"id":"12345","destinationURL":"https://e.org/?a=b,c;d"}`},
		{args: []string{"url", "create", "a:=1e5", "b:=null", `c:={"d": [1, "x"]}`, "e=:=", "f:g=h"}, path: "/v1/url/create",
			body: `{"a":1e5,"b":null,"c":{"d":[1,"x"]},"e":":=","f:g":"h"}`},
		{args: []string{"url", "create", "empty=", "quote=\"<&>\\\n"}, path: "/v1/url/create", body: `{"empty":"","quote":"\"<&>\\\n"}`},
		{args: []string{"url", "create", `{"n": 12345678901234567890}`}, path: "/v1/url/create", body: `{"n":12345678901234567890}`},
		{args: []string{"url", "create", "-"}, stdin: "{\"id\": \"x\"}\n", path: "/v1/url/create", body: `{"id":"x"}`},
	} {
		p := newFakePlatform(t, http.StatusOK, `{"ok":true}`)
		s := withKey()
		s.stdin = strings.NewReader(test.stdin)
		got := s.run(t, append([]string{"--address", p.URL, "call"}, test.args...)...)
		if got != (outcome{"{\n  \"ok\": true\n}\n", "", 0}) {
			t.Errorf("%q: %+v", test.args, got)
			continue
		}
		seen := p.requests()[0]
		if seen.method != http.MethodPost || seen.path != test.path || !sameJSON(t, seen.body, test.body) {
			t.Errorf("%q: sent %+v", test.args, seen)
		}
	}
}

func TestCallPassesErrorsOn(t *testing.T) {
	p := newFakePlatform(t, http.StatusNotFound, `{"id":"go.micro.client","code":404,"detail":"unknown service Helloworld.Nosuch","status":"Not Found"}`)
	got := withKey().run(t, "call", "helloworld", "nosuch", "--address", p.URL)
	if got != (outcome{"", "ingress: call: unknown service Helloworld.Nosuch (404 go.micro.client)\nWhat can be called is shown at " + p.URL + "/v1/docs\n", 1}) {
		t.Errorf("%+v", got)
	}
}

func TestRequestsOnStdinThatAreNoObjectAreNotSent(t *testing.T) {
	p := newFakePlatform(t, http.StatusOK, `{}`)
	for _, stdin := range []string{"", "null", "[]", `"hunter22"`, `{"password": "hunter22"`, `{"a":1} {"b":2}`, "{\"a\":1}x",
		strings.Repeat("[", 20000), strings.Repeat(`{"a":`, 20000)} {
		s := withKey()
		s.stdin = strings.NewReader(stdin)
		got := s.run(t, "call", "user", "login", "-", "--address", p.URL)
		if got.code != 1 || !strings.Contains(got.stderr, "is not a JSON object") || strings.Contains(got.stderr, "hunter22") {
			t.Errorf("%.30q: %+v", stdin, got)
		}
	}
	if seen := p.requests(); len(seen) != 0 {
		t.Errorf("calls were made: %v", seen)
	}
}

func FuzzObjectOf(f *testing.F) {
	for _, seed := range [][2]string{
		{"id=12345", "x:=1"}, {"a=b=c", "a:=b"}, {"=", ":="}, {"a:=", "a::=1"}, {"a=\xff", "\xff=a"},
		{`q="<&>`, `o:={"a":[1,{}]}`}, {"a=1", "a=2"}, {"a:={\"a\":1,\"a\":2}", "b:= 1 "}, {"plain", "-"}, {"a:=1}", "a:=1,\"b\":2"},
	} {
		f.Add(seed[0], seed[1])
	}
	f.Fuzz(func(t *testing.T, first, second string) {
		arguments := []string{first, second}
		body, err := objectOf(arguments)
		if err != nil {
			return
		}
		var object map[string]json.RawMessage
		if err := json.Unmarshal(body, &object); err != nil {
			t.Fatalf("objectOf(%q) = %s: %v", arguments, body, err)
		}
		if len(object) != 2 || !utf8.Valid(body) {
			t.Fatalf("objectOf(%q) = %s, want two fields in UTF-8", arguments, body)
		}
		for _, argument := range arguments {
			checkParameter(t, object, argument)
		}
	})
}

// checkParameter checks that an argument is in the object as the string or the
// JSON it stands for.
func checkParameter(t *testing.T, object map[string]json.RawMessage, argument string) {
	t.Helper()
	name, value, _ := strings.Cut(argument, "=")
	if raw, ok := strings.CutSuffix(name, ":"); ok {
		if got := string(object[raw]); got != strings.Trim(value, " \t\r\n") {
			t.Errorf("%q became %s", argument, got)
		}
		return
	}
	var text string
	if err := json.Unmarshal(object[name], &text); err != nil || text != value {
		t.Errorf("%q became %s", argument, object[name])
	}
}

func FuzzMethodAddress(f *testing.F) {
	for _, seed := range [][2]string{{"url", "list"}, {"url", "Url/List"}, {"..", "list"}, {"url", "a/../b"}, {"", ""}, {"url", "list?x#y"}, {"u%2e", "l"}} {
		f.Add(seed[0], seed[1])
	}
	f.Fuzz(func(t *testing.T, service, endpoint string) {
		prefix, name, err := methodAddress(service, endpoint)
		if err != nil {
			return
		}
		if prefix+"/"+name != service+"/"+endpoint || strings.ContainsAny(prefix+name, ".?#% \\") || strings.Contains(name, "/") {
			t.Errorf("methodAddress(%q, %q) = %q, %q", service, endpoint, prefix, name)
		}
	})
}
