package edge

import (
	"context"
	"log/slog"
	"net/http"
	"strings"
	"time"
)

// maxLogged bounds what a client can put into one line of the log.
const maxLogged = 1 << 10

// logAccess writes the request's line. It has no query, which may carry keys and
// tokens, and of the paths that carry a token only the beginning.
func (e *Edge) logAccess(r *http.Request, rec *record, res *response, took time.Duration) {
	level := slog.LevelInfo
	if res.status >= http.StatusInternalServerError {
		level = slog.LevelWarn
	}
	if !e.access.Enabled(r.Context(), level) || level == slog.LevelInfo && !e.sampled() {
		return
	}
	attrs := append(make([]slog.Attr, 0, maxAttrs),
		slog.String("request", rec.requestID()),
		slog.String("method", clip(r.Method)),
		slog.String("host", clip(r.Host)),
		slog.String("path", clip(loggedPath(r, rec))),
		slog.String("protocol", r.Proto),
		slog.String("route", rec.route),
		slog.Int("status", res.status),
		slog.Int64("bytes", res.bytes),
		slog.Duration("duration", took),
		slog.String("client", e.loggedClient(rec)),
	)
	attrs = appendOptional(attrs, rec)
	// The request's context may be cancelled by now; the line is wanted all the same.
	e.access.LogAttrs(context.WithoutCancel(r.Context()), level, "request", attrs...)
}

// maxAttrs is how many attributes a line can have, so that they are allocated once.
const maxAttrs = 21

func appendOptional(attrs []slog.Attr, rec *record) []slog.Attr {
	for _, a := range [...]struct{ key, value string }{
		{"trace", rec.trace.id()}, {"tenant", rec.tenant}, {"id", rec.id}, {"backend", rec.backend}, {"reason", string(rec.reason)},
	} {
		if a.value != "" {
			attrs = append(attrs, slog.String(a.key, clip(a.value)))
		}
	}
	for _, a := range [...]struct {
		key  string
		took time.Duration
	}{
		{"resolve", rec.resolve}, {"queue", rec.queue}, {"cold_start", rec.coldStart}, {"answer", rec.answer},
	} {
		if a.took > 0 {
			attrs = append(attrs, slog.Duration(a.key, a.took))
		}
	}
	if rec.retried {
		attrs = append(attrs, slog.Bool("retried", true))
	}
	if rec.cause != nil {
		attrs = append(attrs, slog.String("error", clip(rec.cause.Error())))
	}
	return attrs
}

// sampled reports whether a request that went well is one of those to be logged:
// the first of every so many. What did not go well always is.
func (e *Edge) sampled() bool {
	every := e.config.AccessLogEvery
	return every <= 1 || e.requests.Add(1)%every == 1
}

// loggedClient is the visitor's address, or only its network: of an IPv4 address
// the first three bytes, of an IPv6 address the first six.
func (e *Edge) loggedClient(rec *record) string {
	addr := rec.visitor.addr
	if !e.config.AnonymiseClients || !addr.IsValid() {
		return addr.String()
	}
	bits := 24
	if addr.Is6() {
		bits = 48
	}
	network, err := addr.Prefix(bits)
	if err != nil {
		return "" // there is no such address
	}
	return network.Addr().String()
}

// loggedPath leaves out verification tokens. A link that came by a host or with a
// method that is not served may have one, too, and it is good for another visit.
func loggedPath(r *http.Request, rec *record) string {
	path := r.URL.EscapedPath()
	switch rec.match.kind {
	case routeUser, routeBadMethod, routeBadHost, routeUnknownHost:
		if strings.HasPrefix(r.URL.Path, "/user/") {
			return "/user/***"
		}
	}
	if rec.match.kind != routeUser || path == "/" || path == "" {
		return path
	}
	return "/***"
}

func clip(s string) string {
	if len(s) > maxLogged {
		return s[:maxLogged] + "…"
	}
	return s
}
