package confine

import (
	"errors"
	"fmt"
	"os"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// trees are those of this process that have not ended. A launcher has one. The
// list is what tells apart whose an orphan is where several share a process, as
// in tests.
var trees struct {
	sync.Mutex
	live map[*tree]struct{}
}

// A tree is a process and all that come from it.
type tree struct {
	main   int
	groups *groups

	mu sync.Mutex
	// collected says that the number of main may be another's.
	collected bool
	// seen are the members met so far, by pid and with their start: one that left
	// the session and lost its parents stays a member.
	seen map[int]uint64
}

func newTree(g *groups) *tree {
	t := &tree{groups: g, seen: map[int]uint64{}}
	trees.Lock()
	defer trees.Unlock()
	if trees.live == nil {
		trees.live = map[*tree]struct{}{}
	}
	trees.live[t] = struct{}{}
	return t
}

// forget is called when nothing of the tree is left.
func (t *tree) forget() {
	trees.Lock()
	defer trees.Unlock()
	delete(trees.live, t)
}

// alone reports whether the tree is the only one of this process.
func (t *tree) alone() bool {
	trees.Lock()
	defer trees.Unlock()
	return len(trees.live) == 1
}

// members are the processes of the tree, dead ones included: those in its
// control groups, in the session of its first process, the children of
// members, and those that were members before. A process whose parents have
// died becomes a child of the launcher (PR_SET_CHILD_SUBREAPER), and of the
// launcher's children only the tree's have a session of their own, so none gets
// away by making sessions.
func (t *tree) members() ([]proc, error) {
	if t.main <= 0 {
		return nil, errors.New("the process has not started")
	}
	table, err := processes()
	if err != nil {
		return nil, err
	}
	self := os.Getpid()
	own := table[self].session
	in := map[int]bool{}
	for _, pid := range t.groups.members() {
		in[pid] = true
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.collected {
		return nil, nil
	}
	alone := t.alone()
	for pid, p := range table {
		start, seen := t.seen[pid]
		orphan := alone && p.parent == self && p.session != own
		if pid == t.main || p.session == t.main || p.group == t.main || orphan || seen && start == p.start {
			in[pid] = true
		}
	}
	for grew := true; grew; {
		grew = false
		for pid, p := range table {
			if !in[pid] && in[p.parent] {
				in[pid], grew = true, true
			}
		}
	}
	delete(in, self)
	clear(t.seen)
	list := make([]proc, 0, len(in))
	for pid := range in {
		if p, ok := table[pid]; ok {
			list = append(list, p)
			t.seen[pid] = p.start
		}
	}
	return list, nil
}

// endDeadline bounds how long ending a tree may take. A process that the kernel
// holds, for example on a network file system that does not answer, outlasts it.
const endDeadline = 10 * time.Second

// end kills every member until none is left, and collects the dead ones that
// became children of this process. The first process of the tree is left for
// the caller to collect, so that its number stays taken.
func (t *tree) end() error {
	t.groups.kill()
	deadline := time.Now().Add(endDeadline)
	pause := time.NewTicker(time.Millisecond)
	defer pause.Stop()
	for {
		list, err := t.members()
		if err != nil {
			return err
		}
		if t.kill(list) == 0 {
			return nil
		}
		if time.Now().After(deadline) {
			return fmt.Errorf("some processes of %d have not ended within %v of SIGKILL", t.main, endDeadline)
		}
		<-pause.C
	}
}

// kill kills the living of list and collects the dead. It returns how many of
// them were alive. All are stopped before the first is killed: a process that
// forks as fast as it can loses the race once its parents stand still.
func (t *tree) kill(list []proc) int {
	alive := 0
	self := os.Getpid()
	none := unix.Rlimit{}
	for _, p := range list {
		if p.alive() {
			alive++
			_ = unix.Prlimit(p.pid, unix.RLIMIT_NPROC, &none, nil)
			p.signal(unix.SIGSTOP)
		}
	}
	for _, p := range list {
		switch {
		case p.alive():
			p.signal(unix.SIGKILL)
		case p.parent == self && p.pid != t.main:
			_, _ = unix.Wait4(p.pid, nil, unix.WNOHANG, nil)
		}
	}
	return alive
}

// awaitMain waits until the tree's first process has ended, and leaves it to be
// collected.
func (t *tree) awaitMain() error {
	for {
		err := unix.Waitid(unix.P_PID, t.main, nil, unix.WEXITED|unix.WNOWAIT, nil)
		if !errors.Is(err, unix.EINTR) {
			return err
		}
	}
}

// collect takes the exit status of the tree's first process. There are no
// members from then on.
func (t *tree) collect() (unix.WaitStatus, unix.Rusage, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.collected = true
	var status unix.WaitStatus
	var usage unix.Rusage
	for {
		_, err := unix.Wait4(t.main, &status, 0, &usage)
		if !errors.Is(err, unix.EINTR) {
			return status, usage, err
		}
	}
}
