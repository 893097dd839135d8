package store_test

import (
	"bytes"
	"compress/gzip"
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"math"
	"slices"
	"strings"
	"testing"

	"github.com/m3o/ingress/internal/store"
	"github.com/m3o/ingress/internal/store/storetest"
)

// TestEverySchemaIsMovedWhole fails when a migration adds a table or a column that
// nobody has said of whether it is moved.
func TestEverySchemaIsMovedWhole(t *testing.T) {
	if sqlite, postgres := store.KnownSchemas(); sqlite != postgres {
		t.Errorf("SQLite's newest migration is %d and PostgreSQL's %d; give both a file of the same number", sqlite, postgres)
	}
	t.Run("SQLite", func(t *testing.T) {
		compareSchema(t, storetest.Open(t), `
			SELECT m.name, c.name, c.type, c."notnull" = 1 OR c.pk > 0, c.pk FROM sqlite_master AS m, pragma_table_info(m.name) AS c
			WHERE m.type = 'table' AND m.name NOT LIKE 'sqlite_%'`)
	})
	t.Run("PostgreSQL", func(t *testing.T) {
		compareSchema(t, storetest.Postgres(t)(t), `
			SELECT c.table_name, c.column_name, UPPER(c.data_type), c.is_nullable = 'NO', COALESCE(k.ordinal_position, 0)
			FROM information_schema.columns AS c
			LEFT JOIN information_schema.table_constraints AS p
				ON p.table_schema = c.table_schema AND p.table_name = c.table_name AND p.constraint_type = 'PRIMARY KEY'
			LEFT JOIN information_schema.key_column_usage AS k
				ON k.constraint_name = p.constraint_name AND k.table_schema = c.table_schema AND k.table_name = c.table_name AND k.column_name = c.column_name
			WHERE c.table_schema = current_schema()`)
	})
}

func compareSchema(t *testing.T, db *store.DB, query string) {
	kinds := map[string]string{"TEXT": "text", "BIGINT": "whole", "INTEGER": "whole", "BOOLEAN": "flag", "BLOB": "binary", "BYTEA": "binary"}
	moved, left := store.MovedTables()
	rows, err := db.QueryContext(t.Context(), query)
	if err != nil {
		t.Fatal(err)
	}
	defer rows.Close()
	real := map[string][]string{}
	keys := map[string]map[int]string{}
	for rows.Next() {
		var table, column, kind string
		var required bool
		var key int
		if err := rows.Scan(&table, &column, &kind, &required, &key); err != nil {
			t.Fatal(err)
		}
		text := column + " " + kinds[kind]
		if !required {
			text += " optional"
		}
		real[table] = append(real[table], text)
		if keys[table] == nil {
			keys[table] = map[int]string{}
		}
		if key > 0 {
			keys[table][key] = column
		}
	}
	if err := rows.Err(); err != nil {
		t.Fatal(err)
	}
	if len(real) < len(moved) {
		t.Errorf("found %d tables, and %d are moved", len(real), len(moved))
	}
	for table, columns := range real {
		if slices.Contains(left, table) {
			continue
		}
		want := moved[table]
		if got := slices.Sorted(slices.Values(columns)); !slices.Equal(got, slices.Sorted(slices.Values(want.Columns))) {
			t.Errorf("the table %s has the columns\n%q\nand the list of what is moved\n%q", table, got, want.Columns)
		}
		for at, column := range keys[table] {
			if at > want.Key || !strings.HasPrefix(want.Columns[at-1], column+" ") {
				t.Errorf("the table %s: %s is column %d of its key, and not in the list", table, column, at)
			}
		}
		if len(keys[table]) != want.Key {
			t.Errorf("the table %s: its key has %d columns, and in the list %d", table, len(keys[table]), want.Key)
		}
	}
}

// insertRow fills a table by its columns' names.
func insertRow(t testing.TB, db *store.DB, table string, values map[string]any) {
	t.Helper()
	names := slices.Sorted(maps.Keys(values))
	var places []string
	var args []any
	for i, name := range names {
		places = append(places, fmt.Sprintf("$%d", i+1))
		args = append(args, values[name])
	}
	query := fmt.Sprintf("INSERT INTO %s (%s) VALUES (%s)", table, strings.Join(names, ", "), strings.Join(places, ", "))
	err := db.Write(t.Context(), func(tx *store.Tx) error {
		_, err := tx.ExecContext(t.Context(), query, args...)
		return err
	})
	if err != nil {
		t.Fatalf("fill %s: %v", table, err)
	}
}

