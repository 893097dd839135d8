package main_test

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/m3o/ingress/internal/certs/acmetest"
	"github.com/m3o/ingress/internal/certs/certstest"
)

// tlsAddress is the first TLS listener's.
func (i *ingress) tlsAddress() string {
	i.t.Helper()
	_, stderr := i.output()
	for line := range strings.Lines(stderr) {
		var ready struct {
			Msg       string   `json:"msg"`
			ListenTLS []string `json:"listen_tls"`
		}
		if json.Unmarshal([]byte(line), &ready) == nil && ready.Msg == "ready" && len(ready.ListenTLS) > 0 {
			return ready.ListenTLS[0]
		}
	}
	i.t.Fatalf("no TLS listener is in the log:\n%s", stderr)
	return ""
}

// secureClient is client over TLS, which believes the pool alone.
func (i *ingress) secureClient(pool *x509.CertPool) *http.Client {
	addr := i.tlsAddress()
	transport := &http.Transport{
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			var d net.Dialer
			return d.DialContext(ctx, "tcp", addr)
		},
		TLSClientConfig: &tls.Config{RootCAs: pool}, ForceAttemptHTTP2: true,
	}
	i.t.Cleanup(transport.CloseIdleConnections)
	return &http.Client{Transport: transport, Timeout: deadline}
}

// getSecurely fetches a URL over TLS.
func (i *ingress) getSecurely(pool *x509.CertPool, url string) (*http.Response, string, error) {
	i.t.Helper()
	req, err := http.NewRequestWithContext(i.t.Context(), http.MethodGet, url, nil)
	if err != nil {
		i.t.Fatal(err)
	}
	res, err := i.secureClient(pool).Do(req)
	if err != nil {
		return nil, "", err
	}
	defer res.Body.Close()
	body, err := io.ReadAll(res.Body)
	return res, string(body), err
}

func TestTheOperatorsCertificatesAreServedAndReplaced(t *testing.T) {
	ca := certstest.New(t)
	cert, key := ca.Issue("m3o.test")
	certFile, keyFile := certstest.Files(t, cert, key)
	appsCert, appsKey := ca.Issue("*.apps.test")
	appsCertFile, appsKeyFile := certstest.Files(t, appsCert, appsKey)
	i := startIngress(t, "--listen-tls", "127.0.0.1:0", "--host", "m3o.test", "--host", "localhost", "--apps-domain", "apps.test",
		"--tls-cert", certFile, "--tls-key", keyFile, "--tls-cert", appsCertFile, "--tls-key", appsKeyFile)
	app := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		fmt.Fprint(w, r.Header.Get("X-Forwarded-Proto"), " ", r.Host)
	}))
	t.Cleanup(app.Close)
	_, port, err := net.SplitHostPort(i.tlsAddress())
	if err != nil {
		t.Fatal(err)
	}
	created := i.mustCall("app/Run", fmt.Sprintf(`{"name":"hello","backend":%q}`, app.URL))
	if got := fmt.Sprint(created); !strings.Contains(got, "https://hello.apps.test:"+port) {
		t.Errorf("the app's address is not the one with TLS: %s", got)
	}

	res, body, err := i.getSecurely(ca.Pool(), "https://hello.apps.test/")
	if err != nil || res.ProtoMajor != 2 || !strings.HasPrefix(body, "https ") {
		t.Fatalf("an app over TLS: %v %v %s", err, res, body)
	}
	if res, _, err = i.getSecurely(ca.Pool(), "https://m3o.test/"); err != nil || res.StatusCode != http.StatusOK {
		t.Fatalf("the index over TLS: %v %v", err, res)
	}
	if _, _, err := i.getSecurely(ca.Pool(), "https://other.test/"); err == nil || !strings.Contains(err.Error(), "unrecognized name") {
		t.Errorf("a name without a certificate: %v", err)
	}
	for url, want := range map[string]string{
		"http://m3o.test/?a":        "https://m3o.test:" + port + "/?a",
		"http://hello.apps.test/x":  "https://hello.apps.test:" + port + "/x",
		"http://nosuch.apps.test/x": "",
		"http://apps.test/":         "", // the wildcard is not for the domain itself
		"http://localhost/":         "",
	} {
		if got := i.get(url).header.Get("Location"); got != want {
			t.Errorf("%s leads to %q, want %q", url, got, want)
		}
	}

	cert, key = ca.Issue("m3o.test", "new.test")
	certstest.Replace(t, certFile, cert)
	certstest.Replace(t, keyFile, key)
	i.await("the new certificate", func() bool {
		_, _, err := i.getSecurely(ca.Pool(), "https://new.test/")
		return err == nil
	})
	certstest.Replace(t, certFile, []byte("broken"))
	i.await("the complaint", func() bool {
		_, log := i.output()
		return strings.Contains(log, "a changed certificate cannot be used")
	})
	if _, _, err := i.getSecurely(ca.Pool(), "https://new.test/"); err != nil {
		t.Errorf("after a broken file: %v", err)
	}
}

