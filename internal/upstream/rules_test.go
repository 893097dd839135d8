package upstream

import (
	"context"
	"errors"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"net/url"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"

	"golang.org/x/net/dns/dnsmessage"
)

func TestWhichAddressesABackendMayHave(t *testing.T) {
	const never, private, always = "never", "private", "always"
	for address, want := range map[string]string{
		"93.184.215.14": always, "2606:4700::1111": always, "2002:5db8:d70e::": always, "64:ff9b::5db8:d70e": always, "172.15.0.1": always, "172.32.0.1": always,
		"100.63.255.255": always, "100.128.0.1": always, "::ffff:93.184.215.14": always, "1.0.0.0": always,

		"127.0.0.1": private, "127.255.0.1": private, "::1": private, "10.0.0.1": private, "172.16.0.1": private, "172.31.255.255": private,
		"192.168.1.1": private, "100.64.0.1": private, "100.127.255.255": private, "fc00::1": private, "fd12::1": private, "fec0::1": private,
		"198.18.0.1": private, "192.0.0.8": private,
		"::ffff:127.0.0.1": private, "::ffff:10.0.0.1": private, "::10.0.0.1": private, "2002:7f00:1::": private, "2002:a00:1::1": private,
		"64:ff9b::7f00:1": private, "64:ff9b::10.0.0.1": private, "64:ff9b:1::1.1.1.1": private, "2001:0:0a00:1::fefe:fefe": private,
		"2001:db8::5efe:10.0.0.1": private, "2001:db8::200:5efe:192.168.0.1": private,

		"169.254.169.254": never, "169.254.0.1": never, "fe80::1": never, "fe80::1%eth0": never, "febf::1": never, "100.100.100.200": never, "168.63.129.16": never,
		"192.0.0.192": never, "fd00:ec2::254": never, "fd20:ce::254": never, "0.0.0.0": never, "0.1.2.3": never, "::": never, "224.0.0.1": never, "ff02::1": never,
		"239.255.255.255": never, "240.0.0.1": never, "255.255.255.255": never,
		"::ffff:169.254.169.254": never, "::169.254.169.254": never, "2002:a9fe:a9fe::": never, "64:ff9b::a9fe:a9fe": never, "64:ff9b:1::169.254.169.254": never, "64:ff9b:1:a9fe:a9:fe00::": never, "::ffff:0:169.254.169.254": never,
		"2001:0:a9fe:a9fe::": never, "2001:0:0102:0304::5601:5601": never, "2001:db8::5efe:169.254.169.254": never, "::ffff:0.0.0.0": never,
	} {
		for _, allowPrivate := range []bool{false, true} {
			rules := &Rules{AllowPrivate: allowPrivate}
			allowed := want == always || want == private && allowPrivate
			host := address
			if strings.Contains(address, ":") {
				host = "[" + strings.ReplaceAll(address, "%", "%25") + "]"
			}
			u, err := url.Parse("http://" + host + ":8000")
			if err != nil {
				t.Fatal(err)
			}
			for name, err := range map[string]error{
				"Check":   rules.Check(t.Context(), u),
				"dialler": rules.checkDial(net.JoinHostPort(address, "8000")),
			} {
				var forbidden *ForbiddenError
				if (err == nil) != allowed || err != nil && !errors.As(err, &forbidden) {
					t.Errorf("%s of %s, private allowed %t: %v", name, address, allowPrivate, err)
				}
			}
		}
	}
}

