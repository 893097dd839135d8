package link

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/m3o/ingress/internal/store"
	"github.com/m3o/ingress/internal/store/storetest"
)

func TestRepositoryOnSQLite(t *testing.T) {
	testRepository(t, func(t *testing.T) *store.DB { return storetest.Open(t) })
}

func TestRepositoryWithConflicts(t *testing.T) {
	testRepository(t, func(t *testing.T) *store.DB { return storetest.OpenConflicting(t) })
}

func TestRepositoryOnPostgreSQL(t *testing.T) {
	open := storetest.Postgres(t)
	testRepository(t, func(t *testing.T) *store.DB { return open(t) })
}

// testRepository is what every database engine must do. open returns an empty
// database that lives as long as the test.
func testRepository(t *testing.T, open func(*testing.T) *store.DB) {
	for name, test := range map[string]func(*testing.T, repository){
		"one of many creators wins":           oneCreatorWins,
		"creators do not pass the quota":      creatorsStayWithinTheQuota,
		"the count follows creates, deletes":  theCountIsRight,
		"a list is ordered and a tenant's":    listIsOrdered,
		"ids differ by case":                  idsDifferByCase,
		"others change nothing":               othersChangeNothing,
		"a deleted id is kept 30 days":        deletedIDsAreKept,
		"pruning frees ids":                   pruningFreesIDs,
		"hits from many writers add up":       hitsAddUp,
		"hits with one receipt count once":    aReceiptCountsOnce,
		"changes are announced, failures not": changesAreAnnounced,
	} {
		t.Run(name, func(t *testing.T) { test(t, repository{open(t)}) })
	}
}

var start = time.Date(2026, 11, 23, 6, 0, 0, 1, time.UTC)

func linkOf(tenant, id string) link {
	return link{id: id, tenant: tenant, destination: "https://example.com/" + id, created: start}
}

func (r repository) mustCreate(t *testing.T, links ...link) {
	t.Helper()
	for _, l := range links {
		if err := r.create(t.Context(), l, 1000); err != nil {
			t.Fatal(err)
		}
	}
}

func (r repository) mustDelete(t *testing.T, tenant, id string, at time.Time) {
	t.Helper()
	if found, err := r.delete(t.Context(), tenant, id, at); err != nil || !found {
		t.Fatalf("delete %s: %t, %v", id, found, err)
	}
}

func (r repository) mustGet(t *testing.T, id string) *link {
	t.Helper()
	l, err := r.get(t.Context(), id)
	if err != nil {
		t.Fatal(err)
	}
	return l
}

func oneCreatorWins(t *testing.T, r repository) {
	var won atomic.Int64
	var creators sync.WaitGroup
	for i := range 50 {
		creators.Go(func() {
			err := r.create(t.Context(), linkOf(fmt.Sprint("tenant", i), "wanted"), 10)
			if err == nil {
				won.Add(1)
			} else if !errors.Is(err, errTaken) {
				t.Error(err)
			}
		})
	}
	creators.Wait()
	if won.Load() != 1 {
		t.Errorf("%d creators got the id", won.Load())
	}
	if l := r.mustGet(t, "wanted"); l == nil {
		t.Error("the winner's link is not there")
	}
	var counted int64
	if err := r.db.QueryRowContext(t.Context(), "SELECT SUM(links) FROM link_counts").Scan(&counted); err != nil || counted != 1 {
		t.Errorf("%d links are counted, %v", counted, err)
	}
}

func creatorsStayWithinTheQuota(t *testing.T, r repository) {
	var made atomic.Int64
	var creators sync.WaitGroup
	for i := range 50 {
		creators.Go(func() {
			err := r.create(t.Context(), linkOf("alice", fmt.Sprint(i)), 10)
			if err == nil {
				made.Add(1)
			} else if !errors.Is(err, errQuota) {
				t.Error(err)
			}
		})
	}
	creators.Wait()
	if links, err := allLinks(t, r, "alice"); err != nil || len(links) != 10 || made.Load() != 10 {
		t.Errorf("%d were made, %d are there, %v; want 10", made.Load(), len(links), err)
	}
}

