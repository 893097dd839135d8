package domain_test

import (
	"errors"
	"strings"
	"testing"

	"github.com/m3o/ingress/internal/domain"
)

func TestNormalise(t *testing.T) {
	for name, want := range map[string]string{
		"www.example.com": "www.example.com", " WWW.Example.COM. ": "www.example.com", "bücher.example": "xn--bcher-kva.example",
		"a-b.1.example": "a-b.1.example", "xn--bcher-kva.example": "xn--bcher-kva.example",
		strings.Repeat("a", 63) + ".example": strings.Repeat("a", 63) + ".example",

		"": "", "example": "", "localhost": "", ".": "", "..": "", ".example.com": "", "a..example": "", "example.com..": "",
		"*.example.com": "", "http://example.com": "", "example.com/": "", "example.com:80": "", "a_b.example.com": "", "-a.example.com": "",
		"a-.example.com": "", "127.0.0.1": "", "1.2.3": "", "example.5": "", "[::1]": "", "::1": "", "exa mple.com": "", "a\x00.example": "",
		"0\xbc.a": "", "\uFFFD.example": "",
		strings.Repeat("a", 64) + ".example": "", strings.Repeat("a.", 126) + "example": "", "xn--a.example": "",
	} {
		got, err := domain.Normalise(name)
		if got != want || (want == "") != errors.Is(err, domain.ErrName) {
			t.Errorf("%q: got %q, %v, want %q", name, got, err, want)
		}
	}
}

func FuzzNormalise(f *testing.F) {
	f.Add("WWW.Example.COM.")
	f.Add("bücher.example")
	f.Add("1.2.3.4")
	f.Fuzz(func(t *testing.T, name string) {
		host, err := domain.Normalise(name)
		if err != nil {
			if host != "" {
				t.Errorf("%q: an error and %q", name, host)
			}
			return
		}
		if again, err := domain.Normalise(host); err != nil || again != host {
			t.Errorf("%q is %q, which is %q, %v", name, host, again, err)
		}
		if strings.ContainsAny(host, " /:_@*\x00") || host != strings.ToLower(host) || len(host) > 253 {
			t.Errorf("%q became %q", name, host)
		}
	})
}

func TestARecordIsOneTenantsForOneName(t *testing.T) {
	seen := map[string]bool{}
	for _, tenant := range []string{"alice", "bob"} {
		for _, host := range []string{"www.example.com", "example.com"} {
			r := domain.TenantRecord(host, tenant)
			if r.Type != "TXT" || r.Name != "_m3o."+host || strings.Contains(r.Value, tenant) || seen[r.Value] {
				t.Errorf("%s of %s: %v", host, tenant, r)
			}
			if again := domain.TenantRecord(host, tenant); again != r {
				t.Errorf("%v, and then %v", r, again)
			}
			seen[r.Value] = true
		}
	}
	if got := domain.Alias("www.example.com", "shop.m3o.app").String(); got != "www.example.com. CNAME shop.m3o.app." {
		t.Error(got)
	}
}
