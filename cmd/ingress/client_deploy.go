package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/m3o/ingress/internal/api"
	apppb "github.com/m3o/ingress/proto/app"
	functionpb "github.com/m3o/ingress/proto/function"
)

// followFlags are those of commands that deploy.
type followFlags struct {
	Detach  bool `help:"Return at once and let the deploy go on."`
	Verbose bool `help:"Show what the build prints also when it succeeds."`
}

// A deploy is looked at again after deployFirst, since many are over in a moment, and
// then after pauses that grow to deployEvery.
const (
	deployFirst = 10 * time.Millisecond
	deployEvery = 250 * time.Millisecond
)

// failedLines is how much of a log is shown when a deploy fails.
const failedLines = 30

// step is a part of a deploy as the app and the function service both write it.
type step interface {
	GetName() string
	GetStarted() string
	GetTook() string
	GetDetail() string
}

// deployed is a version as both services write it.
type deployed interface {
	GetNumber() int64
	GetState() string
	GetReason() string
}

// standing is how far an app or a function has come.
type standing struct {
	url     string
	current int64
	newest  deployed // nil for a registered backend
	steps   []step
	reply   json.RawMessage
}

func standingOf[S step](url string, current int64, newest deployed, steps []S, reply json.RawMessage) standing {
	return standing{url: url, current: current, newest: newest, steps: asSteps(steps), reply: reply}
}

func asSteps[S step](steps []S) []step {
	all := make([]step, 0, len(steps))
	for _, s := range steps {
		all = append(all, s)
	}
	return all
}

func (s standing) number() int64 {
	if s.newest == nil {
		return 0
	}
	return s.newest.GetNumber()
}

// target names an app or a function on the platform.
type target struct {
	service string // "app" or "function", as in paths and in commands
	name    string
}

func (w target) String() string { return w.service + " " + w.name }

// standing asks how far the workload has come.
func (c *client) standing(ctx context.Context, w target) (standing, error) {
	if w.service == "app" {
		res := &apppb.StatusResponse{}
		reply, err := c.invoke(ctx, "app", "Status", &apppb.StatusRequest{Name: w.name}, res)
		return appStanding(res.GetService(), reply), err
	}
	res := &functionpb.DescribeResponse{}
	reply, err := c.invoke(ctx, "function", "Describe", &functionpb.DescribeRequest{Name: w.name}, res)
	return functionStanding(res.GetFunction(), reply), err
}

func appStanding(app *apppb.Service, reply json.RawMessage) standing {
	var newest deployed
	if app.GetNewest() != nil {
		newest = app.GetNewest()
	}
	return standingOf(app.GetUrl(), app.GetVersion(), newest, app.GetNewest().GetSteps(), reply)
}

func functionStanding(f *functionpb.Func, reply json.RawMessage) standing {
	var newest deployed
	if f.GetNewest() != nil {
		newest = f.GetNewest()
	}
	return standingOf(f.GetUrl(), f.GetVersion(), newest, f.GetNewest().GetSteps(), reply)
}

// follow shows the steps of a version's deploy until it is over: the URL when it
// succeeded, and otherwise an error that says why, after the end of its log. The
// deploy does not need to be followed, so an interruption leaves it alone.
//
// The steps in earlier are those of another deploy of the version, which are not
// shown.
func (c *client) follow(ctx context.Context, w target, number int64, flags followFlags, earlier ...step) error {
	show := newProgress(c)
	defer show.end()
	for _, s := range earlier {
		show.told[stepKey(s)] = s.GetTook() != ""
	}
	log := &tail{client: c, of: w, kind: "build", version: number, shown: flags.Verbose && !c.json}
	pause := deployFirst
	for lastSeen := time.Now(); ; pause = min(2*pause, deployEvery) {
		at, err := c.standing(ctx, w)
		switch {
		case err == nil:
			lastSeen = time.Now()
			show.steps(at.steps)
			if err := log.more(ctx, show); err != nil {
				return err
			}
			if over, err := c.finished(ctx, w, number, at, show, log); over {
				return err
			}
		case ctx.Err() != nil:
			return left(w, ctx.Err())
		case !passing(err) || time.Since(lastSeen) > c.platform.Timeout:
			return c.explain(ctx, err)
		}
		select {
		case <-time.After(pause):
		case <-ctx.Done():
			return left(w, ctx.Err())
		}
	}
}

