package edge

import (
	"encoding/binary"
	"fmt"
	"net/http"
	"net/netip"
	"strings"
	"testing"
	"time"
)

func TestClientsMakeSoManyRequests(t *testing.T) {
	clock := newClock()
	r := newRig(t, nil, func(c *Config) {
		c.Limits.ClientRate, c.Limits.ClientBurst, c.Now = 2, 3, clock.now
		c.TrustedProxies = []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}
	})
	r.backends["hello"] = backend(t, func(w http.ResponseWriter, r *http.Request) { fmt.Fprint(w, "ok") })
	as := func(client string) reply {
		t.Helper()
		return r.get("hello.app.test/", "X-Forwarded-For", client)
	}
	for range 3 {
		if answer := as("192.0.2.1"); answer.StatusCode != 200 {
			t.Errorf("within the burst: %d", answer.StatusCode)
		}
	}
	answer := as("192.0.2.1")
	answer.wantFailure(t, http.StatusTooManyRequests, ReasonClientRate)
	if answer.Header.Get("Retry-After") != "1" {
		t.Errorf("Retry-After is %q", answer.Header.Get("Retry-After"))
	}
	if answer := as("192.0.2.2"); answer.StatusCode != 200 {
		t.Errorf("somebody else: %d", answer.StatusCode)
	}
	clock.advance(500 * time.Millisecond)
	if answer := as("192.0.2.1"); answer.StatusCode != 200 {
		t.Errorf("half a second later: %d", answer.StatusCode)
	}
	as("192.0.2.1").wantFailure(t, http.StatusTooManyRequests, ReasonClientRate)
	// All of a /64 is one client.
	for i := range 3 {
		as(fmt.Sprintf("2001:db8::%d", i+1))
	}
	as("2001:db8::ffff").wantFailure(t, http.StatusTooManyRequests, ReasonClientRate)
	if answer := as("2001:db8:0:1::1"); answer.StatusCode != 200 {
		t.Errorf("the next network: %d", answer.StatusCode)
	}
	// The proxy's own requests have no limit.
	for range 10 {
		if answer := r.get("hello.app.test/"); answer.StatusCode != 200 {
			t.Errorf("the proxy itself: %d", answer.StatusCode)
		}
	}
}

func TestClientsCannotChooseWhoTheyAre(t *testing.T) {
	clock := newClock()
	r := newRig(t, nil, func(c *Config) { c.Limits.ClientRate, c.Limits.ClientBurst, c.Now = 1, 2, clock.now })
	for i := range 5 {
		answer := r.get("own.test/robots.txt", "X-Forwarded-For", fmt.Sprintf("192.0.2.%d", i))
		if refused := answer.StatusCode == http.StatusTooManyRequests; refused != (i >= 2) {
			t.Errorf("request %d: %d", i, answer.StatusCode)
		}
	}
	// Callers of the API get it in JSON, and what they send need not be read.
	answer := r.raw("POST /v1/a/b HTTP/1.1\r\nHost: own.test\r\nConnection: close\r\nContent-Length: 3\r\n\r\nabc")
	if !strings.HasPrefix(answer, "HTTP/1.1 429") || !strings.Contains(answer, `"code":429`) {
		t.Errorf("got %q", answer)
	}
}

func TestScanningMakesTheTableGrowNoFurther(t *testing.T) {
	clock := newClock()
	rates := newClientRates(Limits{ClientRate: 1, ClientBurst: 1}, clock.now)
	regular := netip.MustParseAddr("198.51.100.1")
	for i := range uint32(3 * ratedClients) {
		if i%1000 == 0 { // who keeps coming is remembered
			if wait := rates.take(regular); (wait > 0) != (i > 0) {
				t.Fatalf("after %d others it waits for %v", i, wait)
			}
		}
		rates.take(netip.AddrFrom4([4]byte(binary.BigEndian.AppendUint32(nil, i))))
	}
	n := 0
	for i := range rates.shards {
		n += len(rates.shards[i].clients)
	}
	if n > ratedClients {
		t.Errorf("%d clients are remembered", n)
	}
}

func TestCountingAClientAllocatesNothing(t *testing.T) {
	rates := newClientRates(Limits{ClientRate: 1000, ClientBurst: 10}, time.Now)
	for _, addr := range []netip.Addr{netip.MustParseAddr("192.0.2.1"), netip.MustParseAddr("2001:db8::1")} {
		rates.take(addr)
		if n := testing.AllocsPerRun(100, func() { rates.take(addr) }); n > 0 {
			t.Errorf("%v allocations for %v", n, addr)
		}
	}
}

func BenchmarkClientRate(b *testing.B) {
	rates := newClientRates(Limits{ClientRate: 1000, ClientBurst: 10}, time.Now)
	var addrs [1 << 10]netip.Addr
	for i := range addrs {
		addrs[i] = netip.AddrFrom4([4]byte{10, 0, byte(i >> 8), byte(i)})
		rates.take(addrs[i])
	}
	b.ReportAllocs()
	b.RunParallel(func(pb *testing.PB) {
		for i := 0; pb.Next(); i++ {
			rates.take(addrs[i%len(addrs)])
		}
	})
}
