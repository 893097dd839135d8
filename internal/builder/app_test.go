package builder

import (
	"archive/zip"
	"bytes"
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

const (
	goServer = `package main

import (
	"net/http"
	"os"
)

func main() {
	http.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) { w.Write([]byte(greeting)) })
	panic(http.ListenAndServe("127.0.0.1:"+os.Getenv("PORT"), nil))
}
`
	nodeServer = `require("http").createServer((q, s) => s.end(GREETING)).listen(process.env.PORT, "127.0.0.1")` + "\n"
	pyServer   = `import http.server, os
class H(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200); self.end_headers(); self.wfile.write(GREETING.encode())
http.server.HTTPServer(("127.0.0.1", int(os.environ["PORT"])), H).serve_forever()
`
)

func TestGoAppIsOneStaticProgram(t *testing.T) {
	needs(t, golang)
	w := newWorld(t, Options{})
	w.files(map[string]string{"go.mod": "module example.com/hello\n\ngo 1.21\n",
		"main.go": goServer, "greeting.go": "package main\n\nconst greeting = \"hello\"\n",
		"cmd/other/main.go": "package main\n\nfunc main() {}\n"})
	a := w.build()
	w.says("Detected Go module example.com/hello (go.mod)", "$ go build -trimpath")
	if got := w.serves(a); got != "hello" || len(a.Toolchain) != 0 {
		t.Errorf("it answers %q and needs %v", got, a.Toolchain)
	}
}

func TestGoAppWithVendoredModule(t *testing.T) {
	needs(t, golang)
	w := newWorld(t, Options{Env: map[string]string{"GOPROXY": "off"}})
	w.files(map[string]string{
		"go.mod":                           "module example.com/hello\n\ngo 1.21\n\nrequire example.com/words v1.0.0\n",
		"cmd/hello/main.go":                strings.Replace(goServer, "\"os\"\n", "\"os\"\n\n\t\"example.com/words\"\n", 1) + "\nvar greeting = words.Greeting\n",
		"vendor/modules.txt":               "# example.com/words v1.0.0\n## explicit\nexample.com/words\n",
		"vendor/example.com/words/word.go": "package words\n\nconst Greeting = \"vendored\"\n",
	})
	if got := w.serves(w.build()); got != "vendored" {
		t.Errorf("it answers %q", got)
	}
}

func TestGoErrorsSayWhatToDo(t *testing.T) {
	needs(t, golang)
	const empty = "package main\n\nfunc main() {}\n"
	for name, c := range map[string]struct {
		files map[string]string
		want  []string
	}{
		"compile":  {map[string]string{"go.mod": "module a\n\ngo 1.21\n", "main.go": "package main\n\nfunc main() { nonsense }\n"}, []string{"go build failed: exit code 1", "undefined: nonsense"}},
		"syntax":   {map[string]string{"go.mod": "module a\n\ngo 1.21\n", "main.go": "package main\n\nfunc main( {\n"}, []string{"go build failed", "syntax error"}},
		"several":  {map[string]string{"go.mod": "module a\n", "cmd/x/x.go": empty, "cmd/y/y.go": empty}, []string{"cmd/x, cmd/y", "Procfile"}},
		"library":  {map[string]string{"go.mod": "module a\n", "a.go": "package a\n"}, []string{"no main package"}},
		"newer":    {map[string]string{"go.mod": "module a\n\ngo 1.999\n", "main.go": empty}, []string{"wants Go 1.999", "this machine has Go 1."}},
		"nameless": {map[string]string{"go.mod": "go 1.21\n", "main.go": empty}, []string{"no module line"}},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, Options{})
			w.files(c.files)
			w.fails(c.want...)
		})
	}
}

func TestNodeAppWithoutDependenciesRunsNothingToBuild(t *testing.T) {
	needs(t, nodejs)
	for name, c := range map[string]struct {
		files map[string]string
		shell bool
	}{
		"node script":  {map[string]string{"package.json": `{"name":"hello","scripts":{"start":"node x.js"}}`, "x.js": nodeServer}, false},
		"shell script": {map[string]string{"package.json": `{"scripts":{"start":"A=1 node ./x.js && true"}}`, "x.js": nodeServer}, true},
		"prestart":     {map[string]string{"package.json": `{"scripts":{"prestart":"cp y.txt x.js","start":"node x.js"}}`, "y.txt": nodeServer}, true},
		"main":         {map[string]string{"package.json": `{"main":"lib"}`, "lib/index.js": nodeServer}, false},
		"server.js":    {map[string]string{"package.json": `{"main":"gone.js"}`, "server.js": nodeServer}, false},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, Options{})
			for file, content := range c.files {
				w.files(map[string]string{file: strings.Replace(content, "GREETING", "process.env.NODE_ENV", 1)})
			}
			a := w.build()
			if len(w.tasks.ran) != 0 {
				t.Errorf("ran %q", w.commands())
			}
			if isShell := a.Args[0] == shell; isShell != c.shell {
				t.Errorf("the command is %q", a.Args)
			}
			if got := w.serves(a); got != "production" {
				t.Errorf("it answers %q", got)
			}
		})
	}
}

