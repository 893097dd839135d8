package certs

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/caddyserver/certmagic"
	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/zap"

	"github.com/m3o/ingress/internal/certs/acmetest"
	"github.com/m3o/ingress/internal/logtest"
	"github.com/m3o/ingress/internal/store/storetest"
)

// validity is long, as Let's Encrypt's: Pebble advises to renew what is valid for
// a day or two at once.
const validity = 90 * 24 * time.Hour

// fakeHosts serves some names, of which it remembers some, and fails as the
// platform does.
type fakeHosts struct {
	mu         sync.Mutex
	served     map[string]bool
	remembered map[string]bool // those that it is sure of without a lookup
	down       error
	lookups    int
}

func serving(names ...string) *fakeHosts {
	h := &fakeHosts{served: map[string]bool{}, remembered: map[string]bool{}}
	for _, name := range names {
		h.served[name] = true
	}
	return h
}

func (h *fakeHosts) HostRemembered(host string) (served, sure bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.served[host], h.remembered[host]
}

func (h *fakeHosts) HostServed(_ context.Context, host string) (bool, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.lookups++
	if h.down != nil {
		return false, h.down
	}
	return h.served[host], nil
}

func (h *fakeHosts) change(f func(*fakeHosts)) {
	h.mu.Lock()
	defer h.mu.Unlock()
	f(h)
}

func (h *fakeHosts) asked() int {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.lookups
}

// site is a manager behind real listeners.
type site struct {
	t       testing.TB
	m       *Manager
	ca      *acmetest.Server
	log     *logtest.Buffer
	metrics *prometheus.Registry
	web     string
	secure  string
	close   func()
}

// startSite starts a manager for hosts, which ends with the test or by close.
func startSite(t testing.TB, ca *acmetest.Server, storage certmagic.Storage, hosts Hosts, change ...func(*ACME)) *site {
	t.Helper()
	web, secure := listenLocal(t), listenLocal(t)
	s := &site{t: t, ca: ca, log: &logtest.Buffer{}, metrics: prometheus.NewRegistry(), web: web.Addr().String(), secure: secure.Addr().String()}
	o := ACME{
		CA: ca.Directory, Roots: ca.TrustPool, Email: "operator@m3o.test", Storage: storage, Hosts: hosts,
		HTTPPort: web.Addr().(*net.TCPAddr).Port, TLSPort: secure.Addr().(*net.TCPAddr).Port,
		MaxNames: 100, OrdersPerMinute: 100, Wildcards: func() []string { return nil },
	}
	for _, c := range change {
		c(&o)
	}
	var err error
	s.m, err = New(t.Context(), Options{ACME: &o, Log: slog.New(slog.NewTextHandler(s.log, nil)), Metrics: s.metrics})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	var running sync.WaitGroup
	running.Go(func() { s.m.Run(ctx) })
	server := &http.Server{
		Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if r.TLS != nil || !s.m.ServeChallenge(w, r) {
				fmt.Fprint(w, "hello")
			}
		}),
		ReadHeaderTimeout: patience, ErrorLog: slog.NewLogLogger(slog.DiscardHandler, slog.LevelDebug),
	}
	running.Go(func() { _ = server.Serve(web) })
	running.Go(func() { _ = server.Serve(tls.NewListener(secure, s.m.TLSConfig())) })
	s.close = sync.OnceFunc(func() {
		cancel()
		server.Close()
		if err := s.m.Close(); err != nil {
			t.Error(err)
		}
		running.Wait()
	})
	t.Cleanup(s.close)
	ca.Reach(s.web, s.secure)
	return s
}

func listenLocal(t testing.TB) net.Listener {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	return l
}

// visit does a handshake, and returns the certificate, which chains to the
// authority and has the name.
func (s *site) visit(name string) (*x509.Certificate, error) {
	s.t.Helper()
	conn, err := tls.DialWithDialer(&net.Dialer{Timeout: patience}, "tcp", s.secure, &tls.Config{RootCAs: s.ca.Roots, ServerName: name})
	if err != nil {
		return nil, err
	}
	defer conn.Close()
	return conn.ConnectionState().PeerCertificates[0], nil
}

func (s *site) mustVisit(name string) *x509.Certificate {
	s.t.Helper()
	leaf, err := s.visit(name)
	if err != nil {
		s.t.Fatalf("%s: %v\n%s", name, err, s.log)
	}
	return leaf
}

