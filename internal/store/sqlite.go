package store

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net/url"
	"os"

	"github.com/pressly/goose/v3/database"
	// The engine registers itself with database/sql under the name "sqlite".
	_ "modernc.org/sqlite"
)

// sqliteEngine is SQLite: one writer, for which others wait in Go rather than fail
// with SQLITE_BUSY, and readers that see the last commit.
var sqliteEngine = engine{
	dialect: database.DialectSQLite3, migrations: "migrations/sqlite", attempts: 1,
	hasTable: "SELECT EXISTS (SELECT 1 FROM sqlite_master WHERE type = 'table' AND name = $1)",
	about:    "SELECT sqlite_version(), page_count * page_size FROM pragma_page_count(), pragma_page_size()",
	mark:     "?",
	now:      "CAST(unixepoch('now', 'subsec') * 1000000000 AS INTEGER)",
}

// readers is how many connections read at once. SQLite readers block nobody;
// beyond a few per core more of them only cost memory.
const readers = 8

// pragmas are set on every connection. FULL makes a commit durable before it is
// acknowledged (DESIGN 5); the busy timeout is a net for checkpoints only.
var pragmas = []string{
	"journal_mode(WAL)",
	"synchronous(FULL)",
	"foreign_keys(ON)",
	"busy_timeout(5000)",
}

// Open opens the database file at path, making it when it is not there, checks
// that it is sound, and brings its schema up to date. It fails, changing
// nothing, when the file is damaged, is no database, or was written by a newer
// release. The caller must hold the data directory's lock (LockDir).
func Open(ctx context.Context, path string, log *slog.Logger) (*DB, error) {
	if err := createPrivate(path); err != nil {
		return nil, err
	}
	write, err := sql.Open("sqlite", dsn(path, "immediate"))
	if err != nil {
		return nil, fmt.Errorf("open database %s: %w", path, err)
	}
	write.SetMaxOpenConns(1)
	read, err := sql.Open("sqlite", dsn(path, "deferred"))
	if err != nil {
		write.Close()
		return nil, fmt.Errorf("open database %s: %w", path, err)
	}
	read.SetMaxOpenConns(readers)
	read.SetMaxIdleConns(readers)
	db := newDB(read, write, sqliteEngine, path, log)
	if err := db.prepareFile(ctx); err != nil {
		return nil, errors.Join(err, db.Close())
	}
	return db, nil
}

// OpenToRead opens the database file at path, which must be there, for copying from it.
// A process may work on it, or begin to, meanwhile. Nothing in it is changed, and its
// schema must not be taken for that of this release.
func OpenToRead(ctx context.Context, path string, log *slog.Logger) (*DB, error) {
	return openReader(ctx, path, url.Values{"mode": {"rw"}}, log)
}

// OpenToLook is OpenToRead without as much as a file made or changed beside it. A
// process that begins to work on it meanwhile can have wrong things be seen; hold the
// data directory's lock where that matters.
func OpenToLook(ctx context.Context, path string, log *slog.Logger) (*DB, error) {
	query := url.Values{"mode": {"ro"}}
	// Whoever works on a database has a write-ahead log beside it, and removes it at the
	// end. Without one SQLite need not make the files by which processes share one.
	if _, err := os.Stat(path + "-wal"); errors.Is(err, fs.ErrNotExist) {
		query.Set("immutable", "1")
	}
	return openReader(ctx, path, query, log)
}

func openReader(ctx context.Context, path string, query url.Values, log *slog.Logger) (*DB, error) {
	if _, err := os.Stat(path); err != nil {
		return nil, fmt.Errorf("open database: %w", err)
	}
	query["_pragma"], query["_txlock"] = []string{"busy_timeout(5000)", "query_only(1)"}, []string{"deferred"}
	pool, err := sql.Open("sqlite", fileURL(path, query))
	if err != nil {
		return nil, fmt.Errorf("open database %s: %w", path, err)
	}
	db := newDB(pool, pool, sqliteEngine, path, log)
	if err := db.checkFile(ctx); err != nil {
		return nil, errors.Join(err, db.Close())
	}
	return db, nil
}

// createPrivate makes the file readable by its owner alone before SQLite makes
// it with the process's umask.
func createPrivate(path string) error {
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return fmt.Errorf("open database: %w", err)
	}
	return f.Close()
}

func dsn(path, lock string) string {
	return fileURL(path, url.Values{"_pragma": pragmas, "_txlock": {lock}})
}

func fileURL(path string, query url.Values) string {
	return (&url.URL{Scheme: "file", Opaque: (&url.URL{Path: path}).EscapedPath(), RawQuery: query.Encode()}).String()
}

// prepareFile checks the file and migrates it.
func (db *DB) prepareFile(ctx context.Context) error {
	if err := db.checkFile(ctx); err != nil {
		return err
	}
	return db.migrate(ctx, db.write)
}

// checkFile refuses a file that is damaged.
func (db *DB) checkFile(ctx context.Context) error {
	var verdict string
	if err := db.write.QueryRowContext(ctx, "PRAGMA quick_check(1)").Scan(&verdict); err != nil {
		return fmt.Errorf("database %s cannot be read: %w; restore it from a backup, or move it away to start empty", db.name, err)
	}
	if verdict != "ok" {
		return fmt.Errorf("database %s is damaged: %s; restore it from a backup, or move it away to start empty", db.name, verdict)
	}
	return nil
}

// Checkpoint folds SQLite's write-ahead log into the database file and truncates
// it, as far as readers allow. SQLite does the first by itself, but never makes the
// log smaller, and under constant reading it grows. PostgreSQL needs none of it.
func (db *DB) Checkpoint(ctx context.Context) error {
	if db.Shared() {
		return nil
	}
	if _, err := db.write.ExecContext(ctx, "PRAGMA wal_checkpoint(TRUNCATE)"); err != nil {
		return fmt.Errorf("checkpoint: %w", classify(err))
	}
	return nil
}
