package user_test

import (
	"errors"
	"log/slog"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/m3o/ingress/internal/api/apitest"
	"github.com/m3o/ingress/internal/mail"
	"github.com/m3o/ingress/internal/user"
)

var discard = slog.New(slog.DiscardHandler)

func newPassword(code string) string {
	return object("email", "Anna@example.com", "code", code, "new_password", "another horse", "confirm_password", "another horse")
}

func TestAVerificationLinkVerifiesAgainAndAgain(t *testing.T) {
	p := newPlatform(t)
	p.anna(t, apitest.Alice)
	p.ok(t, apitest.Alice, "SendVerificationEmail", verificationMail("ANNA@example.com"))
	sent := p.mail.last(t)
	if sent.To != "anna@example.com" || sent.FromName != "Shop" || sent.Subject != "Please verify" {
		t.Errorf("sent %+v", sent)
	}
	link := linkIn(t, sent.Text)
	token := link.Query().Get("token")
	want := "Hi, click https://user.example.com?token=" + token +
		"&redirectUrl=https%3A%2F%2Fshop.example.com%2Fok%3Fa%3Db&failureRedirectUrl=https%3A%2F%2Fshop.example.com%2Fno now"
	if sent.Text != want {
		t.Errorf("the text is %q, want %q", sent.Text, want)
	}

	body := object("token", token)
	p.refused(t, apitest.Bob, "VerifyEmail", body, http.StatusBadRequest, "user.verifytoken", "token not found")
	if p.ok(t, apitest.Alice, "Read", `{"username": "anna"}`).Account.Verified {
		t.Fatal("another tenant verified it")
	}
	first := p.clock.Now().Unix()
	for range 3 {
		if res := p.call(t, apitest.Alice, "VerifyEmail", body); res.Status != http.StatusOK || strings.TrimSpace(res.Body) != "{}" {
			t.Errorf("got %d %s", res.Status, res.Body)
		}
		p.clock.advance(time.Hour)
	}
	if got := p.ok(t, apitest.Alice, "Read", `{"username": "anna"}`).Account; !got.Verified || got.VerificationDate != first {
		t.Errorf("the account is %+v, want it verified at %d", got, first)
	}
	p.clock.advance(21 * time.Hour)
	p.refused(t, apitest.Alice, "VerifyEmail", body, http.StatusBadRequest, "user.verifytoken", "token expired")
	p.refused(t, apitest.Alice, "VerifyEmail", `{"token": "x"}`, http.StatusBadRequest, "user.verifytoken", "token not found")
	p.refused(t, apitest.Alice, "VerifyEmail", `{}`, http.StatusBadRequest, "user.verifytoken", "missing token")
}

func TestAnIngressBeforeUsVerifiesForAllTenants(t *testing.T) {
	p := newPlatform(t)
	p.anna(t, apitest.Alice)
	token := p.token(t, apitest.Alice, "SendVerificationEmail", verificationMail("anna@example.com"))
	p.ok(t, apitest.Operator, "VerifyEmail", object("token", token))
	if !p.ok(t, apitest.Alice, "Read", `{"username": "anna"}`).Account.Verified {
		t.Error("it is not verified")
	}
}

func TestALinkLeadsToTheRightPlaceForThirtyDays(t *testing.T) {
	p := newPlatform(t)
	p.anna(t, apitest.Alice)
	token := p.token(t, apitest.Alice, "SendVerificationEmail", verificationMail("anna@example.com"))
	stored := user.Redirects{Success: "https://shop.example.com/ok?a=b", Failure: "https://shop.example.com/no"}
	if to, err := p.service.VerifyLink(t.Context(), token); err != nil || to != stored {
		t.Errorf("got %+v, %v", to, err)
	}
	p.clock.advance(24 * time.Hour)
	if to, err := p.service.VerifyLink(t.Context(), token); !isClientError(err) || to != stored {
		t.Errorf("expired: got %+v, %v", to, err)
	}
	p.clock.advance(29*24*time.Hour - time.Second)
	if to, err := p.service.VerifyLink(t.Context(), token); !isClientError(err) || to != stored {
		t.Errorf("after 30 days: got %+v, %v", to, err)
	}
	p.clock.advance(time.Second)
	if to, err := p.service.VerifyLink(t.Context(), token); !isClientError(err) || to != (user.Redirects{}) {
		t.Errorf("forgotten: got %+v, %v", to, err)
	}
	for _, bad := range []string{"", "x", "' OR 1=1", strings.Repeat("x", 10000), "\x00"} {
		if to, err := p.service.VerifyLink(t.Context(), bad); !isClientError(err) || to != (user.Redirects{}) {
			t.Errorf("token %.20q: got %+v, %v", bad, to, err)
		}
	}
}

