package store

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"time"

	"github.com/jackc/pgx/v5"
)

// feed tells the subscribers of one node what other nodes change.
//
// The change log is the truth, and it is looked at every second. A notification
// only has it looked at sooner; any number of them may be lost.
//
// Versions are given before they are seen, because the transaction with the lower
// one may commit last. So a reader that remembers the highest version it saw would
// miss some. This one goes by the numbers of transactions: what a snapshot does not see
// can only come from those that are running then, and from its xmax on, which nobody has
// yet. It reads from a little before the xmax of the look before, and of those that were
// running at that time, and leaves out what it knows already. So a transaction that
// runs for hours, be it in another database of the server, costs nothing.
type feed struct {
	db     *DB
	config *pgx.ConnConfig // of the connection that listens

	wake    chan struct{} // a notification came
	notices chan struct{} // others are to be notified

	mu    sync.Mutex
	last  sight           // at the look before, without what had changed
	looks int64           // how many there were
	gap   bool            // changes may have been missed, and not everybody has been told
	known map[int64]int64 // versions that subscribers have heard of and a look can see again, and the look it was at
	// current is the time of the last look that succeeded, since the DB was opened.
	current atomic.Int64
	opened  time.Time

	ctx    context.Context
	cancel context.CancelFunc
	busy   sync.WaitGroup
}

const (
	lookEvery = time.Second
	// lookLimit bounds one look: the next has better luck with another connection.
	lookLimit = 3 * time.Second
	// keepAlive is how long a connection that listens may be silent before it is tried.
	keepAlive = 30 * time.Second
	channel   = "m3o_changes"
	// reused is how many numbers of transactions a server that crashed may give again:
	// those whose end was not on its disk, because they were rolled back.
	reused = 256
	// tooFarBehind is when a node may have missed rows that were pruned.
	tooFarBehind = keepChanges / 2
)

// snapshot is which transactions a look could see: those below xmax that were not
// running, which are numbers with commas between them.
type snapshot struct {
	xmax    int64
	running string
	started string // when the server that gave it was
	replica bool   // it only follows another server, and may be behind it
}

// sight is what a look saw.
type sight struct {
	snapshot
	changes []Change // that may be new
	newest  entry    // of the changes that were read up to now
	lost    bool     // the newest of the look before is not there any more
}

// entry is a row of the change log, as it has to be there again.
type entry struct{ version, xid, at int64 }

// nowSnapshot is a query of one row: the snapshot it has itself.
const nowSnapshot = `
	SELECT pg_snapshot_xmax(pg_current_snapshot())::text::bigint AS xmax,
		array_to_string(ARRAY(SELECT pg_snapshot_xip(pg_current_snapshot())), ',') AS running,
		extract(epoch FROM pg_postmaster_start_time())::text AS started,
		pg_is_in_recovery() AS replica`

// errReplica says that the server cannot be relied on for what has changed.
var errReplica = errors.New(takesNoWrites)

// newFeed returns the feed of what changes from now on.
func newFeed(ctx context.Context, db *DB, config *pgx.ConnConfig) (*feed, error) {
	f := &feed{
		db: db, config: config, wake: make(chan struct{}, 1), notices: make(chan struct{}, 1), known: map[int64]int64{}, opened: time.Now(),
	}
	last := &f.last
	err := db.QueryRowContext(ctx, nowSnapshot).Scan(&last.xmax, &last.running, &last.started, &last.replica)
	var server identity
	if err == nil {
		server, err = db.identity(ctx, last.snapshot)
	}
	if err != nil {
		return nil, fmt.Errorf("database %s: read its change log: %w", db.name, err)
	}
	db.server.Store(&server)
	f.ctx, f.cancel = context.WithCancel(context.Background())
	return f, nil
}

// FollowNodes tells the subscribers of what other nodes have changed since the
// database was opened, until Close. On one machine it does nothing.
func (db *DB) FollowNodes() {
	f := db.feed
	if f == nil {
		return
	}
	for _, run := range []func(){f.look, f.listen, f.notify} {
		f.busy.Go(run)
	}
}

// Behind is how long this process has not been able to see what other nodes
// change: about a second at most while the database is reachable. On one machine it
// is 0.
func (db *DB) Behind() time.Duration {
	if db.feed == nil {
		return 0
	}
	return time.Since(db.feed.opened) - time.Duration(db.feed.current.Load())
}

func (f *feed) close() {
	if f != nil {
		f.cancel()
		f.busy.Wait()
	}
}

