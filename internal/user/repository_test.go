package user

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/m3o/ingress/internal/store"
	"github.com/m3o/ingress/internal/store/storetest"
)

func TestRepositoryOnSQLite(t *testing.T) { testRepository(t, storetest.Open) }

func TestRepositoryWithConflicts(t *testing.T) { testRepository(t, storetest.OpenConflicting) }

func TestRepositoryOnPostgreSQL(t *testing.T) { testRepository(t, storetest.Postgres(t)) }

// testRepository is what every database engine has to do. open returns an empty
// database that ends with the test.
func testRepository(t *testing.T, open func(testing.TB) *store.DB) {
	for name, test := range map[string]func(*testing.T, repository){
		"one of many wins an address":     oneWinsAnAddress,
		"one of many wins a username":     oneWinsAUsername,
		"names are taken in one tenant":   namesAreTakenInOneTenant,
		"accounts without a username":     accountsWithoutAUsername,
		"one of many redeems a token":     oneRedeemsAToken,
		"one of many resets a password":   oneResetsAPassword,
		"one of many changes a password":  oneChangesAPassword,
		"attempts are counted at once":    attemptsAreCountedAtOnce,
		"sessions are bounded":            sessionsAreBounded,
		"no session without an account":   noSessionWithoutAnAccount,
		"no session with an old password": noSessionWithAFormerPassword,
		"a former address gets nothing":   aFormerAddressGetsNothing,
		"a new session is not to go":      aNewSessionIsNotTheOneToGo,
		"verifying keeps the first date":  verifyingKeepsTheFirstDate,
		"expired rows go, others stay":    expiredRowsGo,
		"a renewed hash loses to a new":   aRenewedHashLosesToANewPassword,
		"ids that cannot be":              idsThatCannotBe,
		"everything comes back as it was": everythingComesBack,
	} {
		t.Run(name, func(t *testing.T) { test(t, repository{open(t)}) })
	}
}

// start is a time that has nanoseconds, so that a lost digit shows.
var start = time.Unix(1_795_000_000, 123456789)

func someone(tenant, id string) account {
	return account{
		tenant: tenant, id: id, username: "user-" + id, email: id + "@example.com", password: "hash of " + id,
		profile: map[string]string{}, created: start, updated: start,
	}
}

func mustCreate(t *testing.T, r repository, a account) account {
	t.Helper()
	if err := r.createAccount(t.Context(), a); err != nil {
		t.Fatal(err)
	}
	return a
}

// race runs f at once many times and returns how often it succeeded; every
// failure must be the one expected.
func race(t *testing.T, expected error, f func(i int) error) int {
	t.Helper()
	const runners = 50
	errs := make([]error, runners)
	var all sync.WaitGroup
	for i := range runners {
		all.Go(func() { errs[i] = f(i) })
	}
	all.Wait()
	won := 0
	for _, err := range errs {
		if err == nil {
			won++
		} else if !errors.Is(err, expected) {
			t.Errorf("got %v, want %v", err, expected)
		}
	}
	return won
}

func oneWinsAnAddress(t *testing.T, r repository) {
	won := race(t, errEmailTaken, func(i int) error {
		a := someone("alice", fmt.Sprint("id", i))
		a.email = "anna@example.com"
		return r.createAccount(t.Context(), a)
	})
	if accounts, err := r.listAccounts(t.Context(), "alice", page{after: theFirst(), limit: 100}); won != 1 || len(accounts) != 1 || err != nil {
		t.Errorf("%d won, %d accounts, %v", won, len(accounts), err)
	}
}

func oneWinsAUsername(t *testing.T, r repository) {
	for i := range 50 {
		mustCreate(t, r, someone("alice", fmt.Sprint(i)))
	}
	name := "anna"
	won := race(t, errUsernameTaken, func(i int) error {
		return r.updateAccount(t.Context(), "alice", fmt.Sprint(i), accountChange{username: &name}, start)
	})
	if won != 1 {
		t.Errorf("%d won", won)
	}
}

