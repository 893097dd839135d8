package confine

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// watchEvery is how often a tree is looked at. A look at a tree in control groups
// reads one file.
const watchEvery = 250 * time.Millisecond

// watch ends the tree when it goes over a limit that the kernel does not hold by
// itself, or holds only by ending one process of several.
func (p *Process) watch() {
	defer p.watchers.Done()
	tick := time.NewTicker(watchEvery)
	defer tick.Stop()
	var refused int64
	crowded := 0
	var strain strain
	for {
		select {
		case <-p.over:
			return
		case <-tick.C:
		}
		reason := p.overLimit()
		if now := p.tree.groups.refused(); now > refused {
			refused = now
			crowded++
		} else {
			crowded = max(crowded-1, 0)
		}
		if reason == "" && crowded >= crowdedLooks {
			reason = p.processesExcess()
		}
		if reason != "" {
			p.exceed(reason)
			return
		}
		strain.look(p)
	}
}

// crowdedLooks is at how many looks more than not a tree that may not have more
// processes has tried to, before it is ended: for five seconds, or longer when it
// pauses in between. One that reaches the limit for a moment is only refused; one
// that never stops trying does nothing else any more.
const crowdedLooks = int(5 * time.Second / watchEvery)

func (p *Process) processesExcess() string {
	return fmt.Sprintf("it ran more than %d processes and threads", p.policy.Limits.Processes)
}

// overLimit says which limit of memory or processes the tree is over.
func (p *Process) overLimit() string {
	groups, limits := p.tree.groups, p.policy.Limits
	if groups.starved() > groups.before {
		return p.memoryExcess()
	}
	memory := limits.Memory > 0 && !groups.has("memory")
	threads := limits.Processes > 0 && !groups.has("pids")
	if !memory && !threads {
		return ""
	}
	var rss int64
	var count int
	list := descendants(os.Getpid(), p.tree)
	for _, m := range list {
		rss += m.rss
		count += m.threads
	}
	switch {
	case threads && count > limits.Processes:
		return p.processesExcess()
	// What processes share is in the size of each: it is told apart only when it
	// matters, as that takes the kernel some work.
	case memory && rss > limits.Memory && proportional(list) > limits.Memory:
		return p.memoryExcess()
	}
	return ""
}

// descendants are the living members of a tree, found without reading the whole
// process table where the kernel lists children.
func descendants(self int, t *tree) []proc {
	if !t.alone() {
		return t.living()
	}
	own, _ := process(self)
	var list []proc
	var add func(pid int) bool
	add = func(pid int) bool {
		kids, ok := children(pid)
		for _, kid := range kids {
			q, exists := process(kid)
			if !exists || pid == self && q.session == own.session {
				continue // gone, or the launcher's own
			}
			if q.alive() {
				list = append(list, q)
			}
			ok = ok && add(kid)
		}
		return ok
	}
	if !add(self) {
		return t.living()
	}
	return list
}

// living are the members that are alive.
func (t *tree) living() []proc {
	all, err := t.members()
	if err != nil {
		return nil // the next look may succeed
	}
	var list []proc
	for _, p := range all {
		if p.alive() {
			list = append(list, p)
		}
	}
	return list
}

// children lists the children of all threads of a process. It is false when the
// kernel does not list them.
func children(pid int) ([]int, bool) {
	tasks := "/proc/" + strconv.Itoa(pid) + "/task"
	dir, err := os.Open(tasks)
	if err != nil {
		return nil, true // it ended
	}
	defer dir.Close()
	threads, err := dir.Readdirnames(-1)
	if err != nil {
		return nil, true
	}
	var list []int
	for _, thread := range threads {
		text, err := os.ReadFile(filepath.Join(tasks, thread, "children"))
		if errors.Is(err, os.ErrNotExist) {
			if _, err := os.Stat(filepath.Join(tasks, thread)); err == nil {
				return nil, false
			}
		}
		for _, word := range strings.Fields(string(text)) {
			if kid, err := strconv.Atoi(word); err == nil {
				list = append(list, kid)
			}
		}
	}
	return list, true
}

// proportional sums what processes use, where shared memory counts once
// (proc_pid_smaps(5), Pss).
func proportional(list []proc) int64 {
	var sum int64
	for _, p := range list {
		if kib, ok := pss(p.pid); ok {
			sum += kib << 10
		} else {
			sum += p.rss
		}
	}
	return sum
}

