package main

import (
	"cmp"
	"context"
	"encoding/json"
	"slices"
	"strings"
	"unicode/utf8"

	functionpb "github.com/m3o/ingress/proto/function"
)

type functionCmd struct {
	Deploy   functionDeployCmd   `cmd:"" help:"Make a function and start it."`
	Call     functionCallCmd     `cmd:"" help:"Post a JSON object to a function and print its answer."`
	List     functionListCmd     `cmd:"" help:"Show your functions."`
	Describe functionDescribeCmd `cmd:"" help:"Show one function."`
	Update   functionUpdateCmd   `cmd:"" help:"Change a function, or deploy it again."`
	Versions functionVersionsCmd `cmd:"" help:"Show a function's versions."`
	Rollback functionRollbackCmd `cmd:"" help:"Go back to an earlier version."`
	Delete   functionDeleteCmd   `cmd:"" help:"Remove a function."`
	Logs     functionLogsCmd     `cmd:"" help:"Print what a function, or its build, has written."`
	Proxy    functionProxyCmd    `cmd:"" help:"Print the address of the backend behind a function's id."`
	Reserve  functionReserveCmd  `cmd:"" help:"Hold a name for a year."`
	Regions  functionRegionsCmd  `cmd:"" help:"Show where functions can run."`
	Runtimes functionRuntimesCmd `cmd:"" help:"Show the languages functions can be written in."`
}

func (functionCmd) Help() string {
	return examples("ingress function deploy greet --source greet.py", "ingress function call greet name=Jane")
}

// source reads a source file; none is given as "".
func (c *client) source(ctx context.Context, path string) (string, error) {
	if path == "" {
		return "", nil
	}
	content, err := c.read(ctx, path)
	if err == nil && len(content) == 0 {
		err = &problem{text: path + " is empty"}
	}
	if err == nil && !utf8.Valid(content) {
		err = &problem{text: path + " is not valid UTF-8", hint: "Upload a folder with --dir to send files that are not text."}
	}
	return string(content), err
}

func (c *client) printFunction(f *functionpb.Func) error {
	return c.printProperties([]property{
		{"ID", f.GetId()},
		{"NAME", f.GetName()},
		{"STATUS", oneLine(f.GetStatus())},
		{"URL", f.GetUrl()},
		{"SOURCE", cmp.Or(f.GetBackend(), f.GetRepo(), inline(f.GetSource()), f.GetNewest().GetSource())},
		{"BRANCH", f.GetBranch()},
		{"SUBFOLDER", f.GetSubfolder()},
		{"ENTRYPOINT", f.GetEntrypoint()},
		{"RUNTIME", f.GetRuntime()},
		{"REGION", f.GetRegion()},
		{"VERSION", number(f.GetVersion())},
		{"COMMIT", f.GetCommit()},
		{"STATE", f.GetState()},
		{"REASON", oneLine(f.GetReason())},
		{"FILES", names(f.GetFiles())},
		{"IDLE TIMEOUT", f.GetIdleTimeout()},
		{"CONCURRENCY", number(int64(f.GetConcurrency()))},
		{"ENV", names(f.GetEnvVars())},
		{"CREATED", c.stamp(f.GetCreated())},
		{"UPDATED", c.stamp(f.GetUpdated())},
	})
}

type functionCallCmd struct {
	Name    string   `arg:"" help:"The function's name."`
	Request []string `arg:"" optional:"" help:"What to post: a JSON object, key=value…, or - for JSON on stdin."`
}

func (functionCallCmd) Help() string {
	return parameterHelp + "\n\n" + examples(
		"ingress function call greet name=Jane",
		`ingress function call greet '{"name": "Jane", "times": 2}'`,
		"ingress function call greet name=Jane times:=2",
		"ingress function call greet - < request.json",
	)
}

// Run sends the object inside the request as it was given, so that its numbers
// keep all their digits.
func (cmd *functionCallCmd) Run(ctx context.Context, c *client) error {
	request, err := c.document(ctx, cmd.Request)
	if err != nil {
		return err
	}
	body, err := json.Marshal(struct {
		Name    string          `json:"name"`
		Request json.RawMessage `json:"request"`
	}{cmd.Name, request})
	if err != nil {
		return usagef("the request is not JSON: %v", err)
	}
	reply, err := c.platform.CallJSON(ctx, "function", "Call", body)
	if err != nil {
		return c.explain(ctx, err)
	}
	if c.json {
		return c.printJSON(reply)
	}
	var res struct {
		Response json.RawMessage `json:"response"`
	}
	if err := json.Unmarshal(reply, &res); err != nil || res.Response == nil {
		return &problem{text: "the reply has no response in it", hint: "Use --json to see it as it is.", cause: err}
	}
	return c.printJSON(res.Response)
}

