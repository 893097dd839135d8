package adapter

import (
	"errors"
	"fmt"
	"go/ast"
	"go/build"
	"go/parser"
	"go/token"
	"io"
	"io/fs"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
)

// frameworkImport is the package with which functions for Cloud Functions are
// registered under a name.
const frameworkImport = "github.com/GoogleCloudPlatform/functions-framework-go/functions"

// maxGoFiles bounds how many source files a function's package may have.
const maxGoFiles = 1000

// goPackage is what the author's package declares, as far as it matters here.
type goPackage struct {
	name string
	// functions are those with two parameters, declared by name, and registered
	// those given to functions.HTTP: the name to the function's own.
	functions  map[string]bool
	registered map[string]string
	hasMain    bool
}

// goPackage reads the package in the source's folder: the files that are compiled
// on this machine, without tests.
func (s source) goPackage() (*goPackage, error) {
	names, err := s.goFiles()
	if err != nil {
		return nil, err
	}
	if len(names) == 0 {
		return nil, errors.New("there is no file main.go, nor any other Go file, in the function's source")
	}
	p := &goPackage{functions: map[string]bool{}, registered: map[string]string{}}
	for _, name := range names {
		raw, err := s.read(name, maxGoFile)
		if err != nil {
			return nil, err
		}
		if err := p.add(name, raw); err != nil {
			return nil, err
		}
	}
	return p, nil
}

func (s source) goFiles() ([]string, error) {
	entries, err := fs.ReadDir(s.root.FS(), ".")
	if err != nil {
		return nil, fmt.Errorf("read the function's source: %w", err)
	}
	here := build.Default
	// Its beginning is held in memory; a file that is too long is refused when it is
	// read.
	here.OpenFile = func(name string) (io.ReadCloser, error) {
		file, err := s.root.Open(filepath.Base(name))
		if err != nil {
			return nil, err
		}
		return struct {
			io.Reader
			io.Closer
		}{io.LimitReader(file, maxGoFile), file}, nil
	}
	var names []string
	for _, entry := range entries {
		name := entry.Name()
		if !strings.HasSuffix(name, ".go") || strings.HasSuffix(name, "_test.go") || !s.isFile(name) {
			continue
		}
		if matches, err := here.MatchFile(".", name); err != nil {
			return nil, fmt.Errorf("read %s: %w", name, err)
		} else if matches {
			names = append(names, name)
		}
	}
	if len(names) > maxGoFiles {
		return nil, fmt.Errorf("the function's package has more than %d files", maxGoFiles)
	}
	return names, nil
}

// add reads one file. Syntax errors name the file and the line.
func (p *goPackage) add(name string, raw []byte) error {
	file, err := parser.ParseFile(token.NewFileSet(), name, raw, parser.SkipObjectResolution)
	if err != nil {
		return err
	}
	if p.name != "" && p.name != file.Name.Name {
		return fmt.Errorf("%s is of package %s, the files before it are of package %s", name, file.Name.Name, p.name)
	}
	p.name = file.Name.Name
	for _, decl := range file.Decls {
		f, ok := decl.(*ast.FuncDecl)
		if !ok || f.Recv != nil {
			continue
		}
		p.hasMain = p.hasMain || f.Name.Name == "main"
		if f.Type.TypeParams == nil && f.Type.Params.NumFields() == 2 {
			p.functions[f.Name.Name] = true
		}
	}
	if alias := importName(file, frameworkImport); alias != "" {
		p.addRegistered(file, alias)
	}
	return nil
}

// importName returns the name that a file has an import under, or "".
func importName(file *ast.File, of string) string {
	for _, spec := range file.Imports {
		if imported, err := strconv.Unquote(spec.Path.Value); err != nil || imported != of {
			continue
		}
		if spec.Name != nil {
			return spec.Name.Name
		}
		return of[strings.LastIndexByte(of, '/')+1:]
	}
	return ""
}

// addRegistered notes the calls functions.HTTP("name", function).
func (p *goPackage) addRegistered(file *ast.File, alias string) {
	ast.Inspect(file, func(n ast.Node) bool {
		call, ok := n.(*ast.CallExpr)
		if !ok || len(call.Args) != 2 {
			return true
		}
		called, ok := call.Fun.(*ast.SelectorExpr)
		if !ok || called.Sel.Name != "HTTP" {
			return true
		}
		from, isName := called.X.(*ast.Ident)
		name, isText := call.Args[0].(*ast.BasicLit)
		function, isFunction := call.Args[1].(*ast.Ident)
		if !isName || from.Name != alias || !isText || !isFunction {
			return true
		}
		if text, err := strconv.Unquote(name.Value); err == nil {
			p.registered[text] = function.Name
		}
		return true
	})
}

// find returns the name of the function to serve.
func (p *goPackage) find(entrypoint string) (string, error) {
	if p.name == "main" && p.hasMain {
		return "", errors.New("the source has a main function, so it is a program and no function: run it as an app, or take main out")
	}
	if function, ok := p.registered[entrypoint]; ok {
		return function, nil
	}
	if p.functions[entrypoint] {
		return entrypoint, nil
	}
	return "", fmt.Errorf("the source has no function named %q. %s Write func %s(w http.ResponseWriter, r *http.Request), or deploy with the entrypoint you mean",
		entrypoint, p.inventory(), entrypoint)
}

func (p *goPackage) inventory() string {
	var names []string
	for name := range p.functions {
		if token.IsExported(name) {
			names = append(names, name)
		}
	}
	for name := range p.registered {
		names = append(names, name)
	}
	if len(names) == 0 {
		return "It exports no function of two parameters."
	}
	slices.Sort(names)
	return "It has: " + strings.Join(slices.Compact(names), ", ") + "."
}

// parseModule returns the module that a go.mod names, or "".
func parseModule(raw []byte) string {
	inBlock := false
	for line := range strings.Lines(string(raw)) {
		line, _, _ = strings.Cut(line, "//")
		words := strings.Fields(line)
		switch {
		case len(words) == 0:
			continue
		case inBlock:
			return unquoted(words[0])
		case words[0] != "module":
			continue
		case len(words) == 2 && words[1] == "(":
			inBlock = true
		case len(words) == 2:
			return unquoted(words[1])
		}
	}
	return ""
}

// unquoted returns a word of go.mod without its quotation marks.
func unquoted(word string) string {
	if text, err := strconv.Unquote(word); err == nil {
		return text
	}
	return word
}
