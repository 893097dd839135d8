package adapter_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"github.com/m3o/ingress/internal/adapter"
)

const goBody = `import "net/http"

func Found(w http.ResponseWriter, r *http.Request) { w.Write([]byte(word)) }

`

func TestGoFindsTheFunctionInEveryKindOfPackage(t *testing.T) {
	for name, files := range map[string]map[string]string{
		"package main":      {"main.go": "package main\n" + goBody + `const word = "found"`},
		"another package":   {"main.go": "package hello\n" + goBody + `const word = "found"`},
		"another file":      {"hello.go": "package hello\n" + goBody, "word.go": "package hello\nconst word = `found`", "hello_test.go": "package hello_test\nfunc broken", "windows_windows.go": "package other"},
		"its own module":    {"main.go": "package hello\n" + goBody + `const word = "found"`, "go.mod": "module \"example.com/hello\" // ours\n\ngo 1.21\n"},
		"a package beneath": {"main.go": "package main\nimport \"example.com/hello/internal/word\"\n" + goBody + `const word = inner.Word`, "internal/word/word.go": "package inner\nconst Word = `found`", "go.mod": "module example.com/hello\n\ngo 1.21\n"},
		"names of ours":     {"main.go": "package main\n" + goBody + "const word = `found`\nfunc serve() {}\nvar ingress, os, signal int"},
		"imports renamed":   {"main.go": "package main\nimport h \"net/http\"\nfunc Found(w h.ResponseWriter, r *h.Request) { w.Write([]byte(`found`)) }\nfunc http() {}"},
		"a folder .ingress": {"main.go": "package main\n" + goBody + `const word = "found"`, ".ingress/serve/serve.go": "package broken"},
		"vendored framework": {
			"main.go":            "package hello\nimport \"net/http\"\nimport f \"github.com/GoogleCloudPlatform/functions-framework-go/functions\"\nfunc init() { f.HTTP(\"Found\", hidden) }\nfunc hidden(w http.ResponseWriter, r *http.Request) { w.Write([]byte(`found`)) }",
			"go.mod":             "module hello\n\ngo 1.21\n\nrequire github.com/GoogleCloudPlatform/functions-framework-go v1.9.0\n",
			"vendor/modules.txt": "# github.com/GoogleCloudPlatform/functions-framework-go v1.9.0\n## explicit; go 1.21\ngithub.com/GoogleCloudPlatform/functions-framework-go/functions\n",
			"vendor/github.com/GoogleCloudPlatform/functions-framework-go/functions/functions.go": "package functions\nimport \"net/http\"\nfunc HTTP(name string, f func(http.ResponseWriter, *http.Request)) {}\n",
		},
	} {
		t.Run(name, func(t *testing.T) {
			if got := start(t, golang, files, "Found").get(t, "/"); got.status != 200 || got.body != "found" {
				t.Errorf("%+v", got)
			}
		})
	}
}

func TestAGoFunctionThatFailsHalfWayBreaksItsAnswerOff(t *testing.T) {
	p := start(t, golang, map[string]string{"main.go": `package main

import (
	"io"
	"net/http"
)

func Fails(w http.ResponseWriter, r *http.Request) {
	if _, ok := w.(http.Hijacker); !ok {
		panic("no hijacker")
	}
	io.WriteString(w, "begun")
	http.NewResponseController(w).Flush()
	panic("half-way")
}
`}, "Fails")
	if !p.breaksOff("/") {
		t.Error("an answer that failed half-way ended as if it were whole")
	}
	p.says(t, "half-way")
	p.says(t, "main.go:14")
}

func TestGoSaysWhatIsWrongWithTheSource(t *testing.T) {
	const two = "package hello\nimport \"net/http\"\nfunc One(w http.ResponseWriter, r *http.Request) {}\nfunc Two(w http.ResponseWriter, r *http.Request) {}\nfunc hidden(a, b int) {}\nfunc (t T) Method(a, b int) {}\ntype T int\n"
	for name, c := range map[string]struct {
		files map[string]string
		want  string
	}{
		"wrong entrypoint": {map[string]string{"main.go": two}, `no function named "Missing". It has: One, Two. Write func Missing(`},
		"no function":      {map[string]string{"main.go": "package hello"}, "It exports no function of two parameters."},
		"a program":        {map[string]string{"main.go": "package main\nfunc main() {}"}, "run it as an app"},
		"syntax error":     {map[string]string{"main.go": "package hello\n\nfunc {"}, "main.go:3:6: expected"},
		"two packages":     {map[string]string{"a.go": "package one", "b.go": "package two"}, "b.go is of package two"},
		"only tests":       {map[string]string{"main_test.go": "package hello"}, "there is no file main.go"},
		"an odd go.mod":    {map[string]string{"main.go": two, "go.mod": "go 1.21"}, "go.mod does not name its module"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := adapter.Prepare("go", folder(t, c.files), "Missing")
			if err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("%v", err)
			}
		})
	}
}

// The Go tool says more about a function of the wrong kind than could be said
// from its source alone.
func TestAGoFunctionOfTheWrongKindDoesNotCompile(t *testing.T) {
	tool := golang.command(t)[0]
	dir := folder(t, map[string]string{"main.go": "package main\nfunc Found(a, b int) {}\n"})
	plan, err := adapter.Prepare("go", dir, "Found")
	if err != nil {
		t.Fatal(err)
	}
	var out []byte
	for _, step := range plan.Compile {
		cmd := exec.Command(tool, step[1:]...)
		cmd.Dir = dir
		out, err = cmd.CombinedOutput()
	}
	if err == nil || !strings.Contains(string(out), "cannot use Found (value of type func(a int, b int))") {
		t.Errorf("%v: %s", err, out)
	}
	if _, err := os.Stat(filepath.Join(dir, plan.Args[0])); err == nil {
		t.Error("there is a program")
	}
}

// What is read to find the function's package is held by the ingress itself.
func TestALongGoFileIsNotHeldInMemory(t *testing.T) {
	const size = 32 << 20
	dir := t.TempDir()
	text := "/*" + strings.Repeat(" ", size) + "*/\npackage long\n"
	if err := os.WriteFile(filepath.Join(dir, "long.go"), []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	_, err := adapter.Prepare("go", dir, "Long")
	runtime.ReadMemStats(&after)
	if err == nil || !strings.Contains(err.Error(), "long.go is longer than") {
		t.Errorf("got %v", err)
	}
	if took := after.TotalAlloc - before.TotalAlloc; took > 2*size {
		t.Errorf("it took %d bytes of memory to look at a file of %d", took, size)
	}
}
