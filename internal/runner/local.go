package runner

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strconv"
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
	spare spare
	temps temps
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
func (l *Local) Close() error {
	l.spare.close()
	return nil
}

// errNoFolder: the database knows of a version whose folder is not there.
var errNoFolder = errors.New("the folder of what was built is gone, as after restoring a backup without it; deploy it again")

// Start implements workload.Runner.
func (l *Local) Start(ctx context.Context, r workload.Release) (workload.Instance, error) {
	if _, err := os.Stat(workload.CodeDir(r.Dir)); errors.Is(err, os.ErrNotExist) {
		return nil, errNoFolder
	}
	if err := makeHome(r); err != nil {
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

// makeHome makes sure that the workload's home is there.
func makeHome(r workload.Release) error {
	return makeFolder(r.Home, r.User)
}

// makeFolder makes a folder that only its user can look into, unless it is there.
func makeFolder(dir string, owner confine.User) error {
	if err := os.Mkdir(dir, 0o700); errors.Is(err, os.ErrExist) {
		return nil
	} else if err != nil {
		return fmt.Errorf("make a folder of the workload: %w", err)
	}
	if err := confine.Give(dir, owner); err != nil {
		return fmt.Errorf("give a folder to its user: %w", err)
	}
	return nil
}

// launch starts a process under a launcher and returns once it runs.
func (l *Local) launch(ctx context.Context, r workload.Release, port uint16) (*Instance, error) {
	var random [20]byte
	if _, err := rand.Read(random[:]); err != nil {
		return nil, fmt.Errorf("make a nonce: %w", err)
	}
	name, nonce := hex.EncodeToString(random[:4]), hex.EncodeToString(random[4:])
	s := l.spec(r, port, name)
	s.Record.Nonce = nonce
	if err := l.temps.make(r, s.Record.Temp); err != nil {
		return nil, err
	}
	i, err := l.startIn(ctx, s)
	if err != nil {
		l.temps.remove(s.Record.Temp)
		return nil, fmt.Errorf("start %s: %w", r.Key(), err)
	}
	return i, nil
}

// startIn has a launcher start a process and begins to watch it. A launcher ends a
// process that nobody watches.
func (l *Local) startIn(ctx context.Context, s spec) (*Instance, error) {
	c, err := l.hire(ctx, s)
	if err != nil {
		return nil, err
	}
	defer c.dismiss() // but for one that was told to keep its process
	i, err := l.watch(ctx, s.StateFile, s.Record)
	if err != nil {
		return nil, fmt.Errorf("reach its launcher: %w", err)
	}
	i.log, i.killLauncher = s.Log, c.kill
	_ = writeMessage(c.stdin, request{Do: doKeep}) // a launcher that is gone shows on the watch
	return i, nil
}

func (l *Local) spec(r workload.Release, port uint16, name string) spec {
	code := workload.CodeDir(r.Dir)
	orphan := r.Settings.IdleTimeout
	if orphan == workload.DefaultIdle {
		orphan = l.IdleTimeout
	}
	policyName := fmt.Sprintf("%s-%s-%d-%s", r.Kind, r.ID, r.Version, name)
	temp := workload.ProcessTempDir(r.Dir, name)
	return spec{
		Policy: confine.Policy{
			Name: policyName, User: r.User,
			ReadWrite: []string{code, temp, r.Home}, ReadOnly: r.Artifact.Toolchain,
			Bind: []uint16{port}, Connect: l.Egress, Limits: l.Limits,
		},
		Command: confine.Command{
			Path: r.Artifact.Args[0], Args: r.Artifact.Args, Env: environment(r, temp, port),
			Dir: filepath.Join(code, filepath.FromSlash(r.Artifact.Dir)),
		},
		Record: record{
			Key: r.Key(), Version: r.Version, Revision: r.Revision, Port: port, Started: time.Now().UTC(),
			Name: policyName, User: r.User, Temp: temp,
		},
		StateFile: l.stateFile(name), Log: workload.RunLog(r.Dir), LogBytes: l.LogBytes, Orphan: orphan,
	}
}

// searchPath is the PATH of processes whose build names no other.
const searchPath = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

// environment is all that the process gets. What the ingress itself was given is
// not among it, and the owner cannot change where the process may listen and write.
func environment(r workload.Release, temp string, port uint16) []string {
	env := map[string]string{"PATH": searchPath, "LANG": "C.UTF-8", "USER": r.ID}
	maps.Copy(env, r.Artifact.Env)
	maps.Copy(env, r.Env)
	env["HOME"], env["TMPDIR"], env["PORT"] = r.Home, temp, strconv.Itoa(int(port))
	list := make([]string, 0, len(env))
	for _, name := range slices.Sorted(maps.Keys(env)) {
		list = append(list, name+"="+env[name])
	}
	return list
}
