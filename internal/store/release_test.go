package store_test

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/m3o/ingress/internal/skiptest"
	"github.com/m3o/ingress/internal/store"
	"github.com/m3o/ingress/internal/store/storetest"
)

// startRelease starts a server of a major version, whichever is installed.
func startRelease(t *testing.T, version int) *storetest.Server {
	t.Helper()
	programs := filepath.Join("testdata", "postgres", "node_modules", fmt.Sprint("postgres-", version), "native")
	if _, err := os.Stat(programs); err != nil {
		skiptest.Skip(t, "PostgreSQL's releases are not here; to get them, on Linux and amd64: npm ci --prefix internal/store/testdata/postgres")
	}
	server := storetest.StartRelease(t, programs)
	db, err := store.OpenPostgresToRead(t.Context(), store.PostgresOptions{URL: server.CreateDatabase(t), Log: discard})
	if err != nil {
		if version < 14 {
			return server
		}
		t.Fatal(err)
	}
	defer db.Close()
	var running string
	if err := db.QueryRowContext(t.Context(), "SELECT current_setting('server_version')").Scan(&running); err != nil || !strings.HasPrefix(running, fmt.Sprint(version, ".")) {
		t.Fatalf("it is PostgreSQL %s, %v; want %d", running, err, version)
	}
	return server
}

func TestAServerThatIsTooOldIsSaidInOneLine(t *testing.T) {
	u := startRelease(t, 13).CreateDatabase(t)
	db, err := openPostgres(t.Context(), u, "")
	if err == nil {
		db.Close()
		t.Fatal("it opened")
	}
	if text := err.Error(); !strings.Contains(text, "it is PostgreSQL 13, and 14 or newer is needed") || strings.Contains(text, "\n") {
		t.Errorf("it says %q", text)
	}
}

// What depends on the server's release: the schema, snapshots, conflicts, copying, and the
// server's identity.
func TestTheOldestAndTheNewestRelease(t *testing.T) {
	for _, version := range []int{14, 18} {
		t.Run(fmt.Sprint(version), func(t *testing.T) {
			server := startRelease(t, version)
			u := ownedBy(t, "ordinary", server.CreateDatabase(t))
			one, heardByOne := node(t, u)
			two, heardByTwo := node(t, u)
			gaps := gapsOf(two)

			addAtOnce(t, 20, one, two)
			heardByOne.await(t, patience, "sum")
			heardByTwo.await(t, patience, "sum")

			file := storetest.Open(t)
			fill(t, file)
			moved := storetest.OpenURL(t, server.CreateDatabase(t))
			if _, err := moved.Import(t.Context(), file, nil); err != nil {
				t.Fatal(err)
			}
			if got, want := records(t, moved), records(t, file); !slices.Equal(got, want) {
				t.Errorf("there are\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
			}

			if err := server.Stop(); err != nil {
				t.Fatal(err)
			}
			eventually(t, "the node to be behind", func() bool { return two.Behind() > 2*time.Second })
			if err := server.Start(t.Context()); err != nil {
				t.Fatal(err)
			}
			eventually(t, "the node to be up to date", func() bool { return two.Behind() < 2*time.Second })
			eventually(t, "a write", func() bool { return one.SetSetting(t.Context(), "after", "") == nil })
			heardByTwo.await(t, patience, "after")
			if len(gaps) > 0 {
				t.Error("a short outage counts as a gap")
			}
		})
	}
}

// addAtOnce has every database add to one number at the same time.
func addAtOnce(t *testing.T, each int, all ...*store.DB) {
	t.Helper()
	var adding sync.WaitGroup
	for _, db := range all {
		adding.Go(func() {
			for range each {
				err := db.Write(t.Context(), func(tx *store.Tx) error {
					var sum int
					err := tx.QueryRowContext(t.Context(), "SELECT coalesce((SELECT value::int FROM settings WHERE name = 'sum'), 0)").Scan(&sum)
					if err != nil {
						return err
					}
					_, err = tx.ExecContext(t.Context(), "INSERT INTO settings (name, value, updated) VALUES ('sum', $1, 0) ON CONFLICT (name) DO UPDATE SET value = excluded.value", fmt.Sprint(sum+1))
					if err != nil {
						return err
					}
					return tx.Changed(t.Context(), "setting", "sum")
				})
				if err != nil {
					t.Error(err)
				}
			}
		})
	}
	adding.Wait()
	settings, err := all[0].Settings(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if want := fmt.Sprint(each * len(all)); settings["sum"] != want {
		t.Errorf("they add up to %s, want %s", settings["sum"], want)
	}
}
