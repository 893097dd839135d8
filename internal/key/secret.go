package key

import (
	"crypto/rand"
	"crypto/sha256"
	"hash/crc32"
	"strings"
)

// The format of a key, docs/decisions/0003-key-format.md: the prefix, 43 base62
// characters that carry 256 random bits, and the CRC-32 of all that in 6 more.
const (
	prefix        = "m3o_"
	randomChars   = 43
	checksumChars = 6
	secretChars   = len(prefix) + randomChars + checksumChars
)

// base62 is in ASCII order, so that a checksum compares like its number.
const base62 = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"

// hash is what is stored of a key. A key has 256 random bits, so that, unlike a
// password, it needs neither salt nor stretching.
type hash [sha256.Size]byte

func hashOf(secret string) hash { return sha256.Sum256([]byte(secret)) }

// newSecret makes a key.
func newSecret() string {
	body := make([]byte, 0, secretChars)
	body = append(body, prefix...)
	var random [64]byte
	for len(body) < len(prefix)+randomChars {
		rand.Read(random[:]) // never fails (crypto/rand)
		body = appendUniform(body, random[:], len(prefix)+randomChars)
	}
	return string(body) + checksum(string(body))
}

// appendUniform appends a character for each random byte until dst has limit
// bytes. Bytes of 248 and more are skipped: 248 is the largest multiple of 62 in
// a byte, and the rest would make the first eight characters likelier.
func appendUniform(dst, random []byte, limit int) []byte {
	const fair = 256 / len(base62) * len(base62)
	for _, b := range random {
		if len(dst) == limit {
			break
		}
		if int(b) < fair {
			dst = append(dst, base62[int(b)%len(base62)])
		}
	}
	return dst
}

// checksum returns the CRC-32 (IEEE) of body as six base62 digits, the most
// significant first.
func checksum(body string) string {
	sum := crc32.ChecksumIEEE([]byte(body))
	var digits [checksumChars]byte
	for i := range digits {
		digits[checksumChars-1-i] = base62[sum%62]
		sum /= 62
	}
	return string(digits[:])
}

// Valid reports whether the text has the format of a key: prefix, length,
// alphabet and checksum. It does not say that there is such a key.
func Valid(secret string) bool {
	if len(secret) != secretChars || !strings.HasPrefix(secret, prefix) {
		return false
	}
	for i := len(prefix); i < len(secret); i++ {
		if strings.IndexByte(base62, secret[i]) < 0 {
			return false
		}
	}
	body := secret[:secretChars-checksumChars]
	return secret[len(body):] == checksum(body)
}
