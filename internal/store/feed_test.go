package store_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/url"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/m3o/ingress/internal/store"
	"github.com/m3o/ingress/internal/store/storetest"
)

// heard keeps what a node was told.
type heard struct {
	mu    sync.Mutex
	times map[string]int // by id
	news  chan struct{}
}

func listenTo(db *store.DB) *heard {
	h := &heard{times: map[string]int{}, news: make(chan struct{}, 1)}
	db.Subscribe(func(c store.Change) {
		h.mu.Lock()
		defer h.mu.Unlock()
		h.times[c.ID]++
		select {
		case h.news <- struct{}{}:
		default:
		}
	})
	return h
}

func (h *heard) count(id string) int {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.times[id]
}

// await waits until all ids were heard of.
func (h *heard) await(t *testing.T, within time.Duration, ids ...string) {
	t.Helper()
	deadline := time.After(within)
	for _, id := range ids {
		for h.count(id) == 0 {
			select {
			case <-h.news:
			case <-deadline:
				t.Fatalf("%s was not heard of in %v", id, within)
			}
		}
	}
}

// node opens a database as one more node that follows the others.
func node(t *testing.T, url string) (*store.DB, *heard) {
	t.Helper()
	db := storetest.OpenURL(t, url)
	h := listenTo(db)
	db.FollowNodes()
	return db, h
}

// gapsOf is told each time that a database may have missed something.
func gapsOf(db *store.DB) <-chan struct{} {
	gaps := make(chan struct{}, 10)
	db.OnGap(func(context.Context) error { gaps <- struct{}{}; return nil })
	return gaps
}

func awaitGap(t *testing.T, gaps <-chan struct{}) {
	t.Helper()
	select {
	case <-gaps:
	case <-time.After(patience):
		t.Error("nobody was told that what is known may be wrong")
	}
}

// patience is for what is not a matter of speed.
const patience = 30 * time.Second

func TestNodesHearOfEachOther(t *testing.T) {
	url := storetest.StartPostgres(t).CreateDatabase(t)
	one, heardByOne := node(t, url)
	two, heardByTwo := node(t, url)
	for i := range 20 {
		if err := one.SetSetting(t.Context(), fmt.Sprint("one", i), ""); err != nil {
			t.Fatal(err)
		}
		if err := two.SetSetting(t.Context(), fmt.Sprint("two", i), ""); err != nil {
			t.Fatal(err)
		}
	}
	for i := range 20 {
		ids := []string{fmt.Sprint("one", i), fmt.Sprint("two", i)}
		heardByOne.await(t, patience, ids...)
		heardByTwo.await(t, patience, ids...)
	}
	// Looks that found nothing new, and others in between: nothing is heard again.
	if err := one.SetSetting(t.Context(), "last", ""); err != nil {
		t.Fatal(err)
	}
	heardByTwo.await(t, patience, "last")
	heardByTwo.mu.Lock() // it may still be told something
	defer heardByTwo.mu.Unlock()
	for id, n := range heardByTwo.times {
		if n > 2 { // its own change may be seen before it is told
			t.Errorf("%s was heard of %d times", id, n)
		}
	}
}

// What was given the lower version commits last, after the other was seen.
func TestAChangeThatCommitsLateIsNotMissed(t *testing.T) {
	url := storetest.StartPostgres(t).CreateDatabase(t)
	writer, _ := node(t, url)
	_, reader := node(t, url)
	given, release, done := make(chan struct{}), make(chan struct{}), make(chan error, 1)
	var begun sync.Once
	go func() {
		done <- writer.Write(t.Context(), func(tx *store.Tx) error {
			if err := tx.Changed(t.Context(), "setting", "early"); err != nil {
				return err
			}
			begun.Do(func() { close(given) })
			<-release
			return nil
		})
	}()
	<-given
	if err := writer.SetSetting(t.Context(), "late", ""); err != nil {
		t.Fatal(err)
	}
	reader.await(t, patience, "late")
	if n := reader.count("early"); n != 0 {
		t.Fatalf("a change that is not committed was heard of %d times", n)
	}
	close(release)
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	reader.await(t, patience, "early")
}

