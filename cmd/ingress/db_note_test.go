package main

import (
	"fmt"
	"strings"
	"testing"

	"github.com/m3o/ingress/internal/store"
)

func TestTheNoteOnManagedAppsNamesTen(t *testing.T) {
	var managed []string
	for n := range 13 {
		managed = append(managed, fmt.Sprintf("app a%d", n))
	}
	for _, test := range []struct {
		database    string
		managed     []string
		says, lacks string
	}{
		{"", nil, "", "app"},
		{"", managed[:10], "app a9; copy the folders", "more"},
		{"postgres://db.example.com/ingress", managed[:1], "run nothing from source, as these apps and functions (1) do: app a0;", "more"},
		{"postgres://db.example.com/ingress", managed, "(13) do: app a0, app a1, app a2, app a3, app a4, app a5, app a6, app a7, app a8, app a9, and 3 more;", "a10"},
	} {
		var said strings.Builder
		c := &dbImportCmd{}
		c.Database, c.DataDir = databaseURL(test.database), "/data"
		c.noteManaged(&program{stderr: &said}, test.managed)
		if got := said.String(); !strings.Contains(got, test.says) || strings.Contains(got, test.lacks) || strings.Count(got, "\n") > 1 {
			t.Errorf("of %d in %q it says %q", len(test.managed), test.database, got)
		}
	}
}

// TestProgressOnATerminal writes over the line of the table at hand, and elsewhere has
// a line for each table alone.
func TestProgressOnATerminal(t *testing.T) {
	for _, live := range []bool{true, false} {
		var said strings.Builder
		c := &copyProgress{out: &said, live: live}
		c.tell("links", 1000, false)
		c.tell("links", 1500, true)
		c.tell("keys", 1000, false)
		c.end()
		done := fmt.Sprintf("%-24s 1500\n", "links")
		want := done
		if live {
			want = fmt.Sprintf("%-24s 1000 …\r\x1b[K%s%-24s 1000 …\r\x1b[K", "links", done, "keys")
		}
		if got := said.String(); got != want {
			t.Errorf("live %t: %q, want %q", live, got, want)
		}
	}
}

func TestADatabaseWithoutTablesIsShownWithoutATable(t *testing.T) {
	s := databaseStatus{Engine: "PostgreSQL", Exists: true, Status: &store.Status{Known: 8}}
	if got := s.String(); strings.Contains(got, "TABLE") || !strings.Contains(got, "0 of 8") {
		t.Errorf("without tables:\n%s", got)
	}
	s.Tables = []store.TableSize{{Table: "links", Records: 3}}
	if got := s.String(); !strings.Contains(got, "TABLE") || !strings.Contains(got, "links") {
		t.Errorf("with one:\n%s", got)
	}
}
