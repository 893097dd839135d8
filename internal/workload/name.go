package workload

import (
	"crypto/rand"
	"slices"
	"strings"
)

// Lengths of names in bytes. An id is at most a name, a hyphen and a suffix,
// which together must fit a DNS label of 63 (WIRE.md 5).
const (
	minName      = 3
	maxName      = 54
	suffixLength = 8
	maxID        = maxName + 1 + suffixLength
)

// reservedNames lead to the ingress itself, or look as if they did (WIRE.md 5).
func reservedNames() []string {
	return []string{"www", "api", "app", "fn", "user", "admin", "mail", "u", "url", "v1", "docs", "localhost"}
}

// CheckName returns ErrName for a name that is malformed and ErrReserved for one
// that nobody may have.
func CheckName(name string) error {
	if slices.Contains(reservedNames(), name) {
		return ErrReserved
	}
	if len(name) < minName || len(name) > maxName || strings.IndexFunc(name, notAlphanumeric) >= 0 {
		return ErrName
	}
	return nil
}

// ValidID reports whether id could be one: a name, or a name with a suffix.
func ValidID(id string) bool {
	if len(id) > maxID {
		return false
	}
	name, suffix, suffixed := strings.Cut(id, "-")
	if len(name) < minName || len(name) > maxName || strings.IndexFunc(name, notAlphanumeric) >= 0 {
		return false
	}
	return !suffixed || len(suffix) == suffixLength && strings.IndexFunc(suffix, notAlphanumeric) < 0
}

func notAlphanumeric(r rune) bool { return (r < 'a' || r > 'z') && (r < '0' || r > '9') }

// randomSuffix returns what is put after a name that is taken: 40 random bits,
// so that trying twice is already unlikely to be needed.
func randomSuffix() string { return strings.ToLower(rand.Text()[:suffixLength]) }
