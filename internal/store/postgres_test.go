package store_test

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/m3o/ingress/internal/certs/certstest"
	"github.com/m3o/ingress/internal/porttest"
	"github.com/m3o/ingress/internal/store"
	"github.com/m3o/ingress/internal/store/storetest"
)

func openPostgres(ctx context.Context, url, password string) (*store.DB, error) {
	return store.OpenPostgres(ctx, store.PostgresOptions{URL: url, Password: password, Log: discard})
}

// Who ends a start is not told that something is wrong with the server.
func TestAStartThatIsGivenUp(t *testing.T) {
	url := storetest.StartPostgres(t).CreateDatabase(t)
	silent, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer silent.Close()
	other, err := pgx.Connect(t.Context(), url)
	if err != nil {
		t.Fatal(err)
	}
	defer other.Close(context.Background())
	if _, err := other.Exec(t.Context(), "SELECT pg_advisory_lock(x'696e6772657373'::bigint)"); err != nil {
		t.Fatal(err)
	}
	// With what was sent unread, this resets the connection: that the server did is seen
	// when the start is given up already.
	reset := func(conn net.Conn, cancel func()) { cancel(); _ = conn.Close() }
	for _, test := range []struct {
		name, url string
		accepted  func(conn net.Conn, cancel func())
	}{
		{"a server that says nothing", "postgres://tests@" + silent.Addr().String() + "/tests?sslmode=disable", func(conn net.Conn, cancel func()) { cancel() }},
		{"a connection that is reset then", "postgres://tests@" + silent.Addr().String() + "/tests?sslmode=disable", reset},
		{"another node that has the schema", url, nil},
	} {
		t.Run(test.name, func(t *testing.T) {
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			if test.accepted != nil {
				accepted := make(chan net.Conn, 1)
				go func() {
					conn, err := silent.Accept()
					if err != nil {
						t.Errorf("the server: %v", err)
						cancel()
					} else {
						test.accepted(conn, cancel)
					}
					accepted <- conn
				}()
				defer func() {
					if conn := <-accepted; conn != nil {
						_ = conn.Close()
					}
				}()
			}
			_, err := store.OpenPostgres(ctx, store.PostgresOptions{URL: test.url, Log: slog.New(slog.NewTextHandler(onWrite(cancel), nil))})
			if !errors.Is(err, context.Canceled) || strings.Contains(err.Error(), "check host") || strings.Contains(err.Error(), "10m") {
				t.Errorf("it says %v", err)
			}
		})
	}
}

// onWrite is a writer that calls itself.
type onWrite func()

func (f onWrite) Write(p []byte) (int, error) { f(); return len(p), nil }

// run runs statements on a database as an operator would.
func run(t *testing.T, url string, statements ...string) {
	t.Helper()
	conn, err := pgx.Connect(t.Context(), url)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close(context.Background())
	for _, s := range statements {
		if _, err := conn.Exec(t.Context(), s); err != nil {
			t.Fatalf("%s: %v", s, err)
		}
	}
}

// with returns a URL with some of it changed.
func with(t *testing.T, raw string, change func(*url.URL)) string {
	t.Helper()
	u, err := url.Parse(raw)
	if err != nil {
		t.Fatal(err)
	}
	change(u)
	return u.String()
}

