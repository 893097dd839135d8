package source

import (
	"os"
	"path/filepath"
	"syscall"
	"testing"

	"github.com/m3o/ingress/internal/confine"
)

// wantOwner checks who all that is in a folder belongs to.
func wantOwner(t testing.TB, dir string, user confine.User) {
	t.Helper()
	err := filepath.Walk(dir, func(name string, info os.FileInfo, err error) error {
		if err != nil {
			return err
		}
		if stat := info.Sys().(*syscall.Stat_t); stat.Uid != user.UID || stat.Gid != user.GID {
			t.Errorf("%s belongs to %d:%d", name, stat.Uid, stat.Gid)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}