func namesAreTakenInOneTenant(t *testing.T, r repository) {
	a := mustCreate(t, r, someone("alice", "1"))
	mustCreate(t, r, someone("bob", "1"))
	for _, test := range []struct {
		change func(*account)
		want   error
	}{
		{func(a *account) { a.email, a.username = "x@example.com", "x" }, errIDTaken},
		{func(a *account) { a.id, a.username = "2", "x" }, errEmailTaken},
		{func(a *account) { a.id, a.email = "2", "x@example.com" }, errUsernameTaken},
	} {
		other := a
		test.change(&other)
		if err := r.createAccount(t.Context(), other); !errors.Is(err, test.want) {
			t.Errorf("got %v, want %v", err, test.want)
		}
	}
	if err := r.deleteAccount(t.Context(), "alice", "1"); err != nil {
		t.Fatal(err)
	}
	if _, err := r.accountByID(t.Context(), "alice", "1"); !errors.Is(err, errNotFound) {
		t.Errorf("after deletion: %v", err)
	}
	if _, err := r.accountByID(t.Context(), "bob", "1"); err != nil {
		t.Errorf("the other tenant's account: %v", err)
	}
	mustCreate(t, r, a)
}

func accountsWithoutAUsername(t *testing.T, r repository) {
	for i := range 3 {
		a := someone("alice", fmt.Sprint(i))
		a.username = ""
		mustCreate(t, r, a)
	}
	if _, err := r.accountByUsername(t.Context(), "alice", ""); !errors.Is(err, errNotFound) {
		t.Errorf("the empty username belongs to somebody: %v", err)
	}
}

func oneRedeemsAToken(t *testing.T, r repository) {
	a := mustCreate(t, r, someone("alice", "1"))
	if err := r.addLoginToken(t.Context(), a, "token", start.Add(time.Minute), start.Add(time.Hour)); err != nil {
		t.Fatal(err)
	}
	sessions := make([]session, 50)
	won := race(t, errNotFound, func(i int) (err error) {
		s := session{id: fmt.Sprint("session", i), tenant: "alice", created: start, expires: start.Add(time.Hour)}
		sessions[i], err = r.redeemLoginToken(t.Context(), "token", s)
		return err
	})
	live := 0
	for i := range sessions {
		if s, _, err := r.readSession(t.Context(), "alice", fmt.Sprint("session", i), start); err == nil {
			live++
			if s.account != "1" || sessions[i].account != "1" {
				t.Errorf("the session is %+v", s)
			}
		}
	}
	if won != 1 || live != 1 {
		t.Errorf("%d redeemed it, %d sessions", won, live)
	}
}

func oneResetsAPassword(t *testing.T, r repository) {
	a := mustCreate(t, r, someone("alice", "1"))
	if err := r.setResetCode(t.Context(), a, "code hash", start.Add(time.Minute)); err != nil {
		t.Fatal(err)
	}
	won := race(t, errNotFound, func(i int) error {
		return r.resetPassword(t.Context(), a, "code hash", fmt.Sprint("hash", i), start)
	})
	if won != 1 {
		t.Errorf("%d won", won)
	}
	if now, err := r.accountByID(t.Context(), "alice", "1"); err != nil || now.password == a.password {
		t.Errorf("the password is %q, %v", now.password, err)
	}
}

func oneChangesAPassword(t *testing.T, r repository) {
	a := mustCreate(t, r, someone("alice", "1"))
	won := race(t, errNotFound, func(i int) error {
		return r.changePassword(t.Context(), a, fmt.Sprint("hash", i), start)
	})
	if won != 1 {
		t.Errorf("%d won with one old password", won)
	}
}