func TestADatabaseThatCannotBeUsedIsSaidInOneLine(t *testing.T) {
	server := storetest.StartPostgres(t)
	fresh := func(t *testing.T) string { return server.CreateDatabase(t) }
	closed := porttest.Closed(t)
	for _, test := range []struct {
		name string
		url  func(t *testing.T) string
		says []string
	}{
		{"no URL", func(*testing.T) string { return "hunter2" }, []string{"postgres://user@host"}},
		{"a password that is not escaped", func(*testing.T) string { return "postgres://u:hunter2/#@localhost/x" }, []string{"postgres://user@host", "%2F"}},
		{"another scheme", func(*testing.T) string { return "mysql://u:hunter2@localhost/x" }, []string{"postgres://user@host"}},
		{"no database", func(*testing.T) string { return "postgres://u:hunter2@localhost" }, []string{"names no database"}},
		{"a broken parameter", func(*testing.T) string { return "postgres://u:hunter2@localhost/x?sslmode=perhaps" }, []string{"sslmode"}},
		{"a port that is none", func(*testing.T) string { return "postgres://u:hunter2@localhost:99999/x" }, []string{"port"}},
		{"nobody listens", func(*testing.T) string { return "postgres://u:hunter2@" + closed + "/x" }, []string{"cannot be reached", closed}},
		{"no such database", func(t *testing.T) string {
			return with(t, fresh(t), func(u *url.URL) { u.Path, u.User = "/nowhere", url.UserPassword("tests", "hunter2") })
		}, []string{"no such database", "nowhere", "createdb"}},
		{"no such user", func(t *testing.T) string {
			return with(t, fresh(t), func(u *url.URL) { u.User = url.UserPassword("stranger", "hunter2") })
		}, []string{"does not let us in", "stranger"}},
		{"no writes", func(t *testing.T) string {
			u := fresh(t)
			run(t, u, "ALTER DATABASE "+nameIn(t, u)+" SET default_transaction_read_only = on")
			return u
		}, []string{"takes no writes", "target_session_attrs"}},
		{"no writes where they are asked for", func(t *testing.T) string {
			u := fresh(t)
			run(t, u, "ALTER DATABASE "+nameIn(t, u)+" SET default_transaction_read_only = on")
			return with(t, u, func(u *url.URL) { u.RawQuery = "target_session_attrs=read-write&sslmode=disable" })
		}, []string{"no server there takes writes", "target_session_attrs"}},
		{"the same where TLS is tried first", func(t *testing.T) string {
			u := fresh(t)
			run(t, u, "ALTER DATABASE "+nameIn(t, u)+" SET default_transaction_read_only = on")
			return with(t, u, func(u *url.URL) { u.RawQuery = "target_session_attrs=read-write" })
		}, []string{"no server there takes writes", "target_session_attrs"}},
		{"no connection left", func(t *testing.T) string {
			u := fresh(t)
			run(t, u, "CREATE ROLE crowd LOGIN CONNECTION LIMIT 0")
			return with(t, u, func(u *url.URL) { u.User = url.UserPassword("crowd", "hunter2") })
		}, []string{"no connection left", "--database-connections"}},
		{"another encoding", func(t *testing.T) string {
			u := fresh(t)
			run(t, u, "CREATE DATABASE latin ENCODING 'LATIN1' LOCALE 'C' TEMPLATE template0")
			return with(t, u, func(u *url.URL) { u.Path = "/latin" })
		}, []string{"LATIN1", "UTF8"}},
		{"no right to make tables", func(t *testing.T) string {
			u := fresh(t)
			run(t, u, "CREATE ROLE guest LOGIN", "REVOKE CREATE ON SCHEMA public FROM public")
			return with(t, u, func(u *url.URL) { u.User = url.UserPassword("guest", "hunter2") })
		}, []string{"permission denied", "createdb --owner"}},
		{"no schema", func(t *testing.T) string {
			return with(t, fresh(t), func(u *url.URL) { u.RawQuery = "search_path=nowhere" })
		}, []string{"no schema has been selected", "CREATE SCHEMA", "search_path"}},
		{"a misspelt parameter", func(t *testing.T) string {
			return with(t, fresh(t), func(u *url.URL) { u.RawQuery = "sslmod=disable" })
		}, []string{"does not know a parameter", "sslmod"}},
		{"no TLS", func(t *testing.T) string {
			return with(t, fresh(t), func(u *url.URL) { u.RawQuery = "sslmode=require" })
		}, []string{"does not speak TLS", "sslmode"}},
		{"a newer release", func(t *testing.T) string {
			u := fresh(t)
			storetest.OpenURL(t, u)
			run(t, u, "INSERT INTO goose_db_version (version_id, is_applied) VALUES (99999, true)")
			return u
		}, []string{"newer release", "99999"}},
	} {
		t.Run(test.name, func(t *testing.T) {
			u := test.url(t)
			db, err := openPostgres(t.Context(), u, "")
			if err == nil {
				db.Close()
				t.Fatal("it opened")
			}
			for _, want := range test.says {
				if !strings.Contains(err.Error(), want) {
					t.Errorf("%q is not in: %v", want, err)
				}
			}
			if text := err.Error(); strings.Contains(text, "hunter2") || strings.Contains(text, "\n") {
				t.Errorf("it shows a password, or has several lines: %q", text)
			}
		})
	}
}