func TestNodeAppInstallsByLockFileBuildsAndPrunes(t *testing.T) {
	needs(t, nodejs)
	w := newWorld(t, Options{})
	w.files(map[string]string{
		"package.json": `{"name":"hello","version":"1.0.0","scripts":{"build":"words > built.txt","start":"node x.js"},
			"dependencies":{"greeting":"file:./greeting"},"devDependencies":{"words":"file:./words"},"engines":{"node":">=99"}}`,
		"package-lock.json": `{"name":"hello","version":"1.0.0","lockfileVersion":3,"requires":true,"packages":{
			"":{"name":"hello","version":"1.0.0","dependencies":{"greeting":"file:./greeting"},"devDependencies":{"words":"file:./words"}},
			"greeting":{"version":"1.0.0"},"words":{"version":"1.0.0","dev":true,"bin":{"words":"words.js"}},
			"node_modules/greeting":{"resolved":"greeting","link":true},"node_modules/words":{"resolved":"words","link":true,"dev":true}}}`,
		"greeting/package.json": `{"name":"greeting","version":"1.0.0"}`, "greeting/index.js": `module.exports = "hello"`,
		"words/package.json": `{"name":"words","version":"1.0.0","bin":{"words":"words.js"}}`,
		"words/words.js":     "#!/usr/bin/env node\nconsole.log('built')\n",
		"x.js":               strings.Replace(nodeServer, "GREETING", `require("greeting") + require("fs").readFileSync("built.txt")`, 1),
	})
	if got := w.serves(w.build()); got != "hellobuilt\n" {
		t.Errorf("it answers %q", got)
	}
	w.says("$ npm ci --include=dev", "$ npm run build", "$ npm prune --omit=dev", "asks for Node.js >=99")
	if _, err := os.Lstat(filepath.Join(w.req.Code, "node_modules/words")); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("what only the build needed is still there: %v", err)
	}
	if entries, err := os.ReadDir(w.req.Home); err != nil || len(entries) != 0 {
		t.Errorf("npm left %v in HOME (%v)", entries, err)
	}
}

func TestNodeBuildOfAPageIsASite(t *testing.T) {
	needs(t, nodejs)
	w := newWorld(t, Options{})
	w.files(map[string]string{"package.json": `{"scripts":{"build":"mkdir dist && cp page dist/index.html"}}`, "page": "hi"})
	if a := w.build(); a.Site != "dist" {
		t.Errorf("got %+v", a)
	}
}

func TestNodeErrors(t *testing.T) {
	needs(t, nodejs)
	for name, c := range map[string]struct{ manifest, want string }{
		"no start":    {`{"name":"a"}`, "does not say how the app is started"},
		"no JSON":     {`{"name"`, "package.json is not a JSON object"},
		"build fails": {`{"scripts":{"build":"echo oh no; exit 3","start":"x"}}`, "npm run build failed: exit code 3"},
		"script":      {`{"scripts":{"postinstall":"exit 4","start":"x"}}`, "npm install failed: exit code 4"},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, Options{})
			w.files(map[string]string{"package.json": c.manifest})
			w.fails(c.want)
		})
	}
}

func TestPythonAppWithoutPackagesNeedsNoEnvironment(t *testing.T) {
	needs(t, python)
	for name, files := range map[string]map[string]string{
		"empty requirements": {"requirements.txt": "# none\n", "app.py": pyServer},
		"alone":              {"main.py": pyServer},
		"only settings":      {"pyproject.toml": "[tool.black]\nline-length = 100\n", "app.py": pyServer},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, Options{})
			for file, content := range files {
				w.files(map[string]string{file: strings.Replace(content, "GREETING", "'hello'", 1)})
			}
			a := w.build()
			if got := w.serves(a); got != "hello" || len(w.tasks.ran) != 0 {
				t.Errorf("it answers %q after %q", got, w.commands())
			}
		})
	}
}

