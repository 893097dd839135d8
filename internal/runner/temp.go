package runner

import (
	"os"
	"path/filepath"
	"strings"
	"sync"

	"github.com/m3o/ingress/internal/confine"
	"github.com/m3o/ingress/internal/workload"
)

// temps are the temporary folders of processes that run. Each process has its own,
// made at its start: the two that run while an environment changes must not take
// each other's files away.
type temps struct {
	mu    sync.Mutex
	inUse map[string]bool
}

// make makes a process's folder, and clears away those of the same version that
// no process has any more: who used them ended while no ingress ran.
func (t *temps) make(r workload.Release, dir string) error {
	t.keep(dir)
	t.sweep(r.Dir)
	return makeFolder(dir, r.User)
}

// keep says that a folder is in use.
func (t *temps) keep(dir string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.inUse == nil {
		t.inUse = make(map[string]bool)
	}
	t.inUse[dir] = true
}

// remove removes the folder of a process that has ended.
func (t *temps) remove(dir string) {
	_ = confine.Remove(dir) // what stays is swept at the next start
	t.mu.Lock()
	defer t.mu.Unlock()
	delete(t.inUse, dir)
}

// sweep removes a version's temporary folders that are not in use, that of its
// build too.
func (t *temps) sweep(version string) {
	build := workload.TempDir(version)
	entries, err := os.ReadDir(version)
	if err != nil {
		return // what comes next says why it cannot be used
	}
	for _, e := range entries {
		dir := filepath.Join(version, e.Name())
		if (dir == build || strings.HasPrefix(dir, build+"-")) && !t.used(dir) {
			_ = confine.Remove(dir) // as above
		}
	}
}

func (t *temps) used(dir string) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.inUse[dir]
}
