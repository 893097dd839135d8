package main

import (
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"strings"

	"github.com/alecthomas/kong"

	"github.com/m3o/ingress/internal/store"
)

type dbImportCmd struct {
	dbTarget `embed:""`
	File     string `arg:"" optional:"" help:"A file of ingress db export; - for standard input."`
	From     string `env:"INGRESS_IMPORT_FROM" placeholder:"DIR|URL" help:"The data directory, or the PostgreSQL database, to copy from, instead of a file (INGRESS_IMPORT_FROM)."`
}

// Help implements kong.HelpProvider.
func (dbImportCmd) Help() string {
	return `Everything is copied, in one transaction: links, keys, tenants, users, apps,
functions, domains, certificates, settings. The database copied to (--database, or
else the file in --data-dir) must have nothing in it; it is made, but for PostgreSQL's
own "createdb". What arrived is read back and compared before it counts.

The secret key is not part of it. Give the new ingresses the INGRESS_SECRET_KEY, or
DATA/secret.key, of the one that is copied from.

` + examples(
		"ingress db import --from /var/lib/ingress --database postgres://ingress@db.example.com/ingress",
		"ingress db import --from postgres://ingress@db.example.com/ingress --data-dir /var/lib/ingress",
		"ingress db import backup.gz",
	)
}

// importSource is what is copied from: a file, a directory, or a server.
type importSource struct {
	store.Source
	name string // for people
	dir  string // of SQLite, or empty
	live bool   // others may write to it meanwhile
	// close gives up what was opened.
	close func() error
}

// Run copies.
func (c *dbImportCmd) Run(p *program) error {
	if err := c.check(p); err != nil {
		return err
	}
	from, err := c.openSource(p)
	if err != nil {
		return err
	}
	done, err := c.copy(p, from)
	if err := joinErrors(err, from.close()); err != nil {
		return err
	}
	return p.sayCopied(done, "imported %d records in %d tables from %s into %s, and found them there as they were\n")
}

// check refuses what cannot be, before anything is opened.
func (c *dbImportCmd) check(p *program) error {
	if (c.File == "") == (c.From == "") {
		return usagef("give either a file or --from")
	}
	if err := c.find(p); err != nil {
		return err
	}
	if err := c.validateDatabase(p.env); err != nil {
		return err
	}
	if !c.fromServer() {
		if c.From != "" {
			c.From = kong.ExpandPath(c.From)
		}
		return nil
	}
	if err := store.ParsePostgres(c.From); err != nil {
		return fmt.Errorf("--from: %w", err)
	}
	if store.RedactDatabase(c.From) != c.From && p.env("INGRESS_IMPORT_FROM") != c.From {
		return errors.New("--from: there is a password in it, which process lists show; give the URL in INGRESS_IMPORT_FROM, or the password in PGPASSWORD or libpq's password file")
	}
	if c.From == string(c.Database) {
		return usagef("--from and the database copied to are the same; to copy into the file in --data-dir give --database ''")
	}
	return nil
}

func (c *dbImportCmd) fromServer() bool { return strings.Contains(c.From, "://") }

func (c *dbImportCmd) openSource(p *program) (*importSource, error) {
	switch {
	case c.fromServer():
		return c.openServer(p)
	case c.From != "":
		return c.openDir(p)
	}
	return c.openFile(p)
}

func (c *dbImportCmd) openServer(p *program) (*importSource, error) {
	o := store.PostgresOptions{URL: c.From, Log: slog.New(slog.DiscardHandler), Patient: true}
	if !c.shared() {
		o.Password = c.given.database
	}
	db, err := store.OpenPostgresToRead(p.ctx, o)
	if err != nil {
		return nil, fmt.Errorf("--from: %w", err)
	}
	return &importSource{Source: db, name: db.String(), live: true, close: db.Close}, nil
}

// openDir opens the database in a data directory on which no ingress may run, and
// checks that its secret key is known.
func (c *dbImportCmd) openDir(p *program) (*importSource, error) {
	path := filepath.Join(c.From, databaseFile)
	if !isThere(path) {
		return nil, &problem{"--from: there is no database at " + path, "Give the data directory of an ingress, or the URL of a PostgreSQL database.", fs.ErrNotExist}
	}
	if !c.shared() && sameDir(c.From, c.DataDir) {
		return nil, usagef("--from and the database copied to are the same; give another --data-dir, or --database")
	}
	if err := c.checkSecretOf(c.From); err != nil {
		return nil, err
	}
	lock, err := lockUnused(c.From)
	if err != nil {
		return nil, err
	}
	db, err := store.OpenToLook(p.ctx, path, slog.New(slog.DiscardHandler))
	if err != nil {
		return nil, joinErrors(err, lock.Close())
	}
	return &importSource{Source: db, name: path, dir: c.From, close: func() error { return joinErrors(db.Close(), lock.Close()) }}, nil
}

func sameDir(a, b string) bool {
	one, errOne := os.Stat(a)
	other, errOther := os.Stat(b)
	return errOne == nil && errOther == nil && os.SameFile(one, other)
}

