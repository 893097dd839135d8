package key

import (
	"errors"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/m3o/ingress/internal/api"
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
		"one of many tenants gets a name":         oneTenantGetsTheName,
		"creators do not pass the quota":          keysStayWithinTheQuota,
		"one of many revokers revokes":            oneRevokerRevokes,
		"a caller is what was stored":             callerIsWhatWasStored,
		"keys belong to their tenants":            keysBelongToTenants,
		"ids that cannot be":                      idsThatCannotBe,
		"last seen only grows":                    lastSeenGrows,
		"a refused revocation changes nothing":    refusedRevocation,
		"changes are announced, failures are not": keyChangesAreAnnounced,
	} {
		t.Run(name, func(t *testing.T) { test(t, repository{open(t)}) })
	}
}

var start = time.Date(2026, 11, 23, 6, 0, 0, 1, time.UTC)

// mustTenant makes a tenant whose id is its name, and its first key.
func (r repository) mustTenant(t *testing.T, name string) key {
	t.Helper()
	first := key{id: name + "-key", tenant: name, scopes: []string{"*"}, created: start}
	if err := r.createTenant(t.Context(), tenant{id: name, name: name, created: start}, first, hashOf(first.id)); err != nil {
		t.Fatal(err)
	}
	return first
}

func anyScopes([]string) error { return nil }

// PostgreSQL does not even look for a text with a NUL in it.
func idsThatCannotBe(t *testing.T, r repository) {
	const id = "a\x00b"
	if found, err := r.revoke(t.Context(), "alice", id, start, anyScopes); found || err != nil {
		t.Errorf("revoke: %t, %v", found, err)
	}
	if _, err := tenantID(t.Context(), r.db, id); !errors.Is(err, errUnknownTenant) {
		t.Errorf("a tenant: %v", err)
	}
}

func oneTenantGetsTheName(t *testing.T, r repository) {
	var won atomic.Int64
	var creators sync.WaitGroup
	for i := range 20 {
		creators.Go(func() {
			id := fmt.Sprint("t", i)
			err := r.createTenant(t.Context(), tenant{id: id, name: "wanted", created: start}, key{id: id, tenant: id, created: start}, hashOf(id))
			if err == nil {
				won.Add(1)
			} else if !errors.Is(err, errNameTaken) {
				t.Error(err)
			}
		})
	}
	creators.Wait()
	var keys int
	if err := r.db.QueryRowContext(t.Context(), "SELECT COUNT(*) FROM keys").Scan(&keys); err != nil || keys != 1 || won.Load() != 1 {
		t.Errorf("%d won, there are %d keys, %v", won.Load(), keys, err)
	}
}

func keysStayWithinTheQuota(t *testing.T, r repository) {
	r.mustTenant(t, "alice")
	if err := r.setQuotas(t.Context(), "alice", api.Quotas{Keys: 10}); err != nil {
		t.Fatal(err)
	}
	var made atomic.Int64
	var creators sync.WaitGroup
	for i := range 30 {
		creators.Go(func() {
			id := fmt.Sprint("k", i)
			err := r.create(t.Context(), key{id: id, tenant: "alice", created: start}, hashOf(id))
			if err == nil {
				made.Add(1)
			} else if _, full := errors.AsType[*quotaError](err); !full {
				t.Error(err)
			}
		})
	}
	creators.Wait()
	if keys, err := r.list(t.Context(), "alice"); err != nil || len(keys) != 10 || made.Load() != 9 {
		t.Errorf("%d were made besides the first, %d are there, %v", made.Load(), len(keys), err)
	}
	if err := r.create(t.Context(), key{id: "k", tenant: "nobody"}, hashOf("k")); !errors.Is(err, errUnknownTenant) {
		t.Errorf("for nobody: %v", err)
	}
}

func oneRevokerRevokes(t *testing.T, r repository) {
	first := r.mustTenant(t, "alice")
	var revoked atomic.Int64
	var revokers sync.WaitGroup
	for range 20 {
		revokers.Go(func() {
			found, err := r.revoke(t.Context(), "alice", first.id, start, anyScopes)
			if err != nil {
				t.Error(err)
			}
			if found {
				revoked.Add(1)
			}
		})
	}
	revokers.Wait()
	if revoked.Load() != 1 {
		t.Errorf("%d revoked it", revoked.Load())
	}
}

