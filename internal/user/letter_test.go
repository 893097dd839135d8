package user

import (
	"net/url"
	"strings"
	"testing"

	"github.com/m3o/ingress/internal/mail"
)

func TestFillReplacesThePlaceholderOnly(t *testing.T) {
	l := letter{mail.Message{Text: "$code, again $code; $codes $cod $$code $micro_verification_link"}, codePlaceholder}
	if got := l.fill("$code1").Text; got != "$code1, again $code1; $code1s $cod $$code1 $micro_verification_link" {
		t.Error(got)
	}
	if l.message.Text == l.fill("x").Text {
		t.Error("the letter itself must not change")
	}
}

func FuzzFill(f *testing.F) {
	f.Add("click $micro_verification_link now", "abc")
	f.Add("$micro_verification_link$micro_verification_link", "$micro_verification_link")
	f.Add("$micro_$micro_verification_linkverification_link", "")
	f.Fuzz(func(t *testing.T, text, secret string) {
		parts := strings.Split(text, linkPlaceholder)
		got := letter{mail.Message{Text: text}, linkPlaceholder}.fill(secret).Text
		for i, part := range parts {
			var ok bool
			if got, ok = strings.CutPrefix(got, part); !ok {
				t.Fatalf("%q: part %d is not where it was", text, i)
			}
			if i < len(parts)-1 {
				if got, ok = strings.CutPrefix(got, secret); !ok {
					t.Fatalf("%q: no secret after part %d", text, i)
				}
			}
		}
		if got != "" {
			t.Errorf("%q: %q was added", text, got)
		}
	})
}

func FuzzMagicLink(f *testing.F) {
	f.Add("https://shop.example.com", "login")
	f.Add("https://shop.example.com/base/", "/login?a=b#c")
	f.Add("https://shop.example.com?x=y", "@evil.example")
	f.Add("https://shop.example.com", ".evil.example")
	f.Add("https://shop.example.com:80", "80/")
	f.Add("https://shop.example.com#", "//evil.example/")
	f.Add("https://shop.example.com", "login?to=two words")
	f.Fuzz(func(t *testing.T, address, endpoint string) {
		if optionalURL("test", "address", address) != nil || address == "" {
			return
		}
		link, err := magicLink(address, endpoint, "t0ken")
		if err != nil {
			return
		}
		want, err := url.Parse(address)
		if err != nil {
			t.Fatal(err)
		}
		got, err := url.Parse(link)
		if err != nil || got.Host != want.Host || got.Scheme != want.Scheme || got.User != nil {
			t.Fatalf("%q with %q leads to %q (%v)", address, endpoint, link, err)
		}
		if tokens := got.Query()["token"]; len(tokens) == 0 || tokens[len(tokens)-1] != "t0ken" {
			if _, err := url.ParseQuery(got.RawQuery); err == nil {
				t.Errorf("%q with %q: no token in %q", address, endpoint, link)
			}
		}
		if strings.ContainsAny(link, " \r\n\t") {
			t.Errorf("%q with %q: the link %q breaks", address, endpoint, link)
		}
	})
}

func FuzzVerificationLink(f *testing.F) {
	f.Add("https://user.m3o.com", "https://example.com/?a=b&token=x", "https://example.com/#a")
	f.Add("user.m3o.com/?page=1", "", "x y&redirectUrl=z")
	f.Fuzz(func(t *testing.T, base, success, failure string) {
		link, err := verificationLink(base, "t0ken", success, failure)
		if err != nil || strings.Contains(base, "=") || strings.Contains(base, "?") {
			return
		}
		got, err := url.Parse(link)
		if err != nil {
			t.Fatal(err)
		}
		query := got.Query()
		if query.Get("token") != "t0ken" || query.Get("redirectUrl") != success || query.Get("failureRedirectUrl") != failure {
			t.Errorf("%q does not say %q and %q", link, success, failure)
		}
	})
}
