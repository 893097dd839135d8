package main

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"os"
	"path/filepath"
	"time"
)

// certificate is what all peers serve TLS with: files with the chain, the key, and
// both. It names no host that is asked for without TLS, since the ingress would
// send those to TLS.
type certificate struct{ chain, key, both string }

func makeCertificate(dir string) (certificate, error) {
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return certificate{}, err
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "bench.invalid"}, DNSNames: []string{"bench.invalid"},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(24 * time.Hour),
		KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &private.PublicKey, private)
	if err != nil {
		return certificate{}, err
	}
	key, err := x509.MarshalPKCS8PrivateKey(private)
	if err != nil {
		return certificate{}, err
	}
	chain := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
	secret := pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: key})
	c := certificate{filepath.Join(dir, "bench.pem"), filepath.Join(dir, "bench.key"), filepath.Join(dir, "bench-both.pem")}
	for file, text := range map[string][]byte{c.chain: chain, c.key: secret, c.both: append(chain[:len(chain):len(chain)], secret...)} {
		if err := os.WriteFile(file, text, 0o600); err != nil {
			return certificate{}, err
		}
	}
	return c, nil
}
