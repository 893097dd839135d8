package deploy

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"

	"github.com/m3o/ingress/internal/confine"
	"github.com/m3o/ingress/internal/workload"
)

// makeFolders makes the folders of a version, empty, and those it shares. Only
// code, tmp and home are its user's; nobody else may look into them.
func (v *deployment) makeFolders() error {
	if err := confine.Remove(v.release.Dir); err != nil && !errors.Is(err, os.ErrNotExist) {
		return fmt.Errorf("make room for a version: %w", err)
	}
	// What lies above may be passed through by the users that processes run as.
	for _, dir := range []string{
		filepath.Dir(v.Layout.Workload(v.kind, v.id)), v.Layout.Workload(v.kind, v.id), v.release.Dir,
	} {
		if err := makeDir(dir, 0o711); err != nil {
			return err
		}
	}
	for _, dir := range []string{workload.CodeDir(v.release.Dir), workload.TempDir(v.release.Dir), v.release.Home} {
		if err := makeDir(dir, 0o700); err != nil {
			return err
		}
		if err := confine.Give(dir, v.release.User); err != nil {
			return fmt.Errorf("give a folder to its user: %w", err)
		}
	}
	return v.makeCache()
}

// makeCache makes the build cache of the tenant. Builds of several users write
// into it, who have their group in common: files made in it get that group.
func (v *deployment) makeCache() error {
	dir := v.Layout.Cache(v.job.Tenant)
	if err := makeDir(filepath.Dir(dir), 0o711); err != nil {
		return err
	}
	if v.release.User.IsZero() {
		return makeDir(dir, 0o700)
	}
	if err := makeDir(dir, 0o770); err != nil {
		return err
	}
	if err := os.Chown(dir, 0, int(v.release.User.GID)); err != nil {
		return fmt.Errorf("give the build cache to its group: %w", err)
	}
	// Chown takes the bit away, so it comes last.
	if err := os.Chmod(dir, 0o770|os.ModeSetgid); err != nil {
		return fmt.Errorf("share the build cache: %w", err)
	}
	return nil
}

// makeDir makes a directory with exactly that mode, whatever the umask.
func makeDir(dir string, mode os.FileMode) error {
	err := os.Mkdir(dir, mode)
	if errors.Is(err, os.ErrNotExist) {
		if err = os.MkdirAll(filepath.Dir(dir), 0o711); err == nil {
			err = os.Mkdir(dir, mode)
		}
	}
	if err != nil && !errors.Is(err, os.ErrExist) {
		return fmt.Errorf("make a folder: %w", err)
	}
	if err := os.Chmod(dir, mode); err != nil {
		return fmt.Errorf("make a folder: %w", err)
	}
	return nil
}

// prune removes the folders of versions that are too old to keep: at the end of a
// deploy, however it ended, since one that failed has a folder and a log, too.
func (d *Deployer) prune(s subject) {
	ctx, cancel := context.WithTimeout(context.Background(), endTimeout)
	defer cancel()
	old, err := d.Registries[s.kind].Prune(ctx, s.id, d.Keep)
	if errors.Is(err, workload.ErrNotFound) {
		return // it was removed
	}
	if err != nil {
		d.Log.Error("old versions could not be pruned", "workload", s.key(), "error", err)
		return
	}
	for _, number := range old {
		dir := d.Layout.Version(s.kind, s.id, number)
		if err := confine.Remove(dir); err != nil && !errors.Is(err, os.ErrNotExist) {
			d.Log.Error("the folder of an old version could not be removed", "folder", dir, "error", err)
		}
	}
}

// sweep removes the folders that no row wants: the ingress ended between a row's
// removal and its folder's.
func (d *Deployer) sweep(ctx context.Context) {
	for kind, registry := range d.Registries {
		// Folders first, rows second: a workload made in between is not a stray.
		ids := names(filepath.Dir(d.Layout.Workload(kind, "x")))
		kept, err := registry.Kept(ctx)
		if err != nil {
			if ctx.Err() == nil {
				d.Log.Error("cannot tell which folders are needed", "kind", kind, "error", err)
			}
			return
		}
		for _, id := range ids {
			for _, dir := range d.strays(kind, id, kept) {
				if err := confine.Remove(dir); err != nil {
					d.Log.Error("a folder that nothing needs could not be removed", "folder", dir, "error", err)
				}
			}
		}
	}
}

// strays returns the folders of an id that nothing needs.
func (d *Deployer) strays(kind workload.Kind, id string, kept workload.Kept) []string {
	if !kept.Workload(id) {
		return []string{d.Layout.Workload(kind, id)}
	}
	var strays []string
	for _, name := range names(d.Layout.Workload(kind, id)) {
		number, err := strconv.ParseInt(name, 10, 64)
		if err == nil && !kept.Version(id, number) {
			strays = append(strays, d.Layout.Version(kind, id, number))
		}
	}
	return strays
}

// names lists the folders in dir; none when there is no dir.
func names(dir string) []string {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil // nothing was ever deployed, or what comes next says why not
	}
	var list []string
	for _, entry := range entries {
		if entry.IsDir() {
			list = append(list, entry.Name())
		}
	}
	return list
}
