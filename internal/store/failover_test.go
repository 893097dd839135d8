package store_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/m3o/ingress/internal/logtest"
	"github.com/m3o/ingress/internal/store"
	"github.com/m3o/ingress/internal/store/storetest"
)

// pair starts a server and one that follows it, and returns the first one's URL of a
// database with the schema, which is on both.
func pair(t *testing.T) (primary, replica *storetest.Server, url string) {
	t.Helper()
	primary = storetest.StartPostgres(t)
	url = primary.CreateDatabase(t)
	storetest.OpenURL(t, url)
	return primary, primary.Replica(t), url
}

// either is the URL of a database that is on one of two servers, as operators write it.
func either(t *testing.T, raw string, other *storetest.Server) string {
	t.Helper()
	return with(t, raw, func(u *url.URL) {
		u.Host += "," + other.Address()
		u.RawQuery = "sslmode=disable&target_session_attrs=read-write"
	})
}

// The replica that takes over lacks what the primary did last, and gives the numbers of
// that, of transactions as of changes, to what it does itself. No node may take the one
// for the other.
func TestAReplicaThatLacksTheLastChangesTakesOver(t *testing.T) {
	primary, replica, u := pair(t)
	writer, _ := node(t, either(t, u, replica))
	db, reader := node(t, either(t, u, replica))
	gaps := gapsOf(db)

	// It has all of the sequences that it will have when it is asked.
	if err := writer.SetSetting(t.Context(), "before", ""); err != nil {
		t.Fatal(err)
	}
	reader.await(t, patience, "before")
	eventually(t, "the replica to follow", func() bool { return hasSetting(t, replica, u, "before") })
	if err := replica.Stop(); err != nil {
		t.Fatal(err)
	}
	const lost = 50
	for i := range lost {
		id := fmt.Sprint("lost", i)
		if err := writer.SetSetting(t.Context(), id, ""); err != nil {
			t.Fatal(err)
		}
		reader.await(t, patience, id)
	}
	if err := primary.Kill(); err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(replica.Start(t.Context()), replica.Promote()); err != nil {
		t.Fatal(err)
	}
	var after []string
	for i := range 2 * lost {
		after = append(after, fmt.Sprint("after", i))
		eventually(t, "a write", func() bool { return writer.SetSetting(t.Context(), after[i], "") == nil })
	}
	reader.await(t, patience, after...)
	awaitGap(t, gaps)
	settings, err := db.Settings(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if _, there := settings["lost0"]; there {
		t.Error("the replica had everything; this tests nothing")
	}
	eventually(t, "the node to be up to date", func() bool { return db.Behind() < 2*time.Second })
	if len(gaps) > 0 {
		t.Errorf("and told so %d times more", len(gaps))
	}
}

// hasSetting reports whether a server has a setting in the database of a URL.
func hasSetting(t *testing.T, server *storetest.Server, raw, name string) bool {
	t.Helper()
	db, err := store.OpenPostgresToRead(t.Context(), store.PostgresOptions{URL: server.DatabaseURL(nameIn(t, raw)), Log: discard})
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	settings, err := db.Settings(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	_, there := settings[name]
	return there
}

// An address that leads to a replica for a while, as a name does that is moved late, is not
// relied on for what has changed, and left as soon as it leads to the primary.
func TestAReplicaIsNotReliedOnForChanges(t *testing.T) {
	primary, replica, u := pair(t)
	writer := storetest.OpenURL(t, u)
	way := primary.NewProxy(t)
	db, reader := node(t, way.Through(t, u))
	way.Lead(replica)
	eventually(t, "the node to be behind", func() bool { return db.Behind() > 3*time.Second })
	if _, err := db.Settings(t.Context()); err != nil {
		t.Errorf("reading what is known meanwhile: %v", err)
	}
	if err := db.SetSetting(t.Context(), "refused", ""); err == nil || !strings.Contains(err.Error(), "takes no writes now") || !strings.HasSuffix(err.Error(), "nothing was written") {
		t.Errorf("a write meanwhile: %v", err)
	}
	way.Point(primary)
	eventually(t, "the node to be up to date", func() bool { return db.Behind() < 2*time.Second })
	if err := writer.SetSetting(t.Context(), "after", ""); err != nil {
		t.Fatal(err)
	}
	reader.await(t, patience, "after")
	eventually(t, "a write", func() bool { return db.SetSetting(t.Context(), "written", "") == nil })
}

// A server that does not say which one it is, as managed ones may not, can be used; that it
// was started again may mean that another one took its place.
func TestAServerThatDoesNotSayWhichItIs(t *testing.T) {
	server := storetest.StartPostgres(t)
	for name, code := range map[string]string{"not allowed": "42501", "not supported": "0A000"} {
		t.Run(name, func(t *testing.T) {
			u := server.CreateDatabase(t)
			run(t, u, "CREATE SCHEMA managed",
				"CREATE FUNCTION managed.pg_control_system(OUT system_identifier bigint) LANGUAGE plpgsql AS $$ BEGIN RAISE 'refused' USING ERRCODE = '"+code+"'; END $$",
				"ALTER DATABASE "+nameIn(t, u)+" SET search_path = managed, pg_catalog, public")
			writer := storetest.OpenURL(t, u)
			db, reader := node(t, u)
			gaps := gapsOf(db)
			if err := writer.SetSetting(t.Context(), "before", ""); err != nil {
				t.Fatal(err)
			}
			reader.await(t, patience, "before")
			if len(gaps) > 0 {
				t.Error("a gap without any outage")
			}
			if err := errors.Join(server.Stop(), server.Start(t.Context())); err != nil {
				t.Fatal(err)
			}
			awaitGap(t, gaps)
		})
	}
}

// The machine of the primary is gone: nothing refuses connections to it, and nothing ends
// those that there are. Nodes turn to the replica that takes over, also those that only read.
func TestAPrimaryThatFallsSilentIsLeft(t *testing.T) {
	primary, replica, u := pair(t)
	db, reader := node(t, either(t, u, replica))
	gaps := gapsOf(db)
	if err := db.SetSetting(t.Context(), "before", ""); err != nil {
		t.Fatal(err)
	}
	reader.await(t, patience, "before")
	eventually(t, "the replica to follow", func() bool { return hasSetting(t, replica, u, "before") })
	const connections = 12
	var held sync.WaitGroup
	for range connections {
		held.Go(func() {
			var slept string
			_ = db.QueryRowContext(t.Context(), "SELECT pg_sleep(0.5)::text").Scan(&slept) // some less would do
		})
	}
	held.Wait()
	if err := primary.Pause(); err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := primary.Resume(); err != nil {
			t.Error(err)
		}
	}()
	if err := replica.Promote(); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the node to be behind", func() bool { return db.Behind() > 2*time.Second })
	eventually(t, "the node to be up to date", func() bool { return db.Behind() < 2*time.Second })
	awaitGap(t, gaps) // although all changes that were heard of are there
	if _, err := db.Settings(t.Context()); err != nil {
		t.Error(err)
	}
}

// One pool has connections to two servers while an address is moved and the one of before
// goes on: which one it is, the server that gave a snapshot says, and no other.
func TestAServerDoesNotSayWhichOneAnotherIs(t *testing.T) {
	db := storetest.OpenURL(t, storetest.StartPostgres(t).CreateDatabase(t))
	own, others, err := db.Identities(t.Context())
	if err != nil || own == "" || others == nil || !strings.Contains(others.Error(), "some to another") {
		t.Errorf("it says %q of itself and %v of another one, %v", own, others, err)
	}
}

// A change that was heard of and is not there any more was lost, with others perhaps: by a
// server that crashed without waiting for its disk, or by a replica whose timeline has the
// number of another's. One that had its time and was pruned was not.
func TestAChangeThatIsNotThereAnyMore(t *testing.T) {
	u := storetest.StartPostgres(t).CreateDatabase(t)
	db := storetest.OpenURL(t, u)
	h := listenTo(db)
	gaps := 0
	db.OnGap(func(context.Context) error { gaps++; return nil })
	look := func(want int) {
		t.Helper()
		if _, err := db.Look(t.Context()); err != nil {
			t.Fatal(err)
		}
		if gaps != want {
			t.Fatalf("%d gaps, want %d", gaps, want)
		}
	}
	writer := storetest.OpenURL(t, u)
	set := func(id string) {
		t.Helper()
		if err := writer.SetSetting(t.Context(), id, ""); err != nil {
			t.Fatal(err)
		}
	}
	look(0)
	set("first")
	set("second")
	look(0)
	look(0)
	run(t, u, "DELETE FROM changes WHERE id = 'second'")
	look(1)
	look(1)
	run(t, u, "DELETE FROM changes")
	look(2)
	look(2)

	// The same version is given again, to another change, by another transaction.
	set("third")
	look(2)
	run(t, u, "UPDATE changes SET id = 'fourth', xid = pg_current_xact_id()::text::bigint")
	look(3)
	if h.count("third") == 0 || h.count("fourth") == 0 {
		t.Errorf("heard of %v", h.times)
	}

	run(t, u, "UPDATE changes SET at = at - 13::bigint * 3600 * 1000000000")
	look(3)
	run(t, u, "DELETE FROM changes")
	look(3)
}

// The primary of before that is started again takes writes like the one that took its
// place, and the URL names it first. No process that knows of the other one goes back.
func TestAPrimaryThatComesBackIsNotUsed(t *testing.T) {
	primary := storetest.StartPostgres(t)
	u := primary.CreateDatabase(t)
	storetest.OpenURL(t, u) // the schema
	replica := primary.Replica(t)
	writer, _ := node(t, either(t, u, replica))
	db, reader := node(t, either(t, u, replica))
	if err := writer.SetSetting(t.Context(), "before", ""); err != nil {
		t.Fatal(err)
	}
	reader.await(t, patience, "before")
	eventually(t, "the replica to follow", func() bool { return hasSetting(t, replica, u, "before") })
	if err := errors.Join(primary.Stop(), replica.Promote()); err != nil {
		t.Fatal(err)
	}
	eventually(t, "a write", func() bool { return writer.SetSetting(t.Context(), "promoted", "") == nil })
	reader.await(t, patience, "promoted")

	if err := primary.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	for range 3 { // each time all connections are new
		run(t, replica.DatabaseURL(nameIn(t, u)), "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'm3o-ingress'")
		for i, by := range []*store.DB{writer, db} {
			eventually(t, "a write", func() bool { return by.SetSetting(t.Context(), fmt.Sprint("after", i), "") == nil })
		}
		eventually(t, "the node to be up to date", func() bool { return db.Behind() < 2*time.Second })
	}
	for _, name := range []string{"promoted", "after0", "after1"} {
		if hasSetting(t, primary, u, name) || !hasSetting(t, replica, u, name) {
			t.Errorf("%s was written to the primary of before", name)
		}
	}
}

// Where the address leads to it alone, that is said, once, and nothing is written to it.
func TestAPrimaryThatComesBackAtTheSameAddressIsTold(t *testing.T) {
	primary := storetest.StartPostgres(t)
	u := primary.CreateDatabase(t)
	storetest.OpenURL(t, u) // the schema
	replica := primary.Replica(t)
	way := primary.NewProxy(t)
	var log logtest.Buffer
	db, err := store.OpenPostgres(t.Context(), store.PostgresOptions{URL: way.Through(t, u), Log: slog.New(slog.NewTextHandler(&log, nil))})
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	db.FollowNodes()
	const said = "another one has taken"
	if err := replica.Promote(); err != nil {
		t.Fatal(err)
	}
	way.Lead(replica)
	eventually(t, "a gap", func() bool { return log.Count("read anew") == 1 })
	if log.Count(said) > 0 {
		t.Error("it is said of the one that took over")
	}
	// Nothing answers at first, which is said as well.
	way.Cut()
	eventually(t, "the node to be behind", func() bool { return db.Behind() > 2*time.Second })
	way.Lead(primary)
	way.Heal()
	eventually(t, "it to be said", func() bool { return log.Count(said) == 1 })
	eventually(t, "the node to be behind", func() bool { return db.Behind() > 3*time.Second })
	if err := db.SetSetting(t.Context(), "lost", ""); err == nil || !strings.HasSuffix(err.Error(), "nothing was written") {
		t.Errorf("a write: %v", err)
	}
	if n := log.Count(said); n != 1 {
		t.Errorf("it is said %d times", n)
	}
	way.Lead(replica)
	eventually(t, "the node to be up to date", func() bool { return db.Behind() < 2*time.Second })
}

// With target_session_attrs=prefer-standby a primary is what is left when no standby is there.
func TestAPrimaryThatComesBackIsNotUsedWhereStandbysArePreferred(t *testing.T) {
	primary, replica, u := pair(t)
	way := primary.NewProxy(t)
	db, _ := node(t, with(t, way.Through(t, u), func(u *url.URL) { u.RawQuery += "&target_session_attrs=prefer-standby" }))
	gaps := gapsOf(db)
	if err := replica.Promote(); err != nil {
		t.Fatal(err)
	}
	way.Lead(replica)
	awaitGap(t, gaps)
	eventually(t, "a write", func() bool { return db.SetSetting(t.Context(), "after", "") == nil })
	way.Lead(primary)
	var err error
	eventually(t, "the primary of before to be refused", func() bool {
		err = db.SetSetting(t.Context(), "lost", "")
		return err == nil || strings.Contains(err.Error(), "another one has taken")
	})
	if err == nil {
		t.Error("it was written to")
	}
}

// The primary of before comes back just when nodes read anew what they know, and the
// address leads to it again: not one of the connections that are made meanwhile is to it.
func TestAPrimaryThatComesBackInAGapIsNotUsed(t *testing.T) {
	primary, replica, u := pair(t)
	way := primary.NewProxy(t)
	db, err := store.OpenPostgres(t.Context(), store.PostgresOptions{URL: way.Through(t, u), Log: discard})
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	written := make(chan error, 1)
	var first sync.Once
	db.OnGap(func(context.Context) error {
		first.Do(func() {
			way.Point(primary)
			written <- db.SetSetting(t.Context(), "lost", "")
			way.Point(replica)
		})
		return nil
	})
	if err := replica.Promote(); err != nil {
		t.Fatal(err)
	}
	way.Lead(replica)
	db.FollowNodes()
	select {
	case err := <-written:
		if err == nil || !strings.Contains(err.Error(), "another one has taken") {
			t.Errorf("a write to it: %v", err)
		}
	case <-time.After(patience):
		t.Fatal("there was no gap")
	}
	eventually(t, "the node to be up to date", func() bool { return db.Behind() < 2*time.Second })
}

// The address is moved to another server while the one of before goes on, and has
// connections that are in use. None of them is used again.
func TestConnectionsToTheServerOfBeforeAreGivenUp(t *testing.T) {
	before, after := storetest.StartPostgres(t), storetest.StartPostgres(t)
	u := before.CreateDatabase(t)
	storetest.OpenURL(t, with(t, after.CreateDatabase(t), func(other *url.URL) {
		if nameIn(t, other.String()) != nameIn(t, u) {
			t.Fatalf("%s and %s are not of one name", other, u)
		}
	}))
	way := before.NewProxy(t)
	db, err := store.OpenPostgres(t.Context(), store.PostgresOptions{URL: way.Through(t, u), Patient: true, Log: discard})
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	db.FollowNodes()
	gaps := gapsOf(db)
	const connections = 8
	atOnce := func(query string) (answers []string) {
		var mu sync.Mutex
		var asking sync.WaitGroup
		for range connections {
			asking.Go(func() {
				var text string
				if err := db.QueryRowContext(t.Context(), query).Scan(&text); err != nil {
					t.Error(err)
				}
				mu.Lock()
				defer mu.Unlock()
				answers = append(answers, text)
			})
		}
		asking.Wait()
		return answers
	}
	back := make(chan struct{})
	go func() { defer close(back); atOnce("SELECT pg_sleep(6)::text") }()
	eventually(t, "all to be busy", func() bool { return busyConnections(t, u) == connections })
	way.Point(after)
	run(t, u, "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'm3o-ingress' AND query NOT LIKE '%pg_sleep%'")
	awaitGap(t, gaps)
	<-back
	for range 3 {
		for _, port := range atOnce("SELECT current_setting('port') || left(pg_sleep(0.1)::text, 0)") {
			if want := strings.Split(after.Address(), ":")[1]; port != want {
				t.Fatalf("the server at port %s was asked, and the address leads to %s", port, want)
			}
		}
	}
	if len(gaps) > 0 {
		t.Errorf("it was taken for %d other servers more", len(gaps))
	}
}

// busyConnections are those of ingresses that sleep.
func busyConnections(t *testing.T, u string) (n int) {
	t.Helper()
	conn, err := pgx.Connect(t.Context(), u)
	if err != nil {
		t.Error(err)
		return 0
	}
	defer conn.Close(context.Background())
	err = conn.QueryRow(t.Context(), "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'm3o-ingress' AND query LIKE '%pg_sleep(6%'").Scan(&n)
	if err != nil {
		t.Error(err)
	}
	return n
}