func callerIsWhatWasStored(t *testing.T, r repository) {
	r.mustTenant(t, "alice")
	if err := r.setQuotas(t.Context(), "alice", api.Quotas{Apps: 1, VersionBytes: 2}); err != nil {
		t.Fatal(err)
	}
	if err := r.create(t.Context(), key{id: "k", tenant: "alice", scopes: []string{"app", "url"}, created: start}, hashOf("s")); err != nil {
		t.Fatal(err)
	}
	want := &api.Caller{Tenant: "alice", KeyID: "k", Scopes: []string{"app", "url"}, Quotas: api.DefaultQuotas}
	want.Quotas.Apps, want.Quotas.VersionBytes = 1, 2
	check := func(h hash, want *api.Caller) {
		t.Helper()
		got, err := r.caller(t.Context(), h)
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Error(diff)
		}
	}
	check(hashOf("s"), want)
	check(hashOf("S"), nil)
	if err := r.setDisabled(t.Context(), "alice", true); err != nil {
		t.Fatal(err)
	}
	check(hashOf("s"), nil)
	if err := r.setDisabled(t.Context(), "alice", false); err != nil {
		t.Fatal(err)
	}
	check(hashOf("s"), want)
}

func keysBelongToTenants(t *testing.T, r repository) {
	hers := r.mustTenant(t, "alice")
	r.mustTenant(t, "bob")
	older := key{id: "older", tenant: "alice", scopes: []string{"url"}, description: "'); --", created: start.Add(-time.Nanosecond)}
	if err := r.create(t.Context(), older, hashOf("older")); err != nil {
		t.Fatal(err)
	}
	if found, err := r.revoke(t.Context(), "bob", hers.id, start, anyScopes); err != nil || found {
		t.Errorf("Bob revoked hers: %t, %v", found, err)
	}
	keys, err := r.list(t.Context(), "alice")
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]key{older, hers}, keys, cmp.AllowUnexported(key{})); diff != "" {
		t.Error(diff)
	}
	id, err := tenantID(t.Context(), r.db, "' OR ''='")
	if !errors.Is(err, errUnknownTenant) {
		t.Errorf("found %q, %v", id, err)
	}
}

func lastSeenGrows(t *testing.T, r repository) {
	first := r.mustTenant(t, "alice")
	seen := map[string]int64{first.id: 5, "gone": 5}
	for i := range 2 * seenBatch { // more than one batch
		seen[fmt.Sprint("never", i)] = 1
	}
	for _, step := range []struct{ write, want int64 }{{5, 5}, {3, 5}, {9, 9}} {
		seen[first.id] = step.write
		if err := r.saveSeen(t.Context(), seen); err != nil {
			t.Fatal(err)
		}
		keys, err := r.list(t.Context(), "alice")
		if err != nil || len(keys) != 1 || keys[0].lastSeen != step.want {
			t.Errorf("after writing %d: %v, %v; want %d", step.write, keys, err, step.want)
		}
	}
}

func refusedRevocation(t *testing.T, r repository) {
	first := r.mustTenant(t, "alice")
	no := errors.New("no")
	found, err := r.revoke(t.Context(), "alice", first.id, start, func(scopes []string) error {
		if strings.Join(scopes, " ") != "*" {
			t.Errorf("asked about %v", scopes)
		}
		return no
	})
	if found || !errors.Is(err, no) {
		t.Errorf("%t, %v", found, err)
	}
	if keys, err := r.list(t.Context(), "alice"); err != nil || len(keys) != 1 {
		t.Errorf("left are %v, %v", keys, err)
	}
}

func keyChangesAreAnnounced(t *testing.T, r repository) {
	var seen []string
	r.db.Subscribe(func(c store.Change) { seen = append(seen, c.Kind+" "+c.ID) })
	first := r.mustTenant(t, "alice")
	if err := r.createTenant(t.Context(), tenant{id: "x", name: "alice"}, key{id: "x", tenant: "x"}, hashOf("x")); !errors.Is(err, errNameTaken) {
		t.Fatal(err)
	}
	if err := r.setQuotas(t.Context(), "alice", api.Quotas{}); err != nil {
		t.Fatal(err)
	}
	if err := r.setDisabled(t.Context(), "alice", true); err != nil {
		t.Fatal(err)
	}
	if err := r.saveSeen(t.Context(), map[string]int64{first.id: 1}); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if _, err := r.revoke(t.Context(), "alice", first.id, start, anyScopes); err != nil {
			t.Fatal(err)
		}
	}
	want := []string{"tenant alice", "key alice-key", "tenant alice", "tenant alice", "key alice-key"}
	if diff := cmp.Diff(want, seen); diff != "" {
		t.Error(diff)
	}
}
