package main_test

import (
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/miekg/dns"

	"github.com/m3o/ingress/internal/certs/acmetest"
	"github.com/m3o/ingress/internal/domain/domaintest"
)

// records are what the command asks for, as lines of a zone.
func records(t *testing.T, stdout string) (alias, text string) {
	t.Helper()
	for line := range strings.Lines(stdout) {
		switch f := strings.Fields(line); {
		case len(f) == 3 && f[0] == "CNAME":
			alias = f[1] + ". CNAME " + f[2] + "."
		case len(f) == 3 && f[0] == "TXT":
			text = f[1] + `. TXT "` + f[2] + `"`
		}
	}
	return alias, text
}

// TestADomainOfOnesOwn follows an owner from the first try to a page under the own
// name, with a certificate, and away again.
func TestADomainOfOnesOwn(t *testing.T) {
	zone := domaintest.NewZone(t)
	ca := acmetest.New(t, validity)
	dir := shortTempDir(t)
	args := acmeArgs(ca, "--dns-server", zone.Address)
	i := startIngressIn(t, dir, nil, args...)
	ca.Reach(i.listen, i.tlsAddress())
	cli := func(i *ingress, args ...string) (stdout, stderr string, code int) {
		_, port, _ := net.SplitHostPort(i.listen)
		return i.run([]string{"INGRESS_ADDRESS=http://localhost:" + port}, args...)
	}
	must := func(i *ingress, args ...string) string {
		t.Helper()
		stdout, stderr, code := cli(i, args...)
		if code != 0 {
			t.Fatalf("%v: exit code %d\n%s%s", args, code, stdout, stderr)
		}
		return stdout
	}
	var seen string
	backend := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		seen = r.Header.Get("X-Forwarded-Host")
		fmt.Fprint(w, "the shop")
	}))
	t.Cleanup(backend.Close)
	i.mustCall("app/Run", fmt.Sprintf(`{"name":"shop","backend":%q}`, backend.URL))
	i.mustCall("app/Run", fmt.Sprintf(`{"name":"other","backend":%q}`, backend.URL))

	stdout, stderr, code := cli(i, "app", "domain", "add", "shop", "WWW.Example.COM.")
	alias, text := records(t, stdout)
	if code == 0 || alias != "www.example.com. CNAME shop.apps.test." || !strings.HasPrefix(text, "_m3o.www.example.com. TXT") || !strings.Contains(stderr, "no record") {
		t.Fatalf("without a record: exit code %d\n%s%s", code, stdout, stderr)
	}
	t.Logf("the owner sees\n%s%s", stdout, stderr)
	if a := i.get("http://www.example.com/"); a.status != 404 {
		t.Errorf("before: %d", a.status)
	}
	if _, _, err := i.getSecurely(ca.Roots, "https://www.example.com/"); err == nil || ca.Orders() != 0 {
		t.Errorf("before, over TLS: %v, %d orders", err, ca.Orders())
	}

	zone.Fail(dns.RcodeServerFailure)
	if _, stderr, code := cli(i, "app", "domain", "add", "shop", "www.example.com"); code == 0 || strings.Count(stderr, "SERVFAIL") != 1 {
		t.Errorf("a DNS server that fails: exit code %d\n%s", code, stderr)
	}
	zone.Fail(dns.RcodeSuccess)
	zone.Set(t, alias)
	must(i, "app", "domain", "add", "shop", "www.example.com")
	if _, body, err := i.getSecurely(ca.Roots, "https://www.example.com/"); err != nil || body != "the shop" || seen != "www.example.com" {
		t.Errorf("over TLS: %v, %q; the shop saw the host %q", err, body, seen)
	}
	if got := i.get("http://www.example.com/x").header.Get("Location"); got != "https://www.example.com/x" {
		t.Errorf("without TLS it leads to %q", got)
	}
	if got := must(i, "app", "get", "shop"); !strings.Contains(got, "www.example.com") {
		t.Errorf("shown as\n%s", got)
	}
	if got := must(i, "explain", "https://www.example.com/"); !strings.Contains(got, "shop") {
		t.Errorf("explained as\n%s", got)
	}
	// One that is the tenant's moves without being asked for again.
	asked := zone.Asked()
	must(i, "app", "domain", "add", "other", "www.example.com")
	if zone.Asked() != asked || len(i.service("shop")["custom_domains"].([]any)) != 0 {
		t.Errorf("moved: the DNS was asked %d times, and the shop has %v", zone.Asked()-asked, i.service("shop")["custom_domains"])
	}
	for _, ours := range []string{"m3o.test", "user.m3o.test", "apps.test", "new.apps.test", "a.b.apps.test", "fn.test", "x.fn.test"} {
		if _, stderr, code := cli(i, "app", "domain", "add", "shop", ours); code == 0 || !strings.Contains(stderr, "given by this ingress") {
			t.Errorf("%s: exit code %d, %s", ours, code, stderr)
		}
	}
	if _, stderr, code := cli(i, "app", "domain", "add", "shop", "http://example.com"); code == 0 || !strings.Contains(stderr, "such as www.example.com") {
		t.Errorf("a URL: exit code %d, %s", code, stderr)
	}
	i.stop()

	again := startIngressIn(t, dir, nil, args...)
	ca.Reach(again.listen, again.tlsAddress())
	if _, body, err := again.getSecurely(ca.Roots, "https://www.example.com/"); err != nil || body != "the shop" || ca.Orders() != 1 {
		t.Errorf("after a restart: %v, %q, %d orders", err, body, ca.Orders())
	}
	must(again, "app", "domain", "remove", "other", "www.example.com")
	if a := again.get("http://www.example.com/"); a.status != 404 || a.header.Get("X-Ingress-Error") != "unknown_host" {
		t.Errorf("removed, it answers %d", a.status)
	}
	// The certificate is shown until it expires: a page explains more than an alert.
	if res, _, err := again.getSecurely(ca.Roots, "https://www.example.com/"); err != nil || res.StatusCode != 404 {
		t.Errorf("removed, over TLS: %v, %v", res, err)
	}
}

