// Package certs has the certificate of every TLS connection: the operator's
// files, read again when they change, and those that an ACME authority gives for
// the hosts that are served, on demand.
package certs

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net/http"
	"strings"
	"sync"

	"github.com/mholt/acmez/v3"
	"github.com/prometheus/client_golang/prometheus"
)

// Options say where certificates come from.
type Options struct {
	// Files are the operator's certificates. The first one also answers clients
	// that name no host.
	Files []Pair
	// ACME is where certificates come from for names that no file is for. Nil means
	// nowhere.
	ACME *ACME
	// Log gets what operators should know. Nil discards.
	Log *slog.Logger
	// Metrics is where figures are registered. Nil keeps them to ourselves.
	Metrics prometheus.Registerer
}

// Manager has the certificate of every TLS connection. Its methods may be called
// concurrently.
type Manager struct {
	files *files
	acme  *authority // nil without ACME
}

// New reads the operator's files and looks at which certificates are stored. The
// error names the file that is wrong. Close the Manager before the storage.
func New(ctx context.Context, o Options) (*Manager, error) {
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	if o.Metrics == nil {
		o.Metrics = prometheus.NewRegistry()
	}
	m := &Manager{}
	var err error
	if m.files, err = openFiles(o.Files, o.Log); err != nil {
		return nil, err
	}
	if o.ACME != nil {
		if m.acme, err = newAuthority(ctx, *o.ACME, o.Log, o.Metrics); err != nil {
			return nil, err
		}
	}
	return m, m.register(o.Metrics)
}

// Run keeps certificates up to date until ctx ends.
func (m *Manager) Run(ctx context.Context) {
	var both sync.WaitGroup
	both.Go(func() { m.files.watch(ctx) })
	if m.acme != nil {
		both.Go(func() { m.acme.run(ctx) })
	}
	both.Wait()
}

// Close ends orders under way and waits for them.
func (m *Manager) Close() error {
	if m.acme == nil {
		return nil
	}
	return m.acme.close()
}

// ServeChallenge answers an authority that checks by HTTP-01 that a host is ours,
// and reports whether the request was such.
func (m *Manager) ServeChallenge(w http.ResponseWriter, r *http.Request) bool {
	return m.acme != nil && m.acme.issuer.HandleHTTPChallenge(w, r)
}

// TLSConfig is for the listeners: TLS 1.2 or later, with the suites, curves and
// rotating session tickets that Go chooses, and HTTP/2 before HTTP/1.1.
func (m *Manager) TLSConfig() *tls.Config {
	config := &tls.Config{
		MinVersion:     tls.VersionTLS12,
		NextProtos:     []string{"h2", "http/1.1"},
		GetCertificate: m.certificate,
	}
	if m.acme != nil {
		config.NextProtos = append(config.NextProtos, acmez.ACMETLS1Protocol)
	}
	return config
}

// certificate chooses for one handshake. Neither a certificate nor an error has
// crypto/tls send the alert unrecognized_name (RFC 6066 3); an error,
// internal_error.
func (m *Manager) certificate(hello *tls.ClientHelloInfo) (*tls.Certificate, error) {
	name := normalName(hello.ServerName)
	if cert := m.files.choose(hello, name); cert != nil {
		return cert, nil
	}
	if name == "" || m.acme == nil {
		return nil, nil
	}
	return m.acme.certificate(hello, name)
}

// Covers reports whether a client that asks for the host, which is in its normal
// form, can be shown a certificate for it, provided that it is served.
func (m *Manager) Covers(host string) bool {
	return m.files.covers(host) || m.acme != nil && m.acme.covers(host)
}

// normalName is how names are compared: in lower case, without a trailing dot.
func normalName(name string) string { return strings.ToLower(strings.TrimSuffix(name, ".")) }

// Revoke has the authority declare a name's certificate invalid, and forgets it:
// the next handshake orders another, with another key. It is for keys that others
// may have seen.
func (m *Manager) Revoke(ctx context.Context, name string) error {
	err := fs.ErrNotExist
	if m.acme != nil { // another ingress may have obtained it
		_, err = m.acme.expiryOf(ctx, name)
	}
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return fmt.Errorf("%s has no certificate from an authority", name)
	case err != nil:
		return fmt.Errorf("revoke the certificate of %s: %w", name, err)
	}
	return m.acme.revoke(ctx, name)
}
