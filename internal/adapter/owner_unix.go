//go:build unix

package adapter

import (
	"os"
	"syscall"
)

// giveAway makes the owner of the source the owner of name. Only root may, and
// only root need: what an ordinary user writes is the user's own.
func (s source) giveAway(name string) error {
	if os.Geteuid() != 0 {
		return nil
	}
	info, err := s.root.Stat(".")
	if err != nil {
		return err
	}
	owner, ok := info.Sys().(*syscall.Stat_t)
	if !ok {
		return nil
	}
	return s.root.Lchown(name, int(owner.Uid), int(owner.Gid))
}
