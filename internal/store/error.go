package store

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"io"
	"io/fs"
	"net"
	"slices"
	"strings"
	"syscall"

	"github.com/jackc/pgx/v5/pgconn"
	"modernc.org/sqlite"
	sqlite3 "modernc.org/sqlite/lib"
)

// UnavailableError says that the database cannot do its work now, for a reason
// outside the query: a full disk, a failing one, a lock held too long, a server that
// is away.
type UnavailableError struct {
	// Detail is fit for callers.
	Detail string
	// Unsure says that a transaction may have been committed all the same: the answer
	// did not come.
	Unsure bool
	// Cause is the engine's own error.
	Cause error
}

// Error implements error.
func (e *UnavailableError) Error() string { return e.Detail + ": " + oneLine(e.Cause.Error()) }

// oneLine puts pgx's attempts to connect, which have a line each, behind each other,
// and those that ended alike once.
func oneLine(text string) string {
	heading := ""
	if first, rest, several := strings.Cut(text, ":\n"); several {
		heading, text = first+": ", rest
	}
	var attempts []string
	for line := range strings.Lines(text) {
		if line = strings.TrimSpace(line); line != "" && !slices.Contains(attempts, line) {
			attempts = append(attempts, line)
		}
	}
	return heading + strings.Join(attempts, "; ")
}

// Unwrap returns the engine's error.
func (e *UnavailableError) Unwrap() error { return e.Cause }

// Unavailable returns the public text; api.AsError turns it into a 503.
func (e *UnavailableError) Unavailable() string { return e.Detail }

// classify marks the engine errors that a caller can do nothing about as
// UnavailableError and returns all others unchanged.
func classify(err error) error {
	var known *UnavailableError
	if err == nil || errors.As(err, &known) {
		return err
	}
	if unsure(err) {
		return &UnavailableError{"the database went away; look whether it was done before you try again", true, err}
	}
	if detail := unavailable(err); detail != "" {
		return &UnavailableError{detail, false, err}
	}
	return err
}

const unwrittenRemark = "; nothing was written"

// unwrittenError is an UnavailableError of a transaction that wrote nothing, which
// matters to nobody who only reads.
type unwrittenError struct {
	error
	detail string
}

// Error implements error.
func (e *unwrittenError) Error() string { return e.error.Error() + unwrittenRemark }

// Unwrap returns the error without what became of the transaction.
func (e *unwrittenError) Unwrap() error { return e.error }

// Unavailable is UnavailableError's.
func (e *unwrittenError) Unavailable() string { return e.detail + unwrittenRemark }

// unwritten classifies what ended a transaction that writes.
func unwritten(err error) error {
	err = classify(err)
	if known, ok := errors.AsType[*UnavailableError](err); ok && !known.Unsure {
		return &unwrittenError{err, known.Detail}
	}
	return err
}

// IsUnsure reports whether err says that a transaction may have been committed, or may
// not.
func IsUnsure(err error) bool {
	known, ok := errors.AsType[*UnavailableError](err)
	return ok && known.Unsure
}

// notBegun classifies what kept a transaction that writes from beginning. A replica has no
// serializable ones; elsewhere the same code is an error of ours.
func notBegun(err error) error {
	if server, ok := errors.AsType[*pgconn.PgError](err); ok && server.Code == pgNotSupported {
		return &UnavailableError{writesRefused, false, err}
	}
	return err
}

// unsure reports whether nobody but the server knows what became of a commit; a caller
// who left while it was done does not know either.
func unsure(err error) bool {
	if _, ok := errors.AsType[*commitError](err); !ok {
		return false
	}
	if server, ok := errors.AsType[*pgconn.PgError](err); ok {
		return endsConnection(server)
	}
	return isAway(err) || isContext(err)
}

// endsConnection reports whether an error ended the connection instead of the
// transaction, so that it does not say what became of that. It need not be the
// server's: a pooler that lost the server speaks in its name (class 08).
func endsConnection(err *pgconn.PgError) bool {
	severity := err.SeverityUnlocalized
	return endedByServer(err) || severity == "FATAL" || severity == "PANIC" || strings.HasPrefix(err.Code, "08")
}

// unavailable returns what keeps the engine from its work, or "".
func unavailable(err error) string {
	if file, ok := errors.AsType[*sqlite.Error](err); ok {
		return sqliteUnavailable(file)
	}
	if server, ok := errors.AsType[*pgconn.PgError](err); ok {
		return postgresUnavailable(server)
	}
	if isAway(err) {
		return unreachable
	}
	return ""
}

