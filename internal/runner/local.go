package runner

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"sync"
	"syscall"
	"time"

	"github.com/m3o/ingress/internal/confine"
	"github.com/m3o/ingress/internal/workload"
)

// Options are what a Local needs. All are required but Log.
type Options struct {
	// Layout is the data directory; launchers are found in its folder "run".
	Layout workload.Layout
	// Executable is the absolute path of this program.
	Executable string
	// FirstPort and LastPort are the loopback ports that processes are given.
	FirstPort, LastPort uint16
	// Egress are the TCP ports that processes may connect to.
	Egress []uint16
	// Limits bound each process with its descendants.
	Limits confine.Limits
	// LogBytes is what is kept of a version's run log.
	LogBytes int64
	// IdleTimeout is for workloads whose owner chose none: a process that no
	// ingress has watched for so long is stopped. Zero: never.
	IdleTimeout time.Duration
	// Log is the operator's.
	Log *slog.Logger
}

// Local runs processes on this machine. It implements workload.Runner and
// workload.TaskRunner, and is safe for concurrent use.
type Local struct {
	Options
	ports portSet
	// launchers are waited for as long as this process lives, so that the ended
	// ones do not stay in the process table.
	launchers sync.WaitGroup
}

// maxSocketPath is the longest path of a unix socket that every system takes.
const maxSocketPath = 100

// NewLocal returns a Local. It makes the folder "run" and starts nothing.
func NewLocal(o Options) (*Local, error) {
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	l := &Local{Options: o}
	if n := len(socketOf(l.stateFile("00000000"))); n > maxSocketPath {
		return nil, fmt.Errorf("the path of the data directory %s is too long for the sockets in it: choose one that is %d characters shorter",
			o.Layout.Data, n-maxSocketPath)
	}
	if err := os.MkdirAll(l.runDir(), 0o700); err != nil {
		return nil, fmt.Errorf("make the folder of launchers: %w", err)
	}
	return l, nil
}

func (l *Local) runDir() string { return filepath.Join(l.Layout.Data, "run") }

func (l *Local) stateFile(name string) string { return filepath.Join(l.runDir(), name+".json") }

// Close forgets about the launchers; they and their processes run on.
func (l *Local) Close() error { return nil }

// Start implements workload.Runner.
func (l *Local) Start(ctx context.Context, r workload.Release) (workload.Instance, error) {
	if err := prepare(r); err != nil {
		return nil, err
	}
	port, err := l.ports.take(l.FirstPort, l.LastPort)
	if err != nil {
		return nil, err
	}
	i, err := l.launch(ctx, r, port)
	if err != nil {
		l.ports.give(port)
		return nil, err
	}
	return i, nil
}

// prepare empties the release's TMPDIR and makes sure that its home is there.
func prepare(r workload.Release) error {
	temp := workload.TempDir(r.Dir)
	if err := confine.Remove(temp); err != nil && !errors.Is(err, os.ErrNotExist) {
		return fmt.Errorf("empty the temporary folder: %w", err)
	}
	for _, dir := range []string{temp, r.Home} {
		if err := os.Mkdir(dir, 0o700); errors.Is(err, os.ErrExist) {
			continue
		} else if err != nil {
			return fmt.Errorf("make a folder of the workload: %w", err)
		}
		if err := confine.Give(dir, r.User); err != nil {
			return fmt.Errorf("give a folder to its user: %w", err)
		}
	}
	return nil
}

// launch starts a launcher and returns once its process runs.
func (l *Local) launch(ctx context.Context, r workload.Release, port uint16) (*Instance, error) {
	var random [20]byte
	if _, err := rand.Read(random[:]); err != nil {
		return nil, fmt.Errorf("make a nonce: %w", err)
	}
	name, nonce := hex.EncodeToString(random[:4]), hex.EncodeToString(random[4:])
	stateFile := l.stateFile(name)
	s := l.spec(r, port, name)
	s.Record.Nonce = nonce
	stdin, err := l.spawn(ctx, stateFile, s)
	if err != nil {
		return nil, err
	}
	defer stdin.Close() // on which a launcher that was not told to keep its process ends it
	i, err := l.watch(ctx, stateFile, s.Record)
	if err != nil {
		return nil, fmt.Errorf("reach the launcher of %s: %w", r.Key(), err)
	}
	i.log = s.Log
	_ = writeMessage(stdin, request{Do: doKeep}) // a launcher that is gone shows on the watch
	return i, nil
}

