package main

import (
	"crypto/x509"
	"errors"
	"fmt"
	"os"

	"github.com/m3o/ingress/internal/certs"
)

// tlsSettings say where TLS is spoken and with which certificates.
type tlsSettings struct {
	ListenTLS []string `name:"listen-tls" default:":443" env:"INGRESS_LISTEN_TLS" placeholder:"ADDR" help:"Public address for TLS, ${default} unless set; repeatable. Used with --tls or --tls-cert. The other public addresses then redirect to it."`
	TLSCert   []string `name:"tls-cert" env:"INGRESS_TLS_CERT" placeholder:"FILE" help:"Certificate chain, PEM; repeatable, the client's name chooses. Read again when it changes."`
	TLSKey    []string `name:"tls-key" env:"INGRESS_TLS_KEY" placeholder:"FILE" help:"Private key of the certificate in the same place, PEM."`
	HSTS      bool     `name:"hsts" env:"INGRESS_HSTS" help:"Tell browsers to use nothing but TLS for a year. There is no way back within that year."`

	ACME            bool   `name:"tls" env:"INGRESS_TLS" help:"Obtain certificates for the hosts served, on demand, from Let's Encrypt or --acme-ca. By this you agree to the authority's terms of service."`
	ACMEEmail       string `name:"acme-email" env:"INGRESS_ACME_EMAIL" placeholder:"ADDR" help:"Where the authority may write to."`
	ACMECA          string `name:"acme-ca" env:"INGRESS_ACME_CA" default:"https://acme-v02.api.letsencrypt.org/directory" placeholder:"URL" help:"Directory of the ACME authority. Let's Encrypt unless set."`
	ACMECARoot      string `name:"acme-ca-root" env:"INGRESS_ACME_CA_ROOT" type:"path" placeholder:"FILE" help:"Certificates, PEM, that vouch for the authority's own server. The system's unless set."`
	ACMEDNSHook     string `name:"acme-dns-hook" env:"INGRESS_ACME_DNS_HOOK" placeholder:"PROGRAM|URL" help:"Program or web service that sets and clears TXT records; with it, apps and functions have wildcard certificates."`
	MaxNames        int    `name:"tls-max-names" default:"10000" env:"INGRESS_TLS_MAX_NAMES" help:"Hosts that may have a certificate obtained on demand."`
	OrdersPerMinute int    `name:"tls-orders-per-minute" default:"10" env:"INGRESS_TLS_ORDERS_PER_MINUTE" help:"New hosts for which certificates are ordered."`
}

// on reports whether there is TLS at all.
func (t *tlsSettings) on() bool { return t.ACME || len(t.TLSCert) > 0 }

func (t *tlsSettings) validate(c *config) error {
	if err := certs.CheckPair(t.TLSCert, t.TLSKey); err != nil {
		return fmt.Errorf("--tls-cert: %w", err)
	}
	switch {
	case t.ACMEDNSHook != "" && !t.ACME:
		return fmt.Errorf("--acme-dns-hook: %q is of use only with --tls", t.ACMEDNSHook)
	case t.HSTS && !t.on():
		return errors.New("--hsts: it is of use only with --tls or --tls-cert")
	case !t.on():
		return nil
	}
	if len(t.ListenTLS) == 0 {
		return errors.New("--listen-tls: give at least one address, such as :443")
	}
	for _, addr := range t.ListenTLS {
		if err := checkListenAddress("--listen-tls", addr); err != nil {
			return err
		}
	}
	return t.validateACME(c)
}

func (t *tlsSettings) validateACME(c *config) error {
	if !t.ACME {
		return nil
	}
	if c.remote() && c.DataDir == "" {
		return errors.New("--tls: with --api-address nothing is stored here, and certificates have to be; give --data-dir for them, or --tls-cert and --tls-key instead of --tls")
	}
	if u, err := parseWebURL(t.ACMECA); err != nil {
		return fmt.Errorf("--acme-ca: %q %w", t.ACMECA, err)
	} else if u.Scheme != "https" {
		return fmt.Errorf("--acme-ca: %q must begin with https://", t.ACMECA)
	}
	for _, each := range []struct {
		flag  string
		value int
	}{{"--tls-max-names", t.MaxNames}, {"--tls-orders-per-minute", t.OrdersPerMinute}} {
		if each.value < 1 {
			return fmt.Errorf("%s: %d must be at least 1", each.flag, each.value)
		}
	}
	_, err := t.roots()
	return err
}

// roots are who vouches for the authority's server; nil means those of the system.
func (t *tlsSettings) roots() (*x509.CertPool, error) {
	if t.ACMECARoot == "" {
		return nil, nil
	}
	content, err := os.ReadFile(t.ACMECARoot)
	if err != nil {
		return nil, fmt.Errorf("--acme-ca-root: %w", err)
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(content) {
		return nil, fmt.Errorf("--acme-ca-root: there is no certificate in %s", t.ACMECARoot)
	}
	return pool, nil
}

// pairs returns the operator's files, which validate has counted.
func (t *tlsSettings) pairs() []certs.Pair {
	pairs := make([]certs.Pair, len(t.TLSCert))
	for i := range pairs {
		pairs[i] = certs.Pair{Cert: t.TLSCert[i], Key: t.TLSKey[i]}
	}
	return pairs
}
