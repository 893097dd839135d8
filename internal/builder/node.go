package builder

import (
	"context"
	"fmt"
	"path"
	"path/filepath"
	"strings"

	"github.com/m3o/ingress/internal/workload"
)

// siteDirs are where build scripts of web pages leave them.
var siteDirs = []string{"dist", "build", "out", "public", "."}

// nodeProject is a folder with a package.json.
type nodeProject struct {
	pkg packageJSON
	// lock is the lock file, or "".
	lock string
	// static is whether there is nothing to run and nothing to build, only a page.
	static bool
	tools  toolchain
	// managerDir is the folder in the code with the package manager that the start
	// script calls, or "".
	managerDir string
}

func readNodeProject(f *folder) (project, error) {
	content, err := f.read("package.json")
	if err != nil {
		return nil, err
	}
	pkg, err := parsePackageJSON(content)
	if err != nil {
		return nil, err
	}
	n := &nodeProject{pkg: pkg}
	n.lock = f.firstFile("npm-shrinkwrap.json", "package-lock.json", "pnpm-lock.yaml", "yarn.lock")
	n.static = pkg.scripts["start"] == "" && pkg.scripts["build"] == "" && mainFile(f, pkg) == "" && f.isFile("index.html")
	return n, nil
}

// String implements project.
func (n *nodeProject) String() string {
	if n.static {
		return "static site (index.html; package.json has neither a start nor a build script)"
	}
	if n.pkg.name == "" {
		return "Node app (package.json)"
	}
	return fmt.Sprintf("Node app %s (package.json)", shorten(n.pkg.name, 200))
}

func (n *nodeProject) install(ctx context.Context, j *job, own bool) error {
	if n.static && own {
		return nil
	}
	var err error
	if n.tools, err = j.find(ctx, nodejs); err != nil {
		return err
	}
	n.checkEngine(j)
	builds := n.pkg.scripts["build"] != ""
	if !builds && !n.pkg.needsInstall(false) {
		return nil
	}
	manager, err := n.manager(ctx, j)
	if err != nil {
		return err
	}
	if n.pkg.needsInstall(builds) {
		if err := manager.run(ctx, j, manager.install(builds)...); err != nil {
			return err
		}
	}
	if builds {
		if err := manager.run(ctx, j, "run", "build"); err != nil {
			return err
		}
	}
	if args := manager.prune(builds); args != nil && len(n.pkg.devDependencies) > 0 {
		return manager.run(ctx, j, args...)
	}
	return nil
}

// checkEngine warns when the app asks for another Node.js than this machine's.
func (n *nodeProject) checkEngine(j *job) {
	wanted := n.pkg.engines["node"]
	if fits, known := inRange(n.tools.version, wanted); wanted != "" && known && !fits {
		j.log.printf("Warning: package.json asks for Node.js %s and this machine has %s", shorten(wanted, 100), n.tools.version)
	}
}

// start follows npm: the start script, or else a program file. A build that left
// neither but a page makes a static site.
func (n *nodeProject) start(j *job) (workload.Artifact, error) {
	if n.static {
		return site{"."}.start(j)
	}
	if script := n.pkg.scripts["start"]; script != "" {
		return workload.Artifact{Args: n.startScript(script), Summary: "Node app, npm start"}, nil
	}
	if file := mainFile(j.code, n.pkg); file != "" {
		return workload.Artifact{Args: []string{n.tools.path, file}, Summary: "Node app, node " + shorten(file, 60)}, nil
	}
	if n.pkg.scripts["build"] != "" {
		for _, dir := range siteDirs {
			if j.code.isFile(path.Join(dir, "index.html")) {
				j.log.printf("Nothing to start, but the build made %s: serving it as a static site", path.Join(dir, "index.html"))
				return workload.Artifact{Site: dir, Summary: "static site, npm run build"}, nil
			}
		}
	}
	return workload.Artifact{}, refuse("package.json does not say how the app is started: add a start script such as " +
		"\"start\": \"node server.js\", or a file server.js or index.js")
}

// startScript starts what npm start would, without npm staying in between.
func (n *nodeProject) startScript(script string) []string {
	if before := n.pkg.scripts["prestart"]; before != "" {
		return []string{shell, "-c", `sh -c "$1" && exec sh -c "$2"`, "sh", before, script}
	}
	words := strings.Fields(script)
	const plainWord = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_./=@:+,- "
	if len(words) > 1 && words[0] == "node" && strings.Trim(script, plainWord) == "" {
		return append([]string{n.tools.path}, words[1:]...)
	}
	return shellArgs(script)
}

func (n *nodeProject) surroundings(j *job) (map[string]string, []string) {
	dirs := []string{j.inCode("node_modules/.bin")}
	if n.managerDir != "" {
		dirs = append(dirs, binDir(n.managerDir))
	}
	dirs = append(dirs, n.tools.bins()...)
	return map[string]string{"PATH": joinPath(dirs...), "NODE_ENV": "production"}, n.tools.roots
}

// mainFile returns the file that is started when there is no start script: main
// of package.json, as Node.js completes it, or one of the usual names.
func mainFile(f *folder, pkg packageJSON) string {
	if main := path.Clean(filepath.ToSlash(pkg.main)); pkg.main != "" && filepath.IsLocal(main) {
		for _, suffix := range []string{"", ".js", ".json", "/index.js"} {
			if f.isFile(main + suffix) {
				return "./" + main + suffix
			}
		}
	}
	if file := f.firstFile("server.js", "index.js", "server.mjs", "index.mjs"); file != "" {
		return "./" + file
	}
	return ""
}
