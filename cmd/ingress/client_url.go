package main

import (
	"context"
	"strings"

	urlpb "github.com/m3o/ingress/proto/url"
)

type urlCmd struct {
	Create  urlCreateCmd  `cmd:"" help:"Make a link with an id of your choice or a random one."`
	Shorten urlShortenCmd `cmd:"" help:"Make a link with a random id and print its short URL."`
	List    urlListCmd    `cmd:"" help:"Show your links and how often they were followed."`
	Resolve urlResolveCmd `cmd:"" help:"Print where a link leads, without following it."`
	Update  urlUpdateCmd  `cmd:"" help:"Let a link lead somewhere else."`
	Delete  urlDeleteCmd  `cmd:"" help:"Remove a link."`
}

func (urlCmd) Help() string {
	return examples("ingress url shorten https://example.com/a/long/path", "ingress url list")
}

type urlCreateCmd struct {
	Destination string `arg:"" help:"Where the link leads: an http or https URL."`
	ID          string `name:"id" help:"The id wanted: letters, digits, _ and -. Random unless given."`
}

func (urlCreateCmd) Help() string {
	return examples("ingress url create https://example.com/a/long/path", "ingress url create https://example.com/ --id docs")
}

func (cmd *urlCreateCmd) Run(ctx context.Context, c *client) error {
	req := &urlpb.CreateRequest{Id: cmd.ID, DestinationURL: cmd.Destination}
	res := &urlpb.CreateResponse{}
	return c.do(ctx, "url", "Create", req, res, func() error {
		return c.printProperties([]property{
			{"ID", res.GetUrl().GetId()},
			{"SHORT URL", res.GetUrl().GetShortURL()},
			{"DESTINATION", res.GetUrl().GetDestinationURL()},
			{"CREATED", c.stamp(res.GetUrl().GetCreated())},
		})
	})
}

type urlShortenCmd struct {
	Destination string `arg:"" help:"Where the link leads: an http or https URL."`
}

func (urlShortenCmd) Help() string {
	return examples("ingress url shorten https://example.com/a/long/path")
}

func (cmd *urlShortenCmd) Run(ctx context.Context, c *client) error {
	res := &urlpb.ShortenResponse{}
	return c.do(ctx, "url", "Shorten", &urlpb.ShortenRequest{DestinationURL: cmd.Destination}, res, func() error {
		return c.printLine(res.ShortURL)
	})
}

type urlListCmd struct {
	ShortURL string `arg:"" name:"short-url" optional:"" help:"Show only this link."`
}

func (urlListCmd) Help() string {
	return examples("ingress url list", "ingress url list http://localhost:8080/u/docs", "ingress url list --json")
}

func (cmd *urlListCmd) Run(ctx context.Context, c *client) error {
	c.platform.MaxReply = 512 << 20 // all links that a tenant may have
	res := &urlpb.ListResponse{}
	return c.do(ctx, "url", "List", &urlpb.ListRequest{ShortURL: cmd.ShortURL}, res, func() error {
		// Without the ids: a short URL ends in its link's, and every command takes it as well.
		links := &table{header: []string{"SHORT URL", "HITS", "CREATED", "DESTINATION"}}
		for _, link := range res.UrlPairs {
			links.add(link.ShortURL, count(link.HitCount), c.minute(link.Created), link.DestinationURL)
		}
		if cmd.ShortURL != "" {
			return c.printTable(links, "you have no link "+cmd.ShortURL+"; those you have are shown by: ingress url list")
		}
		return c.printTable(links, "no links yet; make one with: ingress url create https://example.com/")
	})
}

// linkArg is a link named by its id or by its whole short URL.
type linkArg struct {
	Link string `arg:"" name:"link" help:"The link's id or its short URL."`
}

// names returns the two fields of a request that may name the link, of which
// exactly one is set. An id cannot contain a slash, so nothing is ambiguous.
func (l linkArg) names() (id, shortURL string) {
	if strings.Contains(l.Link, "/") {
		return "", l.Link
	}
	return l.Link, ""
}

type urlResolveCmd struct {
	linkArg `embed:""`
}

func (urlResolveCmd) Help() string {
	return examples("ingress url resolve docs", "ingress url resolve http://localhost:8080/u/docs")
}

func (cmd *urlResolveCmd) Run(ctx context.Context, c *client) error {
	req, res := &urlpb.ResolveRequest{}, &urlpb.ResolveResponse{}
	req.Id, req.ShortURL = cmd.names()
	return c.do(ctx, "url", "Resolve", req, res, func() error {
		return c.printLine(res.DestinationURL)
	})
}

type urlUpdateCmd struct {
	linkArg     `embed:""`
	Destination string `arg:"" help:"Where the link leads from now on: an http or https URL."`
}

func (urlUpdateCmd) Help() string { return examples("ingress url update docs https://example.com/new") }

func (cmd *urlUpdateCmd) Run(ctx context.Context, c *client) error {
	req := &urlpb.UpdateRequest{DestinationURL: cmd.Destination}
	req.Id, req.ShortURL = cmd.names()
	return c.do(ctx, "url", "Update", req, &urlpb.UpdateResponse{},
		c.confirm("link %s now leads to %s", cmd.Link, cmd.Destination))
}

type urlDeleteCmd struct {
	linkArg `embed:""`
}

func (urlDeleteCmd) Help() string { return examples("ingress url delete docs") }

func (cmd *urlDeleteCmd) Run(ctx context.Context, c *client) error {
	req := &urlpb.DeleteRequest{}
	req.Id, req.ShortURL = cmd.names()
	// The API does not tell whether there was one; it may have been mistyped.
	return c.do(ctx, "url", "Delete", req, &urlpb.DeleteResponse{}, c.confirm("there is no link %s any more", cmd.Link))
}
