package workload

import (
	"context"
	"fmt"
	"net/url"
	"strconv"
	"strings"

	"github.com/m3o/ingress/internal/api"
)

// maxBackend is the longest backend URL in bytes.
const maxBackend = 2048

// BackendRules says which addresses a tenant may register.
type BackendRules interface {
	// Check returns an error, whose text is fit for callers and says which rule
	// was broken, unless u may be dialled now. It may look the host name up and
	// must honour ctx. What a name stands for can change, so the same rules must
	// hold again for every connection.
	Check(ctx context.Context, u *url.URL) error
}

// ParseBackend returns the address that text names: an http or https URL with a
// host, an optional port and an optional base path, and nothing else. Errors are
// *InvalidError and do not repeat the text, which may hold a password.
func ParseBackend(text string) (*url.URL, error) {
	if len(text) > maxBackend {
		return nil, invalid("backend", "the URL has %d bytes and at most %d are allowed", len(text), maxBackend)
	}
	u, err := url.Parse(text)
	switch {
	case err != nil:
		return nil, invalid("backend", "it is not a URL")
	case u.Scheme != "http" && u.Scheme != "https":
		return nil, invalid("backend", "the URL must begin with http:// or https://")
	case u.User != nil:
		return nil, invalid("backend", "the URL must not hold credentials")
	case u.Fragment != "" || strings.Contains(text, "#"):
		return nil, invalid("backend", "the URL must not have a fragment")
	case u.RawQuery != "" || u.ForceQuery:
		return nil, invalid("backend", "the URL must not have a query: the visitor's takes its place")
	case !validHost(u.Hostname()) || !validPort(u):
		return nil, invalid("backend", "the URL must have a host of letters, digits, dots and hyphens, or an IP address, and a port from 1 to 65535 if any")
	}
	u.Host = strings.ToLower(u.Host)
	if n := len(u.String()); n > maxBackend { // escaping makes it longer
		return nil, invalid("backend", "the URL, escaped, has %d bytes and at most %d are allowed", n, maxBackend)
	}
	return u, nil
}

// validHost allows what DNS names and IP literals are made of. Zones and names
// in other alphabets have several spellings, which rules could miss.
func validHost(host string) bool {
	return host != "" && len(host) <= 253 && strings.IndexFunc(host, func(r rune) bool {
		return !strings.ContainsRune("-._:", r) && (r < 'A' || r > 'Z') && notAlphanumeric(r)
	}) < 0
}

func validPort(u *url.URL) bool {
	if u.Port() == "" {
		return !strings.HasSuffix(u.Host, ":")
	}
	port, err := strconv.ParseUint(u.Port(), 10, 16)
	return err == nil && port > 0
}

// admitBackend returns the URL to store for what a caller wants to register.
func (r *Registry) admitBackend(ctx context.Context, caller api.Caller, text string) (string, error) {
	if !caller.Has(api.ScopeBackend) {
		return "", ErrScope
	}
	u, err := ParseBackend(text)
	if err != nil {
		return "", err
	}
	if err := r.rules.Check(ctx, u); err != nil {
		if ctx.Err() != nil {
			return "", fmt.Errorf("check the backend: %w", ctx.Err())
		}
		return "", invalid("backend", "%v", err)
	}
	return u.String(), nil
}

// Backend is where requests to a workload go. It is an immutable value and holds
// no resource.
type Backend struct {
	// Key names it; it is stable as long as the workload exists.
	Key string
	// Tenant owns it.
	Tenant string
	// Managed reports whether it runs here: an Activator knows its address.
	Managed bool
	// State and Reason are the workload's.
	State  State
	Reason string
	// URL is the address of a registered backend; the zero URL for a managed one.
	URL url.URL
}