// fill puts records into every table: numbers at their limits, text of all kinds,
// bytes, and NULL.
func fill(t testing.TB, db *store.DB) {
	t.Helper()
	moved, _ := store.MovedTables()
	// Those that others refer to come first.
	order := append([]string{"tenants", "workloads", "accounts"}, slices.DeleteFunc(slices.Sorted(maps.Keys(moved)), func(name string) bool {
		return name == "tenants" || name == "workloads" || name == "accounts"
	})...)
	texts := []string{"same", "Ünïcödé \U0001F600 \u2028 <&> \"\\\n", "~", ""}
	numbers := []int64{math.MaxInt64, math.MinInt64, 0, 1<<53 + 1}
	for _, table := range order {
		for n := range 4 {
			values := map[string]any{}
			for i, c := range moved[table].Columns {
				name, kind, _ := strings.Cut(c, " ")
				values[name] = map[string]any{
					"text": texts[(n+i)%4], "whole": numbers[(n+i)%4], "flag": (n+i)%2 == 0,
					"binary": []byte{0, byte(n), 0xff}, "text optional": nil,
				}[kind]
				if kind == "text optional" && n%2 == 0 {
					values[name] = texts[n]
				}
			}
			distinct := []string{"a", "B", "é", "a b"}[n]
			for _, key := range []string{"id", "name", "kind", "hash", "tenant", "account", "email", "host", "key", "owner"} {
				if _, isText := values[key].(string); isText {
					values[key] = distinct
				}
			}
			if table == "reset_codes" {
				values["attempts"] = int64(n)
			}
			insertRow(t, db, table, values)
		}
	}
}

func records(t testing.TB, from store.Source) []string {
	t.Helper()
	all, err := store.Records(t.Context(), from)
	if err != nil {
		t.Fatal(err)
	}
	return all
}

// betweenEngines runs a test of copying between all pairs of engines.
func betweenEngines(t *testing.T, test func(t *testing.T, from, to opener)) {
	t.Helper()
	server := storetest.Postgres(t)
	engines := map[string]opener{"SQLite": storetest.Open, "PostgreSQL": server}
	for from, openFrom := range engines {
		for to, openTo := range engines {
			t.Run(from+" to "+to, func(t *testing.T) { test(t, openFrom, openTo) })
		}
	}
}

