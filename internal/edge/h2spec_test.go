package edge

import (
	"encoding/xml"
	"fmt"
	"io"
	"log"
	"maps"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strconv"
	"testing"
	"time"

	"github.com/summerwind/h2spec"
	"github.com/summerwind/h2spec/config"
)

// conformance runs h2spec's tests of RFC 7540 and 7541 against a server, and
// returns those it fails, and how many it passes.
func conformance(t *testing.T, address string) (failed map[string]bool, passed int) {
	t.Helper()
	host, portText, err := net.SplitHostPort(address)
	if err != nil {
		t.Fatal(err)
	}
	port, err := strconv.Atoi(portText)
	if err != nil {
		t.Fatal(err)
	}
	report := filepath.Join(t.TempDir(), "report.xml")
	quietly(t, func() {
		_, err = h2spec.Run(&config.Config{
			Host: host, Port: port, Path: "/", TLS: true, Insecure: true, Timeout: 3 * time.Second, MaxHeaderLen: 4000, JUnitReport: report,
		})
	})
	if err != nil {
		t.Fatal(err)
	}
	content, err := os.ReadFile(report)
	if err != nil {
		t.Fatal(err)
	}
	var all struct {
		Suites []struct {
			Name  string `xml:"name,attr"`
			Cases []struct {
				Name    string    `xml:"classname,attr"`
				Failure *struct{} `xml:"failure"`
				Error   *struct{} `xml:"error"`
			} `xml:"testcase"`
		} `xml:"testsuite"`
	}
	if err := xml.Unmarshal(content, &all); err != nil {
		t.Fatal(err)
	}
	failed = make(map[string]bool)
	for _, suite := range all.Suites {
		for _, c := range suite.Cases {
			if c.Failure != nil || c.Error != nil {
				failed[suite.Name+": "+c.Name] = true
			} else {
				passed++
			}
		}
	}
	return failed, passed
}

// quietly runs f without what it prints.
func quietly(t *testing.T, f func()) {
	t.Helper()
	nowhere, err := os.OpenFile(os.DevNull, os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer nowhere.Close()
	stdout := os.Stdout
	os.Stdout = nowhere
	defer func() { os.Stdout = stdout }()
	f()
}

// TestHTTP2ConformsAsWellAsGoDoes compares with net/http's server without us: what
// we put around it must cost no conformance.
func TestHTTP2ConformsAsWellAsGoDoes(t *testing.T) {
	bare := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		fmt.Fprint(w, "hello")
	}))
	bare.EnableHTTP2, bare.Config.ErrorLog = true, log.New(io.Discard, "", 0)
	bare.StartTLS()
	t.Cleanup(bare.Close)
	gos, passed := conformance(t, bare.Listener.Addr().String())
	t.Logf("Go passes %d and fails %d: %v", passed, len(gos), gos)
	if passed < 100 {
		t.Fatalf("only %d tests were passed", passed)
	}
	r := newRig(t, nil, func(c *Config) { c.Domains = ownDomains{"127.0.0.1": "hello"} }) // the host that h2spec names
	r.backends["hello"] = backend(t, func(w http.ResponseWriter, q *http.Request) {
		_, _ = io.Copy(io.Discard, q.Body)
		fmt.Fprint(w, "hello")
	})
	address, _ := r.serveTLS()
	ours, passed := conformance(t, address)
	t.Logf("through an app %d are passed and %d failed: %v", passed, len(ours), ours)
	maps.DeleteFunc(ours, func(test string, _ bool) bool { return gos[test] })
	if len(ours) == 0 {
		return
	}
	again, _ := conformance(t, address) // some judge by the time that an answer takes
	for test := range ours {
		if again[test] {
			t.Errorf("Go's own server passes: %s", test)
		}
	}
}