// look looks at the change log again and again.
func (f *feed) look() {
	tick := time.NewTicker(lookEvery)
	defer tick.Stop()
	var said error // what of it is not to be used, since it was relied on
	for failures := 0; ; {
		err := f.lookOnce()
		if f.ctx.Err() != nil {
			return
		}
		switch {
		case err != nil:
			failures++
			if other := leadsElsewhere(err); failures == 1 || other != nil && other != said { // it may be up only now
				said = other
				f.db.log.Error(headline(err)+"; what is known keeps working", "database", f.db.name, "error", err)
			}
		case failures > 0:
			failures, said = 0, nil
			f.db.log.Info("the database can be relied on again", "database", f.db.name)
		}
		if f.db.refused.Swap(false) || leadsElsewhere(err) != nil || isPowerOfTwo(failures) {
			f.db.reconnect()
		}
		select {
		case <-tick.C:
		case <-f.wake:
		case <-f.ctx.Done():
			return
		}
	}
}

// headline says in a word what keeps us from the change log.
func headline(err error) string {
	if down, ok := errors.AsType[*UnavailableError](err); ok && !down.Unsure && leadsElsewhere(err) == nil {
		return down.Detail
	}
	return "the database cannot be relied on"
}

// leadsElsewhere returns why a look was at a server that is not to be used, and that
// answers, or nil: it is left as soon as the address leads to another one.
func leadsElsewhere(err error) error {
	for _, reason := range []error{errReplica, errLeftBehind, errSeveral} {
		if errors.Is(err, reason) {
			return reason
		}
	}
	return nil
}

// isPowerOfTwo is for what is tried again less and less often. Connections to a server that
// says nothing are given up, since an address may lead to another one; but one that is only
// slow must not be asked for new ones all the time.
func isPowerOfTwo(n int) bool { return n > 0 && n&(n-1) == 0 }

// lookOnce publishes what it sees for the first time.
func (f *feed) lookOnce() error {
	ctx, cancel := context.WithTimeout(f.ctx, lookLimit)
	defer cancel()
	begin := time.Since(f.opened)
	now, err := f.read(ctx)
	if err != nil {
		return err
	}
	if now.replica {
		return errReplica
	}
	server, moved, err := f.serverOf(ctx, now.snapshot)
	if err != nil {
		return err
	}
	// Before the connections are given up: those that take their place are compared with it.
	f.db.server.Store(&server)
	f.gap = f.gap || moved || now.lost || f.db.Behind() > tooFarBehind || now.xmax < f.last.xmax-reused
	if f.gap {
		// Rows may have been pruned, or this is another server, which may lack some and
		// whose transactions and versions have numbers of their own. One that crashed
		// without having waited for its disk (synchronous_commit) is much the same.
		f.db.log.Warn("changes of other nodes may have been missed; what depends on them is read anew", "database", f.db.name)
		f.forget()
		f.db.reconnect()
		if err := f.db.crossGap(ctx); err != nil {
			return err
		}
		f.gap = false
	}
	f.db.publish(f.advance(now))
	f.current.Store(int64(begin))
	return nil
}

// serverOf returns which server a snapshot is of, and whether that is another one than at
// the look before, or may be. It asks when one was started since.
func (f *feed) serverOf(ctx context.Context, now snapshot) (server identity, moved bool, err error) {
	before := *f.db.server.Load()
	if now.started == f.last.started {
		return before, false, nil
	}
	server, err = f.db.identity(ctx, now)
	if err == nil && server.behind(before) {
		err = errLeftBehind
	}
	return server, !server.known() || server != before, err
}

// forget has the versions that were given before mean nothing any more.
func (f *feed) forget() {
	f.mu.Lock()
	defer f.mu.Unlock()
	clear(f.known)
}