func TestWhichURLsABackendMayHave(t *testing.T) {
	rules := &Rules{AllowPrivate: true}
	for address, want := range map[string]string{
		"http://127.0.0.1:3000":         "",
		"https://[::1]":                 "",
		"http://127.0.0.1/base/path":    "",
		"http://localhost:3000":         "",
		"ftp://127.0.0.1":               "scheme",
		"//127.0.0.1":                   "scheme",
		"127.0.0.1":                     "scheme",
		"http:127.0.0.1":                "host",
		"http://":                       "host",
		"http://:80":                    "host",
		"http:///x":                     "host",
		"http://u:secret@127.0.0.1":     "credentials",
		"http://u@127.0.0.1":            "credentials",
		"http://127.0.0.1/#x":           "fragment",
		"http://127.0.0.1/?x":           "query",
		"http://127.0.0.1/?":            "query",
		"http://127.0.0.1:0":            "port",
		"http://127.0.0.1:65536":        "port",
		"http://127.0.0.1:99999999999":  "port",
		"http://169.254.169.254/latest": "metadata",
	} {
		u, err := url.Parse(address)
		if err != nil {
			u = &url.URL{Path: address}
		}
		err = rules.Check(t.Context(), u)
		var forbidden *ForbiddenError
		if want == "" && err != nil || want != "" && (!errors.As(err, &forbidden) || !strings.Contains(forbidden.Why, want)) {
			t.Errorf("%s: %v, want %q", address, err, want)
		}
		if err != nil && strings.Contains(err.Error(), "secret") {
			t.Errorf("the password is in %q", err)
		}
	}
}

func TestOurOwnListenersAreNoBackends(t *testing.T) {
	_, ours, _ := net.ParseCIDR("203.0.113.5/32")
	rules := &Rules{
		AllowPrivate: true,
		Listeners:    func() []netip.AddrPort { return []netip.AddrPort{netip.MustParseAddrPort("[::]:8080")} },
		Interfaces:   func() ([]net.Addr, error) { return []net.Addr{ours}, nil },
	}
	for address, allowed := range map[string]bool{
		"127.0.0.1:8080": false, "[::1]:8080": false, "127.9.9.9:8080": false, "203.0.113.5:8080": false, "[::ffff:203.0.113.5]:8080": false,
		"127.0.0.1:8081": true, "203.0.113.5:80": true, "203.0.113.6:8080": true,
	} {
		if err := rules.checkDial(address); (err == nil) != allowed {
			t.Errorf("%s: %v", address, err)
		}
	}
	rules.Interfaces = func() ([]net.Addr, error) { return nil, errors.New("no permission") }
	if err := rules.checkDial("203.0.113.6:8080"); err == nil {
		t.Error("an address that may be ours was allowed")
	}
}

// TestANameThatChangesItsAddressIsCaughtInTheDialer has a name server give a
// public address when the backend is registered, and a loopback one afterwards.
func TestANameThatChangesItsAddressIsCaughtInTheDialer(t *testing.T) {
	var hits atomic.Int64
	backend := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { hits.Add(1) }))
	defer backend.Close()
	var answer atomic.Pointer[netip.Addr]
	resolver := nameServer(t, &answer)
	port := backend.Listener.Addr().(*net.TCPAddr).Port
	address := "http://rebind.example:" + strconv.Itoa(port)
	u, err := url.Parse(address)
	if err != nil {
		t.Fatal(err)
	}
	rules := &Rules{Resolver: resolver}
	public, loopback := netip.MustParseAddr("203.0.113.1"), netip.MustParseAddr("127.0.0.1")

	answer.Store(&public)
	if err := rules.Check(t.Context(), u); err != nil {
		t.Fatalf("registering: %v", err)
	}
	answer.Store(&loopback)
	transport := New(Options{Rules: rules, Resolver: resolver})
	defer transport.CloseIdleConnections()
	var forbidden *ForbiddenError
	if err := fetch(t, transport, "GET", address, nil, nil); !errors.As(err, &forbidden) {
		t.Errorf("dialling: %v", err)
	}
	if err := rules.Check(t.Context(), u); !errors.As(err, &forbidden) {
		t.Errorf("registering again: %v", err)
	} else if text := err.Error(); !strings.Contains(text, "rebind.example") || strings.Contains(text, "127.0.0.1") {
		t.Errorf("whoever registers a name is told its address: %s", text)
	}
	if hits.Load() != 0 {
		t.Error("the backend was reached")
	}

	open := New(Options{Resolver: resolver})
	defer open.CloseIdleConnections()
	if err := fetch(t, open, "GET", address, nil, nil); err != nil || hits.Load() != 1 {
		t.Errorf("without rules: %v", err)
	}
}