// nameIn is the database that a URL names.
func nameIn(t *testing.T, raw string) string {
	t.Helper()
	u, err := url.Parse(raw)
	if err != nil {
		t.Fatal(err)
	}
	return strings.TrimPrefix(u.Path, "/")
}

func TestPasswordsAreNeverShown(t *testing.T) {
	for raw, want := range map[string]string{
		"postgres://u:hunter2@h/d":                         "postgres://u:xxxxx@h/d",
		"postgres://u@h/d?password=hunter2":                "postgres://u@h/d?password=xxxxx",
		"postgres://u@h/d?sslpassword=hunter2&sslmode=off": "postgres://u@h/d?sslmode=off&sslpassword=xxxxx",
		"postgres://u@h/d":                                 "postgres://u@h/d",
		"postgres://u:hunter2@h:bad/d":                     "(a URL that cannot be read)",
		"postgres://u@h/d?password=hunter2;3":              "(a URL that cannot be read)",
		"postgres://u:1#hunter2@h/d":                       "(a URL that cannot be read)",
	} {
		if got := store.RedactDatabase(raw); got != want {
			t.Errorf("%s is shown as %s, want %s", raw, got, want)
		}
	}
}

// The URL says how much is asked of a server's certificate, as libpq's does.
func TestConnectionsAreEncryptedAsTheURLSays(t *testing.T) {
	server := storetest.StartPostgres(t)
	u := server.CreateDatabase(t)
	ca, stranger := certstest.New(t), certstest.New(t)
	cert, key := ca.Issue("localhost")
	if err := server.Encrypt(cert, key); err != nil {
		t.Fatal(err)
	}
	if err := server.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	root := func(of *certstest.CA) string {
		path := filepath.Join(t.TempDir(), "root.pem")
		if err := os.WriteFile(path, of.PEM(), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	for _, test := range []struct {
		name, host, query, says string
	}{
		{"encrypted, whoever it is", "127.0.0.1", "sslmode=require", ""},
		{"in the clear", "127.0.0.1", "sslmode=disable", "does not let us in"},
		{"from the right authority, by its name", "localhost", "sslmode=verify-full&sslrootcert=" + root(ca), ""},
		{"by another name", "127.0.0.1", "sslmode=verify-full&sslrootcert=" + root(ca), "certificate"},
		{"from the right authority, by any name", "127.0.0.1", "sslmode=verify-ca&sslrootcert=" + root(ca), ""},
		{"from another authority", "localhost", "sslmode=verify-full&sslrootcert=" + root(stranger), "certificate"},
		{"an authority that is not there", "localhost", "sslmode=verify-full&sslrootcert=/nonexistent", "nonexistent"},
	} {
		t.Run(test.name, func(t *testing.T) {
			db, err := openPostgres(t.Context(), with(t, u, func(u *url.URL) { u.Host, u.RawQuery = test.host+":"+u.Port(), test.query }), "")
			if err == nil {
				err = db.Close()
			}
			if (err == nil) != (test.says == "") || err != nil && !strings.Contains(err.Error(), test.says) {
				t.Errorf("got %v, want %q", err, test.says)
			}
		})
	}
}

func TestAPasswordIsTakenFromWhereItIsGiven(t *testing.T) {
	server := storetest.StartPostgres(t)
	u := server.CreateDatabase(t)
	if err := server.Guard("guarded", "hunter2"); err != nil {
		t.Fatal(err)
	}
	as := func(user *url.Userinfo) string { return with(t, u, func(u *url.URL) { u.User = user }) }
	file := filepath.Join(t.TempDir(), "pgpass")
	if err := os.WriteFile(file, []byte("*:*:*:guarded:hunter2\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, test := range []struct {
		name, url, password string
		variables           map[string]string
		says                string
	}{
		{"in the URL", as(url.UserPassword("guarded", "hunter2")), "", nil, ""},
		{"beside it", as(url.User("guarded")), "hunter2", nil, ""},
		{"beside it, and wrong in it", as(url.UserPassword("guarded", "wrong")), "hunter2", nil, ""},
		{"in libpq's variable", as(url.User("guarded")), "", map[string]string{"PGPASSWORD": "hunter2"}, ""},
		{"in libpq's file", as(url.User("guarded")), "", map[string]string{"PGPASSFILE": file}, ""},
		{"a wrong one", as(url.UserPassword("guarded", "hunter3")), "", nil, "does not let us in"},
		{"none", as(url.User("guarded")), "", nil, "INGRESS_DATABASE_PASSWORD"},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Setenv("HOME", t.TempDir()) // which has no such file
			for name, value := range test.variables {
				t.Setenv(name, value)
			}
			db, err := openPostgres(t.Context(), test.url, test.password)
			if err == nil {
				err = db.Close()
			}
			if (err == nil) != (test.says == "") || err != nil && !strings.Contains(err.Error(), test.says) {
				t.Fatalf("got %v, want %q", err, test.says)
			}
			if err != nil && (strings.Contains(err.Error(), "hunter") || strings.Contains(err.Error(), "\n")) {
				t.Errorf("it shows a password, or has several lines: %q", err)
			}
		})
	}
}

// A server that takes connections and says nothing does not hold a start for ever.
func TestASilentServerEndsTheStart(t *testing.T) {
	silent, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer silent.Close() // connections wait in its queue
	_, err = openPostgres(t.Context(), "postgres://u@"+silent.Addr().String()+"/d?connect_timeout=1&sslmode=disable", "")
	if err == nil || !strings.Contains(err.Error(), "cannot be reached") {
		t.Errorf("got %v", err)
	}
}

func TestManyNodesBringTheSchemaUpToDateAtOnce(t *testing.T) {
	u := storetest.StartPostgres(t).CreateDatabase(t)
	var opening sync.WaitGroup
	for n := range 10 {
		opening.Go(func() {
			db, err := openPostgres(t.Context(), u, "")
			if err != nil {
				t.Error(err)
				return
			}
			if err := db.SetSetting(t.Context(), fmt.Sprint("node", n), ""); err != nil {
				t.Error(err)
			}
			if err := db.Close(); err != nil {
				t.Error(err)
			}
		})
	}
	opening.Wait()
	if settings, err := storetest.OpenURL(t, u).Settings(t.Context()); err != nil || len(settings) != 10 {
		t.Errorf("found %v, %v", settings, err)
	}
}

// Many writers on several nodes read and write the same row: none of it is lost.
func TestTransactionsThatMeetAllCount(t *testing.T) {
	u := storetest.StartPostgres(t).CreateDatabase(t)
	const nodes, each = 3, 20
	var attempts atomic.Int64
	var writers sync.WaitGroup
	for range nodes {
		db := storetest.OpenURL(t, u)
		for range 3 {
			writers.Go(func() {
				for range each {
					err := db.Write(t.Context(), func(tx *store.Tx) error {
						attempts.Add(1)
						return addOne(t.Context(), tx)
					})
					if err != nil {
						t.Error(err)
					}
				}
			})
		}
	}
	writers.Wait()
	settings, err := storetest.OpenURL(t, u).Settings(t.Context())
	if want := fmt.Sprint(nodes * 3 * each); err != nil || settings["count"] != want {
		t.Errorf("counted %s, %v, want %s", settings["count"], err, want)
	}
	t.Logf("%d attempts for %d transactions", attempts.Load(), nodes*3*each)
}

// addOne reads a number and writes the next one, as two statements.
func addOne(ctx context.Context, tx *store.Tx) error {
	var n int
	var text string
	err := tx.QueryRowContext(ctx, "SELECT value FROM settings WHERE name = 'count'").Scan(&text)
	if err != nil && !store.IsNoRows(err) {
		return err
	}
	if _, err := fmt.Sscan(text, &n); text != "" && err != nil {
		return err
	}
	_, err = tx.ExecContext(ctx, `
		INSERT INTO settings (name, value, updated) VALUES ('count', $1, 0)
		ON CONFLICT (name) DO UPDATE SET value = excluded.value`, fmt.Sprint(n+1))
	return err
}

// A connection that is cut before the commit costs nothing but another attempt.
func TestALostConnectionBeforeTheCommitIsMadeUpFor(t *testing.T) {
	u := storetest.StartPostgres(t).CreateDatabase(t)
	db := storetest.OpenURL(t, u)
	attempts := 0
	err := db.Write(t.Context(), func(tx *store.Tx) error {
		attempts++
		if err := insert(tx, "a"); err != nil {
			return err
		}
		if attempts == 1 {
			run(t, u, "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'm3o-ingress'")
		}
		return insert(tx, "b")
	})
	if err != nil || attempts != 2 {
		t.Errorf("%d attempts, %v", attempts, err)
	}
	if settings, err := db.Settings(t.Context()); err != nil || len(settings) != 2 {
		t.Errorf("found %v, %v", settings, err)
	}
}

// A commit that did not reach the server, and one whose answer was lost, look alike:
// neither is tried again, and both are said to be unsure.
func TestACommitWithoutAnAnswerIsSaidToBeUnsure(t *testing.T) {
	server := storetest.StartPostgres(t)
	u := server.CreateDatabase(t)
	proxy := server.NewProxy(t)
	db := storetest.OpenURL(t, proxy.Through(t, u))
	for name, lose := range map[string]func(){"unasked": proxy.LoseCommit, "unanswered": proxy.LoseAnswer, "silent": func() {}} {
		t.Run(name, func(t *testing.T) {
			attempts := 0
			lose()
			err := db.Write(t.Context(), func(tx *store.Tx) error {
				attempts++
				if name == "silent" {
					defer proxy.Stall()
				}
				return insert(tx, name)
			})
			proxy.Heal()
			if !store.IsUnsure(err) || !strings.Contains(err.Error(), "look whether it was done") || attempts != 1 {
				t.Errorf("%d attempts, %v", attempts, err)
			}
		})
	}
	settings, err := db.Settings(t.Context())
	if _, done := settings["unanswered"]; err != nil || !done {
		t.Errorf("what was done is not there: %v, %v", settings, err)
	}
	if _, done := settings["unasked"]; done {
		t.Error("what the server never heard of is there")
	}
}

// With a receipt it can be tried again, and is done once.
func TestWhatHasAReceiptIsDoneOnce(t *testing.T) {
	server := storetest.StartPostgres(t)
	proxy := server.NewProxy(t)
	db := storetest.OpenURL(t, proxy.Through(t, server.CreateDatabase(t)))
	for _, lose := range []func(){proxy.LoseCommit, proxy.LoseAnswer, proxy.LoseAnswer, func() {}} {
		lose()
		receipt := rand.Text()
		tries := 0
		for {
			tries++
			err := db.WriteOnce(t.Context(), receipt, func(tx *store.Tx) error { return addOne(t.Context(), tx) })
			if err == nil {
				break
			}
			if !store.IsUnsure(err) || tries > 2 {
				t.Fatal(err)
			}
		}
	}
	if settings, err := db.Settings(t.Context()); err != nil || settings["count"] != "4" {
		t.Errorf("counted %v, %v", settings, err)
	}
}

// A server that falls silent in the middle of a transaction is given up, whatever
// context the statement has.
func TestAServerThatFallsSilentInATransactionIsGivenUp(t *testing.T) {
	server := storetest.StartPostgres(t)
	proxy := server.NewProxy(t)
	db := storetest.OpenURL(t, proxy.Through(t, server.CreateDatabase(t)))
	for name, statement := range map[string]func(tx *store.Tx) error{
		"that writes": func(tx *store.Tx) error {
			_, err := tx.ExecContext(context.Background(), "INSERT INTO settings (name, value, updated) VALUES ('a', 'b', 0)")
			return err
		},
		"that reads": func(tx *store.Tx) error {
			var n int
			return tx.QueryRowContext(context.Background(), "SELECT count(*) FROM settings").Scan(&n)
		},
	} {
		t.Run(name, func(t *testing.T) {
			defer proxy.Heal()
			defer time.AfterFunc(patience, proxy.Heal).Stop() // else a test that fails never ends
			err := db.Write(t.Context(), func(tx *store.Tx) error {
				if err := tx.Changed(t.Context(), "setting", "a"); err != nil {
					return err
				}
				proxy.Stall()
				return statement(tx)
			})
			var down interface{ Unavailable() string }
			if !errors.As(err, &down) || store.IsUnsure(err) || !strings.Contains(down.Unavailable(), "cannot be reached; nothing was written") {
				t.Errorf("got %v", err)
			}
		})
	}
	defer time.AfterFunc(2*patience, proxy.Heal).Stop()
	err := db.Read(t.Context(), func(q store.Querier) error {
		proxy.Stall()
		var n int
		return q.QueryRowContext(context.Background(), "SELECT count(*) FROM settings").Scan(&n)
	})
	proxy.Heal()
	if _, ok := errors.AsType[*store.UnavailableError](err); !ok {
		t.Errorf("a read: %v", err)
	}
	if settings, err := db.Settings(t.Context()); err != nil || len(settings) != 0 {
		t.Errorf("afterwards there is %v, %v", settings, err)
	}
}

func TestALockThatIsHeldTooLongIsSaid(t *testing.T) {
	u := storetest.StartPostgres(t).CreateDatabase(t)
	db := storetest.OpenURL(t, u)
	if err := db.SetSetting(t.Context(), "a", "b"); err != nil {
		t.Fatal(err)
	}
	conn, err := pgx.Connect(t.Context(), u)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close(context.Background())
	if _, err := conn.Exec(t.Context(), "BEGIN; UPDATE settings SET value = 'c'"); err != nil {
		t.Fatal(err)
	}
	err = db.SetSetting(t.Context(), "a", "d")
	var down *store.UnavailableError
	if !errors.As(err, &down) {
		t.Errorf("got %v", err)
	}
	if _, err := conn.Exec(t.Context(), "ROLLBACK"); err != nil {
		t.Fatal(err)
	}
	if err := db.SetSetting(t.Context(), "a", "d"); err != nil {
		t.Errorf("afterwards: %v", err)
	}
}

func TestNodesAgreeOnTheSecretKey(t *testing.T) {
	u := storetest.StartPostgres(t).CreateDatabase(t)
	db := storetest.OpenURL(t, u)
	const first, second = "aa", "bb"
	sealer := func(keys ...string) *store.Sealer {
		var text string
		for _, k := range keys {
			text += strings.Repeat(k, 32) + " "
		}
		s, err := store.OpenSealer("", text)
		if err != nil {
			t.Fatal(err)
		}
		return s
	}
	for _, step := range []struct {
		name   string
		keys   []string
		agrees bool
	}{
		{"the first to come", []string{first}, true},
		{"another with the same", []string{first}, true},
		{"one with another", []string{second}, false},
		{"one that has a newer one, too", []string{second, first}, true},
		{"one that has not heard of it", []string{first}, false},
		{"one that has the newer one alone", []string{second}, true},
	} {
		if err := db.AgreeOnSecret(t.Context(), sealer(step.keys...)); errors.Is(err, store.ErrOtherSecret) == step.agrees || (err == nil) != step.agrees {
			t.Errorf("%s: %v", step.name, err)
		}
	}
	if err := storetest.Open(t).AgreeOnSecret(t.Context(), sealer(second)); err != nil {
		t.Errorf("on one machine: %v", err)
	}
}

// Whoever may not read what ingresses have written is told so, and to be one of them.
func TestAStrangerToTheDatabaseIsTold(t *testing.T) {
	u := storetest.StartPostgres(t).CreateDatabase(t)
	storetest.OpenURL(t, u)
	run(t, u, "CREATE ROLE stranger LOGIN")
	stranger := with(t, u, func(u *url.URL) { u.User = url.UserPassword("stranger", "hunter2") })
	db, err := store.OpenPostgresToRead(t.Context(), store.PostgresOptions{URL: stranger, Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	_, err = db.Status(t.Context())
	if err == nil || !strings.Contains(err.Error(), "permission denied") || !strings.Contains(err.Error(), "that the ingresses use") || strings.Contains(err.Error(), "hunter2") {
		t.Errorf("got %v", err)
	}
}

// A session keeps the default_transaction_read_only that it began with, and would refuse
// writes for as long as it is in the pool.
func TestWritesGoOnSoonAfterADatabaseWasReadOnly(t *testing.T) {
	u := storetest.StartPostgres(t).CreateDatabase(t)
	db, _ := node(t, u)
	name := nameIn(t, u)
	run(t, u, "ALTER DATABASE "+name+" SET default_transaction_read_only = on",
		"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()")
	// As many at once as there are connections that could be left over.
	written := func() (n int) {
		done := make(chan error, 8)
		for i := range cap(done) {
			go func() { done <- db.SetSetting(context.WithoutCancel(t.Context()), fmt.Sprint("setting", i), "") }()
		}
		for range cap(done) {
			if err := <-done; err == nil {
				n++
			}
		}
		return n
	}
	if written() > 0 {
		t.Error("it was written")
	}
	run(t, with(t, u, func(u *url.URL) { u.RawQuery = "sslmode=disable&default_transaction_read_only=off" }), "ALTER DATABASE "+name+" RESET default_transaction_read_only")
	eventually(t, "all writes", func() bool { return written() == 8 })
}
