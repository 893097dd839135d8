package builder

import (
	"context"
	"fmt"
	"maps"
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
	manager, err := n.manager(j)
	if err != nil {
		return err
	}
	if n.pkg.needsInstall(builds) {
		if err := manager.run(ctx, j, manager.install(builds)...); err != nil {
			return err
		}
	}
	if !builds {
		return nil
	}
	if err := manager.run(ctx, j, "run", "build"); err != nil {
		return err
	}
	if args := manager.prune(); args != nil && len(n.pkg.devDependencies) > 0 {
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
	dirs := append([]string{j.inCode("node_modules/.bin")}, n.tools.bins()...)
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

// packageManager is what installs the packages of a Node app.
type packageManager struct {
	name string
	path string
	lock string

	tools toolchain
}

// manager chooses by the lock file. Another one than npm is used when this
// machine has it.
func (n *nodeProject) manager(j *job) (packageManager, error) {
	for name, lock := range map[string]string{"yarn": "yarn.lock", "pnpm": "pnpm-lock.yaml"} {
		if n.lock != lock {
			continue
		}
		if program := j.builder.tools.beside(n.tools, name); program != "" {
			return packageManager{name, program, lock, n.tools}, nil
		}
		j.log.printf("Warning: %s needs %s, which this machine does not have; npm installs instead and may choose other versions", lock, name)
	}
	program := j.builder.tools.beside(n.tools, "npm")
	if program == "" {
		return packageManager{}, refuse("npm is not installed on this machine; whoever operates it has to install it beside Node.js")
	}
	return packageManager{"npm", program, n.lock, n.tools}, nil
}

// install returns the arguments that install what the lock file says, and for a
// build with what only development needs.
func (m packageManager) install(dev bool) []string {
	which := "--omit=dev"
	if dev {
		which = "--include=dev"
	}
	switch {
	case m.name == "yarn":
		return []string{"install", "--frozen-lockfile", "--non-interactive", fmt.Sprintf("--production=%t", !dev)}
	case m.name == "pnpm" && dev:
		return []string{"install", "--frozen-lockfile", "--prod=false"}
	case m.name == "pnpm":
		return []string{"install", "--frozen-lockfile", "--prod"}
	case m.lock == "package-lock.json" || m.lock == "npm-shrinkwrap.json":
		return []string{"ci", which}
	}
	return []string{"install", "--no-package-lock", which}
}

// prune returns the arguments that remove what only the build needed.
func (m packageManager) prune() []string {
	switch {
	case m.name == "yarn":
		return []string{"install", "--frozen-lockfile", "--non-interactive", "--production=true", "--ignore-scripts", "--prefer-offline"}
	case m.name == "pnpm":
		return []string{"prune", "--prod", "--ignore-scripts"}
	case m.lock == "package-lock.json" || m.lock == "npm-shrinkwrap.json":
		return []string{"prune", "--omit=dev", "--ignore-scripts"}
	}
	return []string{"prune", "--omit=dev", "--ignore-scripts", "--no-package-lock"}
}

// run runs the package manager. It keeps what it downloads in the tenant's cache
// and says nothing that is not about the app.
func (m packageManager) run(ctx context.Context, j *job, args ...string) error {
	env := map[string]string{
		"NODE_ENV":         "production",
		"npm_config_cache": j.inCache("npm"), "npm_config_logs_max": "0",
		"npm_config_fund": "false", "npm_config_audit": "false", "npm_config_update_notifier": "false",
		"npm_config_progress": "false", "npm_config_color": "false",
		"YARN_CACHE_FOLDER": j.inCache("yarn"), "npm_config_store_dir": j.inCache("pnpm"), "COREPACK_ENABLE_DOWNLOAD_PROMPT": "0",
	}
	if chosen := j.Env["NODE_ENV"]; chosen != "" {
		env["NODE_ENV"] = chosen
	}
	maps.DeleteFunc(env, func(name, _ string) bool { return m.name == "npm" && (name == "npm_config_store_dir") })
	name := m.name + " " + args[0]
	if args[0] == "run" {
		name += " " + args[1]
	}
	return j.run(ctx, step{name: name, args: append([]string{m.path}, args...), tools: m.tools, env: env, cached: true})
}
