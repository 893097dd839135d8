package main

import (
	"context"
	"encoding/json"
	"strings"
	"time"

	apppb "github.com/m3o/ingress/proto/app"
	functionpb "github.com/m3o/ingress/proto/function"
)

// logFlags choose what is shown of an app's or a function's logs.
type logFlags struct {
	logType `embed:""`
	Version int64 `placeholder:"NUMBER" help:"Version whose log it is. The present one unless given."`
	Follow  bool  `short:"f" help:"Go on with what is added, also by versions to come, until interrupted."`
}

// logsEvery is how often a log that is followed is looked at.
const logsEvery = 500 * time.Millisecond

// logPart is a piece of a log.
type logPart struct {
	text                  string
	next, version, latest int64
	reply                 json.RawMessage
}

// logPart asks for the piece of a log that begins at an offset.
func (c *client) logPart(ctx context.Context, w target, kind string, version, offset int64) (logPart, error) {
	if w.service == "app" {
		res := &apppb.LogsResponse{}
		req := &apppb.LogsRequest{Name: w.name, LogsType: kind, Version: version, Offset: offset}
		reply, err := c.invoke(ctx, "app", "Logs", req, res)
		return logPart{res.GetLogs(), res.GetNext(), res.GetVersion(), res.GetLatest(), reply}, err
	}
	res := &functionpb.LogsResponse{}
	req := &functionpb.LogsRequest{Name: w.name, LogsType: kind, Version: version, Offset: offset}
	reply, err := c.invoke(ctx, "function", "Logs", req, res)
	return logPart{res.GetLogs(), res.GetNext(), res.GetVersion(), res.GetLatest(), reply}, err
}

// wholeLog returns all that is kept of a log, piece by piece. A platform that knows
// no offsets gives all of it at once.
func (c *client) wholeLog(ctx context.Context, w target, kind string, version int64) (string, error) {
	var whole strings.Builder
	for offset := int64(0); ; {
		part, err := c.logPart(ctx, w, kind, version, offset)
		if err != nil {
			return "", err
		}
		whole.WriteString(part.text)
		if part.text == "" || part.next <= offset || whole.Len() > maxInput {
			return whole.String(), nil
		}
		version, offset = part.version, part.next
	}
}

// showLogs prints a log.
func (c *client) showLogs(ctx context.Context, w target, flags logFlags) error {
	if flags.Follow {
		return c.followLogs(ctx, w, flags)
	}
	if c.json {
		part, err := c.logPart(ctx, w, flags.Type, flags.Version, 0)
		if err != nil {
			return c.explain(ctx, err)
		}
		return c.printJSON(part.reply)
	}
	text, err := c.wholeLog(ctx, w, flags.Type, flags.Version)
	if err != nil {
		return c.explain(ctx, err)
	}
	return c.printLog(text, "the "+flags.Type+" log of "+w.String()+" is empty")
}

// followLogs prints a log as it grows. Once a newer version has one, and the old
// one's has come to its end, it goes on there. Being interrupted is how it ends.
func (c *client) followLogs(ctx context.Context, w target, flags logFlags) error {
	version, offset := flags.Version, int64(0)
	tick := time.NewTicker(logsEvery)
	defer tick.Stop()
	for lastSeen := time.Now(); ; {
		part, err := c.logPart(ctx, w, flags.Type, version, offset)
		switch {
		case ctx.Err() != nil:
			return nil
		case err != nil && (!passing(err) || time.Since(lastSeen) > c.platform.Timeout):
			return c.explain(ctx, err)
		case err == nil:
			lastSeen = time.Now()
			version = part.version
			if part.text != "" && part.next > offset {
				offset = part.next
				if err := c.printPart(part); err != nil {
					return err
				}
				continue
			}
			if flags.Version == 0 && part.latest > 0 && part.latest != version {
				version, offset = part.latest, 0
				c.say("version %d:", version)
				continue
			}
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return nil
		}
	}
}

func (c *client) printPart(part logPart) error {
	if c.json {
		return c.printJSON(part.reply)
	}
	return c.write(printableLines(part.text))
}
