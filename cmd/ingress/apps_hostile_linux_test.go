package main_test

import (
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"github.com/m3o/ingress/internal/skiptest"
)

// A hostile app tries what it must not do, once under an ingress that is root and
// once under one that is an ordinary user. Its neighbour answers throughout.

func TestAHostileAppAsRoot(t *testing.T) {
	if os.Geteuid() != 0 {
		skiptest.Skip(t, "this test has to be run by root")
	}
	testHostileApp(t, nil)
}

func TestAHostileAppAsAnOrdinaryUser(t *testing.T) {
	var nobody *syscall.Credential
	if os.Geteuid() == 0 {
		nobody = &syscall.Credential{Uid: 65534, Gid: 65534, NoSetGroups: false}
	}
	testHostileApp(t, nobody)
}

// hostilePlatform starts an ingress as a user, with the hostile app and a
// neighbour.
func hostilePlatform(t *testing.T, user *syscall.Credential) *ingress {
	t.Helper()
	dir := shortTempDir(t)
	if user != nil {
		// What the user has to reach: the binary, and a home of its own.
		binary(t)
		for _, open := range []string{scratch, filepath.Dir(dir)} {
			if err := os.Chmod(open, 0o755); err != nil {
				t.Fatal(err)
			}
		}
		if err := os.Chown(filepath.Dir(dir), int(user.Uid), int(user.Gid)); err != nil {
			t.Fatal(err)
		}
	}
	endAppsOf(t, dir)
	i := launchAs(t, user, dir, []string{"SESAME=secret-of-the-ingress"},
		"--app-memory", "256MiB", "--app-disk", "64MiB", "--app-processes", "64", "--stop-timeout", "2s").started()
	i.deployed("app", "run", "neighbour", "--dir", nodeApp(t, "neighbour"))
	i.deployed("app", "run", "hostile", "--dir", hostileApp(t))
	return i
}

func hostileApp(t *testing.T) string {
	t.Helper()
	needs(t, "node", "npm")
	files := map[string]string{}
	for _, name := range []string{"server.js", "package.json"} {
		content, err := os.ReadFile(filepath.Join("testdata", "apps", "hostile", name))
		if err != nil {
			t.Fatal(err)
		}
		files[name] = string(content)
	}
	return folder(t, files)
}

func testHostileApp(t *testing.T, user *syscall.Credential) {
	i := hostilePlatform(t, user)
	neighbour := decoded(t, i.get(appURL("neighbour", "/env")))
	t.Run("what it must be able to do", func(t *testing.T) {
		if got := i.trick("own", nil); got["ok"] != true {
			t.Errorf("writing its own folder, temp and home: %v", got)
		}
	})
	t.Run("what it must not be able to do", func(t *testing.T) { testForbidden(t, i, neighbour) })
	t.Run("what it runs with", func(t *testing.T) { testPrivileges(t, i, user) })
	for _, r := range runaways {
		t.Run(r.what+" without end", func(t *testing.T) { testRunaway(t, i, r.what, r.reason) })
	}
	t.Run("SIGTERM ignored", func(t *testing.T) {
		i.mustCall("app/Delete", `{"name":"hostile"}`)
		within(t, "end of an app that ignores SIGTERM", func() bool { return len(launchers(t, i.dir)) == 1 })
	})
	if got := decoded(t, i.get(appURL("neighbour", "/env"))); got["PORT"] != neighbour["PORT"] {
		t.Errorf("the neighbour was restarted: port %v, before %v", got["PORT"], neighbour["PORT"])
	}
}

// trick has the hostile app try something.
func (i *ingress) trick(what string, parameters url.Values) map[string]any {
	i.t.Helper()
	return decoded(i.t, i.get(appURL("hostile", "/"+what+"?"+parameters.Encode())))
}

func testForbidden(t *testing.T, i *ingress, neighbour map[string]any) {
	host, admin, _ := strings.Cut(i.admin, ":")
	_, public, _ := strings.Cut(i.listen, ":")
	home := fmt.Sprint(neighbour["HOME"])
	pid := i.get(appURL("neighbour", "/pid")).body
	for _, row := range []struct {
		what       string
		parameters url.Values
	}{
		{"read", url.Values{"path": {filepath.Join(i.dir, "ingress.db")}}},
		{"read", url.Values{"path": {filepath.Join(i.dir, "secret.key")}}},
		{"list", url.Values{"path": {i.dir}}},
		{"list", url.Values{"path": {filepath.Join(i.dir, "run")}}},
		{"list", url.Values{"path": {home}}},
		{"read", url.Values{"path": {filepath.Join(filepath.Dir(home), "1", "code", "server.js")}}},
		{"link", url.Values{"path": {filepath.Join(filepath.Dir(home), "1", "code", "server.js")}}},
		{"write", url.Values{"path": {filepath.Join(home, "planted")}}},
		{"read", url.Values{"path": {"/etc/shadow"}}},
		{"read", url.Values{"path": {fmt.Sprintf("/proc/%d/environ", i.cmd.Process.Pid)}}},
		{"read", url.Values{"path": {"/proc/" + pid + "/environ"}}},
		{"descriptors", url.Values{"path": {"/proc/" + pid + "/fd"}}},
		{"list", url.Values{"path": {"/root"}}},
		{"listen", url.Values{"port": {"12345"}}},
		{"listen", url.Values{"port": {"12346"}, "host": {"0.0.0.0"}}},
		{"connect", url.Values{"port": {admin}}},
		{"connect", url.Values{"port": {public}}},
		{"connect", url.Values{"port": {fmt.Sprint(neighbour["PORT"])}}},
		{"unix", url.Values{"path": {filepath.Join(i.dir, "admin.sock")}}},
		{"signal", url.Values{"pid": {pid}}},
		{"signal", url.Values{"pid": {strconv.Itoa(i.cmd.Process.Pid)}}},
	} {
		if got := i.trick(row.what, row.parameters); got["ok"] != false {
			t.Errorf("%s %s succeeded: %v", row.what, row.parameters.Encode(), got)
		}
	}
	testSharedTemp(t, i)
	if host != "127.0.0.1" {
		t.Errorf("the admin listener is at %s", i.admin)
	}
}

