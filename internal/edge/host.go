package edge

import (
	"errors"
	"net/netip"
	"strconv"
	"strings"

	"golang.org/x/net/idna"
)

var errHostMalformed = errors.New("not a host name")

// normaliseHost returns the host of a Host header as the host table has it:
// without port and trailing dot, lower case, in ASCII. IP addresses come back in
// their canonical form, IPv6 without brackets. It allocates only for hosts that
// are not written in that form already.
func normaliseHost(host string) (string, error) {
	if strings.HasPrefix(host, "[") {
		return normaliseIPv6(host)
	}
	host, err := cutPort(host)
	if err != nil {
		return "", err
	}
	if host, err = toASCII(strings.TrimSuffix(host, ".")); err != nil {
		return "", err
	}
	if !isHostName(host) {
		return "", errHostMalformed
	}
	return host, nil
}

func normaliseIPv6(host string) (string, error) {
	literal, rest, closed := strings.Cut(host[1:], "]")
	if _, err := cutPort(rest); err != nil || !closed || (rest != "" && rest[0] != ':') {
		return "", errHostMalformed
	}
	addr, err := netip.ParseAddr(literal)
	if err != nil || !addr.Is6() {
		return "", errHostMalformed
	}
	return addr.String(), nil
}

// cutPort takes the port off a host that is not an IPv6 literal.
func cutPort(host string) (string, error) {
	name, port, _ := strings.Cut(host, ":")
	if port == "" {
		return name, nil
	}
	if _, err := strconv.ParseUint(port, 10, 16); err != nil {
		return "", errHostMalformed
	}
	return name, nil
}

// toASCII lower-cases, and converts internationalised names (RFC 5891).
func toASCII(host string) (string, error) {
	for _, c := range []byte(host) {
		if c >= 0x80 {
			ascii, err := idna.Lookup.ToASCII(host)
			if err != nil {
				return "", errHostMalformed
			}
			return ascii, nil
		}
	}
	return strings.ToLower(host), nil
}

// isHostName reports whether host consists of dot-separated labels as RFC 1123
// 2.1 has them, underscores allowed because they do occur in internal names.
func isHostName(host string) bool {
	if host == "" || len(host) > 253 {
		return false
	}
	label := 0
	for i := range len(host) {
		switch c := host[i]; {
		case c == '.':
			if label == 0 {
				return false
			}
			label = 0
		case 'a' <= c && c <= 'z', '0' <= c && c <= '9', c == '-', c == '_':
			label++
		default:
			return false
		}
		if label > 63 {
			return false
		}
	}
	return label > 0
}

// isIP reports whether a normalised host is an IP address rather than a name.
func isIP(host string) bool {
	last := host[len(host)-1]
	if !strings.Contains(host, ":") && (last < '0' || last > '9') {
		return false
	}
	_, err := netip.ParseAddr(host)
	return err == nil
}

// isLabel reports whether s may be the id of an app or a function in a host name:
// 3 to 63 lower-case letters, digits and inner hyphens (WIRE.md 5).
func isLabel(s string) bool {
	if len(s) < 3 || len(s) > 63 || s[0] == '-' || s[len(s)-1] == '-' {
		return false
	}
	for i := range len(s) {
		if c := s[i]; (c < 'a' || c > 'z') && (c < '0' || c > '9') && c != '-' {
			return false
		}
	}
	return true
}