func TestAVerificationLinkIsForTheAddressItWasSentTo(t *testing.T) {
	p := newPlatform(t)
	id := p.anna(t, apitest.Alice)
	token := p.token(t, apitest.Alice, "SendVerificationEmail", verificationMail("anna@example.com"))
	p.ok(t, apitest.Alice, "Update", object("id", id, "email", "somebody@example.com"))
	p.refused(t, apitest.Alice, "VerifyEmail", object("token", token), http.StatusBadRequest, "user.verifytoken", "token not found")
	if p.ok(t, apitest.Alice, "Read", object("id", id)).Account.Verified {
		t.Error("an address was verified that no mail was sent to")
	}
}

func TestADatabaseThatIsDownIsNoBadToken(t *testing.T) {
	p := newPlatform(t)
	p.anna(t, apitest.Alice)
	token := p.token(t, apitest.Alice, "SendVerificationEmail", verificationMail("anna@example.com"))
	if err := p.db.Close(); err != nil {
		t.Fatal(err)
	}
	_, err := p.service.VerifyLink(t.Context(), token)
	if err == nil || isClientError(err) {
		t.Errorf("got %v", err)
	}
}

func TestTheVerifyURLMayBeAlmostAnything(t *testing.T) {
	for base, want := range map[string]string{
		"https://user.m3o.com":              "https://user.m3o.com?token=",
		"https://user.m3o.com/":             "https://user.m3o.com/?token=",
		"user.m3o.com":                      "https://user.m3o.com?token=",
		"http://user.localhost:8080/verify": "http://user.localhost:8080/verify?token=",
		"https://m3o.com/?page=verify&x=":   "https://m3o.com/?page=verify&x=&token=",
	} {
		p := newPlatform(t, func(c *user.Config) { c.VerifyURL = func() string { return base } })
		p.anna(t, apitest.Alice)
		p.ok(t, apitest.Alice, "SendVerificationEmail", verificationMail("anna@example.com"))
		if text := p.mail.last(t).Text; !strings.HasPrefix(text, "Hi, click "+want) {
			t.Errorf("%s: %s", base, text)
		}
	}
	p := newPlatform(t, func(c *user.Config) { c.VerifyURL = func() string { return "" } })
	p.anna(t, apitest.Alice)
	if res := p.call(t, apitest.Alice, "SendVerificationEmail", verificationMail("anna@example.com")); res.Status != http.StatusInternalServerError {
		t.Errorf("without a URL: %d %s", res.Status, res.Body)
	}
	if p.mail.count() != 0 {
		t.Error("mail was sent without a link")
	}
}

func TestAResetCodeWorksOnce(t *testing.T) {
	p := newPlatform(t)
	p.anna(t, apitest.Alice)
	session := p.login(t, apitest.Alice, password)
	magic := p.token(t, apitest.Alice, "SendMagicLink", magicMail("anna@example.com"))
	old := p.code(t, apitest.Alice)
	code := p.code(t, apitest.Alice)
	p.refused(t, apitest.Alice, "ResetPassword", newPassword(old), http.StatusBadRequest, "user.resetpassword", "invalid code")
	p.refused(t, apitest.Bob, "ResetPassword", newPassword(code), http.StatusBadRequest, "user.resetpassword", "invalid code")
	p.login(t, apitest.Alice, password)

	typed := " " + strings.ToLower(code[:4]) + "-" + code[4:] + " "
	p.ok(t, apitest.Alice, "ResetPassword", newPassword(typed))
	p.refused(t, apitest.Alice, "ResetPassword", newPassword(code), http.StatusBadRequest, "user.resetpassword", "invalid code")
	p.refused(t, apitest.Alice, "Login", object("username", "anna", "password", password), http.StatusUnauthorized, "user.login", wrongLogin)
	p.refused(t, apitest.Alice, "ReadSession", object("session_id", session), http.StatusNotFound, "user.readsession", "not found")
	if p.ok(t, apitest.Alice, "VerifyToken", object("token", magic)).IsValid {
		t.Error("a magic link sent before the reset still works")
	}
	p.login(t, apitest.Alice, "another horse")
}

