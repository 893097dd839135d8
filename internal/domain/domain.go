// Package domain decides whether a host name on the internet is somebody's: by
// records that only whoever controls its zone can have made.
package domain

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"strings"
	"unicode/utf8"

	"golang.org/x/net/idna"
)

// ErrName is what Normalise says of all that is no host name on the internet.
var ErrName = errors.New("it must be a name on the internet with at least one dot, such as www.example.com")

// Normalise returns a host name as it is compared: in lower case, in ASCII (RFC
// 5891), without a trailing dot. The error is ErrName.
func Normalise(name string) (string, error) {
	if !utf8.ValidString(name) {
		return "", ErrName
	}
	host, err := idna.Lookup.ToASCII(strings.TrimSuffix(strings.TrimSpace(name), "."))
	if err != nil || len(host) > 253 || !strings.Contains(host, ".") {
		return "", ErrName
	}
	host = strings.ToLower(host)
	if again, err := idna.Lookup.ToASCII(host); err != nil || again != host {
		return "", ErrName // it is no form that others would take
	}
	for label := range strings.SplitSeq(host, ".") {
		if !isLabel(label) {
			return "", ErrName
		}
	}
	if endsInDigits(host) {
		return "", ErrName
	}
	return host, nil
}

// isLabel reports whether s is a label of a host name (RFC 1123 2.1).
func isLabel(s string) bool {
	if s == "" || len(s) > 63 || s[0] == '-' || s[len(s)-1] == '-' {
		return false
	}
	return strings.IndexFunc(s, func(r rune) bool { return r != '-' && (r < 'a' || r > 'z') && (r < '0' || r > '9') }) < 0
}

// endsInDigits reports whether the last label is a number, as in an IPv4 address:
// browsers take every such host for one.
func endsInDigits(host string) bool {
	last := host[strings.LastIndexByte(host, '.')+1:]
	return strings.Trim(last, "0123456789") == ""
}

// Record is a DNS record to be made.
type Record struct {
	// Type is CNAME or TXT.
	Type string
	// Name and Value are written as most providers want them: without trailing dots
	// and quotes.
	Name, Value string
}

// String is the record as in a zone file.
func (r Record) String() string {
	if r.Type == "TXT" {
		return fmt.Sprintf("%s. TXT %q", r.Name, r.Value)
	}
	return fmt.Sprintf("%s. %s %s.", r.Name, r.Type, r.Value)
}

// Alias is the record that makes host another name of target.
func Alias(host, target string) Record { return Record{"CNAME", host, target} }

// TenantRecord is the record that says that host is this tenant's. Its value names
// the tenant without giving its id away; it need not be secret, since nobody else
// can put it beside the name.
func TenantRecord(host, tenant string) Record {
	sum := sha256.Sum256([]byte("m3o domain\x00" + tenant + "\x00" + host))
	return Record{"TXT", "_m3o." + host, "m3o-domain=" + hex.EncodeToString(sum[:16])}
}
