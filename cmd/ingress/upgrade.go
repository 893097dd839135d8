package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"syscall"
	"time"
)

// upgradeRequest asks a serving program to have another one take its place. The
// answer is the other's process number, or why it goes on itself.
type upgradeRequest struct {
	answer chan upgradeAnswer // has room for one
	told   chan struct{}      // closed when whoever asked has got it
}

type upgradeAnswer struct {
	PID int `json:"pid"`
	err error
}

// letGo bounds how long requests that wait for an app, or that one which was
// replaced has still to answer, may keep the other program waiting.
const letGo = 5 * time.Second

// upgrade starts the program that is installed now, hands it the listeners and the
// lock of the data directory, and returns its process number once it serves. By
// then this program takes no connections any more, and drained tells when its last
// request has ended.
//
// Until the other has opened everything nothing is given up: an error means that
// this program goes on. Afterwards there is no way back, and the error is one to
// end with: apps run on under their launchers.
func (s *server) upgrade(ctx context.Context) (pid int, drained <-chan error, err error) {
	process, talk, err := s.startSuccessor()
	if err != nil {
		return 0, nil, fmt.Errorf("the new program could not be started, and the running one goes on: %w", err)
	}
	if err := hear(ctx, talk, sayPrepared); err != nil {
		_ = talk.Close()
		_ = process.Kill() // it may have ended
		_, _ = process.Wait()
		return 0, nil, fmt.Errorf("the new program did not come up (%w; the log of the ingress says why), and the running one goes on", err)
	}
	// It is closed last of all: the other hears by it that nothing is changed here any
	// more.
	s.closers = append([]func() error{talk.Close}, s.closers...)
	// Whoever comes from now on waits in the listeners' queues, which the other has.
	s.leaveAdmins()
	done := make(chan error, 1)
	go func() { done <- s.drain(s.front.Retire) }()
	if err := s.platform.release(ctx); err != nil {
		s.log.Error("not everything could be given up in order", "error", err) // there is no way back
	}
	if err := errors.Join(say(talk, sayGo), hear(ctx, talk, sayServing)); err != nil {
		return 0, done, fmt.Errorf("the new program ended while it took over: %w", err)
	}
	pid = process.Pid
	return pid, done, process.Release()
}

// giveWay answers a request for an upgrade, and reports whether this program is
// over, and how it has ended.
func (s *server) giveWay(ctx context.Context, request upgradeRequest) (over bool, err error) {
	s.log.Info("another process is to take this one's place")
	pid, drained, err := s.upgrade(ctx)
	request.answer <- upgradeAnswer{PID: pid, err: err}
	if drained == nil {
		s.log.Error("the upgrade failed, and this process goes on", "error", err)
		return false, nil
	}
	if err == nil {
		s.log.Info("another process has taken this one's place", "pid", pid)
	}
	select {
	case <-request.told:
	case <-time.After(time.Second): // it is slow, or gone
	}
	return true, joinErrors(err, <-drained)
}

// startSuccessor starts the program that is at this one's path now, with the same
// arguments.
func (s *server) startSuccessor() (*os.Process, net.Conn, error) {
	b := &bequest{}
	defer b.close()
	for _, l := range s.opened {
		conn, ok := l.listener.(syscall.Conn)
		if !ok {
			return nil, nil, fmt.Errorf("hand over %s: it has no descriptor", l.name)
		}
		if err := b.add(l.name, conn); err != nil {
			return nil, nil, err
		}
	}
	if s.lock != nil {
		if err := b.add(handoverLock, s.lock.File()); err != nil {
			return nil, nil, err
		}
	}
	return b.start(s.executable, os.Args, os.Environ())
}

// openedListener is a listener that can be handed over, under its name.
type openedListener struct {
	name     string
	listener net.Listener
}

// open opens the listeners of a setting, or takes them over.
func (s *server) open(field string, addrs []string, others []net.Listener) ([]net.Listener, error) {
	var all []net.Listener
	activated := s.inherited.has(field, bySystemd)
	if activated {
		addrs = []string{bySystemd}
	}
	for _, addr := range addrs {
		listeners, err := s.inherited.take(field, addr)
		if err == nil && len(listeners) == 0 {
			listeners, err = listenAll(field, []string{addr}, append(others, all...))
		}
		all = append(all, listeners...)
		if err != nil {
			closeAll(all)
			return nil, err
		}
		for _, l := range listeners {
			s.opened = append(s.opened, openedListener{listenerName(field, addr), l})
		}
	}
	if activated {
		s.settings.activated(field, all)
	}
	return all, nil
}

// openSocket opens the control socket, or takes it over. Its file goes with the
// last program that has it.
func (s *server) openSocket(path string) (net.Listener, error) {
	const field = "--admin-socket"
	taken, err := s.inherited.take(field, path)
	if err != nil {
		return nil, err
	}
	var l net.Listener
	if len(taken) == 1 {
		l = taken[0]
		if unix, ok := l.(*net.UnixListener); ok {
			unix.SetUnlinkOnClose(true) // which one that was handed over does not
		}
	} else if l, err = listenSocket(path); err != nil {
		return nil, err
	}
	s.opened = append(s.opened, openedListener{listenerName(field, path), l})
	return l, nil
}

// keepSocket lets the control socket's file stay when this program closes it: it
// is another's now.
func (s *server) keepSocket() {
	for _, l := range s.opened {
		if unix, ok := l.listener.(*net.UnixListener); ok {
			unix.SetUnlinkOnClose(false)
		}
	}
}

// upgradeCmd is ingress upgrade.
type upgradeCmd struct {
	config `embed:""`
}

// Help implements kong.HelpProvider.
func (upgradeCmd) Help() string {
	return `The running ingress starts the program that is installed at its path now, with
its own arguments, hands it the listeners, and ends when the last of its requests
has. No request is dropped, and no app restarts. When the new program does not come
up, the running one goes on. SIGHUP does the same, unless the ingress was
started from a terminal.

Example:
  install -m 755 ingress /usr/local/bin/ingress && ingress upgrade`
}

// Run asks the running process to have another take its place.
func (c *upgradeCmd) Run(p *program) error {
	running, err := p.openRunning(&c.config)
	if err != nil {
		return err
	}
	defer running.Close()
	running.client.Timeout = 2 * handoverTimeout
	var answer upgradeAnswer
	if err := running.do(http.MethodPost, "/upgrade", nil, &answer); err != nil {
		return err
	}
	_, err = fmt.Fprintf(p.stdout, "process %d serves now\n", answer.PID)
	return err
}
