package key

import (
	"errors"
	"fmt"
	"sync"
	"testing"

	"github.com/m3o/ingress/internal/api"
	"github.com/m3o/ingress/internal/store"
	apipb "github.com/m3o/ingress/proto/api"
)

func TestAuthenticate(t *testing.T) {
	w := newWorld(t, Options{})
	if !w.operator.Unlimited || !w.operator.Has(api.ScopeOperator) || !w.operator.Has(api.ScopeBackend) || !w.operator.Has(api.ScopeResolve) || !w.operator.Has("url") {
		t.Errorf("the bootstrap key is %+v", w.operator)
	}
	if w.alice.Unlimited || w.alice.Has(api.ScopeOperator) || !w.alice.Has("url") || !w.alice.Has("api") {
		t.Errorf("a tenant's first key is %+v", w.alice)
	}
	if w.alice.Tenant == w.bob.Tenant || w.alice.Tenant == "" || w.alice.KeyID == "" {
		t.Errorf("%+v and %+v", w.alice, w.bob)
	}
	if w.alice.Quotas != api.DefaultQuotas {
		t.Errorf("the quotas are %+v", w.alice.Quotas)
	}
	for _, bad := range []string{"", "nonsense", newSecret(), w.aliceKey[:52], w.aliceKey + "0", "' OR 1=1 --", "\xff\x00"} {
		_, err := w.Authenticate(t.Context(), bad)
		unauthorizedIs(t, err)
	}
}

func TestAMalformedKeyIsRefusedWithoutALookUp(t *testing.T) {
	w := newWorld(t, Options{})
	if err := w.db.Close(); err != nil {
		t.Fatal(err)
	}
	for _, bad := range []string{"nonsense", w.aliceKey[:52] + "é", "m3o_" + w.aliceKey[5:] + "0"} {
		_, err := w.Authenticate(t.Context(), bad)
		unauthorizedIs(t, err)
	}
}

func TestAnOutageIsNotAVerdict(t *testing.T) {
	w := newWorld(t, Options{})
	if err := w.db.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := w.Authenticate(t.Context(), w.aliceKey); err != nil {
		t.Errorf("a key seen before: %v", err)
	}
	_, err := w.Authenticate(t.Context(), newSecret())
	if _, verdict := errors.AsType[*api.Error](err); err == nil || verdict {
		t.Errorf("got %v, want an error that is no verdict", err)
	}
}

func TestAnUnknownKeyIsLookedUpOnce(t *testing.T) {
	w := newWorld(t, Options{})
	unknown := newSecret()
	_, err := w.Authenticate(t.Context(), unknown)
	unauthorizedIs(t, err)
	if err := w.db.Close(); err != nil {
		t.Fatal(err)
	}
	_, err = w.Authenticate(t.Context(), unknown)
	unauthorizedIs(t, err)
}

func TestADisabledTenantIsOutAtOnceAndBackAtOnce(t *testing.T) {
	w := newWorld(t, Options{})
	if _, err := w.disableTenant(t.Context(), w.operator, &apipb.DisableRequest{Tenant: "alice"}); err != nil {
		t.Fatal(err)
	}
	_, err := w.Authenticate(t.Context(), w.aliceKey)
	unauthorizedIs(t, err)
	w.mustAuthenticate(t, w.bobKey)
	if _, err := w.enableTenant(t.Context(), w.operator, &apipb.EnableRequest{Tenant: w.alice.Tenant}); err != nil {
		t.Fatal(err)
	}
	w.mustAuthenticate(t, w.aliceKey)
}

// evict empties the cache as if for want of room, which is no change.
func evict(c *cache) {
	c.mu.Lock()
	defer c.mu.Unlock()
	clear(c.known)
	clear(c.byID)
}

func TestARevocationIsInForceWhenItReturns(t *testing.T) {
	w := newWorld(t, Options{})
	for range 50 {
		secret, id := w.newKey(t, w.alice, "url")
		revoked := make(chan struct{})
		var callers sync.WaitGroup
		for range 4 {
			callers.Go(func() {
				for {
					select {
					case <-revoked:
						if _, err := w.Authenticate(t.Context(), secret); err == nil {
							t.Error("a revoked key works")
						}
						return
					default:
						evict(&w.cache) // so that there is always a look-up under way
						if _, err := w.Authenticate(t.Context(), secret); err != nil {
							if _, verdict := errors.AsType[*api.Error](err); !verdict {
								t.Error(err)
							}
						}
					}
				}
			})
		}
		if _, err := w.revoke(t.Context(), w.alice, &apipb.RevokeRequest{Id: id}); err != nil {
			t.Error(err)
		}
		close(revoked)
		callers.Wait()
	}
}

func TestALookUpThatBeganBeforeAChangeIsNotStored(t *testing.T) {
	for _, change := range []func(*cache){
		func(c *cache) { c.forgetKey("key_1") },
		func(c *cache) { c.forgetKey("key_2") },
		func(c *cache) { c.forgetTenant("tenant_1") },
	} {
		var c cache
		h := hashOf("secret")
		_, _, generation := c.get(h)
		change(&c)
		c.put(h, &entry{caller: api.Caller{KeyID: "key_1"}}, generation)
		if _, found, _ := c.get(h); found {
			t.Error("a stale key was stored")
		}
		c.put(h, nil, generation)
		if _, found, _ := c.get(h); found {
			t.Error("a stale refusal was stored")
		}
		_, _, generation = c.get(h)
		c.put(h, &entry{caller: api.Caller{KeyID: "key_1"}}, generation)
		if e, found, _ := c.get(h); !found || e.caller.KeyID != "key_1" {
			t.Error("a fresh key was not stored")
		}
	}
}

