package main

import (
	"context"
	"strings"

	apppb "github.com/m3o/ingress/proto/app"
)

type appCmd struct {
	Run     appRunCmd     `cmd:"" help:"Make an app."`
	List    appListCmd    `cmd:"" help:"Show your apps."`
	Get     appGetCmd     `cmd:"" help:"Show one app."`
	Status  appStatusCmd  `cmd:"" help:"Print the state an app is in."`
	Update  appUpdateCmd  `cmd:"" help:"Change an app."`
	Delete  appDeleteCmd  `cmd:"" help:"Stop and remove an app."`
	Logs    appLogsCmd    `cmd:"" help:"Print what an app, or its build, has written."`
	Resolve appResolveCmd `cmd:"" help:"Print the address of the backend behind an app's id."`
	Reserve appReserveCmd `cmd:"" help:"Hold a name for a year."`
	Regions appRegionsCmd `cmd:"" help:"Show where apps can run."`
}

func (appCmd) Help() string {
	return examples("ingress app run shop --backend http://127.0.0.1:3000", "ingress app list")
}

// envFlag is the environment of an app or function.
type envFlag struct {
	Env []string `sep:"none" placeholder:"NAME=VALUE" help:"A variable of its environment, repeatable. NAME alone takes the value from this shell's environment, which keeps it out of process lists."`
}

type appRunCmd struct {
	Name    string `arg:"" help:"Its name: 3 to 54 lower-case letters and digits."`
	Backend string `placeholder:"URL" help:"URL of something that already runs."`
	Repo    string `placeholder:"URL" help:"Git repository to run."`
	Branch  string `help:"Branch, tag or commit. The repository's default unless given."`
	Path    string `help:"Folder inside the repository."`
	Region  string `help:"Where to run. The default region unless given."`
	Port    int32  `help:"Port it listens on, when it insists on one."`
	envFlag `embed:""`
}

func (appRunCmd) Help() string {
	return examples(
		"ingress app run shop --backend http://127.0.0.1:3000",
		"ingress app run shop --repo https://github.com/example/shop --env MODE=live --env API_KEY",
	)
}

func (cmd *appRunCmd) Run(ctx context.Context, c *client) error {
	env, err := parseEnv(cmd.Env, c.LookupEnv)
	if err != nil {
		return err
	}
	req := &apppb.RunRequest{
		Name: cmd.Name, Backend: cmd.Backend, Repo: cmd.Repo, Branch: cmd.Branch,
		Path: cmd.Path, Region: cmd.Region, Port: cmd.Port, EnvVars: env,
	}
	res := &apppb.RunResponse{}
	return c.do(ctx, "app", "Run", req, res, func() error { return c.printApp(res.Service) })
}

func (c *client) printApp(app *apppb.Service) error {
	port := ""
	if app.GetPort() != 0 {
		port = count(int64(app.GetPort()))
	}
	return c.printProperties([]property{
		{"ID", app.GetId()},
		{"NAME", app.GetName()},
		{"STATUS", app.GetStatus()},
		{"URL", app.GetUrl()},
		{"BACKEND", app.GetBackend()},
		{"REPO", app.GetRepo()},
		{"BRANCH", app.GetBranch()},
		{"PATH", app.GetPath()},
		{"REGION", app.GetRegion()},
		{"PORT", port},
		{"ENV", names(app.GetEnvVars())},
		{"DOMAINS", strings.Join(app.GetCustomDomains(), ", ")},
		{"CREATED", c.stamp(app.GetCreated())},
		{"UPDATED", c.stamp(app.GetUpdated())},
	})
}

type appListCmd struct{}

func (appListCmd) Help() string { return examples("ingress app list", "ingress app list --json") }

func (cmd *appListCmd) Run(ctx context.Context, c *client) error {
	res := &apppb.ListResponse{}
	return c.do(ctx, "app", "List", &apppb.ListRequest{}, res, func() error {
		apps := &table{header: []string{"NAME", "STATUS", "URL", "SOURCE", "REGION", "UPDATED"}}
		for _, app := range res.Services {
			apps.add(app.Name, app.Status, app.Url, source(app.Backend, app.Repo, ""), app.Region, c.stamp(app.Updated))
		}
		return c.printTable(apps, "no apps yet; make one with: ingress app run NAME --backend http://127.0.0.1:3000")
	})
}

// source says in one cell where an app or function comes from.
func source(backend, repo, inline string) string {
	switch {
	case backend != "":
		return backend
	case repo != "":
		return repo
	case inline != "":
		return "inline"
	}
	return ""
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

type appStatusCmd struct {
	Name string `arg:"" help:"The app's name."`
}

func (appStatusCmd) Help() string { return examples("ingress app status shop") }

func (cmd *appStatusCmd) Run(ctx context.Context, c *client) error {
	res := &apppb.StatusResponse{}
	return c.do(ctx, "app", "Status", &apppb.StatusRequest{Name: cmd.Name}, res, func() error {
		return c.printLine(res.GetService().GetStatus())
	})
}

type appUpdateCmd struct {
	Name    string `arg:"" help:"The app's name."`
	Backend string `placeholder:"URL" help:"New URL of a registered backend."`
	envFlag `embed:""`
}

func (appUpdateCmd) Help() string {
	return "Variables given replace the whole environment; without any it stays.\n\n" + examples(
		"ingress app update shop --backend http://127.0.0.1:3001",
		"ingress app update shop --env MODE=test --env API_KEY",
	)
}

func (cmd *appUpdateCmd) Run(ctx context.Context, c *client) error {
	env, err := parseEnv(cmd.Env, c.LookupEnv)
	if err != nil {
		return err
	}
	req := &apppb.UpdateRequest{Name: cmd.Name, Backend: cmd.Backend, EnvVars: env}
	return c.do(ctx, "app", "Update", req, &apppb.UpdateResponse{}, c.confirm("app %s is updated", cmd.Name))
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
	Name    string `arg:"" help:"The app's name."`
	logType `embed:""`
}

func (appLogsCmd) Help() string {
	return examples("ingress app logs shop", "ingress app logs shop --type build")
}

func (cmd *appLogsCmd) Run(ctx context.Context, c *client) error {
	res := &apppb.LogsResponse{}
	return c.do(ctx, "app", "Logs", &apppb.LogsRequest{Name: cmd.Name, LogsType: cmd.Type}, res, func() error {
		return c.printLog(res.Logs, "the "+cmd.Type+" log of app "+cmd.Name+" is empty")
	})
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
