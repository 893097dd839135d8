package main

import (
	"context"
	"fmt"

	apppb "github.com/m3o/ingress/proto/app"
)

type appDomainCmd struct {
	Add    domainAddCmd    `cmd:"" help:"Have a host name of your own lead to an app."`
	Remove domainRemoveCmd `cmd:"" help:"Have a host name lead nowhere again."`
}

func (appDomainCmd) Help() string {
	return examples("ingress app domain add shop www.example.com", "ingress app domain remove shop www.example.com")
}

type domainAddCmd struct {
	Name   string `arg:"" help:"The app's name."`
	Domain string `arg:"" help:"The host name, such as www.example.com."`
}

func (domainAddCmd) Help() string {
	return "A record in the DNS must show that the name is yours; without one the command says which would do. Visitors must also\n" +
		"be led here, by the same CNAME or by the addresses of this ingress.\n\n" + examples("ingress app domain add shop www.example.com")
}

func (cmd *domainAddCmd) Run(ctx context.Context, c *client) error {
	res := &apppb.AddDomainResponse{}
	reply, err := c.invoke(ctx, "app", "AddDomain", &apppb.AddDomainRequest{Name: cmd.Name, Domain: cmd.Domain}, res)
	if err != nil {
		return c.explain(ctx, err)
	}
	switch {
	case c.json:
		err = c.printJSON(reply)
	case res.Accepted:
		c.say("%s leads to %s", res.Domain, cmd.Name)
	default:
		err = c.printMissing(res)
	}
	if err == nil && !res.Accepted {
		err = fmt.Errorf("the domain is not added: %s", oneLine(res.Reason))
	}
	return err
}

func (c *client) printMissing(res *apppb.AddDomainResponse) error {
	shown := &table{header: []string{"TYPE", "NAME", "VALUE"}}
	for _, r := range res.Records {
		shown.add(r.Type, r.Name, r.Value)
	}
	which := "this record"
	if len(res.Records) > 1 {
		which = "one of these records"
	}
	c.say("Make %s where the DNS of the domain is kept, and run the command again:", which)
	return c.printTable(shown, "")
}

type domainRemoveCmd struct {
	Name   string `arg:"" help:"The app's name."`
	Domain string `arg:"" help:"The host name."`
}

func (domainRemoveCmd) Help() string {
	return examples("ingress app domain remove shop www.example.com")
}

func (cmd *domainRemoveCmd) Run(ctx context.Context, c *client) error {
	return c.do(ctx, "app", "RemoveDomain", &apppb.RemoveDomainRequest{Name: cmd.Name, Domain: cmd.Domain}, &apppb.RemoveDomainResponse{},
		c.confirm("%s leads nowhere any more", cmd.Domain))
}
