package runner_test

import (
	"context"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/m3o/ingress/internal/confine"
	"github.com/m3o/ingress/internal/workload"
)

// The sooner a program ends, the likelier it is that it has before anybody
// watches: its exit code must be known all the same.
func TestWhatEndsBeforeItIsWatchedSaysHow(t *testing.T) {
	data := dataDir(t)
	l, r := local(t, data), release(data, "exits")
	r.Artifact = workload.Artifact{Args: []string{"/bin/sh", "-c", "echo begun; exit 7"}}
	for n := range 40 {
		i, err := l.Start(within(t, deadline), r)
		if err != nil {
			t.Fatalf("start %d: %v", n, err)
		}
		err = i.Ready(within(t, deadline), "")
		if err == nil || !strings.Contains(err.Error(), "it exited with code 7; it printed last:\nbegun") {
			t.Fatalf("start %d: %v", n, err)
		}
	}
}

// Whenever a start is given up, nothing of it may be left.
func TestAStartGivenUpLeavesNothing(t *testing.T) {
	data := dataDir(t)
	l, r := local(t, data), release(data, "silent")
	for n := range 40 {
		ctx, cancel := context.WithTimeout(context.Background(), time.Duration(n)*5*time.Millisecond)
		i, err := l.Start(ctx, r)
		cancel()
		if err == nil {
			if err := i.Stop(within(t, deadline), 0); err != nil {
				t.Errorf("stop %d: %v", n, err)
			}
		}
	}
	eventually(t, "the folder of launchers is empty but for their log", func() bool {
		left, err := os.ReadDir(filepath.Join(data, "run"))
		return err == nil && len(left) <= 1
	})
}

// A process that ends as soon as it is asked to may take the answer with it.
func TestStoppingWhatEndsAtOnceIsNoError(t *testing.T) {
	data := dataDir(t)
	l, r := local(t, data), release(data, "exits")
	r.Artifact = workload.Artifact{Args: []string{"/bin/sleep", "600"}}
	for n := range 40 {
		i, err := l.Start(within(t, deadline), r)
		if err != nil {
			t.Fatal(err)
		}
		if err := i.Stop(within(t, deadline), time.Second); err != nil {
			t.Fatalf("stop %d: %v", n, err)
		}
	}
}

// Who asks again with less patience is heard.
func TestASecondStopShortensTheGrace(t *testing.T) {
	data := dataDir(t)
	i := started(t, local(t, data), release(data, "stubborn"))
	if err := i.Ready(within(t, deadline), ""); err != nil {
		t.Fatal(err)
	}
	if err := i.Stop(within(t, 100*time.Millisecond), time.Hour); err == nil {
		t.Fatal("it ended although it ignores SIGTERM and has an hour")
	}
	if err := i.Stop(within(t, deadline), 0); err != nil || i.Exit() == (confine.Exit{}) {
		t.Errorf("the second stop: %v, %+v", err, i.Exit())
	}
}

// eventually waits for what there is no event for.
func eventually(t testing.TB, what string, ok func() bool) {
	t.Helper()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	ctx := within(t, deadline)
	for !ok() {
		select {
		case <-tick.C:
		case <-ctx.Done():
			t.Fatalf("never: %s", what)
		}
	}
}

// gone reports whether a process has ended; one that its parent has not waited
// for yet has.
func gone(pid int) bool {
	stat, err := os.ReadFile(filepath.Join("/proc", strconv.Itoa(pid), "stat"))
	if err != nil {
		return errors.Is(syscall.Kill(pid, 0), syscall.ESRCH)
	}
	_, rest, _ := strings.Cut(string(stat), ") ")
	return strings.HasPrefix(rest, "Z")
}

// ingressProcess starts another ingress and returns once its app is ready.
func ingressProcess(t testing.TB, data, how string) *exec.Cmd {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(self, "ingress", data, how)
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	if _, err := out.Read(make([]byte, 64)); err != nil {
		_ = cmd.Process.Kill()
		t.Fatal(err)
	}
	return cmd
}

// A task must not go on when the ingress that wanted it is gone.
func TestATaskEndsWithTheIngress(t *testing.T) {
	data := dataDir(t)
	cmd := ingressProcess(t, data, "task")
	text, err := os.ReadFile(filepath.Join(data, "child"))
	if err != nil {
		t.Fatal(err)
	}
	pid, err := strconv.Atoi(string(text))
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = cmd.Wait() // "signal: killed"
	eventually(t, "the task's child has ended", func() bool { return gone(pid) })
}
