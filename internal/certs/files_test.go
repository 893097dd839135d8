package certs

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/m3o/ingress/internal/certs/certstest"
	"github.com/m3o/ingress/internal/logtest"
)

// handshake speaks TLS with a manager over a real connection. A name of "" sends
// none. It returns the leaf, which chains to the pool.
func handshake(t testing.TB, m *Manager, name string, pool *x509.CertPool, change ...func(*tls.Config)) (*x509.Certificate, error) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	served := make(chan struct{})
	go func() {
		defer close(served)
		conn, err := l.Accept()
		if err != nil {
			return
		}
		server := tls.Server(conn, m.TLSConfig())
		_ = server.Handshake() // the client says how it went
		_, _ = server.Read(make([]byte, 1))
		server.Close()
	}()
	defer func() { <-served }()
	config := &tls.Config{RootCAs: pool, ServerName: name, NextProtos: []string{"h2", "http/1.1"}}
	if name == "" { // verified below
		config.InsecureSkipVerify = true
	}
	for _, c := range change {
		c(config)
	}
	conn, err := tls.DialWithDialer(&net.Dialer{Timeout: time.Minute}, "tcp", l.Addr().String(), config)
	if err != nil {
		return nil, err
	}
	defer conn.Close()
	leaf := conn.ConnectionState().PeerCertificates[0]
	_, err = leaf.Verify(x509.VerifyOptions{Roots: pool, Intermediates: intermediates(conn)})
	return leaf, err
}

func intermediates(conn *tls.Conn) *x509.CertPool {
	pool := x509.NewCertPool()
	for _, c := range conn.ConnectionState().PeerCertificates[1:] {
		pool.AddCert(c)
	}
	return pool
}

// isUnrecognized reports whether the server said that it does not have the name.
func isUnrecognized(err error) bool {
	var remote *net.OpError // whose cause has no exported type
	return errors.As(err, &remote) && remote.Op == "remote error" && strings.Contains(err.Error(), "unrecognized name")
}

func pair(t testing.TB, cert, key []byte) Pair {
	t.Helper()
	var p Pair
	p.Cert, p.Key = certstest.Files(t, cert, key)
	return p
}

func TestTheNameChoosesAmongTheOperatorsFiles(t *testing.T) {
	ca := certstest.New(t)
	var pairs []Pair
	for _, names := range [][]string{{"m3o.example", "127.0.0.1"}, {"*.m3o.app", "m3o.app"}, {"Special.m3o.app"}} {
		cert, key := ca.Issue(names...)
		pairs = append(pairs, pair(t, cert, key))
	}
	m, err := New(t.Context(), Options{Files: pairs})
	if err != nil {
		t.Fatal(err)
	}
	for _, test := range []struct{ name, want string }{
		{"m3o.example", "m3o.example"},
		{"M3O.Example", "m3o.example"},
		{"m3o.app", "*.m3o.app"},
		{"hello.m3o.app", "*.m3o.app"},
		{"", "m3o.example"}, // whoever names no host
		{"two.labels.m3o.app", ""},
		{"other.example", ""},
		{"example", ""},
	} {
		leaf, err := handshake(t, m, test.name, ca.Pool())
		switch {
		case test.want == "" && !isUnrecognized(err):
			t.Errorf("%q: %v, want the alert unrecognized_name", test.name, err)
		case test.want != "" && (err != nil || leaf.DNSNames[0] != test.want):
			t.Errorf("%q: %v, want the certificate of %s", test.name, err, test.want)
		}
		if test.name != "" && m.Covers(strings.ToLower(test.name)) != (test.want != "") {
			t.Errorf("%q: Covers says %v", test.name, test.want == "")
		}
	}
	if !m.Covers("127.0.0.1") || m.Covers("127.0.0.2") || m.Covers("") {
		t.Error("addresses are covered wrongly")
	}
}

