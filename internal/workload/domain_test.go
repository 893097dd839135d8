package workload_test

import (
	"errors"
	"fmt"
	"slices"
	"testing"

	"github.com/m3o/ingress/internal/store"
	"github.com/m3o/ingress/internal/workload"
)

// domains opens what the data plane asks.
func domains(t *testing.T, f *fixture) *workload.Domains {
	t.Helper()
	d, err := workload.OpenDomains(t.Context(), f.db)
	must(t, err)
	return d
}

func wantDomain(t *testing.T, d *workload.Domains, host, want string) {
	t.Helper()
	if id, ok := d.App(host); id != want || ok != (want != "") {
		t.Errorf("%s leads to %q, %t, want %q", host, id, ok, want)
	}
}

func testDomains(t *testing.T, f *fixture) {
	ctx, a := t.Context(), tenant("a")
	early := domains(t, f)
	f.create(t, a, "hello")
	f.create(t, a, "other")
	const host = "www.example.com"
	for range 2 { // again is no error
		must(t, f.AddDomain(ctx, a, "hello", host, workload.ProofAlias))
	}
	must(t, f.AddDomain(ctx, a, "hello", "example.com", workload.ProofTenant))
	if w := f.get(t, a, "hello"); !slices.Equal(w.Domains, []string{"example.com", host}) {
		t.Errorf("it has %v", w.Domains)
	}
	late := domains(t, f)
	for _, d := range []*workload.Domains{early, late} {
		wantDomain(t, d, host, "hello")
		wantDomain(t, d, "example.com", "hello")
		wantDomain(t, d, "www.example.com.", "")
		wantDomain(t, d, "a.example.com", "")
	}
	// To another app of the same tenant.
	must(t, f.AddDomain(ctx, a, "other", host, workload.ProofAlias))
	wantDomain(t, early, host, "other")
	if err := f.RemoveDomain(ctx, a, "hello", host); !errors.Is(err, workload.ErrNoDomain) {
		t.Errorf("removing what leads elsewhere: %v", err)
	}
	must(t, f.RemoveDomain(ctx, a, "other", host))
	for _, d := range []*workload.Domains{early, late, domains(t, f)} {
		wantDomain(t, d, host, "")
		wantDomain(t, d, "example.com", "hello")
	}
	must(t, f.Delete(ctx, a, "hello"))
	wantDomain(t, early, "example.com", "")
	for what, err := range map[string]error{
		"adding to what is deleted":     f.AddDomain(ctx, a, "hello", host, workload.ProofTenant),
		"removing from what is deleted": f.RemoveDomain(ctx, a, "hello", host),
		"adding to another tenant's":    f.AddDomain(ctx, tenant("b"), "other", host, workload.ProofTenant),
	} {
		if !errors.Is(err, workload.ErrNotFound) {
			t.Errorf("%s: %v", what, err)
		}
	}
}

// A name that was somebody's goes to another tenant by a record that names it, and
// not by an alias that may be left over.
func testDomainOfAnother(t *testing.T, f *fixture) {
	ctx, a, b := t.Context(), tenant("a"), tenant("b")
	d := domains(t, f)
	f.create(t, a, "mine")
	f.create(t, b, "theirs")
	const host = "www.example.com"
	holds := func(a, b bool) {
		t.Helper()
		for who, want := range map[string]bool{"a": a, "b": b} {
			if got, err := f.HoldsDomain(ctx, tenant(who), host); err != nil || got != want {
				t.Errorf("%s holds it: %t, %v", who, got, err)
			}
		}
	}
	holds(false, false)
	must(t, f.AddDomain(ctx, a, "mine", host, workload.ProofAlias))
	holds(true, false)
	if err := f.AddDomain(ctx, b, "theirs", host, workload.ProofAlias); !errors.Is(err, workload.ErrDomainTaken) {
		t.Errorf("by an alias: %v", err)
	}
	must(t, f.Delete(ctx, a, "mine"))
	holds(false, false)
	if err := f.AddDomain(ctx, b, "theirs", host, workload.ProofAlias); !errors.Is(err, workload.ErrDomainTaken) {
		t.Errorf("by an alias, once it was deleted: %v", err)
	}
	wantDomain(t, d, host, "")
	must(t, f.AddDomain(ctx, b, "theirs", host, workload.ProofTenant))
	holds(false, true)
	wantDomain(t, d, host, "theirs")
	f.create(t, a, "mine")
	must(t, f.AddDomain(ctx, a, "mine", host, workload.ProofTenant))
	wantDomain(t, d, host, "mine")
	if err := f.RemoveDomain(ctx, b, "theirs", host); !errors.Is(err, workload.ErrNoDomain) {
		t.Errorf("b removes it: %v", err)
	}
	if w := f.get(t, b, "theirs"); len(w.Domains) != 0 {
		t.Errorf("b has %v", w.Domains)
	}
}

