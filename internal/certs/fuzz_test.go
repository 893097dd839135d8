package certs

import (
	"crypto/tls"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/m3o/ingress/internal/certs/certstest"
)

// FuzzQualifies has no name pass that is not one plain host below a domain: what
// passes becomes part of storage keys, orders and log lines.
func FuzzQualifies(f *testing.F) {
	for _, name := range []string{"m3o.test", "*.m3o.test", "localhost", "127.0.0.1", "::1", "a..b", ".a.b", "a.b.", "A.test", "a b.test", "x.local", "ü.test", ""} {
		f.Add(name)
	}
	f.Fuzz(func(t *testing.T, name string) {
		if !qualifies(name) {
			return
		}
		if strings.Trim(name, "abcdefghijklmnopqrstuvwxyz0123456789-.") != "" || slices.Contains(strings.Split(name, "."), "") || !strings.Contains(name, ".") {
			t.Errorf("%q may have a certificate", name)
		}
		if normalName(name) != name {
			t.Errorf("%q is not in its normal form", name)
		}
	})
}

// FuzzBetween has the way to a file lead from key to key, each below the last.
func FuzzBetween(f *testing.F) {
	f.Add("a", "b/c")
	f.Add("", "a")
	f.Add("a/b", "c//d")
	f.Fuzz(func(t *testing.T, prefix, rest string) {
		if prefix != "" && !isKey(prefix) || !isKey(rest) {
			return
		}
		file := strings.TrimPrefix(prefix+"/"+rest, "/")
		keys := between(prefix, file)
		if keys[len(keys)-1] != file {
			t.Fatalf("from %q to %q: %q", prefix, file, keys)
		}
		before := prefix
		for _, key := range keys {
			if before != "" && !strings.HasPrefix(key, before+"/") {
				t.Errorf("from %q to %q: %q", prefix, file, keys)
			}
			before = key
		}
	})
}

// isKey reports whether certmagic would use the text as a key.
func isKey(s string) bool {
	for component := range strings.SplitSeq(s, "/") {
		if component == "" || component == "." || component == ".." {
			return false
		}
	}
	return true
}

// BenchmarkChoose is what a handshake costs to find its certificate among files.
func BenchmarkChoose(b *testing.B) {
	ca := certstest.New(b)
	var pairs []Pair
	for _, name := range []string{"m3o.test", "*.app.test", "*.fn.test"} {
		cert, key := ca.Issue(name)
		pairs = append(pairs, pair(b, cert, key))
	}
	m, err := New(b.Context(), Options{Files: pairs})
	if err != nil {
		b.Fatal(err)
	}
	hello := &tls.ClientHelloInfo{
		ServerName: "hello.fn.test", SupportedVersions: []uint16{tls.VersionTLS13},
		SignatureSchemes: []tls.SignatureScheme{tls.ECDSAWithP256AndSHA256}, SupportedCurves: []tls.CurveID{tls.CurveP256},
	}
	b.ReportAllocs()
	for b.Loop() {
		if cert, err := m.certificate(hello); cert == nil || err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkAdmitMadeUpNames is what somebody who makes names up costs, once the
// look-ups of the minute are used.
func BenchmarkAdmitMadeUpNames(b *testing.B) {
	began := time.Now()
	g := newGate(serving(), func() time.Time { return began })
	for g.lookups.take() {
	}
	b.ReportAllocs()
	for b.Loop() {
		if err := g.admit(b.Context(), "made-up.test"); err == nil {
			b.Fatal("it may have a certificate")
		}
	}
}
