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
	if !e.logger.Enabled(r.Context(), level) {
		return
	}
	attrs := append(make([]slog.Attr, 0, maxAttrs),
		slog.String("method", clip(r.Method)),
		slog.String("host", clip(r.Host)),
		slog.String("path", clip(loggedPath(r, rec))),
		slog.String("route", rec.route),
		slog.Int("status", res.status),
		slog.Int64("bytes", res.bytes),
		slog.Duration("duration", took),
		slog.String("client", rec.visitor.addr.String()),
	)
	attrs = appendOptional(attrs, rec)
	// The request's context may be cancelled by now; the line is wanted all the same.
	e.logger.LogAttrs(context.WithoutCancel(r.Context()), level, "request", attrs...)
}

// maxAttrs is how many attributes a line can have, so that they are allocated once.
const maxAttrs = 15

func appendOptional(attrs []slog.Attr, rec *record) []slog.Attr {
	for _, a := range [...]struct{ key, value string }{
		{"id", rec.id}, {"backend", rec.backend}, {"reason", string(rec.reason)},
	} {
		if a.value != "" {
			attrs = append(attrs, slog.String(a.key, clip(a.value)))
		}
	}
	if rec.resolve > 0 {
		attrs = append(attrs, slog.Duration("resolve", rec.resolve))
	}
	if rec.coldStart > 0 {
		attrs = append(attrs, slog.Duration("cold_start", rec.coldStart))
	}
	if rec.retried {
		attrs = append(attrs, slog.Bool("retried", true))
	}
	if rec.cause != nil {
		attrs = append(attrs, slog.String("error", clip(rec.cause.Error())))
	}
	return attrs
}

// loggedPath leaves out verification tokens.
func loggedPath(r *http.Request, rec *record) string {
	path := r.URL.EscapedPath()
	if rec.match.kind != routeUser || path == "/" || path == "" {
		return path
	}
	if strings.HasPrefix(path, "/user/") {
		return "/user/***"
	}
	return "/***"
}

func clip(s string) string {
	if len(s) > maxLogged {
		return s[:maxLogged] + "…"
	}
	return s
}
