package builder

import (
	"context"
	"fmt"
	"maps"
	"strings"

	"github.com/m3o/ingress/internal/workload"
)

// project is a folder whose language is known.
type project interface {
	// String says what was found, and by what, for the log.
	String() string
	// install makes the code ready to be started, by its own means when own is
	// true, or by a command the builder does not know.
	install(ctx context.Context, j *job, own bool) error
	// start says how the code is started by its own means, after install.
	start(j *job) (workload.Artifact, error)
	// surroundings are what any command of the project needs, after install.
	surroundings(j *job) (env map[string]string, toolchain []string)
}

// lookedFor is everything that detect knows, in its order.
const lookedFor = "Procfile with a web: line, Dockerfile (only with a container engine), go.mod (Go), " +
	"package.json (Node.js), requirements.txt, pyproject.toml, app.py or main.py (Python), index.html (static site)"

// app builds an app.
func (j *job) app(ctx context.Context) (workload.Artifact, error) {
	web, err := readProcfile(j.code)
	if err != nil {
		return workload.Artifact{}, err
	}
	found, err := detect(j.code)
	if err != nil {
		return workload.Artifact{}, err
	}
	docker := j.code.isFile("Dockerfile")
	if web == "" && found == nil {
		return workload.Artifact{}, unknown(j.code, docker)
	}
	if web != "" {
		return j.withProcfile(ctx, web, found)
	}
	if docker {
		j.log.printf("Passing over the Dockerfile: this ingress has no container engine")
	}
	j.log.printf("Detected %v", found)
	if err := found.install(ctx, j, true); err != nil {
		return workload.Artifact{}, err
	}
	artifact, err := found.start(j)
	if err != nil {
		return workload.Artifact{}, err
	}
	return j.surround(artifact, found), nil
}

// detect finds out the language of a folder; nil when it has none that is known.
func detect(f *folder) (project, error) {
	switch {
	case f.isFile("go.mod"):
		return readGoModule(f)
	case f.isFile("package.json"):
		return readNodeProject(f)
	}
	if found, err := readPythonProject(f); err != nil || found != nil {
		return found, err
	}
	if f.isFile("index.html") {
		return site{"."}, nil
	}
	return nil, nil
}

// unknown is the error for a folder that is nothing known.
func unknown(f *folder, docker bool) error {
	if docker {
		return refuse("a Dockerfile needs a container engine, which this ingress does not have. "+
			"Add a Procfile with a line such as \"web: ./start\", or one of: %s", lookedFor)
	}
	hint := ""
	for _, dir := range []string{"public", "dist", "build", "site", "docs"} {
		if f.isFile(dir + "/index.html") {
			hint = fmt.Sprintf(". There is %s/index.html: to serve it, deploy the path %s", dir, dir)
			break
		}
	}
	return refuse("cannot tell what this code is. Looked in its top folder for: %s%s", lookedFor, hint)
}

// withProcfile builds code that says itself how it is started.
func (j *job) withProcfile(ctx context.Context, web string, found project) (workload.Artifact, error) {
	j.log.printf("Detected a web process (Procfile): %s", web)
	artifact := workload.Artifact{Args: shellArgs(web), Summary: "Procfile, " + shorten(web, 60)}
	if found == nil {
		artifact.Env = map[string]string{"PATH": joinPath()}
		return artifact, nil
	}
	j.log.printf("Detected %v", found)
	if err := found.install(ctx, j, false); err != nil {
		return workload.Artifact{}, err
	}
	return j.surround(artifact, found), nil
}

// surround adds to an artifact what all commands of its project need.
func (j *job) surround(a workload.Artifact, p project) workload.Artifact {
	if a.IsSite() {
		return a
	}
	env, roots := p.surroundings(j)
	merged := maps.Clone(env)
	maps.Copy(merged, a.Env)
	a.Env, a.Toolchain = merged, roots
	return a
}

// site is a folder that is served as it is.
type site struct{ dir string }

// String implements project.
func (s site) String() string { return "static site (index.html)" }

func (s site) install(context.Context, *job, bool) error { return nil }

func (s site) start(*job) (workload.Artifact, error) {
	return workload.Artifact{Site: s.dir, Summary: "static site"}, nil
}

func (s site) surroundings(*job) (map[string]string, []string) {
	return map[string]string{"PATH": joinPath()}, nil
}

// shellArgs returns how a command in the shell's language is started. A simple
// one takes the shell's place, so that signals reach it and no shell stays.
func shellArgs(command string) []string {
	if isSimple(command) {
		command = "exec " + command
	}
	return []string{shell, "-c", command}
}

// builtins are what a shell does itself, or reads as part of its language: exec
// does not work with them.
var builtins = strings.Fields(". : [ alias break cd command continue eval exec exit export getopts hash " +
	"read readonly return set shift source test times trap type ulimit umask unset wait " +
	"if then else elif fi case esac for while until do done { } ! function time")

// isSimple reports whether a command is one program with its arguments.
func isSimple(command string) bool {
	words := strings.Fields(command)
	if len(words) == 0 || strings.ContainsAny(command, ";&|<>()`\n#") {
		return false
	}
	for _, builtin := range builtins {
		if words[0] == builtin {
			return false
		}
	}
	return !strings.Contains(words[0], "=") // an assignment
}
