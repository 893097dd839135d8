package store

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/stdlib"
)

const (
	connectTimeout = 5 * time.Second
	// A connection is replaced now and then, so that nodes find their way to a
	// server that took another's place.
	connectionLife = 30 * time.Minute
	connectionIdle = 5 * time.Minute

	defaultConnections = 16
	// pingAfter is how long a connection may have been at rest that is used untried.
	pingAfter = time.Second
)

// connect makes the pool, which connects when it is first used.
func (o PostgresOptions) connect() (*DB, *pgx.ConnConfig, error) {
	config, err := o.parse()
	if err != nil {
		return nil, nil, err
	}
	e := postgresEngine
	if o.Patient {
		e.readLimit, e.writeLimit = 0, 0
	}
	db := newDB(nil, nil, e, RedactDatabase(o.URL), o.Log)
	config.ValidateConnect = db.checkIdentity(config.ValidateConnect)
	pool := db.openPool(config)
	connections := o.Connections
	if connections <= 0 {
		connections = defaultConnections
	}
	pool.SetMaxOpenConns(connections)
	pool.SetMaxIdleConns(connections)
	pool.SetConnMaxLifetime(connectionLife)
	pool.SetConnMaxIdleTime(connectionIdle)
	db.read, db.write = pool, pool
	return db, config, nil
}

// generationKey is where a connection keeps how many reconnects there were when it was begun.
const generationKey = "generation"

// openPool returns a pool that uses no connection from before the last reconnect again.
func (db *DB) openPool(config *pgx.ConnConfig) *sql.DB {
	return stdlib.OpenDB(*config,
		stdlib.OptionBeforeConnect(func(_ context.Context, c *pgx.ConnConfig) error {
			begun := db.reconnects.Load()
			c.AfterConnect = func(_ context.Context, conn *pgconn.PgConn) error {
				conn.CustomData()[generationKey] = begun
				return nil
			}
			return nil
		}),
		// One that is not used again need not answer first: its server may be silent.
		stdlib.OptionShouldPing(func(_ context.Context, p stdlib.ShouldPingParams) bool {
			return db.isPresent(p.Conn) && p.IdleDuration > pingAfter
		}),
		stdlib.OptionResetSession(func(_ context.Context, conn *pgx.Conn) error {
			if !db.isPresent(conn) {
				return driver.ErrBadConn
			}
			return nil
		}),
	)
}

func (db *DB) isPresent(conn *pgx.Conn) bool {
	return conn.PgConn().CustomData()[generationKey] == db.reconnects.Load()
}

// reconnect has what is done from now on use new connections, which lead where the address
// leads now. Those in use are given up when they come back.
func (db *DB) reconnect() { db.reconnects.Add(1) }
