// Command probe tries what a confined process is not to do, one thing at a time:
// its first argument says which. It prints what came of it, and exits with 0 when
// it succeeded, 1 when it was refused and 2 when it was asked something wrong.
package main

import (
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

func main() {
	if len(os.Args) < 2 {
		os.Exit(2)
	}
	act, ok := acts[os.Args[1]]
	if !ok {
		fmt.Println("unknown:", os.Args[1])
		os.Exit(2)
	}
	if err := act(os.Args[2:]); err != nil {
		fmt.Println("refused:", err)
		os.Exit(1)
	}
	fmt.Println("done")
}

var acts = map[string]func([]string) error{
	"read":  func(a []string) error { b, err := os.ReadFile(a[0]); fmt.Printf("read %d bytes\n", len(b)); return err },
	"write": func(a []string) error { return os.WriteFile(a[0], []byte("x"), 0o666) },
	"list":  func(a []string) error { _, err := os.ReadDir(a[0]); return err },
	"link":  func(a []string) error { _, err := os.Readlink(a[0]); return err },
	"stat":  func(a []string) error { _, err := os.Stat(a[0]); return err },
	"run": func(a []string) error {
		out, err := exec.Command(a[0], a[1:]...).CombinedOutput()
		fmt.Printf("%s", out)
		return err
	},
	"bind":     func(a []string) error { return bind(a[0]) },
	"listen":   listen,
	"connect":  func(a []string) error { return connect(a[0]) },
	"fastopen": fastOpen,
	"mptcp":    func(a []string) error { return socket(unix.AF_INET, unix.SOCK_STREAM, unix.IPPROTO_MPTCP) },
	"packet":   func(a []string) error { return socket(unix.AF_PACKET, unix.SOCK_RAW, 0) },
	"vsock":    func(a []string) error { return socket(unix.AF_VSOCK, unix.SOCK_STREAM, 0) },
	"unix": func(a []string) error {
		c, err := net.Dial("unix", a[0])
		if err == nil {
			c.Close()
		}
		return err
	},
	"pair":    func(a []string) error { _, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM, 0); return err },
	"signal":  func(a []string) error { return unix.Kill(number(a[0]), 0) },
	"ptrace":  func(a []string) error { return unix.PtraceAttach(number(a[0])) },
	"peek":    peek,
	"userns":  func(a []string) error { return unix.Unshare(unix.CLONE_NEWUSER) },
	"mountns": func(a []string) error { return unix.Unshare(unix.CLONE_NEWNS) },
	"iouring": ioUring,
	"keyctl": func(a []string) error {
		_, err := unix.KeyctlGetKeyringID(unix.KEY_SPEC_SESSION_KEYRING, true)
		return err
	},
	"bpf":      func(a []string) error { _, _, e := unix.Syscall(unix.SYS_BPF, 0, 0, 0); return errnoErr(e) },
	"fork":     forkBomb,
	"allocate": allocate,
	"fill":     fill,
	"unnamed":  unnamed,
	"stubborn": stubborn,
	"escape":   escape,
	"daemon":   daemon,
	"spin": func([]string) error {
		for {
			runtime.Gosched()
		}
	},
	"open":       openMany,
	"env":        func([]string) error { fmt.Println(strings.Join(os.Environ(), "\n")); return nil },
	"id":         identity,
	"umask":      func(a []string) error { return os.WriteFile(a[0], nil, 0o666) },
	"interfaces": func([]string) error { _, err := net.Interfaces(); return err },
	"exit":       func(a []string) error { os.Exit(number(a[0])); return nil },
	"cat": func([]string) error {
		b, err := io.ReadAll(os.Stdin)
		fmt.Printf("stdin had %d bytes\n", len(b))
		return err
	},
}

func number(s string) int {
	n, err := strconv.Atoi(s)
	if err != nil {
		os.Exit(2)
	}
	return n
}

func errnoErr(e syscall.Errno) error {
	if e == unix.EPERM || e == unix.EACCES || e == unix.ENOSYS {
		return e
	}
	return nil // the call was made, whatever the kernel thought of its arguments
}

func bind(port string) error {
	l, err := net.Listen("tcp4", "127.0.0.1:"+port)
	if err == nil {
		l.Close()
	}
	return err
}

// listen listens until the process is ended.
func listen(a []string) error {
	l, err := net.Listen("tcp4", "127.0.0.1:"+a[0])
	if err != nil {
		return err
	}
	fmt.Println("listening")
	for {
		c, err := l.Accept()
		if err != nil {
			return err
		}
		c.Close()
	}
}

