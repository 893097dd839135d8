package edge

import (
	"bufio"
	"errors"
	"io"
	"net"
	"net/http"
	"net/netip"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// visit opens a connection, sends a request and reads its answer.
func visit(t *testing.T, address string) net.Conn {
	t.Helper()
	conn := dial(t, address)
	again(t, conn)
	return conn
}

// again uses a kept connection.
func again(t *testing.T, conn net.Conn) {
	t.Helper()
	if _, err := io.WriteString(conn, "GET /robots.txt HTTP/1.1\r\nHost: own.test\r\n\r\n"); err != nil {
		t.Fatal(err)
	}
	res, err := http.ReadResponse(bufio.NewReader(conn), nil)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := io.Copy(io.Discard, res.Body); err != nil {
		t.Fatal(err)
	}
}

// wantClosed waits for the other side to close without a word.
func wantClosed(t *testing.T, conn net.Conn) {
	t.Helper()
	if n, err := conn.Read(make([]byte, 1)); n > 0 || err == nil || errors.Is(err, errTimeout) {
		t.Errorf("read %d bytes, %v", n, err)
	}
}

var errTimeout = os.ErrDeadlineExceeded

// figure returns the metric of this name whose only label has this value.
func figure(t testing.TB, metrics prometheus.Gatherer, name, label string) float64 {
	t.Helper()
	families, err := metrics.Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, family := range families {
		for _, m := range family.GetMetric() {
			if family.GetName() == name && len(m.GetLabel()) > 0 && m.GetLabel()[0].GetValue() == label {
				return m.GetCounter().GetValue() + m.GetGauge().GetValue()
			}
		}
	}
	t.Fatalf("there is no %s of %s", name, label)
	return 0
}

func (r *rig) connections(state connState) int { return r.edge.conns.count(state) }

func TestTheLongestIdleConnectionMakesRoom(t *testing.T) {
	r := newRig(t, nil, func(c *Config) { c.Limits.Connections = 2 })
	first := visit(t, r.addr)
	eventually(t, "the first is idle", func() bool { return r.connections(connIdle) == 1 })
	second := visit(t, r.addr)
	eventually(t, "both are idle", func() bool { return r.connections(connIdle) == 2 })
	again(t, first) // so that the second is idle for longer
	eventually(t, "both are idle again", func() bool { return r.connections(connIdle) == 2 })
	third := visit(t, r.addr)
	wantClosed(t, second)
	again(t, first)
	again(t, third)
}

// Whoever takes all places and says nothing keeps others out for a moment only.
func TestWhoSaysNothingMakesRoom(t *testing.T) {
	clock := newClock()
	r := newRig(t, nil, func(c *Config) { c.Limits.Connections, c.Now = 2, clock.now })
	first := dial(t, r.addr)
	eventually(t, "the first is there", func() bool { return r.connections(connNew) == 1 })
	clock.advance(firstWord / 2)
	second := dial(t, r.addr)
	if _, err := io.WriteString(second, "GET / HTTP/1.1\r\nHost: "); err != nil { // a beginning is not enough
		t.Fatal(err)
	}
	eventually(t, "both are there", func() bool { return r.connections(connNew) == 2 })
	clock.advance(firstWord/2 - time.Millisecond)
	wantClosed(t, dial(t, r.addr)) // they may still ask for something
	clock.advance(time.Millisecond)
	visitor := visit(t, r.addr)
	wantClosed(t, first)
	again(t, visitor)
	if _, err := io.WriteString(second, "own.test\r\n\r\n"); err != nil {
		t.Fatal(err)
	}
	if res, err := http.ReadResponse(bufio.NewReader(second), nil); err != nil || res.StatusCode != 200 {
		t.Errorf("the second: %v, %v", res, err)
	}
}

func TestWhoIsServedMakesNoRoom(t *testing.T) {
	inside, leave := make(chan struct{}, 2), make(chan struct{})
	metrics := prometheus.NewRegistry()
	r := newRig(t, func(w http.ResponseWriter, _ *http.Request) {
		inside <- struct{}{}
		<-leave
	}, func(c *Config) { c.Limits.Connections, c.Metrics, c.Now = 2, metrics, newClock().now })
	var served []net.Conn
	for range 2 {
		conn := dial(t, r.addr)
		if _, err := io.WriteString(conn, "GET /v1/x/y HTTP/1.1\r\nHost: own.test\r\n\r\n"); err != nil {
			t.Fatal(err)
		}
		served = append(served, conn)
		<-inside
	}
	for range 3 {
		wantClosed(t, dial(t, r.addr))
	}
	if refused := figure(t, metrics, "ingress_connections_refused_total", limitTotal); refused != 3 {
		t.Errorf("%v are counted as refused", refused)
	}
	if active := figure(t, metrics, "ingress_connections", "active"); active != 2 {
		t.Errorf("%v are counted as active", active)
	}
	if n := strings.Count(r.log.String(), "--max-connections"); n != 1 {
		t.Errorf("the log says %d times what to change", n)
	}
	close(leave)
	for _, conn := range served {
		if res, err := http.ReadResponse(bufio.NewReader(conn), nil); err != nil || res.StatusCode != 200 {
			t.Errorf("%v, %v", res, err)
		}
	}
	eventually(t, "both are idle", func() bool { return r.connections(connIdle) == 2 })
	visit(t, r.addr)
}

func TestOneClientHasSoManyConnections(t *testing.T) {
	r := newRig(t, nil, func(c *Config) { c.Limits.ClientConnections = 2 })
	first, second := visit(t, r.addr), visit(t, r.addr)
	wantClosed(t, dial(t, r.addr))
	again(t, second)
	if !strings.Contains(r.log.String(), "--max-client-connections") {
		t.Error("the log does not say what to change")
	}
	first.Close()
	eventually(t, "it has one less", func() bool {
		return r.connections(connIdle)+r.connections(connActive)+r.connections(connNew) == 1
	})
	visit(t, r.addr)
}

func TestTrustedProxiesHaveNoLimitOfTheirOwn(t *testing.T) {
	r := newRig(t, nil, func(c *Config) {
		c.Limits.ClientConnections = 1
		c.TrustedProxies = []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}
	})
	for range 5 {
		visit(t, r.addr)
	}
}

