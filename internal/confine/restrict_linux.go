package confine

import (
	"errors"
	"os"

	"golang.org/x/sys/unix"
)

// restrict has the child give up what it may not do. It is the last thing before
// the program runs: the calls before it need what it takes away.
func (p *Process) restrict(s *script, _ Command) error {
	if p.rules.fd != 0 {
		if err := errors.Join(p.rules.allowSystem(), p.rules.allowPolicy(p.policy)); err != nil {
			return err
		}
		s.must("be restricted by Landlock", unix.SYS_LANDLOCK_RESTRICT_SELF, uintptr(p.rules.fd), 0)
	}
	if !filterable() {
		return nil
	}
	filter, err := newFilter(p.ownUser())
	if err != nil {
		return err
	}
	pointer(s, &filter[0])
	program := unix.SockFprog{Len: uint16(len(filter)), Filter: &filter[0]}
	s.must("filter system calls", unix.SYS_SECCOMP, unix.SECCOMP_SET_MODE_FILTER, unix.SECCOMP_FILTER_FLAG_SPEC_ALLOW,
		pointer(s, &program))
	return nil
}

// ownUser reports whether it runs as a user other than the ingress, from whom
// the modes of files and sockets keep it.
func (p *Process) ownUser() bool {
	return !p.policy.User.IsZero() && p.policy.User.UID != uint32(os.Geteuid())
}
