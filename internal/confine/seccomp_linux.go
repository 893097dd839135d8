package confine

import (
	"fmt"
	"runtime"
	"slices"

	"golang.org/x/net/bpf"
	"golang.org/x/sys/unix"
)

// What a filter sees of a call (struct seccomp_data, seccomp(2)). Arguments that
// are checked are ints to the kernel, which ignores the upper half as well.
const (
	dataNumber = 0
	dataArch   = 4
	dataArgs   = 16
)

// argument loads the lower half of an argument; both architectures are little
// endian.
func argument(n uint32) bpf.Instruction { return bpf.LoadAbsolute{Off: dataArgs + 8*n, Size: 4} }

// The results of a filter.
var (
	allowCall = bpf.RetConstant{Val: unix.SECCOMP_RET_ALLOW}
	killAll   = bpf.RetConstant{Val: unix.SECCOMP_RET_KILL_PROCESS}
)

// refuse has a call fail with an error that programs can report.
func refuse(errno unix.Errno) bpf.Instruction {
	return bpf.RetConstant{Val: unix.SECCOMP_RET_ERRNO | uint32(errno)}
}

// architectures are those the filter is written for, as AUDIT_ARCH_* values.
var architectures = map[string]uint32{
	"amd64": unix.AUDIT_ARCH_X86_64,
	"arm64": unix.AUDIT_ARCH_AARCH64,
}

// filterable reports whether the kernel takes filters for this architecture.
func filterable() bool {
	_, known := architectures[runtime.GOARCH]
	mode, err := unix.PrctlRetInt(unix.PR_GET_SECCOMP, 0, 0, 0, 0)
	return known && err == nil && mode >= 0
}

// newFilter writes the filter of system calls for a process, or returns nil for
// an architecture it does not know. unixSockets says whether it may make unix
// sockets: no other measure keeps a process from the sockets that its user can
// open, the ingress's own among them.
func newFilter(unixSockets bool) ([]unix.SockFilter, error) {
	arch, known := architectures[runtime.GOARCH]
	if !known {
		return nil, nil
	}
	f := filter{
		bpf.LoadAbsolute{Off: dataArch, Size: 4},
		bpf.JumpIf{Cond: bpf.JumpEqual, Val: arch, SkipTrue: 1},
		killAll,
		bpf.LoadAbsolute{Off: dataNumber, Size: 4},
	}
	if runtime.GOARCH == "amd64" {
		// The x32 numbers name the same calls once more.
		const x32 = 0x40000000
		f = append(f, bpf.JumpIf{Cond: bpf.JumpLessThan, Val: x32, SkipTrue: 1}, refuse(unix.ENOSYS))
	}
	for _, nr := range slices.Concat(refusedCalls, refusedHere) {
		f.on(nr, refuse(unix.EPERM))
	}
	// Its flags are in memory, where a filter does not look; libraries then use clone.
	f.on(unix.SYS_CLONE3, refuse(unix.ENOSYS))
	f.onFlags(unix.SYS_CLONE, 0, newNamespaces, unix.EPERM)
	f.onFlags(unix.SYS_UNSHARE, 0, newNamespaces|unix.CLONE_NEWTIME, unix.EPERM)
	// It connects without connect, which Landlock watches.
	f.onFlags(unix.SYS_SENDTO, 3, unix.MSG_FASTOPEN, unix.EOPNOTSUPP)
	f.onFlags(unix.SYS_SENDMSG, 2, unix.MSG_FASTOPEN, unix.EOPNOTSUPP)
	f.onFlags(unix.SYS_SENDMMSG, 3, unix.MSG_FASTOPEN, unix.EOPNOTSUPP)
	f.onValues(unix.SYS_IOCTL, 1, unix.EPERM, unix.TIOCSTI, unix.TIOCLINUX)
	f.onSocket(unixSockets)
	// It turns a TCP socket into one that Landlock does not watch.
	f.on(unix.SYS_SETSOCKOPT,
		argument(1),
		bpf.JumpIf{Cond: bpf.JumpNotEqual, Val: unix.IPPROTO_TCP, SkipTrue: 3},
		argument(2),
		bpf.JumpIf{Cond: bpf.JumpNotEqual, Val: unix.TCP_ULP, SkipTrue: 1},
		refuse(unix.ENOPROTOOPT),
		allowCall)
	f = append(f, allowCall)
	return f.assemble()
}

// newNamespaces are the flags of clone that make namespaces. Within one of its
// own users a process would be root again, and reach much more of the kernel.
const newNamespaces = unix.CLONE_NEWNS | unix.CLONE_NEWUTS | unix.CLONE_NEWIPC | unix.CLONE_NEWUSER |
	unix.CLONE_NEWPID | unix.CLONE_NEWNET | unix.CLONE_NEWCGROUP

