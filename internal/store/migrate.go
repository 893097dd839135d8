package store

import (
	"context"
	"embed"
	"fmt"
	"io/fs"

	"github.com/pressly/goose/v3"
	"github.com/pressly/goose/v3/database"
)

// migrations holds one numbered file for each change of the schema. A file that
// has been released is never edited.
//
//go:embed migrations/sqlite/*.sql
var migrations embed.FS

// migrate applies the migrations that are missing, each in a transaction.
func (db *DB) migrate(ctx context.Context) error {
	dir, err := fs.Sub(migrations, "migrations/sqlite")
	if err != nil {
		return fmt.Errorf("read the embedded migrations: %w", err)
	}
	provider, err := goose.NewProvider(database.DialectSQLite3, db.write, dir, goose.WithSlog(db.log), goose.WithVerbose(false))
	if err != nil {
		return fmt.Errorf("read the embedded migrations: %w", err)
	}
	have, newest, err := provider.GetVersions(ctx)
	if err != nil {
		return fmt.Errorf("read the schema version of %s: %w", db.path, classify(err))
	}
	if have > newest {
		return fmt.Errorf("database %s was written by a newer release (schema %d, this program knows %d); run that release, or restore a backup made before the upgrade", db.path, have, newest)
	}
	if _, err := provider.Up(ctx); err != nil {
		return fmt.Errorf("bring the schema of %s up to date: %w", db.path, classify(err))
	}
	return nil
}
