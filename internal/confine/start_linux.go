package confine

import (
	"fmt"
	"os"
	"runtime"
	"time"

	"golang.org/x/sys/unix"
)

// Start starts a command confined, in a session and process group of its own,
// and returns when its program runs. Output may be closed then.
//
// It is called by a launcher, a process that does nothing else: Start makes the
// calling process the one that orphans of the command are handed to, and
// descendants of it with a session of their own count as the command's. When
// the calling process ends, the command is killed.
//
// A measure that this machine does not offer is left out; Probe says which. An
// error means that the command did not start, or that what separates users from
// each other could not be had.
func Start(p Policy, c Command) (*Process, error) {
	if err := check(p, c); err != nil {
		return nil, fmt.Errorf("confine %s: %w", p.Name, err)
	}
	if err := unix.Prctl(unix.PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0); err != nil {
		return nil, fmt.Errorf("confine %s: become the parent of orphans: %w", p.Name, err)
	}
	groups := newGroups(p)
	process := &Process{
		policy: p, tree: newTree(groups), started: time.Now(),
		done: make(chan struct{}), over: make(chan struct{}),
		notices: make(chan string, 1),
	}
	started := make(chan error)
	go process.run(c, started)
	if err := <-started; err != nil {
		return nil, fmt.Errorf("start %s confined: %w", p.Name, err)
	}
	return process, nil
}

// run is the life of a process: one thread forks it and waits for it. The
// thread ends with the goroutine, as it is never unlocked, and not before the
// child: the child is told to die with the thread that made it.
func (p *Process) run(c Command, started chan<- error) {
	runtime.LockOSThread()
	pid, err := p.fork(c)
	if err != nil {
		p.tree.forget()
		_ = p.tree.groups.remove() // what the next start with this name would do
		started <- err
		return
	}
	p.tree.main = pid
	p.watchers.Add(1)
	go p.watch()
	if p.policy.Limits.Disk > 0 {
		p.watchers.Add(1)
		go p.watchDisk()
	}
	started <- nil
	p.finish(p.tree.awaitMain())
}

// fork prepares the script of the child and runs it.
func (p *Process) fork(c Command) (int, error) {
	s := &script{}
	defer s.release()
	var err error
	if p.rules, _, err = newRuleset(s); err != nil {
		return 0, err
	}
	steps := []func(*script, Command) error{
		p.isolate, p.mount, p.useLimits, p.useFiles, p.becomeUser, p.restrict, p.exec,
	}
	for _, add := range steps {
		if err := add(s, c); err != nil {
			return 0, err
		}
	}
	return s.run()
}

// isolate gives the child a session and its control groups.
func (p *Process) isolate(s *script, _ Command) error {
	s.must("make a session", unix.SYS_SETSID)
	s.must("set the mask of file permissions", unix.SYS_UMASK, uintptr(p.policy.umask()))
	return p.tree.groups.enter(s)
}

// useFiles gives the child its standard input and output, and nothing else.
func (p *Process) useFiles(s *script, c Command) error {
	null, err := s.open(os.DevNull, unix.O_RDONLY)
	if err != nil {
		return err
	}
	output, err := unix.FcntlInt(c.Output.Fd(), unix.F_DUPFD_CLOEXEC, 3)
	if err != nil {
		return fmt.Errorf("use its output: %w", err)
	}
	if output, err = s.keep(output); err != nil {
		return err
	}
	for to, from := range []int{null, output, output} {
		s.must("set up standard input and output", unix.SYS_DUP3, uintptr(from), uintptr(to), 0)
	}
	// Everything of this program is close-on-exec; this holds for what a library
	// may have forgotten.
	s.try(unix.SYS_CLOSE_RANGE, 3, ^uintptr(0)>>33, unix.CLOSE_RANGE_CLOEXEC)
	return nil
}

// becomeUser takes every privilege away.
func (p *Process) becomeUser(s *script, c Command) error {
	if os.Geteuid() == 0 {
		for capability := range lastCapability() + 1 {
			s.must("give up a capability", unix.SYS_PRCTL, unix.PR_CAPBSET_DROP, uintptr(capability))
		}
		s.must("leave all groups", unix.SYS_SETGROUPS, 0, 0)
	}
	if u := p.policy.User; !u.IsZero() {
		uid, gid := uintptr(u.UID), uintptr(u.GID)
		s.must("become its group", unix.SYS_SETRESGID, gid, gid, gid)
		s.must("become its user", unix.SYS_SETRESUID, uid, uid, uid)
	}
	head := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	none := [2]unix.CapUserData{}
	s.must("give up all capabilities", unix.SYS_CAPSET, pointer(s, &head), pointer(s, &none[0]))
	s.must("give up new privileges", unix.SYS_PRCTL, unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
	// After the change of user, which forgets it.
	s.must("end with the launcher", unix.SYS_PRCTL, unix.PR_SET_PDEATHSIG, uintptr(unix.SIGKILL))
	parent := call{nr: unix.SYS_GETPPID, want: uintptr(os.Getpid()), what: "find its launcher, which ended"}
	s.calls = append(s.calls, parent)

	dir, err := s.text(c.Dir)
	if err != nil {
		return err
	}
	s.must("go to "+c.Dir, unix.SYS_CHDIR, dir)
	return nil
}

// exec makes the child the command.
func (p *Process) exec(s *script, c Command) error {
	path, err := s.text(c.Path)
	if err != nil {
		return err
	}
	args, err := s.texts(c.Args)
	if err != nil {
		return fmt.Errorf("its arguments: %w", err)
	}
	env, err := s.texts(c.Env)
	if err != nil {
		return fmt.Errorf("its environment: %w", err)
	}
	s.must("run "+c.Path, unix.SYS_EXECVE, path, args, env)
	return nil
}

// lastCapability is the highest capability that the kernel knows.
func lastCapability() int {
	last := 0
	for unix.Prctl(unix.PR_CAPBSET_READ, uintptr(last+1), 0, 0, 0) == nil {
		last++
	}
	return last
}
