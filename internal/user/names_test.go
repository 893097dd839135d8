package user

import (
	"net/mail"
	"strings"
	"testing"
	"unicode"
)

func TestNormalEmail(t *testing.T) {
	for email, want := range map[string]string{
		"anna@example.com":                          "anna@example.com",
		"  ANNA@Example.Com\t":                      "anna@example.com",
		"first.last+tag@sub.example.co":             "first.last+tag@sub.example.co",
		"o'neil@example.photography":                "o'neil@example.photography",
		"anna@MÜNCHEN.example":                      "anna@xn--mnchen-3ya.example",
		"anna@xn--mnchen-3ya.example":               "anna@xn--mnchen-3ya.example",
		"a@1.example":                               "a@1.example",
		strings.Repeat("a", 64) + "@example.com":    strings.Repeat("a", 64) + "@example.com",
		strings.Repeat("a", 65) + "@example.com":    "",
		"a@" + strings.Repeat("abcde.", 50) + "com": "",
		"anna":              "",
		"@example.com":      "",
		"anna@":             "",
		"anna@localhost":    "",
		"anna@example.com.": "",
		"anna@127.0.0.1":    "",
		"anna@[127.0.0.1]":  "",
		"anna@-a.example":   "",
		"anna@a_b.example":  "",
		"a.@example.com":    "",
		".a@example.com":    "",
		"a..b@example.com":  "",
		"a b@example.com":   "",
		"a@b@example.com":   "",
		`"a"@example.com`:   "",
		"аnna@example.com":  "", // Cyrillic
		"a\x00@example.com": "",
		"\xff@example.com":  "",
		"a@\xff.com":        "",
	} {
		got, ok := normalEmail(email)
		if ok != (want != "") || ok && got != want {
			t.Errorf("%q: got %q, %v; want %q", email, got, ok, want)
		}
	}
}

func TestNormalUsername(t *testing.T) {
	for name, want := range map[string]string{
		" Anna ": "anna", "Ａｎｎａ": "anna", "ÄNNE": "änne", "A\u0308nne": "änne", "Anna Maria": "anna maria", "ﬁn": "fin",
		"\u212a": "k", "": "", " ": "", "anna@example.com": "anna@example.com", "王": "王",
	} {
		if got, ok := normalUsername(name); !ok || got != want {
			t.Errorf("%q: got %q, %v; want %q", name, got, ok, want)
		}
	}
	for _, name := range []string{"a\nb", "a\x00", "\xff", "a\u200bb", "a\u202eb", "a\ufeff", strings.Repeat("x", 129), strings.Repeat("x", 1000)} {
		if got, ok := normalUsername(name); ok {
			t.Errorf("%q became %q", name, got)
		}
	}
}

func FuzzNormalEmail(f *testing.F) {
	for _, seed := range []string{"anna@example.com", " A@B.C ", "a@MÜNCHEN.example", "a@xn--.example", "a@b\r\n.com", "a@ß.de", "a@\u3002.com"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, email string) {
		normal, ok := normalEmail(email)
		if !ok {
			return
		}
		if again, ok := normalEmail(normal); !ok || again != normal {
			t.Errorf("%q became %q, then %q, %v", email, normal, again, ok)
		}
		if parsed, err := mail.ParseAddress(normal); err != nil || parsed.Address != normal {
			t.Errorf("%q became %q, which is no address: %v", email, normal, err)
		}
		if strings.ToLower(normal) != normal || len(normal) > maxEmailBytes || strings.ContainsFunc(normal, unicode.IsSpace) {
			t.Errorf("%q became %q", email, normal)
		}
	})
}

func FuzzNormalUsername(f *testing.F) {
	for _, seed := range []string{"anna", " Ａｎｎａ", "İ", "ǅ", "ẞ", "\u00a8a", "a\u0345", "ﬃ", "Ω\u0301", "\u1e9e"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, name string) {
		normal, ok := normalUsername(name)
		if !ok {
			return
		}
		if again, ok := normalUsername(normal); !ok || again != normal {
			t.Errorf("%q became %q, then %q, %v", name, normal, again, ok)
		}
		if strings.TrimSpace(normal) != normal || strings.ContainsFunc(normal, unicode.IsControl) {
			t.Errorf("%q became %q", name, normal)
		}
	})
}
