//go:build unix

package confine

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// deep makes directories within each other, further down than a name can be long.
func deep(t *testing.T, dir string, levels int) {
	t.Helper()
	fd, err := unix.Open(dir, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	name := strings.Repeat("d", 100)
	for range levels {
		if err := unix.Mkdirat(fd, name, 0o755); err != nil {
			t.Fatal(err)
		}
		next, err := unix.Openat(fd, name, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
		unix.Close(fd)
		if err != nil {
			t.Fatal(err)
		}
		fd = next
	}
	unix.Close(fd)
}

func TestRemoveTakesWhateverWasMade(t *testing.T) {
	base := t.TempDir()
	outside := filepath.Join(base, "outside")
	tree := filepath.Join(base, "tree")
	closed := filepath.Join(tree, "closed", "inner")
	if err := errors.Join(os.Mkdir(outside, 0o755), os.MkdirAll(closed, 0o755),
		os.WriteFile(filepath.Join(outside, "kept"), nil, 0o644), os.WriteFile(filepath.Join(closed, "f"), nil, 0o000),
		os.Symlink(outside, filepath.Join(tree, "link")), os.Mkdir(filepath.Join(tree, "deep-1"), 0o700)); err != nil {
		t.Fatal(err)
	}
	deep(t, tree, 3*deepest)
	if err := errors.Join(os.Chmod(closed, 0), os.Chmod(filepath.Dir(closed), 0)); err != nil {
		t.Fatal(err)
	}
	if err := Remove(tree); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Lstat(tree); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("it is still there: %v", err)
	}
	if _, err := os.Stat(filepath.Join(outside, "kept")); err != nil {
		t.Errorf("it followed a link: %v", err)
	}
	if err := Remove(tree); err != nil {
		t.Errorf("what is not there: %v", err)
	}
}

func TestGiveDoesNotLeaveTheTree(t *testing.T) {
	if err := Give(t.TempDir(), User{}); err != nil {
		t.Errorf("the zero user: %v", err)
	}
	if os.Geteuid() != 0 {
		t.Skip("only root can give files away")
	}
	base := t.TempDir()
	tree, outside := filepath.Join(base, "tree"), filepath.Join(base, "outside")
	u := User{UID: 61235, GID: 61236}
	if err := errors.Join(os.Mkdir(tree, 0o755), os.WriteFile(outside, nil, 0o644),
		os.WriteFile(filepath.Join(tree, "file"), nil, 0o644), os.Link(filepath.Join(tree, "file"), filepath.Join(tree, "same")),
		os.Symlink(outside, filepath.Join(tree, "link"))); err != nil {
		t.Fatal(err)
	}
	owner := func(path string) uint32 {
		var st unix.Stat_t
		if err := unix.Lstat(path, &st); err != nil {
			t.Fatal(err)
		}
		return st.Uid
	}
	if err := Give(tree, u); err != nil {
		t.Fatal(err)
	}
	if owner(filepath.Join(tree, "file")) != u.UID || owner(tree) != u.UID || owner(filepath.Join(tree, "link")) != u.UID || owner(outside) != 0 {
		t.Error("the wrong things were given away")
	}
	if err := os.Link(outside, filepath.Join(tree, "planted")); err != nil {
		t.Fatal(err)
	}
	if err := Give(tree, u); err == nil || owner(outside) != 0 {
		t.Errorf("a planted link: %v", err)
	}
	if err := Give(filepath.Join(tree, "link"), u); err == nil {
		t.Error("it followed a link")
	}
}
