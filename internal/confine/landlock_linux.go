package confine

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"unsafe"

	"golang.org/x/sys/unix"
)

// Landlock's rights (landlock(7)). The package go-landlock restricts the whole
// calling process, in all its threads; here the launcher stays as it is and only
// the child is restricted, by one system call of its script, so the ruleset is
// made with the system calls themselves.
const (
	fileRead  = unix.LANDLOCK_ACCESS_FS_EXECUTE | unix.LANDLOCK_ACCESS_FS_READ_FILE
	fileWrite = unix.LANDLOCK_ACCESS_FS_WRITE_FILE | unix.LANDLOCK_ACCESS_FS_TRUNCATE
	onFiles   = fileRead | fileWrite | unix.LANDLOCK_ACCESS_FS_IOCTL_DEV

	treeRead  = fileRead | unix.LANDLOCK_ACCESS_FS_READ_DIR
	treeWrite = treeRead | fileWrite | unix.LANDLOCK_ACCESS_FS_REMOVE_DIR | unix.LANDLOCK_ACCESS_FS_REMOVE_FILE |
		unix.LANDLOCK_ACCESS_FS_MAKE_DIR | unix.LANDLOCK_ACCESS_FS_MAKE_REG | unix.LANDLOCK_ACCESS_FS_MAKE_SOCK |
		unix.LANDLOCK_ACCESS_FS_MAKE_FIFO | unix.LANDLOCK_ACCESS_FS_MAKE_SYM | unix.LANDLOCK_ACCESS_FS_REFER

	allFiles = treeWrite | unix.LANDLOCK_ACCESS_FS_MAKE_CHAR | unix.LANDLOCK_ACCESS_FS_MAKE_BLOCK |
		unix.LANDLOCK_ACCESS_FS_IOCTL_DEV
)

// The versions of Landlock that brought what we use, and the kernel with it.
const (
	landlockFiles    = 1 // 5.13
	landlockRefer    = 2 // 5.19: moving files between directories
	landlockTruncate = 3 // 6.2
	landlockTCP      = 4 // 6.7
	landlockIoctl    = 5 // 6.10
	landlockScope    = 6 // 6.12: signals and abstract sockets
)

// landlockVersion is what the kernel offers; 0 is none.
func landlockVersion() int {
	version, _, errno := unix.Syscall(unix.SYS_LANDLOCK_CREATE_RULESET, 0, 0, unix.LANDLOCK_CREATE_RULESET_VERSION)
	if errno != 0 {
		return 0
	}
	return int(version)
}

// landlockRights are the rights on files that a version can withhold.
func landlockRights(version int) uint64 {
	rights := uint64(allFiles)
	if version < landlockRefer {
		rights &^= unix.LANDLOCK_ACCESS_FS_REFER
	}
	if version < landlockTruncate {
		rights &^= unix.LANDLOCK_ACCESS_FS_TRUNCATE
	}
	if version < landlockIoctl {
		rights &^= unix.LANDLOCK_ACCESS_FS_IOCTL_DEV
	}
	return rights
}

// A ruleset says what a child may do with files and ports.
type ruleset struct {
	fd     int
	rights uint64
	tcp    bool
}

// newRuleset makes a ruleset that allows nothing, or returns false when the
// kernel has no Landlock.
func newRuleset(s *script) (ruleset, bool, error) {
	version := landlockVersion()
	if version < landlockFiles {
		return ruleset{}, false, nil
	}
	r := ruleset{rights: landlockRights(version), tcp: version >= landlockTCP}
	attr := unix.LandlockRulesetAttr{Handled_access_fs: r.rights}
	if r.tcp {
		attr.Handled_access_net = unix.LANDLOCK_ACCESS_NET_BIND_TCP | unix.LANDLOCK_ACCESS_NET_CONNECT_TCP
	}
	if version >= landlockScope {
		attr.Scoped = unix.LANDLOCK_SCOPE_ABSTRACT_UNIX_SOCKET | unix.LANDLOCK_SCOPE_SIGNAL
	}
	// Kernels take a longer structure than they know when what they do not know
	// is zero. What no kernel of ours sets is left off.
	size := unsafe.Offsetof(attr.Quiet_access_fs)
	fd, _, errno := unix.Syscall(unix.SYS_LANDLOCK_CREATE_RULESET, uintptr(unsafe.Pointer(&attr)), size, 0)
	if errno != 0 {
		return r, false, fmt.Errorf("make a Landlock ruleset: %w", errno)
	}
	var err error
	r.fd, err = s.keep(int(fd))
	return r, err == nil, err
}

// allow grants rights beneath a path. What does not exist is left out.
func (r ruleset) allow(path string, rights uint64) error {
	fd, err := unix.Open(path, unix.O_PATH|unix.O_CLOEXEC, 0)
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, unix.ENOTDIR) {
		return nil
	}
	if err != nil {
		return &os.PathError{Op: "open", Path: path, Err: err}
	}
	defer unix.Close(fd)
	return r.allowFD(fd, path, rights)
}