func TestOldVersionsAreRefusedAndHTTP2IsOffered(t *testing.T) {
	ca := certstest.New(t)
	cert, key := ca.Issue("m3o.example")
	m, err := New(t.Context(), Options{Files: []Pair{pair(t, cert, key)}})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := handshake(t, m, "m3o.example", ca.Pool(), func(c *tls.Config) { c.MinVersion, c.MaxVersion = tls.VersionTLS10, tls.VersionTLS11 }); err == nil {
		t.Error("TLS 1.1 is spoken")
	}
	for want, offered := range map[string][]string{"h2": {"http/1.1", "h2"}, "http/1.1": {"http/1.1"}, "": nil} {
		var got string
		if _, err := handshake(t, m, "m3o.example", ca.Pool(), func(c *tls.Config) {
			c.NextProtos = offered
			c.VerifyConnection = func(s tls.ConnectionState) error { got = s.NegotiatedProtocol; return nil }
		}); err != nil || got != want {
			t.Errorf("offered %v: %q, %v", offered, got, err)
		}
	}
}

func TestAClientGetsACertificateItCanUse(t *testing.T) {
	ca := certstest.New(t)
	cert, key := ca.Issue("m3o.example")
	first := pair(t, cert, key)
	cert, key = ca.IssueRSA("m3o.example")
	m, err := New(t.Context(), Options{Files: []Pair{first, pair(t, cert, key)}})
	if err != nil {
		t.Fatal(err)
	}
	leaf, err := handshake(t, m, "m3o.example", ca.Pool())
	if err != nil || leaf.PublicKeyAlgorithm != x509.ECDSA {
		t.Errorf("a modern client: %v", err)
	}
	leaf, err = handshake(t, m, "m3o.example", ca.Pool(), func(c *tls.Config) {
		c.MaxVersion, c.CipherSuites = tls.VersionTLS12, []uint16{tls.TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256}
	})
	if err != nil || leaf.PublicKeyAlgorithm != x509.RSA {
		t.Errorf("a client with RSA alone: %v", err)
	}
}

func TestChangedFilesAreTakenOverAndBrokenOnesAreNot(t *testing.T) {
	ca := certstest.New(t)
	cert, key := ca.Issue("m3o.example")
	p := pair(t, cert, key)
	log := &logtest.Buffer{}
	metrics := prometheus.NewRegistry()
	m, err := New(t.Context(), Options{Files: []Pair{p}, Log: slog.New(slog.NewTextHandler(log, nil)), Metrics: metrics})
	if err != nil {
		t.Fatal(err)
	}
	serial := func() int64 {
		t.Helper()
		leaf, err := handshake(t, m, "m3o.example", ca.Pool())
		if err != nil {
			t.Fatal(err)
		}
		return leaf.SerialNumber.Int64()
	}
	first := serial()

	// The certificate comes before its key.
	newCert, newKey := ca.IssueUntil(time.Now().Add(20*time.Minute), "m3o.example")
	certstest.Replace(t, p.Cert, newCert)
	m.files.reload()
	m.files.reload()
	if serial() != first {
		t.Error("a certificate without its key is in use")
	}
	if n := strings.Count(log.String(), "cannot be used"); n != 1 {
		t.Errorf("a broken pair was reported %d times, want once:\n%s", n, log)
	}
	certstest.Replace(t, p.Key, newKey)
	m.files.reload()
	second := serial()
	if second == first {
		t.Error("the new certificate is not in use")
	}
	for _, broken := range [][]byte{nil, []byte("not PEM"), newKey} {
		certstest.Replace(t, p.Cert, broken)
		m.files.reload()
		if serial() != second {
			t.Errorf("%.20q is in use", broken)
		}
	}
	if err := os.Remove(p.Cert); err != nil {
		t.Fatal(err)
	}
	m.files.reload()
	if serial() != second {
		t.Error("a file that is gone is in use")
	}
	if text := log.String(); strings.Contains(text, "PRIVATE KEY") || strings.Contains(text, string(newKey[40:80])) {
		t.Errorf("the log has a key:\n%s", text)
	}
	leaf, err := handshake(t, m, "m3o.example", ca.Pool())
	if err != nil {
		t.Fatal(err)
	}
	if n := figure(t, metrics, "ingress_certificates", "file"); n != 1 {
		t.Errorf("%v certificates are counted", n)
	}
	if at := figure(t, metrics, "ingress_certificate_soonest_expiry_timestamp_seconds", "file"); at != float64(leaf.NotAfter.Unix()) {
		t.Errorf("the soonest expiry is %v, want %v", at, leaf.NotAfter.Unix())
	}
}

