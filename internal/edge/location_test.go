package edge

import (
	"net/http"
	"net/url"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func relocationFor(t testing.TB, backend string) relocation {
	u := parseBackend(t, backend)
	return newRelocation(&u, visitor{scheme: "https", host: "shop.app.example.com"})
}

func TestAddressesOfTheBackendBecomeTheVisitors(t *testing.T) {
	const us = "https://shop.app.example.com"
	for _, c := range []struct{ backend, ref, want string }{
		{"http://b.example:80", "http://b.example/x?y#z", us + "/x?y#z"},
		{"http://b.example", "http://b.example:80/x", us + "/x"},
		{"http://b.example", "HTTP://B.Example./x", us + "/x"},
		{"http://b.example", "http://b.example", us},
		{"http://b.example", "http://b.example?q", us + "?q"},
		{"http://b.example", "//b.example/x", us + "/x"},
		{"https://b.example:8443", "https://b.example:8443/x", us + "/x"},
		{"http://[::1]:9", "http://[::1]:9/a%2Fb", us + "/a%2Fb"},
		{"http://b.example/base", "http://b.example/base/x", us + "/x"},
		{"http://b.example/base/", "http://b.example/base", us + "/"},
		{"http://b.example/base", "http://b.example/base?q", us + "/?q"},
		{"http://b.example/base", "/base/x", "/x"},
		{"http://b.example/base", "/base", "/"},
		// A path with an empty segment is no host, and does not become one.
		{"http://b.example/base", "/base//evil.example/", us + "//evil.example/"},
		{"http://b.example/base", "/base/\\evil.example/", us + "/\\evil.example/"},
		{"http://b.example/base", "/base/\t/evil.example/", us + "/\t/evil.example/"},
		// Elsewhere, or out of a visitor's reach: as it came.
		{"http://b.example", "http://b.example.org/x", "http://b.example.org/x"},
		{"http://b.example", "http://evilb.example/x", "http://evilb.example/x"},
		{"http://b.example", "http://b.example:81/x", "http://b.example:81/x"},
		{"http://b.example", "https://b.example/x", "https://b.example/x"},
		{"http://b.example", "http://b.example@evil.example/", "http://b.example@evil.example/"},
		{"http://b.example", "http://u@b.example/", "http://u@b.example/"},
		{"http://b.example", "/x", "/x"},
		{"http://b.example", "x", "x"},
		{"http://b.example", "", ""},
		{"http://b.example", "?a=http://b.example/", "?a=http://b.example/"},
		{"http://b.example/base", "http://b.example/based", "http://b.example/based"},
		{"http://b.example/base", "http://b.example/", "http://b.example/"},
		{"http://b.example/base", "/other", "/other"},
	} {
		if have := relocationFor(t, c.backend).address(c.ref); have != c.want {
			t.Errorf("backend %s: %q became %q, want %q", c.backend, c.ref, have, c.want)
		}
	}
}

func TestWhichHeadersHoldAddresses(t *testing.T) {
	h := http.Header{
		"Location":         {"http://b.example/a"},
		"Content-Location": {"http://b.example/b"},
		"Refresh":          {"5; url=http://b.example/c"},
		"Link":             {"<http://b.example/d>"},
	}
	relocationFor(t, "http://b.example").apply(h)
	want := http.Header{
		"Location":         {"https://shop.app.example.com/a"},
		"Content-Location": {"https://shop.app.example.com/b"},
		"Refresh":          {"5; url=https://shop.app.example.com/c"},
		"Link":             {"<http://b.example/d>"},
	}
	if diff := cmp.Diff(want, h); diff != "" {
		t.Error(diff)
	}
}

func TestRefresh(t *testing.T) {
	l := relocationFor(t, "http://b.example")
	for in, want := range map[string]string{
		"0;URL='http://b.example/x'":      "0;URL='https://shop.app.example.com/x'",
		"0, url = \"http://b.example/x\"": "0, url = \"https://shop.app.example.com/x\"",
		"0;url='http://b.example/x":       "0;url='https://shop.app.example.com/x",
		"0;url='http://b.example/x' y":    "0;url='https://shop.app.example.com/x' y",
		"0;url=http://other.example/":     "0;url=http://other.example/",
		"5":                               "5",
		"5;":                              "5;",
		"5; ur":                           "5; ur",
		"5; url":                          "5; url",
		"5; url=":                         "5; url=",
		"":                                "",
	} {
		if have := l.refresh(in); have != want {
			t.Errorf("%q became %q, want %q", in, have, want)
		}
	}
}

// FuzzRelocation checks that what is not the backend's stays, and that what is
// leads to the visitor's origin and keeps its end.
func FuzzRelocation(f *testing.F) {
	for _, seed := range []string{"http://b.example/base/x", "//b.example/base", "/base/x?y", "5;url='http://b.example/base/'", "http://b.example:80/base#x", "http://u@b.example/"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, ref string) {
		l := relocationFor(t, "http://b.example/base")
		have := l.address(ref)
		_ = l.refresh(ref)
		if have == ref {
			return
		}
		was, err := url.Parse(ref)
		if err != nil {
			return // what no one can parse leads nowhere
		}
		if was.Host != "" && !strings.EqualFold(strings.TrimSuffix(was.Hostname(), "."), "b.example") {
			t.Errorf("%q became %q", ref, have)
		}
		if !strings.HasPrefix(have, l.origin+"/") && !strings.HasPrefix(have, "/") {
			t.Errorf("%q became %q", ref, have)
		}
	})
}