// checkSecretOf refuses to copy from a directory into a shared database with another
// secret key than the directory's: what is sealed would never be read again.
func (c *dbImportCmd) checkSecretOf(dir string) error {
	path := filepath.Join(dir, secretKeyFile)
	if !c.shared() || !isThere(path) {
		return nil
	}
	theirs, err := store.OpenSealer(path, "")
	if err != nil {
		return err
	}
	ours, err := store.OpenSealer("", c.given.secretKey)
	if err != nil {
		return err
	}
	if !ours.KnowsAllOf(theirs) {
		return &problem{"INGRESS_SECRET_KEY is not the secret key in " + path + ", without which what is sealed cannot be read; nothing was copied",
			"Set it to what is in that file. Keys are separated by commas, the newest first.", nil}
	}
	return nil
}

func (c *dbImportCmd) openFile(p *program) (*importSource, error) {
	in, name, closeFile := p.stdin, "standard input", func() error { return nil }
	if c.File != "-" {
		file, err := os.Open(c.File)
		if err != nil {
			return nil, err
		}
		in, name, closeFile = file, c.File, file.Close
	}
	dump, err := store.OpenDump(in)
	if err != nil {
		return nil, joinErrors(fmt.Errorf("%s: %w", name, err), closeFile())
	}
	return &importSource{Source: dump, name: name, close: closeFile}, nil
}

// copy copies into the database and says what is to be known of it.
func (c *dbImportCmd) copy(p *program, from *importSource) (copied, error) {
	if from.live {
		p.remark("what ingresses write to %s from now on is not included", from.name)
	}
	db, closeDB, err := c.openToWrite(p)
	if err != nil {
		return copied{}, err
	}
	done := copied{From: from.name, To: db.String()}
	shown := newCopyProgress(p)
	done.Copied, err = db.Import(p.ctx, from, shown.tell)
	shown.end()
	if err != nil {
		err = c.explain(p, err, from)
	} else if err = c.settleSecret(p, db, done.SecretKeys, from); err != nil {
		err = fmt.Errorf("everything was copied, but: %w", err)
	}
	if err := joinErrors(err, closeDB()); err != nil {
		return copied{}, err
	}
	c.noteBootstrap(p, from)
	c.noteManaged(p, done.Managed)
	if done.Mended > 0 {
		p.remark("in %d reasons and descriptions bytes that PostgreSQL cannot keep were replaced by \uFFFD", done.Mended)
	}
	return done, nil
}

// explain says what to do about a copy that failed.
func (c *dbImportCmd) explain(p *program, err error, from *importSource) error {
	var used *store.NotEmptyError
	if errors.As(err, &used) {
		hint := "Give an empty database, such as one that createdb has just made."
		if !c.shared() {
			hint = "Give another --data-dir, or move " + c.file() + " away."
		}
		return &problem{err.Error(), hint, err}
	}
	return p.interrupted(fmt.Errorf("copy from %s: %w", from.name, err), "nothing was changed")
}

// settleSecret says which secret key is needed, and has the ingresses of a shared
// database agree on the one that was given.
func (c *dbImportCmd) settleSecret(p *program, db *store.DB, ids []string, from *importSource) error {
	whose := "the ingress that " + from.name + " is of"
	if from.dir != "" {
		whose = filepath.Join(from.dir, secretKeyFile)
	}
	file := filepath.Join(c.DataDir, secretKeyFile)
	if !c.shared() && c.given.secretKey == "" && !isThere(file) {
		p.remark("the secret key is not copied; before the first start put that of %s into %s, or set INGRESS_SECRET_KEY to it", whose, file)
		return nil
	}
	sealer, err := store.OpenSealer(file, c.given.secretKey)
	if err != nil {
		return err
	}
	var unknown []string
	for _, id := range ids {
		if !sealer.Knows(id) {
			unknown = append(unknown, id)
		}
	}
	if len(unknown) > 0 {
		p.remark("some values are sealed with secret keys that are not among those given (%s); before the first start add the key of %s", strings.Join(unknown, ", "), whose)
		return nil
	}
	return db.AgreeOnSecret(p.ctx, sealer)
}

// noteBootstrap says where the key is that may do everything.
func (c *dbImportCmd) noteBootstrap(p *program, from *importSource) {
	theirs := "the file bootstrap.key of the ingress it comes from"
	if from.dir != "" {
		theirs = filepath.Join(from.dir, bootstrapKeyFile)
	}
	switch ours := filepath.Join(c.DataDir, bootstrapKeyFile); {
	case c.shared():
		p.remark("all keys keep working; the bootstrap key is in %s, unless INGRESS_BOOTSTRAP_KEY was set", theirs)
	case c.given.bootstrapKey == "" && !isThere(ours):
		p.remark("all keys keep working; copy %s to %s before the first start, which otherwise makes another bootstrap key in its place", theirs, ours)
	}
}

// shownNames is how many apps and functions are named.
const shownNames = 10

// noteManaged says what becomes of apps and functions that run from source.
func (c *dbImportCmd) noteManaged(p *program, managed []string) {
	if len(managed) == 0 {
		return
	}
	list := strings.Join(managed[:min(len(managed), shownNames)], ", ")
	if more := len(managed) - shownNames; more > 0 {
		list += fmt.Sprintf(", and %d more", more)
	}
	if c.shared() {
		p.remark("ingresses on a shared database run nothing from source, as these apps and functions (%d) do: %s; register where they run instead (with --backend)", len(managed), list)
		return
	}
	p.remark("the files of apps and functions that run from source (%d) are not copied: %s; copy the folders apps and functions into %s, or deploy them again", len(managed), list, c.DataDir)
}
