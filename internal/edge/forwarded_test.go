package edge

import (
	"crypto/tls"
	"net/http"
	"net/netip"
	"testing"
)

// trustingPrivate trusts proxies in 10.0.0.0/8, written as IPv4-mapped, and in
// one IPv6 network.
var trustingPrivate = newForwarded([]netip.Prefix{
	netip.MustParsePrefix("::ffff:10.0.0.0/104"), netip.MustParsePrefix("fd00::/8"),
})

func TestWhoCame(t *testing.T) {
	const proxy, anyone = "10.0.0.1:999", "198.51.100.1:999"
	for name, c := range map[string]struct {
		peer   string
		header http.Header
		tls    bool
		want   visitor
	}{
		"nobody in between":   {anyone, nil, false, who("198.51.100.1", "http", "a.example")},
		"over TLS":            {anyone, nil, true, who("198.51.100.1", "https", "a.example")},
		"IPv6 with a zone":    {"[fe80::1%eth0]:5", nil, false, who("fe80::1", "http", "a.example")},
		"IPv4-mapped":         {"[::ffff:198.51.100.1]:5", nil, false, who("198.51.100.1", "http", "a.example")},
		"claims of anyone":    {anyone, xff("1.2.3.4"), false, who("198.51.100.1", "http", "a.example")},
		"a trusted proxy":     {proxy, xff("1.2.3.4"), false, who("1.2.3.4", "http", "a.example")},
		"mapped proxy":        {"[::ffff:10.0.0.1]:9", xff("1.2.3.4"), false, who("1.2.3.4", "http", "a.example")},
		"without a header":    {proxy, nil, false, who("10.0.0.1", "http", "a.example")},
		"two trusted proxies": {proxy, xff("9.9.9.9, 1.2.3.4,10.9.9.9"), false, who("1.2.3.4", "http", "a.example")},
		"two lines":           {proxy, xff("9.9.9.9", "1.2.3.4", "fd00::1"), false, who("1.2.3.4", "http", "a.example")},
		"all trusted":         {proxy, xff("10.1.1.1, 10.2.2.2"), false, who("10.1.1.1", "http", "a.example")},
		"with ports":          {proxy, xff("[2001:db8::1]:80, 10.2.2.2:8080"), false, who("2001:db8::1", "http", "a.example")},
		"brackets":            {proxy, xff("[2001:db8::1]"), false, who("2001:db8::1", "http", "a.example")},
		"garbage first":       {proxy, xff("nonsense, 1.2.3.4"), false, who("1.2.3.4", "http", "a.example")},
		"garbage last":        {proxy, xff("1.2.3.4, nonsense"), false, who("10.0.0.1", "http", "a.example")},
		"garbage behind":      {proxy, xff("1.2.3.4, , 10.2.2.2"), false, who("10.2.2.2", "http", "a.example")},
		"scheme and host": {proxy, http.Header{"X-Forwarded-For": {"1.2.3.4"}, "X-Forwarded-Proto": {"http, HTTPS"}, "X-Forwarded-Host": {"b.example:444"}},
			false, who("1.2.3.4", "https", "b.example:444")},
		"bad scheme and host": {proxy, http.Header{"X-Forwarded-Proto": {"gopher"}, "X-Forwarded-Host": {"b.example/<x>"}},
			true, who("10.0.0.1", "https", "a.example")},
		"WebSocket scheme": {proxy, http.Header{"X-Forwarded-Proto": {"wss"}}, false, who("10.0.0.1", "https", "a.example")},
		"standard": {proxy, http.Header{"Forwarded": {`for=9.9.9.9;proto=http, For="[2001:db8::7]:1";Proto=HTTPS;host="b.example", for=10.2.2.2;proto=http`}},
			false, who("2001:db8::7", "https", "b.example")},
		"standard, hidden":      {proxy, http.Header{"Forwarded": {`for=1.2.3.4, for=_hidden, for=10.2.2.2`}}, false, who("10.2.2.2", "http", "a.example")},
		"standard, unknown":     {proxy, http.Header{"Forwarded": {`for=1.2.3.4, for=unknown`}}, false, who("10.0.0.1", "http", "a.example")},
		"standard, no address":  {proxy, http.Header{"Forwarded": {`proto=https`}}, false, who("10.0.0.1", "http", "a.example")},
		"standard from anyone":  {anyone, http.Header{"Forwarded": {`for=1.2.3.4`}}, false, who("198.51.100.1", "http", "a.example")},
		"the older one is more": {proxy, http.Header{"X-Forwarded-For": {"1.2.3.4"}, "Forwarded": {"for=9.9.9.9"}}, false, who("1.2.3.4", "http", "a.example")},
	} {
		t.Run(name, func(t *testing.T) {
			r := &http.Request{RemoteAddr: c.peer, Host: "a.example", Header: c.header}
			if c.tls {
				r.TLS = &tls.ConnectionState{}
			}
			if have := trustingPrivate.journey(r).visitor; have != c.want {
				t.Errorf("%+v, want %+v", have, c.want)
			}
		})
	}
}

