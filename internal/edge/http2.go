package edge

import (
	"context"
	"crypto/tls"
	"net"
	"net/http"
	"strings"
	"sync/atomic"
	"time"
)

// http2Config bounds what one HTTP/2 connection may hold. All its streams share
// its buffer, so that many streams take no more memory than one.
func http2Config(l Limits) *http.HTTP2Config {
	return &http.HTTP2Config{
		MaxConcurrentStreams:          l.Streams,
		MaxReceiveBufferPerConnection: 1 << 20,
		MaxReceiveBufferPerStream:     256 << 10,
		// As RFC 9113 6.5.2 has it: a visitor must not think that a frame may be larger
		// than a stream's buffer.
		MaxReadFrameSize:          16 << 10,
		MaxDecoderHeaderTableSize: 4 << 10,
		MaxEncoderHeaderTableSize: 4 << 10,
		// Who has gone without a word is noticed, and who takes nothing is left.
		SendPingTimeout:  30 * time.Second,
		PingTimeout:      15 * time.Second,
		WriteByteTimeout: l.WriteStall,
	}
}

// secureConn is a connection under TLS as its HTTP/2 requests know it. It counts
// the streams that were reset before they had an answer.
type secureConn struct {
	conn   *tls.Conn
	resets atomic.Int64
}

type secureKey struct{}

func withSecure(ctx context.Context, conn *tls.Conn) context.Context {
	return context.WithValue(ctx, secureKey{}, &secureConn{conn: conn})
}

// noteStream is called when an HTTP/2 request has ended. Opening streams and
// resetting them at once makes work for us and for backends and costs the visitor
// nothing, however few streams there may be at a time (CVE-2023-44487). A browser
// resets some, too, when somebody moves on, but most of its streams get an
// answer. So each answer makes up for a reset, and a connection with too many of
// them left is closed.
func (e *Edge) noteStream(r *http.Request, res *response) {
	c, ok := r.Context().Value(secureKey{}).(*secureConn)
	if !ok {
		return
	}
	if r.Context().Err() == nil || res.status != 0 && res.status != statusClientGone {
		if n := c.resets.Load(); n > 0 {
			c.resets.CompareAndSwap(n, n-1) // if another one ends just now, so be it
		}
		return
	}
	if c.resets.Add(1) == int64(e.config.Limits.Resets)+1 {
		closeNow(c.conn)
		e.conns.refuse(limitResets, c.conn)
	}
}

// withConn lets the requests of a connection find what is known of it.
func withConn(ctx context.Context, conn net.Conn) context.Context {
	switch c := conn.(type) {
	case interface{ front() *frontConn }:
		return withFront(ctx, c.front())
	case *tls.Conn:
		return withSecure(ctx, c)
	}
	return ctx
}

// doubtInHTTP2 returns what another reader could understand differently when the
// request goes on as HTTP/1.1. Frames leave no doubt about its end, and net/http
// refuses line breaks and headers that belong to HTTP/1 (RFC 9113 8.2), but not
// a Host beside another :authority (8.3.1), a space in the :path, which ends a
// target in HTTP/1.1, several lengths, or what frames but for an underscore.
func doubtInHTTP2(r *http.Request) string {
	for _, host := range r.Header["Host"] {
		named, err := normaliseHost(host)
		target, targetErr := normaliseHost(r.Host)
		if err != nil || targetErr != nil || named != target {
			return twoHosts
		}
	}
	delete(r.Header, "Host") // Request.Host has it
	switch {
	case strings.Contains(r.RequestURI, " "):
		return "Its path has a space."
	case len(r.Header["Content-Length"]) > 1:
		return manyLengths
	case r.Header["Content_length"] != nil:
		return nearlyLength
	case r.Header["Transfer_encoding"] != nil:
		return nearlyCoding
	}
	return ""
}