type functionListCmd struct{}

func (functionListCmd) Help() string {
	return examples("ingress function list", "ingress function list --json")
}

func (cmd *functionListCmd) Run(ctx context.Context, c *client) error {
	res := &functionpb.ListResponse{}
	return c.do(ctx, "function", "List", &functionpb.ListRequest{}, res, func() error {
		// What has no runtime is a registered backend.
		functions := &table{header: []string{"NAME", "STATUS", "RUNTIME", "UPDATED", "URL"}}
		for _, f := range res.Functions {
			functions.add(f.Name, statusWord(f.Status), f.Runtime, c.minute(f.Updated), f.Url)
		}
		return c.printTable(functions, "no functions yet; make one with: ingress function deploy NAME --source FILE")
	})
}

type functionDescribeCmd struct {
	Name string `arg:"" help:"The function's name."`
}

func (functionDescribeCmd) Help() string { return examples("ingress function describe greet") }

func (cmd *functionDescribeCmd) Run(ctx context.Context, c *client) error {
	res := &functionpb.DescribeResponse{}
	return c.do(ctx, "function", "Describe", &functionpb.DescribeRequest{Name: cmd.Name}, res, func() error {
		return c.printFunction(res.Function)
	})
}

type functionDeleteCmd struct {
	Name string `arg:"" help:"The function's name."`
}

func (functionDeleteCmd) Help() string { return examples("ingress function delete greet") }

func (cmd *functionDeleteCmd) Run(ctx context.Context, c *client) error {
	return c.do(ctx, "function", "Delete", &functionpb.DeleteRequest{Name: cmd.Name}, &functionpb.DeleteResponse{},
		c.confirm("function %s is deleted", cmd.Name))
}

type functionLogsCmd struct {
	Name     string `arg:"" help:"The function's name."`
	logFlags `embed:""`
}

func (functionLogsCmd) Help() string {
	return examples("ingress function logs greet", "ingress function logs greet -f", "ingress function logs greet --type build")
}

func (cmd *functionLogsCmd) Run(ctx context.Context, c *client) error {
	return c.showLogs(ctx, target{"function", cmd.Name}, cmd.logFlags)
}

type functionProxyCmd struct {
	ID string `arg:"" name:"id" help:"The function's id, as in its host name."`
}

func (functionProxyCmd) Help() string { return examples("ingress function proxy greet") }

func (cmd *functionProxyCmd) Run(ctx context.Context, c *client) error {
	res := &functionpb.ProxyResponse{}
	return c.do(ctx, "function", "Proxy", &functionpb.ProxyRequest{Id: cmd.ID}, res, func() error {
		return c.printBackend(cmd.ID, res.Url)
	})
}

type functionReserveCmd struct {
	Name string `arg:"" help:"The name: 3 to 54 lower-case letters and digits."`
}

func (functionReserveCmd) Help() string { return examples("ingress function reserve greet") }

func (cmd *functionReserveCmd) Run(ctx context.Context, c *client) error {
	res := &functionpb.ReserveResponse{}
	return c.do(ctx, "function", "Reserve", &functionpb.ReserveRequest{Name: cmd.Name}, res, func() error {
		return c.printReservation(res.Reservation)
	})
}

// reasons says of each name why it is missing, and once what is the same for several.
func reasons(missing map[string]string) (list []string) {
	alike := map[string][]string{}
	for name, why := range missing {
		alike[why] = append(alike[why], name)
	}
	for why, names := range alike {
		slices.Sort(names)
		list = append(list, strings.Join(names, ", ")+" ("+why+")")
	}
	slices.Sort(list)
	return list
}

type functionRegionsCmd struct{}

func (functionRegionsCmd) Help() string { return examples("ingress function regions") }

func (cmd *functionRegionsCmd) Run(ctx context.Context, c *client) error {
	res := &functionpb.RegionsResponse{}
	return c.do(ctx, "function", "Regions", &functionpb.RegionsRequest{}, res, func() error {
		return c.printLines(res.Regions, "no regions")
	})
}

type functionRuntimesCmd struct{}

func (functionRuntimesCmd) Help() string { return examples("ingress function runtimes") }

func (cmd *functionRuntimesCmd) Run(ctx context.Context, c *client) error {
	res := &functionpb.RuntimesResponse{}
	return c.do(ctx, "function", "Runtimes", &functionpb.RuntimesRequest{}, res, func() error {
		for _, why := range reasons(res.Unavailable) {
			c.say("not here: %s", why)
		}
		return c.printLines(res.Runtimes, "no languages; functions here are registered with --backend")
	})
}
