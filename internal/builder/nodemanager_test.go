package builder

import (
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/m3o/ingress/internal/confine"
)

// greeting and bundler are packages of the tests' registry; bundler has a program.
var (
	greeting = fstest.MapFS{
		"package.json": {Data: []byte(`{"name":"greeting","version":"1.2.3","main":"index.js"}`)},
		"index.js":     {Data: []byte(`module.exports = "hello from a package"`)},
	}
	bundler = fstest.MapFS{
		"package.json":   {Data: []byte(`{"name":"bundler","version":"2.0.0","bin":{"bundle":"bin/bundle.js"}}`)},
		"bin/bundle.js":  {Data: []byte("#!/usr/bin/env node\nrequire('fs').writeFileSync('bundled', process.env.npm_execpath || 'nothing')\n")},
		"bin/readme.txt": {Data: []byte("")},
	}
)

// shop is an app that needs greeting to run and bundler to be built.
func shop(more string) map[string]string {
	return map[string]string{
		"package.json": `{"name":"shop","private":true,` + more + `"scripts":{"build":"bundle","start":"node server.js"},
			"dependencies":{"greeting":"1.2.3"},"devDependencies":{"bundler":"2.0.0"}}`,
		"server.js": `require("http").createServer((q, s) => s.end(require("greeting"))).listen(process.env.PORT, "127.0.0.1")`,
	}
}

// locked adds the lock file that a package manager writes for an app.
func locked(t *testing.T, manager string, r *registry, files map[string]string) map[string]string {
	t.Helper()
	dir := t.TempDir()
	for name, content := range files {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(content), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	lock, args := "yarn.lock", []string{"install", "--ignore-scripts"}
	switch manager {
	case "berry":
		args = []string{"install", "--mode=update-lockfile"}
		if err := os.WriteFile(filepath.Join(dir, lock), nil, 0o644); err != nil {
			t.Fatal(err)
		}
	case "pnpm":
		lock, args = "pnpm-lock.yaml", []string{"install", "--lockfile-only", "--ignore-scripts"}
	}
	m := managerPackages[manager]
	cmd := exec.Command("node", append([]string{filepath.Join(managerFolderOf(t, manager), m.program)}, args...)...)
	cmd.Dir = dir
	home := t.TempDir()
	cmd.Env = environ(r.env(), map[string]string{"PATH": os.Getenv("PATH"), "HOME": home, "YARN_REGISTRY": r.URL, "YARN_NPM_REGISTRY_SERVER": r.URL,
		"YARN_ENABLE_TELEMETRY": "false", "YARN_ENABLE_IMMUTABLE_INSTALLS": "false", "XDG_CACHE_HOME": home})
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%s %v: %v\n%s", manager, args, err, out)
	}
	text, err := os.ReadFile(filepath.Join(dir, lock))
	if err != nil {
		t.Fatal(err)
	}
	all := map[string]string{lock: string(text)}
	for name, content := range files {
		all[name] = content
	}
	return all
}

// wantShop checks that the shop was built by a manager, and serves.
func (w *world) wantShop(manager string) {
	w.Helper()
	a := w.build()
	if got := w.serves(a); got != "hello from a package" {
		w.Errorf("it answers %q", got)
	}
	if text, err := os.ReadFile(filepath.Join(w.req.Code, "bundled")); err != nil {
		w.Errorf("it was not built: %v, %s", err, text)
	}
	if _, err := os.Stat(filepath.Join(w.req.Code, "node_modules", "bundler")); err == nil {
		w.Errorf("what only the build needs is still there\n%s", w.log)
	}
	if manager == "berry" {
		manager = "yarn"
	}
	w.says("$ "+manager+" install ", "$ "+manager+" run build")
}

func TestBuildsWithTheMachinesYarnAndPnpm(t *testing.T) {
	for manager := range managerPackages {
		t.Run(manager, func(t *testing.T) {
			r := newRegistry(t, greeting, bundler)
			w := newWorld(t, Options{SearchPath: searchPath(t, manager), Env: r.env()})
			w.req.Cache = t.TempDir()
			w.files(locked(t, manager, r, shop("")))
			w.wantShop(manager)
			for _, command := range w.commands() {
				if strings.Contains(command, "npm install") {
					t.Errorf("it was fetched although it is there: %s", command)
				}
			}
			wantNoHardLinks(t, w.req.Code)
			if left := names(t, w.req.Home); len(left) > 0 {
				t.Errorf("the app's home has %v of the build", left)
			}
		})
	}
}

