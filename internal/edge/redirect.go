package edge

import (
	"errors"
	"fmt"
	"net"
	"net/url"
	"strings"
)

// redirectPolicy decides where the verification route may send a visitor. The
// address comes from the query, so that without it anybody could make us redirect
// anywhere (WIRE.md 6).
type redirectPolicy struct {
	any     bool
	origins map[string]bool // host:port, or a host alone for the scheme's own port
}

// Why an address is not followed. The texts are for the log and contain nothing
// of the address, which carries whatever its maker liked.
var (
	errRedirectMalformed = errors.New("the redirect address is not a plain absolute http or https URL")
	errRedirectForeign   = errors.New("the redirect address's host is neither stored with the token nor in the list of allowed hosts")
)

// CheckRedirectHosts returns the error that New would for these
// Config.VerifyRedirectHosts.
func CheckRedirectHosts(hosts []string) error {
	_, err := newRedirectPolicy(hosts)
	return err
}

func newRedirectPolicy(hosts []string) (redirectPolicy, error) {
	p := redirectPolicy{origins: make(map[string]bool)}
	for _, host := range hosts {
		if host == "*" {
			p.any = true
			continue
		}
		name, err := redirectHost(host)
		if err != nil {
			return p, fmt.Errorf("verify-redirect-hosts %q: %w", host, err)
		}
		p.origins[name] = true
	}
	return p, nil
}

// redirectHost normalises a host with an optional port.
func redirectHost(host string) (string, error) {
	name, err := normaliseHost(host)
	if err != nil {
		return "", err
	}
	if !hasPort(host) {
		return name, nil
	}
	port := host[strings.LastIndexByte(host, ':')+1:]
	if port == "" {
		return name, nil
	}
	return net.JoinHostPort(name, port), nil
}

// check returns the address to put into Location, rebuilt from the parts that
// were checked so that a browser cannot read it differently, or why it is not to
// be followed. stored are the addresses kept with the token.
func (p redirectPolicy) check(address string, stored Redirects) (string, error) {
	u, origin, err := parseRedirect(address)
	if err != nil {
		return "", err
	}
	if p.any || p.origins[origin] || sameOrigin(u.Scheme, origin, stored.Success) || sameOrigin(u.Scheme, origin, stored.Failure) {
		return rebuild(u, origin), nil
	}
	return "", errRedirectForeign
}

// sameOrigin compares scheme, host and port (RFC 6454 5).
func sameOrigin(scheme, origin, address string) bool {
	if address == "" {
		return false
	}
	u, other, err := parseRedirect(address)
	return err == nil && u.Scheme == scheme && other == origin
}

// parseRedirect returns the parsed address and its origin as redirectPolicy
// writes them.
func parseRedirect(address string) (*url.URL, string, error) {
	if strings.ContainsFunc(address, isConfusing) {
		return nil, "", errRedirectMalformed
	}
	u, err := url.Parse(address)
	if err != nil || u.Opaque != "" || u.User != nil || (u.Scheme != "http" && u.Scheme != "https") {
		return nil, "", errRedirectMalformed
	}
	origin, err := redirectHost(u.Host)
	if err != nil {
		return nil, "", errRedirectMalformed
	}
	return u, withoutDefaultPort(u.Scheme, origin), nil
}

// isConfusing finds what browsers drop or read as something else: they treat a
// backslash as a slash, and remove tabs and line breaks.
func isConfusing(r rune) bool { return r <= ' ' || r == '\\' || r == 0x7f }

func withoutDefaultPort(scheme, origin string) string {
	host, port, err := net.SplitHostPort(origin)
	if err != nil {
		return origin // there is no port
	}
	if scheme == "http" && port == "80" || scheme == "https" && port == "443" {
		return host
	}
	return origin
}

func rebuild(u *url.URL, origin string) string {
	if strings.Count(origin, ":") > 1 && !strings.HasPrefix(origin, "[") {
		origin = "[" + origin + "]" // an IPv6 address without a port
	}
	clean := url.URL{
		Scheme: u.Scheme, Host: origin, Path: u.Path, RawPath: u.RawPath,
		RawQuery: u.RawQuery, Fragment: u.Fragment, RawFragment: u.RawFragment,
	}
	return escapeLocation(clean.String())
}
