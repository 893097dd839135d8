package store

import (
	"fmt"
	"strings"
	"unicode/utf8"
)

// columnKind is what a column holds, in either engine.
type columnKind string

// The kinds of columns.
const (
	textColumn   columnKind = "text"
	wholeColumn  columnKind = "whole"  // a signed number of 64 bits
	flagColumn   columnKind = "flag"   // true or false
	binaryColumn columnKind = "binary" // bytes
)

// column is one column of a table that is moved from one database to another.
type column struct {
	name string
	kind columnKind
	// optional columns may be NULL.
	optional bool
	// prose is text for people alone, on which nothing depends. What PostgreSQL cannot
	// keep of it is replaced, as it is where it is shown.
	prose bool
	// sealed columns hold values of a Sealer: one, or a JSON object of them.
	sealed bool
}

// table is a table that is moved. Its primary key is the first columns.
type table struct {
	name    string
	key     int
	columns []column
}

// tables are what the state of a platform consists of, those that others refer to
// first. A migration that adds a table or a column adds it here, or to notMoved.
var tables = []*table{
	{"settings", 1, columns("name", "value", "updated:whole")},
	{"tenants", 1, columns("id", "name", "disabled:flag", "created:whole", "quota_apps:whole", "quota_functions:whole", "quota_links:whole",
		"quota_keys:whole", "quota_version_bytes:whole", "quota_requests_per_second:whole", "quota_burst:whole")},
	{"keys", 1, columns("id", "tenant", "hash:binary", "scopes", "description:text,prose", "bootstrap:flag", "created:whole", "last_seen:whole")},
	{"revoked_bootstrap_keys", 1, columns("hash:binary", "revoked:whole")},
	{"links", 1, columns("id", "tenant", "destination", "created:whole", "hits:whole", "deleted:whole")},
	{"link_counts", 1, columns("tenant", "links:whole")},
	{"workload_ids", 2, columns("kind", "id", "tenant", "name", "used_until:whole", "reserved:whole", "reserved_until:whole", "token_hash", "last_version:whole")},
	{"workloads", 2, columns("kind", "id", "tenant", "name", "region", "backend", "env:text,sealed", "created:whole", "updated:whole",
		"current_version:whole", "wanted_version:whole", "asked:whole", "revision:whole", "current_revision:whole", "tried_revision:whole",
		"health_path", "idle_timeout:whole", "concurrency:whole", "events:whole")},
	{"workload_versions", 3, columns("kind", "id", "number:whole", "tenant", "asked:whole", "asked_at:whole", "state", "reason:text,prose", "source", "files",
		"upload", "program", "commit_hash", "size:whole", "quota:whole", "artifact", "steps", "available:flag", "good:flag", "created:whole")},
	{"workload_events", 3, columns("kind", "id", "event:whole", "version:whole", "state", "reason:text,prose", "at:whole")},
	{"identities", 1, columns("owner", "number:whole")},
	{"credentials", 2, columns("tenant", "host", "sealed:text,sealed", "updated:whole")},
	{"uploads", 1, columns("id", "tenant", "size:whole", "complete:flag", "created:whole")},
	{"accounts", 2, columns("tenant", "id", "username:text,optional", "email", "password", "profile", "created:whole", "updated:whole", "verified:whole")},
	{"sessions", 1, columns("hash", "tenant", "account", "created:whole", "expires:whole")},
	{"verifications", 1, columns("hash", "tenant", "account", "email", "success", "failure", "expires:whole", "forget:whole")},
	{"login_tokens", 1, columns("hash", "tenant", "account", "expires:whole", "forget:whole")},
	{"reset_codes", 2, columns("tenant", "account", "code", "attempts:whole", "expires:whole")},
	{"certificate_files", 1, columns("key", "sealed:text,sealed", "size:whole", "modified:whole")},
	{"domains", 1, columns("host", "tenant", "kind", "id", "changed:whole")},
}

// notMoved are the tables that say something of the database they are in: which
// migrations it had, what was changed lately and must not be written twice, who holds
// which lease, which secret key its ingresses agreed on, and which they are.
var notMoved = []string{"goose_db_version", "changes", "receipts", "certificate_locks", "cluster", "nodes"}

