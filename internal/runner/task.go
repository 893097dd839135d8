package runner

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/m3o/ingress/internal/confine"
	"github.com/m3o/ingress/internal/workload"
)

// Run implements workload.TaskRunner. The launcher of a task ends with this
// process, and the task with the launcher.
func (l *Local) Run(ctx context.Context, t workload.Task) (confine.Exit, error) {
	if err := ctx.Err(); err != nil {
		return confine.Exit{}, err
	}
	p, err := l.begin(t)
	if err != nil {
		return confine.Exit{}, fmt.Errorf("start %s: %w", t.Name, err)
	}
	return p.finish(ctx, t.Output)
}

// running is a task and its launcher.
type running struct {
	cmd    *exec.Cmd
	stdin  io.WriteCloser
	stdout io.ReadCloser
	output *os.File
	errors strings.Builder
	task   workload.Task
}

func (l *Local) begin(t workload.Task) (*running, error) {
	p := &running{task: t, cmd: exec.Command(l.Executable, Subcommand, "-")}
	p.cmd.Env = []string{}
	p.cmd.Dir = filepath.Clean(l.Layout.Data)
	p.cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	p.cmd.Stderr = &p.errors
	output, to, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	p.output, p.cmd.ExtraFiles = output, []*os.File{to}
	defer to.Close() // the launcher has its own
	if p.stdin, err = p.cmd.StdinPipe(); err == nil {
		p.stdout, err = p.cmd.StdoutPipe()
	}
	if err == nil {
		err = l.ports.start(p.cmd)
	}
	if err != nil {
		_ = output.Close()
		return nil, err
	}
	if err := writeMessage(p.stdin, taskSpec(t)); err != nil {
		_ = p.stdin.Close()
		_ = output.Close()
		return nil, errors.Join(err, p.cmd.Wait())
	}
	return p, nil
}

func taskSpec(t workload.Task) spec {
	return spec{
		Attached: true,
		Policy: confine.Policy{
			Name: t.Name, User: t.User, ReadWrite: t.ReadWrite, ReadOnly: t.ReadOnly, Connect: t.Connect, Limits: t.Limits,
			Umask: t.Umask,
		},
		Command: confine.Command{Path: t.Args[0], Args: t.Args, Env: t.Env, Dir: t.Dir},
	}
}

// finish waits for the task and copies what it prints. Closing the launcher's
// input ends the task.
func (p *running) finish(ctx context.Context, to io.Writer) (confine.Exit, error) {
	stop := context.AfterFunc(ctx, func() { _ = p.stdin.Close() })
	defer stop()
	copied := make(chan error, 1)
	go func() {
		_, err := io.Copy(to, p.output)
		_ = p.output.Close()
		if err != nil {
			_ = p.stdin.Close()
		}
		copied <- err
	}()
	var o outcome
	answered := readMessage(p.stdout, &o)
	_ = p.stdin.Close()
	if answered != nil {
		// Its launcher is gone; what the task had started may hold the pipe open.
		answered = errors.Join(answered, confine.EndLeftovers(confine.Remains{Name: p.task.Name, User: p.task.User}))
	}
	copyErr := <-copied
	waited := p.wait()
	switch {
	case ctx.Err() != nil:
		return confine.Exit{}, ctx.Err()
	case copyErr != nil:
		return confine.Exit{}, copyErr
	case o.Error != "":
		return confine.Exit{}, errors.New(o.Error)
	case answered != nil || o.Exit == nil:
		return confine.Exit{}, fmt.Errorf("its launcher ended unexpectedly: %w %s", errors.Join(answered, waited), strings.TrimSpace(p.errors.String()))
	}
	return *o.Exit, nil
}

// wait ends a launcher that does not end by itself.
func (p *running) wait() error {
	late := time.AfterFunc(patience, func() { _ = p.cmd.Process.Kill() })
	defer late.Stop()
	return p.cmd.Wait()
}
