package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// processes are what a run has started.
type processes struct{ list []*process }

// process is a program under measurement.
type process struct {
	cmd    *exec.Cmd
	output bytes.Buffer
	ended  chan error
}

// start starts a program, which is ended with the run. What it says of its errors
// is kept.
func (p *processes) start(name string, args, env []string) (*process, error) {
	proc := &process{cmd: exec.Command(name, args...), ended: make(chan error, 1)}
	proc.cmd.Stderr = &proc.output
	return proc, p.add(proc, env)
}

// startQuiet is start for a program whose log must cost what a log costs, and
// nothing for whoever reads it.
func (p *processes) startQuiet(name string, args, env []string) (*process, error) {
	proc := &process{cmd: exec.Command(name, args...), ended: make(chan error, 1)}
	null, err := os.OpenFile(os.DevNull, os.O_WRONLY, 0)
	if err != nil {
		return nil, err
	}
	defer null.Close()
	proc.cmd.Stderr = null
	return proc, p.add(proc, env)
}

func (p *processes) add(proc *process, env []string) error {
	proc.cmd.Env = append(os.Environ(), env...)
	if err := proc.cmd.Start(); err != nil {
		return fmt.Errorf("start %s: %w", filepath.Base(proc.cmd.Path), err)
	}
	go func() { proc.ended <- proc.cmd.Wait() }()
	p.list = append(p.list, proc)
	return nil
}

// end ends all of them, the last first.
func (p *processes) end() {
	for i := len(p.list) - 1; i >= 0; i-- {
		proc := p.list[i]
		_ = proc.cmd.Process.Signal(syscall.SIGTERM) // it may have ended
		select {
		case <-proc.ended:
		case <-time.After(5 * time.Second):
			_ = proc.cmd.Process.Kill()
			<-proc.ended
		}
	}
}

// listening waits until a program accepts connections.
func (p *process) listening(ctx context.Context, address string) error {
	ctx, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for {
		conn, err := net.Dial("tcp", address)
		if err == nil {
			return conn.Close()
		}
		select {
		case <-tick.C:
		case err := <-p.ended:
			p.ended <- err
			return fmt.Errorf("it ended: %v\n%s", err, p.output.String())
		case <-ctx.Done():
			return errors.New("it does not listen on " + address)
		}
	}
}

// usage is what a program and its children have used.
type usage struct {
	cpu      time.Duration
	resident int64 // bytes
}

// usage reads what the process tree has used so far. Its processes live as long as
// the run, so that nothing is lost between two readings.
func (p *process) usage() (usage, error) {
	return treeUsage(p.cmd.Process.Pid)
}

func treeUsage(pid int) (usage, error) {
	u, err := ownUsage(pid)
	if err != nil {
		return u, err
	}
	lists, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/children", pid))
	if err != nil {
		return u, err
	}
	for _, list := range lists {
		text, err := os.ReadFile(list)
		if err != nil {
			return u, fmt.Errorf("look for children of process %d: %w", pid, err)
		}
		for _, word := range strings.Fields(string(text)) {
			child, err := strconv.Atoi(word)
			if err != nil {
				return u, err
			}
			more, err := treeUsage(child)
			if err != nil {
				return u, err
			}
			u.cpu += more.cpu
			u.resident += more.resident
		}
	}
	return u, nil
}

// ownUsage adds up the time on a processor of all threads, in nanoseconds
// (proc_pid_schedstat in the kernel's documentation, sched-stats), and the private
// memory: what processes share would count twice.
func ownUsage(pid int) (usage, error) {
	var u usage
	threads, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/schedstat", pid))
	if err != nil {
		return u, err
	}
	for _, thread := range threads {
		text, err := os.ReadFile(thread)
		if err != nil {
			continue // it has ended
		}
		first, _, _ := strings.Cut(string(text), " ")
		n, err := strconv.ParseInt(first, 10, 64)
		if err != nil {
			return u, fmt.Errorf("read %s: %w", thread, err)
		}
		u.cpu += time.Duration(n)
	}
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/smaps_rollup", pid))
	if err != nil {
		return u, fmt.Errorf("read the memory of process %d: %w", pid, err)
	}
	for line := range strings.Lines(string(text)) {
		f := strings.Fields(line)
		if len(f) == 3 && (f[0] == "Private_Dirty:" || f[0] == "Private_Clean:") {
			n, err := strconv.ParseInt(f[1], 10, 64)
			if err != nil {
				return u, fmt.Errorf("read the memory of process %d: %w", pid, err)
			}
			u.resident += n << 10
		}
	}
	return u, nil
}

// freePort returns a loopback address that nobody listens on now.
func freePort() (string, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	return l.Addr().String(), l.Close()
}
