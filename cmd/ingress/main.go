// Command ingress is the front door of a small serverless platform and, by
// default, the platform behind it. This package only wires: flags and
// configuration, the services, the data plane, and the command-line client.
package main

import (
	"context"
	"fmt"
	"io"
	"os"
	"os/signal"
	"runtime/debug"
	"slices"
	"syscall"

	"github.com/alecthomas/kong"
	"github.com/m3o/ingress/internal/runner"
	"github.com/m3o/ingress/internal/source"
)

// rootCommand is the whole command line.
type rootCommand struct {
	ConfigFile string `name:"config" env:"INGRESS_CONFIG" type:"path" placeholder:"FILE" help:"YAML file with settings of ingress serve, each under its flag's name. INGRESS_CONFIG unless given."`
	DataDir    string `name:"data-dir" env:"INGRESS_DATA_DIR" type:"path" placeholder:"DIR" help:"Where everything is kept. INGRESS_DATA_DIR or $XDG_DATA_HOME/m3o-ingress unless given. With --api-address for certificates alone."`

	Serve       serveCmd       `cmd:"" default:"withargs" help:"Run the ingress (the default)."`
	Settings    configCmd      `cmd:"" name:"config" help:"Show and change the settings, also of a running ingress."`
	Explain     explainCmd     `cmd:"" help:"Show what would become of a request to a URL, without making it."`
	DB          dbCmd          `cmd:"" name:"db" help:"Show and update the database, and move it from SQLite to PostgreSQL or back."`
	Certificate certificateCmd `cmd:"" help:"Revoke a certificate of a running ingress."`
	Upgrade     upgradeCmd     `cmd:"" help:"Put the program that is installed now in the place of the running one, without dropping a request."`
	Doctor      doctorCmd      `cmd:"" help:"Show how apps and functions are confined on this machine, and which languages it has."`
	Version     versionCmd     `cmd:"" help:"Print the version."`

	clientFlags    `embed:""`
	clientCommands `embed:""`
}

// program is what every command gets: the outside world.
type program struct {
	ctx            context.Context
	stdin          io.Reader
	stdout, stderr io.Writer
	env            func(string) string
	kong           *kong.Context
	file           *configFile
	variables      map[string]bool // of all flags
	cli            *rootCommand
}

func main() {
	if len(os.Args) > 1 {
		// What the program starts itself as, before anything that takes time.
		switch os.Args[1] {
		case runner.Subcommand:
			os.Exit(runner.Launch(os.Args[2:], os.Stdin, os.Stdout))
		case "fetch":
			os.Exit(source.FetchMain(os.Args[2:], os.Getenv, os.Stdout))
		}
	}
	p := &program{ctx: untilSignal(), stdin: os.Stdin, stdout: os.Stdout, stderr: os.Stderr, env: os.Getenv}
	os.Exit(p.main(os.Args[1:]))
}

// untilSignal returns a context that ends with the first signal. The next one ends the
// program as if it had never been caught. Signals are let go of before the context ends:
// whoever sees what follows from its end, such as that the program drains, may send the
// next at once.
func untilSignal() context.Context {
	ctx, end := context.WithCancel(context.Background())
	signals := make(chan os.Signal, 1)
	signal.Notify(signals, os.Interrupt, syscall.SIGTERM)
	go func() {
		<-signals
		signal.Stop(signals)
		end()
	}()
	return ctx
}

// main parses and runs one command and returns the exit code: 0, or 1 after
// saying on stderr what went wrong.
func (p *program) main(args []string) (code int) {
	defer func() {
		// kong ends --help by calling Exit; everything else is a real panic.
		switch v := recover().(type) {
		case nil:
		case exit:
			code = int(v)
		default:
			panic(v)
		}
	}()
	if err := p.run(args); err != nil {
		reportError(p.stderr, commandName(p.kong), err)
		return 1
	}
	return 0
}

