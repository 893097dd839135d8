package main

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"strings"
	"sync"
	"testing"

	"golang.org/x/net/dns/dnsmessage"

	"github.com/m3o/ingress/internal/upstream"
)

// zone is a name server whose names have one list of addresses after the other, a
// new one for each time that one is asked for.
type zone struct {
	mu    sync.Mutex
	names map[string][][]string
}

// resolver returns a resolver that asks this server alone.
func (z *zone) resolver(t *testing.T) *net.Resolver {
	t.Helper()
	socket, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		buffer := make([]byte, 1500)
		for {
			n, from, err := socket.ReadFrom(buffer)
			if err != nil {
				return
			}
			if reply, err := z.reply(buffer[:n]); err == nil {
				_, _ = socket.WriteTo(reply, from) // who is not answered asks again, or fails
			}
		}
	}()
	t.Cleanup(func() { _ = socket.Close(); <-ended })
	return &net.Resolver{PreferGo: true, Dial: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, "udp", socket.LocalAddr().String())
	}}
}

func (z *zone) reply(query []byte) ([]byte, error) {
	var m dnsmessage.Message
	if err := m.Unpack(query); err != nil {
		return nil, err
	}
	m.Response, m.Additionals = true, nil
	q := m.Questions[0]
	name := strings.TrimSuffix(q.Name.String(), ".")
	z.mu.Lock()
	defer z.mu.Unlock()
	lists := z.names[name]
	if len(lists) == 0 {
		m.RCode = dnsmessage.RCodeNameError
		return m.Pack()
	}
	header := dnsmessage.ResourceHeader{Name: q.Name, Class: dnsmessage.ClassINET}
	for _, text := range lists[0] {
		addr := netip.MustParseAddr(text)
		switch {
		case q.Type == dnsmessage.TypeA && addr.Is4():
			m.Answers = append(m.Answers, dnsmessage.Resource{Header: header, Body: &dnsmessage.AResource{A: addr.As4()}})
		case q.Type == dnsmessage.TypeAAAA && addr.Is6():
			m.Answers = append(m.Answers, dnsmessage.Resource{Header: header, Body: &dnsmessage.AAAAResource{AAAA: addr.As16()}})
		}
	}
	if q.Type == dnsmessage.TypeA && len(lists) > 1 {
		z.names[name] = lists[1:]
	}
	return m.Pack()
}

// TestHostsOfRepositoriesAreJudgedByTheAddressesThatAreReturned checks that what a
// name has for an address is either refused or handed on to be connected to: there
// is no second lookup that could bring another.
func TestHostsOfRepositoriesAreJudgedByTheAddressesThatAreReturned(t *testing.T) {
	z := &zone{names: map[string][][]string{
		"public.example":  {{"203.0.113.1"}},
		"rebind.example":  {{"203.0.113.1"}, {"127.0.0.1"}},
		"private.example": {{"10.1.2.3"}},
		"mixed.example":   {{"203.0.113.1", "127.0.0.1"}},
		"mapped.example":  {{"::ffff:127.0.0.1"}},
		"cloud.example":   {{"169.254.169.254"}},
	}}
	resolver := z.resolver(t)
	const why = "--allow-private-backends"
	for _, row := range []struct {
		host    string
		private bool
		want    string // the addresses, or words of the error
	}{
		{"public.example", false, "[203.0.113.1]"},
		{"rebind.example", false, "[203.0.113.1]"}, // which is what git connects to
		{"rebind.example", false, why},
		{"private.example", false, why},
		{"mixed.example", false, why},
		{"mapped.example", false, why},
		{"127.0.0.1", false, why},
		{"::1", false, why},
		{"fe80::1%eth0", true, "link-local"},
		{"private.example", true, "[10.1.2.3]"},
		{"127.0.0.1", true, "[127.0.0.1]"},
		{"cloud.example", true, "metadata"},
		{"none.example", true, "no such name"},
	} {
		lookup := repoHosts(&upstream.Rules{AllowPrivate: row.private, Resolver: resolver})
		addrs, err := lookup(t.Context(), row.host, 22)
		got := fmt.Sprint(addrs)
		if err != nil {
			got = err.Error()
		}
		if !strings.Contains(got, row.want) || err != nil && (addrs != nil || strings.Contains(got, "10.1.2.3")) {
			t.Errorf("%s, private allowed %t: %s, want %s", row.host, row.private, got, row.want)
		}
	}
	ours := &upstream.Rules{AllowPrivate: true, Resolver: resolver, Listeners: func() []netip.AddrPort {
		return []netip.AddrPort{netip.MustParseAddrPort("127.0.0.1:443")}
	}}
	if addrs, err := repoHosts(ours)(t.Context(), "127.0.0.1", 443); err == nil {
		t.Errorf("the ingress itself can be fetched from, at %v", addrs)
	}
	if addrs, err := repoHosts(ours)(t.Context(), "127.0.0.1", 22); err != nil {
		t.Errorf("another port of this machine: %v, %v", addrs, err)
	}
}