// left is the answer to an interruption.
func left(w target, cause error) error {
	return &problem{
		text:  "interrupted; the deploy of " + w.String() + " goes on",
		hint:  "See how far it is with: ingress " + statusCommand(w),
		cause: cause,
	}
}

func statusCommand(w target) string {
	if w.service == "app" {
		return "app status " + w.name
	}
	return "function describe " + w.name
}

// passing reports whether an error may be over soon, as while the platform is
// restarted, which ends no deploy for good.
func passing(err error) bool {
	known, ok := errors.AsType[*api.Error](err)
	return ok && (known.Code >= 502 && known.Code <= 504 || known.Code == 429)
}

// finished reports whether the deploy is over, and how.
func (c *client) finished(ctx context.Context, w target, number int64, at standing, show *progress, log *tail) (bool, error) {
	switch {
	case at.current == number:
		show.end()
		if c.json {
			return true, c.printJSON(at.reply)
		}
		c.say("version %d answers after %s", number, shortly(time.Since(show.began)))
		return true, c.printLine(at.url)
	case at.number() != number:
		show.end()
		return true, &problem{text: fmt.Sprintf("version %d of %s was overtaken by version %d", number, w, at.number())}
	}
	switch at.newest.GetState() {
	case "failed", "crash-looping", "stopped":
	default:
		return false, nil
	}
	show.end()
	reason := at.newest.GetReason()
	switch err := log.failed(ctx, at); {
	case err != nil:
		c.say("its log cannot be read: %v", err)
		reason = oneLine(reason)
	case c.json:
		reason = oneLine(reason)
	default: // what it quotes has just been shown
		reason, _, _ = strings.Cut(reason, "\n")
		reason = strings.TrimSuffix(reason, "; it printed last:")
	}
	if reason == "" {
		reason = at.newest.GetState()
	}
	failed := &problem{text: fmt.Sprintf("version %d failed: %s", number, reason)}
	if at.current != 0 {
		failed.hint = fmt.Sprintf("Version %d goes on answering.", at.current)
	}
	return true, failed
}

// tail shows a version's log.
type tail struct {
	client  *client
	of      target
	kind    string // "build" or "run"
	version int64
	offset  int64
	shown   bool // as it comes, rather than the end of it after a failure
}

// more shows what has been added.
func (t *tail) more(ctx context.Context, show *progress) error {
	for t.shown {
		part, err := t.client.logPart(ctx, t.of, t.kind, t.version, t.offset)
		if err != nil && passing(err) || ctx.Err() != nil {
			return nil // the next look will tell
		}
		if err != nil {
			return t.client.explain(ctx, err)
		}
		if part.text == "" || part.next <= t.offset {
			return nil
		}
		t.offset = part.next
		show.print(printableLines(part.text))
	}
	return nil
}

// failed shows the end of the log that says why: that of the process when it had
// been started, and the build's otherwise, unless all of that was shown.
func (t *tail) failed(ctx context.Context, at standing) error {
	if t.client.json {
		return nil
	}
	for _, s := range at.steps {
		if s.GetName() == "start" {
			t.kind, t.offset, t.shown = "run", 0, false
		}
	}
	if t.shown {
		return nil
	}
	text, err := t.client.wholeLog(ctx, t.of, t.kind, t.version)
	if err != nil || text == "" {
		return err
	}
	lines := strings.Split(strings.TrimSuffix(printableLines(text), "\n"), "\n")
	if n := len(lines) - failedLines; n > 0 {
		t.client.say("the last %d lines of its %s log:", failedLines, t.kind)
		lines = lines[n:]
	} else {
		t.client.say("its %s log:", t.kind)
	}
	for _, line := range lines {
		// The failure is told anyhow.
		_, _ = fmt.Fprintln(t.client.Stderr, "  "+line)
	}
	return nil
}

// tookShortly writes the length of a step for people, or nothing while it goes on.
func tookShortly(took string) string {
	d, err := time.ParseDuration(took)
	if err != nil {
		return took
	}
	return shortly(d)
}

// shortly writes a duration for people.
func shortly(d time.Duration) string {
	switch {
	case d < time.Second:
		return d.Round(time.Millisecond).String()
	case d < time.Minute:
		return d.Round(100 * time.Millisecond).String()
	}
	return d.Round(time.Second).String()
}
