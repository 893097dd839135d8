package key

import (
	"context"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/m3o/ingress/internal/api"
	"github.com/m3o/ingress/internal/store"
	"github.com/m3o/ingress/internal/store/storetest"
	apipb "github.com/m3o/ingress/proto/api"
)

// nodes are services on one database, with a time that only the test moves.
type nodes struct {
	t     *testing.T
	db    *store.DB // to look and to meddle
	at    time.Time
	nodes []*Service
}

// longLife is long enough that no node dies because the machine is slow.
const longLife = time.Hour

func newNode(t *testing.T, url string, now func() time.Time) *Service {
	t.Helper()
	s := New(storetest.OpenURL(t, url), Options{Now: now})
	s.nodeLife = longLife
	return s
}

// newNodes returns so many nodes that know of each other.
func newNodes(t *testing.T, url string, number int) *nodes {
	t.Helper()
	n := &nodes{t: t, db: storetest.OpenURL(t, url), at: start}
	for i := range number {
		// Clocks of nodes differ, and nothing may come of it.
		skew := time.Duration(i) * time.Hour
		n.nodes = append(n.nodes, newNode(t, url, func() time.Time { return n.at.Add(skew) }))
	}
	for range 2 {
		for i := range n.nodes {
			n.exchange(i)
		}
	}
	return n
}

func (n *nodes) exchange(i int) {
	n.t.Helper()
	if err := n.nodes[i].exchange(n.t.Context()); err != nil {
		n.t.Errorf("node %d: %v", i, err)
	}
}

// drive puts load on the nodes; see drive.
func (n *nodes) drive(l *load, caller api.Caller, from, periods int) (allowed, offered int) {
	n.t.Helper()
	return drive(l, from, periods, func(node int, at time.Duration) bool {
		n.at = start.Add(at)
		return n.nodes[node].Take(caller).Allowed
	}, func(node int, at time.Duration) {
		n.at = start.Add(at)
		n.exchange(node)
	})
}

// share is what a node has of a key's rate.
func (n *nodes) share(i int, key string) float64 {
	n.t.Helper()
	held := n.nodes[i].buckets.leases.byKey[key]
	if held == nil {
		n.t.Fatalf("node %d has no lease of %s", i, key)
	}
	return float64(held.share)
}

// rows returns how many nodes have a row.
func (n *nodes) rows() (rows int) {
	n.t.Helper()
	if err := n.db.QueryRowContext(n.t.Context(), "SELECT COUNT(*) FROM nodes").Scan(&rows); err != nil {
		n.t.Fatal(err)
	}
	return rows
}

// age makes a node's last sign of life older.
func (n *nodes) age(i int, by time.Duration) {
	n.t.Helper()
	err := n.db.Write(n.t.Context(), func(tx *store.Tx) error {
		_, err := tx.ExecContext(n.t.Context(), "UPDATE nodes SET seen = seen - make_interval(secs => $2) WHERE id = $1", n.nodes[i].node, by.Seconds())
		return err
	})
	if err != nil {
		n.t.Fatal(err)
	}
}

var shared = api.Caller{KeyID: "key_shared", Quotas: api.Quotas{RequestsPerSecond: 100, Burst: 50}}

func TestNodes(t *testing.T) {
	server := storetest.StartPostgres(t)
	for name, test := range map[string]func(*testing.T, *storetest.Server){
		"share a rate":                             nodesShareARate,
		"do not limit the bootstrap key":           bootstrapIsNotShared,
		"take over the share of one that died":     deadNodesShareIsTakenOver,
		"take one seen in the future for dead":     nodeSeenInTheFutureIsDead,
		"do not conflict":                          exchangesDoNotConflict,
		"join when they run, and leave at the end": runJoinsAndLeaves,
	} {
		t.Run(name, func(t *testing.T) { test(t, server) })
	}
}

func nodesShareARate(t *testing.T, server *storetest.Server) {
	for _, parts := range [][]int{{1, 1, 1}, {80, 15, 5}, {1, 0, 0}} {
		t.Run(fmt.Sprint(parts), func(t *testing.T) {
			n := newNodes(t, server.CreateDatabase(t), len(parts))
			l := &load{perSecond: split(parts, 200)}
			n.drive(l, shared, 0, 5)
			if allowed, _ := n.drive(l, shared, 5, 10); allowed < 900 || allowed > 1100 {
				t.Errorf("%d were allowed, where 1000 are", allowed)
			}
		})
	}
}

func bootstrapIsNotShared(t *testing.T, server *storetest.Server) {
	n := newNodes(t, server.CreateDatabase(t), 2)
	for range 1000 {
		if rate := n.nodes[0].Take(api.Caller{KeyID: "key_any", Unlimited: true}); !rate.Allowed || rate.Limit != 0 {
			t.Fatalf("%+v", rate)
		}
	}
	if len(n.nodes[0].buckets.leases.byKey) != 0 {
		t.Error("it is measured")
	}
}

