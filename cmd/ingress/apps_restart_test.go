package main_test

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
)

// Apps outlive the ingress, however it ends.

func TestKill9OfTheIngressRestartsNoApp(t *testing.T) {
	dir := shortTempDir(t)
	endAppsOf(t, dir)
	i := startIngressIn(t, dir, nil)
	names := []string{"alpha", "beta", "gamma"}
	for _, name := range names {
		i.deployed("app", "run", name, "--dir", nodeApp(t, name))
	}
	pids := appPIDs(i, names)
	before := sorted(launchers(t, dir))
	for round := range 3 {
		l := i.load("alpha", 4)
		i.get(appURL("beta", fmt.Sprintf("/print?text=before-%d", round)))
		i.kill()
		_, _ = l.stop() // what was under way is lost with the ingress
		if got := sorted(launchers(t, dir)); !slices.Equal(got, before) {
			t.Fatalf("round %d: without the ingress the launchers are %v, before %v", round, got, before)
		}
		i = startIngressIn(t, dir, nil)
		if got := appPIDs(i, names); got != pids {
			t.Fatalf("round %d: the processes are %s, before %s", round, got, pids)
		}
		i.get(appURL("beta", fmt.Sprintf("/print?text=after-%d", round)))
	}
	if got := sorted(launchers(t, dir)); !slices.Equal(got, before) {
		t.Errorf("the launchers are %v, before %v", got, before)
	}
	i.await("an unbroken log", func() bool {
		logs := i.deployed("app", "logs", "beta")
		for round := range 3 {
			for _, when := range []string{"before", "after"} {
				if strings.Count(logs, fmt.Sprintf("%s-%d\n", when, round)) != 1 {
					return false
				}
			}
		}
		return strings.Count(logs, "listens") == 1
	})
}

// appPIDs asks the apps themselves.
func appPIDs(i *ingress, names []string) string {
	var pids []string
	for _, name := range names {
		a := i.get(appURL(name, "/pid"))
		if a.status != 200 {
			i.t.Fatalf("%s: %d %s", name, a.status, a.body)
		}
		pids = append(pids, name+"="+a.body)
	}
	return strings.Join(pids, " ")
}

func sorted(pids []int) []int {
	slices.Sort(pids)
	return pids
}

func TestAnIngressThatStartsClearsUp(t *testing.T) {
	dir := shortTempDir(t)
	endAppsOf(t, dir)
	i := startIngressIn(t, dir, nil)
	for _, name := range []string{"kept", "dead"} {
		i.deployed("app", "run", name, "--dir", nodeApp(t, name), "--idle-timeout", "0s")
	}
	kept := i.get(appURL("kept", "/pid")).body
	i.stop()
	// One app ends while there is no ingress; what runs of the other is its own.
	pid := i.launcherOf("dead")
	if err := syscall.Kill(pid, syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	within(t, "end of the killed launcher", func() bool { return len(launchers(t, dir)) == 1 })
	// A folder that no row wants, and a state file of nobody.
	stray := filepath.Join(dir, "apps", "nobody", "1", "code")
	if err := os.MkdirAll(stray, 0o755); err != nil {
		t.Fatal(err)
	}
	i = startIngressIn(t, dir, nil)
	if a := i.get(appURL("kept", "/pid")); a.body != kept {
		t.Errorf("the app was restarted: pid %s, before %s", a.body, kept)
	}
	if a := i.get(appURL("dead", "/")); a.body != "version dead" {
		t.Errorf("the app that had ended: %d %s", a.status, a.body)
	}
	i.await("removal of a stray folder", func() bool {
		_, err := os.Stat(filepath.Dir(filepath.Dir(stray)))
		return os.IsNotExist(err)
	})
	if n := len(launchers(t, dir)); n != 2 {
		t.Errorf("%d launchers run", n)
	}
}

// launcherOf finds an app's launcher: the parent of the process that answers.
func (i *ingress) launcherOf(name string) int {
	i.t.Helper()
	for _, pid := range launchers(i.t, i.dir) {
		for _, child := range childrenOf(i.t, pid) {
			if cwd, err := os.Readlink("/proc/" + child + "/cwd"); err == nil && strings.Contains(cwd, "/apps/"+name+"/") {
				return pid
			}
		}
	}
	i.t.Fatalf("no launcher of %s", name)
	return 0
}

// childrenOf returns the processes that any thread of a process has started.
func childrenOf(t testing.TB, pid int) []string {
	t.Helper()
	lists, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/children", pid))
	if err != nil {
		t.Fatal(err)
	}
	var children []string
	for _, list := range lists {
		if text, err := os.ReadFile(list); err == nil { // otherwise the thread has ended
			children = append(children, strings.Fields(string(text))...)
		}
	}
	return children
}