func newStorage(t testing.TB) *Storage {
	t.Helper()
	return newTestStorage(t, storetest.Open(t), storetest.Sealer(t))
}

func TestCertificatesAreObtainedOnDemandAndKept(t *testing.T) {
	for name, change := range map[string]func(*ACME){
		"http-01":     func(o *ACME) { o.withoutALPN = true },
		"tls-alpn-01": func(o *ACME) { o.withoutHTTP = true },
	} {
		t.Run(name, func(t *testing.T) {
			ca := acmetest.New(t, validity)
			storage, hosts := newStorage(t), serving("m3o.test", "hello.app.test")
			s := startSite(t, ca, storage, hosts, change)
			first := s.mustVisit("m3o.test")
			if first.DNSNames[0] != "m3o.test" || len(first.DNSNames) != 1 {
				t.Errorf("the certificate is for %v", first.DNSNames)
			}
			for range 3 {
				if s.mustVisit("M3O.test").SerialNumber.Cmp(first.SerialNumber) != 0 {
					t.Error("another certificate is shown")
				}
			}
			s.mustVisit("hello.app.test")
			if n := ca.Orders(); n != 2 {
				t.Errorf("%d orders for two names", n)
			}
			if n := figure(t, s.metrics, "ingress_certificate_orders_total", "obtained"); n != 2 {
				t.Errorf("%v orders are counted", n)
			}
			if n := figure(t, s.metrics, "ingress_certificates", "acme"); n != 2 {
				t.Errorf("%v certificates are counted", n)
			}
			if at := figure(t, s.metrics, "ingress_certificate_soonest_expiry_timestamp_seconds", "acme"); at < float64(first.NotAfter.Unix()) {
				t.Errorf("the soonest expiry is %v, before %v", at, first.NotAfter.Unix())
			}
			s.close()

			again := startSite(t, ca, storage, hosts, change)
			if again.mustVisit("m3o.test").SerialNumber.Cmp(first.SerialNumber) != 0 || ca.Orders() != 2 {
				t.Errorf("after a restart there are %d orders, want the stored certificate", ca.Orders())
			}
		})
	}
}

func TestNamesThatAreNotServedGetAnAlertAndNoOrder(t *testing.T) {
	ca := acmetest.New(t, validity)
	hosts := serving("m3o.test")
	s := startSite(t, ca, newStorage(t), hosts)
	for _, name := range []string{"nobody.test", "m3o.test.evil.test", "localhost", "m3o.localhost", "single", "under_score.test"} {
		if _, err := s.visit(name); !isUnrecognized(err) {
			t.Errorf("%s: %v, want the alert unrecognized_name", name, err)
		}
	}
	if _, err := handshake(t, s.m, "", ca.Roots); !isUnrecognized(err) {
		t.Errorf("without a name: %v", err)
	}
	if _, err := handshake(t, s.m, "nobody.test", ca.Roots, func(c *tls.Config) { c.NextProtos = []string{"acme-tls/1"} }); !isUnrecognized(err) {
		t.Errorf("a challenge for a name that nobody ordered: %v", err)
	}
	if n := ca.Orders(); n != 0 {
		t.Errorf("%d orders were made", n)
	}
	if n := figure(t, s.metrics, "ingress_certificate_denials_total", "not_served"); n != 6 {
		t.Errorf("%v denials are counted, want 6", n)
	}
	before := hosts.asked()
	for range 20 {
		_, _ = s.visit("nobody.test")
	}
	// The memory of it may have run out once or twice on a slow machine.
	if n := hosts.asked() - before; n > 10 {
		t.Errorf("the platform was asked %d times for the same name", n)
	}
}