func who(addr, scheme, host string) visitor {
	return visitor{addr: netip.MustParseAddr(addr), scheme: scheme, host: host}
}

func xff(values ...string) http.Header { return http.Header{"X-Forwarded-For": values} }

func TestAPeerWithoutAnAddressIsStillServed(t *testing.T) {
	j := trustingPrivate.journey(&http.Request{RemoteAddr: "@", Host: "a.example", Header: xff("1.2.3.4")})
	out := xff("1.2.3.4")
	j.write(out)
	if j.visitor.addr.IsValid() || out.Get("X-Forwarded-For") != "" || out.Get("Forwarded") != "" || out.Get("X-Forwarded-Host") != "a.example" {
		t.Errorf("%+v, %v", j, out)
	}
}

func TestForwardedIsWrittenAsItIsRead(t *testing.T) {
	r := &http.Request{RemoteAddr: "[fd00::1]:1", Host: "[2001:db8::9]:8080", Header: xff("2001:db8::1, 10.0.0.9")}
	out := http.Header{}
	trustingPrivate.journey(r).write(out)
	const want = `for="[2001:db8::1]";host="[2001:db8::9]:8080";proto=http, for=10.0.0.9, for="[fd00::1]"`
	if have := out.Get("Forwarded"); have != want {
		t.Errorf("%s, want %s", have, want)
	}
	elements := parseForwarded(out["Forwarded"])
	if len(elements) != 3 || elements[0].host != r.Host || elements[0].proto != "http" || elements[2].addr != netip.MustParseAddr("fd00::1") {
		t.Errorf("%+v", elements)
	}
}

// FuzzForwarded checks that anyone's claims change nothing, and that of a trusted
// proxy's the visitor is the last address that is not itself a proxy.
func FuzzForwarded(f *testing.F) {
	for _, seed := range []string{"1.2.3.4, 10.0.0.1", "[::1]:80", `for="[2001:db8::1]:1";proto=https;host="a\"b"`, "for=unknown, for=1.2.3.4", "::ffff:1.2.3.4%x", `for="`, ";=,;="} {
		f.Add(seed, seed)
	}
	f.Fuzz(func(t *testing.T, list, standard string) {
		header := http.Header{"X-Forwarded-For": {list}, "Forwarded": {standard}, "X-Forwarded-Host": {list}, "X-Forwarded-Proto": {standard}}
		for _, h := range []http.Header{header, {"Forwarded": {standard}}} {
			r := &http.Request{RemoteAddr: "198.51.100.1:9", Host: "a.example", Header: h}
			if v := trustingPrivate.journey(r).visitor; v != who("198.51.100.1", "http", "a.example") {
				t.Errorf("anyone became %+v", v)
			}
			r.RemoteAddr = "10.0.0.1:9"
			j := trustingPrivate.journey(r)
			if !j.visitor.addr.IsValid() || j.visitor.addr != j.hops[j.from] {
				t.Errorf("%+v", j)
			}
			for _, hop := range j.hops[j.from+1:] {
				if !trustingPrivate.trusts(hop) {
					t.Errorf("%s was passed over in %+v", hop, j)
				}
			}
			out := http.Header{}
			j.write(out)
			if back := parseForwarded(out["Forwarded"]); len(back) != len(j.hops) || back[j.from].host != j.visitor.host {
				t.Errorf("%q does not say %+v", out["Forwarded"], j)
			}
		}
	})
}

func BenchmarkForwarded(b *testing.B) {
	b.ReportAllocs()
	r := &http.Request{RemoteAddr: "198.51.100.1:9", Host: "a.example"}
	out := http.Header{}
	for b.Loop() {
		trustingPrivate.journey(r).write(out)
	}
}
