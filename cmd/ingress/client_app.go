package main

import (
	"context"
	"strings"

	apppb "github.com/m3o/ingress/proto/app"
)

type appCmd struct {
	Run        appRunCmd        `cmd:"" help:"Make an app and start it."`
	List       appListCmd       `cmd:"" help:"Show your apps."`
	Get        appGetCmd        `cmd:"" help:"Show one app."`
	Status     appStatusCmd     `cmd:"" help:"Print the state an app is in."`
	Update     appUpdateCmd     `cmd:"" help:"Change an app, or deploy it again."`
	Versions   appVersionsCmd   `cmd:"" help:"Show an app's versions."`
	Rollback   appRollbackCmd   `cmd:"" help:"Go back to an earlier version."`
	Delete     appDeleteCmd     `cmd:"" help:"Stop and remove an app."`
	Logs       appLogsCmd       `cmd:"" help:"Print what an app, or its build, has written."`
	Domain     appDomainCmd     `cmd:"" help:"Host names of your own that lead to an app."`
	Credential appCredentialCmd `cmd:"" help:"What private repositories are fetched with, for apps and functions."`
	Resolve    appResolveCmd    `cmd:"" help:"Print the address of the backend behind an app's id."`
	Reserve    appReserveCmd    `cmd:"" help:"Hold a name for a year."`
	Regions    appRegionsCmd    `cmd:"" help:"Show where apps can run."`
}

func (appCmd) Help() string {
	return examples("ingress app run shop --dir .", "ingress app logs shop -f", "ingress app list")
}

// envFlag is the environment of an app or function.
type envFlag struct {
	Env []string `sep:"none" placeholder:"NAME=VALUE" help:"A variable of its environment, repeatable. NAME alone takes the value from this shell's environment, which keeps it out of process lists."`
}

func (c *client) printApp(app *apppb.Service) error {
	port := ""
	if app.GetPort() != 0 {
		port = count(int64(app.GetPort()))
	}
	return c.printProperties([]property{
		{"ID", app.GetId()},
		{"NAME", app.GetName()},
		{"STATUS", statusOf(app)},
		{"URL", app.GetUrl()},
		{"BACKEND", app.GetBackend()},
		{"REPO", app.GetRepo()},
		{"BRANCH", app.GetBranch()},
		{"PATH", app.GetPath()},
		{"REGION", app.GetRegion()},
		{"PORT", port},
		{"VERSION", number(app.GetVersion())},
		{"COMMIT", app.GetCommit()},
		{"STATE", app.GetState()},
		{"REASON", oneLine(app.GetReason())},
		{"HEALTH PATH", app.GetHealthPath()},
		{"IDLE TIMEOUT", app.GetIdleTimeout()},
		{"CONCURRENCY", number(int64(app.GetConcurrency()))},
		{"ENV", names(app.GetEnvVars())},
		{"DOMAINS", strings.Join(app.GetCustomDomains(), ", ")},
		{"CREATED", c.stamp(app.GetCreated())},
		{"UPDATED", c.stamp(app.GetUpdated())},
	})
}

// statusOf is an app's status, with its reason only where that has no line of its own,
// as on the original platform.
func statusOf(app *apppb.Service) string {
	if app.GetReason() != "" {
		return statusWord(app.GetStatus())
	}
	return oneLine(app.GetStatus())
}

type appListCmd struct{}

func (appListCmd) Help() string { return examples("ingress app list", "ingress app list --json") }

func (cmd *appListCmd) Run(ctx context.Context, c *client) error {
	res := &apppb.ListResponse{}
	return c.do(ctx, "app", "List", &apppb.ListRequest{}, res, func() error {
		apps := &table{header: []string{"NAME", "STATUS", "SOURCE", "UPDATED", "URL"}}
		for _, app := range res.Services {
			apps.add(app.Name, statusWord(app.Status), kindOfSource(app), c.minute(app.Updated), app.Url)
		}
		return c.printTable(apps, "no apps yet; make one with: ingress app run NAME --dir .")
	})
}

