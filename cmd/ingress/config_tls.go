package main

import (
	"fmt"

	"github.com/m3o/ingress/internal/certs"
)

// tlsSettings say where TLS is spoken and with which certificates.
type tlsSettings struct {
	ListenTLS []string `name:"listen-tls" default:":443" env:"INGRESS_LISTEN_TLS" placeholder:"ADDR" help:"Public address for TLS, ${default} unless set; repeatable. Used with --tls-cert. The other public addresses then redirect to it."`
	TLSCert   []string `name:"tls-cert" env:"INGRESS_TLS_CERT" placeholder:"FILE" help:"Certificate chain, PEM; repeatable, the client's name chooses. Read again when it changes."`
	TLSKey    []string `name:"tls-key" env:"INGRESS_TLS_KEY" placeholder:"FILE" help:"Private key of the certificate in the same place, PEM."`
	HSTS      bool     `name:"hsts" env:"INGRESS_HSTS" help:"Tell browsers to use nothing but TLS for a year. There is no way back within that year."`
}

// on reports whether there is TLS at all.
func (t *tlsSettings) on() bool { return len(t.TLSCert) > 0 }

func (t *tlsSettings) validate(*config) error {
	if err := certs.CheckPair(t.TLSCert, t.TLSKey); err != nil {
		return fmt.Errorf("--tls-cert: %w", err)
	}
	if !t.on() {
		if t.HSTS {
			return fmt.Errorf("--hsts: it is of use only with --tls-cert")
		}
		return nil
	}
	if len(t.ListenTLS) == 0 {
		return fmt.Errorf("--listen-tls: give at least one address, such as :443")
	}
	for _, addr := range t.ListenTLS {
		if err := checkListenAddress("--listen-tls", addr); err != nil {
			return err
		}
	}
	return nil
}

// pairs returns the operator's files, which validate has counted.
func (t *tlsSettings) pairs() []certs.Pair {
	pairs := make([]certs.Pair, len(t.TLSCert))
	for i := range pairs {
		pairs[i] = certs.Pair{Cert: t.TLSCert[i], Key: t.TLSKey[i]}
	}
	return pairs
}
