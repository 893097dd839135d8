package storetest

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
)

// Kill kills all of the server, as a machine that loses power does.
func (s *Server) Kill() error { return s.end(syscall.SIGQUIT) }

// Pause stops every process of the server where it is, until Resume: it is there and
// says nothing.
func (s *Server) Pause() error { return s.signalAll(syscall.SIGSTOP) }

// Resume ends a Pause.
func (s *Server) Resume() error { return s.signalAll(syscall.SIGCONT) }

// signalAll signals the server, which makes no more processes then, and those that it has
// made for connections.
func (s *Server) signalAll(sig syscall.Signal) error {
	server := s.cmd.Process.Pid
	if err := syscall.Kill(server, sig); err != nil && !errors.Is(err, syscall.ESRCH) {
		return err
	}
	lists, _ := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/children", server)) // the pattern is right
	for _, list := range lists {
		text, err := os.ReadFile(list)
		if err != nil {
			return err
		}
		for _, field := range strings.Fields(string(text)) {
			pid, err := strconv.Atoi(field)
			if err != nil {
				return err
			}
			if err := syscall.Kill(pid, sig); err != nil && !errors.Is(err, syscall.ESRCH) {
				return err
			}
		}
	}
	return nil
}
