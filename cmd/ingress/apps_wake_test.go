package main_test

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
)

// Queues in front of an app, through the whole program. When things happen is
// said by files in the app's home, and seen in the metrics.

// acceptsPages is what a browser accepts.
const acceptsPages = "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8"

// pythonApp is the test app of a version; see testdata/apps/python.
func pythonApp(t testing.TB, version string) string {
	t.Helper()
	needs(t, "python3")
	content, err := os.ReadFile(filepath.Join("testdata", "apps", "python", "app.py"))
	if err != nil {
		t.Fatal(err)
	}
	return folder(t, map[string]string{"app.py": string(content), "version": version})
}

// home is a file in an app's home.
func (i *ingress) home(name, file string) string {
	return filepath.Join(i.dir, "apps", name, "home", file)
}

// put makes a file in an app's home.
func (i *ingress) put(name, file string) {
	i.t.Helper()
	if err := os.WriteFile(i.home(name, file), nil, 0o644); err != nil {
		i.t.Fatal(err)
	}
}

// noted returns the lines that an app has written to a file in its home.
func (i *ingress) noted(name, file string) []string {
	i.t.Helper()
	content, err := os.ReadFile(i.home(name, file))
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		i.t.Fatal(err)
	}
	return strings.Fields(string(content))
}

// gate has an app wait at its next start until the returned function is called.
func (i *ingress) gate(name string) (open func()) {
	i.t.Helper()
	path := i.home(name, "gate")
	if err := errors.Join(syscall.Mkfifo(path, 0o644), os.Chmod(path, 0o644)); err != nil {
		i.t.Fatal(err)
	}
	return func() {
		i.t.Helper()
		var fifo *os.File
		within(i.t, "app at its gate", func() bool {
			var err error
			fifo, err = os.OpenFile(path, os.O_WRONLY|syscall.O_NONBLOCK, 0)
			if err != nil && !errors.Is(err, syscall.ENXIO) {
				i.t.Fatal(err)
			}
			return err == nil
		})
		if err := errors.Join(os.Remove(path), fifo.Close()); err != nil {
			i.t.Fatal(err)
		}
	}
}

// figure returns a metric without labels.
func (i *ingress) figure(name string) float64 {
	i.t.Helper()
	res, err := http.Get("http://" + i.admin + "/metrics")
	if err != nil {
		i.t.Fatal(err)
	}
	defer res.Body.Close()
	content, err := io.ReadAll(res.Body)
	if err != nil {
		i.t.Fatal(err)
	}
	_, rest, found := strings.Cut(string(content), "\n"+name+" ")
	line, _, _ := strings.Cut(rest, "\n")
	figure, err := strconv.ParseFloat(line, 64)
	if !found || err != nil {
		i.t.Fatalf("the metric %s is %q, %v", name, line, err)
	}
	return figure
}

// awaitWaiting waits until so many requests wait.
func (i *ingress) awaitWaiting(n int) {
	i.t.Helper()
	i.await(fmt.Sprint(n, " requests that wait"), func() bool { return i.figure("ingress_workload_requests_waiting") == float64(n) })
}

// visitors are requests sent at once.
type visitors struct {
	sent    sync.WaitGroup
	answers []answer
}

func (i *ingress) visitors(n int, url string, headers ...string) *visitors {
	c := &visitors{answers: make([]answer, n)}
	for k := range n {
		c.sent.Go(func() { c.answers[k] = i.do(http.MethodGet, url, headers, "") })
	}
	return c
}

// gathered waits for all answers.
func (c *visitors) gathered() []answer {
	c.sent.Wait()
	return c.answers
}

// wantTurnedAway checks a refusal: it must say why and when to come back, to
// people and to programs.
func wantTurnedAway(t testing.TB, a answer, reason string, json bool) {
	t.Helper()
	seconds, err := strconv.Atoi(a.header.Get("Retry-After"))
	if a.status != 503 || a.header.Get("X-Ingress-Error") != reason || err != nil || seconds < 1 {
		t.Errorf("got %d, X-Ingress-Error %q, Retry-After %q, want 503 %s", a.status, a.header.Get("X-Ingress-Error"), a.header.Get("Retry-After"), reason)
	}
	if json {
		if got := decoded(t, a); got["id"] != "ingress."+reason || got["code"] != float64(503) || got["detail"] == "" {
			t.Errorf("a program is told %v", got)
		}
		return
	}
	if !strings.HasPrefix(a.header.Get("Content-Type"), "text/html") || !strings.Contains(a.body, "<h1>") || !strings.Contains(a.body, reason) {
		t.Errorf("a visitor is shown %s:\n%s", a.header.Get("Content-Type"), a.body)
	}
}

func TestAnAppGetsNoMoreRequestsAtOnceThanItsLimit(t *testing.T) {
	i := startPlatform(t, "--wake-queue", "18", "--wake-timeout", deadline.String())
	i.deployed("app", "run", "hello", "--dir", pythonApp(t, "one"), "--concurrency", "2")
	fits := i.visitors(20, appURL("hello", "/work"))
	i.awaitWaiting(18)
	within(t, "request in the app", func() bool { return len(i.noted("hello", "work")) == 2 })
	for _, a := range i.visitors(3, appURL("hello", "/work"), "Accept", "application/json").gathered() {
		wantTurnedAway(t, a, "busy", true)
	}
	wantTurnedAway(t, i.do(http.MethodGet, appURL("hello", "/work"), []string{"Accept", acceptsPages}, ""), "busy", false)
	if got := i.noted("hello", "work"); len(got) != 2 {
		t.Errorf("with 18 waiting %d requests have reached the app", len(got))
	}
	i.put("hello", "go")
	for _, a := range fits.gathered() {
		if a.status != 200 || a.body != "worked" {
			t.Errorf("one of those that fit got %d %s", a.status, a.body)
		}
	}
	if got := i.noted("hello", "work"); len(got) != 20 || slices.Max(got) != "2" {
		t.Errorf("the app has seen %d requests, with so many at once: %v; want 20, at most 2 at once", len(got), got)
	}
	if got := i.visitors(1, appURL("hello", "/pid")).gathered(); got[0].status != 200 {
		t.Errorf("afterwards: %d", got[0].status)
	}
}

