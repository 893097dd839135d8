package edge

import (
	"net/http"
	"slices"
	"strings"
	"testing"
)

var tenantDomains = []string{"app.example.com", "fn.example.net"}

func TestCookiesForSiblingsAreConfined(t *testing.T) {
	for in, want := range map[string]string{
		"a=1":                                                               "a=1",
		"a=1; Domain=app.example.com":                                       "a=1",
		"a=1; Domain=.app.example.com":                                      "a=1",
		"a=1; Domain=..app.example.com..":                                   "a=1",
		"a=1; Domain=APP.Example.COM":                                       "a=1",
		"a=1; DOMAIN=app.example.com":                                       "a=1",
		"a=1;domain=app.example.com":                                        "a=1",
		"a=1; Domain = app.example.com ":                                    "a=1",
		"a=1;\tDomain\t=\tapp.example.com\t":                                "a=1",
		"a=1; Domain=\"app.example.com\"":                                   "a=1",
		"a=1; Domain=app.example.com.":                                      "a=1",
		"a=1; Domain=example.com":                                           "a=1",
		"a=1; Domain=com":                                                   "a=1",
		"a=1; Domain=net":                                                   "a=1",
		"a=1; Domain=ａｐｐ.example.com":                                       "a=1",
		"a=1; Domain=app。example。com":                                       "a=1",
		"a=1; Domain=\xff.example.com":                                      "a=1",
		"a=1; Path=/; Domain=example.com; Secure; SameSite=Lax":             "a=1; Path=/; Secure; SameSite=Lax",
		"a=1;Path=/ ;Domain=example.com;; Secure ;":                         "a=1;Path=/ ;; Secure ;",
		"a=1; Domain=example.com; Domain=other.org; Domain=app.example.com": "a=1; Domain=other.org",
		// Not for siblings: byte for byte as they came.
		"a=1; Domain=shop.app.example.com": "a=1; Domain=shop.app.example.com",
		"a=1; Domain=other.example.com":    "a=1; Domain=other.example.com",
		"a=1; Domain=pp.example.com":       "a=1; Domain=pp.example.com",
		"a=1; Domain=":                     "a=1; Domain=",
		"a=1; Domain":                      "a=1; Domain",
		"a=1; Domains=example.com":         "a=1; Domains=example.com",
		"a=Domain=example.com; Path=/x":    "a=Domain=example.com; Path=/x",
		"Domain=example.com":               "Domain=example.com",
		"a=1; Path=/Domain=example.com ;x": "a=1; Path=/Domain=example.com ;x",
		"":                                 "",
	} {
		if have := confineCookie(in, tenantDomains); have != want {
			t.Errorf("%q became %q, want %q", in, have, want)
		}
	}
}

// FuzzConfineCookie checks against a browser's reading of what is left: no cookie
// reaches a second tenant, and one that never would is not touched.
func FuzzConfineCookie(f *testing.F) {
	for _, seed := range []string{
		"a=1; Domain=example.com", "a=1; Domain=.App.Example.Com.; Path=/", "a=1; domain=\"example.com\"", "a=1;;Domain=com;",
		"a=1; Domain=shop.app.example.com", "a=1; Domain = example.com ; Secure", "a=1; Domain=\u212Aom", "=; Domain=net",
	} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, cookie string) {
		confined := confineCookie(cookie, tenantDomains)
		h := http.Header{"Set-Cookie": {confined}}
		for _, c := range (&http.Response{Header: h}).Cookies() {
			domain := strings.ToLower(strings.TrimPrefix(c.Domain, "."))
			for _, tenant := range tenantDomains {
				if domain != "" && (tenant == domain || strings.HasSuffix(tenant, "."+domain)) {
					t.Errorf("%q became %q, which reaches %s", cookie, confined, tenant)
				}
			}
		}
		if again := confineCookie(confined, tenantDomains); again != confined {
			t.Errorf("%q became %q, and that %q", cookie, confined, again)
		}
		if !strings.Contains(strings.ToLower(cookie), "domain") && confined != cookie {
			t.Errorf("%q became %q", cookie, confined)
		}
		kept := strings.Split(confined, ";")
		for _, part := range strings.Split(cookie, ";") {
			if len(kept) > 0 && kept[0] == part {
				kept = slices.Delete(kept, 0, 1)
			}
		}
		if len(kept) > 0 {
			t.Errorf("%q became %q: %q is new", cookie, confined, kept)
		}
	})
}
