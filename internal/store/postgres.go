package store

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/pressly/goose/v3/database"
)

// postgresEngine is PostgreSQL. Serializable makes of any number of writers on any
// number of nodes what SQLite's one writer is: what a transaction has read is still
// true when it commits, or it is run again.
var postgresEngine = engine{
	dialect: database.DialectPostgres, migrations: "migrations/postgres",
	hasTable: "SELECT to_regclass($1) IS NOT NULL",
	about:    "SELECT current_setting('server_version'), pg_database_size(current_database())",
	mark:     "$",
	now:      "(extract(epoch FROM clock_timestamp()) * 1000000000)::bigint",
	snapshot: sql.LevelRepeatableRead, serial: sql.LevelSerializable, attempts: 50,
	readLimit: 4 * time.Second, writeLimit: 8 * time.Second,
}

// oldestPostgres is the oldest major version that is supported.
const oldestPostgres = 14

// What a session gets unless the URL says otherwise. The limits are the server's own
// and end what a node has given up. The isolation is for single statements, which a
// server with another default could refuse; transactions name theirs.
var sessionSettings = map[string]string{
	"default_transaction_isolation":       "read committed",
	"application_name":                    "m3o-ingress",
	"statement_timeout":                   "15s",
	"lock_timeout":                        "10s",
	"idle_in_transaction_session_timeout": "30s",
}

// PostgresOptions say how to reach a PostgreSQL server.
type PostgresOptions struct {
	// URL is postgres://user@host:port/database, with the parameters of libpq, such as
	// sslmode and sslrootcert. What it does not say is taken from libpq's environment
	// variables and its password file.
	URL string
	// Password takes the place of the URL's, unless it is empty.
	Password string
	// Connections bounds the pool; 0 means 16.
	Connections int
	// Patient is for work that takes as long as it takes, such as copying all of a
	// database: nothing but the caller's context ends it.
	Patient bool
	// Log gets what happens to the connection in the background.
	Log *slog.Logger
}

// ParsePostgres checks a URL, without secrets in its error.
func ParsePostgres(raw string) error {
	_, err := PostgresOptions{URL: raw}.parse()
	return err
}

// parse makes pgx's configuration of the options.
func (o PostgresOptions) parse() (*pgx.ConnConfig, error) {
	u, err := url.Parse(o.URL)
	if err != nil || u.Scheme != "postgres" && u.Scheme != "postgresql" {
		return nil, errors.New("it is no URL such as postgres://user@host:5432/database" + hintAtPassword(o.URL))
	}
	config, err := pgx.ParseConfig(o.URL)
	if err != nil {
		return nil, fmt.Errorf("it cannot be used: %s", withoutURL(err))
	}
	if config.Database == "" {
		return nil, errors.New("it names no database; give one such as postgres://user@host:5432/database")
	}
	if o.Password != "" {
		config.Password = o.Password
	}
	if o.Patient {
		setPatience(config)
	}
	for name, value := range sessionSettings {
		if _, given := config.RuntimeParams[name]; !given {
			config.RuntimeParams[name] = value
		}
	}
	if config.ConnectTimeout == 0 {
		config.ConnectTimeout = connectTimeout
		if hosts := countHosts(config); hosts > 1 { // the last must have its turn in a look, when the others are silent
			config.ConnectTimeout = lookLimit / time.Duration(hosts)
		}
	}
	return config, nil
}

// countHosts counts the hosts of a URL. What pgx falls back to is also the same one without TLS.
func countHosts(config *pgx.ConnConfig) int {
	hosts := map[string]bool{net.JoinHostPort(config.Host, strconv.Itoa(int(config.Port))): true}
	for _, f := range config.Fallbacks {
		hosts[net.JoinHostPort(f.Host, strconv.Itoa(int(f.Port)))] = true
	}
	return len(hosts)
}

// hintAtPassword says what is likely wrong with a URL that has a password in it and
// cannot be read.
func hintAtPassword(raw string) string {
	beginning, _, found := strings.Cut(raw, "@")
	if !found || strings.Count(beginning, ":") < 2 {
		return ""
	}
	return "; in its password characters such as / # ? % and spaces must be written as %2F %23 %3F %25 and %20"
}

// setPatience has the server end nothing by itself.
func setPatience(config *pgx.ConnConfig) {
	for _, limit := range []string{"statement_timeout", "lock_timeout", "idle_in_transaction_session_timeout"} {
		config.RuntimeParams[limit] = "0"
	}
}

