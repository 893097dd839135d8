package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"net/url"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/m3o/ingress/internal/api"
	"github.com/m3o/ingress/internal/app"
	"github.com/m3o/ingress/internal/builder"
	"github.com/m3o/ingress/internal/domain"
	"github.com/m3o/ingress/internal/edge"
	"github.com/m3o/ingress/internal/function"
	"github.com/m3o/ingress/internal/helloworld"
	"github.com/m3o/ingress/internal/key"
	"github.com/m3o/ingress/internal/link"
	"github.com/m3o/ingress/internal/mail"
	"github.com/m3o/ingress/internal/store"
	"github.com/m3o/ingress/internal/upstream"
	"github.com/m3o/ingress/internal/user"
	"github.com/m3o/ingress/internal/workload"
	"github.com/prometheus/client_golang/prometheus"
)

// Names in the data directory.
const (
	databaseFile  = "ingress.db"
	secretKeyFile = "secret.key"
	outboxDir     = "outbox"
)

// embedded is the platform in this process.
type embedded struct {
	db        *store.DB
	sealer    *store.Sealer
	keys      *key.Service
	key       key.Bootstrap
	apps      *workload.Registry
	functions *workload.Registry
	engine    workloads
	languages function.Runtimes
	domains   *workload.Domains
	links     *link.Service
	users     *user.Service
	handler   *api.Handler
	rules     *upstream.Rules
	transport *upstream.Transport
	// spawn runs f in the background, until its context ends with the run.
	spawn func(f func(context.Context))
}

// openPlatform opens the platform that the configuration asks for.
func (s *server) openPlatform(ctx context.Context) error {
	if s.config.remote() {
		return s.openRemote()
	}
	return s.openEmbedded(ctx)
}

// checkPlatform refuses secrets and a mail server that the services would refuse.
func (s *server) checkPlatform() error {
	if s.secrets.bootstrapKey != "" {
		if err := key.CheckBootstrap(s.secrets.bootstrapKey); err != nil {
			return fmt.Errorf("%s: %w", s.secrets.bootstrapFrom, err)
		}
	}
	if s.secrets.secretKey != "" {
		if _, err := store.OpenSealer("", s.secrets.secretKey); err != nil {
			return err
		}
	}
	if s.config.SMTPURL == "" {
		return nil
	}
	_, err := s.newSender()
	return err
}

// openEmbedded takes the data directory, opens the store and makes the services.
func (s *server) openEmbedded(ctx context.Context) error {
	if err := s.lockDir(); err != nil {
		if errors.Is(err, store.ErrDirInUse) {
			err = fmt.Errorf("%w; stop that one or give another directory", err)
		}
		return fmt.Errorf("--data-dir: %w", err)
	}
	s.onClose(s.lock.Close)
	s.warnReadable(s.config.DataDir)
	if s.secrets.database != "" && !s.config.shared() {
		s.log.Warn("INGRESS_DATABASE_PASSWORD is set and --database is not; everything is kept in the data directory", "dir", s.config.DataDir)
	}
	db, err := s.config.openDatabase(ctx, s.secrets, s.log)
	if err != nil {
		return err
	}
	s.onClose(db.Close)
	if err := s.metrics.Register(db.Collector()); err != nil {
		return err
	}
	sealer, err := store.OpenSealer(filepath.Join(s.config.DataDir, secretKeyFile), s.secrets.secretKey)
	if err != nil {
		return err
	}
	if err := db.AgreeOnSecret(ctx, sealer); err != nil {
		return err
	}
	s.settings.store = db
	e := &embedded{db: db, sealer: sealer}
	s.platform = e
	if err := s.makeServices(ctx, e, sealer); err != nil {
		return err
	}
	s.metrics.MustRegister(prometheus.NewGaugeFunc(prometheus.GaugeOpts{
		Name: "ingress_link_hits_unwritten",
		Help: "Visits of short links that are counted in memory and not written yet.",
	}, func() float64 { return float64(e.links.Unwritten()) }))
	if nodes := e.keys.Collector(); nodes != nil {
		if err := s.metrics.Register(nodes); err != nil {
			return err
		}
	}
	s.runServices(e)
	if !db.Shared() {
		s.warnUnconfined()
	}
	return nil
}

