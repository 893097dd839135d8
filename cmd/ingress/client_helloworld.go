package main

import (
	"context"
	"encoding/json"

	helloworldpb "github.com/m3o/ingress/proto/helloworld"
)

type helloworldCmd struct {
	Call   helloworldCallCmd   `cmd:"" help:"Greet once."`
	Stream helloworldStreamCmd `cmd:"" help:"Greet several times, each as it comes."`
}

func (helloworldCmd) Help() string {
	return examples("ingress helloworld call --name Jane", "ingress helloworld stream --name Jane --messages 3")
}

type helloworldCallCmd struct {
	Name string `help:"Who is greeted."`
}

func (helloworldCallCmd) Help() string {
	return examples("ingress helloworld call --name Jane", "ingress helloworld call --name Jane --json")
}

func (cmd *helloworldCallCmd) Run(ctx context.Context, c *client) error {
	res := &helloworldpb.CallResponse{}
	return c.do(ctx, "helloworld", "Call", &helloworldpb.CallRequest{Name: cmd.Name}, res, func() error {
		return c.printLine(res.Message)
	})
}

type helloworldStreamCmd struct {
	Name     string `help:"Who is greeted."`
	Messages int64  `default:"3" help:"How many greetings, ${default} unless given."`
}

func (helloworldStreamCmd) Help() string {
	return examples("ingress helloworld stream --name Jane --messages 3")
}

func (cmd *helloworldStreamCmd) Run(ctx context.Context, c *client) error {
	body, err := marshal(&helloworldpb.StreamRequest{Name: cmd.Name, Messages: cmd.Messages})
	if err != nil {
		return err
	}
	return c.stream(ctx, "helloworld", "Stream", body, func(message json.RawMessage) error {
		if c.json {
			return c.printJSON(message)
		}
		res := &helloworldpb.StreamResponse{}
		if err := unmarshal(message, res); err != nil {
			return err
		}
		return c.printLine(res.Message)
	})
}
