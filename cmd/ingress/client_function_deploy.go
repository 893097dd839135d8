package main

import (
	"cmp"
	"context"
	"path/filepath"

	functionpb "github.com/m3o/ingress/proto/function"
)

// functionSource is where a function comes from.
type functionSource struct {
	Backend    string   `xor:"origin" placeholder:"URL" help:"URL of something that already runs."`
	Source     string   `xor:"origin" placeholder:"FILE" help:"File with the source of a function of one file; - for stdin."`
	File       []string `xor:"origin" sep:"none" placeholder:"FILE" help:"A source file of a function of several, repeatable; each keeps its own name."`
	Dir        string   `xor:"origin" placeholder:"FOLDER" help:"Folder to upload, without what its .gitignore and .ingressignore name."`
	Repo       string   `xor:"origin" placeholder:"URL" help:"Git repository."`
	Branch     string   `help:"Branch, tag or commit. The repository's default unless given."`
	Subfolder  string   `help:"Folder inside the repository."`
	Entrypoint string   `help:"Name of the function in the source. The function's name unless given."`
	Runtime    string   `help:"Language. Told from the name of a source file unless given."`
}

// functionSettings are how a function is run.
type functionSettings struct {
	IdleTimeout string `placeholder:"DURATION" help:"How long it stays awake without requests, such as 15m; 0s for ever. The operator's default unless given."`
	Concurrency *int32 `placeholder:"NUMBER" help:"How many requests it gets at once; 0 for any number, as unless given."`
	envFlag     `embed:""`
}

type functionDeployCmd struct {
	Name             string `arg:"" help:"Its name: 3 to 54 lower-case letters and digits."`
	functionSource   `embed:""`
	Region           string `help:"Where to run. The default region unless given."`
	functionSettings `embed:""`
	followFlags      `embed:""`
}

func (functionDeployCmd) Help() string {
	return "A function of yours that has the name already is updated.\n\n" + examples(
		"ingress function deploy greet --source greet.py",
		"ingress function deploy greet --dir . --runtime nodejs",
		"ingress function deploy greet --repo https://github.com/example/greet --runtime nodejs",
		"ingress function deploy greet --backend http://127.0.0.1:3000",
	)
}

func (cmd *functionDeployCmd) Run(ctx context.Context, c *client) error {
	if !cmd.given() {
		return usagef("one of --source, --file, --dir, --repo and --backend must say where the function comes from")
	}
	env, err := parseEnv(cmd.Env, c.LookupEnv)
	if err != nil {
		return err
	}
	if cmd.Dir != "" {
		if err := checkNew(cmd.Name); err != nil {
			return err
		}
		if err := c.checkRuntime(ctx, cmd.Runtime); err != nil {
			return err
		}
	}
	content, err := cmd.read(ctx, c)
	if err != nil {
		return err
	}
	req := &functionpb.DeployRequest{
		Name: cmd.Name, Backend: cmd.Backend, Source: content.source, Files: content.files, Upload: content.upload, Repo: cmd.Repo, Branch: cmd.Branch,
		Subfolder: cmd.Subfolder, Entrypoint: cmd.Entrypoint, Runtime: cmd.runtime(), Region: cmd.Region, EnvVars: env,
		IdleTimeout: cmd.IdleTimeout, Concurrency: zeroUnless(cmd.Concurrency),
	}
	res := &functionpb.DeployResponse{}
	reply, err := c.invoke(ctx, "function", "Deploy", req, res)
	if exists(err, "function.deploy", "already exists") {
		c.say("function %s is there already; updating it", cmd.Name)
		change := functionUpdateOf(req)
		change.Concurrency = changedTo(cmd.Concurrency)
		return c.updateFunction(ctx, change, cmd.followFlags)
	}
	if err != nil {
		return c.explain(ctx, err)
	}
	newest := res.GetFunction().GetNewest()
	switch {
	case newest != nil && !cmd.Detach:
		return c.follow(ctx, target{"function", cmd.Name}, newest.GetNumber(), cmd.followFlags)
	case c.json:
		return c.printJSON(reply)
	}
	return c.printFunction(res.Function)
}

func functionUpdateOf(req *functionpb.DeployRequest) *functionpb.UpdateRequest {
	return &functionpb.UpdateRequest{
		Name: req.GetName(), Backend: req.GetBackend(), Source: req.GetSource(), Files: req.GetFiles(), Upload: req.GetUpload(), Repo: req.GetRepo(),
		Branch: req.GetBranch(), Subfolder: req.GetSubfolder(), Entrypoint: req.GetEntrypoint(), Runtime: req.GetRuntime(),
		EnvVars: req.GetEnvVars(), IdleTimeout: req.GetIdleTimeout(), Concurrency: req.GetConcurrency(),
	}
}

// given reports whether there is a source.
func (s functionSource) given() bool {
	return s.Backend+s.Source+s.Dir+s.Repo != "" || len(s.File) > 0
}

// code is source as a request carries it.
type code struct {
	source, upload string
	files          map[string]string
}

// read reads or uploads the source.
func (s functionSource) read(ctx context.Context, c *client) (content code, err error) {
	switch {
	case s.Dir != "":
		content.upload, err = c.upload(ctx, "function", s.Dir, newProgress(c))
	case len(s.File) > 0:
		content.files, err = c.files(ctx, s.File)
	default:
		content.source, err = c.source(ctx, s.Source)
	}
	return content, err
}

