package edge

import (
	"net/http"
	"strings"
	"testing"
)

func table(t testing.TB, hosts Hosts) *hostTable {
	t.Helper()
	table, err := newHostTable(hosts, false)
	if err != nil {
		t.Fatal(err)
	}
	return table
}

func TestRouteFollowsTheOrderOfHosts(t *testing.T) {
	nested := Hosts{
		Own: []string{"m3o.com", "Status.M3O.app", "2001:db8::1"}, AppsDomain: "m3o.app", FunctionsDomain: "fn.m3o.app",
		UserHost: "user.m3o.app", PublicURL: "https://api.m3o.com:8443", URLPrefix: "https://m3o.one/u/",
		VerifyEmailURL: "https://Verify.m3o.com",
	}
	table := table(t, nested)
	for _, test := range []struct {
		host, path string
		want       match
	}{
		{"m3o.com", "/", match{kind: routeIndex}},
		{"M3O.com.:8080", "/", match{kind: routeIndex}},
		{"api.m3o.com", "/v1/url/List", match{kind: routePlatform}},
		{"m3o.one", "/u/abc", match{kind: routeLink, id: "abc"}},
		{"[2001:DB8:0::1]:80", "/", match{kind: routeIndex}},
		{"status.m3o.app", "/api/a/b", match{kind: routeAPI}},
		{"user.m3o.app", "/", match{kind: routeUser}},
		{"verify.m3o.com", "/", match{kind: routeUser}},
		{"verify.m3o.com:443", "/any/path", match{kind: routeUser}},
		{"m3o.com:65535", "/", match{kind: routeIndex}},
		{"m3o.com:65536", "/", match{kind: routeBadHost}},
		{"m3o.com:-1", "/", match{kind: routeBadHost}},
		{"m3o.com:", "/", match{kind: routeIndex}},
		{"user.m3o.app", "/any/path", match{kind: routeUser}},
		{"user.m3o.app", "/u/abc", match{kind: routeUser}},
		{"user.m3o.app", "/api/a/b", match{kind: routeAPI}},
		{"hello.m3o.app", "/api/a/b", match{kind: routeApp, id: "hello"}},
		{"hello.m3o.app", "/u/abc", match{kind: routeApp, id: "hello"}},
		{"HELLO.m3o.app", "/", match{kind: routeApp, id: "hello"}},
		{"hello-1a2b3c4d.m3o.app:443", "/", match{kind: routeApp, id: "hello-1a2b3c4d"}},
		{"007.m3o.app", "/", match{kind: routeApp, id: "007"}},
		{"hello.fn.m3o.app", "/", match{kind: routeFunction, id: "hello"}},
		{"m3o.app", "/", match{kind: routeAppsDomain}},
		{"fn.m3o.app", "/", match{kind: routeFunctionsDomain}},
		{"a.hello.m3o.app", "/", match{kind: routeUnknownHost}},
		{"a.hello.fn.m3o.app", "/", match{kind: routeUnknownHost}},
		{"ab.m3o.app", "/", match{kind: routeUnknownHost}},
		{"-hello.m3o.app", "/", match{kind: routeUnknownHost}},
		{"hello-.m3o.app", "/", match{kind: routeUnknownHost}},
		{"hel_lo.m3o.app", "/", match{kind: routeUnknownHost}},
		{strings.Repeat("a", 63) + ".m3o.app", "/", match{kind: routeApp, id: strings.Repeat("a", 63)}},
		{"evilm3o.app", "/", match{kind: routeUnknownHost}},
		{"hello.m3o.app.evil.test", "/", match{kind: routeUnknownHost}},
		{"user.m3o.app.evil.test", "/", match{kind: routeUnknownHost}},
		{"localhost", "/", match{kind: routeUnknownHost}},
		{"127.0.0.1", "/", match{kind: routeUnknownHost}},
		{"[::1]", "/", match{kind: routeUnknownHost}},
		{"", "/", match{kind: routeBadHost}},
		{"::1", "/", match{kind: routeBadHost}},
		{"[::1", "/", match{kind: routeBadHost}},
		{"[127.0.0.1]", "/", match{kind: routeBadHost}},
		{"[::1]x", "/", match{kind: routeBadHost}},
		{"hello..m3o.app", "/", match{kind: routeBadHost}},
		{".m3o.app", "/", match{kind: routeBadHost}},
		{"hello.m3o.app..", "/", match{kind: routeBadHost}},
		{"hello.m3o.app:80a", "/", match{kind: routeBadHost}},
		{"hello.m3o.app:80:80", "/", match{kind: routeBadHost}},
		{"hel lo.m3o.app", "/", match{kind: routeBadHost}},
		{"hello%2em3o.app", "/", match{kind: routeBadHost}},
		{"hello\x00.m3o.app", "/", match{kind: routeBadHost}},
		{strings.Repeat("a", 64) + ".m3o.app", "/", match{kind: routeBadHost}},
		{strings.Repeat("a.", 130) + "m3o.app", "/", match{kind: routeBadHost}},
	} {
		if got := table.route(http.MethodGet, test.host, test.path); got != test.want {
			t.Errorf("%s%s: got %v %q, want %v %q", test.host, test.path, got.kind, got.id, test.want.kind, test.want.id)
		}
	}
}

