// Command ingress is the platform's command line.
package main

import (
	"context"
	"os"
	"os/signal"

	"github.com/alecthomas/kong"
)

func main() { os.Exit(run(os.Args[1:])) }

func run(args []string) int {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	var cli struct {
		clientFlags    `embed:""`
		clientCommands `embed:""`
	}
	parser := kong.Must(&cli, kong.Name("ingress"), kong.BindTo(ctx, (*context.Context)(nil)),
		kong.BindSingletonProvider(func() (*client, error) {
			return newClient(cli.clientFlags, surroundings{
				Stdin: os.Stdin, Stdout: os.Stdout, Stderr: os.Stderr, LookupEnv: os.LookupEnv,
			})
		}))
	var parsed *kong.Context
	err := checkArguments(args)
	if err == nil {
		parsed, err = parser.Parse(args)
	}
	if err == nil {
		err = parsed.Run()
	}
	if err != nil {
		reportError(os.Stderr, commandName(parsed), err)
		return 1
	}
	return 0
}
