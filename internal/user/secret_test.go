package user_test

import (
	"errors"
	"strings"
	"testing"

	"github.com/m3o/ingress/internal/api/apitest"
)

func TestNothingSecretIsLogged(t *testing.T) {
	p := newPlatform(t)
	id := p.anna(t, apitest.Alice)
	session := p.login(t, apitest.Alice, password)
	token := p.token(t, apitest.Alice, "SendVerificationEmail", verificationMail("anna@example.com"))
	magic := p.token(t, apitest.Alice, "SendMagicLink", magicMail("anna@example.com"))
	code := p.code(t, apitest.Alice)
	everything := func() {
		for _, call := range [][2]string{ // in an order in which most succeed
			{"Create", object("email", "b@example.com", "password", password)},
			{"Read", object("id", id)},
			{"Update", object("id", id, "username", "anna")},
			{"Login", object("username", "anna", "password", password)},
			{"UpdatePassword", object("userId", id, "old_password", "secret old", "new_password", "secret new", "confirm_password", "secret new")},
			{"ReadSession", object("session_id", session)},
			{"VerifyEmail", object("token", token)},
			{"VerifyToken", object("token", magic)},
			{"ResetPassword", newPassword(code)},
			{"SendVerificationEmail", verificationMail("anna@example.com")},
			{"SendPasswordResetEmail", resetMail("anna@example.com")},
			{"SendMagicLink", magicMail("anna@example.com")},
			{"List", `{}`},
			{"Logout", object("session_id", session)},
			{"LogoutAll", object("user_id", id)},
			{"Delete", object("id", id)},
		} {
			p.call(t, apitest.Alice, call[0], call[1])
		}
	}
	p.mail.failWith(errors.New("connection refused"))
	everything()
	if err := p.db.Close(); err != nil {
		t.Fatal(err)
	}
	everything()
	logs := p.logs.String() + p.Logs()
	if !strings.Contains(logs, "connection refused") || !strings.Contains(logs, "database is closed") {
		t.Fatalf("the log does not tell the causes:\n%s", logs)
	}
	for _, secret := range []string{password, "secret old", "secret new", "another horse", session, token, magic, code, "argon2id", apitest.Alice} {
		if strings.Contains(logs, secret) {
			t.Errorf("the log holds %q:\n%s", secret, logs)
		}
	}
}

func TestWhatIsStoredIsNoSecret(t *testing.T) {
	p := newPlatform(t)
	p.anna(t, apitest.Alice)
	secrets := []string{
		password,
		p.login(t, apitest.Alice, password),
		p.token(t, apitest.Alice, "SendVerificationEmail", verificationMail("anna@example.com")),
		p.token(t, apitest.Alice, "SendMagicLink", magicMail("anna@example.com")),
		p.code(t, apitest.Alice),
	}
	for _, query := range []string{
		"SELECT group_concat(password || profile || username || email) FROM accounts",
		"SELECT group_concat(hash || account) FROM sessions",
		"SELECT group_concat(hash || account || success || failure) FROM verifications",
		"SELECT group_concat(hash || account) FROM login_tokens",
		"SELECT group_concat(code || account) FROM reset_codes",
	} {
		var stored string
		if err := p.db.QueryRowContext(t.Context(), query).Scan(&stored); err != nil {
			t.Fatalf("%s: %v", query, err)
		}
		for _, secret := range secrets {
			if strings.Contains(stored, secret) {
				t.Errorf("%s holds a secret", query)
			}
		}
	}
}

func TestAnErrorNeverSaysMoreThanItShould(t *testing.T) {
	p := newPlatform(t)
	p.anna(t, apitest.Alice)
	p.mail.failWith(errors.New("dial tcp 10.1.2.3:587: connection refused"))
	res := p.call(t, apitest.Alice, "SendMagicLink", magicMail("anna@example.com"))
	if strings.Contains(res.Body, "10.1.2.3") {
		t.Errorf("the caller is told our mail server's address: %s", res.Body)
	}
	if err := p.db.Close(); err != nil {
		t.Fatal(err)
	}
	res = p.call(t, apitest.Alice, "List", `{}`)
	if res.Status < 500 || strings.Contains(res.Body, "sql") {
		t.Errorf("got %d %s", res.Status, res.Body)
	}
}
