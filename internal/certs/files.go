package certs

import (
	"bytes"
	"context"
	"crypto/sha256"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"strings"
	"sync"
	"time"
)

// Pair names the files of one certificate: the chain, leaf first, and its private
// key, both PEM.
type Pair struct{ Cert, Key string }

// reloadEvery is how often the files are looked at. They are compared by content:
// a copy may keep its time of modification, and a mounted secret is replaced by
// moving a link.
const reloadEvery = 3 * time.Second

// maxFile bounds what is read of one file; a chain has a few KiB.
const maxFile = 1 << 20

// files are the operator's certificates as they were when they last made sense.
type files struct {
	pairs []Pair
	log   *slog.Logger

	mu     sync.RWMutex
	loaded []loadedPair // one for each pair
	// broken is what could not be used of each pair, so that it is said once.
	broken []string
}

// loadedPair is a certificate and the sum of the files it is from.
type loadedPair struct {
	cert *tls.Certificate
	sum  [sha256.Size]byte
}

func openFiles(pairs []Pair, log *slog.Logger) (*files, error) {
	f := &files{pairs: pairs, log: log, broken: make([]string, len(pairs))}
	for _, p := range pairs {
		loaded, err := p.load(loadedPair{})
		if err != nil {
			return nil, err
		}
		f.loaded = append(f.loaded, loaded)
		f.warnExpired(p, loaded.cert)
	}
	return f, nil
}

// load reads the files, and returns what it was given when they are as before.
func (p Pair) load(before loadedPair) (loadedPair, error) {
	chain, err := readBounded(p.Cert)
	if err != nil {
		return before, fmt.Errorf("certificate: %w", err)
	}
	key, err := readBounded(p.Key)
	if err != nil {
		return before, fmt.Errorf("private key: %w", err)
	}
	next := loadedPair{sum: sha256.Sum256(bytes.Join([][]byte{chain, key}, []byte{0}))}
	if before.cert != nil && next.sum == before.sum {
		return before, nil
	}
	cert, err := tls.X509KeyPair(chain, key)
	if err != nil {
		return before, fmt.Errorf("certificate %s with private key %s: %w", p.Cert, p.Key, err)
	}
	if len(cert.Leaf.DNSNames)+len(cert.Leaf.IPAddresses) == 0 {
		return before, fmt.Errorf("certificate %s: it names no host (subject alternative names), and clients accept no other", p.Cert)
	}
	next.cert = &cert
	return next, nil
}

// readBounded does not say what is in a file: it may be a key.
func readBounded(path string) ([]byte, error) {
	info, err := os.Stat(path)
	if err != nil {
		return nil, err
	}
	if info.Size() > maxFile {
		return nil, fmt.Errorf("%s has %d bytes: that is no certificate or key", path, info.Size())
	}
	if !info.Mode().IsRegular() {
		return nil, fmt.Errorf("%s is not a file", path)
	}
	return os.ReadFile(path)
}

// watch reads the files again and again until ctx ends.
func (f *files) watch(ctx context.Context) {
	if len(f.pairs) == 0 {
		return
	}
	tick := time.NewTicker(reloadEvery)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
			f.reload()
		case <-ctx.Done():
			return
		}
	}
}

// reload takes over the pairs that have changed. One that makes no sense, such as
// a new certificate whose key has not arrived yet, leaves the old one in use.
func (f *files) reload() {
	for i, p := range f.pairs {
		f.mu.RLock()
		before := f.loaded[i]
		f.mu.RUnlock()
		next, err := p.load(before)
		if err != nil {
			f.complain(i, err)
			continue
		}
		f.broken[i] = ""
		if next.sum == before.sum {
			continue
		}
		f.mu.Lock()
		f.loaded[i] = next
		f.mu.Unlock()
		f.log.Info("a certificate was read again", "file", p.Cert, "names", next.cert.Leaf.DNSNames, "expires", next.cert.Leaf.NotAfter)
		f.warnExpired(p, next.cert)
	}
}

// complain says once what is wrong with a pair.
func (f *files) complain(pair int, err error) {
	if f.broken[pair] == err.Error() {
		return
	}
	f.broken[pair] = err.Error()
	f.log.Error("a changed certificate cannot be used; the one before stays in use", "file", f.pairs[pair].Cert, "error", err)
}

func (f *files) warnExpired(p Pair, cert *tls.Certificate) {
	if time.Now().After(cert.Leaf.NotAfter) {
		f.log.Warn("a certificate has expired; clients will refuse it", "file", p.Cert, "expired", cert.Leaf.NotAfter)
	}
}

// choose returns the certificate for a name: of several the first that the client
// can use, so that one with an elliptic curve may stand before one with RSA. A
// client that names no host gets the first of all. Nil means that there is none.
func (f *files) choose(hello *tls.ClientHelloInfo, name string) *tls.Certificate {
	f.mu.RLock()
	defer f.mu.RUnlock()
	var found *tls.Certificate
	for _, p := range f.loaded {
		if name != "" && !isFor(p.cert, name) {
			continue
		}
		if hello.SupportsCertificate(p.cert) == nil {
			return p.cert
		}
		if found == nil {
			found = p.cert // which makes crypto/tls say what the client lacks
		}
	}
	return found
}

func (f *files) covers(host string) bool {
	f.mu.RLock()
	defer f.mu.RUnlock()
	for _, p := range f.loaded {
		if isFor(p.cert, host) {
			return true
		}
	}
	return false
}

// isFor reports whether clients take the certificate for a name: one it has, or
// one label before the rest of a wildcard (RFC 6125 6.4.3).
func isFor(cert *tls.Certificate, name string) bool {
	_, parent, _ := strings.Cut(name, ".")
	for _, have := range cert.Leaf.DNSNames {
		have = normalName(have)
		if have == name || parent != "" && have == "*."+parent {
			return true
		}
	}
	for _, have := range cert.Leaf.IPAddresses {
		if have.String() == name {
			return true
		}
	}
	return false
}

// CheckPair returns an error that says what is wrong with how pairs were given:
// every certificate needs a key, in the same order.
func CheckPair(certs, keys []string) error {
	if len(certs) != len(keys) {
		return fmt.Errorf("there are %d certificates and %d private keys; give one --tls-key for each --tls-cert, in the same order", len(certs), len(keys))
	}
	for i := range certs {
		if certs[i] == "" || keys[i] == "" {
			return errors.New("a file name is empty")
		}
	}
	return nil
}