// wheel makes a package of one module, ready to be installed.
func wheel(t *testing.T, name, source string) string {
	t.Helper()
	var b bytes.Buffer
	z := zip.NewWriter(&b)
	info := name + "-1.0.dist-info/"
	for _, f := range [][2]string{
		{name + ".py", source},
		{info + "METADATA", "Metadata-Version: 2.1\nName: " + name + "\nVersion: 1.0\n"},
		{info + "WHEEL", "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n"},
		{info + "entry_points.txt", "[console_scripts]\n" + name + " = " + name + ":main\n"},
		{info + "RECORD", name + ".py,,\n" + info + "METADATA,,\n" + info + "WHEEL,,\n" + info + "entry_points.txt,,\n" + info + "RECORD,,\n"},
	} {
		w, err := z.Create(f[0])
		if err == nil {
			_, err = w.Write([]byte(f[1]))
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	if err := z.Close(); err != nil {
		t.Fatal(err)
	}
	return b.String()
}

func TestPythonAppWithWheelIsServedByItsServer(t *testing.T) {
	needs(t, python)
	// Not the real gunicorn, but started as it is and by the same command line.
	server := `import http.server, importlib, sys
def main():
    module, name = sys.argv[1].split(":")
    body = getattr(importlib.import_module(module), name)()
    class H(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            self.send_response(200); self.end_headers(); self.wfile.write(body.encode())
    host, port = sys.argv[3].split(":")
    http.server.HTTPServer((host, int(port)), H).serve_forever()
if __name__ == "__main__":
    main()
`
	for name, project := range map[string]map[string]string{
		"requirements": {"requirements.txt": "./gunicorn-1.0-py3-none-any.whl\n"},
		"pyproject":    {"pyproject.toml": "[project]\nname = \"x\"\ndependencies = [\n  \"gunicorn\", # served by it\n]\n"},
		"buildable": {"pyproject.toml": "[build-system]\nrequires = []\nbuild-backend = \"backend\"\nbackend-path = [\".\"]\n",
			"backend.py": "import shutil\ndef build_wheel(d, *a):\n    return shutil.copy('gunicorn-1.0-py3-none-any.whl', d).rsplit('/', 1)[1]\n"},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, Options{})
			w.files(project)
			w.files(map[string]string{"app.py": "class App:\n    def __call__(self): return 'hello'\napp = App()\n",
				"gunicorn-1.0-py3-none-any.whl": wheel(t, "gunicorn", server)})
			w.req.Env = map[string]string{"PIP_FIND_LINKS": w.req.Code, "PIP_NO_INDEX": "1"}
			if name == "buildable" {
				w.files(map[string]string{"app.py": "class App:\n    def __call__(self): return 'hello'\napp = App()\n"})
			}
			a := w.build()
			if !strings.Contains(a.Summary, "gunicorn app:app") {
				t.Errorf("the summary is %q", a.Summary)
			}
			if got := w.serves(a); got != "hello" {
				t.Errorf("it answers %q", got)
			}
		})
	}
}

func TestPythonErrors(t *testing.T) {
	needs(t, python)
	w := newWorld(t, Options{})
	w.files(map[string]string{"requirements.txt": "./nowhere-1.0-py3-none-any.whl\n", "app.py": ""})
	w.fails("pip install failed: exit code 1", "nowhere-1.0")
	w = newWorld(t, Options{})
	w.files(map[string]string{"requirements.txt": "", "other.py": ""})
	w.fails("how this Python app is started", "Procfile")
}

func TestProcfileStartsWhatItsLanguageInstalled(t *testing.T) {
	needs(t, golang)
	w := newWorld(t, Options{})
	w.files(map[string]string{"Procfile": "worker: sleep 1\nweb: hello\n", "go.mod": "module a\n\ngo 1.21\n",
		"cmd/hello/main.go": goServer + "\nconst greeting = \"hello\"\n", "cmd/other/main.go": "package main\n\nfunc main() {}\n"})
	a := w.build()
	if got := w.serves(a); got != "hello" || a.Args[2] != "exec hello" {
		t.Errorf("it answers %q by %q", got, a.Args)
	}
	w.says("Detected a web process (Procfile): hello", "Detected Go module a")
}

func TestProcfileErrors(t *testing.T) {
	for text, want := range map[string]string{
		"worker: x":        "no web: line, only worker",
		"":                 "no web: line",
		"web:":             "has no command",
		"web: a\nweb: b\n": "more than one web: line",
		"web: a\x00b":      "not plain text",
	} {
		w := newWorld(t, Options{})
		w.files(map[string]string{"Procfile": text})
		w.fails(want)
	}
}

func TestFolderWithIndexIsASite(t *testing.T) {
	for name, files := range map[string]map[string]string{
		"alone":        {"index.html": "hi"},
		"with package": {"index.html": "hi", "package.json": `{"devDependencies":{"prettier":"3"}}`},
		"Dockerfile":   {"index.html": "hi", "Dockerfile": "FROM scratch"},
	} {
		w := newWorld(t, Options{})
		w.files(files)
		if a := w.build(); a.Site != "." || a.Args != nil || len(w.tasks.ran) != 0 {
			t.Errorf("%s: got %+v", name, a)
		}
		if name == "Dockerfile" {
			w.says("Passing over the Dockerfile")
		}
	}
}