func TestLookupsOfMadeUpNamesAreLimited(t *testing.T) {
	hosts, began := serving("m3o.test", "known.test"), time.Now()
	hosts.remembered["known.test"] = true
	now := began
	g := newGate(hosts, func() time.Time { return now })
	for n := range 5 * lookupsPerMinute {
		_ = g.admit(t.Context(), fmt.Sprintf("made-up-%d.test", n))
	}
	if hosts.asked() != lookupsPerMinute {
		t.Errorf("the platform was asked %d times within a minute, want %d", hosts.asked(), lookupsPerMinute)
	}
	if err := g.admit(t.Context(), "m3o.test"); !errors.Is(err, errTooMany) {
		t.Errorf("a name that nobody remembers, in a flood: %v", err)
	}
	if err := g.admit(t.Context(), "known.test"); err != nil {
		t.Errorf("a remembered name, in a flood: %v", err)
	}
	if err := g.keep(t.Context(), "m3o.test"); err != nil {
		t.Errorf("a name with a certificate, in a flood: %v", err)
	}
	now = began.Add(time.Second)
	if err := g.admit(t.Context(), "m3o.test"); err != nil {
		t.Errorf("a second after the flood: %v", err)
	}
	if len(g.refused.values) > refusedNames {
		t.Errorf("%d names are remembered", len(g.refused.values))
	}
	hosts.change(func(h *fakeHosts) { h.down = errors.New("away") })
	if err := g.admit(t.Context(), "m3o.test"); !errors.Is(err, errCannotAsk) {
		t.Errorf("a new name while the platform is away: %v", err)
	}
	if err := g.keep(t.Context(), "m3o.test"); err != nil {
		t.Errorf("a name with a certificate while the platform is away: %v", err)
	}
	hosts.change(func(h *fakeHosts) { h.down, h.served["m3o.test"] = nil, false })
	if err := g.keep(t.Context(), "m3o.test"); !errors.Is(err, errRefused) {
		t.Errorf("a name that is not served any more: %v", err)
	}
}

func TestOrdersAreLimited(t *testing.T) {
	ca := acmetest.New(t, validity)
	hosts := serving("a.test", "b.test", "c.test")
	freeze := func(b *budget) {
		b.mu.Lock()
		defer b.mu.Unlock()
		at := b.at
		b.now = func() time.Time { return at }
	}
	s := startSite(t, ca, newStorage(t), hosts, func(o *ACME) { o.OrdersPerMinute = 1 })
	freeze(s.m.acme.orders)
	s.mustVisit("a.test")
	if _, err := s.visit("b.test"); err == nil || isUnrecognized(err) {
		t.Errorf("a second order within the minute: %v, want an internal error", err)
	}
	s.mustVisit("a.test")
	full := startSite(t, ca, newStorage(t), hosts, func(o *ACME) { o.MaxNames = 1 })
	full.mustVisit("a.test")
	if _, err := full.visit("c.test"); err == nil {
		t.Error("more names than allowed have a certificate")
	}
	if n := ca.Orders(); n != 2 {
		t.Errorf("%d orders, want 2", n)
	}
	for _, want := range []struct{ log, reason, flag string }{
		{s.log.String(), "order_rate", "--tls-orders-per-minute"}, {full.log.String(), "max_names", "--tls-max-names"},
	} {
		if !strings.Contains(want.log, want.flag) {
			t.Errorf("the log does not name %s:\n%s", want.flag, want.log)
		}
	}
}

func TestManyVisitorsOfANewHostMakeOneOrder(t *testing.T) {
	ca := acmetest.New(t, validity)
	s := startSite(t, ca, newStorage(t), serving("m3o.test"))
	var all sync.WaitGroup
	for range 20 {
		all.Go(func() {
			if _, err := s.visit("m3o.test"); err != nil {
				t.Error(err)
			}
		})
	}
	all.Wait()
	if n := ca.Orders(); n != 1 {
		t.Errorf("%d orders", n)
	}
}

func TestCertificatesAreRenewedWhileTheyAreServed(t *testing.T) {
	ca := acmetest.New(t, validity)
	storage, hosts := newStorage(t), serving("m3o.test", "gone.test")
	s := startSite(t, ca, storage, hosts)
	first := s.mustVisit("m3o.test")
	s.mustVisit("gone.test")
	s.close()
	hosts.change(func(h *fakeHosts) { h.served["gone.test"] = false })
	due := startSite(t, ca, storage, hosts, func(o *ACME) { o.renewalRatio = 1 }) // due at once
	eventually(t, "another certificate is shown", func() bool {
		return due.mustVisit("m3o.test").SerialNumber.Cmp(first.SerialNumber) != 0
	})
	if _, err := due.visit("gone.test"); !isUnrecognized(err) {
		t.Errorf("a host that is gone, after a restart: %v", err)
	}
	eventually(t, "the renewal is in the log", func() bool { return strings.Contains(due.log.String(), "renewal=true") })
}