// echoing is a backend that speaks a protocol in which all is said twice, if asked
// for it, and answers otherwise.
func echoing(t *testing.T) Backend {
	return backend(t, func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Upgrade") == "" {
			return
		}
		conn, _, err := http.NewResponseController(w).Hijack()
		if err != nil {
			t.Error(err)
			return
		}
		defer conn.Close()
		_, _ = io.WriteString(conn, "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: echo\r\n\r\n")
		_, _ = io.Copy(conn, conn)
	})
}

// upgrade opens a connection to an echoing backend.
func (r *rig) upgrade(host string) (net.Conn, *bufio.Reader) {
	r.t.Helper()
	conn := dial(r.t, r.addr)
	if _, err := io.WriteString(conn, "GET / HTTP/1.1\r\nHost: "+host+"\r\nConnection: Upgrade\r\nUpgrade: echo\r\n\r\n"); err != nil {
		r.t.Fatal(err)
	}
	in := bufio.NewReader(conn)
	if res, err := http.ReadResponse(in, nil); err != nil || res.StatusCode != http.StatusSwitchingProtocols {
		r.t.Fatalf("%v, %v", res, err)
	}
	return conn, in
}

func TestUpgradedConnectionsKeepTheirPlace(t *testing.T) {
	r := newRig(t, nil, func(c *Config) { c.Limits.Connections = 1 })
	r.backends["hello"] = echoing(t)
	conn, in := r.upgrade("hello.app.test")
	eventually(t, "it is upgraded", func() bool { return r.connections(connUpgraded) == 1 })
	wantClosed(t, dial(t, r.addr))
	// What is no HTTP passes as it is, whatever it looks like.
	const text = "POST / HTTP/1.1\n\x00Content-Length: +1\r\n\n"
	if _, err := io.WriteString(conn, text); err != nil {
		t.Fatal(err)
	}
	got := make([]byte, len(text))
	if _, err := io.ReadFull(in, got); err != nil || string(got) != text {
		t.Errorf("got %q, %v", got, err)
	}
	conn.Close()
	eventually(t, "its place is free", func() bool { return r.connections(connUpgraded) == 0 })
	visit(t, r.addr)
}

func TestAnIPv6ClientIsANetwork(t *testing.T) {
	c := newConnections(Limits{}, func(netip.Addr) bool { return false }, nil, time.Now)
	at := func(s string) netip.Addr {
		return c.client(&net.TCPAddr{IP: net.ParseIP(s)})
	}
	if at("2001:db8::1") != at("2001:db8::ffff:1") || at("2001:db8::1") == at("2001:db8:0:1::1") {
		t.Error("IPv6 clients are not counted by /64")
	}
	if at("192.0.2.1") == at("192.0.2.2") || at("::ffff:192.0.2.1") != at("192.0.2.1") {
		t.Error("IPv4 clients are not counted by address")
	}
	if c.client(&net.UnixAddr{Name: "/x"}).IsValid() {
		t.Error("a socket without addresses has one")
	}
}
