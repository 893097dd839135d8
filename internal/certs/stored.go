package certs

import (
	"context"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"path"
	"slices"
	"strings"
	"time"

	"github.com/caddyserver/certmagic"
)

// readStored lists the names that have a certificate of this authority.
func (a *authority) readStored(ctx context.Context) error {
	folders, err := a.o.Storage.List(ctx, certmagic.StorageKeys.CertsPrefix(a.issuer.IssuerKey()), false)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	found := map[string]time.Time{}
	for _, folder := range folders {
		name := nameIn(folder)
		expires, err := a.expiryOf(ctx, name)
		if errors.Is(err, fs.ErrNotExist) {
			continue // an order that was not finished
		}
		if err != nil {
			return err
		}
		found[name] = expires
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	a.have = found
	return nil
}

// nameIn is the name whose certificate is in a folder.
func nameIn(folder string) string { return strings.Replace(path.Base(folder), "wildcard_", "*", 1) }

// gone hears of each certificate that is deleted from the storage, by whomever.
func (a *authority) gone(key string) {
	if folder := path.Dir(key); path.Dir(folder) == certmagic.StorageKeys.CertsPrefix(a.issuer.IssuerKey()) {
		a.forget(nameIn(folder))
	}
}

// reread forgets what may have been deleted unheard of.
func (a *authority) reread(ctx context.Context) error {
	a.mu.Lock()
	before := slices.Collect(maps.Keys(a.have))
	a.mu.Unlock()
	for _, name := range before {
		a.drop(name)
	}
	return a.readStored(ctx)
}

// forget makes nothing of a certificate: it is ordered anew, and a wildcard managed anew.
func (a *authority) forget(name string) {
	a.mu.Lock()
	delete(a.have, name)
	a.wildcards = slices.DeleteFunc(slices.Clone(a.wildcards), func(domain string) bool { return "*."+domain == name })
	a.mu.Unlock()
	a.drop(name)
}

// drop has a certificate read from the storage when it is next shown.
func (a *authority) drop(name string) {
	a.cache.RemoveManaged([]certmagic.SubjectIssuer{{Subject: name, IssuerKey: a.issuer.IssuerKey()}})
}

// expiryOf reads the end of a stored certificate.
func (a *authority) expiryOf(ctx context.Context, name string) (time.Time, error) {
	chain, err := a.o.Storage.Load(ctx, certmagic.StorageKeys.SiteCert(a.issuer.IssuerKey(), name))
	if err != nil {
		return time.Time{}, err
	}
	block, _ := pem.Decode(chain)
	if block == nil {
		return time.Time{}, fmt.Errorf("the stored certificate of %s is not PEM", name)
	}
	leaf, err := x509.ParseCertificate(block.Bytes)
	if err != nil {
		return time.Time{}, fmt.Errorf("the stored certificate of %s: %w", name, err)
	}
	return leaf.NotAfter, nil
}

func (a *authority) clean(ctx context.Context) {
	err := certmagic.CleanStorage(ctx, a.o.Storage, certmagic.CleanStorageOptions{
		Logger: newZap(a.log), OCSPStaples: true, ExpiredCerts: true, ExpiredCertGracePeriod: keepExpired,
	})
	if err := errors.Join(err, a.readStored(ctx)); err != nil && ctx.Err() == nil {
		a.log.Error("expired certificates could not be removed", "error", err)
	}
}

func (a *authority) has(name string) bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	_, ok := a.have[name]
	return ok
}

// hasValid is has for what has not expired.
func (a *authority) hasValid(name string) bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.have[name].After(a.now())
}

// renewed notes the new end of a certificate that no job was for.
func (a *authority) renewed(ctx context.Context, name string) error {
	expires, err := a.expiryOf(ctx, name)
	if err != nil {
		return err
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	a.have[name] = expires
	return nil
}

// expiry returns how many there are and when the first one expires.
func (a *authority) expiry() (count int, soonest time.Time) {
	a.mu.Lock()
	defer a.mu.Unlock()
	for _, at := range a.have {
		if soonest.IsZero() || at.Before(soonest) {
			soonest = at
		}
	}
	return len(a.have), soonest
}
