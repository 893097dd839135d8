package main

import (
	"bufio"
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"time"

	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"

	"github.com/m3o/ingress/internal/api"
)

// clientCommands are the commands that call a running platform. The program's
// command line embeds them.
type clientCommands struct {
	Helloworld helloworldCmd `cmd:"" group:"Client:" help:"Greet: the service to try first."`
	URL        urlCmd        `cmd:"" name:"url" group:"Client:" help:"Short links."`
	App        appCmd        `cmd:"" group:"Client:" help:"Apps, each under a host name of its own."`
	Function   functionCmd   `cmd:"" group:"Client:" help:"Functions, each under a host name of its own."`
	User       userCmd       `cmd:"" group:"Client:" help:"Accounts, sessions and verification mail."`
	Key        keyCmd        `cmd:"" group:"Client:" help:"API keys."`
	Tenant     tenantCmd     `cmd:"" group:"Client:" help:"Tenants, for operators."`
	Call       callCmd       `cmd:"" group:"Client:" help:"Call any method of the API."`
}

// clientFlags are the flags all client commands share. They may stand before or
// after the command.
type clientFlags struct {
	Address string        `group:"Client flags:" env:"INGRESS_ADDRESS" default:"http://localhost:8080" placeholder:"URL" help:"Platform to call, INGRESS_ADDRESS or ${default} unless given."`
	JSON    bool          `group:"Client flags:" name:"json" help:"Print the API's reply as JSON."`
	Timeout time.Duration `group:"Client flags:" default:"30s" help:"How long to wait for a reply, or for the first one of a stream."`
}

// surroundings is what the client takes from the process it runs in.
type surroundings struct {
	// Stdin is read for passwords and for "-". When it is a terminal, passwords
	// are asked for on it without echo.
	Stdin io.Reader
	// Stdout gets results, Stderr everything said to a person.
	Stdout, Stderr io.Writer
	// LookupEnv is os.LookupEnv.
	LookupEnv func(string) (string, bool)
	// DataDir is where a platform on this machine keeps its bootstrap key; none
	// is looked for when empty.
	DataDir string
	// Zone is where times are shown, the machine's own when nil.
	Zone *time.Location
}

// client runs the client commands. It serves one command and is not for
// concurrent use.
type client struct {
	surroundings
	platform api.Client
	lines    *bufio.Reader // over Stdin
	json     bool
	zone     *time.Location
	pack     packer
}

// newClient returns a client for the platform the flags name. It fails when the
// address is no good and when there is no key for it; it makes no connection.
func newClient(flags clientFlags, in surroundings) (*client, error) {
	address, err := parseAddress(flags.Address)
	if err != nil {
		return nil, err
	}
	if flags.Timeout <= 0 {
		return nil, &problem{text: fmt.Sprintf("--timeout %s: must be longer than zero", flags.Timeout)}
	}
	key, err := findKey(address, in)
	if err != nil {
		return nil, err
	}
	return &client{
		surroundings: in,
		platform: api.Client{
			Address: address,
			Token:   key.token,
			HTTP:    &http.Client{Transport: newTransport(key.localOnly)},
			Timeout: flags.Timeout,
		},
		lines: bufio.NewReader(in.Stdin),
		json:  flags.JSON,
		zone:  cmp.Or(in.Zone, time.Local),
		pack:  packFolder,
	}, nil
}

// invoke calls a method, fills in res and returns the reply as the API wrote it.
// Its errors are those of api.Client, for explain to put into words.
func (c *client) invoke(ctx context.Context, service, endpoint string, req, res proto.Message) (json.RawMessage, error) {
	body, err := marshal(req)
	if err != nil {
		return nil, err
	}
	reply, err := c.platform.CallJSON(ctx, service, endpoint, body)
	if err != nil {
		return nil, err
	}
	return reply, unmarshal(reply, res)
}

// do calls a method and shows the reply: with --json as the API wrote it,
// otherwise by calling show once res is filled in.
func (c *client) do(ctx context.Context, service, endpoint string, req, res proto.Message, show func() error) error {
	body, err := marshal(req)
	if err != nil {
		return err
	}
	reply, err := c.platform.CallJSON(ctx, service, endpoint, body)
	if err != nil {
		return c.explain(ctx, err)
	}
	if c.json {
		return c.printJSON(reply)
	}
	if err := unmarshal(reply, res); err != nil {
		return err
	}
	return show()
}

// stream calls a method that may answer many times and hands on each reply.
func (c *client) stream(ctx context.Context, service, endpoint string, body []byte, show func(json.RawMessage) error) error {
	err := c.platform.Stream(ctx, service, endpoint, body, show)
	if err != nil {
		return c.explain(ctx, err)
	}
	return nil
}

// marshal writes a request with the contract's names.
func marshal(message proto.Message) ([]byte, error) {
	body, err := protojson.MarshalOptions{UseProtoNames: true}.Marshal(message)
	if err != nil {
		return nil, &problem{text: "the request is not valid UTF-8", cause: err}
	}
	return body, nil
}

// unmarshal reads a reply, ignoring fields this program does not know, as a
// newer platform may send them.
func unmarshal(reply []byte, res proto.Message) error {
	if err := (protojson.UnmarshalOptions{DiscardUnknown: true}).Unmarshal(reply, res); err != nil {
		return &problem{
			text:  "the reply is not what this version of ingress expects",
			hint:  "Use --json to see it as it is.",
			cause: err,
		}
	}
	return nil
}
