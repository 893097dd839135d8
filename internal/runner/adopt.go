package runner

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/m3o/ingress/internal/confine"
	"github.com/m3o/ingress/internal/workload"
)

// adoptTimeout bounds how long one launcher that does not answer delays the start
// of the ingress.
const adoptTimeout = 5 * time.Second

// Adopt implements workload.Runner. What it finds is asked all at once.
func (l *Local) Adopt(ctx context.Context) ([]workload.Instance, error) {
	files, err := filepath.Glob(filepath.Join(l.runDir(), "*.json"))
	if err != nil {
		return nil, fmt.Errorf("look for launchers: %w", err)
	}
	var mu sync.Mutex
	var found []workload.Instance
	var asked sync.WaitGroup
	for _, file := range files {
		asked.Go(func() {
			i, err := l.adopt(ctx, file)
			if err != nil {
				l.Log.Warn("a launcher could not be taken over", "file", filepath.Base(file), "error", err)
			}
			if i != nil {
				mu.Lock()
				defer mu.Unlock()
				found = append(found, i)
			}
		})
	}
	asked.Wait()
	confine.Sweep()
	l.restock()
	return found, ctx.Err()
}

// adopt takes over one launcher; nil when there is none any more.
func (l *Local) adopt(ctx context.Context, stateFile string) (*Instance, error) {
	r, err := readRecord(stateFile)
	if err != nil {
		// Never ours: we write such a file whole or not at all.
		return nil, errors.Join(err, discard(stateFile))
	}
	if !r.alive() {
		l.endLeftovers(r, 0)
		return nil, discard(stateFile)
	}
	asking, cancel := context.WithTimeout(ctx, adoptTimeout)
	defer cancel()
	// Before it is watched: the watch gives the port back when the process ends.
	claimed := l.ports.claim(r.Port)
	l.temps.keep(r.Temp)
	i, err := l.watch(asking, stateFile, r)
	if err == nil {
		i.log, i.killLauncher = l.runLog(r), r.kill
		return i, nil
	}
	if ctx.Err() != nil {
		return nil, nil // the start is given up, and says nothing about this launcher: the next one asks it
	}
	l.temps.remove(r.Temp)
	if claimed {
		l.ports.give(r.Port)
	}
	if r.Born == "" || !r.alive() {
		l.endLeftovers(r, 0)
		return nil, discard(stateFile)
	}
	// It is certainly ours, and no use to anybody; its process ends with it, and what
	// that has started here.
	if killed := r.kill(); killed != nil {
		return nil, errors.Join(err, killed)
	}
	l.endLeftovers(r, 0)
	return nil, errors.Join(fmt.Errorf("launcher %d did not answer and was ended: %w", r.PID, err), discard(stateFile))
}

// endLeftovers ends what is left of the process of a launcher that is gone.
// session is the process's number, or 0 when nobody knows it any more.
func (l *Local) endLeftovers(r record, session int) {
	err := confine.EndLeftovers(confine.Remains{
		Name: r.Name, User: r.User, Session: session,
		Env: []string{"TMPDIR=" + r.Temp, "PORT=" + strconv.Itoa(int(r.Port))},
	})
	if err != nil {
		l.Log.Error("what a launcher left behind could not be ended", "workload", r.Key, "version", r.Version, "cause", err)
	}
}

// runLog is the log that a launcher writes.
func (l *Local) runLog(r record) string { return workload.RunLog(l.versionDir(r)) }

func (l *Local) versionDir(r record) string {
	kind, id, _ := strings.Cut(r.Key, "/")
	return l.Layout.Version(workload.Kind(kind), id, r.Version)
}

// alive reports whether the launcher still runs, as far as can be told.
func (r record) alive() bool {
	born, err := bornAt(r.PID)
	return err == nil && born == r.Born && r.PID > 1
}

// kill ends the launcher, if it still runs, and with it its process.
func (r record) kill() error {
	if !r.alive() {
		return nil
	}
	if err := syscall.Kill(r.PID, syscall.SIGKILL); err != nil && !errors.Is(err, syscall.ESRCH) {
		return fmt.Errorf("end launcher %d: %w", r.PID, err)
	}
	return nil
}

func readRecord(stateFile string) (record, error) {
	var r record
	text, err := os.ReadFile(stateFile)
	if err != nil {
		return r, err
	}
	if err := json.Unmarshal(text, &r); err != nil {
		return r, fmt.Errorf("read %s: %w", filepath.Base(stateFile), err)
	}
	return r, nil
}

// discard removes what a launcher that is no more has left.
func discard(stateFile string) error {
	var errs []error
	for _, file := range []string{stateFile, socketOf(stateFile)} {
		if err := os.Remove(file); err != nil && !errors.Is(err, os.ErrNotExist) {
			errs = append(errs, err)
		}
	}
	return errors.Join(errs...)
}
