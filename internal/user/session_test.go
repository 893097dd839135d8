package user_test

import (
	"net/http"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/m3o/ingress/internal/api/apitest"
	"github.com/m3o/ingress/internal/store"
	"github.com/m3o/ingress/internal/user"
)

const wrongLogin = "wrong username, email or password"

func TestASessionLastsUntilItEnds(t *testing.T) {
	p := newPlatform(t)
	id := p.anna(t, apitest.Alice)
	opened := p.ok(t, apitest.Alice, "Login", `{"email": " ANNA@example.com", "password": "correct horse"}`).Session
	if opened.UserID != id || opened.Created != p.clock.Now().Unix() || opened.Expires-opened.Created != 7*24*3600 {
		t.Errorf("opened %+v", opened)
	}
	if len(opened.ID) < 43 {
		t.Errorf("the id %q has fewer than 256 bits", opened.ID)
	}
	body := object("session_id", opened.ID)
	read := p.ok(t, apitest.Alice, "ReadSession", body)
	if read.Session != opened || read.Account.ID != id || read.Account.Email != "anna@example.com" {
		t.Errorf("read %+v", read)
	}
	p.refused(t, apitest.Bob, "ReadSession", body, http.StatusNotFound, "user.readsession", "not found")
	p.ok(t, apitest.Bob, "Logout", body)
	p.ok(t, apitest.Bob, "LogoutAll", object("user_id", id))
	p.ok(t, apitest.Alice, "ReadSession", body)

	p.ok(t, apitest.Alice, "Logout", body)
	p.ok(t, apitest.Alice, "Logout", body)
	p.refused(t, apitest.Alice, "ReadSession", body, http.StatusNotFound, "user.readsession", "not found")

	late := object("session_id", p.login(t, apitest.Alice, password))
	p.clock.advance(7*24*time.Hour - time.Second)
	p.ok(t, apitest.Alice, "ReadSession", late)
	p.clock.advance(time.Second)
	p.refused(t, apitest.Alice, "ReadSession", late, http.StatusNotFound, "user.readsession", "not found")
}

func TestLogoutAllEndsEverySessionOfOneUser(t *testing.T) {
	p := newPlatform(t)
	id := p.anna(t, apitest.Alice)
	p.ok(t, apitest.Alice, "Create", object("username", "bert", "email", "bert@example.com", "password", password))
	first, second := p.login(t, apitest.Alice, password), p.login(t, apitest.Alice, password)
	other := p.ok(t, apitest.Alice, "Login", object("username", "bert", "password", password)).Session.ID
	p.ok(t, apitest.Alice, "LogoutAll", object("user_id", id))
	for _, session := range []string{first, second} {
		p.refused(t, apitest.Alice, "ReadSession", object("session_id", session), http.StatusNotFound, "user.readsession", "not found")
	}
	p.ok(t, apitest.Alice, "ReadSession", object("session_id", other))
}

func TestLoginRefuses(t *testing.T) {
	p := newPlatform(t)
	p.anna(t, apitest.Alice)
	for _, test := range []struct {
		name, key, body string
	}{
		{"a wrong password", apitest.Alice, object("username", "anna", "password", "wrong horse")},
		{"an empty password", apitest.Alice, object("username", "anna")},
		{"an unknown username", apitest.Alice, object("username", "nobody", "password", password)},
		{"an unknown address", apitest.Alice, object("email", "nobody@example.com", "password", password)},
		{"a malformed address", apitest.Alice, object("email", "nobody", "password", password)},
		{"a username that cannot be", apitest.Alice, object("username", "a\nb", "password", password)},
		{"the right address under a wrong username", apitest.Alice, object("username", "nobody", "email", "anna@example.com", "password", password)},
		{"another tenant", apitest.Bob, object("username", "anna", "password", password)},
	} {
		t.Run(test.name, func(t *testing.T) {
			p.refused(t, test.key, "Login", test.body, http.StatusUnauthorized, "user.login", wrongLogin)
		})
	}
	for method, want := range map[string][2]string{
		"Login":       {"user.login", "missing username or email"},
		"Logout":      {"user.logout", "missing session_id"},
		"LogoutAll":   {"user.logoutall", "missing user_id"},
		"ReadSession": {"user.readsession", "missing session_id"},
	} {
		p.refused(t, apitest.Alice, method, `{}`, http.StatusBadRequest, want[0], want[1])
	}
	p.login(t, apitest.Alice, password)
}