// wantNoHardLinks checks that no file of a folder is one of the cache too.
func wantNoHardLinks(t *testing.T, dir string) {
	t.Helper()
	cmd := exec.Command("find", dir, "-type", "f", "-links", "+1")
	if out, err := cmd.CombinedOutput(); err != nil || len(out) > 0 {
		t.Errorf("files that are elsewhere too: %s %v", out, err)
	}
}

func names(t *testing.T, dir string) []string {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	var list []string
	for _, e := range entries {
		list = append(list, e.Name())
	}
	return list
}

func managerVersion(t *testing.T, manager string) string {
	t.Helper()
	text, err := fs.ReadFile(os.DirFS(managerFolderOf(t, manager)), "package.json")
	if err != nil {
		t.Fatal(err)
	}
	p, err := parsePackageJSON(text)
	if err != nil {
		t.Fatal(err)
	}
	return p.version
}

// ownedByATenant makes the world's folders those of a user, when root runs the
// test: nothing of the test's own, such as root's caches, can be read then.
func (w *world) ownedByATenant() {
	w.Helper()
	w.req.Cache = filepath.Join(w.TempDir(), "cache")
	if err := os.Mkdir(w.req.Cache, 0o770); err != nil {
		w.Fatal(err)
	}
	if os.Geteuid() == 0 {
		w.req.User = confine.User{UID: 64001, GID: tenantGID}
	}
	for _, dir := range []string{w.req.Temp, w.req.Home, w.req.Cache} {
		if err := confine.Give(dir, w.req.User); err != nil {
			w.Fatal(err)
		}
	}
}

func (w *world) giveCode() {
	w.Helper()
	if err := confine.Give(w.req.Code, w.req.User); err != nil {
		w.Fatal(err)
	}
}

func TestALockFileThatDoesNotFitFailsTheBuild(t *testing.T) {
	for manager, words := range map[string]string{"yarn": "frozen-lockfile", "berry": "lockfile would have been modified", "pnpm": "frozen-lockfile"} {
		t.Run(manager, func(t *testing.T) {
			r := newRegistry(t, greeting, bundler)
			w := newWorld(t, Options{SearchPath: searchPath(t, manager), Env: r.env()})
			w.req.Cache = t.TempDir()
			files := locked(t, manager, r, shop(""))
			files["package.json"] = strings.Replace(files["package.json"], `"greeting":"1.2.3"`, `"greeting":"^1.0.0"`, 1)
			w.files(files)
			w.fails(managerPackages[manager].name+" install failed", words)
		})
	}
}

func TestAPackageManagerThatCannotBeHadIsNamed(t *testing.T) {
	needsNoManager(t)
	r := newRegistry(t, greeting, bundler)
	files := locked(t, "pnpm", r, shop(""))
	w := newWorld(t, Options{SearchPath: searchPath(t), Env: r.env()}) // the registry has no pnpm
	w.req.Cache = t.TempDir()
	w.files(files)
	w.fails("pnpm 9 is not installed on this machine", "npm could not fetch it", "whoever operates it can install it beside Node.js")
}

func TestAnotherVersionOfTheMachineIsNotUsed(t *testing.T) {
	r := newRegistry(t, greeting, bundler, os.DirFS(managerFolderOf(t, "yarn")))
	w := newWorld(t, Options{SearchPath: searchPath(t, "berry"), Env: r.env()})
	w.req.Cache = t.TempDir()
	w.files(locked(t, "yarn", r, shop("")))
	w.wantShop("yarn")
	w.says("This machine's yarn is version "+managerVersion(t, "berry")+"; the app needs 1", "yarn 1 is not on this machine")
}

func TestTheYarnOfTheProjectIsUsed(t *testing.T) {
	r := newRegistry(t, greeting, bundler)
	w := newWorld(t, Options{SearchPath: searchPath(t), Env: r.env()})
	w.req.Cache = t.TempDir()
	files := locked(t, "berry", r, shop(""))
	program, err := os.ReadFile(filepath.Join(managerFolderOf(t, "berry"), managerPackages["berry"].program))
	if err != nil {
		t.Fatal(err)
	}
	files[".yarn/releases/yarn-"+managerVersion(t, "berry")+".cjs"] = string(program)
	files[".yarnrc.yml"] = "nodeLinker: pnp\nyarnPath: .yarn/releases/yarn-" + managerVersion(t, "berry") + ".cjs\n"
	w.files(files)
	w.wantShop("berry")
	if strings.Contains(w.log.String(), "fetching it") {
		t.Errorf("it was fetched although the project brings it\n%s", w.log)
	}
}

