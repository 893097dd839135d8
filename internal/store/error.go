package store

import (
	"database/sql"
	"errors"

	"modernc.org/sqlite"
	sqlite3 "modernc.org/sqlite/lib"
)

// UnavailableError says that the database cannot do its work now, for a reason
// outside the query: a full disk, a failing one, a lock held too long.
type UnavailableError struct {
	// Detail is fit for callers.
	Detail string
	// Cause is the engine's own error.
	Cause error
}

// Error implements error.
func (e *UnavailableError) Error() string { return e.Detail + ": " + e.Cause.Error() }

// Unwrap returns the engine's error.
func (e *UnavailableError) Unwrap() error { return e.Cause }

// Unavailable returns the public text; api.AsError turns it into a 503.
func (e *UnavailableError) Unavailable() string { return e.Detail }

// classify marks the engine errors that a caller can do nothing about as
// UnavailableError and returns all others unchanged.
func classify(err error) error {
	var engine *sqlite.Error
	if !errors.As(err, &engine) {
		return err
	}
	switch engine.Code() & 0xff { // the low byte is the primary result code
	case sqlite3.SQLITE_FULL:
		return &UnavailableError{"the disk is full; nothing was written", err}
	case sqlite3.SQLITE_IOERR, sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_READONLY:
		return &UnavailableError{"the disk cannot be used; nothing was written", err}
	case sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED:
		return &UnavailableError{"the database is busy", err}
	case sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB:
		return &UnavailableError{"the database is damaged", err}
	}
	return err
}

// IsConflict reports whether err says that a row with the same unique value is
// already there.
func IsConflict(err error) bool {
	var engine *sqlite.Error
	if !errors.As(err, &engine) {
		return false
	}
	code := engine.Code()
	return code == sqlite3.SQLITE_CONSTRAINT_UNIQUE || code == sqlite3.SQLITE_CONSTRAINT_PRIMARYKEY
}

// IsNoRows reports whether err says that a query found nothing.
func IsNoRows(err error) bool { return errors.Is(err, sql.ErrNoRows) }