func deadNodesShareIsTakenOver(t *testing.T, server *storetest.Server) {
	n := newNodes(t, server.CreateDatabase(t), 2)
	l := &load{perSecond: []float64{200, 200}}
	n.drive(l, shared, 0, 10)
	if got := n.share(0, shared.KeyID); got < 0.45 || got > 0.55 {
		t.Fatalf("one of two has a share of %v", got)
	}
	n.age(1, longLife/2)
	n.exchange(0)
	if got := n.share(0, shared.KeyID); got > 0.55 {
		t.Errorf("the other was silent for a moment, and this one has taken a share of %v", got)
	}
	n.age(1, longLife)
	n.nodes[0].Take(shared)
	n.exchange(0)
	if got := n.share(0, shared.KeyID); got < 0.99 || got > 1 {
		t.Errorf("the other is dead, and this one has a share of %v", got)
	}
	n.age(1, keepLives*longLife)
	n.exchange(0)
	if rows := n.rows(); rows != 1 {
		t.Errorf("there are rows of %d nodes, and one lives", rows)
	}
	// It was not dead after all.
	n.exchange(1)
	n.exchange(0)
	if rows, known := n.rows(), n.nodes[0].buckets.nodes(); rows != 2 || known != 2 {
		t.Errorf("the other came back: %d rows, %d nodes", rows, known)
	}
}

// A row of the future, written before the server's clock was set back, is no sign of
// life.
func nodeSeenInTheFutureIsDead(t *testing.T, server *storetest.Server) {
	n := newNodes(t, server.CreateDatabase(t), 2)
	n.age(1, -2*longLife)
	n.exchange(0)
	if known := n.nodes[0].buckets.nodes(); known != 1 {
		t.Errorf("there are %d nodes", known)
	}
}

func TestSharesStayWhileTheDatabaseIsAway(t *testing.T) {
	server := storetest.StartPostgres(t)
	url := server.CreateDatabase(t)
	n := newNodes(t, url, 3)
	l := &load{perSecond: split([]int{3, 1, 0}, 200)}
	n.drive(l, shared, 0, 10)
	before := n.share(0, shared.KeyID)
	if err := server.Kill(); err != nil {
		t.Fatal(err)
	}
	failed := 0
	take := func(node int, at time.Duration) bool {
		n.at = start.Add(at)
		return n.nodes[node].Take(shared).Allowed
	}
	away := func(node int, at time.Duration) {
		n.at = start.Add(at)
		if n.nodes[node].exchange(t.Context()) != nil {
			failed++
		}
	}
	allowed, _ := drive(l, 10, 10, take, away)
	if allowed < 900 || allowed > 1100 {
		t.Errorf("%d were allowed meanwhile, where 1000 are", allowed)
	}
	if failed != 30 {
		t.Errorf("%d of 30 exchanges failed without a database", failed)
	}
	if now := n.share(0, shared.KeyID); now != before {
		t.Errorf("the share went from %v to %v", before, now)
	}
	if rate := n.nodes[2].Take(api.Caller{KeyID: "key_new", Quotas: shared.Quotas}); !rate.Allowed || rate.Remaining > shared.Quotas.Burst/3 {
		t.Errorf("a key that is new here: %+v", rate)
	}
	if err := server.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	// A connection that was cut may be found out once more.
	drive(l, 20, 3, take, away)
	if allowed, _ := n.drive(l, shared, 23, 10); allowed < 900 || allowed > 1100 {
		t.Errorf("%d were allowed afterwards, where 1000 are", allowed)
	}
	n.db = storetest.OpenURL(t, url) // whose connections are not of before
	if rows := n.rows(); rows != 3 {
		t.Errorf("there are rows of %d nodes afterwards", rows)
	}
}

