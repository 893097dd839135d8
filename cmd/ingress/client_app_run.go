package main

import (
	"context"
	"errors"
	"strings"

	"github.com/m3o/ingress/internal/api"
	apppb "github.com/m3o/ingress/proto/app"
)

// appSource is where an app comes from.
type appSource struct {
	Backend string `xor:"origin" placeholder:"URL" help:"URL of something that already runs."`
	Dir     string `xor:"origin" placeholder:"FOLDER" help:"Folder to upload and run, without what its .gitignore and .ingressignore name."`
	Repo    string `xor:"origin" placeholder:"URL" help:"Git repository to run."`
	Branch  string `help:"Branch, tag or commit. The repository's default unless given."`
	Path    string `help:"Folder inside the repository."`
}

// appSettings are how an app is run.
type appSettings struct {
	HealthPath  string `placeholder:"PATH" help:"Path that must answer before a version gets requests, such as /health. A connection is enough unless given."`
	IdleTimeout string `placeholder:"DURATION" help:"How long it stays awake without requests, such as 15m; 0s for ever. The operator's default unless given."`
	Concurrency *int32 `placeholder:"NUMBER" help:"How many requests it gets at once; 0 for any number, as unless given."`
	envFlag     `embed:""`
}

type appRunCmd struct {
	Name        string `arg:"" help:"Its name: 3 to 54 lower-case letters and digits."`
	appSource   `embed:""`
	Region      string `help:"Where to run. The default region unless given."`
	Port        int32  `help:"Not heeded: an app is told its port in the variable PORT."`
	appSettings `embed:""`
	followFlags `embed:""`
}

func (appRunCmd) Help() string {
	return "An app of yours that has the name already is updated.\n\n" + examples(
		"ingress app run shop --dir .",
		"ingress app run shop --repo https://github.com/example/shop --env MODE=live --env API_KEY",
		"ingress app run shop --backend http://127.0.0.1:3000",
	)
}

func (cmd *appRunCmd) Run(ctx context.Context, c *client) error {
	if cmd.Backend == "" && cmd.Dir == "" && cmd.Repo == "" {
		return usagef("one of --dir, --repo and --backend must say where the app comes from")
	}
	env, err := parseEnv(cmd.Env, c.LookupEnv)
	if err != nil {
		return err
	}
	req := &apppb.RunRequest{
		Name: cmd.Name, Backend: cmd.Backend, Repo: cmd.Repo, Branch: cmd.Branch, Path: cmd.Path, Region: cmd.Region, Port: cmd.Port,
		EnvVars: env, HealthPath: cmd.HealthPath, IdleTimeout: cmd.IdleTimeout, Concurrency: zeroUnless(cmd.Concurrency),
	}
	if cmd.Dir != "" {
		if err := checkNew(cmd.Name); err != nil {
			return err
		}
		if req.Upload, err = c.upload(ctx, "app", cmd.Dir, newProgress(c)); err != nil {
			return err
		}
	}
	res := &apppb.RunResponse{}
	reply, err := c.invoke(ctx, "app", "Run", req, res)
	if exists(err, "app.run", cmd.Name+" already running") {
		c.say("app %s is there already; updating it", cmd.Name)
		change := updateOf(req)
		change.Concurrency = changedTo(cmd.Concurrency)
		return c.updateApp(ctx, change, cmd.followFlags)
	}
	if err != nil {
		return c.explain(ctx, err)
	}
	newest := res.GetService().GetNewest()
	switch {
	case newest != nil && !cmd.Detach:
		return c.follow(ctx, target{"app", cmd.Name}, newest.GetNumber(), cmd.followFlags)
	case c.json:
		return c.printJSON(reply)
	}
	return c.printApp(res.Service)
}

// anyNumber takes back a bound in an update, where 0 leaves it as it is.
const anyNumber = -1

// changedTo is a bound on concurrency in an update.
func changedTo(given *int32) int32 {
	if given != nil && *given == 0 {
		return anyNumber
	}
	return zeroUnless(given)
}

