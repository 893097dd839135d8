package confine

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// A hierarchy is a tree of control groups in which ours are made beneath base:
// the group this process is in, so that what limits the ingress limits what it
// starts, too.
type hierarchy struct {
	version     int
	base        string
	controllers []string
}

func (h hierarchy) controls(name string) bool { return slices.Contains(h.controllers, name) }

// wanted are the controllers that limits are set with.
var wanted = []string{"memory", "cpu", "pids"}

// hierarchies finds where control groups can be made: the version 1 hierarchies
// of the wanted controllers, and the version 2 one.
func hierarchies() []hierarchy {
	mounts, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		return nil
	}
	own, err := os.ReadFile("/proc/self/cgroup")
	if err != nil {
		return nil
	}
	var list []hierarchy
	for _, h := range parseHierarchies(strings.NewReader(string(mounts)), string(own)) {
		if h.version == 2 {
			h.base, h.controllers = h.delegated()
		}
		if h.base != "" && unix.Access(h.base, unix.W_OK) == nil {
			list = append(list, h)
		}
	}
	return list
}

// parseHierarchies reads /proc/self/mountinfo (proc_pid_mountinfo(5)) and
// /proc/self/cgroup (cgroups(7)). Of a version 2 hierarchy, base is this
// process's own group and the controllers are not known yet.
func parseHierarchies(mountinfo io.Reader, own string) []hierarchy {
	var list []hierarchy
	lines := bufio.NewScanner(mountinfo)
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		before, after, found := strings.Cut(lines.Text(), " - ")
		mount, system := strings.Fields(before), strings.Fields(after)
		if !found || len(mount) < 6 || len(system) < 3 {
			continue
		}
		root, point := unescape(mount[3]), unescape(mount[4])
		h := hierarchy{version: 1}
		switch system[0] {
		case "cgroup":
			for _, option := range strings.Split(system[2], ",") {
				if slices.Contains(wanted, option) {
					h.controllers = append(h.controllers, option)
				}
			}
			if len(h.controllers) == 0 {
				continue
			}
		case "cgroup2":
			h.version = 2
		default:
			continue
		}
		if path, ok := ownGroup(own, h); ok {
			if rest, ok := beneath(path, root); ok {
				h.base = filepath.Join(point, rest)
				list = append(list, h)
			}
		}
	}
	return list
}

// ownGroup is the path of this process's group in a hierarchy.
func ownGroup(own string, h hierarchy) (string, bool) {
	for line := range strings.Lines(own) {
		f := strings.SplitN(strings.TrimSpace(line), ":", 3)
		if len(f) != 3 {
			continue
		}
		if h.version == 2 && f[0] == "0" && f[1] == "" {
			return f[2], true
		}
		if h.version == 1 && slices.Contains(strings.Split(f[1], ","), h.controllers[0]) {
			return f[2], true
		}
	}
	return "", false
}

// beneath returns path as seen from root, when it is at or below root.
func beneath(path, root string) (string, bool) {
	if root == "/" {
		return path, filepath.IsAbs(path)
	}
	rest, found := strings.CutPrefix(path, root)
	return rest, found && (rest == "" || rest[0] == '/')
}

// unescape turns the octal escapes of mountinfo back into characters.
func unescape(s string) string {
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		if s[i] == '\\' && i+3 < len(s) {
			if n, err := strconv.ParseUint(s[i+1:i+4], 8, 8); err == nil {
				b.WriteByte(byte(n))
				i += 3
				continue
			}
		}
		b.WriteByte(s[i])
	}
	return b.String()
}

// selfGroup is where the ingress itself goes when its version 2 group is to have
// groups beneath it: such a group may not hold processes of its own
// (cgroup-v2, "no internal processes").
const selfGroup = "m3o-ingress-self"

