// Package key decides who is calling: tenants, the API keys that belong to
// them, what each key may do and how often.
//
// A key is checked in three steps, each cheaper than the next: its format
// (secret.go), the cache of keys seen before (cache.go), the database
// (repository.go).
//
// Its rate is limited by a token bucket (limit.go). Processes that share a database
// share the rate (lease.go), and agree on that once a second (node.go).
package key

import (
	"context"
	"log/slog"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/m3o/ingress/internal/api"
	"github.com/m3o/ingress/internal/store"
	apipb "github.com/m3o/ingress/proto/api"
)

// Options is what a Service may be told. The zero value works.
type Options struct {
	// Scopes are the scopes that the platform's services need, which keys may
	// carry besides "*", "api", "operator", "backend" and "resolve". When nil:
	// app, function, helloworld, url and user.
	Scopes []string
	// Log hears of writes of last_seen that failed; nothing when nil.
	Log *slog.Logger
	// Now is the clock; time.Now when nil.
	Now func() time.Time
	// MaxStale is how long keys that were good stay so while the database cannot say
	// what has changed (store.DB.Behind); 0 is for ever.
	MaxStale time.Duration
}

// Service authenticates callers, limits their rate, and serves the methods that
// manage tenants and keys. It implements api.Authenticator and api.Limiter, and
// is safe for concurrent use.
type Service struct {
	keys      repository
	scopes    []string // every scope there is
	cache     cache
	buckets   buckets
	seen      seen
	node      string               // this process among those on the database
	nodeLife  time.Duration        // see the constant
	bootstrap atomic.Pointer[hash] // of the bootstrap key, nil before EnsureBootstrap
	// followBootstrap runs rereadBootstrap when another node may have replaced the key.
	followBootstrap func(context.Context)
	log             *slog.Logger
	now             func() time.Time
	maxStale        time.Duration
}

// scopeKeys is the scope of the service Keys; like that of any service, "*"
// includes it.
const scopeKeys = "api"

// New returns a Service that keeps tenants and keys in db, and that hears of
// their changes from it.
func New(db *store.DB, o Options) *Service {
	if o.Scopes == nil {
		o.Scopes = []string{"app", "function", "helloworld", "url", "user"}
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	s := &Service{keys: repository{db}, scopes: allScopes(o.Scopes), log: o.Log, now: o.Now, maxStale: o.MaxStale}
	if db.Shared() {
		s.node, s.nodeLife, s.buckets.leases = newNodeID(), nodeLife, newLeases(s.now())
	}
	db.Subscribe(func(c store.Change) {
		switch c.Kind {
		case "key":
			s.cache.forgetKey(c.ID)
		case "tenant":
			s.cache.forgetTenant(c.ID)
		}
	})
	db.OnGap(func(context.Context) error {
		s.cache.forgetAll()
		return nil
	})
	s.followBootstrap = db.Reread(s.rereadBootstrap, "key")
	return s
}

func allScopes(services []string) []string {
	all := append([]string{api.ScopeAll, api.ScopeOperator, api.ScopeBackend, api.ScopeResolve, scopeKeys}, services...)
	slices.Sort(all)
	return slices.Compact(all)
}

// Services returns the tables of the methods under /v1/api/keys and
// /v1/api/tenants.
func (s *Service) Services() []api.Service {
	services := apipb.File_api_api_proto.Services()
	return []api.Service{
		{
			Descriptor: services.ByName("Keys"),
			Scope:      scopeKeys,
			Methods: []api.Method{
				api.Unary("Generate", s.generate),
				api.Unary("List", s.list),
				api.Unary("Revoke", s.revoke),
			},
		},
		{
			Descriptor: services.ByName("Tenants"),
			Scope:      api.ScopeOperator,
			Methods: []api.Method{
				api.Unary("Create", s.createTenant),
				api.Unary("List", s.listTenants),
				api.Unary("Disable", s.disableTenant),
				api.Unary("Enable", s.enableTenant),
				api.Unary("SetQuotas", s.setQuotas),
			},
		},
	}
}

// seenEvery is how often Run writes down when keys were last used, and
// seenTimeout how long the last write at shutdown may take.
const (
	seenEvery   = 10 * time.Second
	seenTimeout = 5 * time.Second
)

// Run writes down when keys were last used, every ten seconds and once more
// when ctx ends; then it returns. On a database with other processes it also agrees
// with them on the rates of keys, every second, and leaves them when ctx ends, and
// follows them to another bootstrap key.
func (s *Service) Run(ctx context.Context) {
	if s.keys.db.Shared() {
		var sharing sync.WaitGroup
		sharing.Go(func() { s.shareRates(ctx) }) // by itself: a write that hangs must not keep a node from being seen
		sharing.Go(func() { s.followBootstrap(ctx) })
		defer sharing.Wait()
	}
	ticks := time.NewTicker(seenEvery)
	defer ticks.Stop()
	for {
		select {
		case <-ticks.C:
			s.flushOrLog(ctx)
		case <-ctx.Done():
			last, cancel := context.WithTimeout(context.WithoutCancel(ctx), seenTimeout)
			defer cancel()
			s.flushOrLog(last)
			return
		}
	}
}

func (s *Service) flushOrLog(ctx context.Context) {
	if err := s.Flush(ctx); err != nil {
		s.log.WarnContext(ctx, "when keys were last used could not be written; it will be tried again", "error", err)
	}
}

// Flush writes down when keys were last used. What could not be written is kept
// for the next time.
func (s *Service) Flush(ctx context.Context) error {
	snapshot := s.seen.snapshot()
	if len(snapshot) == 0 {
		return nil
	}
	if err := s.keys.saveSeen(ctx, snapshot); err != nil {
		return err
	}
	s.seen.saved(snapshot)
	return nil
}
