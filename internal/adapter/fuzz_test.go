package adapter

import (
	"go/token"
	"strings"
	"testing"
)

// FuzzPackageMain: whatever package.json says, no file outside of the source is
// taken for the function's.
func FuzzPackageMain(f *testing.F) {
	for _, seed := range []string{`{}`, `{"main":"index.js"}`, `{"main":5}`, `[]`, `{"main":"../x"}`, `{"main":null}`, `{"main":"a","main":"b"}`} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, raw []byte) {
		main, err := parseMain(raw)
		if err != nil && main != "" || strings.ContainsRune(main, 0) {
			t.Errorf("%q: %q, %v", raw, main, err)
		}
	})
}

// FuzzModule: what is taken for a module's path is one word of the file.
func FuzzModule(f *testing.F) {
	for _, seed := range []string{"module a\n", "module \"a/b\" // c", "module (\n\ta\n)", "go 1.21\nmodule a", "module", "// module x\nmodule `y`"} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, raw []byte) {
		module := parseModule(raw)
		if module != "" && !strings.Contains(string(raw), "module") {
			t.Errorf("%q: %q", raw, module)
		}
	})
}

// FuzzGoSource: what is found in a source can be written into the file that joins
// it, because it is a name.
func FuzzGoSource(f *testing.F) {
	const framework = "import f \"" + frameworkImport + "\"\n"
	for _, seed := range []string{
		"package a\nfunc F(a, b int) {}", "package a\n" + framework + "func init() { f.HTTP(\"F\", g) }", "package a\n" + framework + "func init() { f.HTTP(`F`, func() {}) }",
		"package main\nfunc main() {}", "package a\nfunc F[T any](a, b T) {}", "package a\nimport . \"" + frameworkImport + "\"", "package a\nfunc (F) F(a, b int) {}", "package a\nfunc F",
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, raw []byte) {
		p := &goPackage{functions: map[string]bool{}, registered: map[string]string{}}
		if p.add("main.go", raw) != nil {
			return
		}
		if name, err := p.find("F"); err == nil && !token.IsIdentifier(name) {
			t.Errorf("%q: the function is %q", raw, name)
		}
	})
}