// nameServer returns a resolver for which every name has the address in answer.
func nameServer(t *testing.T, answer *atomic.Pointer[netip.Addr]) *net.Resolver {
	t.Helper()
	socket, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = socket.Close() })
	go func() {
		buffer := make([]byte, 1500)
		for {
			n, from, err := socket.ReadFrom(buffer)
			if err != nil {
				return
			}
			if reply, err := dnsReply(buffer[:n], *answer.Load()); err == nil {
				_, _ = socket.WriteTo(reply, from)
			}
		}
	}()
	return &net.Resolver{PreferGo: true, Dial: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, "udp", socket.LocalAddr().String())
	}}
}

func dnsReply(query []byte, addr netip.Addr) ([]byte, error) {
	var m dnsmessage.Message
	if err := m.Unpack(query); err != nil {
		return nil, err
	}
	m.Response, m.Additionals = true, nil
	if q := m.Questions[0]; q.Type == dnsmessage.TypeA {
		m.Answers = []dnsmessage.Resource{{
			Header: dnsmessage.ResourceHeader{Name: q.Name, Class: dnsmessage.ClassINET},
			Body:   &dnsmessage.AResource{A: addr.As4()},
		}}
	}
	return m.Pack()
}

func TestANameThatDoesNotResolveIsAnError(t *testing.T) {
	u, err := url.Parse("http://nowhere.invalid")
	if err != nil {
		t.Fatal(err)
	}
	var forbidden *ForbiddenError
	if err := (&Rules{}).Check(t.Context(), u); err == nil || errors.As(err, &forbidden) {
		t.Errorf("error %v", err)
	}
}

func TestAFailedLookupDoesNotShowTheNameServer(t *testing.T) {
	u, err := url.Parse("http://nowhere.invalid")
	if err != nil {
		t.Fatal(err)
	}
	resolver := &net.Resolver{PreferGo: true, Dial: func(_ context.Context, network, _ string) (net.Conn, error) {
		return nil, &net.OpError{Op: "dial", Net: network, Err: errors.New("192.0.2.53 refused")}
	}}
	err = (&Rules{Resolver: resolver}).Check(t.Context(), u)
	if err == nil || !strings.Contains(err.Error(), "nowhere.invalid") || strings.Contains(err.Error(), "192.0.2.53") {
		t.Errorf("error %v", err)
	}
}

// FuzzDisguises checks that an IPv4 address is refused in every form it can take.
func FuzzDisguises(f *testing.F) {
	f.Add(uint32(0x7f000001))
	f.Add(uint32(0xa9fea9fe))
	f.Add(uint32(0x08080808))
	f.Fuzz(func(t *testing.T, n uint32) {
		b := [4]byte{byte(n >> 24), byte(n >> 16), byte(n >> 8), byte(n)}
		plain := netip.AddrFrom4(b)
		rules := &Rules{}
		if rules.check(netip.AddrPortFrom(plain, 80)) == nil {
			return
		}
		for _, prefix := range []string{"::ffff:0:0", "64:ff9b::", "64:ff9b:1::", "2606:4700::5efe:0:0"} {
			form := netip.MustParseAddr(prefix).As16()
			copy(form[12:], b[:])
			if err := rules.check(netip.AddrPortFrom(netip.AddrFrom16(form), 80)); err == nil {
				t.Errorf("%s is refused, %s is not", plain, netip.AddrFrom16(form))
			}
		}
		form := netip.MustParseAddr("2002::").As16()
		copy(form[2:], b[:])
		if err := rules.check(netip.AddrPortFrom(netip.AddrFrom16(form), 80)); err == nil {
			t.Errorf("%s is refused, %s is not", plain, netip.AddrFrom16(form))
		}
	})
}
