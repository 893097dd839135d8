package confine

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
	"runtime"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// A script is what a child does between fork and exec: a list of system calls
// that the parent prepared. Every setting is thus made by the child on itself
// (its limits, its control groups, its Landlock domain, its filter), so that the
// launcher and its threads keep their own, and nothing of the program runs
// before all of it is in force. os/exec cannot do this: it knows few settings,
// and the others would have to be made on the launcher or too late.
type script struct {
	calls []call
	pins  runtime.Pinner
	fds   []int
	// born is the version 2 control group to make the child in, when not zero, and
	// enter the call that brings it there where the kernel refuses that.
	born  int
	enter call
}

// A call is one system call of a script.
type call struct {
	nr   uintptr
	args [6]uintptr
	// try says that the child goes on when the call fails.
	try bool
	// want, when not zero, is the only result that is right.
	want uintptr
	// what says in an error what the call was for.
	what string
}

// must adds a call without which the child does not start.
func (s *script) must(what string, nr uintptr, args ...uintptr) {
	c := call{nr: nr, what: what}
	copy(c.args[:], args)
	s.calls = append(s.calls, c)
}

// try adds a call that may fail.
func (s *script) try(nr uintptr, args ...uintptr) {
	c := call{nr: nr, try: true}
	copy(c.args[:], args)
	s.calls = append(s.calls, c)
}

// pointer returns the address of what p points to, which stays where it is
// until release.
func pointer[T any](s *script, p *T) uintptr {
	s.pins.Pin(p)
	return uintptr(unsafe.Pointer(p))
}

// text returns the address of a zero-terminated copy of t.
func (s *script) text(t string) (uintptr, error) {
	b, err := unix.BytePtrFromString(t)
	if err != nil {
		return 0, fmt.Errorf("%q holds a zero byte", t)
	}
	return pointer(s, b), nil
}

// texts returns the address of a list as execve takes it.
func (s *script) texts(list []string) (uintptr, error) {
	table := make([]uintptr, len(list)+1)
	for i, t := range list {
		address, err := s.text(t)
		if err != nil {
			// An environment may hold secrets: the text is not repeated.
			return 0, fmt.Errorf("entry %d holds a zero byte", i)
		}
		table[i] = address
	}
	return pointer(s, &table[0]), nil
}

// open opens a file that the script's calls use and that release closes. It is
// never 0, 1 or 2, which the script gives to the child.
func (s *script) open(path string, flags int) (int, error) {
	fd, err := unix.Open(path, flags|unix.O_CLOEXEC, 0)
	if err != nil {
		return -1, &os.PathError{Op: "open", Path: path, Err: err}
	}
	return s.keep(fd)
}

// keep makes the script the owner of fd.
func (s *script) keep(fd int) (int, error) {
	if fd > 2 {
		s.fds = append(s.fds, fd)
		return fd, nil
	}
	high, err := unix.FcntlInt(uintptr(fd), unix.F_DUPFD_CLOEXEC, 3)
	err = errors.Join(err, unix.Close(fd))
	if err != nil {
		return -1, fmt.Errorf("move a file descriptor: %w", err)
	}
	s.fds = append(s.fds, high)
	return high, nil
}

// release gives back what the script holds, once the child runs or failed.
func (s *script) release() {
	s.pins.Unpin()
	for _, fd := range s.fds {
		_ = unix.Close(fd)
	}
	s.fds = nil
}

// run forks a child that makes the script's calls, the last of which is execve.
// It returns when the child's program runs, or with what the child could not do.
// The caller has locked its thread: a parent-death signal goes by thread.
func (s *script) run() (int, error) {
	var pipe [2]int
	if err := unix.Pipe2(pipe[:], unix.O_CLOEXEC); err != nil {
		return 0, fmt.Errorf("make a pipe: %w", err)
	}
	report := os.NewFile(uintptr(pipe[0]), "report")
	defer report.Close()

	pid, errno := s.fork(uintptr(pipe[1]))
	_ = unix.Close(pipe[1])
	if errno != 0 {
		return 0, fmt.Errorf("make a process: %w", errno)
	}

	var failure [8]byte
	if _, err := io.ReadFull(report, failure[:]); err != nil {
		return int(pid), nil // the pipe closed with exec
	}
	var status unix.WaitStatus
	for {
		if _, err := unix.Wait4(int(pid), &status, 0, nil); err != unix.EINTR {
			break
		}
	}
	failed := s.calls[binary.NativeEndian.Uint32(failure[:4])]
	errno = syscall.Errno(binary.NativeEndian.Uint32(failure[4:]))
	return 0, fmt.Errorf("%s: %w", failed.what, errno)
}

// A birth is what clone3 is told (struct clone_args, clone(2)).
type birth struct {
	flags, pidfd, child, parent, signal, stack, stackSize, tls, tids, tidsSize, cgroup uint64
}

// fork makes the child in its control group, or has it go there by itself where
// clone3 is missing or refused, as in some containers.
func (s *script) fork(report uintptr) (uintptr, syscall.Errno) {
	syscall.ForkLock.Lock()
	defer syscall.ForkLock.Unlock()
	if s.born != 0 {
		b := &birth{flags: unix.CLONE_INTO_CGROUP, signal: uint64(unix.SIGCHLD), cgroup: uint64(s.born)}
		if pid, errno := fork(s.calls, report, b); errno == 0 {
			return pid, 0
		}
		s.calls = append([]call{s.enter}, s.calls...)
	}
	return fork(s.calls, report, nil)
}

// These are what package syscall uses around its own fork. The runtime keeps
// them reachable for programs that fork by themselves (go.dev/issue/67401).
//
//go:linkname beforeFork syscall.runtime_BeforeFork
func beforeFork()

//go:linkname afterFork syscall.runtime_AfterFork
func afterFork()

//go:linkname afterForkInChild syscall.runtime_AfterForkInChild
func afterForkInChild()

// fork makes a process with a copy of this one's memory. The child has one
// thread and a Go runtime that does not work any more: until exec it may only
// make system calls. It must not allocate, grow its stack or write pointers, so
// everything it needs is in calls, and it calls nothing but RawSyscall6.
//
//go:norace
//go:nocheckptr
//go:noinline
func fork(calls []call, report uintptr, b *birth) (pid uintptr, errno syscall.Errno) {
	beforeFork()
	if b != nil {
		pid, _, errno = syscall.RawSyscall6(unix.SYS_CLONE3, uintptr(unsafe.Pointer(b)), unsafe.Sizeof(*b), 0, 0, 0, 0)
	} else {
		pid, _, errno = syscall.RawSyscall6(unix.SYS_CLONE, uintptr(unix.SIGCHLD), 0, 0, 0, 0, 0)
	}
	if errno != 0 || pid != 0 {
		afterFork()
		return pid, errno
	}
	afterForkInChild()

	var failure [2]uint32
	for i := range calls {
		c := &calls[i]
		result, _, e := syscall.RawSyscall6(c.nr, c.args[0], c.args[1], c.args[2], c.args[3], c.args[4], c.args[5])
		if e == 0 && c.want != 0 && result != c.want {
			e = unix.ESRCH
		}
		if e != 0 && !c.try {
			failure[0], failure[1] = uint32(i), uint32(e)
			break
		}
	}
	syscall.RawSyscall6(unix.SYS_WRITE, report, uintptr(unsafe.Pointer(&failure)), unsafe.Sizeof(failure), 0, 0, 0)
	for {
		syscall.RawSyscall6(unix.SYS_EXIT_GROUP, 253, 0, 0, 0, 0, 0)
	}
}
