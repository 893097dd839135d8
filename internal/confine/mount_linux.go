package confine

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"golang.org/x/sys/unix"
)

// A view is what a child that runs as a user of its own sees of the file system
// in a mount namespace of its own: the machine's, with some directories covered
// by empty ones, in which only the policy's paths are found, under the names
// they have outside. It is made of mounts that the parent prepares, detached,
// and the child puts in place; it is gone with the last process in it.
type view struct {
	policy Policy
	script *script
	rules  ruleset
	covers []cover
	binds  []bind
}

// A cover is a small file system in memory over a directory.
type cover struct {
	path, mode, size string
	// open says that the child may write there.
	open bool
	fd   int
}

// A bind is a path of the policy beneath a cover.
type bind struct {
	path     string
	readOnly bool
}

// mount gives a child with a user of its own a view of its own. Directories on
// the way to the policy's paths that are closed to its user, such as /root, are
// covered: without that they could not be reached at all.
func (p *Process) mount(s *script, _ Command) error {
	if os.Geteuid() != 0 || !p.ownUser() {
		return nil
	}
	v := &view{policy: p.policy, script: s, rules: p.rules}
	closed, err := v.closed()
	if err != nil {
		return err
	}
	if !mountable() {
		if len(closed) == 0 {
			return nil
		}
		return fmt.Errorf("user %d cannot reach what is beneath %s, and this machine does not let the ingress mount: "+
			"move the data directory to where every directory above it has mode 0711 or more", p.policy.User.UID, closed[0])
	}
	if err := v.plan(closed); err != nil {
		return err
	}
	return v.prepare()
}

// mountable reports whether the kernel and our rights allow a view.
func mountable() bool {
	fd, err := unix.Fsopen("tmpfs", unix.FSOPEN_CLOEXEC)
	if err != nil {
		return false
	}
	_ = unix.Close(fd)
	return kernelAtLeast(5, 8) // from when on hidepid holds for one mount only
}

// paths are those of the policy, as given and with links followed.
func (v *view) paths() ([]bind, error) {
	var list []bind
	for i, path := range append(slices.Clone(v.policy.ReadWrite), v.policy.ReadOnly...) {
		readOnly := i >= len(v.policy.ReadWrite)
		real, err := filepath.EvalSymlinks(path)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return nil, err
		}
		list = append(list, bind{path: path, readOnly: readOnly})
		if real != path {
			list = append(list, bind{path: real, readOnly: readOnly})
		}
	}
	return list, nil
}

// closed finds the highest directories on the way to the policy's paths that its
// user may not pass.
func (v *view) closed() ([]string, error) {
	paths, err := v.paths()
	if err != nil {
		return nil, err
	}
	var list []string
	for _, b := range paths {
		for at := 1; at < len(b.path); at++ {
			if b.path[at] != '/' {
				continue
			}
			dir := b.path[:at]
			passes, err := v.policy.User.passes(dir)
			if err != nil {
				return nil, err
			}
			if !passes {
				if !slices.Contains(list, dir) {
					list = append(list, dir)
				}
				break
			}
		}
	}
	return list, nil
}

// passes reports whether a user without groups may pass through a directory, by
// its mode.
func (u User) passes(dir string) (bool, error) {
	var st unix.Stat_t
	if err := unix.Stat(dir, &st); err != nil {
		return false, &os.PathError{Op: "stat", Path: dir, Err: err}
	}
	switch {
	case st.Uid == u.UID:
		return st.Mode&0o100 != 0, nil
	case st.Gid == u.GID:
		return st.Mode&0o010 != 0, nil
	}
	return st.Mode&0o001 != 0, nil
}

// plan says what is covered and what is seen again beneath it.
func (v *view) plan(closed []string) error {
	v.covers = []cover{
		{path: "/tmp", mode: "1777", size: "64m", open: true},
		{path: "/dev/shm", mode: "1777", size: "64m", open: true},
	}
	for _, dir := range closed {
		v.covers = append(v.covers, cover{path: dir, mode: "0711", size: "1m"})
	}
	// The outer of two covers does for both, and none hides a path of the policy
	// that it is part of.
	paths, err := v.paths()
	if err != nil {
		return err
	}
	all := v.covers
	v.covers = nil
	for i, c := range all {
		outer := slices.ContainsFunc(all[:i], func(o cover) bool { return within(c.path, o.path) }) ||
			slices.ContainsFunc(all[i+1:], func(o cover) bool { return c.path != o.path && within(c.path, o.path) })
		named := slices.ContainsFunc(paths, func(b bind) bool { return within(c.path, b.path) })
		if st, err := os.Lstat(c.path); err == nil && st.IsDir() && !outer && !named {
			v.covers = append(v.covers, c)
		}
	}
	for _, b := range paths {
		if _, ok := v.over(b.path); ok && !slices.ContainsFunc(v.binds, func(o bind) bool { return o.path == b.path }) {
			v.binds = append(v.binds, b)
		}
	}
	// A path within another comes after it.
	slices.SortStableFunc(v.binds, func(a, b bind) int { return strings.Compare(a.path, b.path) })
	return nil
}

// within reports whether path is dir or beneath it.
func within(path, dir string) bool {
	return path == dir || strings.HasPrefix(path, strings.TrimSuffix(dir, "/")+"/")
}

// over finds the cover that a path is beneath.
func (v *view) over(path string) (cover, bool) {
	for _, c := range v.covers {
		if within(path, c.path) {
			return c, true
		}
	}
	return cover{}, false
}

