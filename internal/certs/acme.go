package certs

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"path"
	"slices"
	"strings"
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

// failure is what is remembered of orders that failed.
type failure struct {
	times int
	again time.Time
}

// job is one order under way, and what came of it.
type job struct {
	done   chan struct{} // closed when err is set
	err    error
	cancel context.CancelFunc
}

type jobKey struct{}

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

// readStored lists the names that have a certificate of this authority.
func (a *authority) readStored(ctx context.Context) error {
	folders, err := a.o.Storage.List(ctx, certmagic.StorageKeys.CertsPrefix(a.issuer.IssuerKey()), false)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	found := map[string]time.Time{}
	for _, folder := range folders {
		name := strings.Replace(path.Base(folder), "wildcard_", "*", 1)
		expires, err := a.expiryOf(ctx, name)
		if errors.Is(err, fs.ErrNotExist) {
			continue // an order that was not finished
		}
		if err != nil {
			return err
		}
		found[name] = expires
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	a.have = found
	return nil
}

// expiryOf reads the end of a stored certificate.
func (a *authority) expiryOf(ctx context.Context, name string) (time.Time, error) {
	chain, err := a.o.Storage.Load(ctx, certmagic.StorageKeys.SiteCert(a.issuer.IssuerKey(), name))
	if err != nil {
		return time.Time{}, err
	}
	block, _ := pem.Decode(chain)
	if block == nil {
		return time.Time{}, fmt.Errorf("the stored certificate of %s is not PEM", name)
	}
	leaf, err := x509.ParseCertificate(block.Bytes)
	if err != nil {
		return time.Time{}, fmt.Errorf("the stored certificate of %s: %w", name, err)
	}
	return leaf.NotAfter, nil
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

func (a *authority) clean(ctx context.Context) {
	err := certmagic.CleanStorage(ctx, a.o.Storage, certmagic.CleanStorageOptions{
		Logger: newZap(a.log), OCSPStaples: true, ExpiredCerts: true, ExpiredCertGracePeriod: keepExpired,
	})
	if err := errors.Join(err, a.readStored(ctx)); err != nil && ctx.Err() == nil {
		a.log.Error("expired certificates could not be removed", "error", err)
	}
}

// certificate answers a handshake. Without a certificate and an error, the name
// gets none.
func (a *authority) certificate(hello *tls.ClientHelloInfo, name string) (*tls.Certificate, error) {
	if isChallenge(hello) {
		if !a.isOrdered(name) {
			return nil, nil
		}
		return a.magic.GetCertificate(hello)
	}
	ctx, cancel := context.WithTimeout(hello.Context(), handshakeWait)
	defer cancel()
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
	if !a.has(name) {
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

// isOrdered reports whether an authority may be asking for a name.
func (a *authority) isOrdered(name string) bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	_, renewed := a.have[name]
	return renewed || a.jobs[name] != nil
}

func (a *authority) has(name string) bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	_, ok := a.have[name]
	return ok
}

// covers reports whether a host can have a certificate, if there is such a host.
func (a *authority) covers(host string) bool {
	if wildcard, ok := a.wildcardOf(host); ok {
		return a.has(wildcard)
	}
	return qualifies(host)
}

// obtain waits for a certificate for a name that has none. Who gives up waiting
// leaves the order to go on: the next handshake finds what came of it.
func (a *authority) obtain(ctx context.Context, name string) error {
	j := a.underway(name)
	if j == nil {
		if f, ok := a.failures.get(name); ok && a.now().Before(f.again) {
			return fmt.Errorf("%s: %w", name, errBackoff)
		}
		err := a.gate.admit(ctx, name)
		if err == nil {
			j, err = a.start(name)
		}
		if err != nil {
			a.complain(err)
			return fmt.Errorf("%s: %w", name, err)
		}
	}
	select {
	case <-j.done:
		return j.err
	case <-ctx.Done():
		return fmt.Errorf("the certificate for %s is still being ordered: %w", name, ctx.Err())
	}
}

func (a *authority) underway(name string) *job {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.jobs[name]
}

// start begins an order unless one is under way or has just ended well.
func (a *authority) start(name string) (*job, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if j := a.jobs[name]; j != nil {
		return j, nil
	}
	j := &job{done: make(chan struct{})}
	if _, ok := a.have[name]; ok {
		close(j.done)
		return j, nil
	}
	switch {
	case a.life.Err() != nil:
		return nil, errEnding
	case len(a.have)+len(a.jobs) >= a.o.MaxNames:
		return nil, errFull
	case !a.orders.take():
		return nil, errBudget
	}
	a.jobs[name] = j
	a.busy.Go(func() { a.order(name, j) })
	return j, nil
}

// order obtains one certificate. certmagic would try again for hours; once must
// do, because people wait: the next handshake after a while is the next attempt.
func (a *authority) order(name string, j *job) {
	ctx, cancel := context.WithTimeout(a.life, orderTimeout)
	defer cancel()
	j.cancel = cancel
	expires, err := a.expiryOf(ctx, name)
	if err != nil { // what is left of it, if anything, is of no use
		err = a.o.Storage.Delete(ctx, certmagic.StorageKeys.CertsSitePrefix(a.issuer.IssuerKey(), name))
		if err == nil {
			err = a.magic.ObtainCertAsync(context.WithValue(ctx, jobKey{}, j), name)
		}
		if j.err != nil { // why it was cancelled
			err = j.err
		}
		if err == nil {
			expires, err = a.expiryOf(ctx, name)
		}
	}
	if err != nil && a.life.Err() == nil {
		a.failed(name, err)
	}
	a.mu.Lock()
	if err == nil {
		a.have[name] = expires
	}
	delete(a.jobs, name)
	j.err = err
	a.mu.Unlock()
	if err == nil {
		a.failures.forget(name)
	}
	close(j.done)
}

func (a *authority) failed(name string, err error) {
	f, _ := a.failures.get(name)
	wait := min(firstBackoff<<min(f.times, 10), lastBackoff)
	f = failure{times: f.times + 1, again: a.now().Add(wait)}
	a.failures.set(name, f, f.again.Add(lastBackoff))
	a.log.Error("a certificate could not be obtained; a visitor of the host has it tried again after a while", "name", name, "after", wait.String(), "error", err)
}

// complain tells the operator of limits that were reached, once a minute each.
func (a *authority) complain(err error) {
	for _, limit := range []error{errFull, errBudget, errTooMany, errCannotAsk} {
		if !errors.Is(err, limit) {
			continue
		}
		if _, said := a.complaints.get(limit.Error()); !said {
			a.complaints.set(limit.Error(), struct{}{}, a.now().Add(time.Minute))
			a.log.Warn("a host gets no certificate for now", "error", err)
		}
	}
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

// renewed notes the new end of a certificate that no job was for.
func (a *authority) renewed(ctx context.Context, name string) error {
	expires, err := a.expiryOf(ctx, name)
	if err != nil {
		return err
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	a.have[name] = expires
	return nil
}

// expiry returns how many there are and when the first one expires.
func (a *authority) expiry() (count int, soonest time.Time) {
	a.mu.Lock()
	defer a.mu.Unlock()
	for _, at := range a.have {
		if soonest.IsZero() || at.Before(soonest) {
			soonest = at
		}
	}
	return len(a.have), soonest
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
	if isWildcard(name) {
		config = a.wild
	}
	if err := config.RevokeCert(ctx, name, acme.ReasonKeyCompromise, false); err != nil {
		return fmt.Errorf("revoke the certificate of %s: %w", name, err)
	}
	a.mu.Lock()
	delete(a.have, name)
	a.wildcards = slices.DeleteFunc(slices.Clone(a.wildcards), func(domain string) bool { return "*."+domain == name }) // managed anew
	a.mu.Unlock()
	a.cache.RemoveManaged([]certmagic.SubjectIssuer{{Subject: name, IssuerKey: a.issuer.IssuerKey()}})
	a.log.Warn("a certificate was revoked", "name", name)
	return nil
}
