package runner_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/m3o/ingress/internal/confine"
	"github.com/m3o/ingress/internal/leaktest"
	"github.com/m3o/ingress/internal/logfile"
	"github.com/m3o/ingress/internal/runner"
	"github.com/m3o/ingress/internal/workload"
)

// The test binary is its own launcher, app, task and ingress, by its first
// argument.
func TestMain(m *testing.M) {
	if len(os.Args) > 1 {
		switch os.Args[1] {
		case runner.Subcommand:
			os.Exit(runner.Launch(os.Args[2:], os.Stdin, os.Stdout))
		case "app":
			app(os.Args[2])
		case "ingress":
			ingress(os.Args[2], append(os.Args[3:], "")[0])
		}
	}
	leaktest.Main(m, leaktest.IdleConnections)
}

// app is what runs under a launcher; how says how it behaves.
func app(how string) {
	fmt.Println("begun:", how)
	switch how {
	case "exits":
		os.Exit(7)
	case "silent":
		select {}
	case "late":
		for begun := false; !begun; {
			_, err := os.Stat(filepath.Join(os.Getenv("TMPDIR"), "begin"))
			begun = err == nil
		}
	case "stubborn":
		signal.Ignore(syscall.SIGTERM)
	case "loud":
		line := bytes.Repeat([]byte("x"), 1<<10)
		line[len(line)-1] = '\n'
		for range 100 << 10 {
			_, _ = os.Stdout.Write(line)
		}
	case "tree":
		child := exec.Command("/bin/sleep", "600")
		if err := child.Start(); err != nil {
			panic(err)
		}
		fmt.Println("child:", child.Process.Pid)
		select {}
	}
	healthy := time.Now().Add(300 * time.Millisecond)
	http.HandleFunc("/health", func(w http.ResponseWriter, _ *http.Request) {
		if time.Now().Before(healthy) {
			w.WriteHeader(http.StatusServiceUnavailable)
		}
	})
	http.HandleFunc("/env", func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, strings.Join(os.Environ(), "\n")) })
	http.HandleFunc("/pid", func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, os.Getpid()) })
	http.HandleFunc("/say", func(_ http.ResponseWriter, r *http.Request) { fmt.Println(r.URL.RawQuery) })
	fmt.Println(http.ListenAndServe("127.0.0.1:"+os.Getenv("PORT"), nil))
	os.Exit(1)
}

// ingress starts an app from a data directory, prints the address and waits to be
// killed. "brief" is an app that is stopped soon when nobody watches, "task" a task
// in its place, whose child's number is put into a file.
func ingress(data, how string) {
	l, err := newLocal(data)
	if err != nil {
		panic(err)
	}
	if how == "task" {
		t := task("tree", nil, data)
		t.Output = childFile(data)
		_, err := l.Run(context.Background(), t)
		panic(err)
	}
	r := release(data, "serves")
	if how == "brief" {
		r.Settings.IdleTimeout = 300 * time.Millisecond
	}
	i, err := l.Start(context.Background(), r)
	if err != nil {
		panic(err)
	}
	if err := i.Ready(context.Background(), ""); err != nil {
		panic(err)
	}
	fmt.Println(i.Addr())
	select {}
}

// childFile writes the number of a task's child into a file and then says so.
type childFile string

func (dir childFile) Write(b []byte) (int, error) {
	if _, child, ok := strings.Cut(string(b), "child: "); ok {
		if err := os.WriteFile(filepath.Join(string(dir), "child"), []byte(strings.TrimSpace(child)), 0o600); err != nil {
			return 0, err
		}
		fmt.Println("written")
	}
	return len(b), nil
}

func newLocal(data string) (*runner.Local, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	return runner.NewLocal(runner.Options{
		Layout: workload.Layout{Data: data}, Executable: self, FirstPort: 21000, LastPort: 29000, LogBytes: 64 << 10,
		Limits: confine.Limits{Processes: 64, Files: 256},
	})
}

func release(data, how string) workload.Release {
	self, err := os.Executable()
	if err != nil {
		panic(err)
	}
	layout := workload.Layout{Data: data}
	return workload.Release{
		Kind: workload.App, ID: "hello", Version: 3, Revision: 2, Dir: layout.Version(workload.App, "hello", 3),
		Home: layout.Home(workload.App, "hello"), Env: map[string]string{"COLOUR": "blue", "PORT": "1"},
		Artifact: workload.Artifact{Args: []string{self, "app", how}, Toolchain: []string{filepath.Dir(self)}},
		Settings: workload.Settings{IdleTimeout: 0},
	}
}

