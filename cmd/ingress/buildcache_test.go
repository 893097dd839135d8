package main_test

import (
	"io/fs"
	"os"
	"path/filepath"
	"testing"
)

// cacheBytes sums the files of all build caches.
func (i *ingress) cacheBytes() (total int64) {
	err := filepath.WalkDir(filepath.Join(i.dir, "cache"), func(_ string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() {
			return nil // what goes away meanwhile does not count
		}
		if info, err := entry.Info(); err == nil {
			total += info.Size()
		}
		return nil
	})
	if err != nil {
		i.t.Error(err)
	}
	return total
}

// TestABuildAfterThePruningOfTheBuildCacheWorks builds with Go's real cache, which
// for the standard library alone is beyond the bound.
func TestABuildAfterThePruningOfTheBuildCacheWorks(t *testing.T) {
	needs(t, "go")
	const bound = 1 << 20
	i := startPlatform(t, "--build-cache-bytes", "1MiB")
	dir := folder(t, map[string]string{
		"go.mod": "module example.com/hello\n\ngo 1.21\n",
		"main.go": `package main

import (
	"fmt"
	"net"
	"os"
)

func main() {
	l, err := net.Listen("tcp", "127.0.0.1:"+os.Getenv("PORT"))
	if err != nil {
		panic(err)
	}
	for {
		c, err := l.Accept()
		if err != nil {
			panic(err)
		}
		fmt.Fprint(c, "HTTP/1.1 200 OK\r\nContent-Length: 5\r\nConnection: close\r\n\r\nhello")
		c.Close()
	}
}
`})
	i.deployed("app", "run", "hello", "--dir", dir)
	i.await("the pruning of the build cache", func() bool { return i.cacheBytes() <= bound })
	i.deployed("app", "update", "hello", "--dir", dir)
	if a := i.get(appURL("hello", "/")); a.status != 200 || a.body != "hello" {
		t.Errorf("it answers %d %q", a.status, a.body)
	}
	i.await("the pruning of the build cache", func() bool { return i.cacheBytes() <= bound })
	i.mustCall("app/Delete", `{"name":"hello"}`)
	i.await("removal of the build cache of a tenant without apps", func() bool {
		entries, err := os.ReadDir(filepath.Join(i.dir, "cache"))
		return err == nil && len(entries) == 0
	})
	i.wantNothingLeft()
	i.wantNoErrors()
}
