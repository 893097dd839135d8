package confine

import (
	"errors"
	"fmt"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// A Process is a confined command and everything it started. Its methods may be
// called from several goroutines.
type Process struct {
	policy  Policy
	tree    *tree
	rules   ruleset
	started time.Time

	// over is closed when the first process has ended, done when all of it has.
	over, done chan struct{}
	exit       Exit
	left       error

	watchers sync.WaitGroup
	notices  chan string

	mu sync.Mutex
	// excess says which limit it went over.
	excess string
	// collected says that the number of the first process may be another's.
	collected bool
	disk      int64
}

// PID is the number of the first process, which is also that of its session and
// its process group.
func (p *Process) PID() int { return p.tree.main }

// Wait returns how the first process ended, once everything it started was ended
// too and its control groups are gone.
func (p *Process) Wait() Exit {
	<-p.done
	return p.exit
}

// Leftover is what could not be cleared away after the first process ended, such
// as a process that outlasted SIGKILL; nil when nothing is left. It waits like
// Wait.
func (p *Process) Leftover() error {
	<-p.done
	return p.left
}

// Signal sends a signal to the process group. Once the first process was waited
// for there is none, and the error is ESRCH.
func (p *Process) Signal(sig syscall.Signal) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.collected {
		return fmt.Errorf("signal %s: %w", p.policy.Name, unix.ESRCH)
	}
	if err := unix.Kill(-p.tree.main, sig); err != nil {
		return fmt.Errorf("signal %s: %w", p.policy.Name, err)
	}
	return nil
}

// Notices tells what is wrong with a process that goes on, in words fit for its
// owner: that it wants more of the processors than it may have, for long. An empty
// one takes the one before back. Only the latest is kept for who does not listen.
// The channel is closed when the process has ended.
func (p *Process) Notices() <-chan string { return p.notices }

// Kill ends everything of the tree and returns when nothing of it runs any
// more. What the kernel itself holds, such as a process waiting for a disk that
// does not answer, outlasts it by its nature.
func (p *Process) Kill() {
	select {
	case <-p.done:
	default:
		_ = p.tree.end() // Wait returns only when it succeeded, and tries again
	}
}

// Listens reports whether a process of the tree has a TCP socket that listens on
// the port.
func (p *Process) Listens(port uint16) (bool, error) {
	sockets, err := listening(port)
	if err != nil || len(sockets) == 0 {
		return false, err
	}
	if p.mainHolds(sockets) {
		return true, nil
	}
	list, err := p.tree.members()
	if err != nil {
		return false, err
	}
	for _, m := range list {
		if holds(m.pid, sockets) {
			return true, nil
		}
	}
	return false, nil
}

// mainHolds looks at the first process, which is the one that listens in most
// cases: to find the others takes a look at every process of the machine.
func (p *Process) mainHolds(sockets map[string]bool) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return !p.collected && holds(p.tree.main, sockets)
}

// Usage is what the tree uses now.
func (p *Process) Usage() (Usage, error) {
	list, err := p.tree.members()
	if err != nil {
		return Usage{}, err
	}
	p.mu.Lock()
	u := Usage{Disk: p.disk}
	p.mu.Unlock()
	for _, m := range list {
		if m.alive() {
			u.Processes++
			u.Threads += m.threads
			u.Memory += m.rss
		}
		u.CPU += time.Duration(m.ticks) * (time.Second / clockTicks)
	}
	if memory, ok := p.tree.groups.memory(); ok {
		u.Memory = memory
	}
	return u, nil
}

// clockTicks is the unit of times in /proc: USER_HZ, which is 100 on every
// architecture Go runs on.
const clockTicks = 100

// exceed ends the tree because of a limit. The first reason counts.
func (p *Process) exceed(reason string) {
	p.mu.Lock()
	if p.excess == "" {
		p.excess = reason
	}
	p.mu.Unlock()
	p.Kill()
}

// finish clears up after the first process has ended: ends the rest of the tree,
// takes the exit status and removes the control groups.
func (p *Process) finish(waited error) {
	close(p.over)
	p.watchers.Wait()
	close(p.notices)
	starved := p.tree.groups.starved() > p.tree.groups.before
	err := errors.Join(waited, p.tree.end())

	p.mu.Lock()
	p.collected = true
	status, usage, collected := p.tree.collect()
	excess := p.excess
	p.mu.Unlock()

	if excess == "" {
		excess = p.excessOf(status, usage, starved)
	}
	err = errors.Join(err, collected, p.tree.groups.remove())
	p.tree.forget()
	p.exit = exitOf(status, excess)
	if collected != nil {
		p.exit = Exit{Code: -1, Excess: excess}
	}
	p.left = err
	close(p.done)
}

// excessOf tells from how a process ended which limit did it.
func (p *Process) excessOf(status unix.WaitStatus, usage unix.Rusage, starved bool) string {
	limits := p.policy.Limits
	// Without a control group a process is refused memory well above the limit, and
	// most then end by themselves, before the watcher's next look.
	refused := limits.Memory > 0 && !p.tree.groups.has("memory") && usage.Maxrss<<10 > limits.Memory
	switch {
	case starved, refused && status != 0:
		return p.memoryExcess()
	case limits.Disk > 0 && status.Signaled() && status.Signal() == unix.SIGXFSZ:
		return p.diskExcess()
	}
	return ""
}

func (p *Process) memoryExcess() string {
	return "it used more than " + bytesText(p.policy.Limits.Memory) + " of memory"
}

// exitOf turns a wait status into an Exit.
func exitOf(status unix.WaitStatus, excess string) Exit {
	if status.Signaled() {
		return Exit{Code: -1, Signal: unix.SignalName(status.Signal()), Excess: excess}
	}
	return Exit{Code: status.ExitStatus(), Excess: excess}
}
