package main

import (
	"cmp"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"os/signal"
	"slices"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/m3o/ingress/internal/certs"
	"github.com/m3o/ingress/internal/edge"
	"github.com/m3o/ingress/internal/store"
	"github.com/m3o/ingress/internal/upstream"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
)

// serveCmd is ingress serve.
type serveCmd struct {
	config `embed:""`
}

// Help implements kong.HelpProvider.
func (serveCmd) Help() string {
	return `Each flag is also an environment variable, INGRESS_ and its name in capitals
with _ for -, and a key of the YAML file. A flag wins over the variable, that
over the file, that over what is stored (ingress config), that over the default.

Examples:
  ingress serve
  ingress serve --listen :8080 --public-url https://m3o.example --apps-domain m3o.app --functions-domain m3o.sh
  ingress serve --listen :80 --tls --public-url https://m3o.example --apps-domain m3o.app --functions-domain m3o.sh
  ingress serve --listen :80 --tls-cert m3o.pem --tls-key m3o.key --public-url https://m3o.example
  ingress serve --api-address https://api.example.com     (a stateless ingress; token in M3O_API_TOKEN)
  ingress serve --config /etc/ingress.yaml`
}

// Run serves until the program is told to end.
func (c *serveCmd) Run(p *program) error {
	// Now, because the file may be moved away later, and the system then tells where
	// it has gone instead of where the next version is put.
	executable, err := os.Executable()
	if err != nil {
		return fmt.Errorf("find this program's own file: %w", err)
	}
	tuneMemory(os.LookupEnv)
	c.DataDir = p.cli.DataDir
	if err := c.validate(p.env); err != nil {
		return err
	}
	given, err := c.readSecrets(p.env)
	if err != nil {
		return err
	}
	log, err := newLogger(p.stderr, c.LogFormat, c.LogLevel)
	if err != nil {
		return err
	}
	for _, v := range mistakenVariables(p.variables, os.Environ()) {
		log.Warn("a variable is named like a setting, and is none; ingress serve --help lists them", "variable", v.name, "did_you_mean", cmp.Or(v.nearest, "(nothing is like it)"))
	}
	inherited, err := inherit(os.LookupEnv)
	if err != nil {
		return err
	}
	if err := c.checkShown(listSettings(p, given)); err != nil {
		return err
	}
	s := &server{
		executable: executable, inherited: inherited, upgrades: make(chan upgradeRequest),
		config: &c.config, secrets: given, log: log, program: p, metrics: newMetrics(),
		settings: &settings{
			given: c.config, listed: listSettings(p, given), check: checkAddresses,
		},
	}
	registerBackendMetrics(s.metrics, &s.backends)
	return joinErrors(s.run(p.ctx), s.close())
}

func newMetrics() *prometheus.Registry {
	metrics := prometheus.NewRegistry()
	metrics.MustRegister(
		collectors.NewGoCollector(),
		collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}),
		collectors.NewBuildInfoCollector(),
	)
	return metrics
}

// server is one run of the program. What it opened is in closers, to be closed
// in reverse.
type server struct {
	config   *config
	secrets  secrets
	settings *settings
	log      *slog.Logger
	metrics  *prometheus.Registry
	backends upstream.Counters // of all transports to backends
	program  *program

	executable string           // the absolute path that this program was started from
	inherited  *inheritance     // nil unless it takes another's place
	opened     []openedListener // what can be handed over
	lock       *store.DirLock   // of the data directory; nil in remote mode
	upgrades   chan upgradeRequest

	listeners []net.Listener
	secure    []net.Listener // for TLS
	admin     net.Listener   // nil without --admin-listen
	admins    []*adminServer // on it and on the control socket
	certs     *certs.Manager // nil without TLS
	platform  servedPlatform
	edge      *edge.Edge
	front     *edge.Server
	ready     atomic.Bool
	closers   []func() error
}

