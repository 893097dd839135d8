package deploy_test

import (
	"context"
	"os"
	"path/filepath"
	"testing"

	"github.com/m3o/ingress/internal/builder"
	"github.com/m3o/ingress/internal/workload"
)

// caching is a builder whose builds leave files of 1 MiB in the cache, and wait
// for the test when it holds them.
type caching struct {
	begun chan string // gets the Name of each build
	hold  chan struct{}
}

func (c *caching) Build(ctx context.Context, r builder.Request) (workload.Artifact, error) {
	if err := os.MkdirAll(filepath.Join(r.Cache, "npm"), 0o775); err != nil {
		return workload.Artifact{}, err
	}
	if err := os.WriteFile(filepath.Join(r.Cache, "npm", r.Name), make([]byte, 1<<20), 0o664); err != nil {
		return workload.Artifact{}, err
	}
	c.begun <- r.Name
	if c.hold != nil {
		select {
		case <-c.hold:
		case <-ctx.Done():
			return workload.Artifact{}, ctx.Err()
		}
	}
	_, err := os.Stat(filepath.Join(r.Cache, "npm", r.Name)) // it must not be taken away under a build
	return workload.Artifact{Site: ".", Summary: "a site"}, err
}

func (f *fixture) cached(tenant string) []string {
	f.t.Helper()
	names, err := filepath.Glob(filepath.Join(f.layout.Cache(tenant), "*", "*"))
	if err != nil {
		f.t.Fatal(err)
	}
	return names
}

func TestABuildCacheIsPrunedWhenNoBuildOfItsTenantRuns(t *testing.T) {
	f := newFixture(t)
	b := &caching{begun: make(chan string, 10), hold: make(chan struct{})}
	f.options.Builder, f.options.CacheBytes = b, 1<<20
	f.run()
	f.create("first")
	<-b.begun
	f.create("second")
	<-b.begun
	b.hold <- struct{}{}
	f.await("the end of one of two builds", func() bool { return len(f.stage.log()) > 0 })
	f.create("third") // which begins although the cache is over its bound
	<-b.begun
	if n := len(f.cached("a")); n != 3 {
		t.Errorf("the cache has %d files while builds run, want 3", n)
	}
	b.hold <- struct{}{}
	b.hold <- struct{}{}
	for _, name := range []string{"first", "second", "third"} {
		f.awaitVersion(name, 1, workload.Ready)
	}
	f.await("the pruning", func() bool { return len(f.cached("a")) == 0 })
	f.update("first", workload.Update{Redeploy: true})
	<-b.begun
	b.hold <- struct{}{}
	f.awaitVersion("first", 2, workload.Ready)
}

func TestABuildCacheWithinItsBoundIsKept(t *testing.T) {
	f := newFixture(t)
	b := &caching{begun: make(chan string, 10)}
	f.options.Builder, f.options.CacheBytes = b, 64<<20
	f.run()
	f.create("first")
	f.awaitVersion("first", 1, workload.Ready)
	f.create("second")
	f.awaitVersion("second", 1, workload.Ready)
	f.stop()
	if n := len(f.cached("a")); n != 2 {
		t.Errorf("the cache has %d files, want 2", n)
	}
	f.options.CacheBytes = 1 << 20
	f.run()
	f.await("the pruning by a start with a lower bound", func() bool { return len(f.cached("a")) == 0 })
}

func TestTheBuildCacheGoesWithTheLastWorkload(t *testing.T) {
	f := newFixture(t)
	f.options.Builder, f.options.CacheBytes = &caching{begun: make(chan string, 10)}, 64<<20
	stray := f.layout.Cache("nobody")
	if err := os.MkdirAll(filepath.Join(stray, "npm"), 0o755); err != nil {
		t.Fatal(err)
	}
	f.run()
	gone := func(tenant string) func() bool {
		return func() bool {
			_, err := os.Stat(f.layout.Cache(tenant))
			return os.IsNotExist(err)
		}
	}
	f.await("removal of the cache of a tenant that has nothing", gone("nobody"))
	for _, name := range []string{"first", "second"} {
		f.create(name)
		f.awaitVersion(name, 1, workload.Ready)
	}
	remove := func(name string) {
		if err := f.Delete(t.Context(), caller, name); err != nil {
			t.Fatal(err)
		}
		f.await("removal of "+name, func() bool {
			_, err := os.Stat(f.layout.Workload(workload.App, name))
			return os.IsNotExist(err)
		})
	}
	remove("first")
	f.stop() // and with it all that it began
	if n := len(f.cached("a")); n != 2 {
		t.Errorf("the cache has %d files while there is one app, want 2", n)
	}
	f.run()
	remove("second")
	f.await("removal of the cache", gone("a"))
}