func testDomainsAreBounded(t *testing.T, f *fixture) {
	ctx, a := t.Context(), tenant("a")
	f.create(t, a, "hello")
	add := func(n int) error {
		return f.AddDomain(ctx, a, "hello", fmt.Sprintf("n%d.example.com", n), workload.ProofTenant)
	}
	for n := range workload.MaxDomains {
		must(t, add(n))
	}
	var full *workload.QuotaError
	if err := add(workload.MaxDomains); !errors.As(err, &full) {
		t.Errorf("one more: %v", err)
	}
	must(t, add(0)) // it is there
	must(t, f.RemoveDomain(ctx, a, "hello", "n0.example.com"))
	must(t, add(workload.MaxDomains))
}

// Many nodes may change a name at once; all hear of the last.
func testConcurrentDomains(t *testing.T, f *fixture) {
	ctx := t.Context()
	d := domains(t, f)
	for n := range 4 {
		f.create(t, tenant(fmt.Sprint("t", n)), fmt.Sprint("app", n))
	}
	const host = "www.example.com"
	must(t, errors.Join(together(40, func(i int) error {
		n := i % 4
		err := f.AddDomain(ctx, tenant(fmt.Sprint("t", n)), fmt.Sprint("app", n), host, workload.ProofTenant)
		if i%5 == 0 {
			removed := f.RemoveDomain(ctx, tenant(fmt.Sprint("t", n)), fmt.Sprint("app", n), host)
			if !errors.Is(removed, workload.ErrNoDomain) { // another tenant may have it by now
				err = errors.Join(err, removed)
			}
		}
		return err
	})...))
	want, _ := domains(t, f).App(host)
	wantDomain(t, d, host, want)
}

// Of names that were a tenant's so many are remembered, and the oldest are forgotten.
func testFormerDomainsAreBounded(t *testing.T, f *fixture) {
	ctx, a, b := t.Context(), tenant("a"), tenant("b")
	f.create(t, a, "mine")
	f.create(t, b, "theirs")
	host := func(n int) string { return fmt.Sprintf("n%d.example.com", n) }
	must(t, f.db.Write(ctx, func(tx *store.Tx) error {
		for n := range workload.FormerDomains {
			if _, err := tx.ExecContext(ctx, "INSERT INTO domains (host, tenant, kind, id, changed) VALUES ($1, 'a', 'app', '', $2)", host(n), n); err != nil {
				return err
			}
		}
		return nil
	}))
	if err := f.AddDomain(ctx, b, "theirs", host(0), workload.ProofAlias); !errors.Is(err, workload.ErrDomainTaken) {
		t.Errorf("as many as are remembered: %v", err)
	}
	must(t, f.AddDomain(ctx, a, "mine", host(workload.FormerDomains), workload.ProofTenant))
	must(t, f.RemoveDomain(ctx, a, "mine", host(workload.FormerDomains)))
	must(t, f.AddDomain(ctx, b, "theirs", host(0), workload.ProofAlias))
	for _, n := range []int{1, workload.FormerDomains} {
		if err := f.AddDomain(ctx, b, "theirs", host(n), workload.ProofAlias); !errors.Is(err, workload.ErrDomainTaken) {
			t.Errorf("%s, which is remembered: %v", host(n), err)
		}
	}
}

// Names that lead nowhere do not stay in memory for ever.
func testForgottenDomains(t *testing.T, f *fixture) {
	ctx, a := t.Context(), tenant("a")
	d := domains(t, f)
	f.create(t, a, "hello")
	must(t, f.AddDomain(ctx, a, "hello", "stays.example.com", workload.ProofTenant))
	for range 5 {
		must(t, f.db.Write(ctx, func(tx *store.Tx) error {
			for n := range 1000 {
				if err := tx.Changed(ctx, "domain", fmt.Sprintf("n%d-%d.example.com/", n, f.clock.Now().UnixNano())); err != nil {
					return err
				}
			}
			return nil
		}))
		f.clock.Pass(1)
	}
	if n := d.Len(); n > 2500 {
		t.Errorf("%d names are in memory", n)
	}
	wantDomain(t, d, "stays.example.com", "hello")
}
