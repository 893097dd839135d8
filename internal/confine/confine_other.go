//go:build !linux

package confine

import (
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"os/signal"
	"runtime"
	"strconv"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// A Process is a command and everything it started. Outside Linux it is not
// confined to files or ports: Probe says so. Its methods may be called from
// several goroutines.
type Process struct {
	policy Policy
	cmd    *exec.Cmd
	done   chan struct{}
	exit   Exit

	mu        sync.Mutex
	collected bool
}

// Start starts a command in a session and process group of its own, as the
// policy's User, and returns when its program runs. It is called by a launcher, a
// process that does nothing else and that may keep the limits it puts on itself.
// Outside Linux the policy's files and ports are not enforced, and of its limits
// only what rlimits can express.
func Start(p Policy, c Command) (*Process, error) {
	if err := check(p, c); err != nil {
		return nil, fmt.Errorf("confine %s: %w", p.Name, err)
	}
	cmd := &exec.Cmd{Path: c.Path, Args: c.Args, Env: c.Env, Dir: c.Dir, Stdout: c.Output, Stderr: c.Output}
	if cmd.Env == nil {
		cmd.Env = []string{} // nil would inherit ours
	}
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	if u := p.User; !u.IsZero() {
		cmd.SysProcAttr.Credential = &syscall.Credential{Uid: u.UID, Gid: u.GID}
	}
	// A log that reaches the limit of file sizes is then an error, and not the end of
	// the launcher. What is caught, and not ignored, is as ever for the command.
	signal.Notify(make(chan os.Signal, 1), unix.SIGXFSZ)
	err := underLimits(rlimits(p), func() error {
		// The mask is the process's own; a launcher makes no files of the command's.
		defer unix.Umask(unix.Umask(int(p.umask())))
		return cmd.Start()
	})
	if err != nil {
		return nil, fmt.Errorf("start %s: %w", p.Name, err)
	}
	process := &Process{policy: p, cmd: cmd, done: make(chan struct{})}
	go process.run()
	return process, nil
}

func (p *Process) run() {
	err := p.cmd.Wait()
	p.mu.Lock()
	p.collected = true
	p.mu.Unlock()
	p.Kill() // what is left of the group
	status, _ := p.cmd.ProcessState.Sys().(syscall.WaitStatus)
	p.exit = Exit{Code: p.cmd.ProcessState.ExitCode()}
	if err != nil && status.Signaled() {
		p.exit = Exit{Code: -1, Signal: unix.SignalName(status.Signal())}
	}
	close(p.done)
}

// PID is the number of the first process.
func (p *Process) PID() int { return p.cmd.Process.Pid }

// Wait returns how the first process ended, once its process group was ended.
func (p *Process) Wait() Exit {
	<-p.done
	return p.exit
}

// Leftover is what could not be cleared away; nothing is looked for outside
// Linux. It waits like Wait.
func (p *Process) Leftover() error {
	<-p.done
	return nil
}

// Signal sends a signal to the process group. Once the first process was waited
// for there is none, and the error is ESRCH.
func (p *Process) Signal(sig syscall.Signal) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.collected {
		return fmt.Errorf("signal %s: %w", p.policy.Name, unix.ESRCH)
	}
	if err := unix.Kill(-p.PID(), sig); err != nil {
		return fmt.Errorf("signal %s: %w", p.policy.Name, err)
	}
	return nil
}

// Notices tells nothing outside Linux: nothing is measured.
func (p *Process) Notices() <-chan string {
	none := make(chan string)
	close(none)
	return none
}

// Kill ends the process group. Descendants that left it go on.
func (p *Process) Kill() { _ = unix.Kill(-p.PID(), unix.SIGKILL) }

// Listens cannot say whose a port is outside Linux: it is true when anything
// listens on it.
func (p *Process) Listens(port uint16) (bool, error) { return listening(port) }

// Usage is not measured outside Linux.
func (p *Process) Usage() (Usage, error) {
	return Usage{}, fmt.Errorf("usage of %s: %w", p.policy.Name, errors.ErrUnsupported)
}

// EndLeftovers kills the process group of a first process whose launcher is gone,
// which does not end with its launcher outside Linux.
func EndLeftovers(r Remains) error {
	if r.Session <= 1 {
		return nil
	}
	if err := unix.Kill(-r.Session, unix.SIGKILL); err != nil && !errors.Is(err, unix.ESRCH) {
		return fmt.Errorf("end what is left of %s: %w", r.Name, err)
	}
	return nil
}

// Sweep has nothing to remove outside Linux.
func Sweep() {}

// Probe says what confinement consists of here.
func Probe(_ ...string) []Measure {
	root := os.Geteuid() == 0
	none := func(name string) Measure {
		return Measure{Name: name, Detail: "only Linux has it", Advice: linuxAdvice}
	}
	own := Measure{Name: "own user", InForce: root, Detail: "each app has a user of its own when the ingress runs as root"}
	return append(append([]Measure{own}, rlimitMeasures(runtime.GOOS, root)...),
		none("files"), none("ports"), none("system calls"), none("processor limit"), none("disk limit"))
}

func listening(port uint16) (bool, error) {
	// Only a connection tells: there is no table of sockets to read.
	conn, err := dialTimeout(port, time.Second)
	if err != nil {
		return false, nil
	}
	return true, conn.Close()
}

func dialTimeout(port uint16, timeout time.Duration) (net.Conn, error) {
	return net.DialTimeout("tcp", net.JoinHostPort("127.0.0.1", strconv.Itoa(int(port))), timeout)
}