// dataDir is a data directory with the folders of the release's version. Its name
// is short, because sockets are made in it.
func dataDir(t testing.TB) string {
	t.Helper()
	top, err := os.MkdirTemp("", "run")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := os.RemoveAll(top); err != nil {
			t.Error(err)
		}
	})
	layout := workload.Layout{Data: top}
	if err := os.MkdirAll(workload.CodeDir(layout.Version(workload.App, "hello", 3)), 0o755); err != nil {
		t.Fatal(err)
	}
	return top
}

func local(t testing.TB, data string) *runner.Local {
	t.Helper()
	l, err := newLocal(data)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := l.Close(); err != nil {
			t.Error(err)
		}
	})
	return l
}

const deadline = 30 * time.Second

func within(t testing.TB, d time.Duration) context.Context {
	ctx, cancel := context.WithTimeout(context.Background(), d)
	t.Cleanup(cancel)
	return ctx
}

// started starts an app and ends it with the test.
func started(t testing.TB, l *runner.Local, r workload.Release) workload.Instance {
	t.Helper()
	i, err := l.Start(within(t, deadline), r)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := i.Stop(within(t, deadline), 0); err != nil {
			t.Error(err)
		}
	})
	return i
}

func get(t testing.TB, i workload.Instance, path string) string {
	t.Helper()
	res, err := http.Get("http://" + i.Addr().String() + path)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	var body bytes.Buffer
	if _, err := body.ReadFrom(res.Body); err != nil {
		t.Fatal(err)
	}
	return body.String()
}

