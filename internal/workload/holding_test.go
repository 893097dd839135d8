package workload_test

import (
	"errors"
	"fmt"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/m3o/ingress/internal/workload"
)

const day = 24 * time.Hour

var suffixed = regexp.MustCompile(`^hello-[a-z0-9]{8}$`)

func testSuffix(t *testing.T, f *fixture) {
	a, b, c := tenant("a"), tenant("b"), tenant("c")
	if id := f.create(t, a, "hello").ID; id != "hello" {
		t.Errorf("the first got the id %q", id)
	}
	second, third := f.create(t, b, "hello").ID, f.create(t, c, "hello").ID
	if !suffixed.MatchString(second) || !suffixed.MatchString(third) || second == third {
		t.Errorf("the others got the ids %q and %q", second, third)
	}
	for id, owner := range map[string]string{"hello": "a", second: "b", third: "c"} {
		if got, err := f.Backend(t.Context(), id); err != nil || got.Tenant != owner {
			t.Errorf("%s is %s's, %v; want %s's", id, got.Tenant, err, owner)
		}
	}
}

func testKeptID(t *testing.T, f *fixture) {
	a, b, c := tenant("a"), tenant("b"), tenant("c")
	f.create(t, a, "hello")
	f.delete(t, a, "hello")
	f.clock.Pass(30*day - 1)
	if id := f.create(t, b, "hello").ID; !suffixed.MatchString(id) {
		t.Errorf("another tenant got the id %q after %v", id, 30*day-1)
	}
	if _, err := f.Reserve(t.Context(), b, "hello"); !errors.Is(err, workload.ErrReserved) {
		t.Errorf("another tenant reserved it: %v", err)
	}
	if id := f.create(t, a, "hello").ID; id != "hello" {
		t.Errorf("its owner got the id %q", id)
	}
	f.delete(t, a, "hello")
	f.clock.Pass(30 * day)
	if id := f.create(t, c, "hello").ID; id != "hello" {
		t.Errorf("another tenant got the id %q after %v", id, 30*day)
	}
	if id := f.create(t, a, "hello").ID; !suffixed.MatchString(id) {
		t.Errorf("the former owner got the id %q that another has", id)
	}
}

func testSuffixComesBack(t *testing.T, f *fixture) {
	a, b := tenant("a"), tenant("b")
	f.create(t, a, "hello")
	id := f.create(t, b, "hello").ID
	f.delete(t, a, "hello")
	f.delete(t, b, "hello")
	f.clock.Pass(29 * day)
	if again := f.create(t, b, "hello").ID; again != id {
		t.Errorf("got the id %q, want %q again", again, id)
	}
}

func testReservation(t *testing.T, f *fixture) {
	ctx, a, b := t.Context(), tenant("a"), tenant("b")
	res, err := f.Reserve(ctx, a, "hello")
	if err != nil {
		t.Fatal(err)
	}
	if res.Name != "hello" || res.Tenant != "a" || !res.Created.Equal(f.clock.Now()) ||
		!res.Expires.Equal(f.clock.Now().AddDate(1, 0, 0)) || len(res.Token) < 20 {
		t.Errorf("got %+v", res)
	}
	if _, err := f.Reserve(ctx, b, "hello"); !errors.Is(err, workload.ErrReserved) {
		t.Errorf("another tenant reserved it, too: %v", err)
	}
	if id := f.create(t, b, "hello").ID; !suffixed.MatchString(id) {
		t.Errorf("another tenant got the reserved id %q", id)
	}
	if id := f.create(t, a, "hello").ID; id != "hello" {
		t.Errorf("the owner got the id %q", id)
	}
	f.delete(t, a, "hello")
	f.clock.Pass(364 * day)
	if _, err := f.Reserve(ctx, b, "hello"); !errors.Is(err, workload.ErrReserved) {
		t.Errorf("another tenant reserved it within the year: %v", err)
	}
	f.clock.Pass(day)
	if _, err := f.Reserve(ctx, b, "hello"); err != nil {
		t.Errorf("another tenant reserving it after the year: %v", err)
	}
}