func (l *Local) spec(r workload.Release, port uint16, name string) spec {
	code := workload.CodeDir(r.Dir)
	orphan := r.Settings.IdleTimeout
	if orphan == workload.DefaultIdle {
		orphan = l.IdleTimeout
	}
	policyName := fmt.Sprintf("%s-%s-%d-%s", r.Kind, r.ID, r.Version, name)
	return spec{
		Policy: confine.Policy{
			Name: policyName, User: r.User,
			ReadWrite: []string{code, workload.TempDir(r.Dir), r.Home}, ReadOnly: r.Artifact.Toolchain,
			Bind: []uint16{port}, Connect: l.Egress, Limits: l.Limits,
		},
		Command: confine.Command{
			Path: r.Artifact.Args[0], Args: r.Artifact.Args, Env: environment(r, port),
			Dir: filepath.Join(code, filepath.FromSlash(r.Artifact.Dir)),
		},
		Record: record{
			Key: r.Key(), Version: r.Version, Revision: r.Revision, Port: port, Started: time.Now().UTC(),
			Name: policyName, User: r.User,
		},
		Log: workload.RunLog(r.Dir), LogBytes: l.LogBytes, Orphan: orphan,
	}
}

// searchPath is the PATH of processes whose build names no other.
const searchPath = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

// environment is all that the process gets. What the ingress itself was given is
// not among it, and the owner cannot change where the process may listen and write.
func environment(r workload.Release, port uint16) []string {
	env := map[string]string{"PATH": searchPath, "LANG": "C.UTF-8", "USER": r.ID}
	maps.Copy(env, r.Artifact.Env)
	maps.Copy(env, r.Env)
	env["HOME"], env["TMPDIR"], env["PORT"] = r.Home, workload.TempDir(r.Dir), strconv.Itoa(int(port))
	list := make([]string, 0, len(env))
	for _, name := range slices.Sorted(maps.Keys(env)) {
		list = append(list, name+"="+env[name])
	}
	return list
}

// spawn starts a launcher and returns its standard input once it has said that its
// process runs: the launcher keeps that only if it is told to. The
// launcher shares nothing with this process: no session, no descriptor, no
// environment.
func (l *Local) spawn(ctx context.Context, stateFile string, s spec) (io.WriteCloser, error) {
	cmd := exec.Command(l.Executable, Subcommand, stateFile)
	cmd.Env = []string{}
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	stderr, err := os.OpenFile(filepath.Join(l.runDir(), "launcher.log"), os.O_WRONLY|os.O_CREATE|os.O_APPEND, 0o600)
	if err != nil {
		return nil, fmt.Errorf("open the log of launchers: %w", err)
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
	defer answer.Close()
	cmd.Stdout = to
	err = l.ports.start(cmd)
	_ = to.Close() // the launcher has its own
	if err != nil {
		return nil, fmt.Errorf("start a launcher: %w", err)
	}
	l.launchers.Go(func() { _ = cmd.Wait() }) // what it ran is told of its end elsewhere
	if err = writeMessage(stdin, s); err != nil {
		err = fmt.Errorf("tell a launcher what to start: %w", err)
	} else {
		err = l.await(ctx, answer)
	}
	if err != nil {
		_ = stdin.Close()
		return nil, err
	}
	return stdin, nil
}

// await reads a launcher's first answer, unless ctx ends first.
func (l *Local) await(ctx context.Context, answer *os.File) error {
	stop := context.AfterFunc(ctx, func() { _ = answer.Close() })
	defer stop()
	var o outcome
	err := readMessage(answer, &o)
	switch {
	case ctx.Err() != nil:
		return ctx.Err()
	case errors.Is(err, io.EOF):
		return fmt.Errorf("the launcher ended before it started anything; see launcher.log in %s", l.runDir())
	case err != nil:
		return fmt.Errorf("hear from a launcher: %w", err)
	case o.Error != "":
		return errors.New(o.Error)
	}
	return nil
}
