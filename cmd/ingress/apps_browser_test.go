package main_test

import (
	"context"
	"encoding/json"
	"strings"
	"testing"
	"time"

	"github.com/chromedp/cdproto/cdp"
	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/chromedp"
)

// What a browser shows instead of an app that cannot answer now.

// try is ask for pages that load themselves again: it says whether one did while
// it was asked.
func try[T any](b *browser, script string) (T, bool) {
	result, err := chromedp.Run(b.ctx, chromedp.Evaluate[T](script, chromedp.EvalAwaitPromise))
	return result, err == nil
}

// wantUnavailable checks what the page of an app that cannot answer looks like, on
// every screen.
func (b *browser) wantUnavailable(address, title, hint, reason string) {
	b.t.Helper()
	for screen, emulate := range screens {
		if err := chromedp.Do(b.ctx, emulate); err != nil {
			b.t.Fatal(err)
		}
		var status int
		var page shown
		within(b.t, "page that says "+reason, func() bool {
			status = b.open(address)
			var whole bool
			page, whole = try[shown](b, look)
			return whole && strings.Contains(page.Text, "Answered by the ingress: "+reason)
		})
		if status != 503 {
			b.t.Errorf("%s: status %d", screen, status)
		}
		for _, want := range []string{hint, "503 Service Unavailable"} {
			if page.Title != title || !strings.Contains(page.Text, want) {
				b.t.Errorf("%s: want %q and %q, got %q:\n%s", screen, title, want, page.Title, page.Text)
			}
		}
		if page.Lang != "en" || page.Headings != 1 || page.Wide || !page.Styled || len(page.Faint) > 0 {
			page.Text = ""
			b.t.Errorf("%s: %+v", screen, page)
		}
		if complaints := b.heard(); len(complaints) > 0 {
			b.t.Errorf("%s: the console says %q", screen, complaints)
		}
	}
}

func TestPagesOfAppsThatCannotAnswerInABrowser(t *testing.T) {
	b := newBrowser(t)
	i := startPlatform(t, "--start-timeout", deadline.String())
	_, port, _ := strings.Cut(i.listen, ":")
	address := func(name, path string) string { return "http://" + name + ".app.localhost:" + port + path }

	i.deployed("app", "run", "looping", "--dir", pythonApp(t, "bad"))
	i.put("looping", "broken")
	i.deployed("app", "run", "deploying", "--detach", "--dir", folder(t, map[string]string{"Procfile": "web: sleep 600"}))
	if _, _, code := i.run(nil, "app", "run", "failing", "--dir", folder(t, map[string]string{"Procfile": "web: exit 3"})); code == 0 {
		t.Fatal("what cannot be started was deployed")
	}

	b.wantUnavailable(address("deploying", "/"), "This is being deployed", "This page loads itself again until it is ready.", "deploying")
	b.wantUnavailable(address("failing", "/"), "This could not be deployed", "Its owner finds the reason in its status and its logs.", "deploy_failed")
	i.crashed("looping", acceptsPages)
	b.wantUnavailable(address("looping", "/crash"), "This keeps stopping soon after it is started", "It is tried again from time to time.", "crash_looping")
}

// TestTheStartingPageLeadsToTheApp leaves a browser to itself: its page loads
// itself again, at its pace, and is the app's in the end.
func TestTheStartingPageLeadsToTheApp(t *testing.T) {
	b := newBrowser(t)
	i := startPlatform(t, "--start-timeout", deadline.String(), "--wake-timeout", deadline.String())
	i.deployed("app", "run", "hello", "--dir", pythonApp(t, "one"), "--idle-timeout", "3s") // more than the page rests
	i.awaitState("hello", "idle")
	open := i.gate("hello")
	_, port, _ := strings.Cut(i.listen, ":")
	address := "http://hello.app.localhost:" + port + "/"
	b.wantUnavailable(address, "This is waking up", "This page loads itself again until it is awake.", "starting")

	b.scripts(false)
	b.open(address)
	before := len(i.shownStarting())
	i.await("the page to load itself three times without scripts", func() bool { return len(i.shownStarting()) >= before+3 })
	at := i.shownStarting()
	for n := before + 1; n < len(at); n++ { // the line of the first may have come after the count
		// It rests for a second, and then its request waits for three.
		if pause := at[n].Sub(at[n-1]); pause < 3500*time.Millisecond {
			t.Errorf("it loaded itself again after %v", pause)
		}
	}
	b.scripts(true)
	open()
	within(t, "the app in the browser", func() bool {
		title, whole := try[string](b, "document.title")
		return whole && title == "app"
	})
	if again, _ := try[bool](b, `document.querySelector("meta[http-equiv]") !== null`); again {
		t.Error("the app's page is loaded again and again")
	}
}

// scripts allows or forbids scripts in what is opened from now on.
func (b *browser) scripts(allowed bool) {
	b.t.Helper()
	err := chromedp.Do(b.ctx, chromedp.Func(func(ctx context.Context, tab *chromedp.Target) error {
		_, err := cdp.Call(ctx, tab, emulation.SetScriptExecutionDisabled, emulation.SetScriptExecutionDisabledParams{Value: !allowed})
		return err
	}))
	if err != nil {
		b.t.Fatal(err)
	}
}

// shownStarting returns when visitors were shown that an app starts.
func (i *ingress) shownStarting() []time.Time {
	i.t.Helper()
	var at []time.Time
	_, log := i.output()
	for line := range strings.Lines(log) {
		var entry struct {
			Time   time.Time
			Reason string
		}
		if json.Unmarshal([]byte(line), &entry) == nil && entry.Reason == "starting" {
			at = append(at, entry.Time)
		}
	}
	return at
}