// A transaction that runs for long, of whichever database of the server, does not have
// nodes read what they have read again and again.
func TestALongTransactionElsewhereCostsNothing(t *testing.T) {
	server := storetest.StartPostgres(t)
	db := storetest.OpenURL(t, server.CreateDatabase(t))
	other, err := pgx.Connect(t.Context(), server.CreateDatabase(t))
	if err != nil {
		t.Fatal(err)
	}
	defer other.Close(context.Background())
	if _, err := other.Exec(t.Context(), "BEGIN; SELECT pg_current_xact_id()"); err != nil {
		t.Fatal(err)
	}
	const number = 600
	for i := range number {
		if err := db.SetSetting(t.Context(), fmt.Sprint("setting", i), ""); err != nil {
			t.Fatal(err)
		}
	}
	for look, most := range []int{number, number / 2} {
		rows, err := db.Look(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if rows > most || look == 0 && rows < number {
			t.Errorf("look %d reads %d rows", look, rows)
		}
	}
}

// Many transactions overlap in every way, some are given up, and nodes look all the
// time: every change that was committed is heard of, and no other.
func TestNoChangeIsMissedWhateverTheOrderOfCommits(t *testing.T) {
	url := storetest.StartPostgres(t).CreateDatabase(t)
	reader, heardByReader := node(t, url)
	var committed, rolledBack []string
	var mu sync.Mutex
	var writers sync.WaitGroup
	for w := range 4 {
		db, _ := node(t, url)
		for lane := range 3 {
			writers.Go(func() {
				for i := range 25 {
					id := fmt.Sprintf("%d-%d-%d", w, lane, i)
					fails := rand.N(4) == 0
					err := db.Write(t.Context(), func(tx *store.Tx) error {
						if err := tx.Changed(t.Context(), "setting", id); err != nil {
							return err
						}
						var slept string
						if err := tx.QueryRowContext(t.Context(), "SELECT pg_sleep($1)::text", rand.Float64()/50).Scan(&slept); err != nil {
							return err
						}
						if fails {
							return errGivenUp
						}
						return nil
					})
					mu.Lock()
					switch {
					case fails:
						rolledBack = append(rolledBack, id)
					case err == nil:
						committed = append(committed, id)
					default:
						t.Error(err)
					}
					mu.Unlock()
					// So that looks fall between the commits.
					if rand.N(3) == 0 {
						if err := reader.Ping(t.Context()); err != nil {
							t.Error(err)
						}
					}
				}
			})
		}
	}
	writers.Wait()
	heardByReader.await(t, patience, committed...)
	for _, id := range rolledBack {
		if n := heardByReader.count(id); n != 0 {
			t.Errorf("%s, which was rolled back, was heard of", id)
		}
	}
	for _, id := range committed {
		if n := heardByReader.count(id); n != 1 {
			t.Errorf("%s was heard of %d times", id, n)
		}
	}
}

var errGivenUp = fmt.Errorf("given up")

// Without notifications a node looks by itself.
func TestChangesAreHeardOfWithoutNotifications(t *testing.T) {
	url := storetest.StartPostgres(t).CreateDatabase(t)
	writer := storetest.OpenURL(t, url) // does not follow, and so does not notify
	_, reader := node(t, url)
	for i := range 3 {
		id := fmt.Sprint("quiet", i)
		if err := writer.SetSetting(t.Context(), id, ""); err != nil {
			t.Fatal(err)
		}
		reader.await(t, patience, id)
	}
}

func TestANodeIsBehindWhileTheDatabaseIsAwayAndCatchesUp(t *testing.T) {
	server := storetest.StartPostgres(t)
	url := ownedBy(t, "ordinary", server.CreateDatabase(t))
	writer, _ := node(t, url)
	db, reader := node(t, url)
	gaps := gapsOf(db)
	for _, fault := range []struct {
		name     string
		down, up func() error
	}{
		{"stopped", server.Stop, func() error { return server.Start(t.Context()) }},
		{"killed", server.Kill, func() error { return server.Start(t.Context()) }},
		{"paused", server.Pause, server.Resume},
	} {
		t.Run(fault.name, func(t *testing.T) {
			if err := fault.down(); err != nil {
				t.Fatal(err)
			}
			eventually(t, "the node to be behind", func() bool { return db.Behind() > 2*time.Second })
			err := writer.SetSetting(t.Context(), "while-"+fault.name, "")
			var down *store.UnavailableError
			if !errors.As(err, &down) {
				t.Errorf("a write meanwhile: %v", err)
			}
			if err := fault.up(); err != nil {
				t.Fatal(err)
			}
			eventually(t, "the node to be up to date", func() bool { return db.Behind() < 2*time.Second })
			eventually(t, "a write", func() bool { return writer.SetSetting(t.Context(), "after-"+fault.name, "") == nil })
			reader.await(t, patience, "after-"+fault.name)
			// What was refused is not there: what could not be known would be said.
			settings, err := writer.Settings(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			if _, there := settings["while-"+fault.name]; there {
				t.Error("the write that failed was done")
			}
		})
	}
	if len(gaps) > 0 {
		t.Error("a short outage counts as a gap")
	}
}

// ownedBy gives a database to a user without any privileges, and returns its URL for that one.
func ownedBy(t *testing.T, name, raw string) string {
	t.Helper()
	run(t, raw, "CREATE ROLE "+name+" LOGIN", "ALTER DATABASE "+nameIn(t, raw)+" OWNER TO "+name)
	return with(t, raw, func(u *url.URL) { u.User = url.User(name) })
}

// eventually waits for something that no event tells of.
func eventually(t *testing.T, what string, is func() bool) {
	t.Helper()
	deadline := time.Now().Add(patience)
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for !is() {
		if time.Now().After(deadline) {
			t.Fatalf("waited %v for %s", patience, what)
		}
		<-tick.C
	}
}