// lockDir takes the lock of the data directory, or takes it over.
func (s *server) lockDir() (err error) {
	if s.inherited != nil && s.inherited.lock != nil {
		s.lock, err = store.InheritDirLock(s.inherited.lock, s.config.DataDir)
		return err
	}
	s.lock, err = store.LockDir(s.config.DataDir)
	return err
}

// warnReadable warns when others than the owner may enter a directory that we
// did not make. Taking their rights away could break what is theirs.
func (s *server) warnReadable(dir string) {
	info, err := os.Stat(dir)
	if err == nil && info.Mode().Perm()&0o077 != 0 {
		s.log.Warn("others than the owner have rights on the data directory; take them away with chmod 700",
			"dir", dir, "mode", fmt.Sprintf("%04o", info.Mode().Perm()))
	}
}

// makeServices makes the services and the handler of /v1 from them.
func (s *server) makeServices(ctx context.Context, e *embedded, sealer *store.Sealer) error {
	e.rules = s.dialRules()
	e.transport = s.newTransport(e.rules)
	e.keys = key.New(e.db, key.Options{Log: s.log, MaxStale: s.config.AuthMaxStale})
	var err error
	e.key, err = e.keys.EnsureBootstrap(ctx, s.secrets.bootstrapKey, filepath.Join(s.config.DataDir, bootstrapKeyFile))
	if err != nil {
		return fmt.Errorf("%s: %w", s.secrets.bootstrapFrom, err)
	}
	if err := s.makeRegistries(ctx, e, sealer); err != nil {
		return err
	}
	e.links = link.New(e.db, link.Options{
		Prefix: func() string { return s.settings.addresses().urlPrefix },
		IsOwn:  func(u *url.URL) bool { return s.settings.addresses().shortens(u) },
		Log:    s.log,
	})
	sender, err := s.newSender()
	if err != nil {
		return err
	}
	e.users = user.New(user.Config{
		DB:        e.db,
		Mail:      sender,
		VerifyURL: func() string { return s.settings.addresses().verifyEmailURL },
		Log:       s.log,

		SessionLife: s.config.SessionLife, VerifyLife: s.config.VerifyLinkLife, MagicLife: s.config.MagicLinkLife,
		MaxStale: s.config.AuthMaxStale,
	})
	e.handler, err = api.NewHandler(api.HandlerConfig{
		Services: s.serviceTables(e), Auth: e.keys, Limiter: e.keys, Anonymous: publicResolver, Logger: s.log,
		Called: func(ctx context.Context, c api.Caller) { edge.NoteTenant(ctx, c.Tenant) },
	})
	return err
}

// makeRegistries makes what keeps apps and functions, and what runs them.
func (s *server) makeRegistries(ctx context.Context, e *embedded, sealer *store.Sealer) error {
	options := workload.Options{
		DB: e.db, Sealer: sealer, Rules: e.rules, Regions: s.config.Regions, Layout: workload.Layout{Data: s.config.DataDir}, Log: s.log,
		AllowLocal: s.config.Running.AllowLocalRepos, MaxUpload: int64(s.config.Running.MaxSourceBytes), SwitchUser: os.Geteuid() == 0, FirstUID: s.config.Running.AppUIDBase,
	}
	if e.db.Shared() {
		options.NoSources = notHere
	}
	options.PublicURL = func(id string) string { return s.settings.addresses().appURL(id) }
	e.apps = workload.NewRegistry(workload.App, options)
	options.PublicURL = func(id string) string { return s.settings.addresses().functionURL(id) }
	e.functions = workload.NewRegistry(workload.Function, options)
	var err error
	if e.domains, err = workload.OpenDomains(ctx, e.db); err != nil {
		return err
	}
	registries := map[workload.Kind]*workload.Registry{workload.App: e.apps, workload.Function: e.functions}
	if e.db.Shared() {
		e.engine, e.languages = elsewhere{registries}, noLanguages{languagesOf{builder.New(builder.Options{})}}
		return nil
	}
	made, err := s.makeEngine(options.Layout, e.rules, registries)
	if err != nil {
		return err
	}
	e.engine, e.languages = made, languagesOf{made.builder}
	return nil
}