// withoutURL is what pgx has to say of a URL, without the URL.
func withoutURL(err error) string {
	_, reason, cut := strings.Cut(err.Error(), "`: ")
	if !cut {
		return "it is malformed"
	}
	return oneLine(reason)
}

// reasonOf is the root of what pgx has to say, without the user and the database that
// it repeats.
func reasonOf(err error) string {
	for next := errors.Unwrap(err); next != nil; next = errors.Unwrap(err) {
		err = next
	}
	return oneLine(err.Error())
}

// RedactDatabase returns a database's URL without its password, to be shown.
func RedactDatabase(raw string) string {
	u, err := url.Parse(raw)
	if err != nil {
		return "(a URL that cannot be read)"
	}
	q, err := url.ParseQuery(u.RawQuery)
	if err != nil || u.Fragment != "" { // a password that is not escaped ends up there
		return "(a URL that cannot be read)"
	}
	for _, secret := range []string{"password", "sslpassword"} {
		if q.Has(secret) {
			q.Set(secret, "xxxxx")
			u.RawQuery = q.Encode()
		}
	}
	return u.Redacted()
}

// OpenPostgres connects to a database, checks that it can be used, and brings its
// schema up to date. Of several nodes that start at once one does, and the others
// wait. It fails, changing nothing, when the server is older than PostgreSQL 14, takes
// no writes, or has the schema of a newer release. Errors name no password.
func OpenPostgres(ctx context.Context, o PostgresOptions) (*DB, error) {
	db, config, err := o.connect()
	if err != nil {
		return nil, err
	}
	err = db.checkServer(ctx, config, true)
	if err == nil {
		err = db.checkPooler(ctx, config)
	}
	if err == nil {
		err = db.migrateServer(ctx, config)
	}
	if err == nil {
		db.feed, err = newFeed(ctx, db, config)
	}
	if err != nil {
		return nil, db.notOpened(ctx, err)
	}
	return db, nil
}

// OpenPostgresToRead is OpenPostgres without bringing the schema up to date, for
// looking at a database or copying from it; it may be a replica. Nothing must be
// written with it.
func OpenPostgresToRead(ctx context.Context, o PostgresOptions) (*DB, error) {
	db, config, err := o.connect()
	if err != nil {
		return nil, err
	}
	if err := db.checkServer(ctx, config, false); err != nil {
		return nil, db.notOpened(ctx, err)
	}
	return db, nil
}

// notOpened ends what could not be opened, and says why. Who has given up is not told
// that something is wrong with the server, whatever the connection that was cut has to say.
func (db *DB) notOpened(ctx context.Context, err error) error {
	if errors.Is(ctx.Err(), context.Canceled) {
		err = fmt.Errorf("database %s: given up: %w", db.name, ctx.Err())
	}
	return errors.Join(err, db.write.Close())
}

const takesNoWrites = "it takes no writes, as a replica does not; give the primary's address, or several hosts and target_session_attrs=read-write"

// checkServer refuses a server that cannot be used, or not written to.
func (db *DB) checkServer(ctx context.Context, config *pgx.ConnConfig, toWrite bool) error {
	limited, cancel := context.WithTimeout(ctx, 2*connectTimeout)
	defer cancel()
	var version, encoding, readOnly string
	err := db.write.QueryRowContext(limited, "SELECT current_setting('server_version_num'), current_setting('server_encoding'), current_setting('transaction_read_only')").
		Scan(&version, &encoding, &readOnly)
	if err != nil {
		return fmt.Errorf("database %s: %w", db.name, explainConnect(err, config))
	}
	number, err := strconv.Atoi(version)
	if err != nil {
		return fmt.Errorf("database %s: its version %q is no number; is it PostgreSQL?", db.name, version)
	}
	switch {
	case number/10000 < oldestPostgres:
		return fmt.Errorf("database %s: it is PostgreSQL %d, and %d or newer is needed", db.name, number/10000, oldestPostgres)
	case encoding != "UTF8":
		return fmt.Errorf("database %s: its encoding is %s and must be UTF8; make it with: CREATE DATABASE … ENCODING 'UTF8' TEMPLATE template0", db.name, encoding)
	case toWrite && readOnly == "on":
		return fmt.Errorf("database %s: %s", db.name, takesNoWrites)
	}
	return nil
}