// columns reads what a table consists of: a name each, and the kind unless it is text.
func columns(all ...string) []column {
	list := make([]column, len(all))
	for i, one := range all {
		name, traits, _ := strings.Cut(one, ":")
		kind, more, _ := strings.Cut(traits, ",")
		list[i] = column{name: name, kind: textColumn, optional: more == "optional", prose: more == "prose", sealed: more == "sealed"}
		if kind != "" {
			list[i].kind = columnKind(kind)
		}
	}
	return list
}

func (t *table) columnNames() []string {
	names := make([]string, len(t.columns))
	for i, c := range t.columns {
		names[i] = c.name
	}
	return names
}

// selection reads all of the table in the order of its key, which is the same in both
// engines.
func (t *table) selection() string {
	names := t.columnNames()
	return fmt.Sprintf("SELECT %s FROM %s ORDER BY %s", strings.Join(names, ", "), t.name, strings.Join(names[:t.key], ", "))
}

// insertion writes so many records. The mark is what an engine's parameters begin with.
func (t *table) insertion(records int, mark string) string {
	var query strings.Builder
	fmt.Fprintf(&query, "INSERT INTO %s (%s) VALUES ", t.name, strings.Join(t.columnNames(), ", "))
	for r := range records {
		if r > 0 {
			query.WriteString(", ")
		}
		for c := range t.columns {
			query.WriteString(map[bool]string{true: "(", false: ", "}[c == 0])
			fmt.Fprintf(&query, "%s%d", mark, r*len(t.columns)+c+1)
		}
		query.WriteByte(')')
	}
	return query.String()
}

// record is a row of a table: for each column a string, an int64, a bool, bytes, or
// nil for NULL.
type record []any

// normal makes of what an engine's driver returns what both mean by it.
func (c *column) normal(value any) (any, error) {
	switch v := value.(type) {
	case nil:
		if c.optional {
			return nil, nil
		}
	case string:
		if c.kind == textColumn {
			return v, nil
		}
	case int64:
		if c.kind == flagColumn && (v == 0 || v == 1) {
			return v == 1, nil
		}
		if c.kind == wholeColumn {
			return v, nil
		}
	case bool:
		if c.kind == flagColumn {
			return v, nil
		}
	case []byte:
		if c.kind == binaryColumn {
			return v, nil
		}
	}
	return nil, fmt.Errorf("it holds %s, and should hold %s", kindOf(value), c.kind)
}

// kindOf names what a value is without showing it.
func kindOf(value any) string {
	switch value.(type) {
	case nil:
		return "nothing"
	case string:
		return "text"
	case int64:
		return "a whole number"
	case bool:
		return "true or false"
	case []byte:
		return "bytes"
	}
	return fmt.Sprintf("a %T", value)
}

// keepable reports whether PostgreSQL can keep a text.
func keepable(text string) bool { return utf8.ValidString(text) && !strings.Contains(text, "\x00") }

// mended is a text with what PostgreSQL cannot keep replaced.
func mended(text string) string {
	return strings.ReplaceAll(strings.ToValidUTF8(text, "\uFFFD"), "\x00", "\uFFFD")
}

// valueError says where a value is that cannot be moved.
func (t *table) valueError(r record, at int, why error) error {
	return fmt.Errorf("table %s, %s, column %s: %w", t.name, t.keyOf(r), t.columns[at].name, why)
}

// keyOf shows a record's key. Those of tables with secrets are hashes.
func (t *table) keyOf(r record) string {
	var parts []string
	for i, c := range t.columns[:t.key] {
		switch v := r[i].(type) {
		case []byte:
			parts = append(parts, fmt.Sprintf("%s %x", c.name, v))
		case string:
			parts = append(parts, fmt.Sprintf("%s %q", c.name, v))
		default:
			parts = append(parts, fmt.Sprintf("%s %v", c.name, v))
		}
	}
	return strings.Join(parts, " ")
}
