package main

import (
	"net/http"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
)

const functionJSON = `{"id":"greet","name":"greet","source":"def greet(request): pass","repo":"","branch":"","entrypoint":"greet","subfolder":"","runtime":"python","region":"local","env_vars":{},"status":"Active","url":"http://greet.fn.localhost:8080","created":"2026-11-22T18:03:36Z","updated":"2026-11-22T18:03:36Z","backend":""}`

const functionText = "" +
	"ID          greet\n" +
	"NAME        greet\n" +
	"STATUS      Active\n" +
	"URL         http://greet.fn.localhost:8080\n" +
	"SOURCE      inline\n" +
	"ENTRYPOINT  greet\n" +
	"RUNTIME     python\n" +
	"REGION      local\n" +
	"CREATED     2026-11-22 18:03:36\n" +
	"UPDATED     2026-11-22 18:03:36\n"

func TestFunctionCommands(t *testing.T) {
	checkExchanges(t, []exchange{
		{
			args: []string{"function", "deploy", "greet", "--backend", "http://127.0.0.1:3000", "--env", "A=1"},
			path: "/v1/function/Deploy", body: `{"name":"greet","backend":"http://127.0.0.1:3000","env_vars":{"A":"1"}}`,
			reply: `{"function":` + functionJSON + `}`, stdout: functionText,
		},
		{
			args: []string{"function", "deploy", "greet", "--repo", "https://example.com/r", "--branch", "b", "--subfolder", "s", "--entrypoint", "e", "--runtime", "go", "--region", "local"},
			path: "/v1/function/Deploy", body: `{"name":"greet","repo":"https://example.com/r","branch":"b","subfolder":"s","entrypoint":"e","runtime":"go","region":"local"}`,
			reply: `{"function":` + functionJSON + `}`, stdout: functionText,
		},
		{
			args: []string{"function", "deploy", "greet", "--source", "-"}, stdin: "def greet(request): pass",
			path: "/v1/function/Deploy", body: `{"name":"greet","source":"def greet(request): pass"}`,
			reply: `{"function":` + functionJSON + `}`, stdout: functionText,
		},
		{
			args: []string{"function", "call", "greet", "name=Jane", "times:=12345678901234567890"},
			path: "/v1/function/Call", body: `{"name":"greet","request":{"name":"Jane","times":12345678901234567890}}`,
			reply: `{"response":{"text":"Hello <Jane>","n":1.50}}`, stdout: "{\n  \"text\": \"Hello <Jane>\",\n  \"n\": 1.50\n}\n",
		},
		{
			args: []string{"function", "call", "greet"},
			path: "/v1/function/Call", body: `{"name":"greet","request":{}}`,
			reply: `{"response":{}}`, stdout: "{}\n",
		},
		{
			args: []string{"function", "call", "greet", "-"}, stdin: ` {"name": "Jane"} `,
			path: "/v1/function/Call", body: `{"name":"greet","request":{"name":"Jane"}}`,
			reply: `{"response":null}`, stdout: "null\n",
		},
		{
			args: []string{"function", "list"}, path: "/v1/function/List", body: `{}`,
			reply: `{"functions":[` + functionJSON + `]}`,
			stdout: "" +
				"NAME   STATUS  RUNTIME  UPDATED           URL\n" +
				"greet  Active  python   2026-11-22 18:03  http://greet.fn.localhost:8080\n",
		},
		{
			args: []string{"function", "list"}, path: "/v1/function/List", body: `{}`, reply: `{"functions":[]}`,
			stderr: "no functions yet; make one with: ingress function deploy NAME --source FILE\n",
		},
		{
			args: []string{"function", "describe", "greet"}, path: "/v1/function/Describe", body: `{"name":"greet"}`,
			reply: `{"function":` + functionJSON + `}`, stdout: functionText,
		},
		{
			args: []string{"function", "update", "greet", "--backend", "http://127.0.0.1:3001"},
			path: "/v1/function/Update", body: `{"name":"greet","backend":"http://127.0.0.1:3001"}`,
			reply: `{}`, stderr: "function greet is updated\n",
		},
		{
			args: []string{"function", "delete", "greet"}, path: "/v1/function/Delete", body: `{"name":"greet"}`,
			reply: `{}`, stderr: "function greet is deleted\n",
		},
		{
			args: []string{"function", "logs", "greet"}, path: "/v1/function/Logs", body: `{"name":"greet","logs_type":"run"}`,
			reply: `{"logs":"one"}`, stdout: "one\n",
		},
		{
			args: []string{"function", "proxy", "greet"}, path: "/v1/function/Proxy", body: `{"id":"greet"}`,
			reply: `{"url":"http://127.0.0.1:3000"}`, stdout: "http://127.0.0.1:3000\n",
		},
		{
			args: []string{"function", "reserve", "greet"}, path: "/v1/function/Reserve", body: `{"name":"greet"}`,
			reply:  `{"reservation":{"name":"greet","owner":"t1","token":"tok","created":"2026-11-22T18:03:36Z","expires":"2027-11-22T18:03:36Z"}}`,
			stdout: "NAME     greet\nTOKEN    tok\nEXPIRES  2027-11-22 18:03:36\n",
		},
		{
			args: []string{"function", "regions"}, path: "/v1/function/Regions", body: `{}`,
			reply: `{"regions":["local"]}`, stdout: "local\n",
		},
		{
			args: []string{"function", "runtimes"}, path: "/v1/function/Runtimes", body: `{}`,
			reply: `{"runtimes":[]}`, stderr: "no languages; functions here are registered with --backend\n",
		},
	})
}

func TestSourceFileTellsTheRuntime(t *testing.T) {
	dir := t.TempDir()
	for file, runtime := range map[string]string{"greet.py": "python", "index.js": "nodejs", "main.go": "go", "greet.txt": ""} {
		path := filepath.Join(dir, file)
		if err := os.WriteFile(path, []byte("source of "+file), 0o600); err != nil {
			t.Fatal(err)
		}
		p := newFakePlatform(t, http.StatusOK, `{"function":`+functionJSON+`}`)
		got := withKey().run(t, "function", "deploy", "greet", "--source", path, "--address", p.URL)
		want := `{"name":"greet","source":"source of ` + file + `"}`
		if runtime != "" {
			want = `{"name":"greet","source":"source of ` + file + `","runtime":"` + runtime + `"}`
		}
		if got.code != 0 || !sameJSON(t, p.requests()[0].body, want) {
			t.Errorf("%s: %+v, sent %s", file, got, p.requests()[0].body)
		}
	}
}

func TestSourceThatCannotBeSentIsNotSent(t *testing.T) {
	dir := t.TempDir()
	files := map[string]string{"empty.py": "", "latin1.py": "# caf\xe9", "large.py": strings.Repeat("#", maxInput+1)}
	for name, content := range files {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	p := newFakePlatform(t, http.StatusOK, `{}`)
	for file, want := range map[string]string{
		"empty.py": "is empty", "latin1.py": "not valid UTF-8", "large.py": "larger than 16 MiB", "missing.py": "no such file",
	} {
		got := withKey().run(t, "function", "update", "greet", "--source", filepath.Join(dir, file), "--address", p.URL)
		if got.code != 1 || !strings.Contains(got.stderr, want) {
			t.Errorf("%s: %+v, want %q", file, got, want)
		}
	}
	if seen := p.requests(); len(seen) != 0 {
		t.Errorf("made %d calls", len(seen))
	}
}

func sameJSON(t *testing.T, a, b string) bool {
	t.Helper()
	return reflect.DeepEqual(decoded(t, a), decoded(t, b))
}