const (
	unreachable   = "the database cannot be reached"
	writesRefused = "the database takes no writes now"
)

func sqliteUnavailable(err *sqlite.Error) string {
	switch err.Code() & 0xff { // the low byte is the primary result code
	case sqlite3.SQLITE_FULL:
		return "the disk is full"
	case sqlite3.SQLITE_IOERR, sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_READONLY:
		return "the disk cannot be used"
	case sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED:
		return "the database is busy"
	case sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB:
		return "the database is damaged"
	}
	return ""
}

// The codes of PostgreSQL's errors that something is done about (its manual,
// appendix A).
const (
	pgUniqueViolation       = "23505"
	pgReadOnly              = "25006"
	pgNotSupported          = "0A000"
	pgInsufficientPrivilege = "42501"
	pgNoSchema              = "3F000"
	pgNoStatement           = "26000"
	pgSameStatement         = "42P05"
	pgUnknownParameter      = "42704"
	pgSerializationFailure  = "40001"
	pgDeadlock              = "40P01"
	pgDiskFull              = "53100"
	pgTooManyConnections    = "53300"
	pgLockNotAvailable      = "55P03"
	pgQueryCanceled         = "57014"
	pgAdminShutdown         = "57P01"
	pgCrashShutdown         = "57P02"
)

// endedByServer reports whether a server closed the connection because it was told
// to end.
func endedByServer(err *pgconn.PgError) bool {
	return err.Code == pgAdminShutdown || err.Code == pgCrashShutdown
}

func postgresUnavailable(err *pgconn.PgError) string {
	switch err.Code {
	case pgReadOnly:
		return writesRefused
	case pgSerializationFailure, pgDeadlock, pgLockNotAvailable, pgQueryCanceled:
		return "the database is busy"
	case pgDiskFull:
		return "the database's disk is full"
	case pgNoStatement, pgSameStatement: // it was prepared on another connection
		return "the database's pooler does not pool sessions"
	}
	switch err.Code[:min(2, len(err.Code))] {
	case "08", "57": // connections, and what operators do to a server
		return unreachable
	case "28", "3D": // it lets us in no more
		return "the database refuses this ingress"
	case "53": // connections and memory
		return "the database has no room for more"
	case "58", "XX":
		return "the database is damaged"
	}
	return ""
}

// isAway reports whether an error is of the way to the server and not the server's
// own.
func isAway(err error) bool {
	if _, ofFile := errors.AsType[*fs.PathError](err); ofFile {
		return false // an export's, whose errno passes for a net.Error
	}
	var network net.Error
	var connect *pgconn.ConnectError
	return errors.Is(err, errSilent) || errors.Is(err, driver.ErrBadConn) || errors.Is(err, sql.ErrConnDone) || errors.As(err, &connect) ||
		pgconn.SafeToRetry(err) || isBroken(err) || errors.As(err, &network) && !isContext(err)
}

// isContext reports whether an error only says that the caller's context ended.
func isContext(err error) bool {
	return errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded)
}

// isBroken reports whether a connection ended under an exchange.
func isBroken(err error) bool {
	for _, broken := range []error{io.EOF, io.ErrUnexpectedEOF, syscall.ECONNRESET, syscall.EPIPE, net.ErrClosed, pgconn.ErrConnClosed} {
		if errors.Is(err, broken) {
			return true
		}
	}
	return false
}

// mayTryAgain reports whether a transaction certainly left nothing behind and might
// go through when it is run once more.
func mayTryAgain(err error) bool {
	if unsure(err) {
		return false
	}
	if server, ok := errors.AsType[*pgconn.PgError](err); ok {
		return server.Code == pgSerializationFailure || server.Code == pgDeadlock || endedByServer(server)
	}
	_, connecting := errors.AsType[*pgconn.ConnectError](err)
	return !connecting && (errors.Is(err, driver.ErrBadConn) || isBroken(err))
}

// IsConflict reports whether err says that a row with the same unique value is
// already there.
func IsConflict(err error) bool {
	var server *pgconn.PgError
	if errors.As(err, &server) {
		return server.Code == pgUniqueViolation
	}
	var file *sqlite.Error
	if !errors.As(err, &file) {
		return false
	}
	code := file.Code()
	return code == sqlite3.SQLITE_CONSTRAINT_UNIQUE || code == sqlite3.SQLITE_CONSTRAINT_PRIMARYKEY
}

// IsNoRows reports whether err says that a query found nothing.
func IsNoRows(err error) bool { return errors.Is(err, sql.ErrNoRows) }
