package main

import (
	"encoding/json"
	"fmt"
	"io"
)

// configCmd is ingress config: the settings of the running program, or, when
// none runs, those the next start will find.
type configCmd struct {
	List  configListCmd  `cmd:"" help:"Show every setting, its value and where that comes from."`
	Get   configGetCmd   `cmd:"" help:"Show one setting."`
	Set   configSetCmd   `cmd:"" help:"Store a setting; it takes effect at once."`
	Unset configUnsetCmd `cmd:"" help:"Remove a stored setting."`
}

type configListCmd struct {
	config `embed:""`
}

// Help implements kong.HelpProvider.
func (configListCmd) Help() string {
	return "Examples:\n  ingress config list\n  ingress config list --json"
}

type configGetCmd struct {
	config `embed:""`
	Name   string `arg:"" help:"The setting, such as apps-domain or micro.app.domain."`
}

// Help implements kong.HelpProvider.
func (configGetCmd) Help() string {
	return "Example:\n  ingress config get micro.app.domain"
}

type configSetCmd struct {
	config `embed:""`
	Name   string `arg:"" help:"The setting: micro.app.domain, micro.function.domain, micro.url.host_prefix or micro.user.verify_email_url."`
	Value  string `arg:"" help:"The new value."`
}

// Help implements kong.HelpProvider.
func (configSetCmd) Help() string {
	return "Examples:\n  ingress config set micro.app.domain m3o.app\n  ingress config set micro.url.host_prefix https://m3o.one/u/"
}

type configUnsetCmd struct {
	config `embed:""`
	Name   string `arg:"" help:"The setting."`
}

// Help implements kong.HelpProvider.
func (configUnsetCmd) Help() string {
	return "Example:\n  ingress config unset micro.app.domain"
}

// Run prints the settings.
func (c *configListCmd) Run(p *program) error {
	control, err := p.openControl(&c.config, toRead)
	if err != nil {
		return err
	}
	defer control.Close()
	list, err := control.list()
	if err != nil {
		return err
	}
	if p.cli.JSON {
		return printJSON(p.stdout, list)
	}
	rows := &table{header: []string{"NAME", "SOURCE", "VALUE"}}
	for _, s := range list {
		name := s.Name
		if s.Platform != "" {
			name += " (" + s.Platform + ")"
		}
		from := string(s.Source)
		if s.Stored != "" {
			from += " (stored: " + s.Stored + ")"
		}
		rows.add(name, from, s.Value)
	}
	_, err = fmt.Fprint(p.stdout, rows)
	return err
}

// Run prints one setting's value.
func (c *configGetCmd) Run(p *program) error {
	control, err := p.openControl(&c.config, toRead)
	if err != nil {
		return err
	}
	defer control.Close()
	found, err := control.get(c.Name)
	if err != nil {
		return err
	}
	if p.cli.JSON {
		return printJSON(p.stdout, found)
	}
	_, err = fmt.Fprintln(p.stdout, found.Value)
	return err
}

// Run stores a setting.
func (c *configSetCmd) Run(p *program) error {
	control, err := p.openControl(&c.config, toChange)
	if err != nil {
		return err
	}
	defer control.Close()
	note, err := control.set(c.Name, c.Value)
	return p.sayNote(note, err)
}

// Run removes a stored setting.
func (c *configUnsetCmd) Run(p *program) error {
	control, err := p.openControl(&c.config, toChange)
	if err != nil {
		return err
	}
	defer control.Close()
	note, err := control.unset(c.Name)
	return p.sayNote(note, err)
}

func (p *program) sayNote(note string, err error) error {
	if err == nil && note != "" {
		_, err = fmt.Fprintln(p.stderr, "ingress: "+note)
	}
	return err
}

// printJSON writes v for scripts.
func printJSON(w io.Writer, v any) error {
	encoder := json.NewEncoder(w)
	encoder.SetEscapeHTML(false)
	encoder.SetIndent("", "  ")
	return encoder.Encode(v)
}
