package runner

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
)

// child is a launcher that this process has started, seen from here.
type child struct {
	process *os.Process
	// stdin takes its orders; a launcher without any ends when it is closed.
	stdin io.WriteCloser
	// answer is where it says what became of them.
	answer *os.File
	// ended is closed when it is not in the process table any more.
	ended chan struct{}
}

// newChild starts a launcher, which waits for its orders. It shares nothing with
// this process: no session, no descriptor, no environment.
func (l *Local) newChild() (*child, error) {
	cmd := exec.Command(l.Executable, Subcommand, l.runDir())
	cmd.Env = []string{}
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	stderr, err := l.openLauncherLog()
	if err != nil {
		return nil, err
	}
	defer stderr.Close()
	cmd.Stderr = stderr
	stdin, err := cmd.StdinPipe()
	if err != nil {
		return nil, fmt.Errorf("start a launcher: %w", err)
	}
	answer, to, err := os.Pipe()
	if err != nil {
		return nil, fmt.Errorf("start a launcher: %w", err)
	}
	cmd.Stdout = to
	err = l.ports.start(cmd)
	_ = to.Close() // the launcher has its own
	if err != nil {
		_ = answer.Close()
		return nil, fmt.Errorf("start a launcher: %w", err)
	}
	c := &child{process: cmd.Process, stdin: stdin, answer: answer, ended: make(chan struct{})}
	go func() {
		defer close(c.ended)
		_ = cmd.Wait() // what it ran is told of its end elsewhere
	}()
	return c, nil
}

// errGone says that a launcher ended before it said that its process runs.
var errGone = errors.New("the launcher ended before it started anything; see " + launcherLog)

// begin tells the launcher what to start and returns once that runs, unless ctx
// ends first. It keeps its process only if it is told to.
func (c *child) begin(ctx context.Context, s spec) error {
	if err := writeMessage(c.stdin, s); err != nil {
		if errors.Is(err, syscall.EPIPE) || errors.Is(err, os.ErrClosed) {
			return errGone
		}
		return fmt.Errorf("tell a launcher what to start: %w", err)
	}
	stop := context.AfterFunc(ctx, func() { _ = c.answer.Close() })
	defer stop()
	var o outcome
	err := readMessage(c.answer, &o)
	switch {
	case ctx.Err() != nil:
		return ctx.Err()
	case errors.Is(err, io.EOF):
		return errGone
	case err != nil:
		return fmt.Errorf("hear from a launcher: %w", err)
	case o.Error != "":
		return errors.New(o.Error)
	}
	return nil
}

// dismiss ends a launcher that was not told to keep its process.
func (c *child) dismiss() {
	_ = c.stdin.Close()
	_ = c.answer.Close()
}

// kill ends the launcher, and with it its process.
func (c *child) kill() error {
	if err := c.process.Kill(); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return fmt.Errorf("end launcher %d: %w", c.process.Pid, err)
	}
	return nil
}

// launcherLog is the file in the folder "run" where launchers write what they can
// tell nobody: hardly ever anything.
const launcherLog = "run/launcher.log"

// maxLauncherLog is the size from which on a new file is begun. The one before is
// kept, so that what happened just now can be read.
const maxLauncherLog = 1 << 20

func (l *Local) openLauncherLog() (*os.File, error) {
	path := filepath.Join(l.Layout.Data, filepath.FromSlash(launcherLog))
	if info, err := os.Stat(path); err == nil && info.Size() > maxLauncherLog {
		if err := os.Rename(path, path+".1"); err != nil && !errors.Is(err, os.ErrNotExist) {
			return nil, fmt.Errorf("begin a new log of launchers: %w", err)
		}
	}
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_APPEND, 0o600)
	if err != nil {
		return nil, fmt.Errorf("open the log of launchers: %w", err)
	}
	return f, nil
}
