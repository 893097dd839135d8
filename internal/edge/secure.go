package edge

import (
	"context"
	"errors"
	"net"
	"net/http"
	"net/netip"
	"strconv"
	"strings"
)

// Secure is what becomes of plain requests where there is TLS as well.
type Secure struct {
	// Port is the one that visitors reach TLS at. 443, or 0, is left out of URLs.
	Port uint16
	// Covers reports whether a visitor can be shown a certificate for a host, which
	// is in its normal form. Only those are redirected. It must be quick.
	Covers func(host string) bool
	// Challenge answers a certificate authority that checks that a host is ours,
	// and reports whether the request was such. Nil means that none asks.
	Challenge func(w http.ResponseWriter, r *http.Request) bool
	// HSTS has browsers use TLS alone from then on, for a year (RFC 6797).
	HSTS bool
}

// hstsHeader covers the host alone: the operator's other names may not have TLS.
const hstsHeader = "max-age=31536000"

// challengePath is where authorities look (RFC 8555 8.3).
const challengePath = "/.well-known/acme-challenge/"

// secured comes before the routes: it answers challenges, and sends who came
// without TLS where there is some.
func (e *Edge) secured(next handler) handler {
	s := e.config.Secure
	if s == nil {
		return next
	}
	return func(w http.ResponseWriter, r *http.Request) *failure {
		if r.TLS == nil && s.Challenge != nil && strings.HasPrefix(r.URL.Path, challengePath) && s.Challenge(w, r) {
			return nil
		}
		if recordOf(r).journey.visitor.scheme == "https" {
			if s.HSTS {
				w.(*response).hsts = true
			}
			return next(w, r)
		}
		host, found := e.securedHost(r)
		if !found {
			return next(w, r)
		}
		s.redirect(w, r, host)
		return nil
	}
}

// securedHost returns the host in its normal form when there is something behind
// it that TLS leads to. Others are told so without TLS: they get no certificate,
// and a broken handshake explains nothing.
func (e *Edge) securedHost(r *http.Request) (string, bool) {
	host, err := normaliseHost(r.Host)
	if err != nil || !hasPath(r) || r.URL.Path == "*" || !e.config.Secure.Covers(host) {
		return "", false
	}
	kind := recordOf(r).match.kind
	switch kind {
	case routeApp:
		return host, e.exists(r, e.apps)
	case routeFunction:
		return host, e.exists(r, e.functions)
	}
	return host, kind.isSecured()
}

// isSecured reports whether plain requests of a route are sent to TLS: those of a host
// that is served, with a method that is.
func (k routeKind) isSecured() bool {
	switch k {
	case routeUnknownHost, routeBadHost, routeBadMethod, routeBadAPIMethod:
		return false
	}
	return true
}

// exists reports whether there is something with the request's id, or there may
// be.
func (e *Edge) exists(r *http.Request, cache *resolveCache[Backend]) bool {
	_, err := resolve(e, r, cache, recordOf(r).match.id)
	return !errors.Is(err, errUnknown)
}

// redirect keeps the method of what may not be repeated as a GET (RFC 9110
// 15.4.9).
func (s *Secure) redirect(w http.ResponseWriter, r *http.Request, host string) {
	status := http.StatusPermanentRedirect
	if r.Method == http.MethodGet || r.Method == http.MethodHead {
		status = http.StatusMovedPermanently
	}
	w.Header().Set("Location", escapeLocation("https://"+s.authority(host)+r.URL.RequestURI()))
	w.WriteHeader(status)
}

func (s *Secure) authority(host string) string {
	if s.Port != 0 && s.Port != 443 {
		return net.JoinHostPort(host, strconv.Itoa(int(s.Port)))
	}
	if addr, err := netip.ParseAddr(host); err == nil && addr.Is6() {
		return "[" + host + "]"
	}
	return host
}

// HostRemembered reports from memory whether a host, in lower case and without
// port and trailing dot, is served, and whether that is sure. It asks nobody.
func (e *Edge) HostRemembered(host string) (served, sure bool) {
	cache, id, served := e.hostCache(host)
	if cache == nil {
		return served, true
	}
	switch _, memory := cache.peek(id); memory.known {
	case knownUnknown:
		return false, true
	case knownNot:
		return false, false
	}
	return true, true
}

// HostServed reports whether a host is served, and asks the platform unless it is
// remembered. An error means that nobody can tell now.
func (e *Edge) HostServed(ctx context.Context, host string) (bool, error) {
	cache, id, served := e.hostCache(host)
	if cache == nil {
		return served, nil
	}
	_, err := cache.get(ctx, id)
	switch {
	case err == nil, errors.Is(err, errDeploying):
		return true, nil
	case errors.Is(err, errUnknown):
		return false, nil
	}
	return false, err
}

// hostCache returns where it is remembered whether there is such an app or
// function; or, without a cache, whether the host is served.
func (e *Edge) hostCache(host string) (cache *resolveCache[Backend], id string, served bool) {
	m := e.route(http.MethodGet, host, "/")
	switch m.kind {
	case routeApp:
		return e.apps, m.id, false
	case routeFunction:
		return e.functions, m.id, false
	}
	return nil, "", m.kind != routeUnknownHost && m.kind != routeBadHost
}