func TestEveryRecordArrivesAsItWas(t *testing.T) {
	betweenEngines(t, func(t *testing.T, openFrom, openTo opener) {
		from, to := openFrom(t), openTo(t)
		fill(t, from)
		want := records(t, from)
		told := map[string]int64{}
		copied, err := to.Import(t.Context(), from, func(table string, n int64, done bool) {
			if done {
				told[table] = n
			}
		})
		if err != nil {
			t.Fatal(err)
		}
		if got := records(t, to); !slices.Equal(got, want) {
			t.Errorf("there are\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
		}
		if moved, _ := store.MovedTables(); len(told) != len(moved) || told["links"] != 4 || copied.Records() != int64(len(want)) || len(want) != 4*len(moved) {
			t.Errorf("of %d records in %d tables progress says %v, and the end %d", len(want), len(moved), told, copied.Records())
		}
		// Of the four, the one whose backend is "".
		if len(copied.Managed) != 1 || copied.SecretKeys == nil {
			t.Errorf("managed are %q, sealed with %q", copied.Managed, copied.SecretKeys)
		}
		var file bytes.Buffer
		exported, err := to.Export(t.Context(), &file, nil)
		if err != nil {
			t.Fatal(err)
		}
		if !slices.Equal(exported.Tables, copied.Tables) {
			t.Errorf("the sums of an export are %v, and those of an import %v", exported.Tables, copied.Tables)
		}
		dump, err := store.OpenDump(&file)
		if err != nil {
			t.Fatal(err)
		}
		third := openFrom(t)
		if _, err := third.Import(t.Context(), dump, nil); err != nil {
			t.Fatal(err)
		}
		if got := records(t, third); !slices.Equal(got, want) {
			t.Errorf("by a file there are\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
		}
	})
}

// TestManyRecordsArrive copies more than fit into one statement.
func TestManyRecordsArrive(t *testing.T) {
	betweenEngines(t, func(t *testing.T, openFrom, openTo opener) {
		from, to := openFrom(t), openTo(t)
		fillLinks(t, from, 2501)
		if _, err := to.Import(t.Context(), from, nil); err != nil {
			t.Fatal(err)
		}
		if got, want := records(t, to), records(t, from); len(want) != 2501 || !slices.Equal(got, want) {
			t.Errorf("there are %d records, want %d", len(got), len(want))
		}
	})
}

func fillLinks(t testing.TB, db *store.DB, n int) {
	t.Helper()
	err := db.Write(t.Context(), func(tx *store.Tx) error {
		for i := range n {
			_, err := tx.ExecContext(t.Context(), "INSERT INTO links (id, tenant, destination, created) VALUES ($1, 'a', 'https://example.com/', $2)", fmt.Sprint(i), i)
			if err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}

func TestNothingIsOverwritten(t *testing.T) {
	moved, _ := store.MovedTables()
	onEachEngine(t, func(t *testing.T, open opener) {
		from, to := storetest.Open(t), open(t)
		fill(t, from)
		if err := to.SetSetting(t.Context(), "micro.app.domain", "example.com"); err != nil {
			t.Fatal(err)
		}
		before := records(t, to)
		_, err := to.Import(t.Context(), from, nil)
		var used *store.NotEmptyError
		if !errors.As(err, &used) || !slices.Equal(used.Tables, []string{"settings"}) || used.Database != to.String() {
			t.Fatalf("importing gives %v", err)
		}
		if got := records(t, to); !slices.Equal(got, before) {
			t.Errorf("there are %q, want %q", got, before)
		}
		// Any table counts.
		full := open(t)
		if _, err := full.Import(t.Context(), from, nil); err != nil {
			t.Fatal(err)
		}
		if _, err := full.Import(t.Context(), from, nil); !errors.As(err, &used) || len(used.Tables) != len(moved) {
			t.Errorf("importing twice gives %v", err)
		}
	})
}

func TestAnInterruptedImportLeavesNothing(t *testing.T) {
	onEachEngine(t, func(t *testing.T, open opener) {
		from, to := storetest.Open(t), open(t)
		fill(t, from)
		fillLinks(t, from, 1500)
		for _, at := range []string{"tenants", "links", "domains"} {
			ctx, cancel := context.WithCancel(t.Context())
			_, err := to.Import(ctx, from, func(table string, n int64, done bool) {
				if table == at {
					cancel()
				}
			})
			cancel()
			if !errors.Is(err, context.Canceled) {
				t.Errorf("interrupted at %s: %v", at, err)
			}
			if got := records(t, to); len(got) != 0 {
				t.Errorf("interrupted at %s there are %d records", at, len(got))
			}
		}
		if _, err := to.Import(t.Context(), from, nil); err != nil {
			t.Errorf("the next import: %v", err)
		}
	})
}

// TestWhatArrivesIsCompared has the database itself change what is written to it.
func TestWhatArrivesIsCompared(t *testing.T) {
	for name, test := range map[string]struct {
		open    opener
		changes []string
	}{
		"SQLite": {storetest.Open, []string{
			"CREATE TRIGGER spoil AFTER INSERT ON links WHEN new.id = 'a' BEGIN UPDATE links SET hits = 5 WHERE id = 'a'; END",
		}},
		"PostgreSQL": {storetest.Postgres(t), []string{
			"CREATE FUNCTION spoil() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN IF new.id = 'a' THEN new.hits := 5; END IF; RETURN new; END $$",
			"CREATE TRIGGER spoil BEFORE INSERT ON links FOR EACH ROW EXECUTE FUNCTION spoil()",
		}},
	} {
		t.Run(name, func(t *testing.T) {
			from, to := storetest.Open(t), test.open(t)
			fill(t, from)
			for _, change := range test.changes {
				err := to.Write(t.Context(), func(tx *store.Tx) error {
					_, err := tx.ExecContext(t.Context(), change)
					return err
				})
				if err != nil {
					t.Fatal(err)
				}
			}
			if _, err := to.Import(t.Context(), from, nil); err == nil || !strings.Contains(err.Error(), "the table links is not what was written to it") {
				t.Errorf("importing gives %v", err)
			}
			if got := records(t, to); len(got) != 0 {
				t.Errorf("there are %d records after that", len(got))
			}
		})
	}
}

// TestWhatPostgreSQLCannotKeep: text for people is mended as where it is shown;
// anything else stops the import, which says where it is.
func TestWhatPostgreSQLCannotKeep(t *testing.T) {
	open := storetest.Postgres(t)
	for _, bad := range []string{"a\x00b", "a\xffb"} {
		from := storetest.Open(t)
		fill(t, from)
		insertRow(t, from, "workload_events", map[string]any{"kind": "a", "id": "a", "event": 7, "version": 1, "state": "failed", "reason": bad, "at": 1})
		to := open(t)
		copied, err := to.Import(t.Context(), from, nil)
		if err != nil {
			t.Fatalf("%q in a reason: %v", bad, err)
		}
		var reason string
		if err := to.QueryRowContext(t.Context(), "SELECT reason FROM workload_events WHERE event = 7").Scan(&reason); err != nil || reason != "a\uFFFDb" || copied.Mended != 1 {
			t.Errorf("%q in a reason became %q, %v; %d were mended", bad, reason, err, copied.Mended)
		}
		var file bytes.Buffer
		if _, err := from.Export(t.Context(), &file, nil); err != nil {
			t.Fatal(err)
		}
		dump, err := store.OpenDump(&file)
		if err != nil {
			t.Fatal(err)
		}
		other := storetest.Open(t)
		if _, err := other.Import(t.Context(), dump, nil); err != nil {
			t.Fatal(err)
		}
		if got, want := records(t, other), records(t, from); !slices.Equal(got, want) {
			t.Errorf("SQLite keeps all; there are\n%q\nwant\n%q", got, want)
		}

		insertRow(t, from, "links", map[string]any{"id": "bad one", "tenant": "a", "destination": bad, "created": 1})
		to = open(t)
		_, err = to.Import(t.Context(), from, nil)
		if err == nil || !strings.Contains(err.Error(), `table links, id "bad one", column destination: `) || strings.Contains(err.Error(), bad) {
			t.Errorf("%q in a destination gives %v", bad, err)
		}
		if got := records(t, to); len(got) != 0 {
			t.Errorf("there are %d records after that", len(got))
		}
	}
}

// TestAValueOfAnotherType: SQLite keeps anything in any column.
func TestAValueOfAnotherType(t *testing.T) {
	from, to := storetest.Open(t), storetest.Open(t)
	insertRow(t, from, "links", map[string]any{"id": "l", "tenant": "a", "destination": "d", "created": "yesterday"})
	_, err := to.Import(t.Context(), from, nil)
	if err == nil || !strings.Contains(err.Error(), `table links, id "l", column created: it holds text, and should hold whole`) {
		t.Errorf("importing gives %v", err)
	}
}

func TestADatabaseOfAnotherReleaseIsNotCopied(t *testing.T) {
	onEachEngine(t, func(t *testing.T, open opener) {
		from, to := open(t), storetest.Open(t)
		err := from.Write(t.Context(), func(tx *store.Tx) error {
			_, err := tx.ExecContext(t.Context(), "INSERT INTO goose_db_version (version_id, is_applied) VALUES (9999, TRUE)")
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := to.Import(t.Context(), from, nil); err == nil || !strings.Contains(err.Error(), "newer release (schema 9999") {
			t.Errorf("of a newer one: %v", err)
		}
		err = from.Write(t.Context(), func(tx *store.Tx) error {
			_, err := tx.ExecContext(t.Context(), "DELETE FROM goose_db_version WHERE version_id > 7")
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := from.Export(t.Context(), io.Discard, nil); err == nil || !strings.Contains(err.Error(), "ingress db migrate") {
			t.Errorf("of an older one: %v", err)
		}
	})
}

// export returns an export of a database with something in every table.
func export(t testing.TB) (file []byte, want []store.Sum) {
	t.Helper()
	db := storetest.Open(t)
	fill(t, db)
	var out bytes.Buffer
	copied, err := db.Export(t.Context(), &out, nil)
	if err != nil {
		t.Fatal(err)
	}
	return out.Bytes(), copied.Tables
}

// readDump reads a file without a database.
func readDump(file []byte) ([]store.Sum, error) {
	zipped, err := gzip.NewReader(bytes.NewReader(file))
	if err != nil {
		return nil, err
	}
	sums, _, err := store.ReadLines(zipped)
	return sums, err
}

func TestACutExportIsRefused(t *testing.T) {
	file, _ := export(t)
	for n := range file {
		if _, err := readDump(file[:n]); err == nil {
			t.Errorf("%d of %d bytes are read as if they were all", n, len(file))
		}
	}
	for what, more := range map[string][]byte{"a byte": {'x'}, "a line": []byte("{}\n"), "another export": file} {
		if _, err := readDump(slices.Concat(file, more)); err == nil {
			t.Errorf("with %s after its end the file is read as if it were whole", what)
		}
	}
	dump, err := store.OpenDump(bytes.NewReader(file[:len(file)/2]))
	if err != nil {
		t.Fatal(err)
	}
	to := storetest.Open(t)
	if _, err := to.Import(t.Context(), dump, nil); err == nil || !strings.Contains(err.Error(), "cut") {
		t.Errorf("importing half a file gives %v", err)
	}
	if got := records(t, to); len(got) != 0 {
		t.Errorf("there are %d records after that", len(got))
	}
}

// TestAFlippedByteIsNoticed: either the file is refused, or the byte was none of the
// content's, as those of gzip's header.
func TestAFlippedByteIsNoticed(t *testing.T) {
	file, want := export(t)
	accepted := 0
	for n := range file {
		bad := bytes.Clone(file)
		bad[n] ^= 0x15
		switch got, err := readDump(bad); {
		case err == nil && !slices.Equal(got, want):
			t.Errorf("byte %d changed the records unnoticed", n)
		case err == nil:
			accepted++
		}
	}
	if accepted > 10 { // the length of gzip's header
		t.Errorf("%d flipped bytes made no difference", accepted)
	}
}

// TestChangedLinesAreRefused changes what is inside, so that gzip's sum is right.
func TestChangedLinesAreRefused(t *testing.T) {
	file, want := export(t)
	zipped, err := gzip.NewReader(bytes.NewReader(file))
	if err != nil {
		t.Fatal(err)
	}
	content, err := io.ReadAll(zipped)
	if err != nil {
		t.Fatal(err)
	}
	text := string(content)
	if sums, _, err := store.ReadLines(strings.NewReader(text)); err != nil || !slices.Equal(sums, want) {
		t.Fatalf("unchanged: %v, %v", sums, err)
	}
	all := strings.SplitAfter(text, "\n")
	for _, test := range []struct{ name, text, says string }{
		{"another file", `{"name":"ingress"}` + "\n", "no export"},
		{"empty", "", "ends here"},
		{"another version", strings.Replace(text, `"version":1,`, `"version":2,`, 1), "version 2"},
		{"a newer schema", strings.Replace(text, `"schema":8,`, `"schema":9000,`, 1), "newer release (schema 9000"},
		{"an older schema", strings.Replace(text, `"schema":8,`, `"schema":7,`, 1), "older release (schema 7"},
		{"a changed value", strings.Replace(text, "9223372036854775807", "9223372036854775806", 1), "something was changed"},
		{"a number too large", strings.Replace(text, "9223372036854775807", "9223372036854775808", 1), "should be whole"},
		{"a number with a fraction", strings.Replace(text, "9223372036854775807", "1.5", 1), "should be whole"},
		{"a lost record", strings.Join(slices.Delete(slices.Clone(all), 2, 3), ""), "something was changed"},
		{"a lost table", strings.Replace(text, `{"table":"links",`, `{"table":"hyperlinks",`, 1), "the table links"},
		{"another column", strings.Replace(text, `"destination"`, `"target"`, 1), "the table links"},
		{"no end", strings.Join(all[:len(all)-2], ""), "ends here"},
		{"more after the end", text + "{}\n", "follows the end"},
		{"an empty line", strings.Replace(text, "\n", "\n\n", 1), "line 2: the line is empty"},
	} {
		if test.text == text {
			t.Errorf("%s: nothing was changed", test.name)
		}
		if _, _, err := store.ReadLines(strings.NewReader(test.text)); err == nil || !strings.Contains(err.Error(), test.says) {
			t.Errorf("%s: %v, want %q", test.name, err, test.says)
		}
	}
}

// FuzzDump: whatever is in a file, it is refused or means the same when it is written
// anew.
func FuzzDump(f *testing.F) {
	whole, err := store.SampleLines()
	if err != nil {
		f.Fatal(err)
	}
	f.Add(whole)
	f.Add(whole[:len(whole)/2])
	f.Add([]byte(`{"format":"m3o-ingress-export","version":1,"schema":8}` + "\n" + `{"table":"settings","columns":["name","value","updated"]}` + "\n" + `["a",{"base64":"/w=="},1]` + "\n"))
	f.Fuzz(func(t *testing.T, content []byte) {
		sums, again, err := store.ReadLines(bytes.NewReader(content))
		if err != nil {
			return
		}
		same, _, err := store.ReadLines(bytes.NewReader(again))
		if err != nil || !slices.Equal(sums, same) {
			t.Errorf("written anew it is %v, %v; want %v", same, err, sums)
		}
	})
}