func TestTLSSettingsThatMakeNoSenseStopTheStart(t *testing.T) {
	ca := certstest.New(t)
	certFile, keyFile := certstest.Files(t, []byte("no certificate"), []byte("no key"))
	goodCert, goodKey := ca.Issue("m3o.test")
	goodFile, goodKeyFile := certstest.Files(t, goodCert, goodKey)
	for _, test := range []struct {
		args []string
		want string
	}{
		{[]string{"--tls-cert", goodFile}, "--tls-key"},
		{[]string{"--tls-key", goodKeyFile}, "--tls-cert"},
		{[]string{"--tls-cert", certFile, "--tls-key", keyFile}, certFile},
		{[]string{"--tls-cert", goodFile, "--tls-key", goodKeyFile, "--listen-tls", "nonsense"}, "--listen-tls"},
		{[]string{"--tls-cert", goodFile, "--tls-key", goodKeyFile, "--public-url", "http://m3o.test"}, "--public-url"},
		{[]string{"--hsts"}, "--hsts"},
		{[]string{"--acme-dns-hook", "x"}, "--acme-dns-hook"},
		{[]string{"--tls", "--acme-ca", "http://ca.test/"}, "--acme-ca"},
		{[]string{"--tls", "--acme-ca-root", keyFile}, "--acme-ca-root"},
		{[]string{"--tls", "--tls-max-names", "0"}, "--tls-max-names"},
		{[]string{"--tls", "--tls-orders-per-minute", "0"}, "--tls-orders-per-minute"},
	} {
		dir := shortTempDir(t)
		args := append([]string{"serve", "--listen", "127.0.0.1:0", "--listen-tls", "127.0.0.1:0", "--admin-listen", "", "--data-dir", dir}, test.args...)
		if _, stderr, code := runProgram(t, nil, args...); code != 1 || !strings.Contains(stderr, test.want) {
			t.Errorf("%v: exit %d, %s", test.args, code, stderr)
		}
		if _, err := os.Stat(filepath.Join(dir, "ingress.db")); err == nil {
			t.Errorf("%v: the refused start made a database", test.args)
		}
	}
}

func TestARemoteIngressHasSomewhereToKeepCertificates(t *testing.T) {
	_, stderr, code := runProgram(t, nil, "serve", "--listen", "127.0.0.1:0", "--listen-tls", "127.0.0.1:0", "--admin-listen", "", "--tls", "--api-address", "http://127.0.0.1:1")
	if code != 1 || !strings.Contains(stderr, "--data-dir") || !strings.Contains(stderr, "--tls-cert") {
		t.Errorf("exit %d, %s", code, stderr)
	}
}

// acmeArgs are for a program whose authority is the given one.
func acmeArgs(ca *acmetest.Server, more ...string) []string {
	return append([]string{
		"--tls", "--acme-ca", ca.Directory, "--acme-ca-root", ca.RootFile, "--listen-tls", "127.0.0.1:0",
		"--public-url", "https://m3o.test", "--host", "localhost", "--apps-domain", "apps.test", "--functions-domain", "fn.test", "--user-host", "user.m3o.test",
	}, more...)
}