// delegated finds where in the version 2 hierarchy groups with controllers can
// be made: beneath our own group when it was delegated to us, else, as root, at
// the top, which may hold processes. Without controllers a group still tells
// the tree's processes and kills them at once.
func (h hierarchy) delegated() (string, []string) {
	own := h.base
	if filepath.Base(own) == selfGroup {
		own = filepath.Dir(own)
	}
	top := h.base
	for parent := filepath.Dir(top); hasFile(parent, "cgroup.controllers"); parent = filepath.Dir(top) {
		top = parent
	}
	best, found := "", []string(nil)
	for _, candidate := range []string{own, top} {
		if unix.Access(candidate, unix.W_OK) != nil || unix.Access(filepath.Join(candidate, "cgroup.procs"), unix.W_OK) != nil {
			continue
		}
		usable := intersect(words(candidate, "cgroup.controllers"), wanted)
		enabled := intersect(words(candidate, "cgroup.subtree_control"), wanted)
		if len(enabled) < len(usable) && candidate != top && !onlyOurs(candidate) {
			usable = enabled
		}
		if best == "" || len(usable) > len(found) {
			best, found = candidate, usable
		}
	}
	return best, found
}

// prepare makes the directory of our groups and hands it the controllers.
func (h hierarchy) prepare() error {
	if h.version != 2 || len(h.controllers) == 0 {
		return nil
	}
	if err := h.enable(h.base); err != nil {
		return err
	}
	dir := filepath.Join(h.base, groupsDir)
	if err := os.Mkdir(dir, 0o755); err != nil && !errors.Is(err, os.ErrExist) {
		return err
	}
	return h.enable(dir)
}

// enable hands the controllers of a version 2 group to the groups beneath it.
func (h hierarchy) enable(dir string) error {
	enabled := words(dir, "cgroup.subtree_control")
	for _, name := range h.controllers {
		if slices.Contains(enabled, name) {
			continue
		}
		switch err := set(filepath.Join(dir, "cgroup.subtree_control"), "+"+name); {
		case errors.Is(err, unix.EBUSY) && dir == h.base:
			if err := h.makeRoom(); err != nil {
				return err
			}
			if err := set(filepath.Join(dir, "cgroup.subtree_control"), "+"+name); err != nil {
				return fmt.Errorf("hand the %s controller to the groups beneath %s: %w", name, dir, err)
			}
		case err != nil:
			return fmt.Errorf("hand the %s controller to the groups beneath %s: %w", name, dir, err)
		}
	}
	return nil
}

// makeRoom moves the ingress and its launchers into a group of their own.
func (h hierarchy) makeRoom() error {
	if !onlyOurs(h.base) {
		return fmt.Errorf("%s holds processes that are not the ingress", h.base)
	}
	self := filepath.Join(h.base, selfGroup)
	if err := os.Mkdir(self, 0o755); err != nil && !errors.Is(err, os.ErrExist) {
		return err
	}
	for _, pid := range words(h.base, "cgroup.procs") {
		err := set(filepath.Join(self, "cgroup.procs"), pid)
		if err != nil && !errors.Is(err, unix.ESRCH) {
			return fmt.Errorf("move process %s to %s: %w", pid, self, err)
		}
	}
	return nil
}

// onlyOurs reports whether all processes of a group run this program: others
// are not ours to move.
func onlyOurs(dir string) bool {
	self, err := os.Readlink("/proc/self/exe")
	if err != nil {
		return false
	}
	for _, pid := range words(dir, "cgroup.procs") {
		exe, err := os.Readlink("/proc/" + pid + "/exe")
		// An upgrade replaces the file beneath launchers that run.
		if err != nil || strings.TrimSuffix(exe, " (deleted)") != strings.TrimSuffix(self, " (deleted)") {
			return false
		}
	}
	return true
}

func hasFile(dir, name string) bool {
	_, err := os.Stat(filepath.Join(dir, name))
	return err == nil
}

// words reads a file of a group; one that cannot be read has none.
func words(dir, name string) []string {
	text, err := os.ReadFile(filepath.Join(dir, name))
	if err != nil {
		return nil
	}
	return strings.Fields(string(text))
}

func intersect(a, b []string) []string {
	var both []string
	for _, s := range a {
		if slices.Contains(b, s) {
			both = append(both, s)
		}
	}
	return both
}
