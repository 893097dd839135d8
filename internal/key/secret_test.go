package key

import (
	"strings"
	"testing"

	"pgregory.net/rapid"
)

func TestNewSecretsAreValidAndDiffer(t *testing.T) {
	seen := map[string]bool{}
	for range 1000 {
		secret := newSecret()
		if !Valid(secret) || len(secret) != 53 || !strings.HasPrefix(secret, "m3o_") {
			t.Fatalf("%q is not a key", secret)
		}
		seen[secret] = true
	}
	if len(seen) != 1000 {
		t.Errorf("1000 keys, %d different ones", len(seen))
	}
}

// The checksum is part of the format: one computed differently would refuse the
// keys of other releases.
func TestTheFormatDoesNotChange(t *testing.T) {
	body := "m3o_" + strings.Repeat("0aZ", 14) + "7"
	const want = "2hyB2x" // computed with another implementation of CRC-32
	if got := checksum(body); got != want {
		t.Errorf("the checksum of %s is %s, want %s", body, got, want)
	}
	if !Valid(body + want) {
		t.Error("a known key is refused")
	}
}

func TestEveryCharacterIsEquallyLikely(t *testing.T) {
	every := make([]byte, 256)
	for i := range every {
		every[i] = byte(i)
	}
	count := map[byte]int{}
	for _, c := range appendUniform(nil, every, 256) {
		count[c]++
	}
	if len(count) != 62 {
		t.Errorf("%d characters are in use, want 62", len(count))
	}
	for c, n := range count {
		if n != 4 {
			t.Errorf("%c stands for %d bytes, want 4", c, n)
		}
	}
}

func TestAnyOneWrongCharacterIsFound(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		random := rapid.SliceOfN(rapid.ByteRange(0, 247), randomChars, randomChars).Draw(t, "random")
		body := string(appendUniform([]byte(prefix), random, len(prefix)+randomChars))
		secret := []byte(body + checksum(body))
		if !Valid(string(secret)) {
			t.Fatalf("%s is refused", secret)
		}
		at := rapid.IntRange(0, len(secret)-1).Draw(t, "at")
		wrong := rapid.Byte().Draw(t, "wrong")
		if secret[at] == wrong {
			t.Skip("the same character")
		}
		secret[at] = wrong
		if Valid(string(secret)) {
			t.Fatalf("%q is accepted", secret)
		}
	})
}

func TestMalformedSecrets(t *testing.T) {
	good := newSecret()
	for _, bad := range []string{
		"", "m3o_", good[:52], good + "0", " " + good, good + "\n", strings.ToUpper(good),
		"m3o-" + good[4:], good[4:], strings.Repeat("m", 53), "m3o_" + strings.Repeat("é", 24) + "0",
		"m3o_" + strings.Repeat("0", 43) + "000000", "m3o_" + strings.Repeat("0", 43) + "zzzzzz",
	} {
		if Valid(bad) {
			t.Errorf("%q is accepted", bad)
		}
	}
}

func FuzzValid(f *testing.F) {
	f.Add("")
	f.Add("m3o_")
	f.Add("m3o_00000000000000000000000000000000000000000000000000")
	f.Add("m3o_'; DROP TABLE keys; --\x00\xff\n")
	f.Add(newSecret())
	f.Fuzz(func(t *testing.T, secret string) {
		if !Valid(secret) {
			return
		}
		if len(secret) != secretChars || strings.ContainsFunc(secret[4:], func(r rune) bool { return !strings.ContainsRune(base62, r) }) {
			t.Errorf("%q is accepted", secret)
		}
		if body := secret[:47]; body+checksum(body) != secret {
			t.Errorf("%q is accepted with the checksum of another", secret)
		}
	})
}

func BenchmarkValid(b *testing.B) {
	secret := newSecret()
	b.ReportAllocs()
	for b.Loop() {
		Valid(secret)
	}
}