// validity is long, as Let's Encrypt's.
const validity = 90 * 24 * time.Hour

// mustShow returns the certificate that the program shows for a host.
func (i *ingress) mustShow(pool *x509.CertPool, host string) *x509.Certificate {
	i.t.Helper()
	res, _, err := i.getSecurely(pool, "https://"+host+"/")
	if err != nil {
		_, log := i.output()
		i.t.Fatalf("%s: %v\n%s", host, err, log)
	}
	return res.TLS.PeerCertificates[0]
}

func TestCertificatesAreObtainedForTheHostsServed(t *testing.T) {
	ca := acmetest.New(t, validity)
	dir := shortTempDir(t)
	i := startIngressIn(t, dir, nil, acmeArgs(ca)...)
	ca.Reach(i.listen, i.tlsAddress())
	app := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { fmt.Fprint(w, "an app") }))
	t.Cleanup(app.Close)
	i.mustCall("app/Run", fmt.Sprintf(`{"name":"hello","backend":%q}`, app.URL))

	first := i.mustShow(ca.Roots, "m3o.test")
	i.mustShow(ca.Roots, "user.m3o.test")
	if _, body, err := i.getSecurely(ca.Roots, "https://hello.apps.test/"); err != nil || body != "an app" {
		t.Errorf("the app over TLS: %v %s", err, body)
	}
	if n := ca.Orders(); n != 3 {
		t.Errorf("%d orders for three hosts", n)
	}
	for _, host := range []string{"nosuch.apps.test", "nosuch.fn.test", "a.b.apps.test", "other.test", "localhost"} {
		if _, _, err := i.getSecurely(ca.Roots, "https://"+host+"/"); err == nil || !strings.Contains(err.Error(), "unrecognized name") {
			t.Errorf("%s: %v, want the alert unrecognized_name", host, err)
		}
	}
	if n := ca.Orders(); n != 3 {
		t.Errorf("%d orders after hosts that are not served", n)
	}
	for url, want := range map[string]string{
		"http://hello.apps.test/x":  "https://hello.apps.test/x",
		"http://m3o.test/":          "https://m3o.test/",
		"http://nosuch.apps.test/x": "",
		"http://localhost/":         "",
	} {
		if got := i.get(url).header.Get("Location"); got != want {
			t.Errorf("%s leads to %q, want %q", url, got, want)
		}
	}
	if _, stderr, code := i.run(nil, "certificate", "revoke", "nosuch.apps.test"); code != 1 || !strings.Contains(stderr, "has no certificate") {
		t.Errorf("a revocation of nothing: exit %d, %s", code, stderr)
	}
	if _, stderr, code := i.run(nil, "certificate", "revoke", "user.m3o.test"); code != 0 || ca.Revoked() != 1 {
		t.Errorf("a revocation: exit %d, %s", code, stderr)
	}
	i.mustShow(ca.Roots, "user.m3o.test")
	if n := ca.Orders(); n != 4 {
		t.Errorf("%d orders after a revocation, want one more", n)
	}
	i.stop()

	ca.Stop() // nothing may be needed of it
	again := startIngressIn(t, dir, nil, acmeArgs(ca)...)
	ca.Reach(again.listen, again.tlsAddress())
	if again.mustShow(ca.Roots, "m3o.test").SerialNumber.Cmp(first.SerialNumber) != 0 || ca.Orders() != 4 {
		t.Errorf("after a restart there are %d orders, want the stored certificate", ca.Orders())
	}
	again.mustCall("app/Run", fmt.Sprintf(`{"name":"late","backend":%q}`, app.URL))
	if _, _, err := again.getSecurely(ca.Roots, "https://late.apps.test/"); err == nil {
		t.Error("a new host got a certificate without an authority")
	}
	again.await("the failure in the log", func() bool {
		_, log := again.output()
		return strings.Contains(log, "a certificate could not be obtained") && strings.Contains(log, "late.apps.test")
	})
	again.mustShow(ca.Roots, "hello.apps.test")
	figures := again.adminGet("/metrics")
	for _, want := range []string{`ingress_certificates{source="acme"} 3`, `ingress_certificate_orders_total{outcome="failed"} 1`} {
		if !strings.Contains(figures, want) {
			t.Errorf("the metrics have no %s", want)
		}
	}
}