// Nodes never get in each other's way, not even where all remove the same dead ones and
// the server's default is to refuse what conflicts.
func exchangesDoNotConflict(t *testing.T, server *storetest.Server) {
	url := server.CreateDatabase(t)
	n := newNodes(t, url, 4)
	err := n.db.Write(t.Context(), func(tx *store.Tx) error {
		_, err := tx.ExecContext(t.Context(), `
			DO $$ BEGIN EXECUTE format('ALTER DATABASE %I SET default_transaction_isolation = serializable', current_database()); END $$`)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	var exchanging sync.WaitGroup
	for i := range 4 {
		s := newNode(t, url, time.Now)
		exchanging.Go(func() {
			for j := range 50 {
				s.Take(shared)
				if err := s.exchange(t.Context()); err != nil {
					t.Error(err)
				}
				err := s.keys.db.Write(t.Context(), func(tx *store.Tx) error {
					_, err := tx.ExecContext(t.Context(), "INSERT INTO nodes (id, seen, keys, demands) VALUES ($1, now() - interval '1 day', '{}', '{}')", fmt.Sprint(i, "-", j))
					return err
				})
				if err != nil {
					t.Error(err)
				}
			}
		})
	}
	exchanging.Wait()
	n.exchange(0)
	if rows := n.rows(); rows != 8 {
		t.Errorf("there are rows of %d nodes, and 8 live", rows)
	}
}

func runJoinsAndLeaves(t *testing.T, server *storetest.Server) {
	n := newNodes(t, server.CreateDatabase(t), 1)
	ctx, cancel := context.WithCancel(t.Context())
	var running sync.WaitGroup
	defer func() { cancel(); running.Wait() }()
	joining := New(n.db, Options{})
	joining.nodeLife = longLife
	running.Go(func() { joining.Run(ctx) })
	deadline := time.After(time.Minute)
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for n.rows() != 2 {
		select {
		case <-tick.C:
		case <-deadline:
			t.Fatal("no row of the node that runs")
		}
	}
	cancel()
	running.Wait()
	if rows := n.rows(); rows != 1 {
		t.Errorf("the node has ended, and there are rows of %d", rows)
	}
}

// The bootstrap key is replaced node by node, and works on those that run on.
func TestABootstrapKeyOfAnotherNodeIsKnown(t *testing.T) {
	url := storetest.StartPostgres(t).CreateDatabase(t)
	old, next := newNode(t, url, time.Now), newNode(t, url, time.Now)
	const former, latter = "the key of the year before", "the key of the year to come"
	if _, err := old.EnsureBootstrap(t.Context(), former, t.TempDir()+"/none"); err != nil {
		t.Fatal(err)
	}
	old.keys.db.FollowNodes()
	ctx, cancel := context.WithCancel(t.Context())
	var running sync.WaitGroup
	running.Go(func() { old.Run(ctx) })
	defer running.Wait()
	defer cancel()
	if old.IsPlatformKey(latter) {
		t.Fatal("it knows the key already")
	}
	if _, err := next.EnsureBootstrap(t.Context(), latter, t.TempDir()+"/none"); err != nil {
		t.Fatal(err)
	}
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for deadline := time.After(30 * time.Second); !old.IsPlatformKey(latter); {
		select {
		case <-tick.C:
		case <-deadline:
			t.Fatal("the node that ran on does not know the key")
		}
	}
	if _, err := old.Authenticate(t.Context(), latter); err != nil {
		t.Errorf("the new key: %v", err)
	}
	if _, err := old.Authenticate(t.Context(), former); err == nil {
		t.Error("the former key works")
	}
}

func TestOnOneMachineNothingIsShared(t *testing.T) {
	s := New(storetest.Open(t), Options{})
	if s.buckets.leases != nil || s.node != "" || s.Collector() != nil {
		t.Error("a node alone keeps leases")
	}
	s.Run(ended(t))
}

// BenchmarkExchange is what a node does once a second, among three with the same keys.
func BenchmarkExchange(b *testing.B) {
	url := storetest.StartPostgres(b).CreateDatabase(b)
	for _, keys := range []int{0, 100, maxLeases} {
		b.Run(fmt.Sprint(keys), func(b *testing.B) {
			var nodes []*Service
			for range 3 {
				s := New(storetest.OpenURL(b, url), Options{Now: func() time.Time { return start }})
				for i := range keys {
					s.Take(api.Caller{KeyID: fmt.Sprintf("key_%026d", i), Quotas: api.DefaultQuotas})
				}
				nodes = append(nodes, s)
				if err := s.exchange(b.Context()); err != nil {
					b.Fatal(err)
				}
			}
			for b.Loop() {
				if err := nodes[0].exchange(b.Context()); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

// A node that has not seen for too long what others change asks for a key anew. When it is
// told that there is none, what it knew before does not count.
func TestAKeyRevokedElsewhereEndsWhenItIsAskedForAnew(t *testing.T) {
	url := storetest.StartPostgres(t).CreateDatabase(t)
	there := New(storetest.OpenURL(t, url), Options{})
	here := New(storetest.OpenURL(t, url), Options{MaxStale: time.Nanosecond}) // it follows nobody, so all it knows is stale
	res, err := there.createTenant(t.Context(), api.Caller{}, &apipb.CreateRequest{Name: "alice"})
	if err != nil {
		t.Fatal(err)
	}
	caller, err := here.Authenticate(t.Context(), res.GetApiKey())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := there.revoke(t.Context(), caller, &apipb.RevokeRequest{Id: caller.KeyID}); err != nil {
		t.Fatal(err)
	}
	_, err = here.Authenticate(t.Context(), res.GetApiKey())
	unauthorizedIs(t, err)
	if e, _, _ := here.cache.get(hashOf(res.GetApiKey())); e != nil {
		t.Error("the key is still known")
	}
}
