package edge

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/netip"
	"net/url"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// Config is everything the data plane is made of. New copies it; only the hosts
// may change later, through SetHosts.
type Config struct {
	// Apps and Functions resolve the ids of routes 2 and 3. Without one its route
	// answers 503 platform_down.
	Apps, Functions Resolver
	// Activator wakes managed backends. Nil means that there are none.
	Activator Activator
	// Links resolves the ids of route 4. Without it the route answers 503.
	Links LinkResolver
	// Hits counts visits to links. Nil means that nobody counts.
	Hits HitRecorder
	// Verifier checks the tokens of route 5. Without it the route answers 503.
	Verifier EmailVerifier

	// Platform serves /v1 of the embedded platform. Exactly one of Platform and
	// PlatformURL is set.
	Platform http.Handler
	// PlatformURL is the base address of a remote platform, to which /v1 is passed
	// through. A path in it is kept in front of /v1.
	PlatformURL *url.URL
	// PublicResolve serves /url/resolve, /app/resolve and /function/proxy on our
	// own hosts without a key (WIRE.md 1). Platform sees the /v1 path, and tells
	// these requests from others with IsPublicResolve.
	PublicResolve bool

	// TakesUpload reports whether an escaped path under /v1 is that of a method
	// whose request is a body of any length. Other limits apply to those, and /api
	// passes them on as they are. Nil means that there are none. It is called
	// concurrently.
	TakesUpload func(escapedPath string) bool

	// Hosts is the initial host table; SetHosts replaces it.
	Hosts Hosts
	// Domains knows the hosts that are tenants' own. Nil means that there are none.
	Domains Domains
	// VerifyRedirectHosts are hosts, each with a port when it is not the scheme's
	// own, to which verification may redirect besides those stored with the token.
	// "*" allows any (WIRE.md 6).
	VerifyRedirectHosts []string
	// TrustedProxies are the peers whose forwarding headers are believed.
	TrustedProxies []netip.Prefix
	// IsPlatformKey reports whether a credential is one of the platform's own
	// keys, which apps and functions never get to see. Nil means none is.
	IsPlatformKey func(credential string) bool
	// Node names this process in CDN-Loop, so that requests that come back are
	// recognised.
	Node string

	// Secure redirects plain requests to TLS. Nil means that there is no TLS here.
	Secure *Secure

	// Describe says in a sentence how a Managed backend is, for Explain, and the
	// reason for which it would answer nobody, if there is one. Both are empty for
	// what is none; nil says nothing. An error says that the platform could not be
	// asked; the reason is then that of an id which is known to be Managed.
	Describe func(ctx context.Context, kind Kind, id string) (sentence string, reason Reason, err error)

	// Tracing is of requests. Nil traces none.
	Tracing *Tracing

	// Limits bound what a client may send and how long things may take. The zero
	// value of each field means its default.
	Limits Limits

	// Transport reaches Remote backends and the remote platform.
	Transport http.RoundTripper
	// Registered reaches Registered backends, under the address rules of package
	// upstream. Without it they are refused.
	Registered http.RoundTripper
	// Admit returns an *upstream.ForbiddenError when Registered would not reach an
	// address, for Explain. Nil says nothing.
	Admit func(ctx context.Context, u *url.URL) error
	// Logger gets what operators should know. Nil discards.
	Logger *slog.Logger
	// AccessLog gets one line a request. Nil means Logger.
	AccessLog *slog.Logger
	// AccessLogEvery logs only one of so many requests whose status is below 500;
	// 0 and 1 log all.
	AccessLogEvery uint64
	// AnonymiseClients logs of a visitor's address only the network: 24 bits of an
	// IPv4 address, 48 of an IPv6 address.
	AnonymiseClients bool
	// Metrics is where figures are registered. Nil keeps them to ourselves.
	Metrics prometheus.Registerer
	// Now is the clock; nil means time.Now.
	Now func() time.Time
}