func TestTheCacheIsBounded(t *testing.T) {
	var c cache
	for i := range maxKnown + 100 {
		c.put(hashOf(fmt.Sprint("known", i)), &entry{caller: api.Caller{KeyID: fmt.Sprint(i)}}, 0)
	}
	for i := range maxUnknown + 100 {
		c.put(hashOf(fmt.Sprint("unknown", i)), nil, 0)
	}
	if len(c.known) != maxKnown || len(c.byID) != maxKnown {
		t.Errorf("%d keys are cached, %d by id; want %d", len(c.known), len(c.byID), maxKnown)
	}
	if len(c.unknown) > maxUnknown {
		t.Errorf("%d unknown keys are cached", len(c.unknown))
	}
}

func TestIsPlatformKey(t *testing.T) {
	w := newWorld(t, Options{})
	const odd = "a bootstrap key of any format"
	if w.IsPlatformKey(odd) {
		t.Error("before it is the bootstrap key")
	}
	if _, err := w.EnsureBootstrap(t.Context(), odd, ""); err != nil {
		t.Fatal(err)
	}
	for secret, want := range map[string]bool{
		odd: true, w.aliceKey: true, newSecret(): true, // an unknown one could be ours after a restore
		"": false, "an app's own token": false, odd + " ": false, w.aliceKey[:52]: false,
	} {
		if got := w.IsPlatformKey(secret); got != want {
			t.Errorf("IsPlatformKey(%q) = %t", secret, got)
		}
	}
	if New(w.db, Options{}).IsPlatformKey("anything else") {
		t.Error("without a bootstrap key")
	}
}

func TestLastSeen(t *testing.T) {
	c := newClock()
	w := newWorld(t, Options{Now: c.now})
	secret, id := w.newKey(t, w.alice, "url")
	lastSeen := func(s *Service) int64 {
		t.Helper()
		res, err := s.list(t.Context(), w.alice, &apipb.ListRequest{})
		if err != nil {
			t.Fatal(err)
		}
		for _, k := range res.GetApiKeys() {
			if k.GetId() == id {
				return k.GetLastSeen()
			}
		}
		t.Fatal("the key is not listed")
		return 0
	}
	other := New(w.db, Options{}) // sees only what is written
	if lastSeen(w.Service) != 0 {
		t.Error("a fresh key was seen")
	}
	c.at = c.at.Add(3e9)
	w.mustAuthenticate(t, secret)
	if got := lastSeen(w.Service); got != c.at.Unix() {
		t.Errorf("before the flush: %d, want %d", got, c.at.Unix())
	}
	if lastSeen(other) != 0 {
		t.Error("a use was written at once")
	}
	if err := w.Flush(ended(t)); err == nil {
		t.Error("a flush that cannot write succeeds")
	}
	if err := w.Flush(t.Context()); err != nil {
		t.Fatal(err)
	}
	if lastSeen(other) != c.at.Unix() || lastSeen(w.Service) != c.at.Unix() {
		t.Errorf("after the flush: %d and %d", lastSeen(other), lastSeen(w.Service))
	}
	if len(w.seen.snapshot()) != 0 {
		t.Error("something is left after the flush")
	}
}

func TestRunWritesLastSeenWhenItEnds(t *testing.T) {
	w := newWorld(t, Options{})
	w.Run(ended(t))
	var seen int
	if err := w.db.QueryRowContext(t.Context(), "SELECT COUNT(*) FROM keys WHERE last_seen > 0").Scan(&seen); err != nil {
		t.Fatal(err)
	}
	if seen != 3 {
		t.Errorf("%d keys were seen, want those of operator, alice and bob", seen)
	}
}

func TestChangesFromElsewhereAreHeard(t *testing.T) {
	w := newWorld(t, Options{})
	w.mustAuthenticate(t, w.aliceKey)
	// Another process of the same database, as far as this Service can tell.
	err := w.db.Write(t.Context(), func(tx *store.Tx) error {
		if _, err := tx.Exec("DELETE FROM keys WHERE id = $1", w.alice.KeyID); err != nil {
			return err
		}
		return tx.Changed(t.Context(), "key", w.alice.KeyID)
	})
	if err != nil {
		t.Fatal(err)
	}
	_, err = w.Authenticate(t.Context(), w.aliceKey)
	unauthorizedIs(t, err)
}

func BenchmarkAuthenticate(b *testing.B) {
	s := &Service{now: newClock().now}
	secret := newSecret()
	s.cache.put(hashOf(secret), &entry{caller: api.Caller{KeyID: "key_1"}}, 0)
	b.ReportAllocs()
	for b.Loop() {
		if _, err := s.Authenticate(b.Context(), secret); err != nil {
			b.Fatal(err)
		}
	}
}
