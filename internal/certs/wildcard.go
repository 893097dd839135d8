package certs

import (
	"context"
	"crypto/tls"
	"slices"
	"strings"
)

func isWildcard(name string) bool { return strings.HasPrefix(name, "*.") }

// manageWildcards has certificates obtained for domains that are new. certmagic
// renews them by itself, and tries again what fails.
func (a *authority) manageWildcards() {
	if a.wild == nil {
		return
	}
	domains := slices.DeleteFunc(a.o.Wildcards(), func(domain string) bool { return !qualifies("any." + domain) })
	a.mu.Lock()
	var added []string
	for _, domain := range domains {
		if !slices.Contains(a.wildcards, domain) {
			added = append(added, "*."+domain)
		}
	}
	a.wildcards = domains
	a.mu.Unlock()
	if len(added) == 0 {
		return
	}
	if err := a.wild.ManageAsync(a.life, added); err != nil {
		a.log.Error("wildcard certificates are not managed", "names", added, "error", err)
	}
}

// wildcardOf returns the wildcard that a name is to be served with.
func (a *authority) wildcardOf(name string) (string, bool) {
	_, domain, ok := strings.Cut(name, ".")
	a.mu.Lock()
	defer a.mu.Unlock()
	return "*." + domain, ok && slices.Contains(a.wildcards, domain)
}

// findWildcard returns the certificate, which may have just been obtained, or
// dropped from memory, and then is in the storage alone.
func (a *authority) findWildcard(ctx context.Context, hello *tls.ClientHelloInfo, wildcard string) (*tls.Certificate, error) {
	if !a.has(wildcard) {
		return nil, errPending
	}
	if cert, err := a.wild.GetCertificateWithContext(ctx, hello); err == nil {
		return cert, nil
	}
	if _, err := a.wild.CacheManagedCertificate(ctx, wildcard); err != nil {
		return nil, err
	}
	return a.wild.GetCertificateWithContext(ctx, hello)
}