func TestFilesAreWatched(t *testing.T) {
	ca := certstest.New(t)
	cert, key := ca.Issue("m3o.example")
	p := pair(t, cert, key)
	m, err := New(t.Context(), Options{Files: []Pair{p}})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan struct{})
	go func() { m.Run(ctx); close(ended) }()
	cert, key = ca.Issue("other.example")
	certstest.Replace(t, p.Key, key)
	certstest.Replace(t, p.Cert, cert)
	eventually(t, "the new certificate is in use", func() bool { return m.Covers("other.example") })
	cancel()
	<-ended
}

func TestFilesThatMakeNoSenseStopTheStart(t *testing.T) {
	ca := certstest.New(t)
	cert, key := ca.Issue("m3o.example")
	nameless, namelessKey := ca.Issue()
	_, otherKey := ca.Issue("m3o.example")
	good := pair(t, cert, key)
	for _, test := range []struct {
		name string
		pair Pair
		want string
	}{
		{"no certificate", Pair{"/nonexistent.pem", good.Key}, "/nonexistent.pem"},
		{"no key", Pair{good.Cert, "/nonexistent.key"}, "/nonexistent.key"},
		{"a folder", Pair{filepath.Dir(good.Cert), good.Key}, filepath.Dir(good.Cert)},
		{"each in the other's place", Pair{good.Key, good.Cert}, good.Key},
		{"another key", pair(t, cert, otherKey), "private key"},
		{"no names", pair(t, nameless, namelessKey), "names no host"},
		{"too large", pair(t, bytes.Repeat([]byte("x"), maxFile+1), key), "bytes"},
	} {
		_, err := New(t.Context(), Options{Files: []Pair{good, test.pair}})
		if err == nil || !strings.Contains(err.Error(), test.want) {
			t.Errorf("%s: %v, want %q in it", test.name, err, test.want)
		}
		if err != nil && strings.Contains(err.Error(), "BEGIN") {
			t.Errorf("%s: the error quotes the file: %v", test.name, err)
		}
	}
	for _, test := range []struct{ certs, keys []string }{{[]string{"a"}, nil}, {nil, []string{"a"}}, {[]string{"a", "b"}, []string{"a"}}, {[]string{""}, []string{"a"}}} {
		if CheckPair(test.certs, test.keys) == nil {
			t.Errorf("%v with %v is accepted", test.certs, test.keys)
		}
	}
	expired, expiredKey := ca.IssueUntil(time.Now().Add(-time.Minute), "m3o.example")
	log := &logtest.Buffer{}
	if _, err := New(t.Context(), Options{Files: []Pair{pair(t, expired, expiredKey)}, Log: slog.New(slog.NewTextHandler(log, nil))}); err != nil || !strings.Contains(log.String(), "expired") {
		t.Errorf("an expired certificate: %v, %s", err, log)
	}
}

// figure returns the value of a gauge or a counter that has one label.
func figure(t testing.TB, metrics prometheus.Gatherer, name, label string) float64 {
	t.Helper()
	families, err := metrics.Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, family := range families {
		for _, m := range family.GetMetric() {
			if family.GetName() == name && m.GetLabel()[0].GetValue() == label {
				return m.GetGauge().GetValue() + m.GetCounter().GetValue()
			}
		}
	}
	t.Fatalf("there is no figure %s of %s", name, label)
	return 0
}

// patience is far more than anything here takes.
const patience = 2 * time.Minute

// eventually waits for what another goroutine does.
func eventually(t testing.TB, what string, condition func() bool) {
	t.Helper()
	timeout := time.After(patience)
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for !condition() {
		select {
		case <-tick.C:
		case <-timeout:
			t.Fatalf("still not: %s", what)
		}
	}
}
