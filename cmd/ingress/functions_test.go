package main_test

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"
)

// Functions through the whole program: real languages, real requests.

// nodeSource greets in one file; pythonSource and goSource do the same.
const nodeSource = `
exports.hello = (req, res) => {
  console.log("greeting", req.body && req.body.name);
  if (req.body && req.body.name) res.json({message: "Hello " + req.body.name, colour: process.env.COLOUR || ""});
  else res.send("hello from node");
};`

const pythonSource = `
import os

def hello(request):
    print("greeting", flush=True)
    body = request.get_json(silent=True)
    if body:
        return {"message": "Hello " + body["name"], "colour": os.environ.get("COLOUR", "")}
    return "hello from python"
`

const goSource = `package hello

import (
	"encoding/json"
	"fmt"
	"net/http"
)

func Hello(w http.ResponseWriter, r *http.Request) {
	var body struct{ Name string }
	if json.NewDecoder(r.Body).Decode(&body) == nil && body.Name != "" {
		json.NewEncoder(w).Encode(map[string]string{"message": "Hello " + body.Name})
		return
	}
	fmt.Fprint(w, "hello from go")
}
`

// object writes fields as the body of a request.
func object(t testing.TB, fields map[string]any) string {
	t.Helper()
	body, err := json.Marshal(fields)
	if err != nil {
		t.Fatal(err)
	}
	return string(body)
}

// functionURL is where the tests reach a function.
func functionURL(name, path string) string { return "http://" + name + ".fn.localhost" + path }

// settled waits until the newest version of an app or function is not on its way
// any more, and returns that version.
func (i *ingress) settled(service, name string) map[string]any {
	i.t.Helper()
	var newest map[string]any
	i.await(service+" "+name+" to be deployed or not", func() bool {
		newest = i.versions(service, name)[0]
		return !slices.Contains([]any{"pending", "building", "starting"}, newest["state"])
	})
	return newest
}

// versions returns the versions of an app or function, newest first.
func (i *ingress) versions(service, name string) []map[string]any {
	i.t.Helper()
	var list []map[string]any
	for _, v := range i.mustCall(service+"/Versions", fmt.Sprintf(`{"name":%q}`, name))["versions"].([]any) {
		list = append(list, v.(map[string]any))
	}
	return list
}

// deployFunction deploys a function, which must work, and returns how long it
// took from the request to the first answer.
func (i *ingress) deployFunction(fields map[string]any) time.Duration {
	i.t.Helper()
	begin := time.Now()
	i.mustCall("function/Deploy", object(i.t, fields))
	name := fmt.Sprint(fields["name"])
	if v := i.settled("function", name); v["state"] != "ready" {
		i.t.Fatalf("%s is %v: %v\n%s", name, v["state"], v["reason"], i.logs("function", name, "build"))
	}
	if a := i.get(functionURL(name, "/")); a.status != 200 {
		i.t.Fatalf("%s answers %d %s\n%s", name, a.status, a.body, i.logs("function", name, "run"))
	}
	return time.Since(begin)
}

// function returns a function as Describe shows it.
func (i *ingress) function(name string) map[string]any {
	i.t.Helper()
	return i.mustCall("function/Describe", fmt.Sprintf(`{"name":%q}`, name))["function"].(map[string]any)
}

func (i *ingress) logs(service, name, logsType string) string {
	i.t.Helper()
	return fmt.Sprint(i.mustCall(service+"/Logs", fmt.Sprintf(`{"name":%q,"logs_type":%q}`, name, logsType))["logs"])
}

// callFunction calls a function and returns what it answered.
func (i *ingress) callFunction(name, request string) map[string]any {
	i.t.Helper()
	response, ok := i.mustCall("function/Call", fmt.Sprintf(`{"name":%q,"request":%s}`, name, request))["response"].(map[string]any)
	if !ok {
		i.t.Fatalf("calling %s: there is no response", name)
	}
	return response
}

