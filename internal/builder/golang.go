package builder

import (
	"context"
	"errors"
	"fmt"
	"go/build"
	"io"
	"io/fs"
	"path"
	"path/filepath"
	"strings"

	"github.com/m3o/ingress/internal/workload"
)

const (
	// goOutput is the program that a Go module without a Procfile becomes.
	goOutput = ".ingress/app"
	// maxPackages bounds how many directories are looked at for main packages.
	maxPackages = 2000
)

// goModule is a folder with a go.mod.
type goModule struct {
	mod goMod
	// mains are the directories with a main package, below ".".
	mains []string
	// work is whether there is a go.work, too.
	work bool
}

func readGoModule(f *folder) (project, error) {
	content, err := f.read("go.mod")
	if err != nil {
		return nil, err
	}
	m := &goModule{mod: parseGoMod(string(content)), work: f.isFile("go.work")}
	if m.mod.module == "" {
		return nil, refuse("go.mod has no module line")
	}
	if m.mains, err = findMains(f); err != nil {
		return nil, err
	}
	return m, nil
}

// String implements project.
func (m *goModule) String() string {
	return fmt.Sprintf("Go module %s (go.mod)", shorten(m.mod.module, 200))
}

// install compiles the module: the one program that the app is, or with a
// Procfile all of them into bin, where its command will find them.
func (m *goModule) install(ctx context.Context, j *job, own bool) error {
	output, packages := "bin/", m.mains
	if own {
		main, err := chooseMain(m.mains)
		if err != nil {
			return err
		}
		output, packages = goOutput, []string{main}
	}
	if len(packages) == 0 {
		return nil
	}
	args := []string{"build", "-trimpath", "-o", output}
	for _, dir := range packages {
		args = append(args, relative(dir))
	}
	return j.goTool(ctx, m.mod, m.work, args...)
}

func (m *goModule) start(j *job) (workload.Artifact, error) {
	return workload.Artifact{Args: []string{j.inCode(goOutput)}, Summary: "Go app " + shorten(m.mod.module, 100)}, nil
}

func (m *goModule) surroundings(j *job) (map[string]string, []string) {
	return map[string]string{"PATH": joinPath(j.inCode("bin"))}, nil
}

// relative is a directory of the module as the go command wants it.
func relative(dir string) string {
	if dir == "." {
		return "."
	}
	return "./" + dir
}

// chooseMain returns the main package that is the app: the one at the top, else
// the only one in cmd, else the only one there is.
func chooseMain(mains []string) (string, error) {
	var commands []string
	for _, dir := range mains {
		if dir == "." {
			return dir, nil
		}
		if strings.HasPrefix(dir, "cmd/") {
			commands = append(commands, dir)
		}
	}
	if len(commands) > 0 {
		mains = commands
	}
	switch len(mains) {
	case 0:
		return "", refuse("the Go module has no main package, so there is nothing to start")
	case 1:
		return mains[0], nil
	}
	shown := strings.Join(mains[:min(len(mains), 10)], ", ")
	return "", refuse("the Go module has %d main packages and none at its top: %s. "+
		"Say which one in a Procfile: \"web: bin/%s\"", len(mains), shown, path.Base(mains[0]))
}

// findMains returns the directories of main packages that are built on this
// machine, the top one first.
func findMains(f *folder) ([]string, error) {
	var mains []string
	looked := 0
	var visit func(dir string) error
	visit = func(dir string) error {
		if looked++; looked > maxPackages {
			return refuse("the Go module has more than %d directories; deploy a smaller folder", maxPackages)
		}
		if isMain(f, dir) {
			mains = append(mains, dir)
		}
		for _, sub := range f.directories(dir) {
			base := path.Base(sub)
			if base[0] == '_' || base == "vendor" || base == "testdata" || base == "node_modules" || f.isFile(sub+"/go.mod") {
				continue // not of this module's packages
			}
			if err := visit(sub); err != nil {
				return err
			}
		}
		return nil
	}
	return mains, visit(".")
}

// isMain reports whether a directory holds a main package. A package with errors
// counts, for the compiler to explain them.
func isMain(f *folder, dir string) bool {
	within := build.Default
	within.CgoEnabled = false
	name := func(p string) string { return filepath.ToSlash(p) }
	within.IsDir = func(p string) bool { return f.isDir(name(p)) }
	// What comes before the imports, such as a comment, is held in memory, in ours.
	within.OpenFile = func(p string) (io.ReadCloser, error) {
		file, err := f.open(name(p))
		if err != nil {
			return nil, err
		}
		return struct {
			io.Reader
			io.Closer
		}{io.LimitReader(file, maxFileBytes), file}, nil
	}
	within.ReadDir = func(p string) ([]fs.FileInfo, error) {
		var infos []fs.FileInfo
		for _, entry := range f.list(name(p)) {
			info, err := entry.Info()
			if err == nil {
				infos = append(infos, info)
			}
		}
		return infos, nil
	}
	pkg, err := within.ImportDir(dir, 0)
	var none *build.NoGoError
	return !errors.As(err, &none) && pkg.Name == "main"
}

// goTool runs the go command in the code folder.
func (j *job) goTool(ctx context.Context, mod goMod, work bool, args ...string) error {
	tools, err := j.find(ctx, golang)
	if err != nil {
		return err
	}
	if older(tools.version, mod.goVersion) {
		return refuse("go.mod wants Go %s or newer and this machine has Go %s: write \"go %s\" in go.mod, "+
			"or have whoever operates the ingress install a newer Go",
			mod.goVersion, tools.version, strings.Join(strings.SplitN(tools.version, ".", 3)[:2], "."))
	}
	env := map[string]string{
		"GOCACHE": j.inCache("go-build"), "GOMODCACHE": j.inCache("go-mod"), "GOPATH": j.inCache("go"),
		"GOTOOLCHAIN": "local", "GOENV": "off", "GO111MODULE": "on",
		// A read-only module cache could not be deleted, nor used by the tenant's
		// other apps. Who made the code folder is of no interest to the program.
		"GOFLAGS": strings.TrimSpace("-modcacherw -buildvcs=false " + j.Env["GOFLAGS"]),
	}
	if !work {
		env["GOWORK"] = "off" // one above the code folder is not the author's
	}
	if _, chosen := j.Env["CGO_ENABLED"]; !chosen {
		env["CGO_ENABLED"] = "0" // a static program needs nothing of this machine
	}
	return j.run(ctx, step{name: "go " + args[0], args: append([]string{tools.path}, args...), tools: tools, env: env, cached: true})
}
