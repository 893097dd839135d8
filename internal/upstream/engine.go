package upstream

import (
	"context"
	"errors"
	"net"
	"net/http"
	"net/http/httptrace"
	"time"

	"golang.org/x/net/http/httpguts"
)

// Engine is what carries requests over HTTP/1.1 without TLS.
type Engine string

const (
	// EngineStd is net/http's Transport. It always carries what goes over TLS, since
	// there HTTP/2 may be agreed on.
	EngineStd Engine = "std"
	// EngineOwn writes and reads in the goroutine of the caller, with a second one
	// only while a body is sent, and holds neither goroutines nor buffers for idle
	// connections. Of what httptrace can tell it tells GetConn, GotConn, PutIdleConn,
	// GotFirstResponseByte, Got100Continue and Got1xxResponse.
	EngineOwn Engine = "own"
)

// engine carries requests over HTTP/1.1. It is safe for concurrent use.
type engine struct {
	options  Options
	dial     dialFunc
	pool     *pool
	buffers  bufferPools
	counters *Counters
}

func newEngine(o Options, dial dialFunc, c *Counters) *engine {
	return &engine{
		options: o, counters: c, dial: dial,
		pool: newPool(o.IdlePerBackend, o.IdleTotal, o.IdleTimeout),
	}
}

// RoundTrip implements http.RoundTripper. What it promises about repeating
// requests is said at Transport.RoundTrip.
func (e *engine) RoundTrip(req *http.Request) (*http.Response, error) {
	sealed, err := seal(req)
	if err != nil {
		closeUnsent(req)
		return nil, err
	}
	x := newExchange(e, req, sealed)
	err = x.attempt(e.connection)
	if err != nil && x.mayRepeat(err) {
		e.counters.retried.Add(1)
		noticeRetry(x.ctx)
		err = x.attempt(e.connect)
	}
	if err != nil {
		x.giveUp()
		return nil, x.explain(err)
	}
	return &x.response, nil
}

// closeUnsent closes the body of a request that is not sent. An error would say
// nothing about the request.
func closeUnsent(req *http.Request) {
	if req.Body != nil {
		_ = req.Body.Close()
	}
}

// connection returns an idle connection, or else a new one.
func (e *engine) connection(ctx context.Context, key string, trace *httptrace.ClientTrace) (*conn, error) {
	for {
		c := e.pool.take(key)
		if c == nil {
			return e.connect(ctx, key, trace)
		}
		if !c.live.check() {
			c.discard()
			continue
		}
		e.counters.reused.Add(1)
		if trace != nil && trace.GotConn != nil {
			trace.GotConn(httptrace.GotConnInfo{Conn: c.Conn, Reused: true, WasIdle: true, IdleTime: time.Since(c.idleFrom)})
		}
		c.used = true
		c.written.Store(0)
		return c, nil
	}
}

// connect makes a new connection.
func (e *engine) connect(ctx context.Context, key string, trace *httptrace.ClientTrace) (*conn, error) {
	address, err := addressOf(key)
	if err != nil {
		return nil, err
	}
	made, err := e.dial(ctx, "tcp", address)
	if err != nil {
		if ctx.Err() != nil {
			return nil, context.Cause(ctx)
		}
		return nil, err
	}
	if trace != nil && trace.GotConn != nil {
		trace.GotConn(httptrace.GotConnInfo{Conn: made})
	}
	return newConn(made, key, e.options.WriteStall), nil
}

// addressOf returns the address to dial for a URL's host.
func addressOf(host string) (string, error) {
	ascii, err := httpguts.PunycodeHostPort(host)
	if err != nil {
		return "", err
	}
	name, port, err := net.SplitHostPort(ascii)
	var address *net.AddrError
	if errors.As(err, &address) {
		name, port = unbracketed(ascii), ""
	}
	if port == "" {
		port = "80"
	}
	return net.JoinHostPort(name, port), nil
}

// unbracketed returns an IPv6 address without the brackets it has in URLs.
func unbracketed(host string) string {
	if n := len(host); n > 2 && host[0] == '[' && host[n-1] == ']' {
		return host[1 : n-1]
	}
	return host
}
