package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"

	"github.com/m3o/ingress/internal/store"
)

// dbCmd is ingress db: the database that ingress serve is given, without serving.
type dbCmd struct {
	Status  dbStatusCmd  `cmd:"" help:"Show which database it is, its schema and what is in it, and change nothing."`
	Migrate dbMigrateCmd `cmd:"" help:"Bring the schema up to date, as the next start would."`
	Export  dbExportCmd  `cmd:"" help:"Write all of it to a file."`
	Import  dbImportCmd  `cmd:"" help:"Copy all of another database, or of a file, into an empty one."`
}

// dbTarget is the database of the settings.
type dbTarget struct {
	config `embed:""`
	given  secrets
}

// find takes from the settings which database it is.
func (d *dbTarget) find(p *program) (err error) {
	d.DataDir = p.cli.DataDir
	if d.remote() {
		return errors.New("with --api-address nothing is stored here")
	}
	if err := d.fillPaths(p.env); err != nil {
		return err
	}
	if d.shared() {
		if err := store.ParsePostgres(string(d.Database)); err != nil {
			return fmt.Errorf("--database: %w", err)
		}
	}
	if d.given, err = d.readSecrets(p.env); err != nil {
		return err
	}
	return d.checkShown(listSettings(p, d.given))
}

// file is the path of the database on this machine.
func (d *dbTarget) file() string { return filepath.Join(d.DataDir, databaseFile) }

// String names the database, without secrets.
func (d *dbTarget) String() string {
	if d.shared() {
		return d.Database.String()
	}
	return d.file()
}

// engine names what the database is kept in.
func (d *dbTarget) engine() string {
	if d.shared() {
		return "PostgreSQL"
	}
	return "SQLite"
}

// options are those for work that takes long.
func (d *dbTarget) options() store.PostgresOptions {
	o := d.postgres(d.given, slog.New(slog.DiscardHandler))
	o.Patient = true
	return o
}

// openToRead opens the database as it is, a file with the function given. The error is
// fs.ErrNotExist for a file that is not there.
func (d *dbTarget) openToRead(p *program, openFile func(context.Context, string, *slog.Logger) (*store.DB, error)) (*store.DB, error) {
	if d.shared() {
		db, err := store.OpenPostgresToRead(p.ctx, d.options())
		if err != nil {
			return nil, fmt.Errorf("--database: %w", err)
		}
		return db, nil
	}
	db, err := openFile(p.ctx, d.file(), slog.New(slog.DiscardHandler))
	if errors.Is(err, fs.ErrNotExist) {
		err = &problem{"there is no database at " + d.file(), "Give the directory it is in with --data-dir, or a PostgreSQL database with --database.", err}
	}
	return db, err
}

// openToWrite opens the database, brings its schema up to date, and keeps ingresses
// from a file until done is called.
func (d *dbTarget) openToWrite(p *program) (db *store.DB, done func() error, err error) {
	if d.shared() {
		if db, err = store.OpenPostgres(p.ctx, d.options()); err != nil {
			return nil, nil, fmt.Errorf("--database: %w", err)
		}
		return db, db.Close, nil
	}
	lock, err := lockUnused(d.DataDir)
	if err != nil {
		return nil, nil, err
	}
	if db, err = store.Open(p.ctx, d.file(), slog.New(slog.DiscardHandler)); err != nil {
		return nil, nil, joinErrors(err, lock.Close())
	}
	return db, func() error { return joinErrors(db.Close(), lock.Close()) }, nil
}

// lockUnused takes the lock of a data directory, unless an ingress runs on it.
func lockUnused(dir string) (*store.DirLock, error) {
	lock, err := store.LockDir(dir)
	if errors.Is(err, store.ErrDirInUse) {
		err = &problem{"an ingress is running on " + dir, "Stop it first, so that it writes nothing meanwhile.", err}
	}
	return lock, err
}

type dbStatusCmd struct {
	dbTarget `embed:""`
}

