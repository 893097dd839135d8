package main

import (
	"fmt"
	"io"
	"os"
	"time"

	"golang.org/x/term"
)

// progress shows the steps of a deploy as they happen, on stderr: a line for each
// that has ended, with the time it took. On a terminal the one that goes on has a
// line as well, which is written over.
type progress struct {
	out   io.Writer // nil to show nothing
	live  bool
	began time.Time
	told  map[string]bool // steps that need no line any more, by stepKey
	open  bool            // there is a line to write over
}

func newProgress(c *client) *progress {
	p := &progress{began: time.Now(), told: map[string]bool{}}
	if c.json {
		return p
	}
	p.out = c.Stderr
	file, ok := c.Stderr.(*os.File)
	p.live = ok && term.IsTerminal(int(file.Fd()))
	return p
}

// steps shows what is new among the steps of a version.
func (p *progress) steps(all []step) {
	for _, s := range all {
		switch {
		case p.told[stepKey(s)]:
			continue
		case s.GetTook() == "":
			p.running(s.GetName(), s.GetStarted())
			return
		}
		took, err := time.ParseDuration(s.GetTook())
		if err != nil {
			took = 0 // a platform that writes it in another way
		}
		p.step(s.GetName(), took, s.GetDetail())
		p.told[stepKey(s)] = true
	}
}

// stepKey tells a step from those of the same name at another time: a version that
// is started again has another start.
func stepKey(s step) string { return s.GetName() + " " + s.GetStarted() }

// step writes the line of a step that has ended.
func (p *progress) step(name string, took time.Duration, detail string) {
	p.clear()
	p.write(stepLine(name, shortly(took), detail) + "\n")
}

func stepLine(name, took, detail string) string {
	line := fmt.Sprintf("%-7s %8s", printable(name), took)
	if detail != "" {
		line += "  " + printable(detail)
	}
	return line
}

// running shows on a terminal that a step goes on, and for how long.
func (p *progress) running(name, started string) {
	if !p.live {
		return
	}
	since := ""
	if at, err := time.Parse(time.RFC3339Nano, started); err == nil {
		since = max(time.Since(at), 0).Round(time.Second).String()
	}
	p.clear()
	p.write(stepLine(name, since, "…"))
	p.open = true
}

// print writes other text between the steps.
func (p *progress) print(text string) {
	p.clear()
	p.write(text)
}

// clear takes away the line of the step that goes on.
func (p *progress) clear() {
	if p.open {
		p.write("\r\x1b[K")
		p.open = false
	}
}

// end leaves nothing half-written on the terminal.
func (p *progress) end() { p.clear() }

// write shows text; progress that nobody can read is no failure.
func (p *progress) write(text string) {
	if p.out != nil {
		_, _ = io.WriteString(p.out, text)
	}
}
