package builder

import (
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"
	"unicode/utf8"
)

func TestParseRuntime(t *testing.T) {
	for name, want := range map[string]string{"nodejs": nodejs, "nodejs16": nodejs, "node20": nodejs, "python39": python,
		"python3.11": python, "go116": golang, "go": golang, "java11": "java", "": "", "16": "", "rust": "", "Go": ""} {
		if got, ok := ParseRuntime(name); got != want || ok != (want != "") {
			t.Errorf("%q is %q, %v", name, got, ok)
		}
	}
}

func TestPassedEnvHoldsNoCredentials(t *testing.T) {
	got := PassedEnv([]string{"GOPROXY=https://mirror.example,direct", "https_proxy=http://user:secret@proxy:3128",
		"HTTP_PROXY=user:secret@proxy:3128", "NO_PROXY=localhost", "INGRESS_KEY=x", "PIP_CERT=", "PATH=/bin"})
	if len(got) != 2 || got["GOPROXY"] != "https://mirror.example,direct" || got["NO_PROXY"] != "localhost" {
		t.Errorf("got %v", got)
	}
}

func TestExecStandsOnlyBeforeSimpleCommands(t *testing.T) {
	for command, simple := range map[string]bool{"gunicorn a:b --bind 0:$PORT": true, "./x \"a b\"": true, "A=1 ./x": false,
		"a && b": false, "cd x": false, "a | b": false, "exec a": false, "": false, "a `b`": false, "if a": false} {
		if got := isSimple(command); got != simple {
			t.Errorf("%q: %v", command, got)
		}
	}
}

func TestInRange(t *testing.T) {
	const v = "20.20.2"
	for text, want := range map[string]bool{">=18": true, "20": true, "20.x": true, "^20.1": true, "~20.20": true, "18 - 20": true,
		">= 18 < 21": true, "18 || 20": true, "*": true, ">20": false, "<20": false, "^18": false, "18.x": false, "~20.1.0": false,
		"<=20.20.1": false, "=20.20.2": true, "v20": true, ">=18.0.0 <20.0.0 || >=20.3": true} {
		if got, known := inRange(v, text); got != want || !known {
			t.Errorf("%q: %v, %v", text, got, known)
		}
	}
	for _, text := range []string{"lts/*", "node", ">=a", strings.Repeat("1||", 100)} {
		if _, known := inRange(v, text); known {
			t.Errorf("%q can be read", text)
		}
	}
}

func TestParsePyproject(t *testing.T) {
	got := parsePyproject("# c\n[project]\nname = 'x' # y\nversion = 1.0\nauthors = [{name = \"a [b\"}]\n" +
		"dependencies = [\n  \"a>=1; python_version < '4'\", # no [comment]\n  'b[extra]',\n]\ndescription = \"\"\"\n[build-system]\n\"\"\"\n" +
		"[tool.black]\nline = 1\n[project.optional-dependencies]\ndev = ['c']\n")
	if got.name != "x" || got.buildable || !slices.Equal(got.dependencies, []string{"a>=1; python_version < '4'", "b[extra]"}) {
		t.Errorf("got %+v", got)
	}
	if got := parsePyproject("[ build-system ] # x\nrequires = []\n"); !got.buildable {
		t.Error("a build system is not seen")
	}
	if got := parsePyproject("project.dependencies = ['a']\nbuild-system.requires = []\n"); !got.buildable || len(got.dependencies) != 1 {
		t.Errorf("dotted keys: %+v", got)
	}
}

func TestParseGoMod(t *testing.T) {
	got := parseGoMod("// c\nmodule \"example.com/a\" // d\n\nrequire (\n\tgo v1\n)\n\ngo 1.21\n")
	if got != (goMod{"example.com/a", "1.21"}) {
		t.Errorf("got %+v", got)
	}
}

// What is read to find the programs of a module is held by the ingress itself.
func TestALongCommentIsNotHeldInMemory(t *testing.T) {
	w := newWorld(t, Options{})
	const size = 32 << 20
	w.files(map[string]string{"long.go": "/*" + strings.Repeat(" ", size) + "*/\npackage main\n", "main.go": "package main\n"})
	f, err := openFolder(w.req.Code)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	mains, err := findMains(f)
	runtime.ReadMemStats(&after)
	if err != nil || !slices.Equal(mains, []string{"."}) {
		t.Errorf("found %v, %v", mains, err)
	}
	if took := after.TotalAlloc - before.TotalAlloc; took > size {
		t.Errorf("it took %d bytes of memory to look at a file of %d", took, size)
	}
}

func TestEndingIsTheLastLinesAsPlainText(t *testing.T) {
	l := newLog(&strings.Builder{}, 1<<20)
	l.begin("x")
	for range 1000 {
		l.Write([]byte("noise\n"))
	}
	l.Write([]byte("1\n2\n\n\x1b[31m3\x1b[0m\n4\xff\n5\t6\x07\n"))
	if got := l.ending(); got != "\n1\n2\n3\n4\ufffd\n5 6" {
		t.Errorf("got %q", got)
	}
}