func TestWithoutTheAuthorityWhatThereIsIsServed(t *testing.T) {
	ca := acmetest.New(t, validity)
	storage, hosts := newStorage(t), serving("m3o.test", "new.test")
	s := startSite(t, ca, storage, hosts)
	first := s.mustVisit("m3o.test")
	s.close()
	ca.Stop()
	hosts.change(func(h *fakeHosts) { h.down = errors.New("the platform is away, too") })
	s = startSite(t, ca, storage, hosts, func(o *ACME) { o.renewalRatio = 1 }) // whose renewal fails
	if s.mustVisit("m3o.test").SerialNumber.Cmp(first.SerialNumber) != 0 {
		t.Error("another certificate is shown")
	}
	hosts.change(func(h *fakeHosts) { h.down = nil })
	if _, err := s.visit("new.test"); err == nil || isUnrecognized(err) {
		t.Errorf("a new host: %v, want an internal error", err)
	}
	if !strings.Contains(s.log.String(), "a certificate could not be obtained") || !strings.Contains(s.log.String(), "name=new.test") {
		t.Errorf("the log does not say so:\n%s", s.log)
	}
	// Visitors do not make the authority's return harder.
	for range 5 {
		if _, err := s.visit("new.test"); err == nil {
			t.Error("a new host got a certificate without an authority")
		}
	}
	if n := strings.Count(s.log.String(), "name=new.test"); n != 1 {
		t.Errorf("it was tried %d times in a row:\n%s", n, s.log)
	}
	ca.Start()
	s.m.acme.failures.forget("new.test") // instead of waiting for a minute
	s.mustVisit("new.test")
}

func TestWithoutTheSecretKeyCertificatesAreOrderedAnew(t *testing.T) {
	ca := acmetest.New(t, validity)
	db, hosts := storetest.Open(t), serving("m3o.test")
	s := startSite(t, ca, newTestStorage(t, db, storetest.Sealer(t)), hosts)
	first := s.mustVisit("m3o.test")
	s.close()
	s = startSite(t, ca, newTestStorage(t, db, storetest.Sealer(t)), hosts)
	if s.mustVisit("m3o.test").SerialNumber.Cmp(first.SerialNumber) == 0 || ca.Orders() != 2 {
		t.Errorf("%d orders, want another certificate", ca.Orders())
	}
}

// The name is no other test's: certmagic has handshakes wait for those that the
// whole process knows of by name, and one of a manager before may still be under
// way.
func TestACertificateThatIsGoneFromTheStorageIsOrderedAnew(t *testing.T) {
	ca := acmetest.New(t, validity)
	storage, hosts := newStorage(t), serving("gone.test")
	s := startSite(t, ca, storage, hosts)
	s.mustVisit("gone.test")
	s.close()
	s = startSite(t, ca, storage, hosts)
	if err := storage.Delete(t.Context(), "certificates"); err != nil {
		t.Fatal(err)
	}
	s.mustVisit("gone.test")
	if n := ca.Orders(); n != 2 {
		t.Errorf("%d orders, want another one", n)
	}
}

func TestWhatCertmagicSaysIsInOurLog(t *testing.T) {
	log := &logtest.Buffer{}
	logger := newZap(slog.New(slog.NewTextHandler(log, nil))).Named("obtain").With(zap.String("identifier", "m3o.test"))
	logger.Error("failed", zap.Error(errors.New("the reason")), zap.Int("attempt", 3))
	logger.Info("every step")
	newZap(slog.New(slog.NewTextHandler(log, nil))).Named("handshake").Error("anybody can cause this")
	for _, want := range []string{"level=WARN", `"certmagic: failed"`, "identifier=m3o.test", `error="the reason"`, "attempt=3"} {
		if !strings.Contains(log.String(), want) {
			t.Errorf("the log has no %s: %s", want, log)
		}
	}
	for _, not := range []string{"every step", "anybody"} {
		if strings.Contains(log.String(), not) {
			t.Errorf("the log has %s: %s", not, log)
		}
	}
}

func TestFailedOrdersWaitLongerEachTime(t *testing.T) {
	a := &authority{log: slog.New(slog.DiscardHandler), now: func() time.Time { return time.Unix(0, 0) }}
	a.failures = newTimed[failure](10, a.clock)
	var waits []time.Duration
	for range 8 {
		a.failed("m3o.test", errors.New("failed"))
		f, _ := a.failures.get("m3o.test")
		waits = append(waits, f.again.Sub(a.now()))
	}
	if got := fmt.Sprint(waits); got != "[1m0s 2m0s 4m0s 8m0s 16m0s 32m0s 1h0m0s 1h0m0s]" {
		t.Errorf("waits %s", got)
	}
}

