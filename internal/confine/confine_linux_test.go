package confine

import (
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/m3o/ingress/internal/porttest"
	"github.com/m3o/ingress/internal/skiptest"
)

func TestForbidden(t *testing.T) {
	landlocked(t, landlockScope)
	a := newApp(t, "app")
	neighbour := newApp(t, "neighbour")
	theirs := filepath.Join(neighbour.dir, "secret")
	mustWrite(t, theirs, "secret", 0o666)
	data := t.TempDir()
	database := filepath.Join(data, "ingress.db")
	mustWrite(t, database, "rows", 0o644)
	socket := filepath.Join(data, "admin.sock")
	unixListener, err := net.Listen("unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	defer unixListener.Close()
	tcp, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer tcp.Close()
	port := fmt.Sprint(tcp.Addr().(*net.TCPAddr).Port)
	self := fmt.Sprint(os.Getpid())
	parent := fmt.Sprint(os.Getppid())
	other, otherOut := neighbour.start(probe, "stubborn")
	waitLine(t, otherOut, "ignoring")
	neighbourPID := fmt.Sprint(other.PID())

	for _, args := range [][]string{
		{"read", theirs}, {"write", theirs}, {"read", database}, {"write", database}, {"list", data},
		{"read", "/etc/shadow"}, {"list", "/root"}, {"list", "/home"}, {"write", "/usr/x"}, {"write", probe},
		{"write", "/var/tmp/confine-x"}, {"write", "/dev/shm/../confine-x"},
		{"read", "/proc/" + self + "/environ"}, {"read", "/proc/" + parent + "/environ"}, {"read", "/proc/1/environ"},
		{"read", "/proc/" + neighbourPID + "/environ"}, {"link", "/proc/" + self + "/fd/1"}, {"read", "/proc/" + self + "/maps"}, {"peek", self}, {"peek", neighbourPID},
		{"bind", "0"}, {"bind", "20001"}, {"connect", port}, {"fastopen", port}, {"mptcp"}, {"packet"}, {"vsock"},
		{"unix", socket}, {"signal", self}, {"signal", neighbourPID}, {"ptrace", self}, {"ptrace", neighbourPID},
		{"userns"}, {"mountns"}, {"iouring"}, {"keyctl"}, {"bpf"}, {"open"},
		{"read", "/sys/kernel/debug"}, {"write", "/proc/self/oom_score_adj"}, {"run", "/proc/self/exe", "write", theirs},
	} {
		t.Run(strings.Join(append([]string{args[0]}, args[len(args)-1]), " "), func(t *testing.T) {
			b := *a
			b.t = t
			exit, out := b.run(probe, args...)
			if exit.Code != 1 || !strings.Contains(out, "refused:") && args[0] != "run" {
				t.Errorf("%q: %v: %s", args, exit, out)
			}
		})
	}
	if text, err := os.ReadFile(theirs); err != nil || string(text) != "secret" {
		t.Errorf("the neighbour's file holds %q, %v", text, err)
	}
	if p, ok := process(other.PID()); !ok || !p.alive() {
		t.Error("the neighbour is gone")
	}
}

func TestAllowed(t *testing.T) {
	a := newApp(t, "app")
	tcp, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer tcp.Close()
	port := uint16(tcp.Addr().(*net.TCPAddr).Port)
	own := porttest.Free(t)
	a.policy.Connect, a.policy.Bind = []uint16{port}, []uint16{own}
	for _, args := range [][]string{
		{"write", filepath.Join(a.dir, "file")}, {"read", filepath.Join(a.dir, "file")}, {"list", a.dir},
		{"connect", fmt.Sprint(port)}, {"bind", fmt.Sprint(own)}, {"pair"}, {"interfaces"}, {"read", "/proc/self/status"},
		{"read", "/proc/self/environ"}, {"read", "/etc/hosts"}, {"write", "/dev/null"}, {"cat"}, {"run", "/usr/bin/env"},
	} {
		exit, out := a.run(probe, args...)
		if exit.Code != 0 || exit.Excess != "" {
			t.Errorf("%q: %v: %s", args, exit, out)
		}
	}
}

func TestIdentity(t *testing.T) {
	a := newApp(t, "app")
	_, out := a.run(probe, "id")
	want := []string{"CapEff:\t0000000000000000", "CapPrm:\t0000000000000000", "CapAmb:\t0000000000000000", "NoNewPrivs:\t1", "Seccomp:\t2"}
	if os.Geteuid() == 0 {
		want = append(want, "CapBnd:\t0000000000000000", "uid 61234 61234 gid 61234 61234 groups []", "Groups:\t \n")
	}
	for _, w := range want {
		if !strings.Contains(out, w) {
			t.Errorf("%q is not in %s", w, out)
		}
	}
	_, out = a.run(probe, "env")
	if want := "PATH=/usr/local/go/bin:/usr/bin:/bin\nHOME=" + a.dir + "\nTMPDIR=" + a.dir + "\nLANG=C\ndone\n"; out != want {
		t.Errorf("the environment is %q", out)
	}
}

func TestRootWithoutAnotherUserHasNoPrivileges(t *testing.T) {
	if os.Geteuid() != 0 {
		skiptest.Skip(t, "not root")
	}
	a := newApp(t, "app")
	a.policy.User = User{}
	if err := os.Chown(a.dir, 0, 0); err != nil {
		t.Fatal(err)
	}
	_, out := a.run(probe, "id")
	for _, w := range []string{"CapEff:\t0000000000000000", "CapBnd:\t0000000000000000"} {
		if !strings.Contains(out, w) {
			t.Errorf("%q is not in %s", w, out)
		}
	}
	if exit, out := a.run(probe, "read", "/etc/shadow"); exit.Code != 1 {
		t.Errorf("/etc/shadow: %v %s", exit, out)
	}
	if exit, out := a.run(probe, "unix", "/nowhere"); exit.Code != 1 || !strings.Contains(out, "not permitted") {
		t.Errorf("a unix socket: %v %s", exit, out)
	}
}

func TestSetUserIDGainsNothing(t *testing.T) {
	if os.Geteuid() != 0 {
		skiptest.Skip(t, "only root can make a program of root's")
	}
	a := newApp(t, "app")
	text, err := os.ReadFile(probe)
	if err != nil {
		t.Fatal(err)
	}
	program := filepath.Join(a.dir, "suid")
	mustWrite(t, program, string(text), os.ModeSetuid|0o755)
	_, out := a.run(program, "id")
	if !strings.Contains(out, "uid 61234 61234 ") {
		t.Error(out)
	}
}

func TestUmask(t *testing.T) {
	for umask, want := range map[uint32]os.FileMode{0: 0o644, 0o002: 0o664, 0o077: 0o600} {
		a := newApp(t, "app")
		a.policy.Umask = umask
		file := filepath.Join(a.dir, "made")
		if exit, out := a.run(probe, "umask", file); exit.Code != 0 {
			t.Fatal(exit, out)
		}
		st, err := os.Stat(file)
		if err != nil || st.Mode().Perm() != want {
			t.Errorf("mask %o: %v %v", umask, st.Mode(), err)
		}
	}
}

func TestMemory(t *testing.T) {
	a := newApp(t, "app")
	a.policy.Limits.Memory = 64 << 20
	exit, out := a.run(probe, "allocate")
	if exit.Excess != "it used more than 64 MiB of memory" {
		t.Errorf("%+v: %.500s", exit, out)
	}
}

func TestForkBomb(t *testing.T) {
	a := newApp(t, "app")
	a.policy.Limits.Processes = 40
	p, r := a.start(probe, "fork")
	// As an ordinary user the watcher may end it before a fork fails.
	timer := time.AfterFunc(2*time.Second, p.Kill)
	defer timer.Stop()
	out, err := io.ReadAll(r)
	if err != nil {
		t.Fatal(err)
	}
	exit := p.Wait()
	// Go gives up where it cannot make a thread, so it may have ended by itself.
	if exit.Code == 0 {
		t.Errorf("%+v %.500s", exit, out)
	}
	if err := p.Leftover(); err != nil {
		t.Error(err)
	}
	if !strings.Contains(string(out), "cannot fork") && exit.Excess == "" {
		t.Errorf("nothing stopped it: %+v", exit)
	}
	for _, q := range strays(t, probe) {
		t.Errorf("process %d is left", q)
	}
}

// strays are the processes that run a program.
func strays(t *testing.T, program string) []int {
	t.Helper()
	table, err := processes()
	if err != nil {
		t.Fatal(err)
	}
	var list []int
	for pid := range table {
		if exe, err := os.Readlink(fmt.Sprintf("/proc/%d/exe", pid)); err == nil && exe == program {
			list = append(list, pid)
		}
	}
	return list
}

func TestDisk(t *testing.T) {
	for _, act := range []string{"fill", "unnamed"} {
		a := newApp(t, act)
		a.policy.Limits.Disk = 32 << 20
		exit, out := a.run(probe, act, a.dir)
		if exit.Excess != "it used more than 32 MiB of disk" {
			t.Errorf("%s: %+v: %.500s", act, exit, out)
		}
	}
}

func TestStubbornProcessesAreKilled(t *testing.T) {
	for _, act := range []string{"stubborn", "escape"} {
		a := newApp(t, act)
		p, r := a.start(probe, act)
		waitLine(t, r, "ignoring")
		if err := p.Signal(syscall.SIGTERM); err != nil {
			t.Error(err)
		}
		if act == "stubborn" {
			if q, ok := process(p.PID()); !ok || !q.alive() {
				t.Error("SIGTERM ended it")
			}
		}
		p.Kill()
		if exit := p.Wait(); exit.Code == 0 {
			t.Errorf("%s: %+v", act, exit)
		}
		if left := strays(t, probe); len(left) != 0 {
			t.Errorf("%s: %v are left", act, left)
		}
	}
}

func TestWhatADaemonLeavesIsKilled(t *testing.T) {
	a := newApp(t, "daemon")
	exit, out := a.run(probe, "daemon")
	var child int
	if _, err := fmt.Sscanf(out, "child %d", &child); err != nil || exit.Code != 0 {
		t.Fatalf("%v: %+v %s", err, exit, out)
	}
	gone(t, child)
}

func TestExit(t *testing.T) {
	a := newApp(t, "app")
	if exit, _ := a.run(probe, "exit", "7"); exit != (Exit{Code: 7}) {
		t.Errorf("%+v", exit)
	}
	p, r := a.start(probe, "stubborn")
	waitLine(t, r, "ignoring")
	if err := p.Signal(syscall.SIGQUIT); err != nil {
		t.Error(err)
	}
	timer := time.AfterFunc(20*time.Second, p.Kill)
	defer timer.Stop()
	if exit := p.Wait(); exit.Code != 2 { // how Go ends on SIGQUIT
		t.Errorf("%+v", exit)
	}
	if err := p.Signal(syscall.SIGTERM); !errors.Is(err, syscall.ESRCH) {
		t.Errorf("a signal after the end: %v", err)
	}
	p.Kill() // does nothing
}

func TestListensAndUsage(t *testing.T) {
	a := newApp(t, "app")
	port, other := porttest.Free(t), porttest.Free(t)
	a.policy.Bind = []uint16{port}
	p, r := a.start(probe, "listen", fmt.Sprint(port))
	waitLine(t, r, "listening")
	if ok, err := p.Listens(port); !ok || err != nil {
		t.Errorf("its own port: %v %v", ok, err)
	}
	l, err := net.Listen("tcp4", fmt.Sprintf("127.0.0.1:%d", other))
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	if ok, err := p.Listens(other); ok || err != nil {
		t.Errorf("another's port: %v %v", ok, err)
	}
	u, err := p.Usage()
	if err != nil || u.Memory <= 0 || u.Processes != 1 || u.Threads < 1 {
		t.Errorf("%+v %v", u, err)
	}
}

func TestStartFails(t *testing.T) {
	a := newApp(t, "app")
	for _, c := range []Command{
		{Path: "/nowhere", Args: []string{"x"}, Dir: a.dir, Output: os.Stderr},
		{Path: probe, Args: []string{"x"}, Dir: "/nowhere", Output: os.Stderr},
		{Path: "probe", Args: []string{"x"}, Dir: a.dir, Output: os.Stderr},
		{Path: probe, Dir: a.dir, Output: os.Stderr},
		{Path: probe, Args: []string{"x"}, Dir: a.dir},
		{Path: probe, Args: []string{"x"}, Dir: a.dir, Output: os.Stderr, Env: []string{"SECRET=\x00"}},
	} {
		if p, err := Start(a.policy, c); err == nil || strings.Contains(err.Error(), "SECRET") {
			t.Errorf("%+v: %v", c, err)
			if p != nil {
				p.Kill()
			}
		}
	}
	if list := newGroups(a.policy); list.remove() != nil {
		t.Error("a group is left")
	}
}

// A data directory beneath one that is closed to others works under its own
// name, and nothing else of that directory is seen.
func TestClosedAncestor(t *testing.T) {
	if os.Geteuid() != 0 || !mountable() {
		skiptest.Skip(t, "only root can mount")
	}
	base, err := os.MkdirTemp("/var/tmp", "confine-closed-")
	if err != nil {
		t.Fatal(err)
	}
	defer os.RemoveAll(base)
	code, more := filepath.Join(base, "data", "code"), filepath.Join(base, "data", "lib")
	hidden := filepath.Join(base, "hidden")
	mustWrite(t, hidden, "hidden", 0o666)
	if err := errors.Join(os.MkdirAll(code, 0o700), os.MkdirAll(more, 0o755)); err != nil {
		t.Fatal(err)
	}
	mustWrite(t, filepath.Join(more, "lib"), "lib", 0o644)
	a := newApp(t, "app")
	if err := Give(code, a.policy.User); err != nil {
		t.Fatal(err)
	}
	a.policy.ReadWrite, a.policy.ReadOnly = append(a.policy.ReadWrite, code), append(a.policy.ReadOnly, more)
	for _, c := range []struct {
		act, path string
		want      int
	}{
		{"write", filepath.Join(code, "file"), 0}, {"read", filepath.Join(code, "file"), 0},
		{"read", filepath.Join(more, "lib"), 0}, {"write", filepath.Join(more, "lib"), 1}, {"stat", hidden, 1},
		{"write", "/tmp/own", 0}, {"write", "/dev/shm/own", 0}, {"stat", "/proc/1", 1},
	} {
		if exit, out := a.run(probe, c.act, c.path); exit.Code != c.want {
			t.Errorf("%s %s: %v: %s", c.act, c.path, exit, out)
		}
	}
	if _, err := os.Stat(filepath.Join(code, "file")); err != nil {
		t.Error(err)
	}
	mounts, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil || strings.Contains(string(mounts), base) {
		t.Errorf("a mount is left: %v", err)
	}
	if _, err := os.Stat("/tmp/own"); err == nil {
		t.Error("the app wrote to the machine's /tmp")
	}
}

func TestProbeIsForPeople(t *testing.T) {
	for _, m := range Probe(t.TempDir(), "/root") {
		t.Logf("%-50s %v: %s. %s", m.Name, m.InForce, m.Detail, m.Advice)
		if m.Name == "" || m.Detail == "" || m.InForce != (m.Advice == "") && m.Name != "files" {
			t.Errorf("%+v", m)
		}
	}
}

// Threads of the launcher are as free as before.
func TestLauncherStaysHealthy(t *testing.T) {
	a := newApp(t, "app")
	if exit, out := a.run(probe, "write", filepath.Join(a.dir, "x")); exit.Code != 0 {
		t.Fatal(exit, out)
	}
	entries, err := os.ReadDir("/proc/self/task")
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		text, err := os.ReadFile("/proc/self/task/" + e.Name() + "/status")
		if err == nil && !strings.Contains(string(text), "NoNewPrivs:\t0") {
			t.Errorf("a thread is restricted: %s", text)
		}
	}
}

// What a launcher that was killed leaves is found by its groups, or by its session
// and its environment.
func TestEndLeftovers(t *testing.T) {
	a := newApp(t, "left")
	p, r := a.start("/bin/sh", "-c", `(exec sleep 600) & env -i /bin/sleep 601 & echo $!; wait`)
	var child int
	if _, err := fmt.Fscan(r, &child); err != nil {
		t.Fatal(err)
	}
	remains := Remains{Name: a.policy.Name + "-other", User: a.policy.User, Env: []string{"TMPDIR=" + a.dir + "-other"}}
	if err := EndLeftovers(remains); err != nil {
		t.Fatal(err)
	}
	if q, ok := process(child); !ok || !q.alive() {
		t.Fatal("the process of another tree was ended")
	}
	// Without its groups, as on a machine that has none.
	remains.Env = []string{"TMPDIR=" + a.dir}
	if err := EndLeftovers(remains); err != nil {
		t.Fatal(err)
	}
	gone(t, child)
	if exit := p.Wait(); exit.Signal != "SIGKILL" {
		t.Errorf("its first process ended with %+v", exit)
	}
}