// fake writes a program that answers like a language.
func fake(t *testing.T, dir, name, answer string) string {
	t.Helper()
	path := filepath.Join(dir, name)
	if err := os.WriteFile(path, []byte("#!/bin/sh\ncat <<'END'\n"+answer+"\nEND\n"), 0o755); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestFinderPassesOverWhatCannotBeUsed(t *testing.T) {
	old, broken, good := t.TempDir(), t.TempDir(), t.TempDir()
	fake(t, old, "node", "/x/bin/node\n16.1.0\n/x")
	fake(t, broken, "node", "v1")
	path := filepath.Join(good, "real")
	fake(t, good, "real", path+"\n22.1.0\n"+good)
	fake(t, good, "node", path+"\n22.1.0\n"+good)
	f := newFinder([]string{old, broken})
	f.privileged = false
	_, err := f.find(t.Context(), nodejs)
	for _, word := range []string{"is version 16.1.0", "does not say its version", "Node.js 18 or newer"} {
		if err == nil || !strings.Contains(err.Error(), word) {
			t.Errorf("got %v, want %q", err, word)
		}
	}
	f = newFinder([]string{old, broken, good})
	f.privileged = false
	tools, err := f.find(t.Context(), nodejs)
	if err != nil || filepath.Base(tools.path) != "real" || tools.version != "22.1.0" {
		t.Errorf("got %+v, %v", tools, err)
	}
}

func TestFinderPassesOverWhatOthersCannotReach(t *testing.T) {
	closed := filepath.Join(t.TempDir(), "closed")
	if err := os.Mkdir(closed, 0o700); err != nil {
		t.Fatal(err)
	}
	fake(t, closed, "node", filepath.Join(closed, "node")+"\n22.1.0\n"+closed)
	f := newFinder([]string{closed})
	f.privileged = true
	if _, err := f.find(t.Context(), nodejs); err == nil || !strings.Contains(err.Error(), "closed to other users") {
		t.Errorf("got %v", err)
	}
}

// A language in ~/.local, say, is in one directory with what the ingress keeps.
func TestALanguageBesideTheDataOpensNothingElse(t *testing.T) {
	w := newWorld(t, Options{})
	root, err := filepath.EvalSymlinks(filepath.Dir(w.req.Code))
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"bin", "lib", ".ssh"} {
		if err := os.Mkdir(filepath.Join(root, name), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	bin := filepath.Join(root, "bin")
	fake(t, bin, "node", filepath.Join(bin, "node")+"\n22.1.0\n"+root)
	w.Builder = New(Options{Tasks: w.tasks, SearchPath: []string{bin}})
	w.tools.privileged = false
	w.files(map[string]string{"package.json": "{}", "server.js": ""})
	if got, want := w.build().Toolchain, []string{bin, filepath.Join(root, "lib")}; !slices.Equal(got, want) {
		t.Errorf("tenants may read %v, want %v", got, want)
	}
}

func TestRuntimesSayWhyNot(t *testing.T) {
	available, unavailable := New(Options{SearchPath: []string{}}).Runtimes(t.Context())
	if len(available) != 0 || unavailable["java"] != "java: not supported by this ingress" || !strings.Contains(unavailable[golang], "not installed") {
		t.Errorf("got %v and %v", available, unavailable)
	}
	needs(t, golang)
	available, _ = New(Options{}).Runtimes(t.Context())
	if i := slices.IndexFunc(available, func(r Runtime) bool { return r.Name == golang }); i < 0 || !filepath.IsAbs(available[i].Path) || available[i].Version == "" {
		t.Errorf("got %v", available)
	}
}

func FuzzParseProcfile(f *testing.F) {
	f.Add("web: ./server\nworker: x")
	f.Add("# c\r\nweb : a && b\r\n")
	f.Fuzz(func(t *testing.T, text string) {
		web, err := parseProcfile(text)
		if (web == "") == (err == nil) || strings.ContainsAny(web, "\n\x00") || !utf8.ValidString(web) {
			t.Errorf("got %q, %v", web, err)
		}
	})
}

func FuzzParsePackageJSON(f *testing.F) {
	f.Add([]byte(`{"name":"a","scripts":{"start":"x"},"engines":{"node":">=1 <2"}}`))
	f.Add([]byte(`{"scripts":[],"main":{},"dependencies":{"a":1}}`))
	f.Fuzz(func(t *testing.T, content []byte) {
		p, err := parsePackageJSON(content)
		if err != nil {
			return
		}
		inRange("20.1.2", p.engines["node"])
		n := &nodeProject{pkg: p, tools: toolchain{path: "/usr/bin/node"}}
		if args := n.startScript(p.scripts["start"]); args[0][0] != '/' {
			t.Errorf("the command is %q", args)
		}
	})
}

func FuzzInRange(f *testing.F) {
	f.Add("20.1.2", ">=18 <21 || ^22.x")
	f.Fuzz(func(t *testing.T, version, text string) {
		if fits, known := inRange(version, text); fits && !known {
			t.Error("fits what cannot be read")
		}
	})
}

func FuzzParseGoMod(f *testing.F) {
	f.Add("module a\n\ngo 1.21\nrequire (\n a v1\n)\n")
	f.Fuzz(func(t *testing.T, text string) {
		if m := parseGoMod(text); strings.ContainsAny(m.module+m.goVersion, " \n\t") {
			t.Errorf("got %+v", m)
		}
	})
}

func FuzzParsePyproject(f *testing.F) {
	f.Add("[project]\ndependencies = ['a', \"b\\\"\", \"\"\"c\"\"\"]\nx = {a = '}'}\n")
	f.Add("[[[[")
	f.Add("a = [[[[1,")
	f.Fuzz(func(t *testing.T, text string) {
		for _, d := range parsePyproject(text).dependencies {
			if len(d) > len(text) {
				t.Errorf("got %q", d)
			}
		}
	})
}
