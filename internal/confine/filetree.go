//go:build unix

package confine

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"syscall"

	"golang.org/x/sys/unix"
)

// deepest is how many directories within each other are walked: each holds a
// file descriptor, and no honest tree comes near.
const deepest = 200

var errTooDeep = fmt.Errorf("it has more than %d directories within each other", deepest)

// An entry is something in a directory that is open. It is only ever reached
// through that directory and never through a symbolic link, so that no tree can
// lead out of itself.
type entry struct {
	dir  *os.File
	name string
	stat unix.Stat_t
}

func (e entry) isDir() bool { return e.stat.Mode&unix.S_IFMT == unix.S_IFDIR }

// fd is the directory the entry is in.
func (e entry) fd() int { return int(e.dir.Fd()) }

// open opens the entry, a directory. One that its owner closed is opened to
// them again: nothing is hidden that way.
func (e entry) open() (*os.File, error) {
	const flags = unix.O_RDONLY | unix.O_DIRECTORY | unix.O_NOFOLLOW | unix.O_CLOEXEC
	fd, err := unix.Openat(e.fd(), e.name, flags, 0)
	if errors.Is(err, unix.EACCES) {
		mode := uint32(e.stat.Mode)&0o7777 | 0o700
		if unix.Fchmodat(e.fd(), e.name, mode, unix.AT_SYMLINK_NOFOLLOW) == nil {
			fd, err = unix.Openat(e.fd(), e.name, flags, 0)
		}
	}
	path := filepath.Join(e.dir.Name(), e.name)
	if err != nil {
		return nil, &os.PathError{Op: "open", Path: path, Err: err}
	}
	return os.NewFile(uintptr(fd), path), nil
}

// entries lists a directory. What is removed meanwhile is left out.
func entries(dir *os.File) ([]entry, error) {
	names, err := dir.Readdirnames(-1)
	if err != nil {
		return nil, err
	}
	list := make([]entry, 0, len(names))
	for _, name := range names {
		e := entry{dir: dir, name: name}
		err := unix.Fstatat(int(dir.Fd()), name, &e.stat, unix.AT_SYMLINK_NOFOLLOW)
		if errors.Is(err, unix.ENOENT) {
			continue
		}
		if err != nil {
			return nil, &os.PathError{Op: "stat", Path: filepath.Join(dir.Name(), name), Err: err}
		}
		list = append(list, e)
	}
	return list, nil
}

// walkTree calls visit for everything beneath a directory, what is in a
// directory before the directory itself. It does not enter other file systems.
func walkTree(dir *os.File, visit func(entry) error) error {
	var top unix.Stat_t
	if err := unix.Fstat(int(dir.Fd()), &top); err != nil {
		return &os.PathError{Op: "stat", Path: dir.Name(), Err: err}
	}
	return walkLevel(dir, uint64(top.Dev), 0, visit)
}

func walkLevel(dir *os.File, device uint64, depth int, visit func(entry) error) error {
	if depth > deepest {
		return errTooDeep
	}
	list, err := entries(dir)
	if err != nil {
		return err
	}
	for _, e := range list {
		if e.isDir() && uint64(e.stat.Dev) == device {
			if err := walkInto(e, device, depth, visit); err != nil {
				return err
			}
		}
		if err := visit(e); err != nil {
			return err
		}
	}
	return nil
}

func walkInto(e entry, device uint64, depth int, visit func(entry) error) error {
	sub, err := e.open()
	if errors.Is(err, unix.ENOENT) {
		return nil
	}
	if err != nil {
		return err
	}
	defer sub.Close()
	return walkLevel(sub, device, depth+1, visit)
}

// openTop opens the top of a tree, which has to be a directory itself.
func openTop(dir string) (*os.File, error) {
	fd, err := unix.Open(dir, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, &os.PathError{Op: "open", Path: dir, Err: err}
	}
	return os.NewFile(uintptr(fd), dir), nil
}

// Give hands a directory and everything in it to a user. It follows no symbolic
// link and does not touch a file that also has a name outside the directory and
// is somebody else's: that is an error, as such a file was planted. Nothing of
// an earlier owner may run meanwhile. For the zero User it does nothing.
func Give(dir string, u User) error {
	if u.IsZero() {
		return nil
	}
	top, err := openTop(dir)
	if err != nil {
		return fmt.Errorf("hand over %s: %w", dir, err)
	}
	defer top.Close()
	links, err := foreignLinks(top, u)
	if err == nil {
		_, err = top.Seek(0, 0)
	}
	if err == nil {
		err = walkTree(top, func(e entry) error { return give(e, u, links) })
	}
	if err == nil {
		err = top.Chown(int(u.UID), int(u.GID))
	}
	if err != nil {
		return fmt.Errorf("hand %s to user %d: %w", dir, u.UID, err)
	}
	return nil
}

// An inode is a file, whatever its names are.
type inode struct{ device, number uint64 }

