package main

import (
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

const accountJSON = `{"id":"jane1","username":"jane","email":"jane@example.com","created":"1795370616","updated":"1795370616","verified":true,"verification_date":"1795370616","profile":{"team":"blue","age":"7"}}`

const accountText = "" +
	"ID        jane1\n" +
	"USERNAME  jane\n" +
	"EMAIL     jane@example.com\n" +
	"VERIFIED  2026-11-22 18:03:36\n" +
	"PROFILE   age=7, team=blue\n" +
	"CREATED   2026-11-22 18:03:36\n" +
	"UPDATED   2026-11-22 18:03:36\n"

const sessionJSON = `{"id":"session-secret","userId":"jane1","created":"1795370616","expires":"1795374216"}`

const sessionText = "" +
	"SESSION  session-secret\n" +
	"USER     jane1\n" +
	"OPENED   2026-11-22 18:03:36\n" +
	"EXPIRES  2026-11-22 19:03:36\n"

func TestUserCommands(t *testing.T) {
	checkExchanges(t, []exchange{
		{
			args:  []string{"user", "create", "--email", "jane@example.com", "--username", "jane", "--id", "jane1", "--profile", "team=blue,green;x=1"},
			stdin: "correct horse, battery\n",
			path:  "/v1/user/Create", body: `{"id":"jane1","username":"jane","email":"jane@example.com","password":"correct horse, battery","profile":{"team":"blue,green;x=1"}}`,
			reply: `{"account":` + accountJSON + `}`, stdout: accountText,
		},
		{
			args: []string{"user", "read", "jane1"}, path: "/v1/user/Read", body: `{"id":"jane1"}`,
			reply: `{"account":` + accountJSON + `}`, stdout: accountText,
		},
		{
			args: []string{"user", "read", "--email", "jane@example.com"}, path: "/v1/user/Read", body: `{"email":"jane@example.com"}`,
			reply:  `{"account":{"id":"jane1","username":"","email":"jane@example.com","created":"0","updated":"0","verified":false,"verification_date":"0","profile":{}}}`,
			stdout: "ID        jane1\nEMAIL     jane@example.com\nVERIFIED  no\n",
		},
		{
			args: []string{"user", "update", "jane1", "--username", "janet", "--profile", "team=red"},
			path: "/v1/user/Update", body: `{"id":"jane1","username":"janet","profile":{"team":"red"}}`,
			reply: `{}`, stderr: "account jane1 is updated\n",
		},
		{
			args: []string{"user", "delete", "jane1"}, path: "/v1/user/Delete", body: `{"id":"jane1"}`,
			reply: `{}`, stderr: "there is no account jane1 any more\n",
		},
		{
			args: []string{"user", "list"}, path: "/v1/user/List", body: `{"limit":25}`,
			reply: `{"users":[` + accountJSON + `]}`,
			stdout: "" +
				"ID     VERIFIED  CREATED           USERNAME  EMAIL\n" +
				"jane1  yes       2026-11-22 18:03  jane      jane@example.com\n",
		},
		{
			args: []string{"user", "list", "--offset", "50", "--limit", "10"}, path: "/v1/user/List", body: `{"offset":50,"limit":10}`,
			reply: `{"users":[]}`, stderr: "no more accounts\n",
		},
		{
			args: []string{"user", "list"}, path: "/v1/user/List", body: `{"limit":25}`,
			reply: `{"users":[]}`, stderr: "no accounts yet; make one with: ingress user create --email jane@example.com\n",
		},
		{
			args: []string{"user", "update-password", "jane1"}, stdin: "old password\r\nnew password\r\n",
			path: "/v1/user/UpdatePassword", body: `{"userId":"jane1","old_password":"old password","new_password":"new password","confirm_password":"new password"}`,
			reply: `{}`, stderr: "account jane1 has a new password\n",
		},
		{
			args: []string{"user", "reset-password", "jane@example.com", "-"}, stdin: "483920\nnew password",
			path: "/v1/user/ResetPassword", body: `{"email":"jane@example.com","code":"483920","new_password":"new password","confirm_password":"new password"}`,
			reply: `{}`, stderr: "the account of jane@example.com has a new password\n",
		},
		{
			args: []string{"user", "login", "--username", "jane"}, stdin: "correct horse",
			path: "/v1/user/Login", body: `{"username":"jane","password":"correct horse"}`,
			reply: `{"session":` + sessionJSON + `}`, stdout: sessionText,
		},
		{
			args: []string{"user", "login", "--email", "jane@example.com", "--password-file", "-"}, stdin: "correct horse\n",
			path: "/v1/user/Login", body: `{"email":"jane@example.com","password":"correct horse"}`,
			reply: `{"session":` + sessionJSON + `}`, stdout: sessionText,
		},
		{
			args: []string{"user", "logout", "-"}, stdin: "session-secret\n",
			path: "/v1/user/Logout", body: `{"session_id":"session-secret"}`,
			reply: `{}`, stderr: "the session is closed\n",
		},
		{
			args: []string{"user", "logout-all", "jane1"}, path: "/v1/user/LogoutAll", body: `{"user_id":"jane1"}`,
			reply: `{}`, stderr: "every session of account jane1 is closed\n",
		},
		{
			args: []string{"user", "read-session", "session-secret"},
			path: "/v1/user/ReadSession", body: `{"session_id":"session-secret"}`,
			reply:  `{"session":` + sessionJSON + `,"account":` + accountJSON + `}`,
			stdout: "USER      jane1\nUSERNAME  jane\nEMAIL     jane@example.com\nOPENED    2026-11-22 18:03:36\nEXPIRES   2026-11-22 19:03:36\n",
		},
		{
			args: []string{"user", "verify-token", "-"}, stdin: "token\n",
			path: "/v1/user/VerifyToken", body: `{"token":"token"}`,
			reply: `{"is_valid":true,"session":` + sessionJSON + `,"message":""}`, stdout: sessionText,
		},
		{
			args: []string{"user", "verify-email", "token"},
			path: "/v1/user/VerifyEmail", body: `{"token":"token"}`,
			reply: `{}`, stderr: "the address is verified\n",
		},
	})
}

func TestUserMailCommands(t *testing.T) {
	const sent = "if there is an account for jane@example.com, the mail is on its way\n"
	checkExchanges(t, []exchange{
		{
			args: []string{"user", "send-verification-email", "jane@example.com", "--subject", "Hi", "--text", "Click $micro_verification_link",
				"--from-name", "Shop", "--redirect-url", "https://example.com/yes", "--failure-redirect-url", "https://example.com/no"},
			path:  "/v1/user/SendVerificationEmail",
			body:  `{"email":"jane@example.com","subject":"Hi","text_content":"Click $micro_verification_link","from_name":"Shop","redirect_url":"https://example.com/yes","failure_redirect_url":"https://example.com/no"}`,
			reply: `{}`, stderr: sent,
		},
		{
			args: []string{"user", "send-password-reset-email", "jane@example.com", "--subject", "Hi", "--text-file", "-", "--expires", "10m"}, stdin: "Code:\n$code\n",
			path:  "/v1/user/SendPasswordResetEmail",
			body:  `{"email":"jane@example.com","subject":"Hi","text_content":"Code:\n$code\n","expiration":"600"}`,
			reply: `{}`, stderr: sent,
		},
		{
			args: []string{"user", "send-magic-link", "jane@example.com", "--subject", "Hi", "--text", "Click $micro_verification_link",
				"--product-address", "https://example.com", "--endpoint", "/login"},
			path:  "/v1/user/SendMagicLink",
			body:  `{"email":"jane@example.com","subject":"Hi","text_content":"Click $micro_verification_link","address":"https://example.com","endpoint":"/login"}`,
			reply: `{}`, stderr: sent,
		},
	})
}

func TestTokenThatIsNotGoodFails(t *testing.T) {
	p := newFakePlatform(t, http.StatusOK, `{"is_valid":false,"session":null,"message":"expired\u001b[2J"}`)
	got := withKey().run(t, "user", "verify-token", "hunter22", "--address", p.URL)
	if got != (outcome{"", "ingress: user verify-token: the token is not good: expired\\x1b[2J\n", 1}) {
		t.Errorf("%+v", got)
	}
}

func TestPasswordFile(t *testing.T) {
	p := newFakePlatform(t, http.StatusOK, `{"session":`+sessionJSON+`}`)
	s := withKey()
	s.stdin = strings.NewReader("not this one\n")
	got := s.run(t, "user", "login", "--username", "jane", "--password-file", fileWith(t, "correct horse\n"), "--address", p.URL)
	if got.code != 0 || !strings.Contains(p.requests()[0].body, `"correct horse"`) {
		t.Errorf("%+v, sent %s", got, p.requests()[0].body)
	}
}

func TestPasswordsThatCannotBeMeantAreNotSent(t *testing.T) {
	p := newFakePlatform(t, http.StatusOK, `{}`)
	for name, s := range map[string]struct {
		stdin string
		file  string
		want  string
	}{
		"nothing on stdin":    {want: "no password given"},
		"an empty line":       {stdin: "\nhunter22\n", want: "no password given"},
		"an endless line":     {stdin: strings.Repeat("hunter22", 1000), want: "too long"},
		"an empty file":       {file: fileWith(t, ""), want: "no password given"},
		"two lines in a file": {file: fileWith(t, "hunter22\nhunter33\n"), want: "must be the only line"},
		"a file that is not":  {file: filepath.Join(t.TempDir(), "none"), want: "no such file"},
		"a line not in UTF-8": {stdin: "hunter22\xff\n", want: "not valid UTF-8"},
	} {
		sh := withKey()
		sh.stdin = strings.NewReader(s.stdin)
		got := sh.run(t, "user", "login", "--username", "jane", "--password-file="+s.file, "--address", p.URL)
		if got.code != 1 || !strings.Contains(got.stderr, s.want) || strings.Contains(got.stderr, "hunter") {
			t.Errorf("%s: %+v, want %q", name, got, s.want)
		}
	}
	if seen := p.requests(); len(seen) != 0 {
		t.Errorf("calls were made: %v", seen)
	}
}

func fileWith(t *testing.T, content string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "secret")
	if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}
