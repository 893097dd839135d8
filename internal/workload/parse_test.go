package workload_test

import (
	"errors"
	"net/url"
	"strings"
	"testing"

	"github.com/m3o/ingress/internal/workload"
)

func TestNames(t *testing.T) {
	for name, want := range map[string]error{
		"abc":                    nil,
		"007":                    nil,
		"12345":                  nil,
		strings.Repeat("a", 54):  nil,
		"":                       workload.ErrName,
		"ab":                     workload.ErrName,
		strings.Repeat("a", 55):  workload.ErrName,
		strings.Repeat("a", 1e6): workload.ErrName,
		"Hello":                  workload.ErrName,
		"hello-world":            workload.ErrName,
		"hello_world":            workload.ErrName,
		"hello.world":            workload.ErrName,
		"héllo":                  workload.ErrName,
		"hello\x00":              workload.ErrName,
		"hel\xfflo":              workload.ErrName,
		"hello\r\nX-Evil: 1":     workload.ErrName,
		"' OR 1=1 --":            workload.ErrName,
		"../../etc/passwd":       workload.ErrName,
		"api":                    workload.ErrReserved,
		"u":                      workload.ErrReserved,
		"apis":                   nil,
	} {
		if got := workload.CheckName(name); !errors.Is(got, want) || (got == nil) != (want == nil) {
			t.Errorf("%.40q: %v, want %v", name, got, want)
		}
	}
}

func TestIDs(t *testing.T) {
	for id, want := range map[string]bool{
		"hello":                               true,
		"hello-abcd1234":                      true,
		strings.Repeat("a", 54) + "-abcd1234": true,
		strings.Repeat("a", 55) + "-abcd1234": false,
		"":                                    false,
		"he":                                  false,
		"hello-":                              false,
		"-abcd1234":                           false,
		"hello-abcd":                          false,
		"hello-abcd1234-abcd1234":             false,
		"hello-ABCD1234":                      false,
		"hello'; DROP TABLE workloads; --":    false,
		"hello\r\n":                           false,
		"hel\xfflo":                           false,
	} {
		if got := workload.ValidID(id); got != want {
			t.Errorf("%q: %v, want %v", id, got, want)
		}
	}
}

// backends are addresses and what they become, or "" when they are refused.
var backends = map[string]string{
	"http://10.1.2.3:8080":                    "http://10.1.2.3:8080",
	"HTTP://Example.COM/Base/":                "http://example.com/Base/",
	"https://a-b.example:443/x%2Fy":           "https://a-b.example:443/x%2Fy",
	"http://[::1]:3000/":                      "http://[::1]:3000/",
	"http://localhost":                        "http://localhost",
	"":                                        "",
	"example.com":                             "",
	"//example.com":                           "",
	"/path":                                   "",
	"ftp://example.com":                       "",
	"file:///etc/passwd":                      "",
	"javascript:alert(1)":                     "",
	"http:example.com":                        "",
	"http://":                                 "",
	"http://:8080":                            "",
	"http://example.com:":                     "",
	"http://example.com:0":                    "",
	"http://example.com:65536":                "",
	"http://example.com:http":                 "",
	"http://user:sesame@example.com":          "",
	"http://sesame@example.com":               "",
	"http://example.com/#sesame":              "",
	"http://example.com/#":                    "",
	"http://example.com/?sesame=1":            "",
	"http://example.com/?":                    "",
	"http://[fe80::1%25eth0]/":                "",
	"http://exämple.com":                      "",
	"http://exa mple.com":                     "",
	"http://example.com\r\nX-Evil: 1":         "",
	"http://example.com/\x00":                 "",
	"http://ex\xffample.com":                  "",
	"http://'; DROP TABLE workloads; --/":     "",
	"http://" + strings.Repeat("a", 254):      "",
	"http://a.b/" + strings.Repeat("a", 2038): "",
	"http://a.b/" + strings.Repeat("ü", 1000): "",
}

func TestBackendsAreParsed(t *testing.T) {
	for text, want := range backends {
		u, err := workload.ParseBackend(text)
		if want == "" {
			if !isInvalid("")(err) || strings.Contains(err.Error(), "sesame") {
				t.Errorf("%.60q: %v, %v", text, u, err)
			}
			continue
		}
		if err != nil || u.String() != want {
			t.Errorf("%q became %v, %v; want %s", text, u, err, want)
		}
	}
}

func FuzzParseBackend(f *testing.F) {
	for text := range backends {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		u, err := workload.ParseBackend(text)
		if err != nil {
			return
		}
		again, err := url.Parse(u.String())
		if err != nil || again.Host != u.Host || again.Host == "" || again.User != nil || again.Fragment != "" || again.RawQuery != "" ||
			again.Scheme != "http" && again.Scheme != "https" {
			t.Errorf("%q was taken and reads as %v, %v", text, again, err)
		}
		if same, err := workload.ParseBackend(u.String()); err != nil || same.String() != u.String() {
			t.Errorf("%q became %q, which becomes %v, %v", text, u, same, err)
		}
	})
}

var repos = map[string]bool{
	"https://github.com/m3o/m3o":               true,
	"https://user:pass@git.example/x.git":      false,
	"ssh://git@git.example:2222/x/y.git":       true,
	"git://git.example/x":                      true,
	"git@github.com:m3o/m3o.git":               true,
	"github.com/m3o/m3o":                       true,
	"":                                         false,
	"m3o":                                      false,
	"http://github.com/m3o/m3o":                false,
	"file:///etc":                              false,
	"ext::sh -c whoami":                        false,
	"https://":                                 false,
	"https://github.com":                       false,
	"https://github.com/":                      false,
	"https://github.com/a?b":                   false,
	"https://github.com/a#b":                   false,
	"ssh://-oProxyCommand=whoami/x":            false,
	"--upload-pack=whoami":                     false,
	"-oProxyCommand=whoami@example.com:x":      false,
	"github.com/m3o":                           false,
	"../../etc/passwd":                         false,
	"https://github.com/a\r\nb":                false,
	"https://git\xffhub.com/a/b":               false,
	"https://a.b/" + strings.Repeat("a", 2048): false,
}

func TestRepositoriesAreRecognised(t *testing.T) {
	for text, want := range repos {
		if got := workload.ValidRepo(text); got != want {
			t.Errorf("%.60q: %v, want %v", text, got, want)
		}
	}
}

func FuzzValidRepo(f *testing.F) {
	for text := range repos {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		if workload.ValidRepo(text) && (text == "" || text[0] == '-' || strings.ContainsAny(text, "\x00\r\n#?") || strings.Contains(text, "//-")) {
			t.Errorf("%q was taken", text)
		}
	})
}

func FuzzValidID(f *testing.F) {
	for _, id := range []string{"hello", "hello-abcd1234", "", "-", "a-b-c", "hello\x00"} {
		f.Add(id)
	}
	f.Fuzz(func(t *testing.T, text string) {
		label := len(text) <= 63 && !strings.HasPrefix(text, "-") && !strings.HasSuffix(text, "-") &&
			strings.Trim(text, "abcdefghijklmnopqrstuvwxyz0123456789-") == ""
		if workload.ValidID(text) && !label {
			t.Errorf("the id %q is no DNS label", text)
		}
		if workload.CheckName(text) == nil && !workload.ValidID(text) {
			t.Errorf("the name %q cannot be an id", text)
		}
	})
}
