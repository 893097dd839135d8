package main_test

import (
	"fmt"
	"net/http"
	"os"
	"strings"
	"testing"
)

// TestACrashLoopingAppSaysSoUntilItIsMended has an app end at once after each
// start, in one way before it listens and in the other after that.
func TestACrashLoopingAppSaysSoUntilItIsMended(t *testing.T) {
	i := startPlatform(t)
	i.deployed("app", "run", "hello", "--dir", pythonApp(t, "bad"))
	if a := i.get(appURL("hello", "/")); a.status != 200 {
		t.Fatalf("got %d", a.status)
	}
	i.put("hello", "broken")
	if a := i.get(appURL("hello", "/crash")); a.status != 502 && a.status != 503 {
		t.Errorf("the request that ended it got %d", a.status)
	}
	i.wantCrashLooping("hello", "bad")
	if starts := i.noted("hello", "starts"); len(starts) < 5 {
		t.Errorf("started as %v; want the deploy and at least four more", starts)
	}

	i.deployed("app", "update", "hello", "--dir", pythonApp(t, "good"))
	if a := i.get(appURL("hello", "/")); a.status != 200 || !strings.Contains(a.body, "version good") {
		t.Errorf("mended, it answers %d %s", a.status, a.body)
	}
	if s := i.service("hello"); s["state"] != "ready" || s["status"] != "Running" || strings.Contains(fmt.Sprint(s["reason"]), "database") {
		t.Errorf("mended, its status is %v", s)
	}
	within(t, "end of all but the good version", func() bool { return len(launchers(t, i.dir)) == 1 })
}

// TestAnAppThatKeepsEndingAfterItListens is ended by its visitors.
func TestAnAppThatKeepsEndingAfterItListens(t *testing.T) {
	i := startPlatform(t)
	i.deployed("app", "run", "hello", "--dir", pythonApp(t, "bad"))
	i.wantCrashLooping("hello", "bad")
}

// crashed visits an app, which ends it if it runs, until the visitor is told that
// it is crash-looping: it is tried again from time to time.
func (i *ingress) crashed(name, accept string) answer {
	i.t.Helper()
	var a answer
	i.await(name+" to be crash-looping", func() bool {
		a = i.do(http.MethodGet, appURL(name, "/crash"), []string{"Accept", accept}, "")
		return a.header.Get("X-Ingress-Error") == "crash_looping"
	})
	return a
}

// wantCrashLooping waits until an app is crash-looping, and checks what its
// visitors, their programs and its owner are told.
func (i *ingress) wantCrashLooping(name, version string) {
	i.t.Helper()
	shown, told := i.crashed(name, acceptsPages), i.crashed(name, "application/json")
	wantTurnedAway(i.t, shown, "crash_looping", false)
	wantTurnedAway(i.t, told, "crash_looping", true)
	for _, a := range []answer{shown, told} {
		if strings.Contains(a.body, "database") || strings.Contains(a.body, "refresh") || strings.Contains(a.body, i.dir) {
			i.t.Errorf("a visitor is told what is the owner's business, or made to ask again and again:\n%s", a.body)
		}
	}
	var s map[string]any
	i.await("the status to say so", func() bool {
		i.crashed(name, acceptsPages)
		s = i.service(name)
		return s["state"] == "crash-looping"
	})
	for _, want := range []string{"5 times within 10m0s", "code 7", "no luck today: \uFFFD", "there is no database at " + version} {
		if !strings.Contains(fmt.Sprint(s["reason"]), want) {
			i.t.Errorf("the status does not say %q: %v", want, s)
		}
	}
	i.await("app status to say so", func() bool {
		i.crashed(name, acceptsPages)
		out := i.deployed("app", "status", name)
		return strings.Contains(out, "crash-looping") && strings.Contains(out, "there is no database at "+version)
	})
	if logs := i.deployed("app", "logs", name); strings.Count(logs, "there is no database at "+version) < 5 {
		i.t.Errorf("the log does not have each end:\n%s", logs)
	}
}

// TestAReasonMayHaveAnyBytes deploys an app whose last words are not UTF-8.
func TestAReasonMayHaveAnyBytes(t *testing.T) {
	i := startPlatform(t)
	i.deployed("app", "run", "hello", "--dir", pythonApp(t, "one"))
	if err := os.WriteFile(i.home("hello", "broken"), nil, 0o644); err != nil {
		t.Fatal(err)
	}
	_, stderr, code := i.run(nil, "app", "update", "hello", "--dir", pythonApp(t, "two"))
	if code == 0 || !strings.Contains(stderr, "there is no database at two") {
		t.Errorf("exit code %d: %s", code, stderr)
	}
	if reason := fmt.Sprint(i.versions("app", "hello")[0]["reason"]); !strings.Contains(reason, "no luck today: \uFFFD") {
		t.Errorf("the reason is %q", reason)
	}
}