func theCountIsRight(t *testing.T, r repository) {
	var writers sync.WaitGroup
	for w := range 8 {
		writers.Go(func() {
			for i := range 10 {
				id := fmt.Sprint(w, "-", i)
				if err := r.create(t.Context(), linkOf("alice", id), 1000); err != nil {
					t.Error(err)
				}
				if i%2 == 0 {
					continue
				}
				for range 2 { // the second finds nothing and must not count
					if _, err := r.delete(t.Context(), "alice", id, start); err != nil {
						t.Error(err)
					}
				}
			}
		})
	}
	writers.Wait()
	var counted, there int
	err := r.db.QueryRowContext(t.Context(), `
		SELECT (SELECT links FROM link_counts WHERE tenant = 'alice'),
			(SELECT COUNT(*) FROM links WHERE tenant = 'alice' AND deleted = 0)`).Scan(&counted, &there)
	if err != nil || counted != 40 || there != 40 {
		t.Errorf("%d are counted, %d are there, %v; want 40", counted, there, err)
	}
}

// allLinks reads a tenant's links a few at a time.
func allLinks(t *testing.T, r repository, tenant string) ([]link, error) {
	t.Helper()
	var all []link
	for from := theFirst(); ; {
		links, err := r.page(t.Context(), tenant, from, 2)
		all = append(all, links...)
		if err != nil || len(links) < 2 {
			return all, err
		}
		from = links[1].place()
	}
}

func listIsOrdered(t *testing.T, r repository) {
	young, old, twin := linkOf("alice", "a"), linkOf("alice", "z"), linkOf("alice", "y")
	young.created = start.Add(time.Nanosecond)
	r.mustCreate(t, young, old, twin, linkOf("bob", "b"))
	links, err := allLinks(t, r, "alice")
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]link{twin, old, young}, links, cmp.AllowUnexported(link{})); diff != "" {
		t.Error(diff)
	}
	if links, err := allLinks(t, r, "nobody"); err != nil || len(links) != 0 {
		t.Errorf("nobody has %v, %v", links, err)
	}
}

func idsDifferByCase(t *testing.T, r repository) {
	r.mustCreate(t, linkOf("alice", "id"), linkOf("bob", "ID"), linkOf("bob", "Id"))
	for id, tenant := range map[string]string{"id": "alice", "ID": "bob", "Id": "bob"} {
		if l := r.mustGet(t, id); l == nil || l.tenant != tenant || l.destination != "https://example.com/"+id {
			t.Errorf("%s is %+v", id, l)
		}
	}
	if l := r.mustGet(t, "iD"); l != nil {
		t.Errorf("iD is %+v", l)
	}
}

func othersChangeNothing(t *testing.T, r repository) {
	r.mustCreate(t, linkOf("alice", "hers"))
	before := r.mustGet(t, "hers")
	if found, err := r.update(t.Context(), "bob", "hers", "https://evil.example"); err != nil || found {
		t.Errorf("update: %t, %v", found, err)
	}
	if found, err := r.delete(t.Context(), "bob", "hers", start); err != nil || found {
		t.Errorf("delete: %t, %v", found, err)
	}
	if err := r.create(t.Context(), linkOf("bob", "hers"), 10); !errors.Is(err, errTaken) {
		t.Errorf("create: %v", err)
	}
	if diff := cmp.Diff(before, r.mustGet(t, "hers"), cmp.AllowUnexported(link{})); diff != "" {
		t.Error(diff)
	}
}

func deletedIDsAreKept(t *testing.T, r repository) {
	r.mustCreate(t, linkOf("alice", "id"))
	r.mustDelete(t, "alice", "id", start)
	if l := r.mustGet(t, "id"); l != nil {
		t.Errorf("deleted, it is %+v", l)
	}
	if found, err := r.update(t.Context(), "alice", "id", "https://example.org"); err != nil || found {
		t.Errorf("update: %t, %v", found, err)
	}
	bobs := linkOf("bob", "id")
	bobs.created = start.Add(30 * 24 * time.Hour)
	if err := r.create(t.Context(), bobs, 10); !errors.Is(err, errTaken) {
		t.Errorf("after exactly 30 days: %v", err)
	}
	r.mustCreate(t, linkOf("alice", "id")) // its owner need not wait
	r.mustDelete(t, "alice", "id", start)
	bobs.created = bobs.created.Add(time.Nanosecond)
	r.mustCreate(t, bobs)
	if l := r.mustGet(t, "id"); l == nil || l.tenant != "bob" {
		t.Errorf("it is %+v", l)
	}
}