func testPrivileges(t *testing.T, i *ingress, user *syscall.Credential) {
	status := fmt.Sprint(i.trick("status", nil)["got"])
	for _, want := range []string{"NoNewPrivs:\t1", "CapEff:\t0000000000000000", "CapPrm:\t0000000000000000"} {
		if !strings.Contains(status, want) {
			t.Errorf("its status does not say %q:\n%s", want, status)
		}
	}
	uid := fmt.Sprint(i.trick("whoami", nil)["got"])
	if user == nil && os.Geteuid() == 0 && (uid == "0" || uid == "65534") {
		t.Errorf("under a root ingress it runs as user %s", uid)
	}
}

// testSharedTemp tries the machine's own temporary folder. What an app can write
// to under that name, if anything, is its own.
func testSharedTemp(t *testing.T, i *ingress) {
	planted := filepath.Join("/tmp", "planted-by-"+filepath.Base(filepath.Dir(i.dir)))
	got := i.trick("write", url.Values{"path": {planted}})
	if _, err := os.Stat(planted); !os.IsNotExist(err) {
		t.Errorf("a file in the machine's /tmp was written: %v, %v", got, err)
	}
}

// runaways are what the app can do without end, and what its status says of it.
var runaways = []struct{ what, reason string }{
	{"forks", "processes and threads"},
	{"memory", "it used more than 256 MiB of memory"},
	{"disk", "it used more than 64 MiB of disk"},
	{"files", "it used more than 64 MiB of disk"},
	{"cpu", "processor"},
}

// testRunaway lets the app run away: its status says why it ended, and that of
// nobody else. A new version runs, although what the old one left filled its disk.
func testRunaway(t *testing.T, i *ingress, what, reason string) {
	l := i.load("neighbour", 2)
	before := i.get(appURL("hostile", "/pid")).body
	if a := i.get(appURL("hostile", "/"+what)); a.body != "begun" {
		t.Fatalf("got %d %q", a.status, a.body)
	}
	within(t, "status that says "+reason, func() bool {
		return strings.Contains(fmt.Sprint(i.service("hostile")["reason"]), reason)
	})
	s := i.service("hostile")
	t.Logf("its status: %v, because %v", s["state"], s["reason"])
	i.deployed("app", "update", "hostile", "--dir", hostileApp(t))
	if a := i.get(appURL("hostile", "/pid")); a.status != 200 || a.body == before {
		t.Errorf("the new version answers %d %q, the old one was process %s", a.status, a.body, before)
	}
	if answered, failures := l.stop(); len(failures) > 0 || answered == 0 {
		t.Errorf("the neighbour answered %d requests and failed %d: %.500v", answered, len(failures), failures)
	}
	if s := i.service("neighbour"); s["state"] != "ready" || strings.Contains(fmt.Sprint(s["reason"]), reason) {
		t.Errorf("the neighbour's status: %v", s)
	}
}

// A launcher that is killed takes its app with it, also what does not end with the
// app's first process, and the app is started again. So it is when the ingress has
// been killed before.
func TestAKilledLauncherLeavesNothing(t *testing.T) {
	dir := shortTempDir(t)
	endAppsOf(t, dir)
	i := startIngressIn(t, dir, nil)
	i.deployed("app", "run", "hello", "--dir", nodeApp(t, "one"))
	for _, ingressToo := range []bool{false, true} {
		before := i.get(appURL("hello", "/pid")).body
		pid, err := strconv.Atoi(before)
		if err != nil {
			t.Fatalf("its pid is %q", before)
		}
		if ingressToo {
			i.kill()
		}
		for _, launcher := range launchers(t, dir) {
			if err := syscall.Kill(launcher, syscall.SIGKILL); err != nil {
				t.Fatal(err)
			}
		}
		if ingressToo {
			i = startIngressIn(t, dir, nil)
		}
		within(t, "end of the app's process", func() bool { return syscall.Kill(pid, 0) != nil })
		within(t, "the app to be back", func() bool {
			a := i.get(appURL("hello", "/pid"))
			return a.status == 200 && a.body != before
		})
	}
}
