package main

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"

	"golang.org/x/term"

	"github.com/m3o/ingress/internal/store"
)

type dbExportCmd struct {
	dbTarget `embed:""`
	File     string `arg:"" help:"The file to make, which must not be there; - for standard output."`
}

// Help implements kong.HelpProvider.
func (dbExportCmd) Help() string {
	return `An ingress may run meanwhile: what it writes after the beginning is not included.
The file is for ingress db import, into SQLite or PostgreSQL. It has no secret key:
what is sealed in it opens with the INGRESS_SECRET_KEY or DATA/secret.key of now.
Keep both, apart from each other. It has digests of keys and of passwords.

` + examples("ingress db export backup.gz", "ingress db export - --database postgres://ingress@db.example.com/ingress")
}

// copied is what db export and db import did.
type copied struct {
	From string `json:"from"`
	To   string `json:"to"`
	*store.Copied
}

// Run writes the file.
func (c *dbExportCmd) Run(p *program) error {
	if c.File == "" {
		return usagef("name the file to make, or - for standard output")
	}
	if err := c.find(p); err != nil {
		return err
	}
	file, isFile := p.stdout.(*os.File)
	if c.File == "-" && isFile && term.IsTerminal(int(file.Fd())) {
		return usagef("an export is not for a terminal; redirect it, or name a file")
	}
	db, err := c.openToRead(p, store.OpenToRead)
	if err != nil {
		return err
	}
	done := copied{From: c.String(), To: c.File}
	shown := newCopyProgress(p)
	write := func(to io.Writer) (err error) {
		done.Copied, err = db.Export(p.ctx, to, shown.tell)
		return err
	}
	if c.File == "-" {
		err = write(p.stdout)
	} else if err = store.CreateFile(c.File, write); errors.Is(err, fs.ErrNotExist) {
		err = &problem{"there is no folder " + filepath.Dir(c.File), "Make it, or name another.", err}
	}
	shown.end()
	if err := joinErrors(p.interrupted(err, "no file was made"), db.Close()); err != nil {
		return err
	}
	p.remark("what is sealed in it opens with the secret key of %s alone, which is not in it: INGRESS_SECRET_KEY, or secret.key in the data directory", done.From)
	if c.File == "-" {
		return nil
	}
	return p.sayCopied(done, "exported %d records in %d tables from %s to %s\n")
}

// sayCopied writes what was done to standard output.
func (p *program) sayCopied(done copied, format string) error {
	if p.cli.JSON {
		return printJSON(p.stdout, done)
	}
	_, err := fmt.Fprintf(p.stdout, format, done.Records(), len(done.Tables), done.From, done.To)
	return err
}

// interrupted says of an end that the operator asked for what became of it.
func (p *program) interrupted(err error, became string) error {
	switch {
	case err != nil && p.ctx.Err() != nil:
		return &problem{"interrupted; " + became, "", err}
	case errors.Is(err, fs.ErrExist):
		return &problem{"the file is there already; nothing was overwritten", "Give another name, or move it away.", err}
	}
	return err
}

// remark tells the operator something that is no failure.
func (p *program) remark(format string, args ...any) {
	// The result counts; a remark nobody can read is no failure.
	_, _ = fmt.Fprintln(p.stderr, printable("ingress: "+fmt.Sprintf(format, args...)))
}

// copyProgress shows how far a copy is, on stderr: a line for each table that is
// done. On a terminal the one at hand has a line as well, which is written over.
type copyProgress struct {
	out  io.Writer
	live bool
	open bool // there is a line to write over
}

func newCopyProgress(p *program) *copyProgress {
	file, ok := p.stderr.(*os.File)
	return &copyProgress{out: p.stderr, live: ok && term.IsTerminal(int(file.Fd()))}
}

// tell is a store.Progress.
func (c *copyProgress) tell(table string, records int64, done bool) {
	line := fmt.Sprintf("%-24s %d", table, records)
	switch {
	case done:
		c.end()
		c.write(line + "\n")
	case c.live:
		c.end()
		c.write(line + " …")
		c.open = true
	}
}

// end leaves nothing half-written.
func (c *copyProgress) end() {
	if c.open {
		c.write("\r\x1b[K")
		c.open = false
	}
}

// write shows text; progress that nobody can read is no failure.
func (c *copyProgress) write(text string) { _, _ = io.WriteString(c.out, text) }