// kindOfSource says in a word where an app comes from, for lists; app get has the
// address.
func kindOfSource(app *apppb.Service) string {
	switch {
	case app.GetBackend() != "":
		return "backend"
	case app.GetRepo() != "":
		return "git"
	}
	return app.GetNewest().GetSource()
}

// inline is the word for source that was given as such.
func inline(source string) string {
	if source != "" {
		return "inline"
	}
	return ""
}

// number shows a number of which zero says nothing.
func number(n int64) string {
	if n == 0 {
		return ""
	}
	return count(n)
}

type appGetCmd struct {
	Name string `arg:"" help:"The app's name."`
}

func (appGetCmd) Help() string { return examples("ingress app get shop") }

func (cmd *appGetCmd) Run(ctx context.Context, c *client) error {
	res := &apppb.GetResponse{}
	return c.do(ctx, "app", "Get", &apppb.GetRequest{Name: cmd.Name}, res, func() error {
		return c.printApp(res.Service)
	})
}

type appDeleteCmd struct {
	Name string `arg:"" help:"The app's name."`
}

func (appDeleteCmd) Help() string { return examples("ingress app delete shop") }

func (cmd *appDeleteCmd) Run(ctx context.Context, c *client) error {
	return c.do(ctx, "app", "Delete", &apppb.DeleteRequest{Name: cmd.Name}, &apppb.DeleteResponse{},
		c.confirm("app %s is deleted", cmd.Name))
}

// logType chooses one of the two logs of an app or function.
type logType struct {
	Type string `enum:"build,run" default:"run" placeholder:"TYPE" help:"Which log: build or run. The latter unless given."`
}

type appLogsCmd struct {
	Name     string `arg:"" help:"The app's name."`
	logFlags `embed:""`
}

func (appLogsCmd) Help() string {
	return examples("ingress app logs shop", "ingress app logs shop -f", "ingress app logs shop --type build --version 3")
}

func (cmd *appLogsCmd) Run(ctx context.Context, c *client) error {
	return c.showLogs(ctx, target{"app", cmd.Name}, cmd.logFlags)
}

type appResolveCmd struct {
	ID string `arg:"" name:"id" help:"The app's id, as in its host name."`
}

func (appResolveCmd) Help() string { return examples("ingress app resolve shop") }

func (cmd *appResolveCmd) Run(ctx context.Context, c *client) error {
	res := &apppb.ResolveResponse{}
	return c.do(ctx, "app", "Resolve", &apppb.ResolveRequest{Id: cmd.ID}, res, func() error {
		return c.printBackend(cmd.ID, res.Url)
	})
}

// printBackend writes the address behind an id. An empty one means that the app
// or function is still being deployed (WIRE.md 5).
func (c *client) printBackend(id, address string) error {
	if address == "" {
		return &problem{text: id + " is still being deployed and has no address yet", hint: "Try again in a moment."}
	}
	return c.printLine(address)
}

type appReserveCmd struct {
	Name string `arg:"" help:"The name: 3 to 54 lower-case letters and digits."`
}

func (appReserveCmd) Help() string { return examples("ingress app reserve shop") }

func (cmd *appReserveCmd) Run(ctx context.Context, c *client) error {
	res := &apppb.ReserveResponse{}
	return c.do(ctx, "app", "Reserve", &apppb.ReserveRequest{Name: cmd.Name}, res, func() error {
		return c.printReservation(res.Reservation)
	})
}

// reservation is what the app and the function service both call that.
type reservation interface {
	GetName() string
	GetToken() string
	GetExpires() string
}

func (c *client) printReservation(r reservation) error {
	return c.printProperties([]property{
		{"NAME", r.GetName()},
		{"TOKEN", r.GetToken()},
		{"EXPIRES", c.stamp(r.GetExpires())},
	})
}

type appRegionsCmd struct{}

func (appRegionsCmd) Help() string { return examples("ingress app regions") }

func (cmd *appRegionsCmd) Run(ctx context.Context, c *client) error {
	res := &apppb.RegionsResponse{}
	return c.do(ctx, "app", "Regions", &apppb.RegionsRequest{}, res, func() error {
		return c.printLines(res.Regions, "no regions")
	})
}