func TestAWakeHasOneStartAndAQueue(t *testing.T) {
	i := startPlatform(t, "--wake-queue", "5", "--wake-timeout", deadline.String(), "--start-timeout", deadline.String())
	i.deployed("app", "run", "hello", "--dir", pythonApp(t, "one"), "--idle-timeout", "1s")
	i.awaitState("hello", "idle")
	before := i.figure("ingress_cold_start_seconds_count")
	open := i.gate("hello")

	shown := i.do(http.MethodGet, appURL("hello", "/"), []string{"Accept", acceptsPages}, "")
	wantTurnedAway(t, shown, "starting", false)
	if !strings.Contains(shown.body, `http-equiv="refresh"`) {
		t.Errorf("a browser's page does not load itself again:\n%s", shown.body)
	}
	waiting := i.visitors(5, appURL("hello", "/pid"))
	i.awaitWaiting(5)
	wantTurnedAway(t, i.do(http.MethodGet, appURL("hello", "/pid"), []string{"Accept", "application/json"}, ""), "queue_full", true)
	wantTurnedAway(t, i.do(http.MethodGet, appURL("hello", "/pid"), []string{"Accept", acceptsPages}, ""), "queue_full", false)
	if got := i.figure("ingress_workload_requests_waiting"); got != 5 {
		t.Errorf("%v requests wait after others were turned away", got)
	}
	if got := i.service("hello")["state"]; got != "starting" {
		t.Errorf("while it starts it is %v", got)
	}
	open()
	for _, a := range waiting.gathered() {
		i.wantColdStart(a)
	}
	starts := i.noted("hello", "starts")
	if len(starts) != 2 || waiting.answers[0].body != starts[1] {
		t.Errorf("started as %v, answered as %s; want one start for the deploy and one for the requests", starts, waiting.answers[0].body)
	}
	i.wantColdStartReported(before + 1)

	i.await("a browser to be shown the app", func() bool {
		a := i.do(http.MethodGet, appURL("hello", "/"), []string{"Accept", acceptsPages}, "")
		return a.status == 200 && strings.Contains(a.body, "version one") && !strings.Contains(a.body, "refresh")
	})
}

// wantColdStart checks the answer of an app to a request that waited for it.
func (i *ingress) wantColdStart(a answer) {
	i.t.Helper()
	timing := a.header.Get("Server-Timing")
	duration, ok := strings.CutPrefix(timing, "cold-start;dur=")
	ms, err := strconv.ParseFloat(duration, 64)
	if a.status != 200 || !ok || err != nil || ms <= 0 {
		i.t.Errorf("one that waited got %d %s, Server-Timing %q", a.status, a.body, timing)
	}
}

// wantColdStartReported checks that the operator hears of a cold start, too.
func (i *ingress) wantColdStartReported(count float64) {
	i.t.Helper()
	if got := i.figure("ingress_cold_start_seconds_count"); got != count {
		i.t.Errorf("%v cold starts are counted, want %v", got, count)
	}
	if got := i.figure("ingress_cold_start_seconds_sum"); got <= 0 {
		i.t.Errorf("they took %v s", got)
	}
	for _, want := range [][]string{
		{`"msg":"a workload has started"`, `"workload":"app/hello"`, `"waiting":5`, `"took":`},
		{`"msg":"request"`, `"id":"hello"`, `"status":200`, `"cold_start":`},
	} {
		i.await(fmt.Sprintf("line of the log with all of %s", want), func() bool {
			_, log := i.output()
			return slices.ContainsFunc(strings.Split(log, "\n"), func(line string) bool {
				return !slices.ContainsFunc(want, func(part string) bool { return !strings.Contains(line, part) })
			})
		})
	}
}

func TestAWakeThatTakesTooLong(t *testing.T) {
	i := startPlatform(t, "--wake-timeout", "1s", "--start-timeout", deadline.String())
	i.deployed("app", "run", "hello", "--dir", pythonApp(t, "one"), "--idle-timeout", "1s")
	i.awaitState("hello", "idle")
	open := i.gate("hello")
	people := i.visitors(3, appURL("hello", "/"), "Accept", acceptsPages)
	programs := i.visitors(3, appURL("hello", "/"), "Accept", "application/json")
	for _, a := range people.gathered() {
		reason := "not_awake"
		if a.header.Get("X-Ingress-Error") == "starting" { // this machine took three seconds over it
			reason = "starting"
		}
		wantTurnedAway(t, a, reason, false)
	}
	for _, a := range programs.gathered() {
		wantTurnedAway(t, a, "not_awake", true)
	}
	i.awaitWaiting(0)
	open()
	i.await("the app, which goes on starting", func() bool { return i.get(appURL("hello", "/")).status == 200 })
	if starts := i.noted("hello", "starts"); len(starts) != 2 {
		t.Errorf("started as %v, want one start for the deploy and one for the requests", starts)
	}
}