// read looks: a single statement has a single snapshot.
func (f *feed) read(ctx context.Context) (now sight, err error) {
	last := f.last
	rows, err := f.db.QueryContext(ctx, `
		WITH now AS MATERIALIZED (`+nowSnapshot+`)
		SELECT now.xmax, now.running, now.started, now.replica,
			$5::bigint > `+f.db.engine.now+` - $6::bigint AND NOT EXISTS (SELECT 1 FROM changes WHERE version = $3 AND xid = $4),
			c.version, c.xid, c.at, c.kind, c.id
		FROM now LEFT JOIN (
			SELECT version, xid, at, kind, id FROM changes WHERE xid >= $1
			UNION ALL SELECT version, xid, at, kind, id FROM changes WHERE xid < $1 AND xid = ANY (string_to_array($2, ',')::bigint[])
		) AS c ON TRUE ORDER BY c.version`,
		last.xmax-reused, last.running, last.newest.version, last.newest.xid, last.newest.at, tooFarBehind.Nanoseconds())
	if err != nil {
		return sight{}, fmt.Errorf("read the change log: %w", err)
	}
	defer rows.Close()
	for rows.Next() {
		var version, xid, at sql.NullInt64
		var kind, id sql.NullString
		if err := rows.Scan(&now.xmax, &now.running, &now.started, &now.replica, &now.lost, &version, &xid, &at, &kind, &id); err != nil {
			return sight{}, fmt.Errorf("read the change log: %w", err)
		}
		if version.Valid {
			now.changes = append(now.changes, Change{version.Int64, kind.String, id.String})
			now.newest = entry{version.Int64, xid.Int64, at.Int64}
		}
	}
	if err := rows.Err(); err != nil {
		return sight{}, fmt.Errorf("read the change log: %w", err)
	}
	if len(now.changes) == 0 && !now.lost {
		now.newest = last.newest
	}
	return now, nil
}

// advance returns the changes that nobody here has heard of, and remembers those that
// the next look can see again.
func (f *feed) advance(now sight) []Change {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.looks++
	var fresh []Change
	for _, c := range now.changes {
		if _, heard := f.known[c.Version]; !heard {
			fresh = append(fresh, c)
		}
		f.known[c.Version] = f.looks
	}
	// What this look did not see, and was heard of before the one before it, no other
	// will see.
	maps.DeleteFunc(f.known, func(_, look int64) bool { return look < f.looks-1 })
	now.changes = nil
	f.last = now
	return fresh
}

// tell has the other nodes look at what this one has changed and told its own
// subscribers of.
func (f *feed) tell(changes []Change) {
	if f == nil || len(changes) == 0 {
		return
	}
	f.mu.Lock()
	for _, c := range changes {
		f.known[c.Version] = f.looks
	}
	f.mu.Unlock()
	signal(f.notices)
}

func signal(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default: // it is on its way already
	}
}

// notify sends notifications, one for all that is changed while one is sent. They
// are no part of the transactions, because PostgreSQL lets those that notify commit
// only one after the other.
func (f *feed) notify() {
	for {
		select {
		case <-f.notices:
		case <-f.ctx.Done():
			return
		}
		ctx, cancel := context.WithTimeout(f.ctx, lookLimit)
		_, err := f.db.write.ExecContext(ctx, "SELECT pg_notify($1, '')", channel)
		cancel()
		if err != nil && f.ctx.Err() == nil {
			f.db.log.Debug("other nodes were not notified; they look by themselves", "error", err)
		}
	}
}

// listen waits for notifications on a connection of its own.
func (f *feed) listen() {
	for failures := 0; f.ctx.Err() == nil; {
		began := time.Now()
		err := f.listenOnce()
		if f.ctx.Err() != nil {
			return
		}
		f.db.log.Debug("the connection that listens ended; connecting again", "error", err)
		if failures++; time.Since(began) > keepAlive {
			failures = 1
		}
		select {
		case <-time.After(rand.N(lookEvery << min(failures, 4))):
		case <-f.ctx.Done():
			return
		}
	}
}

func (f *feed) listenOnce() (err error) {
	ctx, cancel := context.WithTimeout(f.ctx, connectTimeout)
	defer cancel()
	begun := f.db.reconnects.Load()
	conn, err := pgx.ConnectConfig(ctx, f.config)
	if err != nil {
		return err
	}
	defer func() {
		ctx, cancel := context.WithTimeout(context.Background(), time.Second)
		defer cancel()
		err = errors.Join(err, conn.Close(ctx))
	}()
	if _, err := conn.Exec(ctx, "LISTEN "+channel); err != nil {
		return err
	}
	signal(f.wake) // for what was changed before
	for {
		if err := f.await(conn); err != nil {
			return err
		}
		if f.db.reconnects.Load() != begun {
			return errors.New("it may lead to another server than new ones do")
		}
	}
}

// await waits for a notification, and tries the connection when none comes for long.
func (f *feed) await(conn *pgx.Conn) error {
	ctx, cancel := context.WithTimeout(f.ctx, keepAlive)
	defer cancel()
	_, err := conn.WaitForNotification(ctx)
	if err == nil {
		signal(f.wake)
		return nil
	}
	if f.ctx.Err() != nil || !errors.Is(err, context.DeadlineExceeded) {
		return err
	}
	ping, done := context.WithTimeout(f.ctx, lookLimit)
	defer done()
	return conn.Ping(ping)
}
