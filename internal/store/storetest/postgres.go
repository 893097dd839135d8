package storetest

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/url"
	"os"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/m3o/ingress/internal/store"
)

// URLVariable names the variable with the URL of a PostgreSQL server that tests may
// make databases on. Without it, and where the server itself is made to fail, they start
// one of their own.
const URLVariable = "INGRESS_TEST_DATABASE_URL"

// Postgres returns an opener of empty databases on a real PostgreSQL server, which
// ends with the test. Where there is none the test is skipped. Work on them takes as long
// as it takes, as it does in SQLite: a slow machine is no silent server.
func Postgres(t testing.TB) func(testing.TB) *store.DB {
	t.Helper()
	server := givenServer(t)
	if server == nil {
		server = StartPostgres(t)
	}
	return func(t testing.TB) *store.DB {
		t.Helper()
		return open(t, store.PostgresOptions{URL: server.CreateDatabase(t), Patient: true})
	}
}

// OpenURL opens a PostgreSQL database until the test ends.
func OpenURL(t testing.TB, url string) *store.DB {
	t.Helper()
	return open(t, store.PostgresOptions{URL: url})
}

func open(t testing.TB, o store.PostgresOptions) *store.DB {
	t.Helper()
	o.Log = slog.New(slog.DiscardHandler)
	db, err := store.OpenPostgres(t.Context(), o)
	if err != nil {
		t.Fatalf("open a database: %v", err)
	}
	t.Cleanup(func() {
		if err := db.Close(); err != nil {
			t.Errorf("close the database: %v", err)
		}
	})
	return db
}

// givenServer is the one that URLVariable names, or nil.
func givenServer(t testing.TB) *Server {
	t.Helper()
	raw := os.Getenv(URLVariable)
	if raw == "" {
		return nil
	}
	u, err := url.Parse(raw)
	if err != nil {
		t.Fatalf("%s is no URL", URLVariable)
	}
	return &Server{base: *u}
}

// CreateDatabase makes an empty database and returns its URL. It is removed with the
// server, or when the test ends.
func (s *Server) CreateDatabase(t testing.TB) string {
	t.Helper()
	name, err := s.NewDatabase()
	if err != nil {
		t.Fatal(err)
	}
	if s.cmd == nil { // a server that stays
		t.Cleanup(func() {
			if err := s.exec("DROP DATABASE IF EXISTS " + name + " WITH (FORCE)"); err != nil {
				t.Error(err)
			}
		})
	}
	return s.DatabaseURL(name)
}

// NewDatabase makes an empty database and returns its name.
func (s *Server) NewDatabase() (name string, err error) {
	name = fmt.Sprintf("test_%d_%d", os.Getpid(), s.made.Add(1))
	return name, s.exec("CREATE DATABASE " + name)
}

// DatabaseURL is the URL of a database of the server.
func (s *Server) DatabaseURL(name string) string {
	u := s.base
	u.Path = "/" + name
	return u.String()
}

// exec runs a statement in the server's own database.
func (s *Server) exec(statement string) error {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	conn, err := pgx.Connect(ctx, s.base.String())
	if err != nil {
		return fmt.Errorf("connect to PostgreSQL: %w", err)
	}
	_, err = conn.Exec(ctx, statement)
	if err := errors.Join(err, conn.Close(ctx)); err != nil {
		return fmt.Errorf("%s: %w", statement, err)
	}
	return nil
}
