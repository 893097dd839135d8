// Package upstream is the connection to backends: pooled connections, the rules
// that say which addresses may be dialled, and the one retry that is safe.
package upstream

import (
	"cmp"
	"context"
	"crypto/tls"
	"net"
	"net/http"
	"syscall"
	"time"
)

// Options describe a Transport. The zero value of a field means its default.
type Options struct {
	// Rules bind every connection this Transport makes. Nil means that any address
	// may be dialled.
	Rules *Rules
	// DialTimeout is how long a connection, name look-up included, may take.
	// Default 3 s.
	DialTimeout time.Duration
	// ResponseHeaderTimeout is how long a backend may take from the end of the
	// request to its answer's headers. Bodies have no limit. Default 60 s.
	ResponseHeaderTimeout time.Duration
	// WriteStall is how long a backend may take nothing of what is sent to it, over
	// upgraded connections, too. Default 60 s.
	WriteStall time.Duration
	// IdleTimeout is how long an unused connection is kept. Default 60 s.
	IdleTimeout time.Duration
	// IdlePerBackend is how many unused connections to one backend are kept.
	// Default 256.
	IdlePerBackend int
	// IdleTotal is how many unused connections the own engine keeps to all backends
	// together. Default 8192.
	IdleTotal int
	// Engine carries HTTP/1.1 without TLS. Empty means EngineStd.
	Engine Engine
	// ContinueTimeout is how long a backend may take to answer
	// "Expect: 100-continue" before the body is sent regardless, since it need not
	// answer (RFC 9110 10.1.1). Default 1 s.
	ContinueTimeout time.Duration
	// HeaderBytes bounds an answer's headers. Default 1 MiB.
	HeaderBytes int64
	// TLS is the client configuration for https backends; nil means the system's
	// roots. It is cloned.
	TLS *tls.Config
	// Resolver looks names up. Nil means net.DefaultResolver.
	Resolver *net.Resolver
	// Counters count what it does. Nil means its own.
	Counters *Counters
}

func (o Options) withDefaults() Options {
	o.DialTimeout = cmp.Or(o.DialTimeout, 3*time.Second)
	o.ResponseHeaderTimeout = cmp.Or(o.ResponseHeaderTimeout, time.Minute)
	o.WriteStall = cmp.Or(o.WriteStall, time.Minute)
	o.IdleTimeout = cmp.Or(o.IdleTimeout, time.Minute)
	o.IdlePerBackend = cmp.Or(o.IdlePerBackend, 256)
	o.IdleTotal = cmp.Or(o.IdleTotal, 8192)
	o.ContinueTimeout = cmp.Or(o.ContinueTimeout, time.Second)
	o.HeaderBytes = cmp.Or(o.HeaderBytes, 1<<20)
	if o.Counters == nil {
		o.Counters = new(Counters)
	}
	return o
}

// Transport is an http.RoundTripper for a reverse proxy: http and https backends,
// HTTP/2 where TLS negotiates it, nothing added to a request and nothing decoded
// in an answer. Which engine carries plain HTTP/1.1 is an option. One Transport has
// one set of rules for life, so that a pooled connection made under looser rules
// is never used under stricter ones. It is safe for concurrent use.
type Transport struct {
	own      *engine // nil with EngineStd
	pooled   *http.Transport
	fresh    *http.Transport // for the retry: never reuses, so never retries
	http2    *http.Transport // for gRPC without TLS
	counters *Counters
}

// New returns a Transport with its own pool of connections.
func New(o Options) *Transport {
	o = o.withDefaults()
	t := &Transport{counters: o.Counters}
	dial := dialer(o, t.counters)
	t.pooled, t.fresh = newStandard(o, dial), newStandard(o, dial)
	t.fresh.DisableKeepAlives = true
	t.http2 = newPriorKnowledge(o, dial)
	if o.Engine == EngineOwn {
		t.own = newEngine(o, dial, t.counters)
	}
	return t
}

// dialFunc makes a connection, as net.Dialer.DialContext.
type dialFunc func(ctx context.Context, network, address string) (net.Conn, error)

// newStandard returns net/http's transport with what a client wants and a proxy
// must not do turned off: proxies from the environment, compression, redirects are
// the caller's.
func newStandard(o Options, dial dialFunc) *http.Transport {
	return &http.Transport{
		DialContext: func(ctx context.Context, network, address string) (net.Conn, error) {
			c, err := dial(ctx, network, address)
			if err != nil {
				return nil, err
			}
			counting := &countingConn{Conn: c}
			counting.stall.begin(o.WriteStall)
			return counting, nil
		},
		TLSClientConfig:        o.TLS.Clone(),
		TLSHandshakeTimeout:    max(o.DialTimeout, 10*time.Second),
		ForceAttemptHTTP2:      true, // a DialContext turns it off otherwise
		DisableCompression:     true,
		MaxIdleConnsPerHost:    o.IdlePerBackend,
		IdleConnTimeout:        o.IdleTimeout,
		ResponseHeaderTimeout:  o.ResponseHeaderTimeout,
		ExpectContinueTimeout:  o.ContinueTimeout,
		MaxResponseHeaderBytes: o.HeaderBytes,
		// A dead HTTP/2 connection would take all requests it carries with it.
		HTTP2: &http.HTTP2Config{SendPingTimeout: 30 * time.Second, PingTimeout: 15 * time.Second},
	}
}

// dialer returns the function that makes connections. The rules are asked after
// the name look-up, with the very address that is dialled: what a name meant a
// moment ago, when it was checked, does not count.
func dialer(o Options, count *Counters) dialFunc {
	d := &net.Dialer{Timeout: o.DialTimeout, Resolver: o.Resolver}
	if o.Rules != nil {
		d.Control = func(_, address string, _ syscall.RawConn) error { return o.Rules.checkDial(address) }
	}
	return func(ctx context.Context, network, address string) (net.Conn, error) {
		count.dials.Add(1)
		return d.DialContext(ctx, network, address)
	}
}

// CloseIdleConnections closes the connections that are not in use.
func (t *Transport) CloseIdleConnections() {
	if t.own != nil {
		t.own.pool.closeIdle()
	}
	t.pooled.CloseIdleConnections()
	t.fresh.CloseIdleConnections()
	t.http2.CloseIdleConnections()
}