func TestGuessingIsSlowedDown(t *testing.T) {
	p := newPlatform(t, func(c *user.Config) {
		c.GuessesPerAccount = user.Rate{Burst: 3, Every: time.Minute}
	})
	p.anna(t, apitest.Alice)
	p.anna(t, apitest.Bob)
	wrong := func(name string) string { return object("username", name, "password", "wrong horse") }
	for range 3 {
		p.refused(t, apitest.Alice, "Login", wrong("anna"), http.StatusUnauthorized, "user.login", wrongLogin)
	}
	// However the name is spelled, and even with the right password.
	for _, body := range []string{wrong("anna"), wrong(" ANNA "), object("username", "anna", "password", password)} {
		res := p.call(t, apitest.Alice, "Login", body)
		wait, err := strconv.Atoi(res.Header.Get("Retry-After"))
		if res.Status != http.StatusTooManyRequests || err != nil || wait < 1 || wait > 60 {
			t.Errorf("Login %s: %d, Retry-After %q: %s", body, res.Status, res.Header.Get("Retry-After"), res.Body)
		}
	}
	// Names without an account are slowed down alike; others are not affected.
	for range 3 {
		p.refused(t, apitest.Alice, "Login", wrong("nobody"), http.StatusUnauthorized, "user.login", wrongLogin)
	}
	if res := p.call(t, apitest.Alice, "Login", wrong("nobody")); res.Status != http.StatusTooManyRequests {
		t.Errorf("an unknown name is told apart: %d %s", res.Status, res.Body)
	}
	p.login(t, apitest.Bob, password)

	p.clock.advance(time.Minute)
	p.login(t, apitest.Alice, password)
	for range 3 { // a login forgives what came before
		p.refused(t, apitest.Alice, "Login", wrong("anna"), http.StatusUnauthorized, "user.login", wrongLogin)
	}
}

func TestGuessesOfOneTenantAreLimitedAltogether(t *testing.T) {
	p := newPlatform(t, func(c *user.Config) {
		c.GuessesPerCaller = user.Rate{Burst: 2, Every: time.Minute}
	})
	p.anna(t, apitest.Alice)
	p.anna(t, apitest.Bob)
	for range 5 {
		p.login(t, apitest.Alice, password) // right ones do not count
	}
	for _, name := range []string{"a", "b"} {
		p.refused(t, apitest.Alice, "Login", object("username", name, "password", "wrong horse"), http.StatusUnauthorized, "user.login", wrongLogin)
	}
	if res := p.call(t, apitest.Alice, "Login", object("username", "c", "password", "wrong horse")); res.Status != http.StatusTooManyRequests {
		t.Errorf("got %d %s", res.Status, res.Body)
	}
	p.login(t, apitest.Bob, password)
}

// While the database cannot be asked nothing is guessed, whatever is asked for.
func TestWhatIsNotJudgedIsNoGuess(t *testing.T) {
	p := newPlatform(t, func(c *user.Config) {
		c.GuessesPerCaller = user.Rate{Burst: 1, Every: time.Minute}
	})
	if err := p.db.Close(); err != nil {
		t.Fatal(err)
	}
	for range 3 {
		for _, call := range [][2]string{
			{"ResetPassword", newPassword("00000000")},
			{"Login", object("username", "anna", "password", password)},
		} {
			if res := p.call(t, apitest.Alice, call[0], call[1]); res.Status < 500 {
				t.Errorf("%s: got %d %s", call[0], res.Status, res.Body)
			}
		}
	}
}

func TestManyGuessesAtOnceAreNoWayAround(t *testing.T) {
	p := newPlatform(t, func(c *user.Config) {
		c.GuessesPerAccount = user.Rate{Burst: 5, Every: time.Minute}
	})
	p.anna(t, apitest.Alice)
	statuses := make(chan int, 50)
	var all sync.WaitGroup
	for range 50 {
		all.Go(func() {
			statuses <- p.call(t, apitest.Alice, "Login", object("username", "anna", "password", "wrong horse")).Status
		})
	}
	all.Wait()
	close(statuses)
	count := map[int]int{}
	for status := range statuses {
		count[status]++
	}
	if count[http.StatusUnauthorized] != 5 || count[http.StatusTooManyRequests] != 45 {
		t.Errorf("statuses %v; want 5 guesses judged and 45 refused", count)
	}
}

func TestAPasswordHashIsRenewedWhenTheCostChanges(t *testing.T) {
	p := newPlatform(t)
	p.anna(t, apitest.Alice)
	before := storedPassword(t, p.db)
	dearer := user.New(user.Config{
		DB: p.db, Mail: p.mail, Log: discard, Now: p.clock.Now,
		Password: user.PasswordCost{Memory: 128, Passes: 2, Threads: 1},
	})
	q := &platform{Server: apitest.NewServer(t, dearer.Service())}
	q.refused(t, apitest.Alice, "Login", object("username", "anna", "password", "wrong horse"), http.StatusUnauthorized, "user.login", wrongLogin)
	if got := storedPassword(t, p.db); got != before {
		t.Fatal("a wrong password renewed the hash")
	}
	session := q.login(t, apitest.Alice, password)
	after := storedPassword(t, p.db)
	if after == before {
		t.Error("the hash was not renewed")
	}
	q.login(t, apitest.Alice, password)
	if got := storedPassword(t, p.db); got != after {
		t.Error("a hash of today's cost was renewed")
	}
	q.ok(t, apitest.Alice, "ReadSession", object("session_id", session))
}

func storedPassword(t *testing.T, db *store.DB) string {
	t.Helper()
	var hash string
	if err := db.QueryRowContext(t.Context(), "SELECT password FROM accounts").Scan(&hash); err != nil {
		t.Fatal(err)
	}
	return hash
}
