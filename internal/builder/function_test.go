package builder

import (
	"strings"
	"testing"
	"time"

	"github.com/m3o/ingress/internal/workload"
)

var functions = map[string]map[string]string{
	nodejs: {"index.js": "exports.hello = (req, res) => res.send('hello')\n"},
	python: {"main.py": "def hello(request):\n    return 'hello'\n"},
	golang: {"main.go": "package hello\n\nimport \"net/http\"\n\nfunc Hello(w http.ResponseWriter, r *http.Request) { w.Write([]byte(\"hello\")) }\n"},
}

// program is that of a function called hello.
func program(runtime string) workload.Program {
	if runtime == golang {
		return workload.Program{Runtime: runtime, Entrypoint: "Hello"}
	}
	return workload.Program{Runtime: runtime, Entrypoint: "hello"}
}

func TestFunctionIsServedByItsAdapter(t *testing.T) {
	for runtime, files := range functions {
		t.Run(runtime, func(t *testing.T) {
			needs(t, runtime)
			w := newWorld(t, Options{})
			w.files(files)
			w.req.Program = program(runtime)
			begun := time.Now()
			a := w.build()
			t.Logf("built in %v by %q", time.Since(begun), w.commands())
			if got := w.serves(a); got != "hello" {
				t.Errorf("it answers %q", got)
			}
			if runtime != golang && len(w.tasks.ran) != 1 {
				t.Errorf("ran %q, want nothing but a look at the syntax", w.commands())
			}
		})
	}
}

func TestFunctionUsesItsOwnPackages(t *testing.T) {
	needs(t, nodejs, python)
	w := newWorld(t, Options{})
	w.req.Program = program(nodejs)
	w.files(map[string]string{"package.json": `{"dependencies":{"greeting":"file:./greeting"}}`,
		"greeting/package.json": `{"name":"greeting","version":"1.0.0"}`, "greeting/index.js": "module.exports = 'packed'",
		"index.js": "exports.hello = (req, res) => res.send(require('greeting'))\n"})
	if got := w.serves(w.build()); got != "packed" {
		t.Errorf("Node answers %q", got)
	}
	w = newWorld(t, Options{})
	w.req.Program = program(python)
	w.files(map[string]string{"requirements.txt": "./greeting-1.0-py3-none-any.whl\n", "greeting-1.0-py3-none-any.whl": wheel(t, "greeting", "word = 'packed'\n"),
		"main.py": "import greeting\ndef hello(request):\n    return greeting.word\n"})
	if got := w.serves(w.build()); got != "packed" {
		t.Errorf("Python answers %q", got)
	}
}

func TestFunctionWithSyntaxErrorFailsToBuild(t *testing.T) {
	for runtime, c := range map[string]struct{ file, source, want string }{
		nodejs: {"index.js", "exports.hello = (req, res => 1\n", "SyntaxError"},
		python: {"main.py", "def hello(request:\n    return 1\n", "SyntaxError"},
		golang: {"main.go", "package hello\n\nfunc Hello( {\n", "main.go:3"},
	} {
		t.Run(runtime, func(t *testing.T) {
			needs(t, runtime)
			w := newWorld(t, Options{})
			w.files(map[string]string{c.file: c.source})
			w.req.Program = program(runtime)
			w.fails(c.want)
		})
	}
}

func TestFunctionErrors(t *testing.T) {
	w := newWorld(t, Options{})
	w.req.Program = workload.Program{Runtime: "java", Entrypoint: "x"}
	w.fails("java: not supported by this ingress")
	w = newWorld(t, Options{SearchPath: []string{}})
	w.req.Program = program(nodejs)
	w.files(functions[nodejs])
	w.fails("Node.js is not installed on this machine")
	needs(t, nodejs)
	w = newWorld(t, Options{})
	w.req.Program = program(nodejs)
	if failure := w.fails("index.js"); strings.Contains(failure.Error(), w.req.Code) {
		t.Errorf("the error shows where code is kept: %v", failure)
	}
}