// adminGet fetches a path of the admin listener.
func (i *ingress) adminGet(path string) string {
	i.t.Helper()
	res, err := http.Get("http://" + i.admin + path)
	if err != nil {
		i.t.Fatal(err)
	}
	defer res.Body.Close()
	body, err := io.ReadAll(res.Body)
	if err != nil {
		i.t.Fatal(err)
	}
	return string(body)
}

func TestWildcardsAreObtainedThroughAHook(t *testing.T) {
	ca := acmetest.New(t, validity)
	hook := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		var record struct{ Action, Name, Value string }
		err := json.NewDecoder(r.Body).Decode(&record)
		switch {
		case err != nil:
		case record.Action == "set":
			err = ca.DNS.Set(r.Context(), record.Name, record.Value)
		default:
			err = ca.DNS.Clear(r.Context(), record.Name, record.Value)
		}
		if err != nil {
			http.Error(w, err.Error(), http.StatusBadGateway)
		}
	}))
	t.Cleanup(hook.Close)
	i := startIngress(t, acmeArgs(ca, "--acme-dns-hook", hook.URL)...)
	ca.Reach(i.listen, i.tlsAddress())
	for host, name := range map[string]string{"nosuch.apps.test": "*.apps.test", "nosuch.fn.test": "*.fn.test"} {
		i.await("the certificate "+name, func() bool {
			res, body, err := i.getSecurely(ca.Roots, "https://"+host+"/")
			return err == nil && res.StatusCode == http.StatusNotFound && strings.Contains(body, "no") && res.TLS.PeerCertificates[0].DNSNames[0] == name
		})
	}
	i.mustShow(ca.Roots, "m3o.test")
	if n := ca.Orders(); n != 3 {
		t.Errorf("%d orders, want two wildcards and the own host", n)
	}
}

func TestARemoteIngressKeepsCertificatesInFiles(t *testing.T) {
	ca := acmetest.New(t, validity)
	backend := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { fmt.Fprint(w, "far away") }))
	t.Cleanup(backend.Close)
	var asked atomic.Int32
	platform := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		asked.Add(1)
		body, _ := io.ReadAll(r.Body)
		w.Header().Set("Content-Type", "application/json")
		if !strings.Contains(string(body), "hello") {
			w.WriteHeader(http.StatusNotFound)
			fmt.Fprint(w, `{"id":"app.resolve","code":404,"detail":"not found","status":"Not Found"}`)
			return
		}
		fmt.Fprintf(w, `{"url":%q}`, backend.URL)
	}))
	t.Cleanup(platform.Close)
	dir := shortTempDir(t)
	args := acmeArgs(ca, "--api-address", platform.URL)
	i := startIngressIn(t, dir, nil, args...)
	ca.Reach(i.listen, i.tlsAddress())
	first := i.mustShow(ca.Roots, "hello.apps.test")
	for n := range 3 {
		if _, _, err := i.getSecurely(ca.Roots, fmt.Sprintf("https://nosuch-%d.apps.test/", n)); err == nil || !strings.Contains(err.Error(), "unrecognized name") {
			t.Errorf("an app that the platform does not know: %v", err)
		}
	}
	if ca.Orders() != 1 {
		t.Errorf("%d orders", ca.Orders())
	}
	i.stop()
	platform.Close()
	ca.Stop()
	again := startIngressIn(t, dir, nil, args...)
	conn, err := tls.Dial("tcp", again.tlsAddress(), &tls.Config{RootCAs: ca.Roots, ServerName: "hello.apps.test"})
	if err != nil {
		t.Fatalf("with neither platform nor authority: %v", err)
	}
	defer conn.Close()
	if conn.ConnectionState().PeerCertificates[0].SerialNumber.Cmp(first.SerialNumber) != 0 {
		t.Error("another certificate is shown")
	}
}