func testRenewal(t *testing.T, f *fixture) {
	ctx, a, b := t.Context(), tenant("a"), tenant("b")
	first, err := f.Reserve(ctx, a, "hello")
	if err != nil {
		t.Fatal(err)
	}
	f.clock.Pass(300 * day)
	second, err := f.Reserve(ctx, a, "hello")
	if err != nil {
		t.Fatal(err)
	}
	if !second.Created.Equal(first.Created) || !second.Expires.Equal(first.Expires.Add(300*day)) || second.Token == first.Token {
		t.Errorf("%+v was renewed to %+v", first, second)
	}
	f.clock.Pass(300 * day)
	if _, err := f.Reserve(ctx, b, "hello"); !errors.Is(err, workload.ErrReserved) {
		t.Errorf("another tenant reserved what was renewed: %v", err)
	}
	f.clock.Pass(300 * day)
	third, err := f.Reserve(ctx, a, "hello")
	if err != nil || !third.Created.Equal(f.clock.Now()) {
		t.Errorf("reserving what lapsed: %+v, %v", third, err)
	}
}

func testReserveInUse(t *testing.T, f *fixture) {
	ctx, a, b := t.Context(), tenant("a"), tenant("b")
	f.create(t, a, "hello")
	if _, err := f.Reserve(ctx, b, "hello"); !errors.Is(err, workload.ErrReserved) {
		t.Errorf("another tenant: %v", err)
	}
	if _, err := f.Reserve(ctx, a, "hello"); err != nil {
		t.Errorf("the owner: %v", err)
	}
	// Both holds count: the reservation outlives the 30 days, and the use a
	// reservation that lapses.
	f.delete(t, a, "hello")
	f.clock.Pass(40 * day)
	if id := f.create(t, b, "hello").ID; !suffixed.MatchString(id) {
		t.Errorf("another tenant got the reserved id %q", id)
	}
	f.create(t, a, "hello")
	f.clock.Pass(400 * day)
	if _, err := f.Reserve(ctx, b, "hello"); !errors.Is(err, workload.ErrReserved) {
		t.Errorf("another tenant reserved what is in use: %v", err)
	}
}

func testReservedAfterSuffix(t *testing.T, f *fixture) {
	a, b := tenant("a"), tenant("b")
	f.create(t, a, "hello")
	f.create(t, b, "hello")
	f.delete(t, b, "hello")
	f.delete(t, a, "hello")
	f.clock.Pass(10 * day)
	f.create(t, b, "hello")
	f.delete(t, b, "hello")
	f.clock.Pass(25 * day)
	if _, err := f.Reserve(t.Context(), b, "hello"); err != nil {
		t.Fatal(err)
	}
	if id := f.create(t, b, "hello").ID; id != "hello" {
		t.Errorf("got the id %q, want the name it reserved", id)
	}
}

func testTokenHashed(t *testing.T, f *fixture) {
	res, err := f.Reserve(t.Context(), tenant("a"), "hello")
	if err != nil {
		t.Fatal(err)
	}
	if strings.Contains(f.stored(t), res.Token) {
		t.Error("the store holds the token itself")
	}
}

func testPlatformNames(t *testing.T, f *fixture) {
	ctx, a := t.Context(), tenant("a")
	for _, name := range strings.Fields("www api app fn user admin mail u url v1 docs localhost") {
		if _, err := f.Reserve(ctx, a, name); !errors.Is(err, workload.ErrReserved) {
			t.Errorf("reserving %s: %v", name, err)
		}
		if _, err := f.Create(ctx, a, spec(name)); !errors.Is(err, workload.ErrReserved) {
			t.Errorf("creating %s: %v", name, err)
		}
	}
}

func testReservationQuota(t *testing.T, f *fixture) {
	ctx, a := t.Context(), tenant("a")
	a.Quotas.Apps = 2
	for _, name := range []string{"one", "two", "one"} {
		if _, err := f.Reserve(ctx, a, name); err != nil {
			t.Fatalf("reserve %s: %v", name, err)
		}
	}
	if _, err := f.Reserve(ctx, a, "three"); !isQuota(err) {
		t.Errorf("a third of two: %v", err)
	}
	f.clock.Pass(366 * day)
	if _, err := f.Reserve(ctx, a, "three"); err != nil {
		t.Errorf("after the others lapsed: %v", err)
	}
}

func testChurn(t *testing.T, f *fixture) {
	ctx, a := t.Context(), tenant("a")
	a.Quotas.Apps = 1
	for i := range 10 {
		name := fmt.Sprintf("name%d", i)
		f.create(t, a, name)
		f.delete(t, a, name)
	}
	if _, err := f.Create(ctx, a, spec("another")); !isQuota(err) {
		t.Errorf("an eleventh name: %v", err)
	}
	f.create(t, a, "name3")
	f.delete(t, a, "name3")
	f.create(t, tenant("b"), "another")
	f.clock.Pass(31 * day)
	f.create(t, a, "eleventh")
}
