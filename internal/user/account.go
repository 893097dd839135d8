package user

import (
	"maps"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"golang.org/x/text/unicode/norm"

	"github.com/m3o/ingress/internal/api"
	userpb "github.com/m3o/ingress/proto/user"
)

// account is one user of a tenant's product.
type account struct {
	tenant   string
	id       string
	username string // normal form, or empty
	email    string // normal form
	password string // PHC hash
	profile  map[string]string
	created  time.Time
	updated  time.Time
	verified time.Time // zero when the address is not verified
}

// Bounds of what a tenant may keep with an account.
const (
	maxIDBytes       = 128
	maxUsernameBytes = 128
	maxProfileBytes  = 64 << 10
)

// message returns the account as the contract shows it; the password is not part
// of that.
func (a account) message() *userpb.Account {
	return &userpb.Account{
		Id:               a.id,
		Username:         a.username,
		Email:            a.email,
		Created:          a.created.Unix(),
		Updated:          a.updated.Unix(),
		Verified:         !a.verified.IsZero(),
		VerificationDate: unixOrZero(a.verified),
		Profile:          maps.Clone(a.profile),
	}
}

func unixOrZero(t time.Time) int64 {
	if t.IsZero() {
		return 0
	}
	return t.Unix()
}

// normalUsername returns a username in the form in which it is stored and
// compared: without white space around it, compatibility characters composed
// (Unicode NFKC), in lower case. "Ａｎｎａ", " anna" and "ANNA" are one name.
// Spaces inside are allowed, as in the original; control, format and unassigned
// characters are not, because they make two names look the same.
func normalUsername(name string) (string, bool) {
	if len(name) > 4*maxUsernameBytes || !utf8.ValidString(name) {
		return "", false
	}
	name = norm.NFKC.String(strings.ToLower(norm.NFKC.String(name)))
	name = strings.TrimSpace(name)
	ok := len(name) <= maxUsernameBytes && !strings.ContainsFunc(name, func(r rune) bool { return !unicode.IsGraphic(r) })
	return name, ok
}

// checkUsername returns the normal form or the API error; an account may have
// no username.
func checkUsername(name string) (string, error) {
	normal, ok := normalUsername(name)
	if !ok {
		return "", api.BadRequest("users-username-check", "username has wrong format: at most %d bytes, no control characters", maxUsernameBytes)
	}
	return normal, nil
}

// checkID returns the id without white space around it, or the API error. Ids
// are the tenant's own and compared exactly.
func checkID(id string) (string, error) {
	id = strings.TrimSpace(id)
	if len(id) > maxIDBytes || !utf8.ValidString(id) || strings.ContainsFunc(id, func(r rune) bool { return !unicode.IsGraphic(r) }) {
		return "", api.BadRequest("users-userId-check", "id has wrong format: at most %d bytes, no control characters", maxIDBytes)
	}
	return id, nil
}

func checkProfile(profile map[string]string) error {
	size := 0
	for name, value := range profile {
		size += len(name) + len(value)
	}
	if size > maxProfileBytes {
		return api.BadRequest("users-profile-check", "profile is larger than %d bytes", maxProfileBytes)
	}
	return nil
}