// publicResolver is who calls the resolve methods without /v1 and without a key,
// where --public-resolve serves them: nobody's tenant, with nothing but the right
// to resolve.
func publicResolver(ctx context.Context) (api.Caller, bool) {
	if !edge.IsPublicResolve(ctx) {
		return api.Caller{}, false
	}
	return api.Caller{
		Tenant: "public", KeyID: "public-resolve", Scopes: []string{"app", "function", "url", api.ScopeResolve}, Unlimited: true,
	}, true
}

// serviceTables is the index of what /v1 serves.
func (s *server) serviceTables(e *embedded) []api.Service {
	tables := []api.Service{
		helloworld.New().Service(),
		e.links.Service(),
		e.users.Service(),
		app.New(app.Options{
			Registry: e.apps,
			URL:      func(id string) string { return s.settings.addresses().appURL(id) },
			Domains: app.Domains{
				Host:    func(id string) string { return s.settings.addresses().appHost(id) },
				Ours:    func(host string) bool { return s.settings.addresses().edgeHosts().Claims(host) },
				Records: &domain.Checker{Servers: s.config.DNSServers},
			},
		}).Service(),
		function.New(function.Options{
			Registry:  e.functions,
			URL:       func(id string) string { return s.settings.addresses().functionURL(id) },
			Transport: e.transport,
			Runtimes:  e.languages, Managed: e.engine,
		}).Service(),
	}
	return append(tables, e.keys.Services()...)
}

// newSender sends mail by SMTP when there is a server, and to the outbox
// otherwise.
func (s *server) newSender() (user.Sender, error) {
	if s.config.SMTPURL == "" {
		return mail.NewOutbox(filepath.Join(s.config.DataDir, outboxDir), s.config.MailFrom, s.log)
	}
	return mail.NewSMTP(mail.SMTPConfig{URL: s.config.SMTPURL, Password: s.secrets.smtpPassword, From: s.config.MailFrom})
}

// runServices runs what the services do in the background until the run ends,
// and flushes what they hold in memory then.
func (s *server) runServices(e *embedded) {
	ctx, cancel := context.WithCancel(context.Background())
	var running sync.WaitGroup
	e.spawn = func(f func(context.Context)) { running.Go(func() { f(ctx) }) }
	e.spawn(e.keys.Run)
	e.spawn(e.links.Run)
	e.spawn(e.users.Run)
	e.spawn(func(ctx context.Context) { s.tidy(ctx, e.db, e.apps) })
	e.spawn(e.db.Reread(s.settings.follow, "setting"))
	s.onClose(func() error {
		cancel()
		running.Wait()
		flush, done := context.WithTimeout(context.Background(), flushTimeout)
		defer done()
		return joinErrors(e.links.Flush(flush), e.keys.Flush(flush))
	})
}

// tidyEvery is how often the change log and the write-ahead log are shortened.
const tidyEvery = time.Hour

func (s *server) tidy(ctx context.Context, db *store.DB, uploads *workload.Registry) {
	tick := time.NewTicker(tidyEvery)
	defer tick.Stop()
	for {
		if err := errors.Join(db.PruneChanges(ctx), db.Checkpoint(ctx), uploads.PruneUploads(ctx)); err != nil && ctx.Err() == nil {
			s.log.Error("the database could not be tidied", "error", err)
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return
		}
	}
}

// newTransport makes the transport to backends; nil rules allow any address.
func (s *server) newTransport(rules *upstream.Rules) *upstream.Transport {
	transport := upstream.New(upstream.Options{
		Rules:                 rules,
		DialTimeout:           s.config.Limits.DialTimeout,
		ResponseHeaderTimeout: s.config.Limits.ResponseHeaderTimeout,
		Counters:              &s.backends,
		Engine:                upstream.Engine(s.config.UpstreamTransport),
	})
	s.onClose(func() error { transport.CloseIdleConnections(); return nil })
	return transport
}

// dialRules are the rules for backends that tenants register. Private addresses
// are allowed by default only where nobody from outside can reach us anyway.
func (s *server) dialRules() *upstream.Rules {
	allow := allLoopback(s.public())
	if s.config.AllowPrivateBackends != nil {
		allow = *s.config.AllowPrivateBackends
	}
	own := ownAddresses(append([]net.Listener{s.admin}, s.public()...))
	return &upstream.Rules{AllowPrivate: allow, Listeners: func() []netip.AddrPort { return own }}
}

