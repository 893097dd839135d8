package main

import (
	"context"

	apppb "github.com/m3o/ingress/proto/app"
)

type appStatusCmd struct {
	Name string `arg:"" help:"The app's name."`
}

func (appStatusCmd) Help() string { return examples("ingress app status shop") }

// Run prints the platform's word on a line of its own, for scripts, and under it
// what there is to say beyond that.
func (cmd *appStatusCmd) Run(ctx context.Context, c *client) error {
	res := &apppb.StatusResponse{}
	return c.do(ctx, "app", "Status", &apppb.StatusRequest{Name: cmd.Name}, res, func() error {
		app := res.GetService()
		if err := c.printLine(statusOf(app)); err != nil {
			return err
		}
		properties := []property{
			{"STATE", app.GetState()}, {"REASON", oneLine(app.GetReason())}, {"VERSION", number(app.GetVersion())},
		}
		if newest := app.GetNewest(); newest != nil && newest.GetNumber() != app.GetVersion() {
			properties = append(properties, property{"NEWEST", count(newest.GetNumber()) + ", " + newest.GetState()})
		}
		if err := c.printProperties(properties); err != nil {
			return err
		}
		return printSteps(c, app.GetNewest().GetSteps())
	})
}

func printSteps[S step](c *client, steps []S) error {
	if len(steps) == 0 {
		return nil
	}
	shown := &table{header: []string{"STEP", "STARTED", "TOOK", "DETAIL"}}
	for _, s := range steps {
		shown.add(s.GetName(), c.stamp(s.GetStarted()), tookShortly(s.GetTook()), s.GetDetail())
	}
	return c.printTable(shown, "")
}

// listed is a version as both services write it.
type listed interface {
	deployed
	GetSource() string
	GetBranch() string
	GetCommit() string
	GetSize() int64
	GetCreated() string
	GetCurrent() bool
	GetAvailable() bool
}

func printVersions[V listed](c *client, versions []V, empty string) error {
	shown := &table{header: []string{"VERSION", "STATE", "CURRENT", "KEPT", "CREATED", "SIZE", "COMMIT", "BRANCH", "SOURCE", "REASON"}}
	for _, v := range versions {
		bytes := ""
		if v.GetSize() > 0 {
			bytes = size(v.GetSize())
		}
		shown.add(count(v.GetNumber()), v.GetState(), yesNo(v.GetCurrent()), yesNo(v.GetAvailable()), c.minute(v.GetCreated()), bytes,
			v.GetCommit()[:min(len(v.GetCommit()), 12)], v.GetBranch(), v.GetSource(), oneLine(v.GetReason()))
	}
	return c.printTable(shown, empty)
}

type appVersionsCmd struct {
	Name string `arg:"" help:"The app's name."`
}

func (appVersionsCmd) Help() string { return examples("ingress app versions shop") }

func (cmd *appVersionsCmd) Run(ctx context.Context, c *client) error {
	res := &apppb.VersionsResponse{}
	return c.do(ctx, "app", "Versions", &apppb.VersionsRequest{Name: cmd.Name}, res, func() error {
		return printVersions(c, res.Versions, "app "+cmd.Name+" has no versions; it is a registered backend")
	})
}

type appRollbackCmd struct {
	Name        string `arg:"" help:"The app's name."`
	Version     int64  `arg:"" optional:"" help:"The version's number. The one before the present one unless given."`
	followFlags `embed:""`
}

func (appRollbackCmd) Help() string {
	return "An earlier version is started as it was built; nothing is built again.\n\n" +
		examples("ingress app rollback shop", "ingress app rollback shop 3")
}

func (cmd *appRollbackCmd) Run(ctx context.Context, c *client) error {
	res := &apppb.RollbackResponse{}
	req := &apppb.RollbackRequest{Name: cmd.Name, Version: cmd.Version}
	reply, err := c.invoke(ctx, "app", "Rollback", req, res)
	if err != nil {
		return c.explain(ctx, err)
	}
	newest := res.GetService().GetNewest()
	switch {
	case newest != nil && !cmd.Detach:
		return c.follow(ctx, target{"app", cmd.Name}, newest.GetNumber(), cmd.followFlags, asSteps(newest.GetSteps())...)
	case c.json:
		return c.printJSON(reply)
	}
	return c.printApp(res.Service)
}