// foreignLinks counts the names, within the tree, of files that have several
// and are not the user's.
func foreignLinks(top *os.File, u User) (map[inode]uint64, error) {
	links := map[inode]uint64{}
	err := walkTree(top, func(e entry) error {
		if !e.isDir() && e.stat.Nlink > 1 && e.stat.Uid != u.UID {
			links[inode{uint64(e.stat.Dev), uint64(e.stat.Ino)}]++
		}
		return nil
	})
	return links, err
}

func give(e entry, u User, links map[inode]uint64) error {
	found, foreign := links[inode{uint64(e.stat.Dev), uint64(e.stat.Ino)}]
	path := filepath.Join(e.dir.Name(), e.name)
	if foreign && found < uint64(e.stat.Nlink) {
		return fmt.Errorf("%s is also a file elsewhere, of user %d", path, e.stat.Uid)
	}
	err := unix.Fchownat(e.fd(), e.name, int(u.UID), int(u.GID), unix.AT_SYMLINK_NOFOLLOW)
	if err != nil {
		return &os.PathError{Op: "chown", Path: path, Err: err}
	}
	return nil
}

// Remove removes a directory and everything in it, whatever a hostile owner did
// to it: directories that cannot be read or changed, or are deeper than names can
// be long.
// It follows no symbolic link. A directory that does not exist is no error.
// Nothing of its owner may run meanwhile.
func Remove(dir string) error {
	parent, err := os.Open(filepath.Dir(dir))
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("remove %s: %w", dir, err)
	}
	defer parent.Close()
	e := entry{dir: parent, name: filepath.Base(dir)}
	err = unix.Fstatat(e.fd(), e.name, &e.stat, unix.AT_SYMLINK_NOFOLLOW)
	if errors.Is(err, unix.ENOENT) {
		return nil
	}
	if err == nil {
		err = e.remove()
	}
	if err != nil {
		return fmt.Errorf("remove %s: %w", dir, err)
	}
	return nil
}

// remove removes the top of a tree. What is too deep is moved up to the top
// first, and met again there.
func (e entry) remove() error {
	if !e.isDir() {
		return e.unlink(0)
	}
	top, err := e.open()
	if err != nil {
		return err
	}
	defer top.Close()
	e.unlock(top)
	r := remover{top: top}
	for again := true; again; {
		r.moved = 0
		if _, err := top.Seek(0, 0); err != nil {
			return err
		}
		if err := r.empty(top, 0); err != nil {
			return err
		}
		again = r.moved > 0
	}
	return e.unlink(unix.AT_REMOVEDIR)
}

// unlock makes what is in the entry, a directory that is open, removable to its
// owner, whom we may be. What cannot be changed shows when something is removed.
func (e entry) unlock(dir *os.File) {
	if mode := uint32(e.stat.Mode) & 0o7777; mode&0o700 != 0o700 {
		_ = unix.Fchmod(int(dir.Fd()), mode|0o700)
	}
}

func (e entry) unlink(flags int) error {
	err := unix.Unlinkat(e.fd(), e.name, flags)
	if err != nil && !errors.Is(err, unix.ENOENT) {
		return &os.PathError{Op: "remove", Path: filepath.Join(e.dir.Name(), e.name), Err: err}
	}
	return nil
}

// A remover empties one tree.
type remover struct {
	top         *os.File
	moved, next int
}

// empty removes everything in a directory.
func (r *remover) empty(dir *os.File, depth int) error {
	list, err := entries(dir)
	if err != nil {
		return err
	}
	for _, e := range list {
		if err := r.remove(e, depth); err != nil {
			return err
		}
	}
	return nil
}

func (r *remover) remove(e entry, depth int) error {
	if !e.isDir() {
		return e.unlink(0)
	}
	if depth >= deepest {
		return r.moveUp(e)
	}
	sub, err := e.open()
	if err != nil {
		return err
	}
	e.unlock(sub)
	err = r.empty(sub, depth+1)
	sub.Close()
	if err != nil {
		return err
	}
	return e.unlink(unix.AT_REMOVEDIR)
}

// moveUp moves a directory to the top of the tree, under a name that is free.
func (r *remover) moveUp(e entry) error {
	// To be moved, a directory has to be writable to its owner.
	mode := uint32(e.stat.Mode)&0o7777 | 0o700
	if err := unix.Fchmodat(e.fd(), e.name, mode, unix.AT_SYMLINK_NOFOLLOW); err != nil {
		return &os.PathError{Op: "chmod", Path: e.name, Err: err}
	}
	for {
		r.next++
		err := unix.Renameat(e.fd(), e.name, int(r.top.Fd()), "deep-"+strconv.Itoa(r.next))
		if errors.Is(err, syscall.EEXIST) || errors.Is(err, syscall.ENOTEMPTY) || errors.Is(err, syscall.ENOTDIR) {
			continue
		}
		if err != nil {
			return &os.PathError{Op: "move", Path: e.name, Err: err}
		}
		r.moved++
		return nil
	}
}