func TestFunctionsOfOneFile(t *testing.T) {
	needs(t, "node", "python3")
	i := startPlatform(t)
	for runtime, source := range map[string]string{"nodejs": nodeSource, "python": pythonSource} {
		t.Run(runtime, func(t *testing.T) {
			name := "hello" + runtime
			took := i.deployFunction(map[string]any{
				"name": name, "runtime": runtime, "source": source, "entrypoint": "hello", "env_vars": map[string]string{"COLOUR": "a secret blue"},
			})
			t.Logf("live after %v", took.Round(time.Millisecond))
			a := i.get(functionURL(name, "/"))
			if want := "hello from " + strings.TrimSuffix(runtime, "js"); a.status != 200 || a.body != want {
				t.Errorf("got %d %q", a.status, a.body)
			}
			want := map[string]any{"message": "Hello Ada", "colour": "a secret blue"}
			if got := i.callFunction(name, `{"name":"Ada"}`); fmt.Sprint(got) != fmt.Sprint(want) {
				t.Errorf("called, it answered %v", got)
			}
			shown := i.function(name)
			if shown["status"] != "Active" || shown["source"] != source || shown["env_vars"].(map[string]any)["COLOUR"] != "***" {
				t.Errorf("described as %v", shown)
			}
			for what, text := range map[string]string{"the description": fmt.Sprint(shown), "the list": fmt.Sprint(i.mustCall("function/List", `{}`))} {
				if strings.Contains(text, "a secret") {
					t.Errorf("%s shows the value of a variable", what)
				}
			}
			if log := i.logs("function", name, "run"); !strings.Contains(log, "greeting") {
				t.Errorf("the run log: %q", log)
			}
			if log := i.logs("function", name, "build"); log == "" {
				t.Error("the build log is empty")
			}
		})
	}
	i.wantCleanLog("a secret")
}

func TestAFunctionInGo(t *testing.T) {
	needs(t, "go")
	i := startPlatform(t)
	took := i.deployFunction(map[string]any{"name": "hello", "runtime": "go", "source": goSource})
	t.Logf("live after %v", took.Round(time.Millisecond))
	if a := i.get(functionURL("hello", "/")); a.body != "hello from go" {
		t.Errorf("got %d %q", a.status, a.body)
	}
	if got := i.callFunction("hello", `{"name":"Ada"}`); got["message"] != "Hello Ada" {
		t.Errorf("called, it answered %v", got)
	}
	broken := strings.Replace(goSource, "var body struct", "var body strukt", 1)
	i.mustCall("function/Update", object(t, map[string]any{"name": "hello", "source": broken}))
	v := i.settled("function", "hello")
	if v["state"] != "failed" || !strings.Contains(fmt.Sprint(v["reason"]), "main.go:10") {
		t.Errorf("what does not compile is %v: %v", v["state"], v["reason"])
	}
	if a := i.get(functionURL("hello", "/")); a.body != "hello from go" {
		t.Errorf("afterwards: %d %q", a.status, a.body)
	}
}

func TestFunctionsOfSeveralFiles(t *testing.T) {
	needs(t, "node", "python3")
	i := startPlatform(t)
	for runtime, files := range map[string]map[string]string{
		"nodejs": {"index.js": `exports.greet = (req, res) => res.send(require("./lib/words").greeting)`, "lib/words.js": `exports.greeting = "hello from afar"`},
		"python": {"main.py": "from lib.words import greeting\ndef greet(request): return greeting\n", "lib/__init__.py": "\n", "lib/words.py": "greeting = 'hello from afar'\n"},
	} {
		i.deployFunction(map[string]any{"name": runtime, "runtime": runtime, "files": files, "entrypoint": "greet"})
		if a := i.get(functionURL(runtime, "/")); a.body != "hello from afar" {
			t.Errorf("%s: got %d %q", runtime, a.status, a.body)
		}
		if got := i.function(runtime)["files"].(map[string]any); len(got) != len(files) {
			t.Errorf("%s: described with the files %v", runtime, got)
		}
	}
}

// TestCallWakesASleepingFunction, and an update that is bad leaves what is good.
func TestALifeOfAFunction(t *testing.T) {
	needs(t, "node")
	i := startPlatform(t)
	i.deployFunction(map[string]any{"name": "hello", "runtime": "nodejs", "source": nodeSource, "idle_timeout": "1s"})
	i.await("the function to sleep", func() bool { return i.function("hello")["state"] == "idle" })
	within(t, "end of the idle process", func() bool { return len(launchers(t, i.dir)) == 0 })
	if got := i.callFunction("hello", `{"name":"Ada"}`); got["message"] != "Hello Ada" {
		t.Errorf("called while asleep, it answered %v", got)
	}
	update := func(fields map[string]any) map[string]any {
		t.Helper()
		fields["name"] = "hello"
		i.mustCall("function/Update", object(t, fields))
		return i.settled("function", "hello")
	}
	if v := update(map[string]any{"source": strings.Replace(nodeSource, "from node", "again", 1)}); v["number"] != "2" || v["state"] != "ready" {
		t.Fatalf("updated: %v", v)
	}
	i.await("the update to answer", func() bool { return i.get(functionURL("hello", "/")).body == "hello again" })
	for what, row := range map[string][2]string{
		"a syntax error": {"exports.hello = (", "SyntaxError"},
		"no such export": {"exports.other = (req, res) => res.send('')", "hello"},
		"it throws":      {"throw new Error('not today')", "not today"},
	} {
		v := update(map[string]any{"source": row[0]})
		if v["state"] != "failed" || !strings.Contains(fmt.Sprint(v["reason"]), row[1]) {
			t.Errorf("%s: it is %v: %v", what, v["state"], v["reason"])
		}
		if a := i.get(functionURL("hello", "/")); a.body != "hello again" {
			t.Errorf("%s: it answers %d %q", what, a.status, a.body)
		}
		if s := i.function("hello"); s["status"] != "Active" || s["version"] != "2" {
			t.Errorf("%s: described as %v", what, s)
		}
	}
	i.mustCall("function/Rollback", `{"name":"hello","version":1}`)
	i.await("the first version", func() bool { return i.get(functionURL("hello", "/")).body == "hello from node" })
	if list := i.versions("function", "hello"); len(list) != 5 || list[4]["current"] != true {
		t.Errorf("versions: %v", list)
	}
	i.mustCall("function/Delete", `{"name":"hello"}`)
	i.wantNothingLeft()
	if a := i.get(functionURL("hello", "/")); a.status != 404 {
		t.Errorf("deleted, it answers %d", a.status)
	}
}