func TestAResetCodeExpiresWhenAsked(t *testing.T) {
	for _, test := range []struct {
		seconds any
		life    time.Duration
	}{{0, 30 * time.Minute}, {60, time.Minute}, {"90", 90 * time.Second}, {86400, 24 * time.Hour}} {
		p := newPlatform(t)
		p.anna(t, apitest.Alice)
		ask := object("email", "anna@example.com", "subject", "s", "text_content", "It is $code", "expiration", test.seconds)
		p.ok(t, apitest.Alice, "SendPasswordResetEmail", ask)
		late := strings.TrimPrefix(p.mail.last(t).Text, "It is ")
		p.clock.advance(test.life)
		p.refused(t, apitest.Alice, "ResetPassword", newPassword(late), http.StatusBadRequest, "user.resetpassword", "invalid code")
		p.ok(t, apitest.Alice, "SendPasswordResetEmail", ask)
		inTime := strings.TrimPrefix(p.mail.last(t).Text, "It is ")
		p.clock.advance(test.life - time.Second)
		p.ok(t, apitest.Alice, "ResetPassword", newPassword(inTime))
	}
	p := newPlatform(t)
	for _, seconds := range []int64{-1, 86401, 1 << 62} {
		p.refused(t, apitest.Alice, "SendPasswordResetEmail",
			object("email", "anna@example.com", "subject", "s", "text_content", "$code", "expiration", seconds),
			http.StatusBadRequest, "user.sendpasswordresetemail", "expiration must be between 1 and 86400 seconds")
	}
}

func TestAResetCodeSurvivesFewGuesses(t *testing.T) {
	p := newPlatform(t)
	p.anna(t, apitest.Alice)
	code := p.code(t, apitest.Alice)
	for range 5 {
		p.refused(t, apitest.Alice, "ResetPassword", newPassword("00000000"), http.StatusBadRequest, "user.resetpassword", "invalid code")
	}
	p.refused(t, apitest.Alice, "ResetPassword", newPassword(code), http.StatusBadRequest, "user.resetpassword", "invalid code")
	p.login(t, apitest.Alice, password)
	p.ok(t, apitest.Alice, "ResetPassword", newPassword(p.code(t, apitest.Alice)))
}

func TestResetPasswordRefuses(t *testing.T) {
	p := newPlatform(t)
	p.anna(t, apitest.Alice)
	code := p.code(t, apitest.Alice)
	reset := func(email, code, password, confirm string) string {
		return object("email", email, "code", code, "new_password", password, "confirm_password", confirm)
	}
	for _, test := range []struct{ body, id, detail string }{
		{reset("", code, "another horse", "another horse"), "user.resetpassword", "missing email"},
		{reset("x", code, "another horse", "another horse"), "user.resetpassword", "email has wrong format"},
		{reset("anna@example.com", "", "another horse", "another horse"), "user.resetpassword", "missing code"},
		{reset("anna@example.com", code, "", "another horse"), "user.resetpassword", "missing new password"},
		{reset("anna@example.com", code, "another horse", ""), "user.resetpassword", "missing confirm password"},
		{reset("anna@example.com", code, "another horse", "other horse"), "user.resetpassword", "passwords do not match"},
		{reset("anna@example.com", code, "short", "short"), "users-password-check", "Password is less than 8 characters"},
		{reset("nobody@example.com", code, "another horse", "another horse"), "user.resetpassword", "invalid code"},
		{reset("anna@example.com", strings.Repeat(code, 1000), "another horse", "another horse"), "user.resetpassword", "invalid code"},
	} {
		p.refused(t, apitest.Alice, "ResetPassword", test.body, http.StatusBadRequest, test.id, test.detail)
	}
	p.ok(t, apitest.Alice, "ResetPassword", newPassword(code))
}

