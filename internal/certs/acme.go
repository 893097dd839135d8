package certs

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"time"

	"github.com/caddyserver/certmagic"
	"github.com/mholt/acmez/v3"
	"github.com/mholt/acmez/v3/acme"
	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/zap"
)

// ACME says from whom certificates are had on demand, and for what.
type ACME struct {
	// CA is the URL of the authority's directory. Empty means Let's Encrypt.
	CA string
	// Roots are who may vouch for the authority itself. Nil means those of the
	// system.
	Roots *x509.CertPool
	// Email is where the authority writes to; it may be empty.
	Email string
	// Storage keeps accounts, certificates and private keys.
	Storage certmagic.Storage
	// Hosts says which names may have a certificate.
	Hosts Hosts
	// HTTPPort and TLSPort are where our own listeners are, which the authority
	// reaches as 80 and 443.
	HTTPPort, TLSPort int
	// MaxNames bounds how many names have certificates on demand.
	MaxNames int
	// OrdersPerMinute bounds how many new names certificates are ordered for.
	OrdersPerMinute int
	// DNS sets records. With it, wildcard certificates are obtained for the domains
	// that Wildcards returns, and used for all names right below them. Nil means
	// that there are none.
	DNS DNS
	// Wildcards is called now and then, because domains may change.
	Wildcards func() []string

	// For tests.
	renewalRatio float64 // of the lifetime that may be left at a renewal
	withoutHTTP  bool
	withoutALPN  bool
}

// How long things may take.
const (
	orderTimeout   = 2 * time.Minute
	handshakeWait  = time.Minute // for a certificate that is being ordered
	firstBackoff   = time.Minute // after an order that failed; doubled each time
	lastBackoff    = time.Hour
	wildcardsEvery = 30 * time.Second
	cleanEvery     = 12 * time.Hour
	keepExpired    = 7 * 24 * time.Hour // for a host that comes back
)

var (
	errFull    = errors.New("as many names as are allowed have a certificate (--tls-max-names)")
	errBudget  = errors.New("too many new certificates were asked for within a minute (--tls-orders-per-minute)")
	errBackoff = errors.New("the last order failed, and it is too soon for the next")
	errEnding  = errors.New("the ingress is shutting down")
	errNotOurs = errors.New("a certificate is ordered by a handshake for a name that may have one, and by nothing else")
	errPending = errors.New("the wildcard certificate for this name was not obtained yet")
)

// authority has certificates on demand.
type authority struct {
	o      ACME
	log    *slog.Logger
	now    func() time.Time
	gate   *gate
	orders *budget
	cache  *certmagic.Cache
	magic  *certmagic.Config // on demand, by HTTP-01 and TLS-ALPN-01
	issuer *certmagic.ACMEIssuer
	wild   *certmagic.Config // wildcards, by DNS-01; nil without a DNS
	counts *prometheus.CounterVec
	denied *prometheus.CounterVec

	failures   *timed[failure]
	complaints *timed[struct{}] // that were logged a moment ago

	mu        sync.Mutex
	have      map[string]time.Time // names with a stored certificate, and when it expires
	jobs      map[string]*job
	wildcards []string // domains whose wildcard is managed
	life      context.Context
	end       context.CancelFunc
	busy      sync.WaitGroup
}

// newAuthority finds out what is stored already.
func newAuthority(ctx context.Context, o ACME, log *slog.Logger, metrics prometheus.Registerer) (*authority, error) {
	a := &authority{
		o: o, log: log, now: time.Now,
		have: map[string]time.Time{}, jobs: map[string]*job{},
	}
	a.gate = newGate(o.Hosts, a.clock)
	a.orders = newBudget(o.OrdersPerMinute, a.clock)
	a.failures = newTimed[failure](o.MaxNames, a.clock)
	a.complaints = newTimed[struct{}](16, a.clock)
	a.life, a.end = context.WithCancel(context.Background())
	if err := a.count(metrics); err != nil {
		return nil, err
	}
	a.open()
	if storage, ok := o.Storage.(*Storage); ok {
		storage.listen(a.gone, a.reread)
	}
	if err := a.readStored(ctx); err != nil {
		return nil, errors.Join(fmt.Errorf("read the stored certificates: %w", err), a.close())
	}
	return a, nil
}

