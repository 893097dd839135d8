package user

import (
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"runtime"
	"testing"

	"github.com/m3o/ingress/internal/api"
	"github.com/m3o/ingress/internal/store/storetest"
	userpb "github.com/m3o/ingress/proto/user"
)

// loginDuring logs anna in, and has f run between the reading of her account and the
// checking of her password.
func loginDuring(t *testing.T, f func(r repository, anna account) error) (repository, error) {
	t.Helper()
	s := New(Config{DB: storetest.Open(t), Log: slog.New(slog.DiscardHandler), Password: testCost, Hashes: 1})
	anna := someone("alice", "anna")
	anna.password = testCost.hash("correct horse")
	mustCreate(t, s.repo, anna)
	turns := s.hasher.turns
	if err := turns.enter(t.Context(), "another tenant"); err != nil { // the login waits for its turn
		t.Fatal(err)
	}
	answer := make(chan error, 1)
	go func() {
		_, err := s.Login(t.Context(), api.Caller{Tenant: "alice"}, &userpb.LoginRequest{Email: anna.email, Password: "correct horse"})
		answer <- err
	}()
	for waiting := false; !waiting; runtime.Gosched() {
		turns.mu.Lock()
		waiting = turns.lines["alice"] != nil
		turns.mu.Unlock()
	}
	err := f(s.repo, anna)
	turns.leave("another tenant")
	if err != nil {
		t.Error(err)
	}
	return s.repo, <-answer
}

// Whoever changes a password wants those out who know the one before, also when they are
// just coming in.
func TestALoginDoesNotOutlastItsPassword(t *testing.T) {
	r, err := loginDuring(t, func(r repository, anna account) error {
		return r.changePassword(t.Context(), anna, testCost.hash("another horse"), start)
	})
	if known, ok := errors.AsType[*api.Error](err); !ok || known.Code != http.StatusUnauthorized {
		t.Errorf("the login with the former password: %v", err)
	}
	var sessions int
	if err := r.db.QueryRowContext(t.Context(), "SELECT COUNT(*) FROM sessions").Scan(&sessions); err != nil || sessions != 0 {
		t.Errorf("%d sessions, %v", sessions, err)
	}
}

// Another login may have renewed the hash meanwhile, which is no other password.
func TestALoginSucceedsWhileTheHashIsRenewed(t *testing.T) {
	_, err := loginDuring(t, func(r repository, anna account) error {
		return r.renewPassword(t.Context(), anna, testCost.hash("correct horse"))
	})
	if err != nil {
		t.Error(err)
	}
}

// What is remembered for an outage is bounded, whatever tenants keep with their accounts.
func TestKnownSessionsAreBounded(t *testing.T) {
	opened := session{tenant: "alice", account: "anna"}
	small, large := someone("alice", "anna"), someone("alice", "anna")
	for i := range maxProfileBytes / 3 {
		large.profile[fmt.Sprintf("%03x", i)] = ""
	}
	var k known
	for i := range maxKnownSessions + 10 {
		k.put("alice", fmt.Sprint(i), knownSession{session: opened, account: small}, k.begin())
	}
	if n := len(k.sessions); n != maxKnownSessions {
		t.Errorf("%d sessions are known", n)
	}
	for i := range 100 {
		for range 2 { // in place of the first, and not besides
			k.put("alice", fmt.Sprint("large", i), knownSession{session: opened, account: large}, k.begin())
		}
	}
	bytes := 0
	for _, s := range k.sessions {
		bytes += s.bytes()
	}
	if bytes > maxKnownBytes || bytes != k.bytes {
		t.Errorf("they take %d bytes, and %d were counted", bytes, k.bytes)
	}
	if _, ok := k.get("alice", "large99"); !ok {
		t.Error("the latest is not known")
	}
	k.forget(accountKey("alice", "anna"))
	if len(k.sessions) != 0 || k.bytes != 0 {
		t.Errorf("afterwards %d sessions are known, of %d bytes", len(k.sessions), k.bytes)
	}
}
