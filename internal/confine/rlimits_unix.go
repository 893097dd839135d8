//go:build unix && !solaris

package confine

import (
	"fmt"

	"golang.org/x/sys/unix"
)

// The limits that any Unix kernel puts on one process, and that its descendants
// inherit. Linux has better ones, and gives these to the child alone (see
// limits_linux.go); elsewhere a process is born with those of its parent.

// What a launcher needs itself. It lives under the limits of what it starts, as
// hardly anybody but root can raise them again, so nothing gets less than this.
const (
	leastFiles    = 64
	leastFileSize = 64 << 20 // its log is bounded by far less
	dataSlack     = 256 << 20
)

// rlimit is one of them.
type rlimit struct {
	what     string
	resource int
	value    int64
}

// rlimits are what the limits of a policy come to. Processes are counted by user,
// so that is left out for a process that shares its user with others: those who
// logged in as that user would use up the limit. Address space is left out as
// well: Go and Node.js reserve far more than they use.
func rlimits(p Policy) []rlimit {
	l := p.Limits
	list := []rlimit{{"core dumps", unix.RLIMIT_CORE, 0}}
	if l.Files > 0 {
		list = append(list, rlimit{"open files", unix.RLIMIT_NOFILE, max(int64(l.Files), leastFiles)})
	}
	if l.Disk > 0 {
		list = append(list, rlimit{"file sizes", unix.RLIMIT_FSIZE, max(l.Disk, leastFileSize)})
	}
	if l.Memory > 0 {
		list = append(list, rlimit{"memory", unix.RLIMIT_DATA, l.Memory + dataSlack})
	}
	if l.Processes > 0 && !p.User.IsZero() {
		list = append(list, rlimit{"processes", unix.RLIMIT_NPROC, int64(l.Processes)})
	}
	return list
}

// underLimits starts something with the limits in force on this process, which it
// is therefore born with, and then takes them back where that is allowed. The
// alternative, a program in between that limits itself and then becomes the
// command, would cost each start another one, and the user of an app need not be
// able to execute the ingress. It must be called by a process that starts nothing
// else meanwhile.
func underLimits(list []rlimit, start func() error) error {
	for _, l := range list {
		before, err := l.lower()
		if err != nil {
			return err
		}
		// Not everybody may; the limits leave what a launcher needs.
		defer func() { _ = unix.Setrlimit(l.resource, &before) }()
	}
	return start()
}

// lower puts the limit on this process, soft and hard, and returns what it
// replaced. A lower one stays.
func (l rlimit) lower() (before unix.Rlimit, err error) {
	if err := unix.Getrlimit(l.resource, &before); err != nil {
		return before, fmt.Errorf("read the limit of %s: %w", l.what, err)
	}
	now := before
	atMost(&now.Max, l.value)
	now.Cur = now.Max
	if err := unix.Setrlimit(l.resource, &now); err != nil {
		return before, fmt.Errorf("limit %s: %w", l.what, err)
	}
	return before, nil
}

// atMost lowers a limit, whose type differs from system to system.
func atMost[T int64 | uint64](limit *T, value int64) { *limit = min(*limit, T(value)) }

// rlimitMeasures says what these limits are worth on a system, to the ingress run
// by root or by somebody else.
func rlimitMeasures(system string, root bool) []Measure {
	memory := Measure{Name: "memory limit", InForce: system == "openbsd", Detail: "a limit of the kernel on the data of each process, not on all of them together"}
	if !memory.InForce {
		memory.Detail = "the kernel limits the data of each process, and counts little of its memory as that"
		memory.Advice = linuxAdvice
	}
	processes := Measure{Name: "process limit", InForce: root, Detail: "a limit of the kernel on the processes of the app's user"}
	if !root {
		processes.Detail = "the kernel counts the processes of a user, and all apps have the one of the ingress"
		processes.Advice = "run the ingress as root"
	}
	return []Measure{
		{Name: "files and core dumps of a process", InForce: true, Detail: "limits of the kernel: open files, the size of a file, no core dumps"},
		memory, processes,
	}
}

const linuxAdvice = "run the ingress on Linux to keep apps from each other"
