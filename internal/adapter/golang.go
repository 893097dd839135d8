package adapter

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"path"
)

const (
	// ownModule is the module of source that came without a go.mod.
	ownModule = "function"
	// maxGoFile is the longest source file, and go.mod, in bytes that is read.
	maxGoFile = 4 << 20
	// joined is the file that joins the adapter to the author's package. It is
	// only there for the compiler (go help build, -overlay).
	joined = "ingress_function_joined.go"
)

func prepareGo(s source, entrypoint string) (Plan, error) {
	module, err := s.goModule()
	if err != nil {
		return Plan{}, err
	}
	pkg, err := s.goPackage()
	if err != nil {
		return Plan{}, err
	}
	target, err := pkg.find(entrypoint)
	if err != nil {
		return Plan{}, err
	}
	folder, err := s.newFolder()
	if err != nil {
		return Plan{}, err
	}
	g := generated{source: s, folder: folder, module: module, pkg: pkg.name, target: target}
	if err := g.write(); err != nil {
		return Plan{}, err
	}
	return Plan{Args: []string{"./" + folder + "/function"}, Env: variables(entrypoint), Compile: g.commands()}, nil
}

// goModule returns the module's path, or "" when there is no go.mod.
func (s source) goModule() (string, error) {
	if !s.isFile("go.mod") {
		return "", nil
	}
	raw, err := s.read("go.mod", maxGoFile)
	if err != nil {
		return "", err
	}
	module := parseModule(raw)
	if module == "" {
		return "", errors.New("go.mod does not name its module")
	}
	return module, nil
}

// read returns a file's content, which is not longer than most bytes.
func (s source) read(name string, most int64) ([]byte, error) {
	f, err := s.root.Open(name)
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", name, err)
	}
	defer f.Close()
	raw, err := io.ReadAll(io.LimitReader(f, most+1))
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", name, err)
	}
	if int64(len(raw)) > most {
		return nil, fmt.Errorf("%s is longer than %d bytes", name, most)
	}
	return raw, nil
}

// generated is what is written for one function: a package that serves it, and
// what joins the two. A package main gets its main function, another package a
// program that imports it.
type generated struct {
	source
	folder, module string
	pkg            string
	target         string
}

// path is where a package in the adapter's folder is imported from.
func (g generated) path(name string) string {
	module := g.module
	if module == "" {
		module = ownModule
	}
	return path.Join(module, g.folder, name)
}

func (g generated) write() error {
	serve, err := adapters.ReadFile("golang/serve.go.txt")
	if err != nil {
		return fmt.Errorf("write the function's adapter: %w", err)
	}
	for _, name := range []string{"serve", "main"} {
		if err := g.mkdir(path.Join(g.folder, name)); err != nil {
			return err
		}
	}
	overlay, err := json.Marshal(map[string]map[string]string{"Replace": {joined: path.Join(g.folder, "join.go.txt")}})
	if err != nil {
		return err
	}
	files := map[string][]byte{
		"serve/serve.go": serve,
		"join.go.txt":    g.join(),
		"overlay.json":   overlay,
	}
	if g.pkg != "main" {
		files["main/main.go"] = g.program()
	}
	for name, content := range files {
		if err := g.source.write(path.Join(g.folder, name), content); err != nil {
			return err
		}
	}
	return nil
}

// join is the file added to the author's package.
func (g generated) join() []byte {
	var b bytes.Buffer
	fmt.Fprintf(&b, "package %s\n\n", g.pkg)
	if g.pkg == "main" {
		fmt.Fprintf(&b, "import ingressServe %q\n\nfunc main() { ingressServe.Function(%s) }\n", g.path("serve"), g.target)
	} else {
		fmt.Fprintf(&b, "// IngressFunction is the function to serve, which need not be exported.\nvar IngressFunction = %s\n", g.target)
	}
	return b.Bytes()
}

// program is the main package for a function in another one.
func (g generated) program() []byte {
	var b bytes.Buffer
	module := path.Dir(path.Dir(g.path("main")))
	fmt.Fprintf(&b, "package main\n\nimport (\n\tserve %q\n\tfunction %q\n)\n\n", g.path("serve"), module)
	b.WriteString("func main() { serve.Function(function.IngressFunction) }\n")
	return b.Bytes()
}

// commands are what makes the program. Source without a go.mod gets one, and the
// modules it imports in their newest versions.
func (g generated) commands() [][]string {
	build := []string{"go", "build", "-trimpath", "-buildvcs=false", "-overlay=" + g.folder + "/overlay.json"}
	var commands [][]string
	if g.module == "" {
		commands = append(commands, []string{"go", "mod", "init", ownModule})
		build = append(build, "-mod=mod")
	}
	what := "."
	if g.pkg != "main" {
		what = "./" + g.folder + "/main"
	}
	return append(commands, append(build, "-o", "./"+g.folder+"/function", what))
}