func runLog(t testing.TB, r workload.Release) string {
	t.Helper()
	text, _, err := logfile.Read(workload.RunLog(r.Dir), 0, 1<<20)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

func TestAProcessStartsAnswersAndStops(t *testing.T) {
	data := dataDir(t)
	l, r := local(t, data), release(data, "serves")
	i := started(t, l, r)
	if err := i.Ready(within(t, deadline), "/health"); err != nil {
		t.Fatal(err)
	}
	if i.Key() != "app/hello" || i.Version() != 3 || i.Revision() != 2 || i.Addr().Port() < 21000 {
		t.Errorf("it says that it is %s, version %d, revision %d, at %v", i.Key(), i.Version(), i.Revision(), i.Addr())
	}
	temps := tempDirs(t, r)
	if len(temps) != 1 {
		t.Fatalf("its temporary folders are %q", temps)
	}
	env := strings.Split(get(t, i, "/env"), "\n")
	want := []string{
		"COLOUR=blue", "HOME=" + r.Home, "LANG=C.UTF-8", "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
		"PORT=" + strconv.Itoa(int(i.Addr().Port())), "TMPDIR=" + temps[0], "USER=hello",
	}
	if strings.Join(env, "\n") != strings.Join(want, "\n") {
		t.Errorf("its environment is %q, want %q", env, want)
	}
	if err := i.Stop(within(t, deadline), 5*time.Second); err != nil {
		t.Fatal(err)
	}
	if e := i.Exit(); e.Signal != "SIGTERM" && e.Code != 0 {
		t.Errorf("it ended with %+v", e)
	}
	if left, err := filepath.Glob(filepath.Join(data, "run", "*.json")); err != nil || len(left) != 0 {
		t.Errorf("left behind: %v, %v", left, err)
	}
	if left := tempDirs(t, r); len(left) != 0 {
		t.Errorf("left behind: %v", left)
	}
}

// tempDirs are the temporary folders of a version.
func tempDirs(t testing.TB, r workload.Release) []string {
	t.Helper()
	found, err := filepath.Glob(workload.TempDir(r.Dir) + "*")
	if err != nil {
		t.Fatal(err)
	}
	return found
}

// While an environment changes two processes of a version run at a time, and what
// no process has any more goes with the next start.
func TestEachProcessHasATemporaryFolderOfItsOwn(t *testing.T) {
	data := dataDir(t)
	l, r := local(t, data), release(data, "serves")
	stale := []string{workload.TempDir(r.Dir), workload.ProcessTempDir(r.Dir, "0a0b0c0d")}
	for _, dir := range stale {
		if err := os.MkdirAll(filepath.Join(dir, "of", "before"), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	first := started(t, l, r)
	if err := first.Ready(within(t, deadline), ""); err != nil {
		t.Fatal(err)
	}
	temps := tempDirs(t, r)
	if len(temps) != 1 || slices.Contains(stale, temps[0]) {
		t.Fatalf("after the start there are %q", temps)
	}
	mark := filepath.Join(temps[0], "mark")
	if err := os.WriteFile(mark, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	r.Revision++
	second := started(t, l, r)
	if err := second.Ready(within(t, deadline), ""); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(mark); err != nil {
		t.Errorf("the second start took a file of the first process: %v", err)
	}
	if got := get(t, second, "/env"); strings.Contains(got, "TMPDIR="+temps[0]+"\n") {
		t.Error("both have the same TMPDIR")
	}
	if err := first.Stop(within(t, deadline), time.Second); err != nil {
		t.Fatal(err)
	}
	if left := tempDirs(t, r); len(left) != 1 || left[0] == temps[0] {
		t.Errorf("after the first has ended there are %q", left)
	}
}

func TestWhatIsNotReadySaysWhy(t *testing.T) {
	for how, want := range map[string]string{
		"exits":  "it exited with code 7; it printed last:\nbegun: exits",
		"silent": "it did not listen on port",
	} {
		t.Run(how, func(t *testing.T) {
			data := dataDir(t)
			r := release(data, how)
			i := started(t, local(t, data), r)
			wait := deadline
			if how == "silent" {
				eventually(t, "what it prints is in its log", func() bool {
					text, err := logfile.Tail(workload.RunLog(r.Dir), 1, 100)
					return err == nil && string(text) == "begun: silent\n"
				})
				wait = 100 * time.Millisecond
			}
			err := i.Ready(within(t, wait), "")
			if err == nil || !strings.Contains(err.Error(), want) || !strings.Contains(err.Error(), "begun: "+how) {
				t.Errorf("got %v, want %q and what it printed", err, want)
			}
		})
	}
}

func TestAVersionWithoutItsFolderSaysWhatToDo(t *testing.T) {
	data := dataDir(t)
	l, r := local(t, data), release(data, "silent")
	if err := os.RemoveAll(filepath.Join(data, "apps")); err != nil {
		t.Fatal(err)
	}
	i, err := l.Start(t.Context(), r)
	if err == nil || !strings.Contains(err.Error(), "deploy it again") {
		t.Errorf("got %v, %v", i, err)
	}
	if _, err := os.Stat(r.Home); !os.IsNotExist(err) {
		t.Errorf("a home was made: %v", err)
	}
}

func TestAnotherProgramAtThePortIsNotTakenForTheApp(t *testing.T) {
	data := dataDir(t)
	i := started(t, local(t, data), release(data, "silent"))
	thief, err := net.Listen("tcp", i.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer thief.Close()
	if err := i.Ready(within(t, deadline), ""); !errors.Is(err, workload.ErrPortTaken) {
		t.Errorf("got %v", err)
	}
}

// Most programs end when they cannot listen, and then the port is why.
func TestWhatEndsBecauseItsPortIsTakenSaysSo(t *testing.T) {
	data := dataDir(t)
	i := started(t, local(t, data), release(data, "late"))
	thief, err := net.Listen("tcp", i.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer thief.Close()
	begin := filepath.Join(tempDirs(t, release(data, ""))[0], "begin")
	if err := os.WriteFile(begin, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	ended(t, i)
	err = i.Ready(within(t, deadline), "")
	if !errors.Is(err, workload.ErrPortTaken) || !strings.Contains(err.Error(), "address already in use") {
		t.Errorf("got %v", err)
	}
}

func TestStubbornAndLoudOnesDoNoHarm(t *testing.T) {
	data := dataDir(t)
	l := local(t, data)
	i := started(t, l, release(data, "stubborn"))
	if err := i.Ready(within(t, deadline), ""); err != nil {
		t.Fatal(err)
	}
	if err := i.Stop(within(t, deadline), 100*time.Millisecond); err != nil || i.Exit().Signal != "SIGKILL" {
		t.Errorf("what ignores SIGTERM ended with %+v, %v", i.Exit(), err)
	}
	r := release(data, "loud")
	i = started(t, l, r)
	if err := i.Ready(within(t, deadline), ""); err != nil {
		t.Fatal(err)
	}
	files, err := filepath.Glob(workload.RunLog(r.Dir) + "*")
	if err != nil {
		t.Fatal(err)
	}
	var size int64
	for _, name := range files {
		if info, err := os.Stat(name); err == nil {
			size += info.Size()
		}
	}
	if size == 0 || size > 200<<10 {
		t.Errorf("the log of 100 MiB printed takes %d bytes", size)
	}
}

func TestAnInstanceSurvivesTheIngressAndIsAdopted(t *testing.T) {
	data := dataDir(t)
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	first := exec.Command(self, "ingress", data)
	out, err := first.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := first.Start(); err != nil {
		t.Fatal(err)
	}
	address := make([]byte, 64)
	n, err := out.Read(address)
	if err != nil {
		t.Fatal(err)
	}
	if err := first.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = first.Wait() // "signal: killed"
	// What is nobody's lies beside it.
	for name, text := range map[string]string{
		"00000001.json": `{"pid":1,"born":"1@x","nonce":"x"}`, "00000002.json": `{"pid":`,
		"00000003.json": fmt.Sprintf(`{"pid":%d,"born":"1@x","nonce":"x","port":21001}`, os.Getpid()),
	} {
		if err := os.WriteFile(filepath.Join(data, "run", name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	l := local(t, data)
	found, err := l.Adopt(within(t, deadline))
	if err != nil || len(found) != 1 {
		t.Fatalf("adopted %d, %v", len(found), err)
	}
	i := found[0]
	t.Cleanup(func() { _ = i.Stop(within(t, deadline), 0) })
	if got := i.Addr().String(); got != strings.TrimSpace(string(address[:n])) || i.Key() != "app/hello" || i.Revision() != 2 {
		t.Errorf("adopted %s of %s, want what was at %s", got, i.Key(), address[:n])
	}
	if err := i.Ready(within(t, deadline), ""); err != nil {
		t.Fatal(err)
	}
	get(t, i, "/say?after-the-restart")
	if err := i.Stop(within(t, deadline), time.Second); err != nil {
		t.Fatal(err)
	}
	if log := runLog(t, release(data, "serves")); strings.Count(log, "begun") != 1 || !strings.Contains(log, "after-the-restart") {
		t.Errorf("the log is %q", log)
	}
	if left, err := filepath.Glob(filepath.Join(data, "run", "*.json")); err != nil || len(left) != 0 {
		t.Errorf("left behind: %v, %v", left, err)
	}
}

func task(how string, out *bytes.Buffer, dir string) workload.Task {
	self, err := os.Executable()
	if err != nil {
		panic(err)
	}
	return workload.Task{
		Name: "test-task-" + filepath.Base(dir), Args: []string{self, "app", how}, Dir: dir, ReadWrite: []string{dir}, ReadOnly: []string{filepath.Dir(self)}, Output: out,
	}
}

func TestTasks(t *testing.T) {
	data := dataDir(t)
	l := local(t, data)
	var out bytes.Buffer
	exit, err := l.Run(within(t, deadline), task("exits", &out, data))
	if err != nil || exit.Code != 7 || out.String() != "begun: exits\n" {
		t.Errorf("ended with %+v, %v, printed %q", exit, err, out.String())
	}
	ctx, cancel := context.WithCancel(within(t, deadline))
	tree, told := task("tree", nil, data), &until{text: "child: ", then: cancel}
	tree.Output = told
	if _, err := l.Run(ctx, tree); !errors.Is(err, context.Canceled) {
		t.Errorf("a task that was cancelled: %v", err)
	}
	_, child, ok := strings.Cut(string(told.written), "child: ")
	pid, err := strconv.Atoi(strings.TrimSpace(child))
	if !ok || err != nil {
		t.Fatalf("the task printed %q", told.written)
	}
	if !gone(pid) { // it is dead, whether or not somebody has waited for it yet
		t.Errorf("its child %d outlives it", pid)
	}
	full := failing{errors.New("the log is full")}
	broken := task("loud", nil, data)
	broken.Output = full
	if _, err := l.Run(within(t, deadline), broken); !errors.Is(err, full.error) {
		t.Errorf("output that fails: %v", err)
	}
}

// until calls then once a line with text was written to it.
type until struct {
	text    string
	then    func()
	written []byte
}

func (u *until) Write(b []byte) (int, error) {
	u.written = append(u.written, b...)
	if _, line, found := strings.Cut(string(u.written), u.text); found && strings.HasSuffix(line, "\n") {
		u.then()
	}
	return len(b), nil
}

type failing struct{ error }

func (f failing) Write([]byte) (int, error) { return 0, f.error }

// BenchmarkStart measures from Start to Ready to the end of Stop; the app's own
// start, which BenchmarkOwnStart measures, is part of it.
func BenchmarkStart(b *testing.B) {
	data := dataDir(b)
	l := local(b, data)
	for b.Loop() {
		i, err := l.Start(within(b, deadline), release(data, "serves"))
		if err != nil {
			b.Fatal(err)
		}
		if err := i.Ready(within(b, deadline), ""); err != nil {
			b.Fatal(err)
		}
		if err := i.Stop(within(b, deadline), time.Second); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkOwnStart is the same app without a launcher, confinement and log.
func BenchmarkOwnStart(b *testing.B) {
	self, err := os.Executable()
	if err != nil {
		b.Fatal(err)
	}
	for b.Loop() {
		cmd := exec.Command(self, "app", "serves")
		cmd.Env = []string{"PORT=29001"}
		if err := cmd.Start(); err != nil {
			b.Fatal(err)
		}
		tick, ctx := time.NewTicker(time.Millisecond), within(b, deadline)
		for {
			conn, err := net.Dial("tcp", "127.0.0.1:29001")
			if err == nil {
				_ = conn.Close()
				break
			}
			select {
			case <-tick.C:
			case <-ctx.Done():
				b.Fatal("it never listened")
			}
		}
		tick.Stop()
		if err := cmd.Process.Signal(syscall.SIGTERM); err != nil {
			b.Fatal(err)
		}
		_ = cmd.Wait() // "signal: terminated"
	}
}