func TestUpdatePasswordEndsAllAccess(t *testing.T) {
	p := newPlatform(t)
	id := p.anna(t, apitest.Alice)
	session := p.login(t, apitest.Alice, password)
	code := p.code(t, apitest.Alice)
	update := func(id, old, new, confirm string) string {
		return object("userId", id, "old_password", old, "new_password", new, "confirm_password", confirm)
	}
	for _, test := range []struct {
		key, body  string
		status     int
		id, detail string
	}{
		{apitest.Alice, update(id, "wrong horse", "another horse", "another horse"), 401, "user.updatepassword", wrongLogin},
		{apitest.Alice, update("nobody", password, "another horse", "another horse"), 401, "user.updatepassword", wrongLogin},
		{apitest.Bob, update(id, password, "another horse", "another horse"), 401, "user.updatepassword", wrongLogin},
		{apitest.Alice, update(id, password, "another horse", "other horse"), 400, "user.updatepassword", "Passwords don't match"},
		{apitest.Alice, update(id, password, "short", "short"), 400, "users-password-check", "Password is less than 8 characters"},
		{apitest.Alice, update("", password, "another horse", "another horse"), 400, "user.updatepassword", "missing userId"},
	} {
		p.refused(t, test.key, "UpdatePassword", test.body, test.status, test.id, test.detail)
	}
	p.ok(t, apitest.Alice, "ReadSession", object("session_id", session))

	p.ok(t, apitest.Alice, "UpdatePassword", update(id, password, "another horse", "another horse"))
	p.refused(t, apitest.Alice, "ReadSession", object("session_id", session), http.StatusNotFound, "user.readsession", "not found")
	p.refused(t, apitest.Alice, "ResetPassword", newPassword(code), http.StatusBadRequest, "user.resetpassword", "invalid code")
	p.refused(t, apitest.Alice, "UpdatePassword", update(id, password, "a third horse", "a third horse"), 401, "user.updatepassword", wrongLogin)
	p.login(t, apitest.Alice, "another horse")
}

func TestAMagicLinkLogsInOnce(t *testing.T) {
	p := newPlatform(t)
	id := p.anna(t, apitest.Alice)
	p.ok(t, apitest.Alice, "SendMagicLink", magicMail("anna@example.com"))
	link := linkIn(t, p.mail.last(t).Text)
	if link.Scheme+"://"+link.Host+link.Path != "https://shop.example.com/login" {
		t.Errorf("the link is %s", link)
	}
	body := object("token", link.Query().Get("token"))
	if got := p.ok(t, apitest.Bob, "VerifyToken", body); got.IsValid || got.Message != "token not found" {
		t.Errorf("another tenant: %+v", got)
	}
	got := p.ok(t, apitest.Alice, "VerifyToken", body)
	if !got.IsValid || got.Session.UserID != id || got.Message != "" {
		t.Errorf("got %+v", got)
	}
	p.ok(t, apitest.Alice, "ReadSession", object("session_id", got.Session.ID))
	if again := p.ok(t, apitest.Alice, "VerifyToken", body); again.IsValid || again.Message != "token not found" || again.Session.ID != "" {
		t.Errorf("a second time: %+v", again)
	}

	late := object("token", p.token(t, apitest.Alice, "SendMagicLink", magicMail("anna@example.com")))
	p.clock.advance(10 * time.Minute)
	if got := p.ok(t, apitest.Alice, "VerifyToken", late); got.IsValid || got.Message != "token expired" {
		t.Errorf("too late: %+v", got)
	}
	if got := p.ok(t, apitest.Alice, "VerifyToken", `{}`); got.IsValid || got.Message != "token empty" {
		t.Errorf("no token: %+v", got)
	}
}

