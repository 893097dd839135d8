package main

import (
	"fmt"
	"net/http"
	"net/url"
	"strings"

	"github.com/m3o/ingress/internal/edge"
)

// explainCmd asks the running process what would become of a request.
type explainCmd struct {
	config `embed:""`
	URL    string `arg:"" help:"The URL, with or without http://."`
}

// Help implements kong.HelpProvider.
func (explainCmd) Help() string {
	return examples("ingress explain hello.app.localhost:8080/", "ingress explain http://localhost:8080/u/abc --json")
}

// Run prints the explanation.
func (c *explainCmd) Run(p *program) error {
	running, err := p.openRunning(&c.config)
	if err != nil {
		return err
	}
	defer running.Close()
	x, err := running.explain(c.URL)
	if err != nil {
		return err
	}
	if p.cli.JSON {
		return printJSON(p.stdout, x)
	}
	remembered := x.Known
	if x.Remembered != "" {
		remembered += ": " + x.Remembered
	}
	_, err = fmt.Fprint(p.stdout, propertyLines([]property{
		{"HOST", x.Host}, {"ROUTE", x.Route}, {"ID", x.ID}, {"REMEMBERED", remembered},
		{"LEADS TO", x.Leads}, {"BACKEND", oneLine(x.Backend)}, {"ANSWER", x.Answer},
	}))
	return err
}

// explain asks for the explanation of an address as a person writes it.
func (s *socketControl) explain(address string) (x edge.Explanation, err error) {
	if !strings.Contains(address, "://") {
		address = "http://" + address
	}
	err = s.do(http.MethodGet, "/explain?"+url.Values{"url": {address}}.Encode(), nil, &x)
	return x, err
}
