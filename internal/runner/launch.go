package runner

import (
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/signal"
	"runtime/debug"
	"sync"
	"syscall"
	"time"

	"github.com/m3o/ingress/internal/confine"
	"github.com/m3o/ingress/internal/logfile"
)

// Subcommand is the hidden command of the program that Launch implements. Its one
// argument is for people who look at a list of processes: the folder of launchers,
// or "-" for a task.
const Subcommand = "launch"

// launcherMemory is the size a launcher's heap need not exceed: it only moves
// lines of a log.
const launcherMemory = 16 << 20

// stopGrace is what a process gets when its launcher is told to end by somebody
// else than the ingress, such as the machine's shutdown.
const stopGrace = 10 * time.Second

// Launch is the life of a launcher. It returns the exit code of the program. It
// must be called before the program sets anything else up: how soon it starts is
// part of how soon an app wakes.
func Launch(args []string, stdin io.Reader, stdout io.WriteCloser) int {
	debug.SetGCPercent(50)
	debug.SetMemoryLimit(launcherMemory)
	// It outlives the terminal and whoever read its output. The signals are caught
	// rather than ignored: what is ignored stays so in the app.
	signal.Notify(make(chan os.Signal, 1), syscall.SIGHUP, syscall.SIGINT, syscall.SIGPIPE)
	var s spec
	if len(args) != 1 {
		fmt.Fprintln(os.Stderr, "launch is used by ingress serve itself")
		return 2
	}
	if err := readMessage(stdin, &s); errors.Is(err, io.EOF) {
		return 0 // it was kept ready and is not needed any more
	} else if err != nil {
		fmt.Fprintln(os.Stderr, "launch: no orders on standard input:", err)
		return 2
	}
	var err error
	if s.Attached {
		err = runTask(s, stdin, stdout)
	} else {
		err = supervise(s, stdin, stdout)
	}
	if err != nil {
		// Whoever started it may be gone; then nobody misses the answer.
		_ = writeMessage(stdout, outcome{Error: err.Error()})
		return 1
	}
	return 0
}

// taskOutput is the descriptor on which a task's launcher gets the pipe for what
// the task prints.
const taskOutput = 3

// runTask runs a task to its end, or to the end of stdin, whichever comes first.
func runTask(s spec, stdin io.Reader, stdout io.Writer) error {
	output := os.NewFile(taskOutput, "output")
	s.Command.Output = output
	process, err := confine.Start(s.Policy, s.Command)
	if err != nil {
		return err
	}
	_ = output.Close() // the process has its own; the pipe ends with that
	go func() {
		_, _ = io.Copy(io.Discard, stdin) // ends with the ingress, however that ends
		process.Kill()
	}()
	exit := process.Wait()
	return writeMessage(stdout, outcome{Exit: &exit})
}

// supervise starts a process and stays with it until it has ended.
func supervise(s spec, stdin io.Reader, stdout io.WriteCloser) error {
	l := &launcher{spec: s, watchers: make(map[net.Conn]bool), handed: make(chan struct{}), ended: make(chan struct{})}
	if err := l.listen(); err != nil {
		return err
	}
	defer l.close()
	if err := l.start(); err != nil {
		return err
	}
	go l.serve()
	go l.notify()
	go l.handOver(stdin)
	_ = writeMessage(stdout, outcome{}) // an ingress that is gone hands nothing over
	_ = stdout.Close()
	ended := make(chan os.Signal, 1)
	signal.Notify(ended, syscall.SIGTERM)
	go func() {
		<-ended
		l.stop(stopGrace)
	}()
	exit := l.process.Wait()
	l.printed.Wait()
	<-l.handed // who started it hears how it ended, however soon that was
	l.close()  // whoever hears of the end finds nothing left
	l.announce(exit)
	return nil
}

// handOver waits for the word that the ingress watches. Without it, because the
// ingress ended or gave the start up, nobody may ever look for the process.
func (l *launcher) handOver(stdin io.Reader) {
	defer close(l.handed)
	var r request
	if err := readMessage(stdin, &r); err != nil || r.Do != doKeep {
		l.process.Kill()
	}
}

// launcher is the parent of one process.
type launcher struct {
	spec     spec
	process  *confine.Process
	printed  sync.WaitGroup // until all the process printed is in the log
	listener net.Listener
	handed   chan struct{} // closed when the ingress watches, or never will
	ended    chan struct{} // closed with the socket
	closing  sync.Once

	mu       sync.Mutex
	watchers map[net.Conn]bool
	orphaned *time.Timer
	notice   string
	killing  *time.Timer // from the first stop on
	killAt   time.Time
}

// start starts the process with its log.
func (l *launcher) start() error {
	log, err := logfile.Create(l.spec.Log, l.spec.LogBytes)
	if err != nil {
		return fmt.Errorf("open the log: %w", err)
	}
	from, to, err := os.Pipe()
	if err != nil {
		return fmt.Errorf("make the pipe of the log: %w", err)
	}
	l.spec.Command.Output = to
	l.process, err = confine.Start(l.spec.Policy, l.spec.Command)
	_ = to.Close() // the process has its own
	l.spec.Command.Env = nil
	if err != nil {
		_ = from.Close()
		return err
	}
	l.printed.Go(func() {
		defer log.Close()
		defer from.Close()
		_, _ = io.Copy(patient{log}, from) // reading a pipe fails only at its end
	})
	l.mu.Lock()
	defer l.mu.Unlock()
	l.setOrphaned()
	return nil
}

// patient goes on when a line cannot be written, because the disk is full: an app
// whose pipe nobody reads would stand still.
type patient struct{ to io.Writer }

func (p patient) Write(b []byte) (int, error) {
	_, _ = p.to.Write(b)
	return len(b), nil
}

// stop asks the process to end, and ends it after grace. Later calls can only make
// its end come sooner.
func (l *launcher) stop(grace time.Duration) {
	l.mu.Lock()
	defer l.mu.Unlock()
	at := time.Now().Add(grace)
	if l.killing == nil {
		_ = l.process.Signal(syscall.SIGTERM) // an error means that it has ended
		l.killing, l.killAt = time.AfterFunc(grace, l.process.Kill), at
		return
	}
	if at.Before(l.killAt) {
		l.killing.Reset(grace)
		l.killAt = at
	}
}
