package edge

import (
	"net/http"
	"slices"
	"strings"
	"unicode/utf8"

	"golang.org/x/net/idna"
)

// confineCookies takes the Domain attribute off cookies that an app sets for its
// siblings: one equal to or above a domain whose subdomains belong to tenants.
// Without it the cookie belongs to the app's own host alone. Everything else
// stays byte for byte.
func confineCookies(h http.Header, tenantDomains []string) {
	for i, cookie := range h["Set-Cookie"] {
		h["Set-Cookie"][i] = confineCookie(cookie, tenantDomains)
	}
}

// confineCookie parses as browsers do (RFC 6265bis 5.6), not as cookies should be
// written: attributes are separated by semicolons, quotes protect nothing, and
// names match in any case. Every matching Domain goes, or an earlier one would
// take effect once the last is gone.
func confineCookie(cookie string, tenantDomains []string) string {
	parts := strings.Split(cookie, ";")
	kept := slices.DeleteFunc(parts[1:], func(attribute string) bool {
		name, value, _ := strings.Cut(attribute, "=")
		return strings.EqualFold(trimAttribute(name), "domain") && spansTenants(value, tenantDomains)
	})
	if 1+len(kept) == strings.Count(cookie, ";")+1 {
		return cookie
	}
	return strings.Join(append(parts[:1:1], kept...), ";")
}

// spansTenants reports whether a cookie with this Domain is sent to more than one
// tenant. A value no browser could read is taken to be meant badly.
func spansTenants(value string, tenantDomains []string) bool {
	domain, ok := cookieDomain(value)
	if !ok {
		return true
	}
	return domain != "" && slices.ContainsFunc(tenantDomains, func(tenant string) bool {
		tenant = strings.ToLower(strings.Trim(tenant, "."))
		return tenant == domain || strings.HasSuffix(tenant, "."+domain)
	})
}

// cookieDomain returns the host a Domain attribute names, in lower case and
// ASCII. It forgives at least what browsers forgive: leading and trailing dots,
// quotes, other spaces, other scripts' forms of the same letters.
func cookieDomain(value string) (domain string, ok bool) {
	value = strings.Trim(strings.Trim(trimAttribute(value), `"`), ". ")
	if isASCII(value) {
		return strings.ToLower(value), true
	}
	domain, err := idna.Lookup.ToASCII(value)
	return strings.ToLower(strings.Trim(domain, ".")), err == nil && utf8.ValidString(value)
}

func trimAttribute(s string) string {
	return strings.TrimFunc(s, func(r rune) bool { return r <= ' ' || r == 0x7f })
}

func isASCII(s string) bool {
	return !strings.ContainsFunc(s, func(r rune) bool { return r >= 0x80 })
}
