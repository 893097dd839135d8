package edge

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"sync/atomic"
	"time"
)

// Edge is the data plane: an http.Handler for every host and path there is. Make
// one with New, serve it with a Server, and Close it last.
type Edge struct {
	config    Config
	logger    *slog.Logger
	access    *slog.Logger  // one line a request
	requests  atomic.Uint64 // that could have been logged
	now       func() time.Time
	hosts     atomic.Pointer[hostTable]
	redirects redirectPolicy
	apps      *resolveCache[Backend]
	functions *resolveCache[Backend]
	links     *resolveCache[string]
	proxy     *proxy
	platform  handler
	from      forwarded
	pages     *pages
	metrics   *metrics
	tunnels   *tunnels
	conns     *connections
	guards    *guards
	chain     http.Handler
	leaving   atomic.Bool // every answer is the last on its connection
}

// New returns the data plane the configuration describes, or an error that names
// the setting that is wrong.
func New(config Config) (*Edge, error) {
	config = config.withDefaults()
	if err := config.Tracing.check(); err != nil {
		return nil, err
	}
	if err := config.check(); err != nil {
		return nil, err
	}
	e := &Edge{
		config:  config,
		logger:  config.Logger,
		access:  config.AccessLog,
		now:     config.Now,
		from:    newForwarded(config.TrustedProxies),
		tunnels: newTunnels(),
	}
	if err := e.SetHosts(config.Hosts); err != nil {
		return nil, err
	}
	var err error
	if e.redirects, err = newRedirectPolicy(config.VerifyRedirectHosts); err != nil {
		return nil, err
	}
	if e.pages, err = newPages(); err != nil {
		return nil, err
	}
	if e.metrics, err = newMetrics(config.Metrics); err != nil {
		return nil, err
	}
	e.conns = newConnections(config.Limits, e.from.trusts, e.logger, e.now)
	e.guards = newGuards(config.Limits, e.logger, e.now)
	if err := register(config.Metrics, append(e.conns.collectors(), e.guards.collectors()...)); err != nil {
		return nil, err
	}
	e.proxy = newProxy(proxyConfig{
		Transport:     config.Transport,
		Registered:    config.Registered,
		TenantDomains: e.tenantDomains,
		IsPlatformKey: config.IsPlatformKey,
		Node:          config.Node,
		Now:           config.Now,
		HalfClosed:    config.Limits.HalfClosed,
		TunnelIdle:    config.Limits.TunnelIdle,
		BodyStall:     config.Limits.BodyStall,
		Logger:        config.Logger,
	})
	e.platform = e.newPlatform()
	e.newCaches()
	e.chain = e.newChain()
	return e, nil
}

func (e *Edge) newPlatform() handler {
	if e.config.PlatformURL != nil {
		return e.proxy.platform(e.config.PlatformURL)
	}
	return func(w http.ResponseWriter, r *http.Request) *failure {
		return servePlatformHere(e.config.Platform, w, r)
	}
}

func (e *Edge) newCaches() {
	settings := func(kind Kind) cacheSettings {
		return cacheSettings{deadline: e.config.Limits.Resolve, now: e.now, counts: newCacheCounts(e.metrics.caches, kind)}
	}
	isDeploying := func(b Backend) bool { return b.Origin != Managed && b.URL.Host == "" }
	e.apps = newResolveCache(settings(App), resolverOrDown(e.config.Apps), isDeploying)
	e.functions = newResolveCache(settings(Function), resolverOrDown(e.config.Functions), isDeploying)
	e.links = newResolveCache(settings(Link), linkResolverOrDown(e.config.Links), func(to string) bool { return to == "" })
}

var errNoPlatform = errors.New("no resolver is configured for this route")

func resolverOrDown(r Resolver) lookup[Backend] {
	if r == nil {
		return func(context.Context, string) (Backend, error) { return Backend{}, errNoPlatform }
	}
	return r.Resolve
}

func linkResolverOrDown(r LinkResolver) lookup[string] {
	if r == nil {
		return func(context.Context, string) (string, error) { return "", errNoPlatform }
	}
	return r.ResolveLink
}

// ServeHTTP answers one request. It is safe for concurrent use.
func (e *Edge) ServeHTTP(w http.ResponseWriter, r *http.Request) { e.chain.ServeHTTP(w, r) }

// SetHosts replaces the host table at once: each request sees the old table or
// the new one. An error names the setting that is wrong and changes nothing.
func (e *Edge) SetHosts(hosts Hosts) error {
	table, err := newHostTable(hosts, e.config.PublicResolve)
	if err != nil {
		return err
	}
	e.hosts.Store(table)
	if hosts.missesLinks() {
		e.logger.Warn("short links are served at /u/ and /url/ only: with this url-prefix something in front must lead there", "url-prefix", hosts.URLPrefix)
	}
	return nil
}

// route picks the route of a request. Hosts that are neither ours nor under the
// domains of apps and functions may be an app's own.
func (e *Edge) route(method, host, path string) match {
	table := e.hosts.Load()
	m := table.route(method, host, path)
	if m.kind != routeUnknownHost || e.config.Domains == nil {
		return m
	}
	name, err := normaliseHost(host)
	if err != nil || table.tenants(name) {
		return m
	}
	if id, ok := e.config.Domains.App(name); ok {
		return match{kind: routeApp, id: id}
	}
	return m
}

// tenantDomains returns the domains whose subdomains belong to tenants.
func (e *Edge) tenantDomains() []string { return e.hosts.Load().tenantDomains }

// Kind is a kind of id the ingress resolves and remembers.
type Kind string

// The kinds there are.
const (
	App      Kind = "app"
	Function Kind = "function"
	Link     Kind = "link"
)

// Invalidate forgets what is known of an id, so that the next request asks the
// platform. A lookup that began before never stores what it finds. It is safe
// for concurrent use, and returns an error only for a kind that does not exist.
func (e *Edge) Invalidate(kind Kind, id string) error {
	switch kind {
	case App:
		e.apps.invalidate(id)
	case Function:
		e.functions.invalidate(id)
	case Link:
		e.links.invalidate(id)
	default:
		return fmt.Errorf("edge: invalidate %q: no kind %q", id, kind)
	}
	return nil
}

// InvalidateAll is Invalidate for every id there is: for when nobody can say what has
// changed. It is safe for concurrent use.
func (e *Edge) InvalidateAll() {
	e.apps.invalidateAll()
	e.functions.invalidateAll()
	e.links.invalidateAll()
}

// Close ends the lookups that run in the background and waits for them. Call it
// after the Server has shut down.
func (e *Edge) Close() {
	e.apps.close()
	e.functions.close()
	e.links.close()
}