func pruningFreesIDs(t *testing.T, r repository) {
	at := func(i int) time.Time { return start.Add(time.Duration(i) * time.Hour) }
	for i := range 6 {
		r.mustCreate(t, linkOf("alice", fmt.Sprint("a", i)))
		r.mustDelete(t, "alice", fmt.Sprint("a", i), at(i))
	}
	r.mustCreate(t, linkOf("bob", "b"), linkOf("bob", "works"))
	r.mustDelete(t, "bob", "b", at(2))
	// a0 and a1 are too old, a2 and a3 too many.
	if err := r.prune(t.Context(), at(2), 2); err != nil {
		t.Fatal(err)
	}
	for id, want := range map[string]bool{"a0": true, "a1": true, "a2": true, "a3": true, "a4": false, "a5": false, "b": false, "works": false} {
		err := r.create(t.Context(), linkOf("carol", id), 10)
		if want && err != nil || !want && !errors.Is(err, errTaken) {
			t.Errorf("%s: %v", id, err)
		}
	}
	if r.mustGet(t, "works") == nil {
		t.Error("pruning removed a link that works")
	}
}

// aReceiptCountsOnce is of engines that can leave in doubt whether something was
// written.
func aReceiptCountsOnce(t *testing.T, r repository) {
	r.mustCreate(t, linkOf("alice", "a"))
	for _, receipt := range []string{"one", "one", "two"} {
		if err := r.addHits(t.Context(), receipt, map[string]int64{"a": 5}); err != nil {
			t.Fatal(err)
		}
	}
	want := int64(10)
	if !r.db.Shared() {
		want = 15 // where it is always known, nobody tries again
	}
	if l := r.mustGet(t, "a"); l.hits != want {
		t.Errorf("%d hits, want %d", l.hits, want)
	}
}

func hitsAddUp(t *testing.T, r repository) {
	r.mustCreate(t, linkOf("alice", "a"), linkOf("alice", "b"), linkOf("bob", "gone"))
	r.mustDelete(t, "bob", "gone", start)
	var writers sync.WaitGroup
	for range 10 {
		writers.Go(func() {
			for range 5 {
				if err := r.addHits(t.Context(), rand.Text(), map[string]int64{"a": 2, "b": 1, "gone": 1, "never": 1}); err != nil {
					t.Error(err)
				}
			}
		})
	}
	writers.Wait()
	if a, b := r.mustGet(t, "a"), r.mustGet(t, "b"); a.hits != 100 || b.hits != 50 {
		t.Errorf("%d and %d hits, want 100 and 50", a.hits, b.hits)
	}
	r.mustCreate(t, linkOf("bob", "gone"))
	if l := r.mustGet(t, "gone"); l.hits != 0 {
		t.Errorf("made again, it has %d hits", l.hits)
	}
}

func changesAreAnnounced(t *testing.T, r repository) {
	var seen []string
	r.db.Subscribe(func(c store.Change) { seen = append(seen, c.Kind+" "+c.ID) })
	r.mustCreate(t, linkOf("alice", "a"))
	if _, err := r.update(t.Context(), "alice", "a", "https://example.org"); err != nil {
		t.Fatal(err)
	}
	if _, err := r.update(t.Context(), "bob", "a", "https://example.org"); err != nil {
		t.Fatal(err)
	}
	if err := r.create(t.Context(), linkOf("bob", "a"), 10); !errors.Is(err, errTaken) {
		t.Fatal(err)
	}
	if err := r.create(t.Context(), linkOf("bob", "b"), 0); !errors.Is(err, errQuota) {
		t.Fatal(err)
	}
	r.mustDelete(t, "alice", "a", start)
	if _, err := r.delete(t.Context(), "alice", "a", start); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]string{"link a", "link a", "link a"}, seen); diff != "" {
		t.Error(diff)
	}
	over, cancel := context.WithCancel(t.Context())
	cancel()
	if err := r.create(over, linkOf("alice", "c"), 10); !errors.Is(err, context.Canceled) {
		t.Errorf("a caller that has gone: %v", err)
	}
}
