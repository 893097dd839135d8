package deploy

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/m3o/ingress/internal/confine"
)

const (
	// goBuildCache is the one part of a build cache whose files may go one by one:
	// Go's own trimming does so, and marks each file that it uses. The others keep
	// packages in folders, and a package that lacks a file is worse than none.
	goBuildCache = "go-build"
	// discardedPrefix begins the names of parts that are being removed. What is
	// moved there cannot be taken for a part when the ingress ends meanwhile.
	discardedPrefix = ".discarded-"
	// diskBlock is what files are taken to be made of.
	diskBlock = 4096
	// goBuildFolders is more folders than Go's build cache has: 256, and a few.
	goBuildFolders = 1000
	// closedSize is what something is taken to have that cannot be looked at. No
	// tool closes its cache to itself, so such a part goes first.
	closedSize = 1 << 40
)

// cacheUse keeps builds of a tenant, any number of which may run, apart from the
// pruning of its cache. The zero value is ready for use.
type cacheUse struct {
	mu    sync.Mutex
	locks map[string]*sync.RWMutex
}

func (u *cacheUse) of(tenant string) *sync.RWMutex {
	u.mu.Lock()
	defer u.mu.Unlock()
	if u.locks == nil {
		u.locks = make(map[string]*sync.RWMutex)
	}
	if u.locks[tenant] == nil {
		u.locks[tenant] = new(sync.RWMutex)
	}
	return u.locks[tenant]
}

// alone calls do while no build of the tenant runs. When one does, nothing is done:
// there is a pruning at its end, too.
func (u *cacheUse) alone(tenant string, do func()) {
	lock := u.of(tenant)
	if !lock.TryLock() {
		return
	}
	defer lock.Unlock()
	do()
}

// pruneCache brings the build cache of a tenant down to its bound.
func (d *Deployer) pruneCache(tenant string) {
	d.cacheUse.alone(tenant, func() {
		dir := d.Layout.Cache(tenant)
		freed, err := pruneCache(dir, d.CacheBytes)
		if err != nil {
			d.Log.Error("a build cache could not be pruned", "folder", dir, "error", err)
		}
		if freed > 0 {
			d.Log.Info("build cache pruned", "tenant", tenant, "bytes", freed)
		}
	})
}

// sweepCaches removes the build caches of tenants that have no workload any more,
// and with prune brings the others down to their bound.
func (d *Deployer) sweepCaches(ctx context.Context, prune bool) {
	// Folders first, rows second: a cache made in between is not a stray.
	tenants := names(filepath.Dir(d.Layout.Cache("x")))
	kept := map[string]bool{}
	for kind, registry := range d.Registries {
		list, err := registry.Tenants(ctx)
		if err != nil {
			if ctx.Err() == nil {
				d.Log.Error("cannot tell which build caches are needed", "kind", kind, "error", err)
			}
			return
		}
		for _, tenant := range list {
			kept[tenant] = true
		}
	}
	for _, tenant := range tenants {
		switch {
		case ctx.Err() != nil:
			return
		case !kept[tenant]:
			d.removeCache(tenant)
		case prune:
			d.pruneCache(tenant)
		}
	}
}

func (d *Deployer) removeCache(tenant string) {
	d.cacheUse.alone(tenant, func() {
		if err := confine.Remove(d.Layout.Cache(tenant)); err != nil {
			d.Log.Error("the build cache of a tenant without workloads could not be removed", "tenant", tenant, "error", err)
		}
	})
}

// part is something in a build cache that can be removed by itself.
type part struct {
	// name is that of a file of goBuildCache, slash-separated, or of something at the
	// top of the cache.
	name string
	size int64
	used time.Time
}

// pruneCache removes parts of a build cache, those that were used least recently
// first, until it has no more than limit bytes, and returns how many bytes it
// removed.
// Nothing may write to the cache meanwhile; should something do all the same, it
// cannot make anything outside of the cache be removed.
func pruneCache(dir string, limit int64) (freed int64, err error) {
	root, err := os.OpenRoot(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return 0, nil
	}
	if err != nil {
		return 0, fmt.Errorf("open a build cache: %w", err)
	}
	defer root.Close()
	parts, err := cacheParts(root)
	total := int64(0)
	for _, p := range parts {
		total += p.size
	}
	slices.SortFunc(parts, func(a, b part) int { return a.used.Compare(b.used) })
	for _, p := range parts {
		if total <= limit && !strings.HasPrefix(p.name, discardedPrefix) {
			continue
		}
		if failed := removePart(root, dir, p.name); failed != nil {
			err = errors.Join(err, failed)
			continue
		}
		total -= p.size
		freed += p.size
	}
	return freed, err
}