// servedPlatform is what stands behind the routes: the services in this process, or a
// remote API. Both fill the data plane's configuration.
type servedPlatform interface {
	// fill sets the interfaces by which the data plane sees the platform.
	fill(*edge.Config)
	// watch has the data plane told of changes, before whoever made one is
	// answered.
	watch(*edge.Edge)
	// ping reports whether its state can be read.
	ping(context.Context) error
	// describe says which platform it is, for people, and which database it shares, if
	// it does.
	describe() (platform, database string)
	// bootstrap says where the key is that may do everything.
	bootstrap() bootstrapKey
	// begin takes over what an earlier run left running, and runs what should. It is
	// called once, when everything else is ready to serve. Until ended is closed, and
	// unless it is nil, the program before may still change what is stored.
	begin(ctx context.Context, ended <-chan struct{}) error
	// release ends what begin began, for another process to begin it; what runs,
	// runs on and can be used. Who waits for something to start is waited for, but
	// not for long: nobody accepts connections meanwhile.
	release(context.Context) error
	// drain ends streams that would otherwise outlive a shutdown.
	drain(context.Context) error
}

// bootstrapKey says where the key is that may do everything.
type bootstrapKey struct {
	file    string // empty when the key was given by the operator
	secret  string // the key, when it was made just now
	revoked bool
	// elsewhere is set when another ingress on the same database has made it.
	elsewhere bool
}

// run starts everything, serves until ctx ends, and drains.
func (s *server) run(ctx context.Context) error {
	if err := s.start(ctx); err != nil {
		if ctx.Err() != nil && errors.Is(err, ctx.Err()) {
			s.log.Info("ended before it was ready")
			return nil
		}
		return err
	}
	if err := s.inherited.prepared(ctx); err != nil {
		return err
	}
	// The program before may have changed some until now.
	if err := s.settings.reload(ctx); err != nil {
		return err
	}
	s.serveAdmins()
	if err := s.platform.begin(ctx, s.inherited.ended()); err != nil {
		return err
	}
	failed := make(chan error, len(s.public()))
	for _, l := range s.listeners {
		go func() { failed <- s.front.Serve(l) }()
	}
	for _, l := range s.secure {
		go func() { failed <- s.front.Serve(tls.NewListener(l, s.certs.TLSConfig())) }()
	}
	s.ready.Store(true)
	s.announce()
	if err := errors.Join(s.inherited.serving(), notifySystemd(os.LookupEnv)); err != nil {
		s.log.Error("whoever started this program could not be told that it serves", "error", err)
	}
	return s.serveUntil(ctx, failed)
}

// serveUntil serves until the program is told to end, a listener fails, or another
// process has taken its place.
func (s *server) serveUntil(ctx context.Context, failed <-chan error) error {
	hangUp := make(chan os.Signal, 1)
	if !isTerminal(s.program.stderr) { // with which the signal means that it was closed
		signal.Notify(hangUp, syscall.SIGHUP)
		defer signal.Stop(hangUp)
	}
	for {
		request := upgradeRequest{answer: make(chan upgradeAnswer, 1), told: make(chan struct{})}
		select {
		case err := <-failed:
			return joinErrors(fmt.Errorf("a public listener failed: %w", err), s.drain(s.front.Shutdown))
		case <-ctx.Done():
			return joinErrors(s.awaitBalancers(failed), s.drain(s.front.Shutdown))
		case <-hangUp:
			close(request.told)
		case request = <-s.upgrades:
		}
		if over, err := s.giveWay(ctx, request); over {
			return err
		}
	}
}

// start opens listeners and state and wires the data plane. What was opened when
// it fails is closed by close.
func (s *server) start(ctx context.Context) error {
	if err := s.listen(); err != nil {
		return err
	}
	if err := s.check(); err != nil {
		return err
	}
	if err := s.openPlatform(ctx); err != nil {
		return err
	}
	s.settings.apply = checkAddresses // until there is a data plane to change
	if err := s.settings.reload(ctx); err != nil {
		return err
	}
	if err := s.openEdge(); err != nil {
		return err
	}
	if err := s.openCerts(ctx); err != nil {
		return err
	}
	return s.openAdmin()
}

