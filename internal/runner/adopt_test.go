package runner_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/m3o/ingress/internal/runner"
	"github.com/m3o/ingress/internal/skiptest"
	"github.com/m3o/ingress/internal/workload"
)

// stateFile returns the one state file of a data directory and what it says.
func stateFile(t testing.TB, data string) (string, map[string]any) {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(data, "run", "*.json"))
	if err != nil || len(files) != 1 {
		t.Fatalf("state files: %v, %v", files, err)
	}
	text, err := os.ReadFile(files[0])
	if err != nil {
		t.Fatal(err)
	}
	var state map[string]any
	if err := json.Unmarshal(text, &state); err != nil {
		t.Fatal(err)
	}
	return files[0], state
}

func launcherOf(t testing.TB, data string) int {
	_, state := stateFile(t, data)
	pid, ok := state["pid"].(float64)
	if !ok || pid < 2 {
		t.Fatalf("the state file names launcher %v", state["pid"])
	}
	return int(pid)
}

func ended(t testing.TB, i workload.Instance) {
	t.Helper()
	select {
	case <-i.Done():
	case <-within(t, deadline).Done():
		t.Fatal("it has not ended")
	}
}

func TestAnAdoptedProcessIsTheSameOne(t *testing.T) {
	data := dataDir(t)
	first := started(t, local(t, data), release(data, "serves"))
	if err := first.Ready(within(t, deadline), ""); err != nil {
		t.Fatal(err)
	}
	pid := get(t, first, "/pid")
	found, err := local(t, data).Adopt(within(t, deadline))
	if err != nil || len(found) != 1 {
		t.Fatalf("adopted %d, %v", len(found), err)
	}
	if got := get(t, found[0], "/pid"); got != pid {
		t.Errorf("process %s answers, want %s", got, pid)
	}
	if err := found[0].Stop(within(t, deadline), time.Second); err != nil {
		t.Fatal(err)
	}
	ended(t, first)
}

