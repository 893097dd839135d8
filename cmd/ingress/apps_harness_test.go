package main_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/m3o/ingress/internal/skiptest"
)

// needs skips the test when a program it needs is not here.
func needs(t testing.TB, programs ...string) {
	t.Helper()
	for _, program := range programs {
		if _, err := exec.LookPath(program); err != nil {
			skiptest.Skip(t, "there is no "+program+" here")
		}
	}
}

// startPlatform is startIngress for tests that run apps: what the test leaves
// running is ended with it, since apps outlive the ingress.
func startPlatform(t testing.TB, args ...string) *ingress {
	t.Helper()
	dir := shortTempDir(t)
	endAppsOf(t, dir)
	return startIngressIn(t, dir, nil, args...)
}

// endAppsOf ends, with the test, the launchers of a data directory.
func endAppsOf(t testing.TB, dir string) {
	t.Helper()
	t.Cleanup(func() {
		for _, pid := range launchers(t, dir) {
			if err := syscall.Kill(pid, syscall.SIGKILL); err != nil && !errors.Is(err, syscall.ESRCH) {
				t.Error(err)
			}
		}
		within(t, "end of all apps", func() bool { return len(launchers(t, dir)) == 0 })
	})
}

// launchers returns the pids of the launchers of a data directory that run
// something, from the process table: what is not written down anywhere counts, too.
func launchers(t testing.TB, dir string) []int {
	t.Helper()
	var found []int
	entries, err := os.ReadDir("/proc")
	if err != nil {
		skiptest.Skip(t, "there is no /proc here")
	}
	for _, entry := range entries {
		pid, err := strconv.Atoi(entry.Name())
		if err != nil {
			continue
		}
		line, err := os.ReadFile("/proc/" + entry.Name() + "/cmdline")
		if err != nil {
			continue // it has ended
		}
		args := strings.Split(string(line), "\x00")
		if len(args) > 1 && args[1] == "launch" && strings.Contains(string(line), dir) && hasChild(pid) {
			found = append(found, pid)
		}
	}
	return found
}

// hasChild reports whether a process has started another that has not ended.
func hasChild(pid int) bool {
	lists, _ := filepath.Glob(fmt.Sprintf("/proc/%d/task/[0-9]*/children", pid)) // the pattern is right
	return slices.ContainsFunc(lists, func(list string) bool {
		text, err := os.ReadFile(list)
		return err == nil && len(text) > 0
	})
}

// within polls for something that announces itself in no other way.
func within(t testing.TB, what string, condition func() bool) {
	t.Helper()
	timeout := time.After(deadline)
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for !condition() {
		select {
		case <-timeout:
			t.Fatalf("no %s within %v", what, deadline)
		case <-tick.C:
		}
	}
}

// folder makes a folder of files.
func folder(t testing.TB, files map[string]string) string {
	t.Helper()
	dir := t.TempDir()
	for name, content := range files {
		path := filepath.Join(dir, filepath.FromSlash(name))
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(content), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

// nodeApp is the test app of a version; see testdata/apps/node.
func nodeApp(t testing.TB, version string) string {
	t.Helper()
	needs(t, "node", "npm")
	files := map[string]string{"version": version}
	for _, name := range []string{"server.js", "package.json"} {
		content, err := os.ReadFile(filepath.Join("testdata", "apps", "node", name))
		if err != nil {
			t.Fatal(err)
		}
		files[name] = string(content)
	}
	return folder(t, files)
}

// deployed runs a command of the program that deploys, which must succeed.
func (i *ingress) deployed(args ...string) string {
	i.t.Helper()
	stdout, stderr, code := i.run(nil, args...)
	if code != 0 {
		_, log := i.output()
		i.t.Fatalf("ingress %s: exit code %d\n%s%s\nthe ingress said\n%s", strings.Join(args, " "), code, stdout, stderr, log)
	}
	return stdout
}

// service returns an app as Status shows it.
func (i *ingress) service(name string) map[string]any {
	i.t.Helper()
	return i.mustCall("app/Status", fmt.Sprintf(`{"name":%q}`, name))["service"].(map[string]any)
}

// appURL is where the tests reach an app.
func appURL(name, path string) string { return "http://" + name + ".app.localhost" + path }

// awaitState waits until an app's state is one of those given.
func (i *ingress) awaitState(name string, states ...string) map[string]any {
	i.t.Helper()
	var seen map[string]any
	i.await(name+" to be "+strings.Join(states, " or "), func() bool {
		seen = i.service(name)
		for _, state := range states {
			if seen["state"] == state {
				return true
			}
		}
		return false
	})
	return seen
}

// git runs git in a directory, which must work.
func git(t testing.TB, dir string, args ...string) string {
	t.Helper()
	needs(t, "git")
	cmd := exec.Command("git", args...)
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), "GIT_CONFIG_GLOBAL=/dev/null", "GIT_CONFIG_NOSYSTEM=1", "GIT_AUTHOR_NAME=a", "GIT_AUTHOR_EMAIL=a@example.com",
		"GIT_COMMITTER_NAME=a", "GIT_COMMITTER_EMAIL=a@example.com")
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	if err := cmd.Run(); err != nil {
		t.Fatalf("git %s: %v\n%s", strings.Join(args, " "), err, out.String())
	}
	return strings.TrimSpace(out.String())
}

// repository makes a git repository of a folder and returns its file:// address.
func repository(t testing.TB, dir string) string {
	t.Helper()
	git(t, dir, "init", "-q", "-b", "main")
	commit(t, dir, "first")
	return "file://" + dir
}

func commit(t testing.TB, dir, message string) string {
	t.Helper()
	git(t, dir, "add", "-A")
	git(t, dir, "commit", "-q", "-m", message)
	return git(t, dir, "rev-parse", "HEAD")
}

// decoded parses an answer of an app that is a JSON object.
func decoded(t testing.TB, a answer) map[string]any {
	t.Helper()
	var m map[string]any
	if err := json.Unmarshal([]byte(a.body), &m); err != nil {
		t.Fatalf("%d %q is no JSON object: %v", a.status, a.body, err)
	}
	return m
}
