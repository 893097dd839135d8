package user_test

import (
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/m3o/ingress/internal/api"
	"github.com/m3o/ingress/internal/api/apitest"
)

func TestEveryMethodOfTheContractHasARow(t *testing.T) {
	if err := newPlatform(t).service.Service().Check(); err != nil {
		t.Error(err)
	}
}

func TestAnAccountIsReadBackByEachOfItsNames(t *testing.T) {
	p := newPlatform(t)
	made := p.ok(t, apitest.Alice, "Create", `{"id": " Anna-1 ", "username": " ANNA ", "email": " Anna@Example.COM ",
		"password": "correct horse", "profile": {"colour": "blue"}}`).Account
	if made.ID != "Anna-1" || made.Username != "anna" || made.Email != "anna@example.com" || made.Profile["colour"] != "blue" {
		t.Errorf("made %+v", made)
	}
	if now := p.clock.Now().Unix(); made.Created != now || made.Updated != now || made.Verified || made.VerificationDate != 0 {
		t.Errorf("made %+v at %d", made, now)
	}
	for _, by := range []string{`{"id": "Anna-1"}`, `{"username": "AnnA"}`, `{"email": "ANNA@example.com"}`} {
		res := p.call(t, apitest.Alice, "Read", by)
		if got := decode(t, res.Body).Account; got.ID != "Anna-1" || got.Profile["colour"] != "blue" {
			t.Errorf("Read %s: %s", by, res.Body)
		}
		if strings.Contains(res.Body, "argon2") || strings.Contains(res.Body, "password") {
			t.Errorf("Read %s shows the password: %s", by, res.Body)
		}
		p.refused(t, apitest.Bob, "Read", by, http.StatusNotFound, "user.read", "not found")
	}
	p.refused(t, apitest.Alice, "Read", `{}`, http.StatusBadRequest, "user.read", "missing id, username or email")
}

func TestCreateRefuses(t *testing.T) {
	p := newPlatform(t)
	p.ok(t, apitest.Alice, "Create", `{"id": "1", "username": "anna", "email": "anna@example.com", "password": "correct horse"}`)
	email := func(address string) string {
		return object("email", address, "password", password)
	}
	for _, test := range []struct {
		name, body, id, detail string
	}{
		{"a taken id", `{"id": "1", "email": "b@example.com", "password": "correct horse"}`, "users-userId-check", "account already exists"},
		{"a taken address", email("ANNA@example.com "), "users-email-check", "email already exists"},
		{"a taken username", `{"username": "Anna", "email": "b@example.com", "password": "correct horse"}`, "users-username-check", "username already exists"},
		{"no address", email(""), "users-email-format-check", "email has wrong format"},
		{"no domain", email("anna"), "users-email-format-check", "email has wrong format"},
		{"a domain of one label", email("anna@localhost"), "users-email-format-check", "email has wrong format"},
		{"a name with the address", email("Anna <anna@example.com>"), "users-email-format-check", "email has wrong format"},
		{"two addresses", email("a@example.com,b@example.com"), "users-email-format-check", "email has wrong format"},
		{"a header in the address", email("a@example.com\r\nBcc: b@example.com"), "users-email-format-check", "email has wrong format"},
		{"a quoted local part", email(`"a b"@example.com`), "users-email-format-check", "email has wrong format"},
		{"an endless address", email(strings.Repeat("a", 65) + "@example.com"), "users-email-format-check", "email has wrong format"},
		{"a short password", `{"email": "b@example.com", "password": "1234567"}`, "users-password-check", "Password is less than 8 characters"},
		{"a password of bytes", object("email", "b@example.com", "password", "ääää"), "users-password-check", "Password is less than 8 characters"},
		{"an endless password", object("email", "b@example.com", "password", strings.Repeat("x", 1025)), "users-password-check", "Password is more than 1024 bytes"},
		{"a line break in the username", object("username", "a\nb", "email", "b@example.com", "password", password), "users-username-check",
			"username has wrong format: at most 128 bytes, no control characters"},
		{"an invisible letter in the username", object("username", "an\u200bna", "email", "b@example.com", "password", password), "users-username-check",
			"username has wrong format: at most 128 bytes, no control characters"},
		{"an endless id", object("id", strings.Repeat("x", 129), "email", "b@example.com", "password", password), "users-userId-check",
			"id has wrong format: at most 128 bytes, no control characters"},
		{"an endless profile", object("email", "b@example.com", "password", password, "profile", map[string]string{"a": strings.Repeat("x", 64<<10)}), "users-profile-check",
			"profile is larger than 65536 bytes"},
	} {
		t.Run(test.name, func(t *testing.T) {
			p.refused(t, apitest.Alice, "Create", test.body, http.StatusBadRequest, test.id, test.detail)
		})
	}
	if users := p.ok(t, apitest.Alice, "List", `{}`).Users; len(users) != 1 {
		t.Errorf("a refused account was made: %+v", users)
	}
}