func ownAddresses(listeners []net.Listener) []netip.AddrPort {
	var own []netip.AddrPort
	for _, l := range listeners {
		if l == nil {
			continue
		}
		if tcp, ok := l.Addr().(*net.TCPAddr); ok {
			own = append(own, tcp.AddrPort())
		}
	}
	return own
}

func (e *embedded) fill(c *edge.Config) {
	c.Platform = e.handler
	c.Transport, c.Registered, c.Admit = e.transport, e.transport, e.rules.Check
	c.Apps, c.Functions = resolver{e.apps}, resolver{e.functions}
	c.Activator, c.Describe = e.engine, e.engine.describe
	c.Domains = e.domains
	c.Links, c.Hits = e.links, e.links
	c.Verifier = verifier{e.users}
	c.IsPlatformKey = e.keys.IsPlatformKey
}

// watch drops from the data plane's cache what is no longer true.
func (e *embedded) watch(plane *edge.Edge) {
	e.db.Subscribe(func(c store.Change) {
		switch kind := edge.Kind(c.Kind); kind {
		case edge.App, edge.Function, edge.Link:
			plane.Invalidate(kind, c.ID)
		}
	})
	e.db.OnGap(func(context.Context) error { plane.InvalidateAll(); return nil })
}

// begin hears of what the program before changes in its last requests: a key that is
// revoked there must not be good here.
func (e *embedded) begin(ctx context.Context, ended <-chan struct{}) error {
	since, err := store.LastChange(ctx, e.db)
	if err != nil {
		return err
	}
	if err := e.engine.run(ctx, e.db); err != nil {
		return err
	}
	// From here on all who want to hear of changes do.
	e.db.FollowNodes()
	if ended != nil && !e.db.Shared() {
		e.spawn(func(ctx context.Context) { e.db.Follow(ctx, since, ended) })
	}
	return nil
}

// release writes what is held in memory, too: the next process reads it.
func (e *embedded) release(ctx context.Context) error {
	return joinErrors(e.engine.release(ctx), e.links.Flush(ctx), e.keys.Flush(ctx))
}

const (
	// tellTale is how far behind a node may be before it says so.
	tellTale = 3 * time.Second
	// pingLimit bounds a ping. Balancers wait a second for it, and must not take out
	// all nodes at once because the database says nothing.
	pingLimit = 500 * time.Millisecond
)

func (e *embedded) ping(ctx context.Context) error {
	if behind := e.db.Behind(); behind > tellTale {
		return fmt.Errorf("the database has not answered for %v", behind.Round(time.Second))
	}
	ctx, cancel := context.WithTimeout(ctx, pingLimit)
	defer cancel()
	return e.db.Ping(ctx)
}

func (e *embedded) describe() (platform, database string) {
	if e.db.Shared() {
		return "built in, one of several ingresses on one database", e.db.String()
	}
	return "built in", ""
}

func (e *embedded) bootstrap() bootstrapKey {
	b := bootstrapKey{file: e.key.File, revoked: e.key.Revoked, elsewhere: e.key.Elsewhere}
	if e.key.Generated {
		b.secret = e.key.Secret
	}
	return b
}

func (e *embedded) drain(ctx context.Context) error { return e.handler.Shutdown(ctx) }

// resolver resolves the ids of one kind of workload.
type resolver struct{ registry *workload.Registry }

// Resolve implements edge.Resolver. Whether what runs here can take a request is
// the activator's to say, for each.
func (r resolver) Resolve(ctx context.Context, id string) (edge.Backend, error) {
	b, err := r.registry.Backend(ctx, id)
	switch {
	case err != nil:
		return edge.Backend{}, err
	case b.Managed:
		return edge.Backend{Key: b.Key, Tenant: b.Tenant, Origin: edge.Managed}, nil
	}
	return edge.Backend{Key: b.Key, Tenant: b.Tenant, URL: b.URL, Origin: edge.Registered}, nil
}

// verifier checks verification tokens.
type verifier struct{ users *user.Service }

// VerifyEmail implements edge.EmailVerifier.
func (v verifier) VerifyEmail(ctx context.Context, token string) (edge.Redirects, error) {
	stored, err := v.users.VerifyLink(ctx, token)
	return edge.Redirects{Success: stored.Success, Failure: stored.Failure}, err
}