// exit is how kong's call of Exit unwinds to main.
type exit int

// run parses and runs one command.
func (p *program) run(args []string) error {
	if err := checkArguments(args); err != nil {
		return err
	}
	if slices.Equal(args, []string{"--version"}) {
		args = []string{"version"} // what most programs are asked it with
	}
	parser, err := p.parser()
	if err != nil {
		return err
	}
	if err := p.parse(parser, args); err != nil {
		return err
	}
	return p.kong.Run()
}

// parser makes the parser of the command line, which fills p.cli.
func (p *program) parser() (*kong.Kong, error) {
	p.cli = &rootCommand{}
	p.file = &configFile{env: os.LookupEnv}
	parser, err := kong.New(p.cli,
		kong.Name("ingress"),
		kong.Description("The front door of a small serverless platform, and the platform behind it. Without a command it serves. The client commands use the key in M3O_API_TOKEN, or, on the machine of the ingress, its own."),
		kong.Writers(p.stdout, p.stderr),
		kong.Exit(func(code int) { panic(exit(code)) }),
		kong.Resolvers(p.file),
		kong.NamedMapper("path", kong.MapperFunc(decodePath)),
		// The help itself names variables; kong would only name those that are set.
		kong.ValueFormatter(func(v *kong.Value) string { return v.Help }),
		kong.PostBuild(hideSettings),
		// Before the next, which takes from flags the variables that are empty.
		kong.PostBuild(func(k *kong.Kong) error { p.variables = flagVariables(k.Model.Node); return nil }),
		ignoreEmptyVariables(os.LookupEnv),
		kong.ConfigureHelp(kong.HelpOptions{Compact: true}),
		kong.Bind(p),
		kong.BindTo(p.ctx, (*context.Context)(nil)),
		kong.BindSingletonProvider(p.client),
	)
	if err != nil {
		return nil, fmt.Errorf("build the command line: %w", err)
	}
	return parser, nil
}

// parse parses the command line. What is wrong with the configuration file comes
// before what follows from it.
func (p *program) parse(parser *kong.Kong, args []string) (err error) {
	p.kong, err = parser.Parse(args)
	if p.file.err != nil {
		return p.file.err
	}
	return err
}

// client makes the client that the client commands run on. On the machine of
// the ingress itself it finds the bootstrap key where serve keeps it.
func (p *program) client() (*client, error) {
	dir := p.cli.DataDir
	if dir == "" {
		// Without a home there is no default, and so no key to be found there.
		dir, _ = defaultDataDir(p.env)
	}
	return newClient(p.cli.clientFlags, surroundings{
		Stdin: p.stdin, Stdout: p.stdout, Stderr: p.stderr, LookupEnv: os.LookupEnv, DataDir: dir,
	})
}

// hideSettings keeps the settings of ingress serve out of the help of the
// commands that take them so as to find the same data and files.
func hideSettings(k *kong.Kong) error {
	for _, node := range k.Model.Children {
		shown := []string{"admin-socket"}
		switch node.Name {
		case "config", "explain", "upgrade", "certificate":
		case "db":
			shown = []string{"database", "from"}
		default:
			continue
		}
		for _, child := range append(node.Children, node) {
			for _, flag := range child.Flags {
				flag.Hidden = !slices.Contains(shown, flag.Name)
			}
		}
	}
	return nil
}

type versionCmd struct{}

// Run prints the version.
func (versionCmd) Run(p *program) error {
	_, err := fmt.Fprintln(p.stdout, "m3o-ingress", version())
	return err
}

// version is the module's version, or the commit it was built from.
func version() string {
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return "unknown"
	}
	if v := info.Main.Version; v != "" && v != "(devel)" {
		return v
	}
	for _, s := range info.Settings {
		if s.Key == "vcs.revision" {
			return "devel-" + s.Value[:min(12, len(s.Value))]
		}
	}
	return "devel"
}