func TestALauncherThatIsKilledTakesItsProcessWithIt(t *testing.T) {
	data := dataDir(t)
	i := started(t, local(t, data), release(data, "serves"))
	if err := i.Ready(within(t, deadline), ""); err != nil {
		t.Fatal(err)
	}
	pid, err := strconv.Atoi(get(t, i, "/pid"))
	if err != nil {
		t.Fatal(err)
	}
	if err := syscall.Kill(launcherOf(t, data), syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	ended(t, i)
	if i.Exit().Excess == "" {
		t.Errorf("it ended with %+v, which does not say why", i.Exit())
	}
	eventually(t, "the process is gone", func() bool { return syscall.Kill(pid, 0) == syscall.ESRCH })
}

// Numbers are used again: what has a launcher's number but not its time of birth
// is somebody else and must not be touched.
func TestAUsedAgainNumberIsNotAdopted(t *testing.T) {
	data := dataDir(t)
	i := started(t, local(t, data), release(data, "serves"))
	file, state := stateFile(t, data)
	copied := filepath.Join(filepath.Dir(file), "0000000a.json")
	state["born"] = "1@another-boot"
	state["name"], state["temp"] = "other", filepath.Join(data, "other")
	text, err := json.Marshal(state)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(copied, text, 0o600); err != nil {
		t.Fatal(err)
	}
	found, err := local(t, data).Adopt(within(t, deadline))
	if err != nil || len(found) != 1 {
		t.Fatalf("adopted %d, %v", len(found), err)
	}
	if _, err := os.Stat(copied); !os.IsNotExist(err) {
		t.Errorf("the file of another birth is still there: %v", err)
	}
	select {
	case <-i.Done():
		t.Errorf("the process was ended: %+v", i.Exit())
	default:
	}
}

func TestAWrongNonceIsRefused(t *testing.T) {
	data := dataDir(t)
	i := started(t, local(t, data), release(data, "serves"))
	file, _ := stateFile(t, data)
	for _, nonce := range []string{"", "00", strings.Repeat("0", 32)} {
		conn, err := net.Dial("unix", strings.TrimSuffix(file, ".json")+".sock")
		if err != nil {
			t.Fatal(err)
		}
		if err := conn.SetDeadline(time.Now().Add(deadline)); err != nil {
			t.Fatal(err)
		}
		if _, err := conn.Write([]byte(`{"nonce":"` + nonce + `","do":"stop"}` + "\n")); err != nil {
			t.Fatal(err)
		}
		if n, err := conn.Read(make([]byte, 1)); n != 0 || err == nil || os.IsTimeout(err) {
			t.Errorf("nonce %q: read %d bytes, %v", nonce, n, err)
		}
		_ = conn.Close()
	}
	if err := i.Ready(within(t, deadline), ""); err != nil {
		t.Errorf("it was stopped: %v", err)
	}
}

// The environment may hold credentials; other users can read arguments.
func TestALauncherShowsNothingOfTheEnvironment(t *testing.T) {
	data := dataDir(t)
	r := release(data, "serves")
	r.Env["TOKEN"] = "only-for-the-app"
	t.Setenv("OF_THE_INGRESS", "not-for-anybody")
	started(t, local(t, data), r)
	file, state := stateFile(t, data)
	if text, err := json.Marshal(state); err != nil || strings.Contains(string(text), "only-for-the-app") {
		t.Errorf("the state file %s holds it, %v", file, err)
	}
	for _, name := range []string{"cmdline", "environ"} {
		path := filepath.Join("/proc", strconv.Itoa(launcherOf(t, data)), name)
		text, err := os.ReadFile(path)
		if os.IsNotExist(err) {
			skiptest.Skip(t, "there is no /proc here to read it from")
		}
		if err != nil || strings.Contains(string(text), "only-for-the-app") || strings.Contains(string(text), "not-for-anybody") {
			t.Errorf("%s is %q, %v", name, text, err)
		}
	}
}

func TestAProcessNobodyWatchesIsStopped(t *testing.T) {
	data := dataDir(t)
	first := ingressProcess(t, data, "brief")
	pid := launcherOf(t, data)
	if err := first.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = first.Wait() // "signal: killed"
	eventually(t, "the launcher has ended", func() bool { return gone(pid) })
	if left, err := filepath.Glob(filepath.Join(data, "run", "*.json")); err != nil || len(left) != 0 {
		t.Errorf("left behind: %v, %v", left, err)
	}
}

// Every port is given to one process at a time, and to as many as there are.
func TestPortsAreGivenOnceAndRunOut(t *testing.T) {
	data := dataDir(t)
	first := fourFree(t)
	l := portsFrom(t, data, first, first+3)
	spent := fmt.Sprintf("all ports from %d to %d are taken", first, first+3)
	var mu sync.Mutex
	var all sync.WaitGroup
	ports, failed := map[uint16]bool{}, 0
	for range 6 {
		all.Go(func() {
			i, err := l.Start(within(t, deadline), release(data, "silent"))
			mu.Lock()
			defer mu.Unlock()
			if err != nil {
				if failed++; !strings.Contains(err.Error(), spent) {
					t.Error(err)
				}
				return
			}
			if ports[i.Addr().Port()] {
				t.Errorf("port %d was given twice", i.Addr().Port())
			}
			ports[i.Addr().Port()] = true
			t.Cleanup(func() {
				if err := i.Stop(within(t, deadline), 0); err != nil {
					t.Error(err)
				}
			})
		})
	}
	all.Wait()
	if len(ports) != 4 || failed != 2 {
		t.Errorf("%d started, %d did not, want 4 and 2", len(ports), failed)
	}
}

// fourFree returns the first of four ports in a row that nobody has now. Where it
// looks is random, because other runs of this test do so at the same time.
func fourFree(t testing.TB) uint16 {
	t.Helper()
	for range 100 {
		first, free := uint16(22000+4*rand.IntN(1500)), 0
		for port := first; port < first+4; port++ {
			if l, err := net.Listen("tcp", fmt.Sprintf(":%d", port)); err == nil {
				free++
				_ = l.Close()
			}
		}
		if free == 4 {
			return first
		}
	}
	t.Fatal("no four ports in a row are free")
	return 0
}

func portsFrom(t testing.TB, data string, first, last uint16) *runner.Local {
	t.Helper()
	l := local(t, data)
	l.FirstPort, l.LastPort = first, last
	return l
}

// A start that is given up takes nothing over, and ends nothing: the next one
// takes over what runs.
func TestAStartThatIsGivenUpEndsNothing(t *testing.T) {
	data := dataDir(t)
	i := started(t, local(t, data), release(data, "serves"))
	if err := i.Ready(within(t, deadline), ""); err != nil {
		t.Fatal(err)
	}
	pid := get(t, i, "/pid")
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if found, err := local(t, data).Adopt(ctx); !errors.Is(err, context.Canceled) || len(found) != 0 {
		t.Errorf("adopted %d, %v", len(found), err)
	}
	found, err := local(t, data).Adopt(within(t, deadline))
	if err != nil || len(found) != 1 {
		t.Fatalf("afterwards adopted %d, %v", len(found), err)
	}
	if got := get(t, found[0], "/pid"); got != pid {
		t.Errorf("process %s answers, want %s", got, pid)
	}
}