func pss(pid int) (int64, bool) {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/smaps_rollup", pid))
	if err != nil {
		return 0, false
	}
	for line := range strings.Lines(string(text)) {
		if f := strings.Fields(line); len(f) == 3 && f[0] == "Pss:" {
			kib, err := strconv.ParseInt(f[1], 10, 64)
			return kib, err == nil
		}
	}
	return 0, false
}

const (
	// diskEvery is how often the files of a tree are summed up at most; a sum that
	// takes long is made less often, so that it takes a twentieth of one processor.
	diskEvery = 2 * time.Second
	diskShare = 20
	// diskHaste is the same when the file system fills: a fast writer is not left
	// alone until the next turn.
	diskHaste = 5
	// smallest is what an entry counts at least, so that files without content
	// cannot use up a file system's number of files.
	smallest = 4096
)

// watchDisk ends the tree when its files take more than they may.
func (p *Process) watchDisk() {
	defer p.watchers.Done()
	tick := time.NewTicker(watchEvery)
	defer tick.Stop()
	var looked time.Time
	var took time.Duration
	var free, used int64
	for {
		gone := free - p.free()
		since := time.Since(looked)
		hasty := gone > max(1<<20, (p.policy.Limits.Disk-used)/2) && since >= diskHaste*took
		if hasty || since >= max(diskEvery, diskShare*took) {
			looked = time.Now()
			free = p.free()
			sum, err := p.used()
			took = time.Since(looked)
			if reason := p.overDisk(sum, err); reason != "" {
				p.exceed(reason)
				return
			}
			used = sum
		}
		select {
		case <-p.over:
			return
		case <-tick.C:
		}
	}
}

// overDisk says whether a sum of its files is too much.
func (p *Process) overDisk(sum int64, err error) string {
	p.mu.Lock()
	p.disk = sum
	p.mu.Unlock()
	switch {
	case sum > p.policy.Limits.Disk:
		return p.diskExcess()
	case errors.Is(err, errTooDeep):
		return fmt.Sprintf("it made more than %d directories within each other", deepest)
	}
	return "" // what changed while it was read is read again
}

func (p *Process) diskExcess() string {
	return "it used more than " + bytesText(p.policy.Limits.Disk) + " of disk"
}

// free is the space left on the file systems it may write to.
func (p *Process) free() int64 {
	var sum int64
	for _, dir := range p.policy.ReadWrite {
		var st unix.Statfs_t
		if unix.Statfs(dir, &st) == nil {
			sum += int64(st.Bavail) * st.Bsize
		}
	}
	return sum
}

// used sums up what is beneath ReadWrite, and files that have no name any more
// but are open.
func (p *Process) used() (int64, error) {
	s := sum{seen: map[inode]struct{}{}}
	var errs error
	for _, dir := range p.policy.ReadWrite {
		top, err := openTop(dir)
		if err != nil {
			errs = errors.Join(errs, err)
			continue
		}
		errs = errors.Join(errs, walkTree(top, func(e entry) error { s.add(&e.stat); return nil }))
		top.Close()
	}
	for _, m := range descendants(os.Getpid(), p.tree) {
		s.addUnnamed(m.pid)
	}
	return s.bytes, errs
}

// A sum adds up files, each once however many names it has.
type sum struct {
	bytes int64
	seen  map[inode]struct{}
}

func (s *sum) add(st *unix.Stat_t) {
	if st.Nlink != 1 && st.Mode&unix.S_IFMT != unix.S_IFDIR {
		id := inode{st.Dev, st.Ino}
		if _, again := s.seen[id]; again {
			return
		}
		s.seen[id] = struct{}{}
	}
	s.bytes += max(st.Blocks*512, smallest)
}

// addUnnamed adds the files without a name that a process has open.
func (s *sum) addUnnamed(pid int) {
	dir := fmt.Sprintf("/proc/%d/fd", pid)
	f, err := os.Open(dir)
	if err != nil {
		return // it ended
	}
	defer f.Close()
	names, err := f.Readdirnames(-1)
	if err != nil {
		return
	}
	for _, name := range names {
		target, err := os.Readlink(filepath.Join(dir, name))
		if err != nil || !strings.HasSuffix(target, " (deleted)") || strings.HasPrefix(target, "/memfd:") {
			continue
		}
		var st unix.Stat_t
		if unix.Stat(filepath.Join(dir, name), &st) == nil && st.Nlink == 0 && st.Mode&unix.S_IFMT == unix.S_IFREG {
			s.add(&st)
		}
	}
}
