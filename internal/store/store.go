// Package store keeps the platform's state in SQL: in SQLite on one machine, in
// PostgreSQL behind several, with transactions, migrations, a change feed,
// settings, and the encryption of secrets that must be read back. Each service
// writes its own queries, one text for both engines; this package gives them a
// database to run on.
package store

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"time"

	"github.com/jackc/pgx/v5/pgconn"
	"github.com/pressly/goose/v3/database"
	"github.com/prometheus/client_golang/prometheus"
)

// DB is an open database. Its methods are safe for concurrent use.
type DB struct {
	read, write *sql.DB // one pool with PostgreSQL
	engine      engine
	name        string // for people: the file, or the URL without its password
	log         *slog.Logger
	metrics     metrics
	durations   *prometheus.HistogramVec // of metrics

	mu          sync.Mutex
	subscribers []func(Change)
	gaps        []func(context.Context) error
	feed        *feed // of what other nodes change; nil on one machine
	conflicts   bool  // SimulateConflicts
	// server is the one that the last look was at; nil before the first, and on one machine.
	server     atomic.Pointer[identity]
	reconnects atomic.Int64
	refused    atomic.Bool // a connection took no writes since the last look
}

// engine is what differs between the two.
type engine struct {
	dialect    database.Dialect
	migrations string // the folder of its migrations
	hasTable   string // a query: is there a table of the name?
	about      string // a query: version and size
	// mark begins a numbered parameter. Both know $, which to SQLite is a name that it
	// looks for among all before it: slow in statements with hundreds.
	mark string
	// snapshot and serial are the isolation of what reads more than once and of
	// what writes.
	snapshot, serial sql.IsolationLevel
	// attempts is how often a transaction is tried that lost against another one.
	attempts int
	// now is the time in Unix nanoseconds, in SQL: that of the server, because the clocks
	// of nodes differ.
	now string
	// readLimit and writeLimit bound the wait for a server; 0 is no limit.
	readLimit, writeLimit time.Duration
}

// Shared reports whether several processes may work on the database at once.
func (db *DB) Shared() bool { return db.engine.dialect == database.DialectPostgres }

// Now is the time in Unix nanoseconds as an expression in SQL: by the clock of the
// database, on which nodes whose own clocks differ agree.
func (db *DB) Now() string { return db.engine.now }

// String names the database, without secrets.
func (db *DB) String() string { return db.name }

// Close waits for running queries and closes the database. SQLite's write-ahead
// log is folded into the file, which is then whole by itself.
func (db *DB) Close() error {
	db.feed.close()
	err := db.write.Close()
	if db.read != db.write {
		err = errors.Join(db.read.Close(), err)
	}
	return err
}

// Ping reports whether the database answers.
func (db *DB) Ping(ctx context.Context) error {
	var one int
	return db.QueryRowContext(ctx, "SELECT 1").Scan(&one)
}

// QueryContext runs a query that returns rows, outside a transaction. The rows
// must be closed.
func (db *DB) QueryContext(ctx context.Context, query string, args ...any) (*Rows, error) {
	defer since(db.metrics.reads, time.Now())
	limited, cancel := within(ctx, db.engine.readLimit)
	rows, err := db.read.QueryContext(limited, query, args...)
	if err != nil {
		cancel()
		return nil, classify(late(ctx, err))
	}
	return &Rows{rows, ctx, cancel}, nil
}

// QueryRowContext runs a query that returns at most one row, outside a
// transaction. The row must be scanned.
func (db *DB) QueryRowContext(ctx context.Context, query string, args ...any) Row {
	defer since(db.metrics.reads, time.Now())
	limited, cancel := within(ctx, db.engine.readLimit)
	return Row{db.read.QueryRowContext(limited, query, args...), ctx, cancel}
}

// Rows is the answer of a query. It is used as sql.Rows is.
type Rows struct {
	*sql.Rows
	asked  context.Context
	cancel context.CancelFunc
}

// Err returns what ended the iteration, if anything but the last row did.
func (r *Rows) Err() error { return classify(late(r.asked, r.Rows.Err())) }

// Close ends the query.
func (r *Rows) Close() error {
	defer r.cancel()
	return r.Rows.Close()
}

// Row is the answer of a query that returns at most one row.
type Row struct {
	row    *sql.Row
	asked  context.Context
	cancel context.CancelFunc
}