func TestUnknownFoldersAreExplained(t *testing.T) {
	newWorld(t, Options{}).fails("Procfile", "Dockerfile", "go.mod", "package.json", "requirements.txt", "pyproject.toml", "index.html")
	w := newWorld(t, Options{})
	w.files(map[string]string{"Dockerfile": "FROM scratch"})
	w.fails("needs a container engine")
	w = newWorld(t, Options{})
	w.files(map[string]string{"public/index.html": "hi"})
	w.fails("deploy the path public")
}

func TestMissingLanguageSaysHowToGetIt(t *testing.T) {
	for file, want := range map[string]string{"package.json": "Node.js 18 or newer", "app.py": "Python 3.8 or newer", "go.mod": "Go 1.21 or newer"} {
		w := newWorld(t, Options{SearchPath: []string{}})
		w.files(map[string]string{file: map[string]string{"go.mod": "module a\n", "package.json": "{}"}[file], "main.go": "package main\n"})
		w.fails("is not installed on this machine", want)
	}
}

func TestHangingBuildIsEndedAtTheTimeout(t *testing.T) {
	needs(t, nodejs)
	// In this time it must come to the step that hangs.
	w := newWorld(t, Options{Timeout: 10 * time.Second})
	w.files(map[string]string{"package.json": `{"scripts":{"build":"sleep 600"}}`})
	if failure := w.fails("the build took longer than 10s and was ended"); failure.Step != "npm run build" {
		t.Errorf("the step is %q", failure.Step)
	}
}

func TestEndlessOutputEndsTheBuild(t *testing.T) {
	needs(t, nodejs)
	w := newWorld(t, Options{OutputBytes: 1 << 20})
	w.files(map[string]string{"package.json": `{"scripts":{"build":"while :; do echo yes; done"}}`})
	w.fails("npm run build failed: the build printed too much: more than 1 MiB")
	if w.log.Len() > 1<<20+1000 {
		t.Errorf("the log has %d bytes", w.log.Len())
	}
}

func TestCancelledBuildStopsAtOnce(t *testing.T) {
	needs(t, nodejs)
	w := newWorld(t, Options{})
	ctx, cancel := context.WithCancel(t.Context())
	w.files(map[string]string{"package.json": `{"scripts":{"build":"echo now; sleep 600"}}`})
	w.req.Log = cancelAt{"now\n", cancel}
	_, err := w.Build(ctx, w.req)
	if !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
}

// cancelAt cancels when it is written something.
type cancelAt struct {
	text   string
	cancel func()
}

func (c cancelAt) Write(p []byte) (int, error) {
	if strings.HasSuffix(string(p), c.text) && !strings.Contains(string(p), "echo") {
		c.cancel()
	}
	return len(p), nil
}

func TestLogThatCannotBeWrittenIsTheMachinesFailure(t *testing.T) {
	needs(t, nodejs)
	w := newWorld(t, Options{})
	w.files(map[string]string{"package.json": `{"scripts":{"build":"echo x"}}`})
	w.req.Log = full{}
	_, err := w.Build(t.Context(), w.req)
	var failure *Error
	if err == nil || errors.As(err, &failure) || !errors.Is(err, os.ErrClosed) {
		t.Errorf("got %v", err)
	}
}

type full struct{}

func (full) Write([]byte) (int, error) { return 0, os.ErrClosed }

func TestLinksOutOfTheCodeAreNotFollowed(t *testing.T) {
	w := newWorld(t, Options{})
	secret := filepath.Join(filepath.Dir(w.req.Code), "Procfile")
	if err := errors.Join(os.WriteFile(secret, []byte("web: secret"), 0o600), os.Symlink(secret, filepath.Join(w.req.Code, "Procfile")),
		os.Symlink(secret, filepath.Join(w.req.Code, "index.html"))); err != nil {
		t.Fatal(err)
	}
	if failure := w.fails("cannot tell what this code is"); strings.Contains(failure.Reason, "secret") {
		t.Error("the error shows what is outside")
	}
}

func TestOwnersEnvironmentReachesStepsAndNoLog(t *testing.T) {
	needs(t, nodejs)
	w := newWorld(t, Options{})
	w.files(map[string]string{"package.json": `{"main":"x.js","scripts":{"build":"test ${#TOKEN} = 7"}}`, "x.js": ""})
	w.req.Env = map[string]string{"TOKEN": "hunter2", "HOME": "/", "PATH": "/nowhere"}
	a := w.build()
	if strings.Contains(w.log.String(), "hunter2") || a.Env["TOKEN"] != "" {
		t.Errorf("the value shows:\n%s", w.log)
	}
}