func attemptsAreCountedAtOnce(t *testing.T, r repository) {
	a := mustCreate(t, r, someone("alice", "1"))
	if err := r.setResetCode(t.Context(), a, "code hash", start.Add(time.Minute)); err != nil {
		t.Fatal(err)
	}
	if _, err := r.claimAttempt(t.Context(), someone("bob", "1"), start); !errors.Is(err, errNotFound) {
		t.Errorf("another tenant: %v", err)
	}
	if won := race(t, errNotFound, func(int) error { _, err := r.claimAttempt(t.Context(), a, start); return err }); won != maxAttempts {
		t.Errorf("%d attempts", won)
	}
	if err := r.setResetCode(t.Context(), a, "new code", start.Add(time.Minute)); err != nil {
		t.Fatal(err)
	}
	if hash, err := r.claimAttempt(t.Context(), a, start); hash != "new code" || err != nil {
		t.Errorf("a new code: %q, %v", hash, err)
	}
	if _, err := r.claimAttempt(t.Context(), a, start.Add(time.Minute)); !errors.Is(err, errNotFound) {
		t.Errorf("too late: %v", err)
	}
}

func sessionsAreBounded(t *testing.T, r repository) {
	a := mustCreate(t, r, someone("alice", "1"))
	other := mustCreate(t, r, someone("alice", "2"))
	open := func(a account, i int) {
		t.Helper()
		s := session{
			id: fmt.Sprint(a.id, "-", i), tenant: a.tenant, account: a.id,
			created: start.Add(time.Duration(i)), expires: start.Add(time.Hour),
		}
		if err := r.openSession(t.Context(), s, a.password); err != nil {
			t.Fatal(err)
		}
	}
	open(other, 0)
	for i := range maxSessions + 2 {
		open(a, i)
	}
	for id, live := range map[string]bool{"1-0": false, "1-1": false, "1-2": true, fmt.Sprint("1-", maxSessions+1): true, "2-0": true} {
		_, _, err := r.readSession(t.Context(), "alice", id, start)
		if live != (err == nil) {
			t.Errorf("session %s: %v", id, err)
		}
	}
}

// Clocks of nodes differ: to one that is behind, its own sessions are the oldest.
func aNewSessionIsNotTheOneToGo(t *testing.T, r repository) {
	a := mustCreate(t, r, someone("alice", "1"))
	open := func(id string, created time.Time) {
		t.Helper()
		s := session{id: id, tenant: a.tenant, account: a.id, created: created, expires: start.Add(time.Hour)}
		if err := r.openSession(t.Context(), s, a.password); err != nil {
			t.Fatal(err)
		}
	}
	for i := range maxSessions {
		open(fmt.Sprint(i), start.Add(time.Duration(i)))
	}
	open("late", start.Add(-time.Minute))
	for id, live := range map[string]bool{"late": true, "0": false, "1": true} {
		if _, _, err := r.readSession(t.Context(), "alice", id, start); live != (err == nil) {
			t.Errorf("session %s: %v", id, err)
		}
	}
}

func noSessionWithoutAnAccount(t *testing.T, r repository) {
	mustCreate(t, r, someone("bob", "1"))
	err := r.openSession(t.Context(), session{id: "s", tenant: "alice", account: "1", created: start, expires: start.Add(time.Hour)}, someone("bob", "1").password)
	if !errors.Is(err, errNotFound) {
		t.Errorf("got %v", err)
	}
}

func noSessionWithAFormerPassword(t *testing.T, r repository) {
	a := mustCreate(t, r, someone("alice", "1"))
	opened := race(t, errNotFound, func(i int) error {
		if i == 0 {
			return r.changePassword(t.Context(), a, "new hash", start)
		}
		s := session{id: fmt.Sprint(i), tenant: "alice", account: "1", created: start, expires: start.Add(time.Hour)}
		return r.openSession(t.Context(), s, a.password)
	})
	var sessions int
	if err := r.db.QueryRowContext(t.Context(), "SELECT COUNT(*) FROM sessions").Scan(&sessions); err != nil || sessions != 0 {
		t.Errorf("of %d sessions %d are left, %v", opened-1, sessions, err)
	}
}

