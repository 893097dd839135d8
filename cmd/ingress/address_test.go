package main

import (
	"net/url"
	"strings"
	"testing"
)

func TestTheShortenerKnowsItself(t *testing.T) {
	a, err := newAddresses(&config{
		Listen: []string{"localhost:8080"}, PublicURL: "https://m3o.example", URLPrefix: "https://bücher.example/u/",
		AppsDomain: "m3o.app", FunctionsDomain: "m3o.sh", UserHost: "user.m3o.example",
	}, plannedAddr("127.0.0.1:8080"))
	if err != nil {
		t.Fatal(err)
	}
	for address, own := range map[string]bool{
		"https://bücher.example/u/x":            true,
		"http://xn--bcher-kva.example:80/u/x":   true,
		"https://BÜCHER.example./u/x":           true,
		"https://m3o.example/u/x":               true,
		"https://m3o.example/url/x":             true,
		"https://m3o.example/%75/x":             true,
		"https://m3o.example/users/x":           false,
		"https://m3o.example:8443/u/x":          false,
		"https://m3o.example.evil.example/u/x":  false,
		"https://other.example/u/x":             false,
		"https://hello.m3o.app/u/x":             false,
		"http://localhost:3000/u/somebody-else": false,
	} {
		u, err := url.Parse(address)
		if err != nil {
			t.Fatal(err)
		}
		if got := a.shortens(u); got != own {
			t.Errorf("%s: %v", address, got)
		}
	}
}

func TestAddressesAreDerived(t *testing.T) {
	base := config{AppsDomain: "app.localhost", FunctionsDomain: "fn.localhost", UserHost: "user.localhost"}
	for _, test := range []struct {
		name                         string
		listen, public, prefix, bind string
		wantApp, wantPrefix, wantErr string
	}{
		{"a laptop", "localhost:8080", "", "", "127.0.0.1:8080", "http://hello.app.localhost:8080", "http://localhost:8080/u/", ""},
		{"every address", ":8080", "", "", "[::]:8080", "http://hello.app.localhost:8080", "http://localhost:8080/u/", ""},
		{"port 80", "0.0.0.0:80", "", "", "0.0.0.0:80", "http://hello.app.localhost", "http://localhost/u/", ""},
		{"an IPv6 address", "[::1]:8080", "", "", "[::1]:8080", "http://hello.app.localhost:8080", "http://[::1]:8080/u/", ""},
		{"a free port", "localhost:0", "", "", "127.0.0.1:4321", "http://hello.app.localhost:4321", "http://localhost:4321/u/", ""},
		{"behind a balancer", ":8080", "https://m3o.example/", "", "[::]:8080", "https://hello.app.localhost", "https://m3o.example/u/", ""},
		{"a bare prefix", ":8080", "https://m3o.example", "m3o.one/u", "[::]:8080", "https://hello.app.localhost", "https://m3o.one/u/", ""},
		{"a public URL with a path", ":8080", "https://m3o.example/x", "", "[::]:8080", "", "", `--public-url: "https://m3o.example/x"`},
		{"a public URL with credentials", ":8080", "https://a:b@m3o.example", "", "[::]:8080", "", "", "--public-url"},
		{"a prefix with a query", ":8080", "", "https://m3o.one/?u=", "[::]:8080", "", "", `--url-prefix: "https://m3o.one/?u="`},
	} {
		t.Run(test.name, func(t *testing.T) {
			c := base
			c.Listen, c.PublicURL, c.URLPrefix = []string{test.listen}, test.public, test.prefix
			a, err := newAddresses(&c, plannedAddr(test.bind))
			if test.wantErr != "" {
				if err == nil || !strings.Contains(err.Error(), test.wantErr) {
					t.Errorf("got %v, want %q", err, test.wantErr)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if got := a.appURL("hello"); got != test.wantApp {
				t.Errorf("an app is at %s, want %s", got, test.wantApp)
			}
			if a.urlPrefix != test.wantPrefix {
				t.Errorf("the prefix is %s, want %s", a.urlPrefix, test.wantPrefix)
			}
		})
	}
}

func TestAddressesWithTLS(t *testing.T) {
	base := config{Listen: []string{":80"}, AppsDomain: "m3o.app", FunctionsDomain: "m3o.sh", UserHost: "user.m3o.example"}
	base.TLS = tlsSettings{ListenTLS: []string{":443"}, TLSCert: []string{"cert"}, TLSKey: []string{"key"}}
	for _, test := range []struct {
		name, public, host, bind, want, wantErr string
	}{
		{"nothing said", "", "", "[::]:443", "https://localhost", ""},
		{"a host", "", "m3o.example", "[::]:443", "https://m3o.example", ""},
		{"another port", "", "m3o.example", "[::]:8443", "https://m3o.example:8443", ""},
		{"a public URL", "https://m3o.example", "other.example", "[::]:8443", "https://m3o.example", ""},
		{"a plain public URL", "http://m3o.example", "", "[::]:443", "", "--public-url"},
	} {
		c := base
		c.PublicURL = test.public
		if test.host != "" {
			c.Host = []string{test.host}
		}
		a, err := newAddresses(&c, plannedAddr(test.bind))
		if test.wantErr != "" {
			if err == nil || !strings.Contains(err.Error(), test.wantErr) {
				t.Errorf("%s: %v", test.name, err)
			}
			continue
		}
		if err != nil || a.public.String() != test.want {
			t.Errorf("%s: %v, %v; want %s", test.name, a.public, err, test.want)
		}
	}
}

func TestByteSizes(t *testing.T) {
	for text, want := range map[string]byteSize{"0": 0, "65536": 64 << 10, "64KiB": 64 << 10, "4MiB": 4 << 20, "1 GiB": 1 << 30} {
		var got byteSize
		if err := got.UnmarshalText([]byte(text)); err != nil || got != want {
			t.Errorf("%q is %d, %v", text, got, err)
		}
	}
	for _, text := range []string{"", "x", "-1", "1.5MiB", "9223372036854775807KiB", "4MB", "4 MiB x"} {
		var got byteSize
		if err := got.UnmarshalText([]byte(text)); err == nil {
			t.Errorf("%q is %d", text, got)
		}
	}
	for size, want := range map[byteSize]string{0: "0", 1: "1", 1 << 10: "1KiB", 1536: "1536", 4 << 20: "4MiB", 3 << 30: "3GiB"} {
		if got := size.String(); got != want {
			t.Errorf("%d is written %s", size, got)
		}
	}
}

func FuzzByteSize(f *testing.F) {
	for _, seed := range []string{"0", "64KiB", "4MiB", "9GiB", "-1", "x"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		var size, again byteSize
		if size.UnmarshalText([]byte(text)) != nil {
			return
		}
		if size < 0 {
			t.Fatalf("%q is %d", text, size)
		}
		if err := again.UnmarshalText([]byte(size.String())); err != nil || again != size {
			t.Fatalf("%q is %d, written %s, read again %d, %v", text, size, size, again, err)
		}
	})
}