// Limits of one request, of connections and of backends. Streams have no limit on
// their whole duration unless Request is set.
type Limits struct {
	// Connections bounds the connections open at the same time, and
	// ClientConnections those of one address, an IPv6 client being its /64. Trusted
	// proxies are bound by the first alone. Default 10,000 and 1,000.
	Connections, ClientConnections int
	// BackendRequests bounds what one backend that is not managed answers at the same
	// time, upgraded connections left out, and BackendQueue how many requests wait for
	// that, each for BackendWait at most; beyond it, 503. A negative one is no limit,
	// and no queue. Defaults 1,000, 100 and 3 s.
	BackendRequests, BackendQueue int
	BackendWait                   time.Duration
	// ClientRate is how many requests a second one client may make, an IPv6 client
	// being its /64, and ClientBurst how many of them at once; beyond it, 429. Zero is
	// no limit, and 100 the default of the burst.
	ClientRate, ClientBurst int
	// Headers bounds the headers of a request, by their number; beyond it, 431.
	// Default 200.
	Headers int
	// Request is how long a request may take in all, upgraded connections left out;
	// beyond it, 504. Zero is no limit.
	Request time.Duration
	// BodyStall is how long a visitor may send nothing of a body for an app, a function
	// or a remote platform, before the answer begins; beyond it, 408. Default 60 s.
	BodyStall time.Duration
	// Streams bounds the requests at the same time on one HTTP/2 connection, and
	// Resets how many may be given up without an answer, each answered one making up
	// for another, before the connection is closed. Defaults 250 and 500.
	Streams, Resets int
	// WriteStall is how long a visitor may take nothing of what is sent. Default 60 s.
	WriteStall time.Duration
	// ReadHeader is how long a client may take over a request's headers, and over what
	// is left of a body once the request has been answered. Default 10 s.
	ReadHeader time.Duration
	// Idle is how long a kept-alive connection may be unused. Default 120 s.
	Idle time.Duration
	// HeaderBytes bounds request line and headers together; beyond it, 431.
	// Default 64 KiB.
	HeaderBytes int
	// URLBytes bounds the request target; beyond it, 414. Default 16 KiB.
	URLBytes int
	// BodyBytes bounds bodies on /api and /v1; beyond it, 413. Default 4 MiB.
	// Apps and functions set their own.
	BodyBytes int64
	// UploadBytes bounds the bodies that TakesUpload tells; beyond it, 413. Default
	// 512 MiB. Each read of one may take as long as ReadBody.
	UploadBytes int64
	// ReadBody is how long a body on /api and /v1 that is read whole may take, and a
	// second more for each 16 KiB that have arrived; beyond it, 408. Default 30 s.
	ReadBody time.Duration
	// Resolve is how long the platform may take to resolve an id or to check a
	// verification token. Default 5 s.
	Resolve time.Duration
	// Patience is how long somebody who wants a page waits for a managed backend to
	// start before a page says that it does. Default 3 s.
	Patience time.Duration
	// HalfClosed is how long an upgraded connection of which one side has ended may
	// be silent before it is closed. Default 30 s.
	HalfClosed time.Duration
	// TunnelIdle is the same with both sides open. Zero is no limit.
	TunnelIdle time.Duration
}

const defaultHalfClosed = 30 * time.Second

func (l Limits) withDefaults() Limits {
	return Limits{
		Connections:       orDefault(l.Connections, 10_000),
		ClientConnections: orDefault(l.ClientConnections, 1_000),
		BackendRequests:   orDefault(l.BackendRequests, 1_000),
		BackendQueue:      orDefault(l.BackendQueue, 100),
		BackendWait:       orDefault(l.BackendWait, 3*time.Second),
		Headers:           orDefault(l.Headers, 200),
		ClientRate:        l.ClientRate,
		ClientBurst:       orDefault(l.ClientBurst, 100),
		Request:           l.Request,
		BodyStall:         orDefault(l.BodyStall, time.Minute),
		Streams:           orDefault(l.Streams, 250),
		Resets:            orDefault(l.Resets, 500),
		WriteStall:        orDefault(l.WriteStall, time.Minute),
		ReadHeader:        orDefault(l.ReadHeader, 10*time.Second),
		Idle:              orDefault(l.Idle, 120*time.Second),
		HeaderBytes:       orDefault(l.HeaderBytes, 64<<10),
		URLBytes:          orDefault(l.URLBytes, 16<<10),
		BodyBytes:         orDefault(l.BodyBytes, 4<<20),
		UploadBytes:       orDefault(l.UploadBytes, 512<<20),
		ReadBody:          orDefault(l.ReadBody, 30*time.Second),
		Resolve:           orDefault(l.Resolve, 5*time.Second),
		Patience:          orDefault(l.Patience, 3*time.Second),
		TunnelIdle:        l.TunnelIdle,
		HalfClosed:        orDefault(l.HalfClosed, defaultHalfClosed),
	}
}

func orDefault[T int | int64 | time.Duration](value, fallback T) T {
	if value == 0 {
		return fallback
	}
	return value
}

func (l Limits) check() error {
	if min(l.ReadHeader, l.Idle, l.ReadBody, l.Resolve, l.Patience, l.HalfClosed, l.WriteStall, l.BackendWait, l.Request, l.BodyStall, l.TunnelIdle) < 0 ||
		min(int64(l.HeaderBytes), int64(l.URLBytes), l.BodyBytes, l.UploadBytes, int64(l.Headers), int64(l.Streams), int64(l.Resets), int64(l.ClientRate), int64(l.ClientBurst), int64(l.Connections), int64(l.ClientConnections)) < 0 {
		return fmt.Errorf("limits: %+v: a limit cannot be negative", l)
	}
	return nil
}

// withDefaults fills in what may be left out.
func (c Config) withDefaults() Config {
	c.Limits = c.Limits.withDefaults()
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	if c.AccessLog == nil {
		c.AccessLog = c.Logger
	}
	if c.Metrics == nil {
		c.Metrics = prometheus.NewRegistry()
	}
	if c.Now == nil {
		c.Now = time.Now
	}
	if c.IsPlatformKey == nil {
		c.IsPlatformKey = func(string) bool { return false }
	}
	if c.TakesUpload == nil {
		c.TakesUpload = func(string) bool { return false }
	}
	return c
}

// check returns an error that names the field that is wrong.
func (c Config) check() error {
	if (c.Platform == nil) == (c.PlatformURL == nil) {
		return errors.New("edge: exactly one of Platform and PlatformURL must be set")
	}
	if c.PublicResolve && c.Platform == nil {
		return errors.New("edge: PublicResolve needs the embedded platform")
	}
	if c.Transport == nil {
		return errors.New("edge: Transport must be set")
	}
	return c.Limits.check()
}
