package confine

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// groupsDir holds our control groups, one for each tree.
const groupsDir = "m3o-ingress"

// groups are the control groups of one tree. On version 1 and hybrid machines
// each controller has a hierarchy of its own; version 2 has one for all.
type groups struct {
	dirs []groupDir
	// before is how many kills for lack of memory were counted at the start.
	before int64
}

// A groupDir is the directory of a tree in one hierarchy.
type groupDir struct {
	hierarchy
	path string
}

// has reports whether some group limits what the controller is for.
func (g *groups) has(controller string) bool {
	_, ok := g.of(controller)
	return ok
}

func (g *groups) of(controller string) (groupDir, bool) {
	if g != nil {
		for _, d := range g.dirs {
			if d.controls(controller) {
				return d, true
			}
		}
	}
	return groupDir{}, false
}

// newGroups makes the control groups of a tree wherever that is possible, and
// sets its limits. A hierarchy that fails is left out: Probe says so.
func newGroups(p Policy) *groups {
	g := &groups{}
	for _, h := range hierarchies() {
		d := groupDir{hierarchy: h, path: filepath.Join(h.base, groupsDir, p.Name)}
		err := d.make(p.Limits)
		if err != nil {
			err = d.make(p.Limits) // another tree's end may have taken the directory of all away
		}
		if err == nil {
			g.dirs = append(g.dirs, d)
		}
	}
	g.before = g.starved()
	return g
}

// make makes the group with its limits, or nothing.
func (d groupDir) make(l Limits) error {
	if err := d.prepare(); err != nil {
		return err
	}
	if err := makeGroup(d.path); err != nil {
		return err
	}
	err := d.limit(l)
	if err != nil {
		err = errors.Join(err, unix.Rmdir(d.path))
	}
	return err
}

// set writes a file of a control group. Such files are never made.
func set(path, value string) error {
	fd, err := unix.Open(path, unix.O_WRONLY|unix.O_CLOEXEC, 0)
	if err == nil {
		_, err = unix.Write(fd, []byte(value))
		_ = unix.Close(fd)
	}
	if err != nil {
		return &fs.PathError{Op: "write", Path: path, Err: err}
	}
	return nil
}

// makeGroup makes a group that is empty. One that is there is what a launcher
// that was killed left behind: names are not used twice at a time.
func makeGroup(path string) error {
	for range 3 {
		err := os.Mkdir(path, 0o755)
		switch {
		case err == nil:
			return nil
		case errors.Is(err, fs.ErrExist):
			old := &groups{dirs: []groupDir{{path: path}}}
			old.kill()
			if err := removeGroup(path); err != nil {
				return err
			}
		case errors.Is(err, fs.ErrNotExist):
			if err := os.Mkdir(filepath.Dir(path), 0o755); err != nil && !errors.Is(err, fs.ErrExist) {
				return err
			}
		default:
			return err
		}
	}
	return fmt.Errorf("cannot make %s", path)
}

// limit sets what the group may use.
func (d groupDir) limit(l Limits) error {
	write := func(file string, value int64) error {
		return set(filepath.Join(d.path, file), strconv.FormatInt(value, 10))
	}
	var err error
	if d.controls("memory") && l.Memory > 0 {
		err = errors.Join(err, d.limitMemory(l.Memory, write))
	}
	if d.controls("pids") && l.Processes > 0 {
		err = errors.Join(err, write("pids.max", int64(l.Processes)))
	}
	if d.controls("cpu") && l.CPU > 0 {
		err = errors.Join(err, d.limitCPU(int64(l.CPU), write))
	}
	return err
}

// limitMemory sets the limit of memory; there is no swap on top of it.
func (d groupDir) limitMemory(limit int64, write func(string, int64) error) error {
	if d.version == 2 {
		swap := write("memory.swap.max", 0)
		if errors.Is(swap, fs.ErrNotExist) {
			swap = nil // a kernel without swap
		}
		return errors.Join(write("memory.max", limit), swap)
	}
	memory := write("memory.limit_in_bytes", limit)
	swap := write("memory.memsw.limit_in_bytes", limit)
	if errors.Is(swap, fs.ErrNotExist) {
		swap = nil // a kernel that does not count swap
	}
	return errors.Join(memory, swap)
}

// limitCPU sets thousandths of a processor in periods of 100 ms.
func (d groupDir) limitCPU(thousandths int64, write func(string, int64) error) error {
	const period = 100_000
	quota := max(thousandths*period/1000, 1000) // the kernel takes no less than 1 ms
	if d.version == 2 {
		text := fmt.Sprintf("%d %d", quota, period)
		return set(filepath.Join(d.path, "cpu.max"), text)
	}
	return errors.Join(write("cpu.cfs_period_us", period), write("cpu.cfs_quota_us", quota))
}

