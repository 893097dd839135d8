package user

import (
	"strings"
	"unicode/utf8"

	"golang.org/x/net/idna"

	"github.com/m3o/ingress/internal/api"
)

const (
	maxEmailBytes = 254 // RFC 5321 4.5.3.1.3, without the brackets
	maxLocalBytes = 64  // RFC 5321 4.5.3.1.1
)

// normalEmail returns an address in the form in which it is stored and compared:
// without white space around it, in lower case. Two spellings of one mailbox
// thus cannot become two accounts.
//
// The part before the @ is an ASCII dot-atom (RFC 5322 3.2.3): other letters
// would need SMTPUTF8 along the whole way, and let an address look like somebody
// else's. A domain in other letters is stored in its ASCII form (RFC 5891). The
// domain has at least two labels, as in the original.
func normalEmail(email string) (string, bool) {
	email = strings.TrimSpace(email)
	at := strings.LastIndexByte(email, '@')
	if at < 1 || at > maxLocalBytes || len(email) > 4*maxEmailBytes || !utf8.ValidString(email) {
		return "", false
	}
	local := strings.ToLower(email[:at])
	domain, err := idna.Lookup.ToASCII(email[at+1:])
	if err != nil || !isDotAtom(local) || !isMailDomain(domain) {
		return "", false
	}
	email = local + "@" + strings.ToLower(domain)
	return email, len(email) <= maxEmailBytes
}

func isDotAtom(local string) bool {
	for atom := range strings.SplitSeq(local, ".") {
		if atom == "" || strings.ContainsFunc(atom, notAtomText) {
			return false
		}
	}
	return true
}

func notAtomText(r rune) bool {
	return !isLetterOrDigit(r) && !strings.ContainsRune("!#$%&'*+-/=?^_`{|}~", r)
}

func isLetterOrDigit(r rune) bool {
	return 'a' <= r && r <= 'z' || 'A' <= r && r <= 'Z' || '0' <= r && r <= '9'
}

// isMailDomain reports whether an ASCII domain may follow an @: letters, digits
// and inner hyphens, and a last label that is not a number, which would be a
// malformed IP address.
func isMailDomain(domain string) bool {
	labels := strings.Split(domain, ".")
	for _, label := range labels {
		if label == "" || len(label) > 63 || label[0] == '-' || label[len(label)-1] == '-' {
			return false
		}
		if strings.ContainsFunc(label, func(r rune) bool { return !isLetterOrDigit(r) && r != '-' }) {
			return false
		}
	}
	last := labels[len(labels)-1]
	return len(labels) > 1 && strings.Trim(last, "0123456789") != ""
}

// requireEmail returns the normal form of an address that a request must carry,
// or the API error of the method with this id.
func requireEmail(id, email string) (string, error) {
	if strings.TrimSpace(email) == "" {
		return "", api.BadRequest(id, "missing email")
	}
	normal, ok := normalEmail(email)
	if !ok {
		return "", api.BadRequest(id, "email has wrong format")
	}
	return normal, nil
}