// prepare makes the mounts, and has the child put them in place.
func (v *view) prepare() error {
	s := v.script
	root, err := s.text("/")
	if err != nil {
		return err
	}
	none, err := s.text("none")
	if err != nil {
		return err
	}
	s.must("make a mount namespace", unix.SYS_UNSHARE, unix.CLONE_NEWNS)
	s.must("keep its mounts to itself", unix.SYS_MOUNT, none, root, 0, unix.MS_REC|unix.MS_PRIVATE, 0)
	for i := range v.covers {
		if err := v.cover(&v.covers[i]); err != nil {
			return err
		}
	}
	if err := v.proc(); err != nil {
		return err
	}
	for _, b := range v.binds {
		if err := v.bind(b); err != nil {
			return err
		}
	}
	return nil
}

// cover makes an empty file system and has it mounted.
func (v *view) cover(c *cover) error {
	fd, err := v.create("tmpfs", "mode", c.mode, "size", c.size)
	if err != nil {
		return err
	}
	c.fd = fd
	if c.open && v.rules.fd != 0 {
		if err := v.rules.allowFD(fd, c.path, treeWrite); err != nil {
			return err
		}
	}
	return v.place(fd, c.path)
}

// proc shows it only the processes of its own user.
func (v *view) proc() error {
	fd, err := v.create("proc", "hidepid", "2")
	if errors.Is(err, unix.EPERM) {
		return nil // parts of /proc are hidden from ourselves, as in a container
	}
	if err != nil {
		return err
	}
	if v.rules.fd != 0 {
		if err := v.rules.allowFD(fd, "/proc", treeRead); err != nil {
			return err
		}
	}
	return v.place(fd, "/proc")
}

// create makes a file system of a kind, with options, that is mounted nowhere.
func (v *view) create(kind string, options ...string) (int, error) {
	fail := func(err error) (int, error) { return -1, fmt.Errorf("make a file system of kind %s: %w", kind, err) }
	context, err := unix.Fsopen(kind, unix.FSOPEN_CLOEXEC)
	if err != nil {
		return fail(err)
	}
	defer unix.Close(context)
	for i := 0; i < len(options); i += 2 {
		if err := unix.FsconfigSetString(context, options[i], options[i+1]); err != nil {
			return fail(err)
		}
	}
	if err := unix.FsconfigCreate(context); err != nil {
		return fail(err)
	}
	const attributes = unix.MOUNT_ATTR_NOSUID | unix.MOUNT_ATTR_NODEV
	fd, err := unix.Fsmount(context, unix.FSMOUNT_CLOEXEC, attributes)
	if err != nil {
		return fail(err)
	}
	return v.script.keep(fd)
}

// bind has a path seen again beneath its cover.
func (v *view) bind(b bind) error {
	fd, err := unix.OpenTree(unix.AT_FDCWD, b.path, unix.OPEN_TREE_CLONE|unix.OPEN_TREE_CLOEXEC|unix.AT_RECURSIVE)
	if err != nil {
		return &os.PathError{Op: "mount", Path: b.path, Err: err}
	}
	if fd, err = v.script.keep(fd); err != nil {
		return err
	}
	attr := unix.MountAttr{Attr_set: unix.MOUNT_ATTR_NOSUID | unix.MOUNT_ATTR_NODEV}
	if b.readOnly {
		attr.Attr_set |= unix.MOUNT_ATTR_RDONLY
	}
	// Before Linux 5.12 Landlock and the files' modes say it alone.
	err = unix.MountSetattr(fd, "", unix.AT_EMPTY_PATH|unix.AT_RECURSIVE, &attr)
	if err != nil && !errors.Is(err, unix.ENOSYS) {
		return fmt.Errorf("set what may be done beneath %s: %w", b.path, err)
	}
	if err := v.point(b, fd); err != nil {
		return err
	}
	return v.place(fd, b.path)
}

// point makes the directory or file that a bind is mounted on.
func (v *view) point(b bind, source int) error {
	for _, outer := range v.binds {
		if outer.path != b.path && within(b.path, outer.path) {
			return nil // it is there, in the other
		}
	}
	c, _ := v.over(b.path)
	rest := strings.Split(strings.TrimPrefix(b.path, c.path+"/"), "/")
	for i := range rest {
		name := filepath.Join(rest[:i+1]...)
		var st unix.Stat_t
		if err := unix.Fstat(source, &st); err != nil {
			return &os.PathError{Op: "stat", Path: b.path, Err: err}
		}
		var err error
		if i == len(rest)-1 && st.Mode&unix.S_IFMT != unix.S_IFDIR {
			err = unix.Mknodat(c.fd, name, unix.S_IFREG|0o444, 0)
		} else if err = unix.Mkdirat(c.fd, name, 0o711); err == nil {
			err = unix.Fchmodat(c.fd, name, 0o711, 0) // whatever our own mask is
		}
		if err != nil && !errors.Is(err, fs.ErrExist) {
			return &os.PathError{Op: "make", Path: b.path, Err: err}
		}
	}
	return nil
}

// place has the child attach a mount.
func (v *view) place(fd int, path string) error {
	empty, err := v.script.text("")
	if err != nil {
		return err
	}
	target, err := v.script.text(path)
	if err != nil {
		return err
	}
	here := unix.AT_FDCWD
	v.script.must("mount "+path, unix.SYS_MOVE_MOUNT, uintptr(fd), empty, uintptr(here), target, unix.MOVE_MOUNT_F_EMPTY_PATH)
	return nil
}

// kernelAtLeast compares the running kernel's version.
func kernelAtLeast(major, minor int) bool {
	var name unix.Utsname
	if unix.Uname(&name) != nil {
		return false
	}
	var a, b int
	if n, _ := fmt.Sscanf(unix.ByteSliceToString(name.Release[:]), "%d.%d", &a, &b); n < 2 {
		return false
	}
	return a > major || a == major && b >= minor
}