func TestAnOrderEndsWithTheManager(t *testing.T) {
	ca := acmetest.New(t, validity)
	s := startSite(t, ca, newStorage(t), serving("m3o.test"))
	var asked atomic.Bool
	stuck := listenLocal(t) // accepts and says nothing
	defer stuck.Close()
	go func() {
		for {
			conn, err := stuck.Accept()
			if err != nil {
				return
			}
			asked.Store(true)
			defer conn.Close()
		}
	}()
	ca.Reach(stuck.Addr().String(), stuck.Addr().String())
	visited := make(chan error, 1)
	go func() { _, err := s.visit("m3o.test"); visited <- err }()
	eventually(t, "the authority checks the host", asked.Load)
	s.close()
	if err := <-visited; err == nil {
		t.Error("the order ended well")
	}
	if strings.Contains(s.log.String(), "could not be obtained") {
		t.Errorf("the end of the program is reported as a failure:\n%s", s.log)
	}
}

func TestACertificateIsRevoked(t *testing.T) {
	ca := acmetest.New(t, validity)
	storage := newStorage(t)
	s := startSite(t, ca, storage, serving("m3o.test"))
	first := s.mustVisit("m3o.test")
	if err := s.m.Revoke(t.Context(), "m3o.test"); err != nil {
		t.Fatal(err)
	}
	if n := ca.Revoked(); n != 1 {
		t.Errorf("%d revocations were asked for", n)
	}
	if s.mustVisit("m3o.test").SerialNumber.Cmp(first.SerialNumber) == 0 {
		t.Error("the revoked certificate is still shown")
	}
	if err := s.m.Revoke(t.Context(), "nobody.test"); err == nil {
		t.Error("a certificate that does not exist was revoked")
	}
}

// The authority lets the account that a certificate was ordered by revoke it, and no
// other one.
func TestACertificateIsRevokedAfterARestart(t *testing.T) {
	ca := acmetest.New(t, validity)
	storage := newStorage(t)
	s := startSite(t, ca, storage, serving("m3o.test"))
	s.mustVisit("m3o.test")
	s.close()
	s = startSite(t, ca, storage, serving("m3o.test"))
	if err := s.m.Revoke(t.Context(), "m3o.test"); err != nil {
		t.Fatal(err)
	}
	if n := ca.Revoked(); n != 1 {
		t.Errorf("%d revocations were asked for", n)
	}
}

// Anybody can make handshakes for a host whose certificate has expired and cannot be
// had anew, because its name leads elsewhere now. The authority counts orders that
// fail, for all hosts together.
func TestHandshakesForAnExpiredCertificateMakeFewOrders(t *testing.T) {
	ca := acmetest.New(t, validity)
	storage := newStorage(t)
	s := startSite(t, ca, storage, serving("m3o.test"), func(o *ACME) { o.MaxNames = 1 })
	leaf := s.mustVisit("m3o.test")
	// Pebble takes now and then, also when told never to, what an account has proved
	// before: another one has proved nothing.
	if err := storage.Delete(t.Context(), "acme"); err != nil {
		t.Fatal(err)
	}
	later := leaf.NotAfter.Add(time.Hour)
	s.m.acme.now = func() time.Time { return later }
	ca.Reach("127.0.0.1:1", "127.0.0.1:1") // where nobody is
	find := func() (*tls.Certificate, error) {
		ctx, cancel := context.WithTimeout(t.Context(), patience)
		defer cancel()
		hello := &tls.ClientHelloInfo{ServerName: "m3o.test", SupportedVersions: []uint16{tls.VersionTLS13}, SignatureSchemes: []tls.SignatureScheme{tls.ECDSAWithP256AndSHA256}}
		return s.m.acme.find(ctx, hello, "m3o.test")
	}
	if _, err := find(); err == nil || errors.Is(err, context.DeadlineExceeded) {
		t.Fatalf("got %v, want the order's failure", err)
	}
	before := ca.Orders()
	for range 3 {
		if _, err := find(); !errors.Is(err, errBackoff) {
			t.Errorf("got %v", err)
		}
	}
	if n := ca.Orders(); n != before {
		t.Errorf("%d more orders were made", n-before)
	}
	ca.Reach(s.web, s.secure)
	s.m.acme.failures.forget("m3o.test")
	cert, err := find()
	if err != nil {
		t.Fatal(err)
	}
	if cert.Leaf.SerialNumber.Cmp(leaf.SerialNumber) == 0 {
		t.Error("the expired certificate is shown")
	}
}