func (a *authority) clock() time.Time { return a.now() }

// open makes certmagic's configurations, which share a cache.
func (a *authority) open() {
	logger, opened := newZap(a.log), make(chan struct{})
	defer close(opened)
	a.cache = certmagic.NewCache(certmagic.CacheOptions{
		Logger: logger, Capacity: a.o.MaxNames + 16, // and the wildcards
		GetConfigForCert: func(cert certmagic.Certificate) (*certmagic.Config, error) {
			<-opened
			if a.wild != nil && slices.ContainsFunc(cert.Names, isWildcard) {
				return a.wild, nil
			}
			return a.magic, nil
		},
	})
	config := certmagic.Config{
		Storage: a.o.Storage, Logger: logger, OnEvent: a.onEvent, RenewalWindowRatio: a.o.renewalRatio,
		DisableARI: a.o.renewalRatio != 0, // which would have the last word
	}
	if a.o.DNS != nil {
		a.wild = certmagic.New(a.cache, config)
		template := a.template(logger.Named("issuer"))
		template.DNS01Solver = dnsSolver{a.o.DNS, a.log}
		a.wild.Issuers = []certmagic.Issuer{certmagic.NewACMEIssuer(a.wild, template)}
	}
	config.OnDemand = &certmagic.OnDemandConfig{DecisionFunc: a.gate.keep}
	a.magic = certmagic.New(a.cache, config)
	a.issuer = certmagic.NewACMEIssuer(a.magic, a.template(logger.Named("issuer")))
	a.magic.Issuers = []certmagic.Issuer{a.issuer}
}

// close ends the orders under way.
func (a *authority) close() error {
	a.mu.Lock()
	a.end()
	a.mu.Unlock()
	a.busy.Wait()
	a.cache.Stop()
	return nil
}

// run has the wildcards obtained, and what expired long ago removed, until ctx
// ends.
func (a *authority) run(ctx context.Context) {
	tick, clean := time.NewTicker(wildcardsEvery), time.NewTicker(cleanEvery)
	defer tick.Stop()
	defer clean.Stop()
	for {
		a.manageWildcards()
		select {
		case <-tick.C:
		case <-clean.C:
			a.clean(ctx)
		case <-ctx.Done():
			return
		}
	}
}

// certificate answers a handshake. Without a certificate and an error, the name
// gets none.
func (a *authority) certificate(hello *tls.ClientHelloInfo, name string) (*tls.Certificate, error) {
	ctx, cancel := context.WithTimeout(hello.Context(), handshakeWait)
	defer cancel()
	if isChallenge(hello) {
		// Another ingress may have ordered, and left the answer in the storage. It is not
		// looked for there for names that anybody makes up.
		if !a.isOrdered(name) && a.gate.admit(ctx, name) != nil {
			return nil, nil
		}
		return a.magic.GetCertificateWithContext(ctx, hello)
	}
	cert, err := a.find(ctx, hello, name)
	if err == nil {
		return cert, nil
	}
	a.log.Debug("a handshake got no certificate", "name", name, "error", err)
	a.denied.WithLabelValues(reasonOf(err)).Inc()
	if errors.Is(err, errRefused) {
		return nil, nil
	}
	return nil, err
}