// refusedCalls are of no use to an app: they look into other processes, change
// the machine, or are parts of the kernel that were often its way out. io_uring
// is among them because its operations pass this filter by.
var refusedCalls = []uint32{
	unix.SYS_PTRACE, unix.SYS_PROCESS_VM_READV, unix.SYS_PROCESS_VM_WRITEV, unix.SYS_PROCESS_MADVISE,
	unix.SYS_KCMP, unix.SYS_PIDFD_GETFD, unix.SYS_BPF, unix.SYS_PERF_EVENT_OPEN, unix.SYS_USERFAULTFD,
	unix.SYS_IO_URING_SETUP, unix.SYS_IO_URING_ENTER, unix.SYS_IO_URING_REGISTER,
	unix.SYS_ADD_KEY, unix.SYS_REQUEST_KEY, unix.SYS_KEYCTL,
	unix.SYS_MOUNT, unix.SYS_UMOUNT2, unix.SYS_PIVOT_ROOT, unix.SYS_CHROOT, unix.SYS_SETNS,
	unix.SYS_OPEN_TREE, unix.SYS_MOVE_MOUNT, unix.SYS_FSOPEN, unix.SYS_FSCONFIG, unix.SYS_FSMOUNT,
	unix.SYS_FSPICK, unix.SYS_MOUNT_SETATTR, unix.SYS_OPEN_BY_HANDLE_AT, unix.SYS_FANOTIFY_INIT,
	unix.SYS_KEXEC_LOAD, unix.SYS_INIT_MODULE, unix.SYS_FINIT_MODULE, unix.SYS_DELETE_MODULE,
	unix.SYS_REBOOT, unix.SYS_SWAPON, unix.SYS_SWAPOFF, unix.SYS_ACCT, unix.SYS_QUOTACTL,
	unix.SYS_QUOTACTL_FD, unix.SYS_SYSLOG, unix.SYS_VHANGUP, unix.SYS_LOOKUP_DCOOKIE, unix.SYS_NFSSERVCTL,
	unix.SYS_SETTIMEOFDAY, unix.SYS_CLOCK_SETTIME, unix.SYS_CLOCK_ADJTIME, unix.SYS_ADJTIMEX,
	unix.SYS_SETHOSTNAME, unix.SYS_SETDOMAINNAME, unix.SYS_KEXEC_FILE_LOAD,
}

// A filter is a program under construction. Before each rule the call's number
// is loaded; rules that load something else end the program.
type filter []bpf.Instruction

// on runs a rule, which ends with a result, for one call.
func (f *filter) on(nr uint32, rule ...bpf.Instruction) {
	*f = append(*f, bpf.JumpIf{Cond: bpf.JumpNotEqual, Val: nr, SkipTrue: uint8(len(rule))})
	*f = append(*f, rule...)
}

// onFlags refuses a call when an argument has any of the flags.
func (f *filter) onFlags(nr, arg, flags uint32, errno unix.Errno) {
	f.on(nr, argument(arg), bpf.JumpIf{Cond: bpf.JumpBitsSet, Val: flags, SkipFalse: 1}, refuse(errno), allowCall)
}

// onValues refuses a call when an argument is one of the values.
func (f *filter) onValues(nr, arg uint32, errno unix.Errno, values ...uint32) {
	rule := []bpf.Instruction{argument(arg)}
	for _, value := range values {
		rule = append(rule, bpf.JumpIf{Cond: bpf.JumpNotEqual, Val: value, SkipTrue: 1}, refuse(errno))
	}
	f.on(nr, append(rule, allowCall)...)
}

// onSocket allows TCP and UDP, questions about the machine's own network
// (getaddrinfo and lists of interfaces ask them), and unix sockets perhaps.
// Other ways to speak TCP, such as multipath TCP, are not watched by Landlock.
func (f *filter) onSocket(unixSockets bool) {
	local := refuse(unix.EPERM)
	if unixSockets {
		local = allowCall
	}
	equal := func(value uint32, result bpf.Instruction) []bpf.Instruction {
		return []bpf.Instruction{bpf.JumpIf{Cond: bpf.JumpNotEqual, Val: value, SkipTrue: 1}, result}
	}
	internet := []bpf.Instruction{argument(1), bpf.ALUOpConstant{Op: bpf.ALUOpAnd, Val: 0xf}}
	internet = append(internet,
		bpf.JumpIf{Cond: bpf.JumpEqual, Val: unix.SOCK_STREAM, SkipTrue: 2},
		bpf.JumpIf{Cond: bpf.JumpEqual, Val: unix.SOCK_DGRAM, SkipTrue: 1},
		refuse(unix.EPROTONOSUPPORT),
		argument(2))
	for _, protocol := range []uint32{0, unix.IPPROTO_TCP, unix.IPPROTO_UDP, unix.IPPROTO_ICMP, unix.IPPROTO_ICMPV6} {
		internet = append(internet, equal(protocol, allowCall)...)
	}
	internet = append(internet, refuse(unix.EPROTONOSUPPORT))

	netlink := append([]bpf.Instruction{argument(2)}, equal(unix.NETLINK_ROUTE, allowCall)...)
	netlink = append(netlink, refuse(unix.EPROTONOSUPPORT))

	rule := append([]bpf.Instruction{argument(0)}, equal(unix.AF_UNIX, local)...)
	rule = append(rule, bpf.JumpIf{Cond: bpf.JumpNotEqual, Val: unix.AF_NETLINK, SkipTrue: uint8(len(netlink))})
	rule = append(rule, netlink...)
	rule = append(rule,
		bpf.JumpIf{Cond: bpf.JumpEqual, Val: unix.AF_INET, SkipTrue: 2},
		bpf.JumpIf{Cond: bpf.JumpEqual, Val: unix.AF_INET6, SkipTrue: 1},
		refuse(unix.EAFNOSUPPORT))
	f.on(unix.SYS_SOCKET, append(rule, internet...)...)
}

// assemble turns the filter into what the kernel takes.
func (f filter) assemble() ([]unix.SockFilter, error) {
	raw, err := bpf.Assemble(f)
	if err != nil {
		return nil, fmt.Errorf("write the filter of system calls: %w", err)
	}
	program := make([]unix.SockFilter, len(raw))
	for i, r := range raw {
		program[i] = unix.SockFilter{Code: r.Op, Jt: r.Jt, Jf: r.Jf, K: r.K}
	}
	return program, nil
}
