package store

import (
	"context"
	"database/sql/driver"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"strings"
	"syscall"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
)

// What a server says decides what callers are told, and what is tried again.
func TestErrorsOfAServer(t *testing.T) {
	pg := func(code string) error {
		return fmt.Errorf("query: %w", &pgconn.PgError{Code: code, Message: "it says"})
	}
	commit := func(err error) error { return &commitError{err} }
	for _, test := range []struct {
		name   string
		err    error
		detail string // of an UnavailableError; empty for none
		unsure bool
		again  bool
	}{
		{"nothing", nil, "", false, false},
		{"its own", errors.New("ours"), "", false, false},
		{"a caller who left", context.Canceled, "", false, false},
		{"a caller's time is over", context.DeadlineExceeded, "", false, false},
		{"a wrong query", pg("42601"), "", false, false},
		{"a conflict of values", pg("23505"), "", false, false},
		{"a full disk", pg("53100"), "disk is full", false, false},
		{"too many connections", pg("53300"), "no room", false, false},
		{"out of memory", pg("53200"), "no room", false, false},
		{"a read-only server", pg("25006"), "takes no writes", false, false},
		{"what the server does not know", pg("0A000"), "", false, false},
		{"a lost race", pg("40001"), "busy", false, true},
		{"a deadlock", pg("40P01"), "busy", false, true},
		{"a lock held too long", pg("55P03"), "busy", false, false},
		{"a statement that took too long", pg("57014"), "busy", false, false},
		{"a server that ends", pg("57P01"), "cannot be reached", false, true},
		{"a server that starts", pg("57P03"), "cannot be reached", false, false},
		{"a password that changed", pg("28P01"), "refuses this ingress", false, false},
		{"a dropped database", pg("3D000"), "refuses this ingress", false, false},
		{"a damaged file", pg("XX001"), "damaged", false, false},
		{"a pooler of transactions", pg("26000"), "does not pool sessions", false, false},
		{"a cut connection", io.ErrUnexpectedEOF, "cannot be reached", false, true},
		{"a connection that is no more", driver.ErrBadConn, "cannot be reached", false, true},
		{"a file on a full disk", &fs.PathError{Op: "write", Path: "backup.gz", Err: syscall.ENOSPC}, "", false, false},
		{"silence", errSilent, "cannot be reached", false, false},
		{"a lost race at the commit", commit(pg("40001")), "busy", false, true},
		{"a full disk at the commit", commit(pg("53100")), "disk is full", false, false},
		{"a server that ends at the commit", commit(pg("57P01")), "look whether it was done", true, false},
		{"a pooler that lost the server at the commit", commit(pg("08P01")), "look whether it was done", true, false},
		{"a server that falls at the commit", commit(&pgconn.PgError{SeverityUnlocalized: "PANIC", Code: "53100"}), "look whether it was done", true, false},
		{"a cut connection at the commit", commit(io.ErrUnexpectedEOF), "look whether it was done", true, false},
		{"silence at the commit", commit(errSilent), "look whether it was done", true, false},
		{"a caller who left at the commit", commit(context.Canceled), "look whether it was done", true, false},
	} {
		t.Run(test.name, func(t *testing.T) {
			got := classify(test.err)
			var down *UnavailableError
			if is := errors.As(got, &down); is != (test.detail != "") {
				t.Fatalf("it is %v", got)
			}
			if down != nil && (!strings.Contains(down.Detail, test.detail) || strings.Contains(down.Detail, "it says")) {
				t.Errorf("callers are told %q, want %q", down.Detail, test.detail)
			}
			if IsUnsure(got) != test.unsure {
				t.Errorf("unsure: %t", IsUnsure(got))
			}
			if test.err != nil && mayTryAgain(test.err) != test.again {
				t.Errorf("tried again: %t", mayTryAgain(test.err))
			}
			if strings.Contains(fmt.Sprint(got), "nothing was written") {
				t.Errorf("who reads is told %q", got)
			}
			checkUnwritten(t, test.err, test.detail)
			if again := classify(got); again != got { //nolint:errorlint // the very same
				t.Errorf("a second time it is %v", again)
			}
		})
	}
}

// checkUnwritten checks that who writes is told the same, and that nothing was written
// if that is known.
func checkUnwritten(t *testing.T, err error, detail string) {
	t.Helper()
	got, want := unwritten(err), ""
	if detail != "" && !IsUnsure(got) {
		want = "; nothing was written"
	}
	var down interface{ Unavailable() string }
	told := ""
	if errors.As(got, &down) {
		told = down.Unavailable()
	}
	if !strings.Contains(told, detail) || !strings.HasSuffix(told, want) || want == "" && strings.Contains(told, "nothing was written") {
		t.Errorf("who writes is told %q, want %q%s", told, detail, want)
	}
	if plain := fmt.Sprint(classify(err)); fmt.Sprint(got) != plain+want {
		t.Errorf("operators are told %q, want %q%s", got, plain, want)
	}
}

// What keeps us from a server is said in one line, with what to do, and what several
// attempts have in common once.
func TestWhatKeepsUsFromAServer(t *testing.T) {
	refused := &pgconn.PgError{Code: "28P01", Message: "password authentication failed"}
	for password, want := range map[string]string{"": "INGRESS_DATABASE_PASSWORD", "wrong": "check user and password"} {
		config := &pgx.ConnConfig{Config: pgconn.Config{Password: password}}
		if got := explainConnect(refused, config).Error(); !strings.Contains(got, want) || !strings.Contains(got, refused.Message) {
			t.Errorf("with the password %q: got %q; want %q", password, got, want)
		}
	}
	for _, test := range []struct{ name, cause, want string }{
		{"one line", "EOF", "away: EOF"},
		{"attempts alike", "failed to connect to `x`:\n\ta: refused\n\ta: refused", "away: failed to connect to `x`: a: refused"},
		{"attempts that differ", "failed to connect to `x`:\n\ta: refused\n\tb: no host\n", "away: failed to connect to `x`: a: refused; b: no host"},
	} {
		err := &UnavailableError{Detail: "away", Cause: errors.New(test.cause)}
		if got := err.Error(); got != test.want {
			t.Errorf("%s: got %q; want %q", test.name, got, test.want)
		}
	}
}
