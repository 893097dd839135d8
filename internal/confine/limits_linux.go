package confine

import (
	"fmt"
	"os"

	"golang.org/x/sys/unix"
)

const (
	// memorySlack is what one process may map beyond the tree's limit where no
	// control group counts memory: mapped is not used, and programs map more than
	// they use. The watcher holds the limit itself.
	memorySlack = 256 << 20
	// politeness is the nice value of a tree whose share of the processors cannot
	// be limited: it gives way to those that are not asked to.
	politeness = 10
)

// useLimits has the child limit itself and its descendants, each by itself:
// what control groups do not limit together.
func (p *Process) useLimits(s *script, _ Command) error {
	l := p.policy.Limits
	limit := func(what string, resource int, value int64) error {
		var now unix.Rlimit
		if err := unix.Getrlimit(resource, &now); err != nil {
			return fmt.Errorf("read the limit of %s: %w", what, err)
		}
		// Only root can raise a hard limit.
		most := min(uint64(value), now.Max)
		r := unix.Rlimit{Cur: most, Max: most}
		s.must("limit "+what, unix.SYS_PRLIMIT64, 0, uintptr(resource), pointer(s, &r))
		return nil
	}
	set := []struct {
		what     string
		resource int
		value    int64
		applies  bool
	}{
		{"core dumps", unix.RLIMIT_CORE, 0, true},
		{"open files", unix.RLIMIT_NOFILE, int64(l.Files), l.Files > 0},
		{"file sizes", unix.RLIMIT_FSIZE, l.Disk, l.Disk > 0},
		{"memory", unix.RLIMIT_DATA, l.Memory + memorySlack, l.Memory > 0 && !p.tree.groups.has("memory")},
	}
	for _, r := range set {
		if r.applies {
			if err := limit(r.what, r.resource, r.value); err != nil {
				return err
			}
		}
	}
	if l.Processes > 0 && !p.tree.groups.has("pids") {
		// The kernel counts all threads of the user, not those of the tree.
		others, err := threadsOf(p.uid())
		if err != nil {
			return err
		}
		// Some more than it may have, as for memory: the watcher then sees who has too
		// many and ends it, whatever the user's other processes come to.
		if err := limit("processes", unix.RLIMIT_NPROC, int64(2*l.Processes+others)); err != nil {
			return err
		}
	}
	if l.CPU > 0 && !p.tree.groups.has("cpu") {
		s.try(unix.SYS_SETPRIORITY, unix.PRIO_PROCESS, 0, politeness)
	}
	return nil
}

// uid is who the tree runs as.
func (p *Process) uid() uint32 {
	if p.policy.User.IsZero() {
		return uint32(os.Geteuid())
	}
	return p.policy.User.UID
}

// threadsOf counts the threads of a user.
func threadsOf(uid uint32) (int, error) {
	table, err := processes()
	if err != nil {
		return 0, err
	}
	threads := 0
	for pid, q := range table {
		var st unix.Stat_t
		if unix.Stat(fmt.Sprintf("/proc/%d", pid), &st) == nil && st.Uid == uid {
			threads += q.threads
		}
	}
	return threads, nil
}
