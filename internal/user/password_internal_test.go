package user

import (
	"context"
	"errors"
	"net/http"
	"strings"
	"testing"

	"github.com/m3o/ingress/internal/api"
)

var testCost = PasswordCost{Memory: 64, Passes: 1, Threads: 1}

func TestAHashIsOfItsPasswordOnly(t *testing.T) {
	h := newHasher(testCost, 1)
	hash, err := h.hash(t.Context(), "shop", "correct horse")
	if err != nil || !strings.HasPrefix(hash, "$argon2id$v=19$m=64,t=1,p=1$") {
		t.Fatalf("%q, %v", hash, err)
	}
	again, err := h.hash(t.Context(), "shop", "correct horse")
	if err != nil || again == hash {
		t.Errorf("two hashes of one password are the same (%v)", err)
	}
	for _, test := range []struct {
		name, hash, password string
		want                 bool
	}{
		{"the password", hash, "correct horse", true},
		{"another", hash, "correct Horse", false},
		{"none", hash, "", false},
		{"no account", "", "correct horse", false},
		{"longer than any", hash, strings.Repeat("e\u0301", maxPasswordBytes), false},
	} {
		ok, stale, err := h.verify(t.Context(), "shop", test.hash, test.password)
		if ok != test.want || stale || err != nil {
			t.Errorf("%s: %v, stale %v, %v", test.name, ok, stale, err)
		}
	}
}

func TestOneAccentedLetterIsOnePassword(t *testing.T) {
	h := newHasher(testCost, 1)
	hash, err := h.hash(t.Context(), "shop", "caf\u00e9 au lait")
	if err != nil {
		t.Fatal(err)
	}
	if ok, _, err := h.verify(t.Context(), "shop", hash, "cafe\u0301 au lait"); !ok || err != nil {
		t.Errorf("%v, %v", ok, err)
	}
}

func TestAHashMadeElsewhereIsRead(t *testing.T) {
	// From RFC 9106's reference program: argon2 somesalt -id -t 2 -m 16 -p 1 <<< password.
	const hash = "$argon2id$v=19$m=65536,t=2,p=1$c29tZXNhbHQ$CTFhFdXPJO1aFaMaO6Mm5c8y7cJHAph8ArZWb2GRPPc"
	ok, stale, err := newHasher(testCost, 1).verify(t.Context(), "shop", hash, "password")
	if !ok || !stale || err != nil {
		t.Errorf("%v, stale %v, %v", ok, stale, err)
	}
}

func TestADamagedHashIsAnErrorThatDoesNotShowIt(t *testing.T) {
	good := testCost.hash("correct horse")
	for _, hash := range []string{
		"correct horse", "$2a$10$abcdefghijklmnopqrstuv", strings.Replace(good, "argon2id", "argon2i", 1),
		strings.Replace(good, "v=19", "v=16", 1), strings.Replace(good, "m=64", "m=99999999", 1), strings.Replace(good, "m=64", "m=064", 1),
		strings.Replace(good, "t=1", "t=0", 1), strings.Replace(good, "p=1", "p=0", 1), strings.Replace(good, "p=1", "p=300", 1),
		good[:len(good)-40], good + "$", good + "=",
	} {
		ok, _, err := newHasher(testCost, 1).verify(t.Context(), "shop", hash, "correct horse")
		if ok || err == nil {
			t.Errorf("%q: %v, %v", hash, ok, err)
			continue
		}
		if strings.Contains(err.Error(), hash) {
			t.Errorf("the error shows the hash: %v", err)
		}
	}
}

func TestHashingIsBoundedAndGivesUpWithItsCaller(t *testing.T) {
	h := newHasher(testCost, 1)
	if err := h.enter(t.Context(), "shop"); err != nil { // somebody else is hashing
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error)
	go func() {
		_, err := h.hash(ctx, "shop", "correct horse")
		done <- err
	}()
	cancel()
	var failed *api.Error
	if err := <-done; !errors.As(err, &failed) || failed.Code != http.StatusServiceUnavailable || failed.RetryAfter <= 0 || !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
	h.turns.leave("shop")
	if _, err := h.hash(t.Context(), "shop", "correct horse"); err != nil {
		t.Errorf("afterwards: %v", err)
	}
}

func TestCodesAreForgiving(t *testing.T) {
	seen := map[string]bool{}
	for range 1000 {
		code := newCode()
		if len(code) != codeLength || strings.Trim(code, codeLetters) != "" || normalCode(code) != code {
			t.Fatalf("the code %q", code)
		}
		seen[code] = true
	}
	if len(seen) < 999 {
		t.Errorf("1,000 codes, %d different", len(seen))
	}
	for typed, want := range map[string]string{" ab-cd 10": "ABCD10", "oOiIlL": "001111", strings.Repeat("A", 33): ""} {
		if got := normalCode(typed); got != want {
			t.Errorf("%q: got %q, want %q", typed, got, want)
		}
	}
}

func FuzzParseHash(f *testing.F) {
	f.Add(testCost.hash("correct horse"))
	f.Add("$argon2id$v=19$m=65536,t=2,p=1$c29tZXNhbHQ$CTFhFdXPJO1aFaMaO6Mm5c8y7cJHAph8ArZWb2GRPPc")
	f.Add("$argon2id$v=19$m=,t=,p=$$")
	f.Fuzz(func(t *testing.T, text string) {
		p, err := parseHash(text)
		if err != nil {
			return
		}
		if p.String() != text || !p.sane() {
			t.Errorf("%q was read as %q", text, p)
		}
	})
}

func BenchmarkHash(b *testing.B) {
	b.ReportAllocs()
	for b.Loop() {
		defaultPasswordCost.hash("correct horse")
	}
}
