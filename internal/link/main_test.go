package link

import (
	"context"
	"net/url"
	"testing"
	"time"

	"github.com/m3o/ingress/internal/api"
	"github.com/m3o/ingress/internal/api/apitest"
	"github.com/m3o/ingress/internal/leaktest"
	"github.com/m3o/ingress/internal/store"
	"github.com/m3o/ingress/internal/store/storetest"
)

func TestMain(m *testing.M) { leaktest.Main(m) }

const prefix = "https://m3o.one/u/"

// world is a service behind the API.
type world struct {
	*Service
	*apitest.Server
	db    *store.DB
	clock *clock
}

// clock is a time that only the test moves.
type clock struct{ at time.Time }

func (c *clock) now() time.Time { return c.at }

func newWorld(t *testing.T) *world {
	t.Helper()
	db := storetest.Open(t)
	c := &clock{time.Date(2026, 11, 23, 6, 0, 0, 123456789, time.UTC)}
	s := newService(db, c)
	return &world{Service: s, Server: apitest.NewServer(t, s.Service()), db: db, clock: c}
}

func newService(db *store.DB, c *clock) *Service {
	return New(db, Options{
		Prefix: func() string { return prefix },
		IsOwn:  func(u *url.URL) bool { return u.Hostname() == "m3o.one" },
		Now:    c.now,
	})
}

// owner is a caller for tests that need no HTTP.
func owner(tenant string) api.Caller {
	return api.Caller{Tenant: tenant, Scopes: []string{api.ScopeAll}, Quotas: api.DefaultQuotas}
}

// ended is a context that is over.
func ended(t *testing.T) context.Context {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	return ctx
}