func TestFunctionsThatCannotBe(t *testing.T) {
	needs(t, "node", "python3")
	i := startPlatform(t)
	for what, row := range map[string]struct {
		body, want string
	}{
		"no source":        {`{"name":"hello","runtime":"nodejs"}`, "Missing source or repo"},
		"no runtime":       {`{"name":"hello","source":"x"}`, "invalid runtime"},
		"no such language": {`{"name":"hello","source":"x","runtime":"cobol"}`, "invalid runtime: there is no language of that name"},
		"two sources":      {`{"name":"hello","source":"x","files":{"a":"b"},"runtime":"nodejs"}`, "exclude each other"},
		"a file outside":   {`{"name":"hello","files":{"../index.js":"b"},"runtime":"nodejs"}`, "no name of a file"},
		"an absolute file": {`{"name":"hello","files":{"/etc/passwd":"b"},"runtime":"nodejs"}`, "no name of a file"},
		"an entrypoint":    {`{"name":"hello","source":"x","entrypoint":"a;b","runtime":"nodejs"}`, "invalid entrypoint"},
		"no such upload":   {`{"name":"hello","upload":"abcdefghijklmnopqrstuvwxyz","runtime":"nodejs"}`, "no such upload"},
	} {
		status, answer := i.call(bootstrapKey, "function/Deploy", row.body)
		if status != 400 || !strings.Contains(fmt.Sprint(answer["detail"]), row.want) {
			t.Errorf("%s: %d %v", what, status, answer)
		}
	}
	for what, row := range map[string][3]string{
		"a syntax error in Node":   {"nodejs", "exports.hello = (", "SyntaxError"},
		"a syntax error in Python": {"python", "def hello(:\n", "SyntaxError"},
		"no entrypoint in Node":    {"nodejs", "exports.other = 1", "hello"},
		"no entrypoint in Python":  {"python", "other = 1\n", "hello"},
		"a missing module":         {"python", "import nothing_of_that_name\n", "nothing_of_that_name"},
	} {
		i.mustCall("function/Deploy", object(t, map[string]any{"name": "hello", "runtime": row[0], "source": row[1]}))
		i.settled("function", "hello")
		shown := i.function("hello")
		if status := fmt.Sprint(shown["status"]); !strings.HasPrefix(status, "DeploymentError") || !strings.Contains(fmt.Sprint(status, shown["reason"]), row[2]) {
			t.Errorf("%s: status %q, reason %q", what, status, shown["reason"])
		}
		if status, answer := i.call(bootstrapKey, "function/Call", `{"name":"hello","request":{}}`); status != 503 {
			t.Errorf("%s: called, it is %d %v", what, status, answer)
		}
		if a := i.get(functionURL("hello", "/")); a.status != 503 {
			t.Errorf("%s: visited, it is %d", what, a.status)
		}
		i.mustCall("function/Delete", `{"name":"hello"}`)
		i.wantNothingLeft()
	}
}

func TestRuntimes(t *testing.T) {
	needs(t, "node", "python3", "go")
	i := startPlatform(t)
	answer := i.mustCall("function/Runtimes", `{}`)
	if got := fmt.Sprint(answer["runtimes"]); got != "[go nodejs python]" {
		t.Errorf("runtimes: %v", answer)
	}
	unavailable, _ := answer["unavailable"].(map[string]any)
	if unavailable["java"] == nil {
		t.Errorf("nothing says why there is no java: %v", answer)
	}
	for runtime, reason := range unavailable {
		status, answer := i.call(bootstrapKey, "function/Deploy", object(t, map[string]any{"name": "hello", "source": "x", "runtime": runtime}))
		if status != 400 || reason == "" || !strings.Contains(fmt.Sprint(answer["detail"]), fmt.Sprint("invalid runtime: ", reason)) {
			t.Errorf("%s: %d %v", runtime, status, answer)
		}
	}
}
