package builder

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"strings"
)

// packageManager is what installs the packages of a Node app.
type packageManager struct {
	name    string
	version string // as far as it is known
	lock    string
	// command begins what starts it.
	command []string
	// path is the directory it is in, for scripts that call it, or "" when it is
	// among the tools anyway.
	path  string
	tools toolchain
}

// manager finds the package manager that a project wants: the project's own, this
// machine's, or one from the registry.
func (n *nodeProject) manager(ctx context.Context, j *job) (packageManager, error) {
	npm := packageManager{name: "npm", lock: n.lock, tools: n.tools}
	program := j.builder.tools.beside(n.tools, "npm")
	wish := n.wish(j)
	m := packageManager{name: wish.name, version: wish.version, lock: n.lock, tools: n.tools}
	if wish.name == "npm" {
		if program == "" {
			return npm, refuse("npm is not installed on this machine; whoever operates it has to install it beside Node.js")
		}
		npm.command = []string{program}
		return npm, nil
	}
	if file, version := ownYarn(j.code); wish.name == "yarn" && m.berry() && file != "" {
		m.command = []string{n.tools.path, j.inCode(file)}
		if major(version) > 0 {
			m.version = version
		}
		return m, nil
	}
	installed, found := n.installed(ctx, j, m, wish)
	if found {
		return installed, nil
	}
	if program == "" {
		return m, refuse("this machine has neither %s, which the app needs, nor npm to fetch it with; whoever operates it has to install one beside Node.js", m)
	}
	npm.command = []string{program}
	return n.obtain(ctx, j, m, npm)
}

// String names it with its version.
func (m packageManager) String() string { return strings.TrimSuffix(m.name+" "+m.version, " ") }

// berry reports whether it is a yarn of the second generation.
func (m packageManager) berry() bool { return m.name == "yarn" && major(m.version) >= 2 }

// installed returns this machine's, when its version is as wanted.
func (n *nodeProject) installed(ctx context.Context, j *job, m packageManager, wish managerWish) (packageManager, bool) {
	program := j.builder.tools.beside(n.tools, m.name)
	if program == "" {
		return m, false
	}
	// The file itself, as a link to it may be where confined programs cannot read.
	real, err := filepath.EvalSymlinks(program)
	if err != nil {
		return m, false
	}
	m.command = []string{real}
	if strings.HasSuffix(real, "js") { // .js, .cjs, .mjs
		m.command = []string{n.tools.path, real}
	}
	version, err := output(ctx, m.command[0], append(m.command[1:], "--version"))
	switch {
	case err != nil:
		j.log.printf("This machine's %s is not used: it %v", m.name, err)
		return m, false
	case !wish.fits(version):
		j.log.printf("This machine's %s is version %s; the app needs %s", m.name, shorten(version, 40), wish.version)
		return m, false
	}
	m.version = version
	m.tools.roots = append(j.readable(outsideSystem(filepath.Dir(filepath.Dir(real)), real)), m.tools.roots...)
	return m, true
}

// managerFolder is where, in the code, a package manager stays that the start
// script calls.
const managerFolder = ".package-manager"

// binDir is where npm puts programs into a folder.
func binDir(dir string) string { return filepath.Join(dir, "node_modules", ".bin") }

// obtain has npm fetch a package manager from the registry. It goes with the build,
// unless the start script calls it.
func (n *nodeProject) obtain(ctx context.Context, j *job, m, npm packageManager) (packageManager, error) {
	dir := filepath.Join(j.Temp, managerFolder)
	if strings.Contains(n.pkg.scripts["prestart"]+n.pkg.scripts["start"], m.name) {
		dir = j.inCode(managerFolder)
		n.managerDir = dir
	}
	name := m.name
	if m.berry() {
		name = "@yarnpkg/cli-dist"
	}
	j.log.printf("%s is not on this machine: fetching it from the registry", m)
	err := npm.run(ctx, j, "install", "--prefix", dir, "--no-save", "--no-package-lock", "--ignore-scripts", name+"@"+m.version)
	var failed *Error
	if errors.As(err, &failed) {
		return m, &Error{Step: failed.Step, Reason: fmt.Sprintf(
			"%s is not installed on this machine, and npm could not fetch it: whoever operates it can install it beside Node.js; %s", m, failed.Reason)}
	}
	m.path = binDir(dir)
	m.command = []string{filepath.Join(m.path, m.name)}
	return m, err
}

// install returns the arguments that install what the lock file says, and for a
// build with what only development needs.
func (m packageManager) install(dev bool) []string {
	which := "--omit=dev"
	if dev {
		which = "--include=dev"
	}
	switch {
	case m.berry() && m.lock == "":
		return []string{"install"}
	case m.berry():
		return []string{"install", "--immutable"}
	case m.name == "yarn":
		return append(m.frozen("install"), "--non-interactive", fmt.Sprintf("--production=%t", !dev))
	case m.name == "pnpm":
		return append(m.frozen("install"), fmt.Sprintf("--prod=%t", !dev))
	case m.lock == "package-lock.json" || m.lock == "npm-shrinkwrap.json":
		return []string{"ci", which}
	}
	return []string{"install", "--no-package-lock", which}
}