// cacheParts lists what is in a build cache.
func cacheParts(root *os.Root) ([]part, error) {
	top, err := fs.ReadDir(root.FS(), ".")
	if err != nil {
		return nil, fmt.Errorf("read a build cache: %w", err)
	}
	var parts []part
	for _, entry := range top {
		folders := int64(1) // it has a block in any case
		var files []part
		closed := false
		if entry.IsDir() {
			files, folders, closed = filesOf(root, entry.Name())
		}
		switch {
		case closed:
			parts = append(parts, part{name: entry.Name(), size: closedSize})
		case entry.Name() == goBuildCache && entry.IsDir() && folders <= goBuildFolders:
			parts = append(parts, files...)
		default:
			parts = append(parts, whole(entry.Name(), folders, files))
		}
	}
	return parts, nil
}

// whole is something at the top of a cache with all its files. What is being
// removed already was used by nobody, and goes first.
func whole(name string, folders int64, files []part) part {
	p := part{name: name, size: folders * diskBlock}
	for _, file := range files {
		p.size += file.size
		if file.used.After(p.used) && !strings.HasPrefix(name, discardedPrefix) {
			p.used = file.used
		}
	}
	return p
}

// filesOf lists what is in a folder and beneath it, but for folders, which it counts:
// they take room as well. It follows no link. closed is whether there is something
// that cannot be looked at.
func filesOf(root *os.Root, name string) (files []part, folders int64, closed bool) {
	_ = fs.WalkDir(root.FS(), name, func(name string, entry fs.DirEntry, err error) error {
		if err == nil && entry.IsDir() {
			folders++
			return nil
		}
		var info fs.FileInfo
		if err == nil {
			info, err = entry.Info()
		}
		switch {
		case errors.Is(err, fs.ErrNotExist): // gone meanwhile
		case err != nil:
			closed = true
		default:
			files = append(files, part{name, (info.Size()/diskBlock + 1) * diskBlock, info.ModTime()})
		}
		return nil
	})
	return files, folders, closed
}

// removePart removes a part. What has many files is moved away first, so that no
// build ever finds half of it.
func removePart(root *os.Root, dir, name string) error {
	if path.Dir(name) != "." { // a file of Go's; the root keeps its folders from leading out
		err := root.Remove(name)
		if errors.Is(err, fs.ErrPermission) {
			openUp(root, path.Dir(name))
			err = root.Remove(name)
		}
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("remove a file of a build cache: %w", err)
		}
		return nil
	}
	if !strings.HasPrefix(name, discardedPrefix) {
		discarded := discardedPrefix + name
		if err := removeWhole(root, dir, discarded); err != nil {
			return err
		}
		if err := root.Rename(name, discarded); err != nil {
			return fmt.Errorf("move a part of a build cache away: %w", err)
		}
		name = discarded
	}
	return removeWhole(root, dir, name)
}

func removeWhole(root *os.Root, dir, name string) error {
	err := confine.Remove(filepath.Join(dir, name))
	if errors.Is(err, fs.ErrPermission) {
		openUp(root, name)
		err = confine.Remove(filepath.Join(dir, name))
	}
	return err
}

// openUp makes folders writable to us, who own them when we are not root: those of
// Go's modules can be read-only. What cannot be changed is met again in the removal.
func openUp(root *os.Root, name string) {
	_ = fs.WalkDir(root.FS(), name, func(name string, entry fs.DirEntry, err error) error {
		if err != nil || !entry.IsDir() {
			return nil
		}
		if info, err := entry.Info(); err == nil && info.Mode()&0o700 != 0o700 {
			_ = root.Chmod(name, info.Mode()|0o700)
		}
		return nil
	})
}