func TestWhichPackageManagerIsWanted(t *testing.T) {
	for name, row := range map[string]struct {
		lock, text, field string
		want              managerWish
	}{
		"nothing":            {"", "", "", managerWish{name: "npm"}},
		"npm's lock":         {"package-lock.json", "{}", "", managerWish{name: "npm"}},
		"npm's lock, yarn":   {"package-lock.json", "{}", "yarn@1.2.3", managerWish{name: "npm"}},
		"yarn 1":             {"yarn.lock", "# yarn lockfile v1\n", "", managerWish{name: "yarn", version: "1"}},
		"yarn 2":             {"yarn.lock", "__metadata:\n  version: 4\n", "", managerWish{name: "yarn", version: "2"}},
		"yarn 3":             {"yarn.lock", "__metadata:\n  version: 6\n  cacheKey: 8\n", "", managerWish{name: "yarn", version: "3"}},
		"yarn 4":             {"yarn.lock", "# x\n\n__metadata:\n  version: 8\n", "", managerWish{name: "yarn", version: "4", newest: true}},
		"pnpm 7":             {"pnpm-lock.yaml", "lockfileVersion: 5.4\n", "", managerWish{name: "pnpm", version: "7"}},
		"pnpm 8":             {"pnpm-lock.yaml", "lockfileVersion: '6.0'\n", "", managerWish{name: "pnpm", version: "8"}},
		"pnpm 9":             {"pnpm-lock.yaml", "lockfileVersion: '9.0'\n", "", managerWish{name: "pnpm", version: "9", newest: true}},
		"pnpm, by name":      {"pnpm-lock.yaml", "lockfileVersion: '9.0'\n", "pnpm@10.1.2+sha512.aa", managerWish{name: "pnpm", version: "10.1.2", exact: true}},
		"no lock, by name":   {"", "", "yarn@4.1.0-rc.1", managerWish{name: "yarn", version: "4.1.0-rc.1", exact: true}},
		"a tag":              {"", "", "yarn@latest", managerWish{name: "npm"}},
		"an option":          {"", "", "pnpm@1.0.0 --x", managerWish{name: "npm"}},
		"an address":         {"", "", "pnpm@https://example.com/x.tgz", managerWish{name: "npm"}},
		"another's":          {"", "", "bun@1.0.0", managerWish{name: "npm"}},
		"a lock of nonsense": {"pnpm-lock.yaml", "\x00\xff", "", managerWish{name: "pnpm", version: "9", newest: true}},
	} {
		w := newWorld(t, Options{})
		if row.lock != "" {
			w.files(map[string]string{row.lock: row.text})
		}
		code, err := openFolder(w.req.Code)
		if err != nil {
			t.Fatal(err)
		}
		n := &nodeProject{lock: row.lock, pkg: packageJSON{packageManager: row.field}}
		if got := n.wish(&job{code: code, log: newLog(w.log, 1<<20)}); got != row.want {
			t.Errorf("%s: %+v, want %+v", name, got, row.want)
		}
		code.Close()
	}
	for version, want := range map[string]bool{"9.1.0": true, "10.0.0": true, "8.9.9": false, "": false, "x": false} {
		if got := (managerWish{name: "pnpm", version: "9", newest: true}).fits(version); got != want {
			t.Errorf("pnpm 9 by %q: %t", version, got)
		}
	}
	if (managerWish{name: "yarn", version: "1"}).fits("4.0.0") || (managerWish{version: "9.1.0", exact: true}).fits("9.1.1") {
		t.Error("a version that does not fit is taken")
	}
}

func FuzzLockVersions(f *testing.F) {
	f.Add([]byte("__metadata:\n  version: 8\n"))
	f.Add([]byte("lockfileVersion: '9.0'\n"))
	f.Fuzz(func(t *testing.T, text []byte) {
		yarn, _ := yarnMajor(text)
		pnpm, _ := pnpmMajor(text)
		if major(yarn) < 1 || major(yarn) > 4 || major(pnpm) < 7 || major(pnpm) > 9 {
			t.Errorf("yarn %q, pnpm %q", yarn, pnpm)
		}
	})
}
