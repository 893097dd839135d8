package store

import (
	"context"
	"errors"
	"fmt"

	"github.com/jackc/pgx/v5/pgconn"
)

// identity is what a server keeps when it is started again, and what is another one's, be
// it the replica that took its place or one that recovered from a backup: both go on from a
// state that need not be the last, and give numbers again. It is zero where a server does
// not tell.
type identity struct{ system, timeline string }

// known reports whether the server told.
func (i identity) known() bool { return i != identity{} }

// behind reports whether another server has taken this one's place: it is of an older
// timeline of the same system.
func (i identity) behind(other identity) bool {
	return i.known() && i.system == other.system && i.timeline < other.timeline
}

// ownIdentity is a query for the identity of the server that answers.
const ownIdentity = `
	SELECT system_identifier::text, left(pg_walfile_name(pg_current_wal_insert_lsn()), 8) FROM pg_control_system()`

// errSeveral says that connections of the pool lead to more than one server, as they do for
// a moment when an address is moved while the server of before goes on.
var errSeveral = errors.New("some connections lead to one server and some to another")

// identity is that of the server that gave a snapshot, or zero where that one does not tell
// this user. It fails when another server answers, which cannot speak for that one.
func (db *DB) identity(ctx context.Context, of snapshot) (server identity, err error) {
	err = db.QueryRowContext(ctx, ownIdentity+" WHERE extract(epoch FROM pg_postmaster_start_time())::text = $1", of.started).
		Scan(&server.system, &server.timeline)
	if IsNoRows(err) {
		return identity{}, errSeveral
	}
	if _, refused := errors.AsType[*pgconn.PgError](err); refused && unavailable(err) == "" {
		return identity{}, nil
	}
	return server, err
}

// errLeftBehind is what keeps a process from the primary of before, which was started again
// and takes writes as if nothing had been.
var errLeftBehind = errors.New("it is a server whose place another one has taken: stop it, since what is written to it now the other one does not have. If it is to be used again, as after restoring a backup, start the ingresses anew")

// checkIdentity is a pgconn.ValidateConnectFunc, after another one. It lets no connection
// through to a server whose place another has taken, so that pgx tries the next host.
func (db *DB) checkIdentity(next pgconn.ValidateConnectFunc) pgconn.ValidateConnectFunc {
	return func(ctx context.Context, conn *pgconn.PgConn) error {
		var answer error
		if next != nil {
			answer = next(ctx, conn)
		}
		// Who is not preferred is taken all the same when nobody else is there, unasked.
		if _, fallback := errors.AsType[*pgconn.NotPreferredError](answer); answer != nil && !fallback {
			return answer
		}
		present := db.server.Load()
		if present == nil || !present.known() {
			return answer
		}
		results, err := conn.Exec(ctx, ownIdentity).ReadAll()
		if _, refused := errors.AsType[*pgconn.PgError](err); refused && unavailable(err) == "" {
			return answer
		}
		if err != nil {
			return err
		}
		if len(results) != 1 || len(results[0].Rows) != 1 || len(results[0].Rows[0]) != 2 {
			return fmt.Errorf("the server does not say which one it is, but %v", results)
		}
		row := results[0].Rows[0]
		if (identity{string(row[0]), string(row[1])}).behind(*present) {
			return errLeftBehind
		}
		return answer
	}
}
