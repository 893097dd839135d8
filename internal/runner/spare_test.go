package runner_test

import (
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

// waitingLaunchers are the launchers for a data directory that run nothing.
func waitingLaunchers(t testing.TB, data string) []int {
	t.Helper()
	dirs, err := filepath.Glob("/proc/[0-9]*")
	if err != nil || len(dirs) == 0 {
		t.Fatalf("there is no list of processes here: %v", err)
	}
	var found []int
	for _, dir := range dirs {
		line, _ := os.ReadFile(dir + "/cmdline") // it may have ended
		kids, _ := filepath.Glob(dir + "/task/[0-9]*/children")
		if !strings.Contains(string(line), "\x00launch\x00"+filepath.Join(data, "run")) {
			continue
		}
		if slices.ContainsFunc(kids, func(file string) bool { text, _ := os.ReadFile(file); return len(text) > 0 }) {
			continue
		}
		if pid, err := strconv.Atoi(filepath.Base(dir)); err == nil {
			found = append(found, pid)
		}
	}
	return found
}

// waiting returns the launcher that waits, once there is one.
func waiting(t testing.TB, data string) int {
	t.Helper()
	var found []int
	eventually(t, "one launcher waits for orders", func() bool {
		found = waitingLaunchers(t, data)
		return len(found) == 1
	})
	return found[0]
}

func TestALauncherWaitsForTheNextStart(t *testing.T) {
	data := dataDir(t)
	l, r := local(t, data), release(data, "serves")
	if _, err := l.Adopt(within(t, deadline)); err != nil {
		t.Fatal(err)
	}
	spare := waiting(t, data)
	i := started(t, l, r)
	if got := launcherOf(t, data); got != spare {
		t.Errorf("launcher %d was taken, not %d, which had waited", got, spare)
	}
	if left := waitingLaunchers(t, data); len(left) != 0 {
		t.Errorf("launchers %v were started before the app was ready", left)
	}
	if err := i.Ready(within(t, deadline), ""); err != nil {
		t.Fatal(err)
	}
	if next := waiting(t, data); next == spare {
		t.Error("a launcher with a process waits for orders")
	}
}

func TestALauncherThatWaitedAndWasKilledIsReplaced(t *testing.T) {
	data := dataDir(t)
	l := local(t, data)
	if _, err := l.Adopt(within(t, deadline)); err != nil {
		t.Fatal(err)
	}
	spare := waiting(t, data)
	if err := syscall.Kill(spare, syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	eventually(t, "it has ended", func() bool { return gone(spare) })
	i := started(t, l, release(data, "serves"))
	if err := i.Ready(within(t, deadline), ""); err != nil {
		t.Error(err)
	}
}

func TestNoLauncherWaitsAfterClose(t *testing.T) {
	data := dataDir(t)
	l, err := newLocal(data)
	if err != nil {
		t.Fatal(err)
	}
	i := started(t, l, release(data, "serves"))
	if err := i.Ready(within(t, deadline), ""); err != nil {
		t.Fatal(err)
	}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	if left := waitingLaunchers(t, data); len(left) != 0 {
		t.Errorf("launchers %v wait for an ingress that is closed", left)
	}
	if get(t, i, "/pid") == "" {
		t.Error("Close has ended an app")
	}
}

// A launcher that was stopped by a debugger, for example, answers nobody.
func TestALauncherThatHangsIsKilledToEndItsProcess(t *testing.T) {
	data := dataDir(t)
	i := started(t, local(t, data), release(data, "serves"))
	if err := i.Ready(within(t, deadline), ""); err != nil {
		t.Fatal(err)
	}
	pid, err := strconv.Atoi(get(t, i, "/pid"))
	if err != nil {
		t.Fatal(err)
	}
	if err := syscall.Kill(launcherOf(t, data), syscall.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	if err := i.Stop(within(t, 2*deadline), time.Second); err != nil {
		t.Fatal(err)
	}
	eventually(t, "its process is gone", func() bool { return gone(pid) })
}

func TestTheLogOfLaunchersIsBounded(t *testing.T) {
	data := dataDir(t)
	l := local(t, data)
	path := filepath.Join(data, "run", "launcher.log")
	if err := os.WriteFile(path, make([]byte, 2<<20), 0o600); err != nil {
		t.Fatal(err)
	}
	started(t, l, release(data, "silent"))
	for name, most := range map[string]int64{path: 1 << 20, path + ".1": 2 << 20} {
		if info, err := os.Stat(name); err != nil || info.Size() > most {
			t.Errorf("%s: %v, %v", name, info, err)
		}
	}
}
