package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"path/filepath"
	"slices"

	"github.com/m3o/ingress/internal/store"
)

// databaseURL is the URL of a PostgreSQL database. It may have a password in it, which
// is never shown.
type databaseURL string

// String returns it without secrets.
func (u databaseURL) String() string {
	if u == "" {
		return ""
	}
	return store.RedactDatabase(string(u))
}

// GoString is String, for the verb %#v.
func (u databaseURL) GoString() string { return u.String() }

// shared reports whether the state is kept where other ingresses reach it, too.
func (c *config) shared() bool { return c.Database != "" }

// validateDatabase checks what can be told without the server.
func (c *config) validateDatabase(env func(string) string) error {
	if !c.shared() {
		return nil
	}
	if c.remote() {
		return errors.New("--database: with --api-address nothing is stored here; give one of the two")
	}
	if err := store.ParsePostgres(string(c.Database)); err != nil {
		return fmt.Errorf("--database: %w", err)
	}
	if env("INGRESS_SECRET_KEY") == "" {
		return errors.New("--database: INGRESS_SECRET_KEY is not set; it encrypts what is secret in the database and must be the same on all ingresses. " +
			"Make one with: openssl rand -hex 32. Moving from one machine, take the one in DATA/secret.key")
	}
	if err := checkCounts([]namedCount{{"--database-connections", c.DatabaseConnections, 2}}); err != nil {
		return err
	}
	return checkPositive([]namedDuration{{"--auth-max-stale", c.AuthMaxStale}})
}

// checkShown refuses a password where every user of the machine sees it.
func (c *config) checkShown(list []setting) error {
	at := slices.IndexFunc(list, func(s setting) bool { return s.Name == "database" })
	if at >= 0 && list[at].Source == fromFlag && c.Database.String() != string(c.Database) {
		return errors.New("--database: there is a password in it, which process lists show; give that in INGRESS_DATABASE_PASSWORD, or the whole in INGRESS_DATABASE or the configuration file")
	}
	return nil
}

// openDatabase opens the database that the configuration names.
func (c *config) openDatabase(ctx context.Context, given secrets, log *slog.Logger) (*store.DB, error) {
	if !c.shared() {
		return store.Open(ctx, filepath.Join(c.DataDir, databaseFile), log)
	}
	db, err := store.OpenPostgres(ctx, c.postgres(given, log))
	if err != nil {
		return nil, fmt.Errorf("--database: %w", err)
	}
	return db, nil
}

// postgres says how to reach the database that is shared.
func (c *config) postgres(given secrets, log *slog.Logger) store.PostgresOptions {
	return store.PostgresOptions{URL: string(c.Database), Password: given.database, Connections: c.DatabaseConnections, Log: log}
}

// databasePlace is where everything is stored, to be shown.
func (c *config) databasePlace() string {
	if c.shared() {
		return c.Database.String()
	}
	return filepath.Join(c.DataDir, databaseFile)
}
