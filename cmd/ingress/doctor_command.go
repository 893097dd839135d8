package main

import (
	"fmt"
	"maps"
	"os"
	"os/exec"
	"slices"
	"strings"

	"github.com/m3o/ingress/internal/builder"
	"github.com/m3o/ingress/internal/confine"
)

// doctorCmd says what apps and functions can expect of this machine.
type doctorCmd struct {
	Database databaseURL `env:"INGRESS_DATABASE" placeholder:"URL" help:"The --database of ingress serve: one of several ingresses runs nothing."`
}

// Help implements kong.HelpProvider.
func (doctorCmd) Help() string {
	return `It looks at the machine as the user who runs it: run it as the user who runs
ingress serve.

` + examples("ingress doctor", "ingress doctor --json")
}

// diagnosis is what doctor found.
type diagnosis struct {
	// NotHere is why nothing runs here all the same.
	NotHere     string            `json:"not_here,omitempty"`
	Confinement []confine.Measure `json:"confinement"`
	Languages   []language        `json:"languages"`
	Git         string            `json:"git"`
}

// language is a row of the languages: one that apps and functions can be written
// in, or why not.
type language struct {
	Name    string `json:"name"`
	Version string `json:"version,omitempty"`
	Path    string `json:"path,omitempty"`
	Missing string `json:"missing,omitempty"`
}

// Run prints the diagnosis.
func (c *doctorCmd) Run(p *program) error {
	found := diagnosis{Confinement: confine.Probe(), Languages: languages(p), Git: "built in: fetches without the system's git"}
	if path, err := exec.LookPath("git"); err == nil {
		found.Git = path
	}
	if c.Database != "" {
		found.NotHere = notHere
	}
	if p.cli.JSON {
		return printJSON(p.stdout, found)
	}
	tongues := &table{header: []string{"LANGUAGE", "VERSION", "PROGRAM, OR WHY NOT"}}
	for _, l := range found.Languages {
		tongues.add(l.Name, l.Version, l.Path+strings.TrimPrefix(l.Missing, l.Name+": "))
	}
	note := ""
	if found.NotHere != "" {
		note = fmt.Sprintf("No apps and functions run here with --database: %s.\nWithout it:\n\n", found.NotHere)
	}
	_, err := fmt.Fprintf(p.stdout, "%s%s\n%s\ngit: %s\n", note, measureLines(found.Confinement), tongues, found.Git)
	return err
}

// measureLines lists the measures, with what is said of each on lines of its own: these
// are sentences, which in a table's column a terminal would break inside words.
func measureLines(measures []confine.Measure) string {
	const indent = "          " // as wide as IN FORCE and the gap behind it
	var out strings.Builder
	out.WriteString("IN FORCE  CONFINEMENT\n")
	for _, m := range measures {
		fmt.Fprintf(&out, "%-*s%s\n", len(indent), yesNo(m.InForce), m.Name)
		for _, line := range folded(sentences(m.Detail, m.Advice), 79-len(indent)) {
			out.WriteString(indent + line + "\n")
		}
	}
	return out.String()
}

// sentences joins what was found and what to do about it.
func sentences(detail, advice string) string {
	if advice == "" {
		return detail
	}
	return detail + "; " + advice
}

func languages(p *program) []language {
	available, missing := builder.New(builder.Options{Env: builder.PassedEnv(os.Environ())}).Runtimes(p.ctx)
	var list []language
	for _, r := range available {
		list = append(list, language{Name: r.Name, Version: r.Version, Path: r.Path})
	}
	for _, name := range slices.Sorted(maps.Keys(missing)) {
		list = append(list, language{Name: name, Missing: missing[name]})
	}
	return list
}

// warnUnconfined says once at start what confinement lacks on this machine.
func (s *server) warnUnconfined() {
	var missing []string
	for _, m := range confine.Probe() {
		if !m.InForce {
			missing = append(missing, m.Name+" ("+m.Detail+")")
		}
	}
	if len(missing) > 0 {
		s.log.Warn("apps and functions are not fully confined on this machine; ingress doctor says what to do", "missing", missing)
	}
}