// Scan copies the row's columns, and answers sql.ErrNoRows when there is no row.
func (r Row) Scan(dest ...any) error {
	defer r.cancel()
	return classify(late(r.asked, r.row.Scan(dest...)))
}

// within bounds the wait for a database server, which may hang where a file does
// not.
func within(ctx context.Context, limit time.Duration) (context.Context, context.CancelFunc) {
	if limit <= 0 {
		return ctx, func() {}
	}
	return context.WithTimeout(ctx, limit)
}

// errSilent says that within's limit is over.
var errSilent = errors.New("no answer in time")

// late tells the end of our limit from the end of the caller's context, which it must
// not be taken for.
func late(asked context.Context, err error) error {
	if !errors.Is(err, context.DeadlineExceeded) || asked.Err() != nil {
		return err
	}
	silent := fmt.Errorf("%w: %v", errSilent, err) //nolint:errorlint // see above
	var commit *commitError
	if errors.As(err, &commit) {
		return &commitError{silent}
	}
	return silent
}

// Querier is what both a DB and a Tx can do: read.
type Querier interface {
	QueryContext(ctx context.Context, query string, args ...any) (*Rows, error)
	QueryRowContext(ctx context.Context, query string, args ...any) Row
}

// Read runs f on one state of the database: what is committed while f runs is not
// seen by its later queries. It returns f's error. The Querier must not be used
// after f has returned; f must be quick, because the write-ahead log is not made
// smaller meanwhile.
func (db *DB) Read(ctx context.Context, f func(q Querier) error) error {
	defer since(db.metrics.reads, time.Now())
	limited, cancel := within(ctx, db.engine.readLimit)
	defer cancel()
	sqlTx, err := db.read.BeginTx(limited, &sql.TxOptions{ReadOnly: true, Isolation: db.engine.snapshot})
	if err != nil {
		return fmt.Errorf("begin: %w", classify(late(ctx, err)))
	}
	tx := db.newTx(limited, sqlTx)
	err = tx.run(func(tx *Tx) error { return f(tx) })
	if err == nil {
		err = sqlTx.Rollback() // there is nothing to commit
	}
	return classify(late(ctx, ended(limited, err)))
}

// Tx is a transaction that may write. It must not be used after the function it
// was given to has returned.
type Tx struct {
	*sql.Tx
	now     string    // see engine
	until   time.Time // when a server is given up; zero for never
	changes []Change
}

// newTx returns a transaction that ctx bounds, whatever contexts its statements are
// given: database/sql waits for a statement before it rolls back.
func (db *DB) newTx(ctx context.Context, tx *sql.Tx) *Tx {
	until, _ := ctx.Deadline()
	return &Tx{Tx: tx, now: db.engine.now, until: until}
}

// within bounds the wait for one statement.
func (tx *Tx) within(ctx context.Context) (context.Context, context.CancelFunc) {
	end, limited := ctx.Deadline()
	if tx.until.IsZero() || limited && !end.After(tx.until) {
		return ctx, func() {}
	}
	return context.WithDeadline(ctx, tx.until)
}

// ExecContext runs a statement.
func (tx *Tx) ExecContext(ctx context.Context, query string, args ...any) (sql.Result, error) {
	limited, cancel := tx.within(ctx)
	defer cancel()
	return tx.Tx.ExecContext(limited, query, args...)
}

// QueryContext runs a query that returns rows, which must be closed before the
// next query.
func (tx *Tx) QueryContext(ctx context.Context, query string, args ...any) (*Rows, error) {
	limited, cancel := tx.within(ctx)
	rows, err := tx.Tx.QueryContext(limited, query, args...)
	if err != nil {
		cancel()
		return nil, classify(late(ctx, err))
	}
	return &Rows{rows, ctx, cancel}, nil
}

// QueryRowContext runs a query that returns at most one row.
func (tx *Tx) QueryRowContext(ctx context.Context, query string, args ...any) Row {
	limited, cancel := tx.within(ctx)
	return Row{tx.Tx.QueryRowContext(limited, query, args...), ctx, cancel}
}

