// Package store keeps the platform's state in SQL: SQLite here, with
// transactions, migrations, a change feed, settings, and the encryption of
// secrets that must be read back. Each service writes its own queries; this
// package gives them a database to run on.
package store

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"log/slog"
	"net/url"
	"os"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	// The engine registers itself with database/sql under the name "sqlite".
	_ "modernc.org/sqlite"
)

// DB is an open database. Its methods are safe for concurrent use.
//
// Reads run on a pool of connections and see the last commit; writes run one
// after another on a connection of their own, because SQLite has one writer
// and waiting in Go beats failing with SQLITE_BUSY.
type DB struct {
	read, write *sql.DB
	path        string
	log         *slog.Logger
	metrics     metrics
	durations   *prometheus.HistogramVec // of metrics

	mu          sync.Mutex
	subscribers []func(Change)
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
	db := &DB{read: read, write: write, path: path, log: log}
	db.metrics, db.durations = newMetrics()
	if err := db.prepare(ctx); err != nil {
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
	query := url.Values{"_pragma": pragmas, "_txlock": {lock}}
	return (&url.URL{Scheme: "file", Opaque: (&url.URL{Path: path}).EscapedPath(), RawQuery: query.Encode()}).String()
}

// prepare checks the file and migrates it.
func (db *DB) prepare(ctx context.Context) error {
	var verdict string
	if err := db.write.QueryRowContext(ctx, "PRAGMA quick_check(1)").Scan(&verdict); err != nil {
		return fmt.Errorf("database %s cannot be read: %w; restore it from a backup, or move it away to start empty", db.path, err)
	}
	if verdict != "ok" {
		return fmt.Errorf("database %s is damaged: %s; restore it from a backup, or move it away to start empty", db.path, verdict)
	}
	return db.migrate(ctx)
}

// Close waits for running queries and closes the database. The write-ahead log
// is folded into the file, which is then whole by itself.
func (db *DB) Close() error {
	return errors.Join(db.read.Close(), db.write.Close())
}

// Checkpoint folds the write-ahead log into the database file and truncates it,
// as far as readers allow. SQLite does the first by itself, but never makes the
// log smaller, and under constant reading it grows.
func (db *DB) Checkpoint(ctx context.Context) error {
	if _, err := db.write.ExecContext(ctx, "PRAGMA wal_checkpoint(TRUNCATE)"); err != nil {
		return fmt.Errorf("checkpoint: %w", classify(err))
	}
	return nil
}

// Ping reports whether the database answers.
func (db *DB) Ping(ctx context.Context) error {
	var one int
	return db.QueryRowContext(ctx, "SELECT 1").Scan(&one)
}

// QueryContext runs a query that returns rows, outside a transaction.
func (db *DB) QueryContext(ctx context.Context, query string, args ...any) (*sql.Rows, error) {
	defer since(db.metrics.reads, time.Now())
	rows, err := db.read.QueryContext(ctx, query, args...)
	return rows, classify(err)
}

// QueryRowContext runs a query that returns at most one row, outside a
// transaction.
func (db *DB) QueryRowContext(ctx context.Context, query string, args ...any) Row {
	defer since(db.metrics.reads, time.Now())
	return Row{db.read.QueryRowContext(ctx, query, args...)}
}

// Row is the answer of a query that returns at most one row.
type Row struct{ row *sql.Row }

// Scan copies the row's columns, and answers sql.ErrNoRows when there is no row.
func (r Row) Scan(dest ...any) error { return classify(r.row.Scan(dest...)) }

// Querier is what both a DB and a Tx can do: read.
type Querier interface {
	QueryContext(ctx context.Context, query string, args ...any) (*sql.Rows, error)
	QueryRowContext(ctx context.Context, query string, args ...any) Row
}

// Read runs f on one state of the database: what is committed while f runs is not
// seen by its later queries. It returns f's error. The Querier must not be used
// after f has returned; f must be quick, because the write-ahead log is not made
// smaller meanwhile.
func (db *DB) Read(ctx context.Context, f func(q Querier) error) error {
	defer since(db.metrics.reads, time.Now())
	sqlTx, err := db.read.BeginTx(ctx, &sql.TxOptions{ReadOnly: true})
	if err != nil {
		return fmt.Errorf("begin: %w", classify(err))
	}
	tx := &Tx{Tx: sqlTx}
	err = tx.run(func(tx *Tx) error { return f(tx) })
	if err == nil {
		err = sqlTx.Rollback() // there is nothing to commit
	}
	return classify(ended(ctx, err))
}

// Tx is a transaction that may write. It must not be used after the function it
// was given to has returned.
type Tx struct {
	*sql.Tx
	changes []Change
}

// QueryRowContext runs a query that returns at most one row.
func (tx *Tx) QueryRowContext(ctx context.Context, query string, args ...any) Row {
	return Row{tx.Tx.QueryRowContext(ctx, query, args...)}
}

// Write runs f in a transaction and commits it; when f returns an error nothing
// is written and Write returns that error. When Write returns nil, what f wrote
// is on disk, and every cache has heard of the changes f announced.
//
// Writers wait for each other, so f must be quick and call nothing that waits.
// A ctx that ends while waiting or running rolls back.
func (db *DB) Write(ctx context.Context, f func(tx *Tx) error) error {
	defer since(db.metrics.writes, time.Now())
	sqlTx, err := db.write.BeginTx(ctx, nil)
	if err != nil {
		return fmt.Errorf("begin: %w", classify(err))
	}
	tx := &Tx{Tx: sqlTx}
	if err := tx.run(f); err != nil {
		return classify(ended(ctx, err))
	}
	if err := sqlTx.Commit(); err != nil {
		return fmt.Errorf("commit: %w", classify(ended(ctx, err)))
	}
	db.publish(tx.changes)
	return nil
}

// run runs f and rolls back unless it succeeds, also when it panics: whoever
// recovers must find the one connection that writes free.
func (tx *Tx) run(f func(tx *Tx) error) (err error) {
	succeeded := false
	defer func() {
		if succeeded {
			return
		}
		if rollback := tx.Rollback(); rollback != nil && !errors.Is(rollback, sql.ErrTxDone) {
			err = errors.Join(err, fmt.Errorf("roll back: %w", rollback))
		}
	}()
	err = f(tx)
	succeeded = err == nil
	return err
}

// ended replaces the error of a transaction that database/sql has rolled back
// because ctx ended, which does not say so, by the reason.
func ended(ctx context.Context, err error) error {
	if errors.Is(err, sql.ErrTxDone) && ctx.Err() != nil {
		return fmt.Errorf("rolled back: %w", ctx.Err())
	}
	return err
}