// What is stored for a mail to an address that was changed just before would let the owner
// of that mailbox in.
func aFormerAddressGetsNothing(t *testing.T, r repository) {
	a := mustCreate(t, r, someone("alice", "1"))
	now := "new@example.com"
	if err := r.updateAccount(t.Context(), "alice", "1", accountChange{email: &now}, start); err != nil {
		t.Fatal(err)
	}
	hour := start.Add(time.Hour)
	if err := r.addLoginToken(t.Context(), a, "token", hour, hour); !errors.Is(err, errNotFound) {
		t.Errorf("a magic link: %v", err)
	}
	if err := r.setResetCode(t.Context(), a, "code hash", hour); !errors.Is(err, errNotFound) {
		t.Errorf("a reset code: %v", err)
	}
	_, err := r.redeemLoginToken(t.Context(), "token", session{id: "s", tenant: "alice", created: start, expires: hour})
	if !errors.Is(err, errNotFound) {
		t.Errorf("the token: %v", err)
	}
	if _, err := r.claimAttempt(t.Context(), a, start); !errors.Is(err, errNotFound) {
		t.Errorf("the code: %v", err)
	}
}

func verifyingKeepsTheFirstDate(t *testing.T, r repository) {
	a := mustCreate(t, r, someone("alice", "1"))
	mustCreate(t, r, someone("bob", "1"))
	v := verification{tenant: "alice", account: "1", email: a.email}
	if won := race(t, nil, func(i int) error {
		return r.markVerified(t.Context(), v, start.Add(time.Duration(i)))
	}); won != 50 {
		t.Errorf("verifying twice failed: %d succeeded", won)
	}
	first, err := r.accountByID(t.Context(), "alice", "1")
	if err != nil || first.verified.IsZero() {
		t.Fatalf("%+v, %v", first, err)
	}
	if err := r.markVerified(t.Context(), v, start.Add(time.Hour)); err != nil {
		t.Fatal(err)
	}
	again, err := r.accountByID(t.Context(), "alice", "1")
	if err != nil || !again.verified.Equal(first.verified) {
		t.Errorf("verified %v, then %v, %v", first.verified, again.verified, err)
	}
	if other, err := r.accountByID(t.Context(), "bob", "1"); err != nil || !other.verified.IsZero() {
		t.Errorf("the other tenant's account: %+v, %v", other, err)
	}
}

func expiredRowsGo(t *testing.T, r repository) {
	ctx := t.Context()
	early, late := mustCreate(t, r, someone("alice", "early")), mustCreate(t, r, someone("alice", "late"))
	hour := start.Add(time.Hour)
	err := errors.Join(
		addExpiredTokens(t, r, early, 2*store.PruneBatch+1),
		r.openSession(ctx, session{id: "old", tenant: "alice", account: "early", created: start, expires: start}, early.password),
		r.openSession(ctx, session{id: "new", tenant: "alice", account: "early", created: start, expires: hour}, early.password),
		r.addVerification(ctx, "old", verification{tenant: "alice", expires: start, forget: start}),
		r.addVerification(ctx, "new", verification{tenant: "alice", expires: start, forget: hour}),
		r.addLoginToken(ctx, late, "new", start, hour),
		r.setResetCode(ctx, early, "old", start),
		r.setResetCode(ctx, late, "new", hour),
	)
	if err != nil {
		t.Fatal(err)
	}
	if removed, err := r.prune(ctx, start); err != nil || removed != 2*store.PruneBatch+1+3 {
		t.Errorf("removed %d, %v", removed, err)
	}
	if removed, err := r.prune(ctx, start); err != nil || removed != 0 {
		t.Errorf("then removed %d, %v", removed, err)
	}
	_, _, sessionErr := r.readSession(ctx, "alice", "new", start)
	_, verificationErr := r.findVerification(ctx, "new", start)
	_, tokenErr := r.redeemLoginToken(ctx, "new", session{id: "x", tenant: "alice", created: start, expires: hour})
	_, codeErr := r.claimAttempt(ctx, late, start)
	if sessionErr != nil || verificationErr != nil || !errors.Is(tokenErr, errExpired) || codeErr != nil {
		t.Errorf("what was to stay: %v, %v, %v, %v", sessionErr, verificationErr, tokenErr, codeErr)
	}
}

