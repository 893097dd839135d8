// Package certs has the certificate of every TLS connection: the operator's
// files, read again when they change.
package certs

import (
	"context"
	"crypto/tls"
	"errors"
	"log/slog"
	"strings"

	"github.com/prometheus/client_golang/prometheus"
)

// Options say where certificates come from.
type Options struct {
	// Files are the operator's certificates. The first one also answers clients
	// that name no host.
	Files []Pair
	// Log gets what operators should know. Nil discards.
	Log *slog.Logger
	// Metrics is where figures are registered. Nil keeps them to ourselves.
	Metrics prometheus.Registerer
}

// Manager has the certificate of every TLS connection. Its methods may be called
// concurrently.
type Manager struct {
	files *files
}

// New reads the operator's files. The error names the file that is wrong.
func New(o Options) (*Manager, error) {
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
	return m, m.register(o.Metrics)
}

// Run keeps certificates up to date until ctx ends.
func (m *Manager) Run(ctx context.Context) { m.files.watch(ctx) }

// TLSConfig is for the listeners: TLS 1.2 or later, with the suites, curves and
// rotating session tickets that Go chooses, and HTTP/2 before HTTP/1.1.
func (m *Manager) TLSConfig() *tls.Config {
	return &tls.Config{
		MinVersion:     tls.VersionTLS12,
		NextProtos:     []string{"h2", "http/1.1"},
		GetCertificate: m.certificate,
	}
}

var errNoName = errors.New("the client names no host, and there is no certificate for those that do not")

// certificate chooses for one handshake. Neither a certificate nor an error has
// crypto/tls send the alert unrecognized_name (RFC 6066 3); an error,
// internal_error.
func (m *Manager) certificate(hello *tls.ClientHelloInfo) (*tls.Certificate, error) {
	name := normalName(hello.ServerName)
	if cert := m.files.choose(hello, name); cert != nil {
		return cert, nil
	}
	if name == "" {
		return nil, errNoName
	}
	return nil, nil
}

// Covers reports whether a client that asks for the host, which is in its normal
// form, can be shown a certificate for it.
func (m *Manager) Covers(host string) bool { return m.files.covers(host) }

// normalName is how names are compared: in lower case, without a trailing dot.
func normalName(name string) string { return strings.ToLower(strings.TrimSuffix(name, ".")) }
