package builder

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"slices"
	"strings"

	"github.com/m3o/ingress/internal/adapter"
	"github.com/m3o/ingress/internal/workload"
)

// function builds a function: its own dependencies, then the adapter around it.
// Source that does not even parse fails here, and not when it is called.
func (j *job) function(ctx context.Context) (workload.Artifact, error) {
	language, known := ParseRuntime(j.Program.Runtime)
	switch {
	case !known:
		return workload.Artifact{}, refuse("there is no runtime %q", j.Program.Runtime)
	case slices.Contains(unsupported, language):
		return workload.Artifact{}, refuse("%s: not supported by this ingress", language)
	}
	own, err := functionProject(j.code, language)
	if err != nil {
		return workload.Artifact{}, err
	}
	j.log.printf("Building a function in %s, entrypoint %s", languages[language].title, j.Program.Entrypoint)
	if err := own.install(ctx, j, false); err != nil {
		return workload.Artifact{}, err
	}
	plan, err := adapter.Prepare(language, j.Code, j.Program.Entrypoint)
	var machine *fs.PathError
	switch {
	case errors.As(err, &machine):
		return workload.Artifact{}, fmt.Errorf("preparing the function: %w", err)
	case err != nil:
		return workload.Artifact{}, refuse("%v", err)
	}
	return j.finish(ctx, language, own, plan)
}

// finish compiles or checks the function and says how it is started.
func (j *job) finish(ctx context.Context, language string, own project, plan adapter.Plan) (workload.Artifact, error) {
	var err error
	args := slices.Clone(plan.Args)
	switch p := own.(type) {
	case *goFunction:
		args[0], err = j.inCode(args[0]), p.compile(ctx, j, plan.Compile)
	case *nodeProject:
		args[0], err = p.tools.path, j.checkSyntax(ctx, p.tools, "node --check", "--check", args)
	case *pythonProject:
		args[0], err = p.program(j), j.checkSyntax(ctx, p.tools, "python -m py_compile", "-m py_compile", args)
	}
	if err != nil {
		return workload.Artifact{}, err
	}
	artifact := workload.Artifact{Args: args, Env: maps.Clone(plan.Env), Summary: languages[language].title + " function"}
	return j.surround(artifact, own), nil
}

// functionProject returns what the function needs installed. Other than for an
// app, its language is known, and files of other languages mean nothing.
func functionProject(f *folder, language string) (project, error) {
	switch {
	case language == golang:
		return readGoFunction(f)
	case language == python:
		return readPythonFunction(f)
	case f.isFile("package.json"):
		return readNodeProject(f)
	}
	return &nodeProject{}, nil
}

// checkSyntax has the language read the function's file, which its command names
// second to last, without running it.
func (j *job) checkSyntax(ctx context.Context, tools toolchain, name, flags string, command []string) error {
	if len(command) < 3 {
		return fmt.Errorf("the function's command %q does not name its file", command)
	}
	file := command[len(command)-2]
	args := append(append([]string{tools.path}, strings.Fields(flags)...), file)
	return j.run(ctx, step{name: name, args: args, tools: tools})
}

// goFunction is a Go package with or without a go.mod.
type goFunction struct {
	mod  goMod
	work bool
}

func readGoFunction(f *folder) (project, error) {
	g := &goFunction{work: f.isFile("go.work")}
	if !f.isFile("go.mod") {
		return g, nil
	}
	content, err := f.read("go.mod")
	if err != nil {
		return nil, err
	}
	g.mod = parseGoMod(string(content))
	return g, nil
}

// String implements project.
func (g *goFunction) String() string { return "Go function" }

// install only looks for Go: the modules are fetched when it is compiled.
func (g *goFunction) install(ctx context.Context, j *job, _ bool) error {
	_, err := j.find(ctx, golang)
	return err
}

func (g *goFunction) start(*job) (workload.Artifact, error) {
	return workload.Artifact{}, errors.New("a function is started by its adapter")
}

func (g *goFunction) surroundings(*job) (map[string]string, []string) {
	return map[string]string{"PATH": joinPath()}, nil
}

// compile runs the commands that make the program.
func (g *goFunction) compile(ctx context.Context, j *job, commands [][]string) error {
	for _, command := range commands {
		if err := j.goTool(ctx, g.mod, g.work, command[1:]...); err != nil {
			return err
		}
	}
	return nil
}

// readPythonFunction is like readPythonProject, but for source that may be nothing
// else than a file.
func readPythonFunction(f *folder) (project, error) {
	found, err := readPythonProject(f)
	if err == nil && found == nil {
		found = &pythonProject{by: "main.py"}
	}
	return found, err
}