// allowFD grants rights beneath what fd stands for.
func (r ruleset) allowFD(fd int, path string, rights uint64) error {
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil {
		return &os.PathError{Op: "stat", Path: path, Err: err}
	}
	if st.Mode&unix.S_IFMT != unix.S_IFDIR {
		rights &= onFiles
	}
	rule := unix.LandlockPathBeneathAttr{Allowed_access: rights & r.rights, Parent_fd: int32(fd)}
	_, _, errno := unix.Syscall6(unix.SYS_LANDLOCK_ADD_RULE, uintptr(r.fd), unix.LANDLOCK_RULE_PATH_BENEATH,
		uintptr(unsafe.Pointer(&rule)), 0, 0, 0)
	if errno != 0 {
		return &os.PathError{Op: "allow", Path: path, Err: errno}
	}
	return nil
}

// allowPort grants rights on a TCP port, of any address.
func (r ruleset) allowPort(port uint16, rights uint64) error {
	const rulePort = 2 // LANDLOCK_RULE_NET_PORT
	rule := struct{ rights, port uint64 }{rights, uint64(port)}
	_, _, errno := unix.Syscall6(unix.SYS_LANDLOCK_ADD_RULE, uintptr(r.fd), rulePort, uintptr(unsafe.Pointer(&rule)), 0, 0, 0)
	if errno != 0 {
		return fmt.Errorf("allow port %d: %w", port, errno)
	}
	return nil
}

// allowSystem grants what programs of any language need of the system, and no
// more: nothing a machine keeps in /etc for others, no home, no other devices.
func (r ruleset) allowSystem() error {
	for _, grant := range systemPaths {
		for _, path := range strings.Fields(grant.paths) {
			list := []string{path}
			if strings.ContainsRune(path, '*') {
				list, _ = filepath.Glob(path) // the patterns are constants
			}
			for _, path := range list {
				if err := r.allow(path, grant.rights); err != nil && !errors.Is(err, fs.ErrPermission) {
					return err
				}
			}
		}
	}
	return nil
}

// systemPaths are what allowSystem grants. Links lead to what they name: where
// /etc/resolv.conf is one, the file it names is readable.
var systemPaths = []struct {
	rights uint64
	paths  string
}{
	{treeRead, `/usr /bin /sbin /lib /lib32 /lib64 /libx32 /nix/store /gnu/store`},
	// Names, users and times.
	{treeRead, `/etc/hosts /etc/host.conf /etc/hostname /etc/resolv.conf /etc/nsswitch.conf /etc/gai.conf
		/etc/services /etc/protocols /etc/networks /etc/passwd /etc/group /etc/localtime /etc/timezone
		/etc/locale.alias /etc/locale.conf /etc/os-release /etc/debian_version /etc/lsb-release
		/run/systemd/resolve /run/resolvconf /run/NetworkManager/resolv.conf`},
	// The dynamic linker, and links to the chosen of several programs.
	{treeRead, `/etc/ld.so.cache /etc/ld.so.conf /etc/ld.so.conf.d /etc/ld.so.preload /etc/ld-musl-*.path /etc/alternatives`},
	// Certificates, without the private keys next to them.
	{treeRead, `/etc/ssl/certs /etc/ssl/cert.pem /etc/ssl/ca-bundle.pem /etc/ssl/openssl.cnf /etc/ca-certificates
		/etc/ca-certificates.conf /etc/pki/tls/certs /etc/pki/tls/cert.pem /etc/pki/tls/openssl.cnf /etc/pki/ca-trust
		/etc/crypto-policies /var/lib/ca-certificates /usr/local/share/certs`},
	// Languages and tools.
	{treeRead, `/etc/mime.types /etc/magic /etc/terminfo /etc/inputrc /etc/fonts /etc/gitconfig /etc/python3*
		/etc/perl /etc/php /etc/java* /etc/ImageMagick-*`},
	// The machine's size, and what control groups leave of it.
	{treeRead, `/proc /sys/fs/cgroup /sys/devices/system/cpu /sys/devices/system/node /sys/kernel/mm/transparent_hugepage`},
	{fileRead | fileWrite, `/dev/null /dev/zero /dev/full /dev/tty`},
	{fileRead, `/dev/random /dev/urandom`},
}

// allowPolicy grants what the policy names.
func (r ruleset) allowPolicy(p Policy) error {
	for _, path := range p.ReadOnly {
		if err := r.allow(path, treeRead); err != nil {
			return err
		}
	}
	for _, path := range p.ReadWrite {
		if err := r.allow(path, treeWrite); err != nil {
			return err
		}
	}
	if !r.tcp {
		return nil
	}
	for _, port := range p.Bind {
		if err := r.allowPort(port, unix.LANDLOCK_ACCESS_NET_BIND_TCP|unix.LANDLOCK_ACCESS_NET_CONNECT_TCP); err != nil {
			return err
		}
	}
	for _, port := range p.Connect {
		if err := r.allowPort(port, unix.LANDLOCK_ACCESS_NET_CONNECT_TCP); err != nil {
			return err
		}
	}
	return nil
}
