package builder

import (
	"context"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/m3o/ingress/internal/confine"
	"github.com/m3o/ingress/internal/workload"
)

// confined runs steps as a launcher does.
type confined struct{}

// Run implements workload.TaskRunner.
func (confined) Run(ctx context.Context, t workload.Task) (confine.Exit, error) {
	r, w, err := os.Pipe()
	if err != nil {
		return confine.Exit{}, err
	}
	defer r.Close()
	p, err := confine.Start(confine.Policy{
		Name: t.Name, User: t.User, ReadWrite: t.ReadWrite, ReadOnly: t.ReadOnly, Connect: t.Connect, Limits: t.Limits,
	}, confine.Command{Path: t.Args[0], Args: t.Args, Env: t.Env, Dir: t.Dir, Output: w})
	w.Close()
	if err != nil {
		return confine.Exit{}, err
	}
	defer context.AfterFunc(ctx, p.Kill)()
	if _, err := io.Copy(t.Output, r); err != nil {
		p.Kill()
	}
	return p.Wait(), ctx.Err()
}

// TestConfinedBuilds builds as two users of one tenant, who share its cache, when
// root runs it, and as the one user there is otherwise.
func TestConfinedBuilds(t *testing.T) {
	needs(t, golang, nodejs, python)
	users := []confine.User{{}}
	if os.Geteuid() == 0 {
		users = []confine.User{{UID: 64001, GID: tenantGID}, {UID: 64002, GID: tenantGID}}
	}
	for _, user := range users {
		confinedBuilds(t, user)
	}
}

func confinedBuilds(t *testing.T, user confine.User) {
	limits := confine.Limits{Memory: 1 << 30, CPU: 2000, Processes: 256, Files: 4096, Disk: 256 << 20}
	projects := map[string]map[string]string{
		"go": {"go.mod": "module example.com/hello\n\ngo 1.21\n", "main.go": goServer, "greeting.go": "package main\n\nconst greeting = \"hello\"\n"},
		"node": {"package.json": `{"scripts":{"build":"echo built"},"main":"x.js","dependencies":{"greeting":"file:./greeting"},"devDependencies":{"greeting2":"file:./greeting"}}`,
			"greeting/package.json": `{"name":"greeting","version":"1.0.0"}`, "x.js": ""},
		"python": {"requirements.txt": "./greeting-1.0-py3-none-any.whl\n", "greeting-1.0-py3-none-any.whl": wheel(t, "greeting", ""), "app.py": ""},
		"site":   {"index.html": ""},
	}
	for runtime, files := range functions {
		projects[runtime+" function"] = files
	}
	for name, files := range projects {
		w := newWorld(t, Options{Tasks: confined{}, Limits: limits, Egress: []uint16{80, 443}})
		w.files(files)
		w.req.User = user
		if runtime, ok := functionRuntime(name); ok {
			w.req.Program = program(runtime)
		}
		for _, owned := range []string{w.req.Code, w.req.Temp, w.req.Home} {
			if err := confine.Give(owned, user); err != nil {
				t.Fatal(err)
			}
		}
		begun := time.Now()
		w.build()
		t.Logf("%s as %d: %v\n%s", name, user.UID, time.Since(begun), w.log)
	}
}

func functionRuntime(name string) (string, bool) {
	for runtime := range functions {
		if name == runtime+" function" {
			return runtime, true
		}
	}
	return "", false
}

// TestPackageManagersAreFetched builds, confined, on a machine that has neither
// yarn nor pnpm.
func TestPackageManagersAreFetched(t *testing.T) {
	needsNoManager(t)
	for manager, m := range managerPackages {
		for what, wanted := range map[string]string{"by the lock file": "", "by name": `"packageManager":"` + m.name + "@" + managerVersion(t, manager) + `+sha512.abc",`} {
			t.Run(manager+" "+what, func(t *testing.T) {
				r := newRegistry(t, greeting, bundler, os.DirFS(managerFolderOf(t, manager)))
				w := newWorld(t, Options{SearchPath: searchPath(t), Env: r.env(), Egress: []uint16{r.port(t)}, Tasks: confined{}})
				w.ownedByATenant()
				files := shop(wanted)
				if manager == "pnpm" {
					files["package.json"] = strings.Replace(files["package.json"], "node server.js", "pnpm exec node server.js", 1)
				}
				w.files(locked(t, manager, r, files))
				w.giveCode()
				w.wantShop(manager)
				w.says(m.name+" "+managerVersion(t, manager)[:strings.IndexByte(managerVersion(t, manager), '.')], "fetching it from the registry")
				if _, err := os.Stat(filepath.Join(w.req.Code, managerFolder)); (err == nil) != (manager == "pnpm") {
					t.Errorf("it stays with the app: %v", err)
				}
			})
		}
	}
}
