package builder

import (
	"context"
	"fmt"
	"regexp"
	"strings"

	"github.com/m3o/ingress/internal/workload"
)

// venv is the virtual environment of an app, in its code folder.
const venv = ".venv"

// pythonProject is a folder of Python.
type pythonProject struct {
	// by is the file it was known by.
	by string
	// packages are the arguments that make pip install what it needs; nil when that
	// is nothing. shown is how the log says them.
	packages []string
	shown    string
	tools    toolchain
}

// readPythonProject returns nil when the folder is none of Python.
func readPythonProject(f *folder) (project, error) {
	p := &pythonProject{by: f.firstFile("requirements.txt", "pyproject.toml", "manage.py", "app.py", "main.py", "wsgi.py")}
	switch p.by {
	case "":
		return nil, nil
	case "requirements.txt":
		content, err := f.read(p.by)
		if err != nil {
			return nil, err
		}
		if needsPackages(string(content)) {
			p.packages, p.shown = []string{"-r", p.by}, "-r "+p.by
		}
	case "pyproject.toml":
		content, err := f.read(p.by)
		if err != nil {
			return nil, err
		}
		p.wants(parsePyproject(string(content)))
	}
	return p, nil
}

// wants notes what a pyproject.toml asks for: the project itself when it can be
// built, or else only what it depends on.
func (p *pythonProject) wants(t pyproject) {
	switch {
	case t.buildable:
		p.packages, p.shown = []string{"."}, "."
	case len(t.dependencies) > 0:
		p.packages = append([]string{"--"}, t.dependencies...)
		p.shown = fmt.Sprintf("(%d dependencies of pyproject.toml)", len(t.dependencies))
	}
}

// needsPackages reports whether a requirements file says anything.
func needsPackages(requirements string) bool {
	for line := range strings.Lines(requirements) {
		if line = strings.TrimSpace(line); line != "" && line[0] != '#' {
			return true
		}
	}
	return false
}

// String implements project.
func (p *pythonProject) String() string { return fmt.Sprintf("Python app (%s)", p.by) }

// install makes a virtual environment with the packages; without any, the app
// runs with this machine's Python as it is.
func (p *pythonProject) install(ctx context.Context, j *job, _ bool) error {
	var err error
	if p.tools, err = j.find(ctx, python); err != nil || p.packages == nil {
		return err
	}
	err = j.run(ctx, step{
		name: "python -m venv", shown: "python3 -m venv " + venv, tools: p.tools,
		args: []string{p.tools.path, "-m", "venv", "--clear", j.inCode(venv)},
	})
	if err != nil {
		return err
	}
	return j.run(ctx, step{
		name: "pip install", shown: "pip install " + p.shown, tools: p.tools, cached: true,
		args: append([]string{j.inCode(venv + "/bin/python"), "-m", "pip", "install"}, p.packages...),
		env: map[string]string{
			"PIP_CACHE_DIR": j.inCache("pip"), "PIP_DISABLE_PIP_VERSION_CHECK": "1", "PIP_NO_INPUT": "1",
			"PIP_PROGRESS_BAR": "off", "PIP_ROOT_USER_ACTION": "ignore", "VIRTUAL_ENV": j.inCode(venv),
		},
	})
}

// program is the interpreter that runs the app.
func (p *pythonProject) program(j *job) string {
	if p.packages != nil {
		return j.inCode(venv + "/bin/python")
	}
	return p.tools.path
}

func (p *pythonProject) surroundings(j *job) (map[string]string, []string) {
	env := map[string]string{"PYTHONUNBUFFERED": "1", "PYTHONNOUSERSITE": "1", "PATH": joinPath(p.tools.bins()...)}
	if p.packages != nil {
		env["VIRTUAL_ENV"] = j.inCode(venv)
		env["PATH"] = joinPath(append([]string{j.inCode(venv + "/bin")}, p.tools.bins()...)...)
	}
	return env, p.tools.roots
}

// appObject matches the application object of a web framework at the top level of
// a module, and asgiApp one that needs an ASGI server.
var (
	appObject = regexp.MustCompile(`(?m)^(app|application)\s*(?::[^=\n]*)?=\s*([\w.]*)`)
	asgiApp   = regexp.MustCompile(`(^|\.)(FastAPI|Starlette|Quart|Litestar|get_asgi_application)$`)
)

// start chooses how the app is started: by a server that it has among its
// packages, if there is an application object, or else as a program.
func (p *pythonProject) start(j *job) (workload.Artifact, error) {
	for _, file := range []string{"app.py", "main.py", "wsgi.py", "asgi.py"} {
		if server := p.server(j, file); server != nil {
			shown := "Python app, " + server[1] + " " + server[2]
			return workload.Artifact{Args: p.onPort(j, server), Summary: shown}, nil
		}
	}
	if j.code.isFile("manage.py") {
		return p.startDjango(j)
	}
	if file := j.code.firstFile("app.py", "main.py"); file != "" {
		return workload.Artifact{Args: []string{p.program(j), file}, Summary: "Python app, python " + file}, nil
	}
	return workload.Artifact{}, refuse("cannot tell how this Python app is started: add a Procfile such as " +
		"\"web: gunicorn mysite.wsgi --bind 127.0.0.1:$PORT\", or a file app.py or main.py")
}

// onPort makes a shell put the port, which is only known then, behind arguments
// that end in what stands before it, and give way to the program.
func (p *pythonProject) onPort(j *job, args []string) []string {
	return append([]string{shell, "-c", `exec "$@$PORT"`, "sh", p.program(j)}, args...)
}

// server returns the arguments that serve the application object of a file, or nil
// when it has none or no server for it is installed.
func (p *pythonProject) server(j *job, file string) []string {
	if !j.code.isFile(file) {
		return nil
	}
	content, err := j.code.read(file)
	if err != nil {
		return nil // too large to look at: then it is started as it is
	}
	found := appObject.FindSubmatch(content)
	if found == nil {
		return nil
	}
	object := strings.TrimSuffix(file, ".py") + ":" + string(found[1])
	has := func(name string) bool { return p.packages != nil && j.code.isFile(venv+"/bin/"+name) }
	switch asgi := asgiApp.Match(found[2]); {
	case asgi && has("uvicorn"):
		return []string{"-m", "uvicorn", object, "--host", "127.0.0.1", "--port", ""}
	case !asgi && has("gunicorn"):
		return []string{"-m", "gunicorn", object, "--bind", "127.0.0.1:"}
	case string(found[2]) == "Flask" && has("flask"):
		return []string{"-m", "flask", "--app", object, "run", "--host", "127.0.0.1", "--port", ""}
	}
	return nil
}

// startDjango starts a Django project by its WSGI module when gunicorn is there,
// and by its own development server otherwise.
func (p *pythonProject) startDjango(j *job) (workload.Artifact, error) {
	for _, dir := range j.code.directories(".") {
		if p.packages != nil && j.code.isFile(dir+"/wsgi.py") && j.code.isFile(venv+"/bin/gunicorn") {
			args := []string{"-m", "gunicorn", dir + ".wsgi", "--bind", "127.0.0.1:"}
			return workload.Artifact{Args: p.onPort(j, args), Summary: "Django app, gunicorn " + shorten(dir, 60)}, nil
		}
	}
	j.log.printf("Warning: starting Django's development server; add gunicorn to the requirements for a real one")
	return workload.Artifact{
		Args:    p.onPort(j, []string{"manage.py", "runserver", "--noreload", "127.0.0.1:"}),
		Summary: "Django app, manage.py runserver",
	}, nil
}