func TestANewAddressVoidsWhatWasMailedToTheOld(t *testing.T) {
	p := newPlatform(t)
	id := p.anna(t, apitest.Alice)
	magic := p.token(t, apitest.Alice, "SendMagicLink", magicMail("anna@example.com"))
	code := p.code(t, apitest.Alice)
	session := p.login(t, apitest.Alice, password)
	p.ok(t, apitest.Alice, "Update", object("id", id, "email", "new@example.com"))
	if p.ok(t, apitest.Alice, "VerifyToken", object("token", magic)).IsValid {
		t.Error("the magic link still works")
	}
	reset := object("email", "new@example.com", "code", code, "new_password", "another horse", "confirm_password", "another horse")
	p.refused(t, apitest.Alice, "ResetPassword", reset, http.StatusBadRequest, "user.resetpassword", "invalid code")
	p.ok(t, apitest.Alice, "ReadSession", object("session_id", session))
}

// mailMethods are the three that send mail, with good bodies.
var mailMethods = []struct {
	method, id string
	body       func(email string) string
}{
	{"SendVerificationEmail", "user.sendverificationemail", verificationMail},
	{"SendPasswordResetEmail", "user.sendpasswordresetemail", resetMail},
	{"SendMagicLink", "SendMagicLink.sendEmail", magicMail},
}

func TestMailForAnUnknownAddressIsAnsweredAlike(t *testing.T) {
	for _, m := range mailMethods {
		t.Run(m.method, func(t *testing.T) {
			p := newPlatform(t)
			p.anna(t, apitest.Alice)
			known := p.call(t, apitest.Alice, m.method, m.body("anna@example.com"))
			if p.mail.count() != 1 {
				t.Fatalf("%d messages", p.mail.count())
			}
			for _, caller := range []struct{ key, email string }{{apitest.Alice, "nobody@example.com"}, {apitest.Bob, "anna@example.com"}} {
				unknown := p.call(t, caller.key, m.method, m.body(caller.email))
				if unknown.Status != known.Status || unknown.Body != known.Body {
					t.Errorf("known %d %s, unknown %d %s", known.Status, known.Body, unknown.Status, unknown.Body)
				}
			}
			if p.mail.count() != 1 {
				t.Error("mail was sent to an address without an account")
			}
		})
	}
}

func TestMailIsLimited(t *testing.T) {
	for _, m := range mailMethods {
		t.Run(m.method, func(t *testing.T) {
			p := newPlatform(t, func(c *user.Config) {
				c.MailPerAddress = user.Rate{Burst: 2, Every: time.Minute}
				c.MailPerCaller = user.Rate{Burst: 5, Every: time.Hour}
			})
			p.anna(t, apitest.Alice)
			p.anna(t, apitest.Bob)
			// An address without an account is limited alike.
			for _, email := range []string{"anna@example.com", "nobody@example.com"} {
				for range 2 {
					p.ok(t, apitest.Alice, m.method, m.body(email))
				}
				res := p.call(t, apitest.Alice, m.method, m.body(strings.ToUpper(email)))
				if res.Status != http.StatusTooManyRequests || res.Header.Get("Retry-After") != "60" {
					t.Errorf("%s: %d, Retry-After %q: %s", email, res.Status, res.Header.Get("Retry-After"), res.Body)
				}
			}
			p.clock.advance(time.Minute)
			p.ok(t, apitest.Alice, m.method, m.body("anna@example.com"))
			if res := p.call(t, apitest.Alice, m.method, m.body("somebody@example.com")); res.Status != http.StatusTooManyRequests {
				t.Errorf("the sixth mail of a tenant: %d %s", res.Status, res.Body)
			}
			if p.mail.count() != 3 {
				t.Errorf("%d messages were sent", p.mail.count())
			}
			p.ok(t, apitest.Bob, m.method, m.body("anna@example.com"))
		})
	}
}