// files reads source files, by the names they have without their folders.
func (c *client) files(ctx context.Context, paths []string) (map[string]string, error) {
	files := make(map[string]string, len(paths))
	for _, path := range paths {
		name := filepath.Base(path)
		if path == "-" {
			return nil, usagef("--file needs files with names; use --source for stdin")
		}
		if _, twice := files[name]; twice {
			return nil, usagef("--file: two files are called %s; use --dir to upload a folder", name)
		}
		content, err := c.source(ctx, path)
		if err != nil {
			return nil, err
		}
		files[name] = content
	}
	return files, nil
}

// runtime returns the language asked for or, failing that, the one that a source
// file's name tells.
func (s functionSource) runtime() string {
	if s.Runtime != "" {
		return s.Runtime
	}
	for _, path := range append([]string{s.Source}, s.File...) {
		switch filepath.Ext(path) {
		case ".go":
			return "go"
		case ".js", ".mjs", ".cjs":
			return "nodejs"
		case ".py":
			return "python"
		}
	}
	return ""
}

type functionUpdateCmd struct {
	Name             string `arg:"" help:"The function's name."`
	functionSource   `embed:""`
	functionSettings `embed:""`
	followFlags      `embed:""`
}

func (functionUpdateCmd) Help() string {
	return "With nothing but a name its source is deployed again, the latest of a repository; an uploaded folder is not kept. " +
		"Variables given replace the whole environment; " +
		"without any it stays.\n\n" + examples(
		"ingress function update greet --source greet.py",
		"ingress function update greet --env MODE=test",
		"ingress function update greet --backend http://127.0.0.1:3001",
	)
}

func (cmd *functionUpdateCmd) Run(ctx context.Context, c *client) error {
	env, err := parseEnv(cmd.Env, c.LookupEnv)
	if err != nil {
		return err
	}
	if cmd.Dir != "" {
		if err := c.checkThere(ctx, target{"function", cmd.Name}); err != nil {
			return err
		}
	}
	if cmd.Dir != "" && cmd.Runtime != "" { // without one it keeps its language
		if err := c.checkRuntime(ctx, cmd.Runtime); err != nil {
			return err
		}
	}
	content, err := cmd.read(ctx, c)
	if err != nil {
		return err
	}
	return c.updateFunction(ctx, &functionpb.UpdateRequest{
		Name: cmd.Name, Backend: cmd.Backend, Source: content.source, Files: content.files, Upload: content.upload, Repo: cmd.Repo,
		// The name of a file says nothing new of a function that has a language.
		Branch: cmd.Branch, Subfolder: cmd.Subfolder, Entrypoint: cmd.Entrypoint, Runtime: cmd.Runtime,
		EnvVars: env, IdleTimeout: cmd.IdleTimeout, Concurrency: changedTo(cmd.Concurrency),
	}, cmd.followFlags)
}

// updateFunction changes a function and follows the deploy, when there is one.
func (c *client) updateFunction(ctx context.Context, req *functionpb.UpdateRequest, flags followFlags) error {
	w := target{"function", req.GetName()}
	code := cmp.Or(req.GetSource(), req.GetUpload(), req.GetRepo(), req.GetBranch(), req.GetSubfolder(), req.GetEntrypoint(), req.GetRuntime())
	settings := len(req.GetEnvVars()) > 0 || req.GetBackend()+req.GetIdleTimeout() != "" || req.GetConcurrency() != 0
	if flags.Detach || code == "" && len(req.GetFiles()) == 0 && settings {
		return c.do(ctx, "function", "Update", req, &functionpb.UpdateResponse{}, c.confirm("%s is updated", w))
	}
	return c.deployAgain(ctx, w, flags, func() error {
		_, err := c.invoke(ctx, "function", "Update", req, &functionpb.UpdateResponse{})
		return err
	})
}

type functionVersionsCmd struct {
	Name string `arg:"" help:"The function's name."`
}

func (functionVersionsCmd) Help() string { return examples("ingress function versions greet") }

func (cmd *functionVersionsCmd) Run(ctx context.Context, c *client) error {
	res := &functionpb.VersionsResponse{}
	return c.do(ctx, "function", "Versions", &functionpb.VersionsRequest{Name: cmd.Name}, res, func() error {
		return printVersions(c, res.Versions, "function "+cmd.Name+" has no versions; it is a registered backend")
	})
}

type functionRollbackCmd struct {
	Name        string `arg:"" help:"The function's name."`
	Version     int64  `arg:"" optional:"" help:"The version's number. The one before the present one unless given."`
	followFlags `embed:""`
}

func (functionRollbackCmd) Help() string {
	return "An earlier version is started as it was built; nothing is built again.\n\n" +
		examples("ingress function rollback greet", "ingress function rollback greet 3")
}

func (cmd *functionRollbackCmd) Run(ctx context.Context, c *client) error {
	res := &functionpb.RollbackResponse{}
	req := &functionpb.RollbackRequest{Name: cmd.Name, Version: cmd.Version}
	reply, err := c.invoke(ctx, "function", "Rollback", req, res)
	if err != nil {
		return c.explain(ctx, err)
	}
	newest := res.GetFunction().GetNewest()
	switch {
	case newest != nil && !cmd.Detach:
		return c.follow(ctx, target{"function", cmd.Name}, newest.GetNumber(), cmd.followFlags, asSteps(newest.GetSteps())...)
	case c.json:
		return c.printJSON(reply)
	}
	return c.printFunction(res.Function)
}
