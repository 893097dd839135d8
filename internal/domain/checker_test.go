package domain_test

import (
	"context"
	"fmt"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/miekg/dns"

	"github.com/m3o/ingress/internal/domain"
	"github.com/m3o/ingress/internal/domain/domaintest"
)

func checker(t *testing.T) (*domaintest.Zone, *domain.Checker) {
	zone := domaintest.NewZone(t)
	return zone, &domain.Checker{Servers: []string{zone.Address}}
}

func TestAliases(t *testing.T) {
	zone, c := checker(t)
	zone.Set(t, "www.example.com. CNAME Shop.Apps.Example.", "far.example.com. CNAME a.example.com.", "a.example.com. CNAME www.example.com.",
		"other.example.com. CNAME another.apps.example.", "round.example.com. CNAME round.example.com.", "apex.example.com. A 127.0.0.1",
		"above.example.com. CNAME apps.example.", "below.example.com. CNAME x.shop.apps.example.")
	for host, want := range map[string]bool{
		"www.example.com": true, "WWW.example.com": true, "far.example.com": true, "other.example.com": false, "round.example.com": false,
		"apex.example.com": false, "above.example.com": false, "below.example.com": false, "nothing.example.com": false,
	} {
		if got, err := c.IsAlias(t.Context(), host, "shop.apps.example"); err != nil || got != want {
			t.Errorf("%s: %t, %v, want %t", host, got, err, want)
		}
	}
}

func TestTXT(t *testing.T) {
	zone, c := checker(t)
	want := domain.TenantRecord("www.example.com", "alice")
	var many []string // more than fit into a datagram
	for n := range 100 {
		many = append(many, fmt.Sprintf(`_m3o.www.example.com. TXT "m3o-domain=%032d"`, n))
	}
	for name, row := range map[string]struct {
		records []string
		has     bool
	}{
		"none":          {nil, false},
		"it":            {[]string{want.String()}, true},
		"in two parts":  {[]string{want.Name + `. TXT "` + want.Value[:10] + `" "` + want.Value[10:] + `"`}, true},
		"among others":  {append(many, want.String()), true},
		"only others":   {many, false},
		"not all of it": {[]string{want.Name + `. TXT "` + want.Value[:20] + `"`}, false},
		"another's":     {[]string{domain.TenantRecord("www.example.com", "bob").String()}, false},
		"at the name":   {[]string{`www.example.com. TXT "` + want.Value + `"`}, false},
	} {
		zone.Set(t, row.records...)
		if got, err := c.Has(t.Context(), want); err != nil || got != row.has {
			t.Errorf("%s: %t, %v, want %t", name, got, err, row.has)
		}
	}
}

func TestServersThatCannotTell(t *testing.T) {
	zone, c := checker(t)
	want := domain.TenantRecord("www.example.com", "alice")
	zone.Set(t, want.String())
	zone.Fail(dns.RcodeServerFailure)
	if has, err := c.Has(t.Context(), want); has || err == nil || !strings.Contains(err.Error(), "SERVFAIL") {
		t.Errorf("SERVFAIL: %t, %v", has, err)
	}
	if alias, err := c.IsAlias(t.Context(), "www.example.com", "x.example"); alias || err == nil {
		t.Errorf("SERVFAIL: %t, %v", alias, err)
	}
	zone.Fail(dns.RcodeSuccess)

	silent, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer silent.Close()
	c.Servers = []string{silent.LocalAddr().String()}
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	if has, err := c.Has(ctx, want); has || err == nil {
		t.Errorf("a silent server: %t, %v", has, err)
	}
	c.Servers = []string{"127.0.0.1:1", zone.Address} // the first refuses
	if has, err := c.Has(t.Context(), want); !has || err != nil {
		t.Errorf("the second server: %t, %v", has, err)
	}
}