// Help implements kong.HelpProvider.
func (dbStatusCmd) Help() string {
	return examples("ingress db status", "ingress db status --json", "ingress db status --database postgres://ingress@db.example.com/ingress")
}

// databaseStatus is what db status shows.
type databaseStatus struct {
	Engine   string `json:"engine"`
	Database string `json:"database"`
	Shared   bool   `json:"shared"`
	Exists   bool   `json:"exists"`
	*store.Status
}

// Run shows the database. Looking makes none where there is none yet.
func (c *dbStatusCmd) Run(p *program) error {
	if err := c.find(p); err != nil {
		return err
	}
	found := databaseStatus{Engine: c.engine(), Database: c.String(), Shared: c.shared(), Exists: true}
	db, err := c.openToRead(p, store.OpenToLook)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		found.Exists = false
	case err != nil:
		return err
	default:
		found.Status, err = db.Status(p.ctx)
		if err := joinErrors(err, db.Close()); err != nil {
			return err
		}
	}
	if p.cli.JSON {
		return printJSON(p.stdout, found)
	}
	_, err = fmt.Fprint(p.stdout, found)
	return err
}

// String shows the status to people.
func (s databaseStatus) String() string {
	lines := []property{{"engine", s.Engine}, {"database", s.Database}, {"shared", yesNo(s.Shared)}}
	if !s.Exists {
		return propertyLines(append(lines, property{"schema", "none: it is made at the first start, or by ingress db migrate"}))
	}
	lines[0].value += " " + s.Server
	schema := fmt.Sprintf("%d, up to date", s.Schema)
	switch {
	case s.Schema < s.Known:
		schema = fmt.Sprintf("%d of %d; the next start brings it up to date, or: ingress db migrate", s.Schema, s.Known)
	case s.Schema > s.Known:
		schema = fmt.Sprintf("%d, and this program knows %d: a newer release wrote it", s.Schema, s.Known)
	}
	lines = append(lines, property{"schema", schema}, property{"bytes", count(s.Bytes)})
	for _, c := range s.Connections {
		lines = append(lines, property{"connections", fmt.Sprintf("%d from %s (%s)", c.Count, c.From, c.Name)})
	}
	if len(s.Tables) == 0 {
		return propertyLines(lines)
	}
	rows := &table{header: []string{"TABLE", "RECORDS"}}
	for _, t := range s.Tables {
		rows.add(t.Table, count(t.Records))
	}
	return propertyLines(lines) + "\n" + rows.String()
}

type dbMigrateCmd struct {
	dbTarget `embed:""`
}

// Help implements kong.HelpProvider.
func (dbMigrateCmd) Help() string {
	return `An older release cannot use the database afterwards: make a backup first.

` + examples("ingress db migrate", "ingress db migrate --database postgres://ingress@db.example.com/ingress")
}

// migration is what db migrate did.
type migration struct {
	Database string `json:"database"`
	From     int64  `json:"from"`
	To       int64  `json:"to"`
}

// Run brings the schema up to date.
func (c *dbMigrateCmd) Run(p *program) error {
	if err := c.find(p); err != nil {
		return err
	}
	done := migration{Database: c.String()}
	before, err := c.openToRead(p, store.OpenToLook)
	if err == nil {
		done.From, _, err = before.Schema(p.ctx)
		err = joinErrors(err, before.Close())
	}
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	db, closeDB, err := c.openToWrite(p)
	if err != nil {
		return err
	}
	done.To, _, err = db.Schema(p.ctx)
	if err := joinErrors(err, closeDB()); err != nil {
		return err
	}
	if p.cli.JSON {
		return printJSON(p.stdout, done)
	}
	text := fmt.Sprintf("the schema of %s went from %d to %d", done.Database, done.From, done.To)
	if done.From == done.To {
		text = fmt.Sprintf("the schema of %s was up to date already (%d)", done.Database, done.To)
	}
	_, err = fmt.Fprintln(p.stdout, text)
	return err
}

// isThere reports whether there is a file.
func isThere(path string) bool {
	_, err := os.Stat(path)
	return err == nil
}