const poolsNoSessions = "a pooler in front of it does not pool sessions, which LISTEN and locks need; set pool_mode = session in PgBouncer, or give the server's own address"

// checkPooler refuses a pooler that leads the next transaction of a connection to another
// connection of the server. Most would work with it, but nothing that outlives a transaction:
// no notification would come, and the lock on the schema would be left to somebody else.
func (db *DB) checkPooler(ctx context.Context, config *pgx.ConnConfig) (err error) {
	ctx, cancel := context.WithTimeout(ctx, 2*connectTimeout)
	defer cancel()
	simple := config.Copy()
	simple.DefaultQueryExecMode = pgx.QueryExecModeSimpleProtocol // prepared statements would fail first, and not say why
	var conns [2]*pgx.Conn
	for i := range conns {
		if conns[i], err = pgx.ConnectConfig(ctx, simple); err != nil {
			return fmt.Errorf("database %s: %w", db.name, explainConnect(err, config))
		}
		defer func() { _ = conns[i].Close(ctx) }() // it has told all there is to know
	}
	// What the first one has used and given back is the next that the second one gets, and
	// keeps for its transaction.
	var before, after int64
	err = conns[0].QueryRow(ctx, "SELECT pg_backend_pid()").Scan(&before)
	if err == nil {
		_, err = conns[1].Exec(ctx, "BEGIN; SELECT 1")
	}
	if err == nil {
		err = conns[0].QueryRow(ctx, "SELECT pg_backend_pid()").Scan(&after)
	}
	if err != nil {
		return fmt.Errorf("database %s: %w", db.name, explainConnect(err, config))
	}
	if before != after {
		return fmt.Errorf("database %s: %s", db.name, poolsNoSessions)
	}
	return nil
}

// attempts sorts what became of the attempts to connect, of which there are several with
// several hosts, and two for each of those where TLS is only preferred.
func attempts(err error) (withoutTLS, readOnly, others int) {
	for attempt := range strings.SplitSeq(reasonOf(err), "; ") {
		switch {
		case strings.Contains(attempt, "server refused TLS"):
			withoutTLS++
		case strings.HasSuffix(attempt, "read only connection"):
			readOnly++
		default:
			others++
		}
	}
	return withoutTLS, readOnly, others
}

// explainConnect says in one line what keeps us from a server, and what to do.
func explainConnect(err error, config *pgx.ConnConfig) error {
	var server *pgconn.PgError
	var connect *pgconn.ConnectError
	withoutTLS, readOnly, others := attempts(err)
	switch {
	case errors.As(err, &server):
		switch server.Code {
		case "28P01", "28000":
			if server.Code == "28P01" && config.Password == "" {
				return fmt.Errorf("it asks for a password, and none was given (%s); set INGRESS_DATABASE_PASSWORD, or use libpq's password file", server.Message)
			}
			return fmt.Errorf("it does not let us in (%s); check user and password, and the server's pg_hba.conf", server.Message)
		case "3D000":
			return fmt.Errorf("there is no such database (%s); make it with: createdb --owner USER DATABASE", server.Message)
		case pgNoStatement, pgSameStatement:
			return fmt.Errorf("%s (%s)", poolsNoSessions, server.Message)
		case pgTooManyConnections:
			return fmt.Errorf("it has no connection left (%s); raise its max_connections, or lower --database-connections of the ingresses", server.Message)
		case pgUnknownParameter:
			return fmt.Errorf("it does not know a parameter of the URL (%s); look for a misspelt one behind the ?", server.Message)
		case "57P03":
			return fmt.Errorf("it is starting or stopping (%s); try again in a while", server.Message)
		}
		return fmt.Errorf("it refuses the connection: %s (%s)", server.Message, server.Code)
	case errors.As(err, &connect) && withoutTLS > 0 && readOnly+others == 0:
		return errors.New("the server does not speak TLS, which the URL's sslmode asks for; set it up there, or, in a network that is trusted, give sslmode=disable")
	case errors.As(err, &connect) && readOnly > 0 && others == 0:
		return errors.New("no server there takes writes, which target_session_attrs asks for; let a replica take over, look for default_transaction_read_only, or, only to read, leave that parameter out")
	case errors.As(err, &connect), isAway(err), isContext(err):
		return fmt.Errorf("it cannot be reached: %s; check host, port and the network", reasonOf(err))
	}
	return classify(err)
}
