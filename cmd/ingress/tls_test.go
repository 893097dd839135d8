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
	"testing"

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