// check refuses what the packages that use it would refuse, before there is any
// state: a start that fails must not have been the first one.
func (s *server) check() error {
	given, err := newAddresses(s.config, s.settings.listen)
	if err != nil {
		return err
	}
	if err := errors.Join(checkAddresses(given), edge.CheckRedirectHosts(s.config.VerifyRedirectTo), s.config.checkAccessLog()); err != nil {
		return err
	}
	if _, err := certs.New(context.Background(), certs.Options{Files: s.config.TLS.pairs()}); err != nil {
		return fmt.Errorf("--tls-cert: %w", err)
	}
	if s.config.remote() {
		return nil
	}
	return s.checkPlatform()
}

// listen opens the listeners first of all: a busy port stops the start before
// any state is touched, and addresses that people see may depend on the port.
func (s *server) listen() error {
	var err error
	if s.listeners, err = s.open("--listen", s.config.Listen, nil); err != nil {
		return err
	}
	// A graceful shutdown has closed them already; the error would say so.
	s.onClose(func() error { closeAll(s.listeners); return nil })
	s.settings.listen = s.listeners[0].Addr()
	if s.config.TLS.on() {
		if s.secure, err = s.open("--listen-tls", s.config.TLS.ListenTLS, s.listeners); err != nil {
			return err
		}
		s.onClose(func() error { closeAll(s.secure); return nil })
		s.settings.listen = s.secure[0].Addr()
	}
	if s.config.AdminListen == "" {
		return nil
	}
	opened, err := s.open("--admin-listen", []string{s.config.AdminListen}, s.public())
	if err != nil {
		return err
	}
	s.admin = opened[0]
	s.onClose(func() error { closeAll(opened); return nil })
	return nil
}

// public returns all listeners but those for the operator.
func (s *server) public() []net.Listener { return slices.Concat(s.listeners, s.secure) }

// awaitBalancers serves on for a while, so that whoever asks /readyz sends nobody here
// any more when the listeners are closed. It is over when a listener fails. A second
// signal ends the program at once.
func (s *server) awaitBalancers(failed <-chan error) error {
	delay := s.config.Limits.ShutdownDelay
	if delay == 0 {
		return nil
	}
	s.ready.Store(false)
	s.log.Info("about to end; serving on for balancers to notice", "delay", delay.String())
	timer := time.NewTimer(delay)
	defer timer.Stop()
	for {
		select {
		case <-timer.C:
			return nil
		case err := <-failed:
			return fmt.Errorf("a public listener failed: %w", err)
		case request := <-s.upgrades:
			request.answer <- upgradeAnswer{err: errors.New("this ingress was told to end, and gives its place to nobody; start the other one")}
		}
	}
}

// drain stops accepting and lets requests in flight, WebSockets included, finish:
// by end, which is Shutdown or Retire of the front.
func (s *server) drain(end func(context.Context) error) error {
	s.ready.Store(false)
	doing := "draining"
	if s.program.ctx.Err() != nil { // because of a signal, and not to give way to another
		doing += "; a second signal ends the program at once"
	}
	s.log.Info(doing, "timeout", s.config.Limits.ShutdownTimeout.String())
	ctx, cancel := context.WithTimeout(context.Background(), s.config.Limits.ShutdownTimeout)
	defer cancel()
	platform := make(chan error, 1)
	go func() { platform <- s.platform.drain(ctx) }()
	err := joinErrors(end(ctx), <-platform)
	if errors.Is(err, context.DeadlineExceeded) {
		s.log.Warn("requests in flight were ended: they did not finish in time")
		return nil
	}
	return err
}

// onClose has f called when the run ends, before what was opened earlier is
// closed.
func (s *server) onClose(f func() error) { s.closers = append(s.closers, f) }

// close closes everything in reverse, whatever fails.
func (s *server) close() error {
	var errs []error
	for i := len(s.closers) - 1; i >= 0; i-- {
		errs = append(errs, s.closers[i]())
	}
	return joinErrors(errs...)
}

// flushTimeout bounds the writes at the end of a run.
const flushTimeout = 10 * time.Second