func (a *authority) find(ctx context.Context, hello *tls.ClientHelloInfo, name string) (*tls.Certificate, error) {
	if wildcard, ok := a.wildcardOf(name); ok {
		return a.findWildcard(ctx, hello, wildcard)
	}
	// certmagic would order anew for whoever comes with an expired one, as often as they
	// come, and have the others wait for minutes.
	if !a.hasValid(name) {
		if err := a.obtain(ctx, name); err != nil {
			return nil, err
		}
	}
	cert, err := a.magic.GetCertificateWithContext(ctx, hello)
	if err == nil || !errors.Is(err, errNotOurs) {
		return cert, err
	}
	// It is gone from the storage: somebody tidied up, or its key cannot be read.
	a.mu.Lock()
	delete(a.have, name)
	a.mu.Unlock()
	if err := a.obtain(ctx, name); err != nil {
		return nil, err
	}
	return a.magic.GetCertificateWithContext(ctx, hello)
}

// isChallenge recognises an authority that checks by TLS-ALPN-01 (RFC 8737 3).
func isChallenge(hello *tls.ClientHelloInfo) bool {
	return len(hello.SupportedProtos) == 1 && hello.SupportedProtos[0] == acmez.ACMETLS1Protocol
}

// covers reports whether a host can have a certificate, if there is such a host.
func (a *authority) covers(host string) bool {
	if wildcard, ok := a.wildcardOf(host); ok {
		return a.has(wildcard)
	}
	return qualifies(host)
}

// onEvent hears from certmagic. An error keeps an order from being made.
func (a *authority) onEvent(ctx context.Context, event string, data map[string]any) error {
	name, _ := data["identifier"].(string)
	renewal, _ := data["renewal"].(bool)
	j, _ := ctx.Value(jobKey{}).(*job)
	switch event {
	case "cert_obtaining":
		if j == nil && !renewal && !isWildcard(name) {
			return certmagic.ErrNoRetry{Err: errNotOurs}
		}
	case "cert_failed":
		a.counts.WithLabelValues("failed").Inc()
		err, _ := data["error"].(error)
		if j != nil {
			j.err = err
			j.cancel()
		} else {
			a.log.Error("a certificate could not be renewed or obtained; it is tried again", "name", name, "renewal", renewal, "error", err)
		}
	case "cert_obtained":
		a.counts.WithLabelValues("obtained").Inc()
		a.log.Info("a certificate was obtained", "name", name, "renewal", renewal)
		if j == nil {
			return a.renewed(ctx, name)
		}
	}
	return nil
}

// template is what both issuers have in common. Who starts the program with ACME
// agrees to the authority's terms, which the flag's help says.
func (a *authority) template(logger *zap.Logger) certmagic.ACMEIssuer {
	return certmagic.ACMEIssuer{
		CA: a.o.CA, Email: a.o.Email, Agreed: true, TrustedRoots: a.o.Roots, Logger: logger,
		AltHTTPPort: a.o.HTTPPort, AltTLSALPNPort: a.o.TLSPort,
		DisableHTTPChallenge: a.o.withoutHTTP, DisableTLSALPNChallenge: a.o.withoutALPN,
	}
}

// revoke has a certificate declared invalid and forgotten (RFC 5280 5.3.1:
// keyCompromise).
func (a *authority) revoke(ctx context.Context, name string) error {
	config := a.magic
	if isWildcard(name) && a.wild != nil { // it may be from when there was a DNS hook
		config = a.wild
	}
	for _, issuer := range config.Issuers {
		// It gives the issuer its e-mail address, and with it the account that has the
		// certificate; certmagic does that before orders alone.
		checker, ok := issuer.(certmagic.PreChecker)
		if !ok {
			continue
		}
		if err := checker.PreCheck(ctx, []string{name}, false); err != nil {
			return fmt.Errorf("revoke the certificate of %s: %w", name, err)
		}
	}
	if err := config.RevokeCert(ctx, name, acme.ReasonKeyCompromise, false); err != nil {
		return fmt.Errorf("revoke the certificate of %s: %w", name, err)
	}
	a.forget(name)
	a.log.Warn("a certificate was revoked", "name", name)
	return nil
}