func TestHostsByDefaultAreLocalhostAndAddresses(t *testing.T) {
	table := table(t, Hosts{AppsDomain: "app.localhost", URLPrefix: "http://m3o.one/u/"})
	for host, want := range map[string]routeKind{
		"localhost:8080": routeIndex, "127.0.0.1:8080": routeIndex, "[::1]:8080": routeIndex, "192.0.2.7": routeIndex,
		"[fe80::1%25eth0]": routeIndex, "m3o.one": routeIndex,
		"app.localhost": routeAppsDomain, "hello.app.localhost": routeApp,
		"hello.localhost": routeUnknownHost, "127.0.0.1.example.com": routeUnknownHost, "127.1": routeUnknownHost, "example.com": routeUnknownHost,
	} {
		if got := table.route(http.MethodGet, host, "/").kind; got != want {
			t.Errorf("%s: got %v, want %v", host, got, want)
		}
	}
}

func TestOwnHostsServeTheIndexedPaths(t *testing.T) {
	table := table(t, testHosts)
	for path, want := range map[string]match{
		"":               {kind: routeIndex},
		"/":              {kind: routeIndex},
		"/api":           {kind: routeAPI},
		"/api/a/b":       {kind: routeAPI},
		"/v1/a/b":        {kind: routePlatform},
		"/v1":            {kind: routePlatform},
		"/u/Ab_-9":       {kind: routeLink, id: "Ab_-9"},
		"/u/a/b":         {kind: routeLink, id: "a/b"},
		"/url/abc+":      {kind: routeLink, id: "abc+"},
		"/url/resolve":   {kind: routeLink, id: "resolve"},
		"/user/tok":      {kind: routeUser, id: "tok"},
		"/favicon.ico":   {kind: routeAsset, id: "favicon.ico"},
		"/robots.txt":    {kind: routeAsset, id: "robots.txt"},
		"/app/resolve":   {kind: routeUnknownPath, id: "resolve"},
		"/apis/a/b":      {kind: routeUnknownPath},
		"/v1x":           {kind: routeUnknownPath},
		"//u/abc":        {kind: routeUnknownPath},
		"/U/abc":         {kind: routeUnknownPath},
		"/..":            {kind: routeUnknownPath},
		"*":              {kind: routeUnknownPath},
		"relative/thing": {kind: routeUnknownPath},
	} {
		if got := table.route(http.MethodGet, "own.test", path); got != want {
			t.Errorf("%q: got %v %q, want %v %q", path, got.kind, got.id, want.kind, want.id)
		}
	}
}

func TestPublicResolveComesBeforeLinks(t *testing.T) {
	table, err := newHostTable(testHosts, true)
	if err != nil {
		t.Fatal(err)
	}
	for path, want := range map[string]routeKind{
		"/url/resolve": routeResolve, "/url/Resolve": routeResolve, "/app/resolve": routeResolve, "/function/proxy": routeResolve,
		"/url/resolver": routeLink, "/u/resolve": routeLink, "/function/resolve": routeUnknownPath, "/user/resolve": routeUser,
	} {
		if got := table.route(http.MethodPost, "own.test", path).kind; got != want {
			t.Errorf("%s: got %v, want %v", path, got, want)
		}
	}
}

func TestUserHostThatIsAlsoOwnKeepsTheOtherRoutes(t *testing.T) {
	table := table(t, Hosts{Own: []string{"m3o.test"}, UserHost: "m3o.test"})
	for path, want := range map[string]routeKind{"/": routeUser, "/u/abc": routeLink, "/v1/a/b": routePlatform, "/confirm": routeUser} {
		if got := table.route(http.MethodGet, "m3o.test", path).kind; got != want {
			t.Errorf("%s: got %v, want %v", path, got, want)
		}
	}
}

func TestTraceAndConnectAreRefusedEverywhere(t *testing.T) {
	table := table(t, testHosts)
	for _, host := range []string{"own.test", "hello.app.test", "user.test", "elsewhere.test"} {
		for _, method := range []string{http.MethodTrace, http.MethodConnect} {
			if got := table.route(method, host, "/").kind; got != routeBadMethod {
				t.Errorf("%s %s: got %v", method, host, got)
			}
		}
	}
}

