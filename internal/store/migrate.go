package store

import (
	"context"
	"database/sql"
	"embed"
	"errors"
	"fmt"
	"io/fs"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/stdlib"
	"github.com/pressly/goose/v3"
)

// migrations holds one numbered file for each change of the schema. A file that
// has been released is never edited.
//
//go:embed migrations/sqlite/*.sql migrations/postgres/*.sql
var migrations embed.FS

// migrate applies the migrations that are missing to the database that pool leads to,
// each in a transaction. It must be alone.
func (db *DB) migrate(ctx context.Context, pool *sql.DB) error {
	dir, err := fs.Sub(migrations, db.engine.migrations)
	if err != nil {
		return fmt.Errorf("read the embedded migrations: %w", err)
	}
	provider, err := goose.NewProvider(db.engine.dialect, pool, dir, goose.WithSlog(db.log), goose.WithVerbose(false))
	if err != nil {
		return fmt.Errorf("read the embedded migrations: %w", err)
	}
	have, newest, err := provider.GetVersions(ctx)
	if err != nil {
		return db.explainSchema("read the schema version of", err)
	}
	if have > newest {
		return fmt.Errorf("database %s was written by a newer release (schema %d, this program knows %d); run that release, or restore a backup made before the upgrade", db.name, have, newest)
	}
	if _, err := provider.Up(ctx); err != nil {
		return db.explainSchema("bring up to date the schema of", err)
	}
	return nil
}

// explainSchema says what to do where there is no place for tables, or a user may not
// make them: since PostgreSQL 15 nobody may but the database's owner.
func (db *DB) explainSchema(doing string, err error) error {
	server, ok := errors.AsType[*pgconn.PgError](err)
	switch {
	case ok && server.Code == pgNoSchema:
		return fmt.Errorf("database %s: none of the schemas in its search_path is there (%s); make one with CREATE SCHEMA, or leave search_path out of the URL", db.name, server.Message)
	case ok && server.Code == pgInsufficientPrivilege:
		return fmt.Errorf("database %s: its user may not make tables there (%s); make that user the database's owner (createdb --owner USER DATABASE, or ALTER DATABASE … OWNER TO …)", db.name, server.Message)
	}
	return fmt.Errorf("%s %s: %w", doing, db.name, classify(err))
}

// knownSchema is the number of the newest migration of the engine.
func (e engine) knownSchema() int64 {
	files, err := migrations.ReadDir(e.migrations)
	if err != nil {
		panic(err) // it is part of the program
	}
	var newest int64
	for _, file := range files {
		number, err := goose.NumericComponent(file.Name())
		if err != nil {
			panic(err)
		}
		newest = max(newest, number)
	}
	return newest
}

// schema is the number of the last migration that the database had; 0 for none.
func (db *DB) schema(ctx context.Context, q Querier) (version int64, err error) {
	var there bool
	err = q.QueryRowContext(ctx, db.engine.hasTable, "goose_db_version").Scan(&there)
	if err == nil && there {
		err = q.QueryRowContext(ctx, "SELECT COALESCE(MAX(version_id), 0) FROM goose_db_version WHERE is_applied").Scan(&version)
	}
	if server, ok := errors.AsType[*pgconn.PgError](err); ok && server.Code == pgInsufficientPrivilege {
		return 0, fmt.Errorf("database %s: its user may not read it (%s); give the user that the ingresses use", db.name, server.Message)
	}
	if err != nil {
		return 0, fmt.Errorf("read the schema version of %s: %w", db.name, err)
	}
	return version, nil
}

// lockMigrations is the advisory lock of whoever changes the schema: "ingress" as a
// number.
const lockMigrations = 0x696e6772657373

const (
	// schemaWait bounds the wait for another node that changes the schema, and
	// schemaPoll is how often it is looked whether that is done.
	schemaWait = 10 * time.Minute
	schemaPoll = 100 * time.Millisecond
	// schemaPatience is how many of these pass before the wait is said.
	schemaPatience = 10
)

// migrateServer migrates while no other node does. A large table takes as long as it
// takes, so that the limits of sessions do not hold for this.
func (db *DB) migrateServer(ctx context.Context, config *pgx.ConnConfig) (err error) {
	ctx, cancel := context.WithTimeout(ctx, schemaWait)
	defer cancel()
	patient := config.Copy()
	setPatience(patient)
	pool := stdlib.OpenDB(*patient)
	defer func() { err = errors.Join(err, pool.Close()) }() // which gives the lock up
	conn, err := pool.Conn(ctx)
	if err != nil {
		return fmt.Errorf("database %s: %w", db.name, explainConnect(err, config))
	}
	defer conn.Close()
	if err := db.lockSchema(ctx, conn); err != nil {
		return err
	}
	return db.migrate(ctx, pool)
}

// lockSchema waits for the lock, which lasts as long as the connection.
func (db *DB) lockSchema(ctx context.Context, conn *sql.Conn) error {
	tick := time.NewTicker(schemaPoll)
	defer tick.Stop()
	for tries := 0; ; tries++ {
		var got bool
		if err := conn.QueryRowContext(ctx, "SELECT pg_try_advisory_lock($1)", int64(lockMigrations)).Scan(&got); err != nil {
			return fmt.Errorf("database %s: lock its schema: %w", db.name, classify(err))
		}
		if got {
			return nil
		}
		if tries == schemaPatience { // those that start at once only look
			db.log.Info("another node brings the schema up to date; waiting for it", "database", db.name)
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return fmt.Errorf("database %s: another node has been changing its schema for %v; look at pg_stat_activity", db.name, schemaWait)
		}
	}
}