func connect(port string) error {
	c, err := net.Dial("tcp4", "127.0.0.1:"+port)
	if err == nil {
		c.Close()
	}
	return err
}

// fastOpen connects by sending.
func fastOpen(a []string) error {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM, 0)
	if err != nil {
		return err
	}
	to := &unix.SockaddrInet4{Port: number(a[0]), Addr: [4]byte{127, 0, 0, 1}}
	return unix.Sendto(fd, []byte("x"), unix.MSG_FASTOPEN, to)
}

func socket(family, kind, protocol int) error {
	fd, err := unix.Socket(family, kind, protocol)
	if err == nil {
		unix.Close(fd)
	}
	return err
}

// peek reads the memory of another process.
func peek(a []string) error {
	f, err := os.Open("/proc/" + a[0] + "/mem")
	if err == nil {
		f.Close()
		return nil
	}
	buffer := make([]byte, 8)
	local := []unix.Iovec{{Base: &buffer[0], Len: 8}}
	remote := []unix.RemoteIovec{{Base: uintptr(unsafe.Pointer(&buffer[0])), Len: 8}}
	if _, e := unix.ProcessVMReadv(number(a[0]), local, remote, 0); !errors.Is(e, unix.EPERM) {
		return nil
	}
	return err
}

func ioUring([]string) error {
	var params [120]byte
	_, _, e := unix.Syscall(unix.SYS_IO_URING_SETUP, 1, uintptr(unsafe.Pointer(&params)), 0)
	return errnoErr(e)
}

// forkBomb starts itself twice, without end.
func forkBomb([]string) error {
	failed := 0
	for {
		cmd := exec.Command("/proc/self/exe", "fork")
		cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
		if err := cmd.Start(); err != nil {
			if failed++; failed == 1 {
				fmt.Println("cannot fork")
			}
			runtime.Gosched()
		}
	}
}

func allocate([]string) error {
	var all [][]byte
	for {
		b := make([]byte, 1<<20)
		for i := 0; i < len(b); i += 4096 {
			b[i] = 1
		}
		all = append(all, b)
		if len(all) > 1<<14 {
			return nil
		}
	}
}

// fill writes files of 1 MiB without end.
func fill(a []string) error {
	b := make([]byte, 1<<20)
	for i := 0; i < 4096; i++ {
		if err := os.WriteFile(filepath.Join(a[0], strconv.Itoa(i)), b, 0o600); err != nil {
			return err
		}
	}
	return nil
}

// unnamed writes files that have no name any more.
func unnamed(a []string) error {
	b := make([]byte, 1<<20)
	var files []*os.File
	for i := 0; i < 512; i++ {
		f, err := os.CreateTemp(a[0], "")
		if err != nil {
			return err
		}
		os.Remove(f.Name())
		for range 8 {
			if _, err := f.Write(b); err != nil {
				return err
			}
		}
		files = append(files, f)
	}
	runtime.KeepAlive(files)
	return nil
}

func stubborn([]string) error {
	signal.Ignore(syscall.SIGTERM, syscall.SIGINT, syscall.SIGHUP)
	fmt.Println("ignoring")
	for {
		unix.Pause()
	}
}

// escape leaves a stubborn process in a session of its own, without parents.
func escape(a []string) error {
	if len(a) > 0 {
		return stubborn(nil)
	}
	cmd := exec.Command("/bin/sh", "-c", `setsid "$0" escape again & exec true`, "/proc/"+strconv.Itoa(os.Getpid())+"/exe")
	cmd.Stdout = os.Stdout
	if err := cmd.Start(); err != nil {
		return err
	}
	for {
		unix.Pause()
	}
}

// daemon leaves a process behind and ends.
func daemon([]string) error {
	cmd := exec.Command("/proc/self/exe", "stubborn")
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	if err := cmd.Start(); err != nil {
		return err
	}
	fmt.Println("child", cmd.Process.Pid)
	return nil
}

func openMany([]string) error {
	for i := 0; i < 1000; i++ {
		if _, err := unix.Open("/dev/null", unix.O_RDONLY, 0); err != nil {
			return err
		}
	}
	return nil
}

func identity([]string) error {
	groups, err := os.Getgroups()
	fmt.Println("uid", os.Getuid(), os.Geteuid(), "gid", os.Getgid(), os.Getegid(), "groups", groups)
	status, err2 := os.ReadFile("/proc/self/status")
	fmt.Printf("%s", status)
	return errors.Join(err, err2)
}