// enter adds to the script that the child goes into the groups. A version 2 group
// is where it is born, and a version 1 group it enters as the one thread it is: to
// move a whole process the kernel first waits for all processors to pass a
// quiescent state, which takes milliseconds for each hierarchy.
func (g *groups) enter(s *script) error {
	zero := []byte("0")
	for _, d := range g.dirs {
		members := "tasks"
		if d.version == 2 {
			members = "cgroup.procs"
		}
		fd, err := s.open(filepath.Join(d.path, members), unix.O_WRONLY)
		if err != nil {
			return err
		}
		enter := call{nr: unix.SYS_WRITE, args: [6]uintptr{uintptr(fd), pointer(s, &zero[0]), 1}, what: "enter the control group " + d.path}
		if d.version != 2 {
			s.calls = append(s.calls, enter)
			continue
		}
		group, err := s.open(d.path, unix.O_RDONLY|unix.O_DIRECTORY)
		if err != nil {
			return err
		}
		s.born, s.enter = group, enter
	}
	return nil
}

// members are the processes in any of the groups.
func (g *groups) members() []int {
	if g == nil {
		return nil
	}
	var pids []int
	for _, d := range g.dirs {
		text, err := os.ReadFile(filepath.Join(d.path, "cgroup.procs"))
		if err != nil {
			continue // it is gone, and everything in it
		}
		for _, line := range strings.Fields(string(text)) {
			if pid, err := strconv.Atoi(line); err == nil && pid > 0 {
				pids = append(pids, pid)
			}
		}
	}
	return pids
}

// kill forbids new processes and ends those there are, as far as the groups can:
// version 2 kills all at once, version 1 one by one.
func (g *groups) kill() {
	if g == nil {
		return
	}
	for _, d := range g.dirs {
		_ = set(filepath.Join(d.path, "pids.max"), "0")
		_ = set(filepath.Join(d.path, "cgroup.kill"), "1")
	}
	for _, pid := range g.members() {
		_ = unix.Kill(pid, unix.SIGKILL)
	}
}

// starved counts the processes that the kernel ended for lack of memory.
func (g *groups) starved() int64 {
	d, ok := g.of("memory")
	if !ok {
		return 0
	}
	file := "memory.oom_control"
	if d.version == 2 {
		file = "memory.events"
	}
	return counter(filepath.Join(d.path, file), "oom_kill")
}

// refused counts the processes and threads that the kernel refused because there
// were too many.
func (g *groups) refused() int64 {
	d, ok := g.of("pids")
	if !ok {
		return 0
	}
	return counter(filepath.Join(d.path, "pids.events"), "max")
}

// counter reads a line "name value" of a file.
func counter(path, name string) int64 {
	text, err := os.ReadFile(path)
	if err != nil {
		return 0
	}
	for line := range strings.Lines(string(text)) {
		if f := strings.Fields(line); len(f) == 2 && f[0] == name {
			n, err := strconv.ParseInt(f[1], 10, 64)
			if err == nil {
				return n
			}
		}
	}
	return 0
}

// memory is what the tree uses, without the file cache that the kernel can take
// back, or false when no group counts it.
func (g *groups) memory() (int64, bool) {
	d, ok := g.of("memory")
	if !ok {
		return 0, false
	}
	usage, cache := "memory.usage_in_bytes", "total_inactive_file"
	if d.version == 2 {
		usage, cache = "memory.current", "inactive_file"
	}
	text, err := os.ReadFile(filepath.Join(d.path, usage))
	if err != nil {
		return 0, false
	}
	n, err := strconv.ParseInt(strings.TrimSpace(string(text)), 10, 64)
	if err != nil {
		return 0, false
	}
	return max(0, n-counter(filepath.Join(d.path, "memory.stat"), cache)), true
}

// remove takes the groups away once nothing is in them.
func (g *groups) remove() error {
	var err error
	for _, d := range g.dirs {
		err = errors.Join(err, removeGroup(d.path))
		// The directory of all trees goes with the last one.
		_ = unix.Rmdir(filepath.Dir(d.path))
	}
	return err
}

// removeGroup removes a group. The kernel lets go of dead members a moment after
// they were collected.
func removeGroup(path string) error {
	deadline := time.Now().Add(endDeadline)
	pause := time.NewTicker(time.Millisecond)
	defer pause.Stop()
	for {
		err := unix.Rmdir(path)
		switch {
		case err == nil || errors.Is(err, fs.ErrNotExist):
			return nil
		case !errors.Is(err, syscall.EBUSY) || time.Now().After(deadline):
			return fmt.Errorf("remove the control group %s: %w", path, err)
		}
		<-pause.C
	}
}

// Sweep removes control groups that launchers left behind when they were killed.
// It is called when the ingress starts: a tree with a process in it is not
// touched, nor is one that may just be starting.
func Sweep() {
	for _, h := range hierarchies() {
		dir := filepath.Join(h.base, groupsDir)
		list, err := os.ReadDir(dir)
		if err != nil {
			continue // there are none
		}
		for _, e := range list {
			info, err := e.Info()
			if err == nil && e.IsDir() && time.Since(info.ModTime()) > time.Minute {
				_ = unix.Rmdir(filepath.Join(dir, e.Name())) // refused when it is in use
			}
		}
		_ = unix.Rmdir(dir)
	}
}