// addExpiredTokens writes many rows in one transaction, which is quicker than
// the disk is.
func addExpiredTokens(t *testing.T, r repository, a account, n int) error {
	t.Helper()
	return r.db.Write(t.Context(), func(tx *store.Tx) error {
		for i := range n {
			_, err := tx.ExecContext(t.Context(), "INSERT INTO login_tokens (hash, tenant, account, expires, forget) VALUES ($1, $2, $3, $4, $4)",
				fmt.Sprint(i), a.tenant, a.id, start.UnixNano())
			if err != nil {
				return err
			}
		}
		return nil
	})
}

func aRenewedHashLosesToANewPassword(t *testing.T, r repository) {
	read := mustCreate(t, r, someone("alice", "1"))
	if err := r.changePassword(t.Context(), read, "new password", start); err != nil {
		t.Fatal(err)
	}
	if err := r.renewPassword(t.Context(), read, "old password at another cost"); err != nil {
		t.Fatal(err)
	}
	if now, err := r.accountByID(t.Context(), "alice", "1"); err != nil || now.password != "new password" {
		t.Errorf("the password is %q, %v", now.password, err)
	}
}

// PostgreSQL does not even look for a text with a NUL in it. What is longer than any id
// must not get into the change log, from which all nodes read it.
func idsThatCannotBe(t *testing.T, r repository) {
	for _, id := range []string{"a\x00b", strings.Repeat("x", maxIDBytes+1)} {
		if _, err := r.accountByID(t.Context(), "alice", id); !errors.Is(err, errNotFound) {
			t.Errorf("read: %v", err)
		}
		if err := r.updateAccount(t.Context(), "alice", id, accountChange{}, start); !errors.Is(err, errNotFound) {
			t.Errorf("update: %v", err)
		}
		if err := errors.Join(r.deleteAccount(t.Context(), "alice", id), r.endSessions(t.Context(), "alice", id)); err != nil {
			t.Errorf("delete, end sessions: %v", err)
		}
	}
	var changes int
	if err := r.db.QueryRowContext(t.Context(), "SELECT COUNT(*) FROM changes").Scan(&changes); err != nil || changes != 0 {
		t.Errorf("%d changes were announced, %v", changes, err)
	}
}

func everythingComesBack(t *testing.T, r repository) {
	a := someone("alice", "1")
	a.profile = map[string]string{"": "empty", "quote\"": "ünï\u0000", "sql": "'; --"}
	a.verified = start.Add(time.Nanosecond)
	mustCreate(t, r, a)
	got, err := r.accountByEmail(t.Context(), "alice", a.email)
	if err != nil || fmt.Sprint(got) != fmt.Sprint(a) {
		t.Errorf("stored %v, read %v, %v", a, got, err)
	}
	v := verification{tenant: "alice", account: "1", email: a.email, success: "s", failure: "f", expires: start, forget: start.Add(1)}
	if err := r.addVerification(t.Context(), "token", v); err != nil {
		t.Fatal(err)
	}
	if got, err := r.findVerification(t.Context(), "token", start); err != nil || got != v {
		t.Errorf("stored %v, read %v, %v", v, got, err)
	}
	var ids []string
	for _, id := range []string{"3", "2"} {
		later := someone("alice", id)
		later.created = start.Add(time.Duration(len(ids)))
		mustCreate(t, r, later)
		ids = append(ids, id)
	}
	page, err := r.listAccounts(t.Context(), "alice", page{after: theFirst(), limit: 10})
	order := func(a account) string { return a.id }
	var listed []string
	for _, a := range page {
		listed = append(listed, order(a))
	}
	if err != nil || !slices.Equal(listed, []string{"1", "3", "2"}) {
		t.Errorf("listed %v, %v", listed, err)
	}
}