// frozen adds to a command that the lock file, where there is one, is not changed.
func (m packageManager) frozen(args ...string) []string {
	if m.lock == "" {
		return append(args, "--no-lockfile")
	}
	return append(args, "--frozen-lockfile")
}

// prune returns the arguments that remove what only development needs, after an
// install with or without it; nil when nothing is to be done.
func (m packageManager) prune(dev bool) []string {
	switch {
	case m.berry() && major(m.version) >= 4:
		return []string{"workspaces", "focus", "--all", "--production"} // its install knows no such choice
	case m.berry() || !dev:
		return nil // before 4 that needs a plugin; what is not needed stays
	case m.name == "yarn":
		return append(m.frozen("install"), "--non-interactive", "--production=true", "--ignore-scripts", "--prefer-offline")
	case m.name == "pnpm":
		return append(m.frozen("install"), "--prod=true", "--ignore-scripts", "--prefer-offline")
	case m.lock == "package-lock.json" || m.lock == "npm-shrinkwrap.json":
		return []string{"prune", "--omit=dev", "--ignore-scripts"}
	}
	return []string{"prune", "--omit=dev", "--ignore-scripts", "--no-package-lock"}
}

// run runs the package manager. It keeps what it downloads in the tenant's cache
// and says nothing that is not about the app.
func (m packageManager) run(ctx context.Context, j *job, args ...string) error {
	name := m.name + " " + args[0]
	if args[0] == "run" {
		name += " " + args[1]
	}
	shown := strings.Join(append([]string{m.name}, args...), " ")
	if m.name == "pnpm" && args[0] == "install" {
		// Copied, since a file of the cache that is linked could be changed, or kept
		// from being removed, by the app that has it.
		args = append(args, "--store-dir", j.inCache("pnpm"), "--package-import-method", "copy", "--config.confirmModulesPurge=false")
	}
	s := step{name: name, shown: shown, args: append(m.command[:len(m.command):len(m.command)], args...), tools: m.tools, env: m.env(j), cached: true}
	if m.path != "" {
		s.path = []string{m.path}
	}
	return j.run(ctx, s)
}

// env is what package managers are told by variables. Each reads its own, but
// scripts can call any of them.
func (m packageManager) env(j *job) map[string]string {
	env := map[string]string{
		"NODE_ENV":         "production",
		"npm_config_cache": j.inCache("npm"), "npm_config_logs_max": "0",
		"npm_config_fund": "false", "npm_config_audit": "false", "npm_config_update_notifier": "false",
		"npm_config_progress": "false", "npm_config_color": "false",
		"COREPACK_ENABLE_DOWNLOAD_PROMPT": "0",
	}
	switch {
	case m.berry():
		// Packages go to node_modules, whatever the project says: the app is started
		// without yarn, which Plug'n'Play would need. Its cache is the tenant's, and
		// nothing in node_modules is a link into it.
		env["YARN_GLOBAL_FOLDER"], env["YARN_ENABLE_GLOBAL_CACHE"] = j.inCache("yarn-berry"), "true"
		env["YARN_NODE_LINKER"], env["YARN_NM_MODE"] = "node-modules", "classic"
		env["YARN_ENABLE_TELEMETRY"], env["YARN_ENABLE_PROGRESS_BARS"] = "false", "false"
	case m.name == "yarn":
		env["YARN_CACHE_FOLDER"] = j.inCache("yarn")
	case m.name == "pnpm":
		env["XDG_CACHE_HOME"], env["XDG_STATE_HOME"] = j.inCache("pnpm-home"), j.inCache("pnpm-home")
		// Which version runs is decided; pnpm is not to fetch another (from 11 on the
		// first variable says so, before that the second).
		env["pnpm_config_pm_on_fail"], env["npm_config_manage_package_manager_versions"] = "ignore", "false"
	}
	if registry := j.registry(); registry != "" && m.name == "yarn" {
		env["YARN_REGISTRY"], env["YARN_NPM_REGISTRY_SERVER"] = registry, registry
	} else if registry != "" && m.name == "pnpm" {
		env["pnpm_config_registry"] = registry
	}
	for name := range env {
		if own := j.Env[name]; own != "" && (name == "NODE_ENV" || strings.HasPrefix(name, "YARN_") && strings.Contains(name, "REGISTRY")) {
			env[name] = own
		}
	}
	return env
}

// registry is where npm fetches packages from when the environment says so, which
// not all package managers read.
func (j *job) registry() string {
	for _, env := range []map[string]string{j.Env, j.builder.options.Env} {
		for name, value := range env {
			if strings.EqualFold(name, "NPM_CONFIG_REGISTRY") && value != "" {
				return value
			}
		}
	}
	return ""
}