func TestMailThatFailsLeavesNothingUsable(t *testing.T) {
	for _, failure := range []struct {
		err    error
		status int
		detail string
	}{
		{errors.New("dial tcp 10.0.0.1:587: connection refused"), http.StatusServiceUnavailable, "the message could not be sent; try again later"},
		{&mail.RefusedError{Cause: errors.New("550 no such user")}, http.StatusBadGateway, "the mail server refused the message; nothing was sent"},
	} {
		for _, m := range mailMethods {
			t.Run(m.method, func(t *testing.T) {
				p := newPlatform(t, func(c *user.Config) {
					c.MailPerAddress = user.Rate{Burst: 1, Every: time.Hour}
				})
				p.anna(t, apitest.Alice)
				p.mail.failWith(failure.err)
				for range 3 { // a failure does not use up the limit
					p.refused(t, apitest.Alice, m.method, m.body("anna@example.com"), failure.status, m.id, failure.detail)
				}
				for _, table := range []string{"verifications", "login_tokens", "reset_codes"} {
					var rows int
					if err := p.db.QueryRowContext(t.Context(), "SELECT COUNT(*) FROM "+table).Scan(&rows); err != nil || rows != 0 {
						t.Errorf("%s has %d rows, %v", table, rows, err)
					}
				}
				p.mail.failWith(nil)
				p.ok(t, apitest.Alice, m.method, m.body("anna@example.com"))
			})
		}
	}
}

func TestMailRefuses(t *testing.T) {
	p := newPlatform(t)
	p.anna(t, apitest.Alice)
	with := func(body func(string) string, name string, value any) string {
		fields := decodeObject(t, body("anna@example.com"))
		fields[name] = value
		return encodeObject(t, fields)
	}
	for _, m := range mailMethods {
		for _, test := range []struct {
			field, value string
			says         string
		}{
			{"email", "", "e"},
			{"email", "anna@example.com\r\nBcc: x@example.com", "email has wrong format"},
			{"subject", "", "missing subject"},
			{"subject", "Hello\r\nBcc: everybody@example.com", "subject contains a line break or control character"},
			{"subject", "a\u2028b", "subject contains a line break or control character"},
			{"subject", strings.Repeat("x", 513), "subject is longer than 512 bytes"},
			{"from_name", "Shop\nReply-To: x@example.com", "from name contains a line break or control character"},
			{"from_name", strings.Repeat("x", 129), "from name is longer than 128 bytes"},
			{"text_content", "", "missing textContent"},
			{"text_content", "nothing to click", "text_content must contain $"},
			{"text_content", "$code $micro_verification_link" + strings.Repeat("x", 64<<10), "text is longer than 65536 bytes"},
			{"text_content", "$code $micro_verification_link\x00", "text contains a NUL character"},
		} {
			body := with(m.body, test.field, test.value)
			res := p.call(t, apitest.Alice, m.method, body)
			if res.Status != http.StatusBadRequest || !strings.Contains(decode(t, res.Body).Detail, test.says) {
				t.Errorf("%s with %s %.30q: %d %s", m.method, test.field, test.value, res.Status, res.Body)
			}
		}
	}
	for _, link := range []string{"shop.example.com", "/relative", "//shop.example.com", "javascript:alert(1)", "ftp://example.com",
		"https://", "https://user:password@example.com", "https://example.com/" + strings.Repeat("x", 2048), "https://exa mple.com"} {
		for _, test := range []struct {
			method, field string
			body          func(string) string
		}{
			{"SendVerificationEmail", "redirect_url", verificationMail},
			{"SendVerificationEmail", "failure_redirect_url", verificationMail},
			{"SendMagicLink", "address", magicMail},
		} {
			res := p.call(t, apitest.Alice, test.method, with(test.body, test.field, link))
			if res.Status != http.StatusBadRequest || !strings.Contains(res.Body, test.field) {
				t.Errorf("%s %.40q: %d %s", test.field, link, res.Status, res.Body)
			}
		}
	}
	if p.mail.count() != 0 {
		t.Errorf("%d messages were sent all the same", p.mail.count())
	}
}
