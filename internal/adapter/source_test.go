package adapter_test

import (
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/m3o/ingress/internal/adapter"
)

var smallest = map[string]string{
	"go":     "package main\nimport \"net/http\"\nfunc Found(w http.ResponseWriter, r *http.Request) {}\n",
	"nodejs": "exports.Found = (req, res) => { res.send('found'); };\n",
	"python": "def Found(request): return 'found'\n",
}

func prepare(t *testing.T, runtime, dir string) adapter.Plan {
	t.Helper()
	plan, err := adapter.Prepare(runtime, dir, "Found")
	if err != nil {
		t.Fatal(err)
	}
	return plan
}

func forEveryLanguage(t *testing.T, test func(t *testing.T, runtime, file string)) {
	for _, runtime := range adapter.Languages() {
		t.Run(runtime, func(t *testing.T) { test(t, runtime, adapter.SourceFile(runtime)) })
	}
}

func TestTheLanguages(t *testing.T) {
	if got := adapter.Languages(); !slices.Equal(got, []string{"go", "nodejs", "python"}) {
		t.Error(got)
	}
	for _, c := range [][4]string{{"go", "greeter", "Greeter", "main.go"}, {"nodejs", "greeter", "greeter", "index.js"}, {"python", "greeter", "greeter", "main.py"}, {"cobol", "greeter", "greeter", ""}, {"go", "", "", "main.go"}} {
		if got := adapter.DefaultEntrypoint(c[0], c[1]); got != c[2] {
			t.Errorf("entrypoint of %s: %q", c[0], got)
		}
		if got := adapter.SourceFile(c[0]); got != c[3] {
			t.Errorf("file of %s: %q", c[0], got)
		}
	}
}

func TestAMissingFileIsNamed(t *testing.T) {
	forEveryLanguage(t, func(t *testing.T, runtime, file string) {
		for name, dir := range map[string]string{
			"empty":     folder(t, nil),
			"a folder":  folder(t, map[string]string{file + "/x": ""}),
			"elsewhere": linked(t, filepath.Join(folder(t, map[string]string{file: smallest[runtime]}), file), file),
		} {
			_, err := adapter.Prepare(runtime, dir, "Found")
			if err == nil || !strings.Contains(err.Error(), file) {
				t.Errorf("%s: %v", name, err)
			}
			if left, err := os.ReadDir(dir); err != nil || len(left) > 1 {
				t.Errorf("%s: it left %v, %v", name, left, err)
			}
		}
	})
}

// linked makes a folder in which name is a link.
func linked(t *testing.T, to, name string) string {
	t.Helper()
	dir := t.TempDir()
	if err := os.Symlink(to, filepath.Join(dir, name)); err != nil {
		t.Fatal(err)
	}
	return dir
}

func TestWhatIsAskedForMustExist(t *testing.T) {
	for name, c := range map[string][4]string{
		"runtime":    {"cobol", t.TempDir(), "x", "there are go, nodejs, python"},
		"entrypoint": {"nodejs", t.TempDir(), "", "no entrypoint"},
		"folder":     {"nodejs", filepath.Join(t.TempDir(), "none"), "x", "no such file"},
	} {
		if _, err := adapter.Prepare(c[0], c[1], c[2]); err == nil || !strings.Contains(err.Error(), c[3]) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestPackageJSONSaysWhichFile(t *testing.T) {
	for name, c := range map[string]struct{ manifest, want string }{
		"missing":      {`{"main":"lib/start.js"}`, `package.json names "lib/start.js" as main: there is no file lib/start.js`},
		"outside":      {`{"main":"../index.js"}`, "not in the function's folder"},
		"absolute":     {`{"main":"/etc/passwd"}`, "not in the function's folder"},
		"no text":      {`{"main":5}`, "main is not a text"},
		"no JSON":      {`{main: x}`, "package.json is not a JSON object"},
		"no object":    {`[]`, "package.json is not a JSON object"},
		"a zero byte":  {`{"main":"a\u0000b"}`, "zero byte"},
		"much too big": {strings.Repeat(" ", 1<<20) + `{}`, "longer than"},
	} {
		_, err := adapter.Prepare("nodejs", folder(t, map[string]string{"package.json": c.manifest, "index.js": ""}), "Found")
		if err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v", name, err)
		}
	}
	plan := prepare(t, "nodejs", folder(t, map[string]string{"package.json": `{"Main":"other.js"}`, "index.js": ""}))
	if !slices.Contains(plan.Args, "./index.js") {
		t.Error(plan.Args)
	}
}

// TestTheAuthorsFilesStayAsTheyAre gives the adapter's folder every kind of
// author, and looks at all that was there before.
func TestTheAuthorsFilesStayAsTheyAre(t *testing.T) {
	forEveryLanguage(t, func(t *testing.T, runtime, file string) {
		outside := t.TempDir()
		for name, make := range map[string]func(path string) error{
			"a file":            func(path string) error { return os.WriteFile(path, []byte("theirs"), 0o644) },
			"a folder":          func(path string) error { return os.Mkdir(path, 0o755) },
			"a link out":        func(path string) error { return os.Symlink(outside, path) },
			"a link to nothing": func(path string) error { return os.Symlink(filepath.Join(outside, "new"), path) },
			"a link to itself":  func(path string) error { return os.Symlink(".ingress", path) },
		} {
			dir := folder(t, map[string]string{file: smallest[runtime]})
			if err := make(filepath.Join(dir, ".ingress")); err != nil {
				t.Fatal(err)
			}
			before := tree(t, dir)
			plan := prepare(t, runtime, dir)
			after := tree(t, dir)
			for path, what := range before {
				if after[path] != what {
					t.Errorf("%s: %s was %q and is %q", name, path, what, after[path])
				}
			}
			if !strings.Contains(strings.Join(plan.Args, " "), ".ingress-2/") {
				t.Errorf("%s: %v", name, plan.Args)
			}
		}
		if left := tree(t, outside); len(left) != 1 {
			t.Errorf("written outside of the source: %v", left)
		}
	})
}

// tree says what each name in a folder is.
func tree(t *testing.T, dir string) map[string]string {
	t.Helper()
	all := map[string]string{}
	err := filepath.WalkDir(dir, func(path string, entry fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		what := entry.Type().String()
		switch {
		case entry.Type().IsRegular():
			content, err := os.ReadFile(path)
			if err != nil {
				return err
			}
			what += string(content)
		case entry.Type() == fs.ModeSymlink:
			to, err := os.Readlink(path)
			if err != nil {
				return err
			}
			what += to
		}
		all[strings.TrimPrefix(path, dir)] = what
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return all
}

func TestASourceFullOfSuchFoldersIsRefused(t *testing.T) {
	dir := folder(t, map[string]string{"index.js": ""})
	for {
		if _, err := adapter.Prepare("nodejs", dir, "Found"); err != nil {
			if !strings.Contains(err.Error(), "too many files named .ingress") {
				t.Error(err)
			}
			return
		}
	}
}