// TestAnotherTenantNeedsMoreThanAnAlias: what points here may be left over from
// whoever had the name before.
func TestAnotherTenantNeedsMoreThanAnAlias(t *testing.T) {
	zone := domaintest.NewZone(t)
	i := startIngress(t, "--dns-server", zone.Address)
	p := newPair(t, i, "domain")
	p.must(p.b, "app/Run", map[string]any{"name": "theirs", "backend": p.backend})
	add := func(key, app string) map[string]any {
		t.Helper()
		return p.must(key, "app/AddDomain", map[string]any{"name": app, "domain": "www.example.com"})
	}
	zone.Set(t, "www.example.com. CNAME "+p.name+".app.localhost.")
	if got := add(p.a, p.name); got["accepted"] != true {
		t.Fatalf("an alias: %v", got)
	}
	zone.Set(t, "www.example.com. CNAME theirs.app.localhost.")
	got := add(p.b, "theirs")
	missing, _ := got["records"].([]any)
	if got["accepted"] != false || len(missing) != 1 {
		t.Fatalf("another's alias: %v", got)
	}
	text := missing[0].(map[string]any)
	zone.Set(t, fmt.Sprintf("%s. TXT %q", text["name"], text["value"]))
	if got := add(p.a, p.name); got["accepted"] != true {
		t.Errorf("it is a's until somebody else has proved it: %v", got)
	}
	if got := add(p.b, "theirs"); got["accepted"] != true {
		t.Errorf("a record that names the tenant: %v", got)
	}
	if got := add(p.a, p.name); got["accepted"] != false {
		t.Errorf("the record that names b serves a: %v", got)
	}
}