func TestHostsThatMakeNoSenseAreNamed(t *testing.T) {
	for _, test := range []struct {
		hosts Hosts
		want  string
	}{
		{Hosts{AppsDomain: "m3o.app", FunctionsDomain: "M3O.app."}, `"m3o.app"`},
		{Hosts{AppsDomain: "127.0.0.1"}, "apps-domain"},
		{Hosts{AppsDomain: "m3o.app:8080"}, "without a port"},
		{Hosts{FunctionsDomain: "*.m3o.sh"}, "functions-domain"},
		{Hosts{UserHost: "https://user.test"}, "user-host"},
		{Hosts{Own: []string{"ok.test", "b d"}}, `host "b d"`},
		{Hosts{Own: []string{""}}, `host ""`},
		{Hosts{PublicURL: "m3o.com"}, "public-url"},
		{Hosts{PublicURL: "ftp://m3o.com"}, "public-url"},
		{Hosts{URLPrefix: "https:///u/"}, "url-prefix"},
	} {
		_, err := newHostTable(test.hosts, false)
		if err == nil || !strings.Contains(err.Error(), test.want) {
			t.Errorf("%+v: got %v, want an error with %s", test.hosts, err, test.want)
		}
	}
}

func TestInternationalDomains(t *testing.T) {
	table := table(t, Hosts{AppsDomain: "bücher.example"})
	for _, host := range []string{"hello.xn--bcher-kva.example", "hello.BÜCHER.example", "hello.bücher.example:80"} {
		if got := table.route(http.MethodGet, host, "/"); got.kind != routeApp || got.id != "hello" {
			t.Errorf("%s: got %v %q", host, got.kind, got.id)
		}
	}
}

// FuzzRoute holds the router to the one property that keeps tenants apart: an
// app's or function's route means that the host is a valid label, a dot and that
// domain, and nothing else.
func FuzzRoute(f *testing.F) {
	for _, seed := range []string{
		"hello.m3o.app", "HELLO.M3O.APP.:80", "a.b.m3o.app", "evilm3o.app", "x.fn.m3o.app", "user.m3o.app", "[::1]:80", "127.0.0.1",
		"hello.m3o.app@evil", "hello.m3o.app:", "ﬁn.m3o.app", "hello。m3o.app", "xn--a.m3o.app", "m3o.com", "[fe80::1%m3o.app]",
	} {
		f.Add(seed, "/u/abc")
	}
	table := table(f, Hosts{
		Own: []string{"m3o.com"}, AppsDomain: "m3o.app", FunctionsDomain: "fn.m3o.app", UserHost: "user.m3o.app",
	})
	domains := map[routeKind]string{routeApp: "m3o.app", routeFunction: "fn.m3o.app"}
	f.Fuzz(func(t *testing.T, host, path string) {
		got := table.route(http.MethodGet, host, path)
		name, err := normaliseHost(host)
		if (err != nil) != (got.kind == routeBadHost) {
			t.Fatalf("%q: route %v, but normalising says %v", host, got.kind, err)
		}
		if err == nil {
			again, err := normaliseHost(bracketed(name))
			if err != nil || again != name {
				t.Fatalf("%q: normalised %q, and again %q %v", host, name, again, err)
			}
		}
		domain, tenant := domains[got.kind]
		if tenant && (!isLabel(got.id) || strings.Contains(got.id, ".") || name != got.id+"."+domain) {
			t.Fatalf("%q went to %v %q", host, got.kind, got.id)
		}
		if name != "m3o.com" && name != "user.m3o.app" && (got.kind == routeIndex || got.kind == routePlatform || got.kind == routeUser) {
			t.Fatalf("%q is treated as ours: %v", host, got.kind)
		}
	})
}

// bracketed writes a normalised host as a Host header has it.
func bracketed(name string) string {
	if strings.Contains(name, ":") {
		return "[" + name + "]"
	}
	return name
}

func BenchmarkRoute(b *testing.B) {
	table := table(b, testHosts)
	for _, host := range []string{"hello.app.test", "own.test:8080", "user.test", "127.0.0.1:8080", "nobody.test"} {
		b.Run(host, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				table.route(http.MethodGet, host, "/u/abc")
			}
		})
	}
}

func TestRouteAllocatesNothing(t *testing.T) {
	table := table(t, testHosts)
	for _, host := range []string{"hello.app.test", "own.test:8080", "user.test", "127.0.0.1:8080", "nobody.test"} {
		if n := testing.AllocsPerRun(100, func() { table.route(http.MethodGet, host, "/u/abc") }); n != 0 {
			t.Errorf("%s: %v allocations", host, n)
		}
	}
}
