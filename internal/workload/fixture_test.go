package workload_test

import (
	"context"
	"errors"
	"log/slog"
	"net/url"
	"sync"
	"testing"
	"time"

	"github.com/m3o/ingress/internal/api"
	"github.com/m3o/ingress/internal/store"
	"github.com/m3o/ingress/internal/store/storetest"
	"github.com/m3o/ingress/internal/workload"
)

// opener opens an empty database of some engine.
type opener func(t testing.TB) *store.DB

// clock is a time that passes when told to.
type clock struct {
	mu  sync.Mutex
	now time.Time
}

func newClock() *clock {
	return &clock{now: time.Date(2026, 2, 3, 4, 5, 6, 789, time.UTC)}
}

func (c *clock) Now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.now
}

func (c *clock) Pass(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.now = c.now.Add(d)
}

// rules refuse one host, and wait for the context's end on another, as a look-up
// that gets no answer does.
type rules struct{}

func (rules) Check(ctx context.Context, u *url.URL) error {
	switch u.Hostname() {
	case "forbidden.example":
		return errors.New("forbidden.example is ours")
	case "silent.example":
		<-ctx.Done()
		return ctx.Err()
	}
	return nil
}

// fixture is a registry, what it stands on, and the time it sees.
type fixture struct {
	*workload.Registry
	db     *store.DB
	sealer *store.Sealer
	clock  *clock
	layout workload.Layout
}

func newFixture(t testing.TB, open opener) *fixture {
	f := &fixture{db: open(t), sealer: storetest.Sealer(t), clock: newClock(), layout: workload.Layout{Data: t.TempDir()}}
	f.Registry = f.registry(workload.App)
	return f
}

// registry returns a further registry over the same database.
func (f *fixture) registry(kind workload.Kind) *workload.Registry {
	return workload.NewRegistry(kind, f.options())
}

func (f *fixture) options() workload.Options {
	return workload.Options{
		DB: f.db, Sealer: f.sealer, Rules: rules{}, Now: f.clock.Now, Layout: f.layout, SwitchUser: true, MaxUpload: 1 << 20, Log: slog.New(slog.DiscardHandler),
		PublicURL: func(id string) string { return "https://" + id + ".example" },
	}
}

// tenant returns a caller that may register backends.
func tenant(name string) api.Caller {
	return api.Caller{Tenant: name, Scopes: []string{"app", api.ScopeBackend}, Quotas: api.DefaultQuotas}
}

const backend = "http://10.1.2.3:8080/base"

func spec(name string) workload.Spec {
	return workload.Spec{Name: name, Region: "local", Backend: backend}
}

// create makes a workload that must not fail.
func (f *fixture) create(t testing.TB, caller api.Caller, name string) workload.Workload {
	t.Helper()
	w, err := f.Create(t.Context(), caller, spec(name))
	if err != nil {
		t.Fatalf("create %s for %s: %v", name, caller.Tenant, err)
	}
	return w
}

func (f *fixture) delete(t testing.TB, caller api.Caller, name string) {
	t.Helper()
	if err := f.Delete(t.Context(), caller, name); err != nil {
		t.Fatalf("delete %s of %s: %v", name, caller.Tenant, err)
	}
}

// stored returns everything the workload tables hold, as text.
func (f *fixture) stored(t testing.TB) string {
	t.Helper()
	rows, err := f.db.QueryContext(t.Context(), `
		SELECT id || tenant || name || region || backend || env FROM workloads
		UNION ALL SELECT id || tenant || name || token_hash FROM workload_ids`)
	if err != nil {
		t.Fatal(err)
	}
	defer rows.Close()
	var text string
	for rows.Next() {
		var row string
		if err := rows.Scan(&row); err != nil {
			t.Fatal(err)
		}
		text += row + "\n"
	}
	if err := rows.Err(); err != nil {
		t.Fatal(err)
	}
	return text
}