func TestNamesWithSQLInThemAreJustNames(t *testing.T) {
	p := newPlatform(t)
	for i, name := range []string{`'; DROP TABLE accounts; --`, `" OR ""="`, `%`, `_`, `\`, `$1`} {
		p.ok(t, apitest.Alice, "Create", object("id", name, "username", name, "email", fmt.Sprintf("a%d@example.com", i), "password", password))
	}
	p.refused(t, apitest.Alice, "Read", `{"username": "x"}`, http.StatusNotFound, "user.read", "not found")
	if got := p.ok(t, apitest.Alice, "Read", `{"id": "%"}`).Account; got.Username != "%" {
		t.Errorf("read %+v", got)
	}
	if users := p.ok(t, apitest.Alice, "List", `{}`).Users; len(users) != 6 {
		t.Errorf("%d accounts", len(users))
	}
}

func TestUpdateChangesWhatIsGiven(t *testing.T) {
	p := newPlatform(t)
	id := p.anna(t, apitest.Alice)
	p.ok(t, apitest.Alice, "VerifyEmail", object("token", p.token(t, apitest.Alice, "SendVerificationEmail", verificationMail("anna@example.com"))))
	p.ok(t, apitest.Alice, "Create", object("username", "bert", "email", "bert@example.com", "password", password))
	read := func() account { return p.ok(t, apitest.Alice, "Read", object("id", id)).Account }

	p.clock.advance(time.Hour)
	p.ok(t, apitest.Alice, "Update", object("id", id, "username", " Annika", "profile", map[string]string{"a": "b"}))
	got := read()
	if got.Username != "annika" || got.Email != "anna@example.com" || !got.Verified || got.Profile["a"] != "b" {
		t.Errorf("after a new username and profile: %+v", got)
	}
	if got.Updated != p.clock.Now().Unix() || got.Created == got.Updated {
		t.Errorf("made %d, updated %d", got.Created, got.Updated)
	}
	p.ok(t, apitest.Alice, "Update", object("id", id, "email", "ANNA@example.com"))
	if got := read(); !got.Verified || got.Profile["a"] != "b" {
		t.Errorf("the same address again: %+v", got)
	}
	p.ok(t, apitest.Alice, "Update", object("id", id, "email", "annika@example.com"))
	if got := read(); got.Email != "annika@example.com" || got.Verified || got.VerificationDate != 0 {
		t.Errorf("a new address must be verified again: %+v", got)
	}

	before := read()
	for _, test := range []struct{ name, body, id, detail string }{
		{"a taken address", object("id", id, "username", "new", "email", "BERT@example.com"), "users-email-check", "email already exists"},
		{"a taken username", object("id", id, "username", "Bert", "email", "new@example.com"), "users-username-check", "username already exists"},
		{"no address", object("id", id, "email", "x"), "users-email-format-check", "email has wrong format"},
		{"no id", object("username", "x"), "user.update", "missing id"},
	} {
		t.Run(test.name, func(t *testing.T) {
			p.refused(t, apitest.Alice, "Update", test.body, http.StatusBadRequest, test.id, test.detail)
		})
	}
	p.refused(t, apitest.Alice, "Update", `{"id": "nobody", "username": "x"}`, http.StatusNotFound, "user.update", "not found")
	p.refused(t, apitest.Bob, "Update", object("id", id, "username", "x"), http.StatusNotFound, "user.update", "not found")
	if after := read(); fmt.Sprint(after) != fmt.Sprint(before) {
		t.Errorf("a refused update changed %+v to %+v", before, after)
	}
}

func TestDeleteTakesEverythingAlong(t *testing.T) {
	p := newPlatform(t)
	id := p.anna(t, apitest.Alice)
	session := p.login(t, apitest.Alice, password)
	verification := p.token(t, apitest.Alice, "SendVerificationEmail", verificationMail("anna@example.com"))
	magic := p.token(t, apitest.Alice, "SendMagicLink", magicMail("anna@example.com"))
	code := p.code(t, apitest.Alice)

	p.ok(t, apitest.Bob, "Delete", object("id", id))
	p.ok(t, apitest.Alice, "Read", object("id", id))
	p.ok(t, apitest.Alice, "Delete", object("id", id))
	p.ok(t, apitest.Alice, "Delete", object("id", id))
	p.refused(t, apitest.Alice, "Delete", `{}`, http.StatusBadRequest, "user.delete", "missing id")

	// The same account made again inherits nothing.
	p.ok(t, apitest.Alice, "Create", object("id", id, "username", "anna", "email", "anna@example.com", "password", "another password"))
	p.refused(t, apitest.Alice, "ReadSession", object("session_id", session), http.StatusNotFound, "user.readsession", "not found")
	p.refused(t, apitest.Alice, "VerifyEmail", object("token", verification), http.StatusBadRequest, "user.verifytoken", "token not found")
	p.refused(t, apitest.Alice, "ResetPassword", newPassword(code), http.StatusBadRequest, "user.resetpassword", "invalid code")
	if got := p.ok(t, apitest.Alice, "VerifyToken", object("token", magic)); got.IsValid || got.Session.ID != "" {
		t.Errorf("the magic link still works: %+v", got)
	}
	to, err := p.service.VerifyLink(t.Context(), verification)
	if !isClientError(err) || to.Failure != "https://shop.example.com/no" {
		t.Errorf("the link of a deleted account leads to %+v, %v", to, err)
	}
}

func isClientError(err error) bool {
	e := api.AsError("test", err)
	return err != nil && e.Code >= 400 && e.Code < 500
}

func TestListPages(t *testing.T) {
	p := newPlatform(t)
	for i := range 60 {
		p.ok(t, apitest.Alice, "Create", object("id", fmt.Sprintf("%02d", i), "email", fmt.Sprintf("u%d@example.com", i), "password", password))
		if i%3 == 0 { // some share an instant
			p.clock.advance(time.Second)
		}
	}
	p.ok(t, apitest.Bob, "Create", object("id", "bobs", "email", "u1@example.com", "password", password))
	for _, test := range []struct {
		body  string
		first string
		count int
	}{
		{`{}`, "00", 25},
		{`{"offset": 25}`, "25", 25},
		{`{"offset": 50}`, "50", 10},
		{`{"limit": 7, "offset": 3}`, "03", 7},
		{`{"limit": "7", "offset": "3"}`, "03", 7},
		{`{"limit": 4294967295}`, "00", 60},
		{`{"offset": 60}`, "", 0},
		{`{"offset": 4294967295}`, "", 0},
	} {
		users := p.ok(t, apitest.Alice, "List", test.body).Users
		if len(users) != test.count || test.count > 0 && users[0].ID != test.first {
			t.Errorf("List %s: %d accounts from %+v", test.body, len(users), users[:min(1, len(users))])
		}
		for i := 1; i < len(users); i++ {
			if users[i-1].ID >= users[i].ID {
				t.Errorf("List %s: %s before %s", test.body, users[i-1].ID, users[i].ID)
			}
		}
	}
	if users := p.ok(t, apitest.Bob, "List", `{}`).Users; len(users) != 1 || users[0].ID != "bobs" {
		t.Errorf("bob sees %+v", users)
	}
}