// Write runs f in a transaction and commits it; when f returns an error nothing
// is written and Write returns that error. When Write returns nil, what f wrote
// is on disk, and every cache of this process has heard of the changes f announced.
//
// Transactions behave as if one ran after the other. In SQLite they do, so f must be
// quick and call nothing that waits. In PostgreSQL one that lost against another is
// run again, so what f leaves behind must not depend on how often it ran. A ctx that
// ends while waiting or running rolls back.
func (db *DB) Write(ctx context.Context, f func(tx *Tx) error) error {
	defer since(db.metrics.writes, time.Now())
	limited, cancel := within(ctx, db.engine.writeLimit)
	defer cancel()
	for attempt := 1; ; attempt++ {
		if db.conflicts && attempt == 1 {
			f = losing(f)
		}
		changes, err := db.attempt(limited, f)
		if err == nil {
			db.publish(changes)
			db.feed.tell(changes)
			return nil
		}
		if server, ok := errors.AsType[*pgconn.PgError](err); ok && server.Code == pgReadOnly {
			db.refused.Store(true)
		}
		if attempt >= db.engine.attempts || !mayTryAgain(err) || !pause(limited, attempt) {
			return unwritten(late(ctx, ended(limited, err)))
		}
	}
}

// WriteOnce is Write for what must not be done twice although whoever asks for it may
// try again, because it is unsure (IsUnsure) whether it was done: with a receipt that was
// given before it does nothing. Receipts are random texts, remembered for a day.
func (db *DB) WriteOnce(ctx context.Context, receipt string, f func(tx *Tx) error) error {
	if !db.Shared() { // SQLite always says what became of a commit
		return db.Write(ctx, f)
	}
	return db.Write(ctx, func(tx *Tx) error {
		result, err := tx.ExecContext(ctx, "INSERT INTO receipts (id, at) VALUES ($1, "+tx.now+") ON CONFLICT (id) DO NOTHING", receipt)
		if err != nil {
			return fmt.Errorf("give a receipt: %w", err)
		}
		if fresh, err := result.RowsAffected(); err != nil || fresh == 0 {
			return err
		}
		return f(tx)
	})
}

// SimulateConflicts has every transaction that writes lose once when it is otherwise
// done, and run again. It is for tests of what is given to Write, on either engine, and
// called before there is any.
func (db *DB) SimulateConflicts() {
	db.conflicts = true
	db.engine.attempts++
}

// errConflict is a conflict that nobody had.
var errConflict = &pgconn.PgError{Severity: "ERROR", Code: pgSerializationFailure, Message: "simulated"}

// losing loses the first time that f succeeds.
func losing(f func(tx *Tx) error) func(tx *Tx) error {
	lost := false
	return func(tx *Tx) error {
		if err := f(tx); err != nil || lost {
			return err
		}
		lost = true
		return errConflict
	}
}

// attempt runs f in a transaction once.
func (db *DB) attempt(ctx context.Context, f func(tx *Tx) error) ([]Change, error) {
	sqlTx, err := db.write.BeginTx(ctx, &sql.TxOptions{Isolation: db.engine.serial})
	if err != nil {
		return nil, fmt.Errorf("begin: %w", notBegun(err))
	}
	tx := db.newTx(ctx, sqlTx)
	if err := tx.run(f); err != nil {
		return nil, err
	}
	err = sqlTx.Commit()
	switch {
	case err != nil && db.Shared():
		return nil, &commitError{err}
	case err != nil:
		return nil, fmt.Errorf("commit: %w", err)
	}
	return tx.changes, nil
}

// commitError says that a commit on a server failed. Without an answer nobody knows
// whether it was done, so that it is not tried again.
type commitError struct{ cause error }

// Error implements error.
func (e *commitError) Error() string { return "commit: " + e.cause.Error() }

// Unwrap returns what happened.
func (e *commitError) Unwrap() error { return e.cause }

// firstPause is what a transaction that lost waits at first, at most.
const firstPause = 2 * time.Millisecond

// pause waits longer each time, and for a random time, so that those who met once do
// not meet again. It reports whether ctx is still there.
func pause(ctx context.Context, attempt int) bool {
	timer := time.NewTimer(rand.N(firstPause << min(attempt, 7)))
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-ctx.Done():
		return false
	}
}

func newDB(read, write *sql.DB, e engine, name string, log *slog.Logger) *DB {
	db := &DB{read: read, write: write, engine: e, name: name, log: log}
	db.metrics, db.durations = newMetrics()
	return db
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
