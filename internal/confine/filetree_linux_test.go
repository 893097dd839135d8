package confine

import (
	"errors"
	"os"
	"path/filepath"
	"runtime"
	"testing"

	"golang.org/x/sys/unix"
)

// withoutRights runs f as somebody whom modes keep from files, also when root runs
// the test, with a directory of theirs.
func withoutRights(t *testing.T, f func(dir string)) {
	t.Helper()
	dir, err := os.MkdirTemp("", "confine") // t.TempDir is in a directory that is closed to others
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := Remove(dir); err != nil {
			t.Error(err)
		}
	})
	if os.Geteuid() != 0 {
		f(dir)
		return
	}
	const somebody = 61235
	if err := os.Chown(dir, somebody, somebody); err != nil {
		t.Fatal(err)
	}
	runtime.LockOSThread() // whose user it is
	defer runtime.UnlockOSThread()
	if _, err := unix.SetfsuidRetUid(somebody); err != nil {
		t.Fatal(err)
	}
	defer unix.Setfsuid(0) //nolint:errcheck // it returns the one before
	f(dir)
}

// Where the ingress is not root, what a tenant left is its own, and closed to it.
func TestRemoveTakesWhatIsReadOnly(t *testing.T) {
	withoutRights(t, func(base string) {
		tree := filepath.Join(base, "tree")
		inner := filepath.Join(tree, "inner")
		if err := errors.Join(os.MkdirAll(inner, 0o755), os.WriteFile(filepath.Join(inner, "f"), nil, 0o444),
			os.Chmod(inner, 0o555), os.Chmod(tree, 0o555)); err != nil {
			t.Fatal(err)
		}
		if err := Remove(tree); err != nil {
			t.Error(err)
		}
		if _, err := os.Lstat(tree); !errors.Is(err, os.ErrNotExist) {
			t.Errorf("it is still there: %v", err)
		}
	})
}