func zeroUnless(given *int32) int32 {
	if given == nil {
		return 0
	}
	return *given
}

// exists reports whether the platform refused to make what the caller has.
func exists(err error, id, detail string) bool {
	known, ok := errors.AsType[*api.Error](err)
	return ok && known.ID == id && strings.EqualFold(known.Detail, detail)
}

// updateOf turns the description of a new app into that of a change.
func updateOf(req *apppb.RunRequest) *apppb.UpdateRequest {
	return &apppb.UpdateRequest{
		Name: req.GetName(), Backend: req.GetBackend(), Upload: req.GetUpload(), Repo: req.GetRepo(), Branch: req.GetBranch(), Path: req.GetPath(),
		EnvVars: req.GetEnvVars(), HealthPath: req.GetHealthPath(), IdleTimeout: req.GetIdleTimeout(), Concurrency: req.GetConcurrency(),
	}
}

type appUpdateCmd struct {
	Name        string `arg:"" help:"The app's name."`
	appSource   `embed:""`
	appSettings `embed:""`
	followFlags `embed:""`
}

func (appUpdateCmd) Help() string {
	return "With nothing but a name its source is deployed again, the latest of a repository; an uploaded folder is not kept. " +
		"Variables given replace the whole environment; " +
		"without any it stays. --health-path - and --concurrency 0 take these back, --idle-timeout default as well.\n\n" + examples(
		"ingress app update shop --dir .",
		"ingress app update shop",
		"ingress app update shop --branch next",
		"ingress app update shop --env MODE=test --env API_KEY",
	)
}

func (cmd *appUpdateCmd) Run(ctx context.Context, c *client) error {
	env, err := parseEnv(cmd.Env, c.LookupEnv)
	if err != nil {
		return err
	}
	req := &apppb.UpdateRequest{
		Name: cmd.Name, Backend: cmd.Backend, Repo: cmd.Repo, Branch: cmd.Branch, Path: cmd.Path,
		EnvVars: env, HealthPath: cmd.HealthPath, IdleTimeout: cmd.IdleTimeout, Concurrency: changedTo(cmd.Concurrency),
	}
	if cmd.Dir != "" {
		if err := c.checkThere(ctx, target{"app", cmd.Name}); err != nil {
			return err
		}
		if req.Upload, err = c.upload(ctx, "app", cmd.Dir, newProgress(c)); err != nil {
			return err
		}
	}
	return c.updateApp(ctx, req, cmd.followFlags)
}

// updateApp changes an app and follows the deploy, when there is one.
func (c *client) updateApp(ctx context.Context, req *apppb.UpdateRequest, flags followFlags) error {
	w := target{"app", req.GetName()}
	source := req.GetUpload() + req.GetRepo() + req.GetBranch() + req.GetPath()
	settings := len(req.GetEnvVars()) > 0 || req.GetBackend()+req.GetHealthPath()+req.GetIdleTimeout() != "" || req.GetConcurrency() != 0
	call := func() error {
		return c.do(ctx, "app", "Update", req, &apppb.UpdateResponse{}, c.confirm("%s is updated", w))
	}
	if flags.Detach || source == "" && settings {
		return call()
	}
	return c.deployAgain(ctx, w, flags, func() error {
		_, err := c.invoke(ctx, "app", "Update", req, &apppb.UpdateResponse{})
		return err
	})
}

// deployAgain makes a call that may make a new version, and follows it then.
func (c *client) deployAgain(ctx context.Context, w target, flags followFlags, call func() error) error {
	before, err := c.standing(ctx, w)
	if err != nil {
		return c.explain(ctx, err)
	}
	if err := call(); err != nil {
		return c.explain(ctx, err)
	}
	after, err := c.standing(ctx, w)
	switch {
	case err != nil:
		return c.explain(ctx, err)
	case after.newest != nil && after.number() != before.number():
		return c.follow(ctx, w, after.number(), flags)
	case c.json:
		return c.printJSON(after.reply)
	}
	c.say("%s is updated", w)
	return nil
}
