package store

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
)

// MovedTable is a table of the list, for tests that compare it with real schemas.
type MovedTable struct {
	Key     int
	Columns []string // "name kind", and "optional"
}

// MovedTables returns the list, and what is left out.
func MovedTables() (moved map[string]MovedTable, left []string) {
	moved = map[string]MovedTable{}
	for _, t := range tables {
		m := MovedTable{Key: t.key}
		for _, c := range t.columns {
			text := c.name + " " + string(c.kind)
			if c.optional {
				text += " optional"
			}
			m.Columns = append(m.Columns, text)
		}
		moved[t.name] = m
	}
	return moved, notMoved
}

// KnownSchemas are the newest migrations of both engines.
func KnownSchemas() (sqlite, postgres int64) {
	return sqliteEngine.knownSchema(), postgresEngine.knownSchema()
}

// ReadLines reads what is inside a dump and returns what it holds, written anew.
func ReadLines(from io.Reader) (sums []Sum, again []byte, err error) {
	d, err := openLines(from, sqliteEngine.knownSchema())
	if err != nil {
		return nil, nil, err
	}
	var out bytes.Buffer
	w := &dumper{ctx: context.Background(), out: newEncoder(&out), notes: newNotes(nil)}
	if err := w.copy(d, sqliteEngine.knownSchema()); err != nil {
		return nil, nil, err
	}
	return w.copied.Tables, out.Bytes(), nil
}

// Records returns every record of a source, a line each.
func Records(ctx context.Context, from Source) ([]string, error) {
	var all recordList
	err := from.each(ctx, &all)
	return all, err
}

type recordList []string

func (l *recordList) take(t *table, r record) error {
	*l = append(*l, fmt.Sprintf("%s %#v", t.name, r))
	return nil
}

func (l *recordList) end(*table, Sum) error { return nil }

// SampleLines is what is inside a dump with a record in every table, for which no
// database is opened.
func SampleLines() ([]byte, error) {
	var out bytes.Buffer
	w := &dumper{ctx: context.Background(), out: newEncoder(&out), notes: newNotes(nil)}
	err := w.copy(samples{}, sqliteEngine.knownSchema())
	return out.Bytes(), err
}

// samples is a Source.
type samples struct{}

func (samples) each(_ context.Context, s sink) error {
	values := map[columnKind]any{textColumn: "é\xff", wholeColumn: int64(-1), flagColumn: true, binaryColumn: []byte{0}}
	for _, t := range tables {
		r := make(record, len(t.columns))
		for i, c := range t.columns {
			if !c.optional {
				r[i] = values[c.kind]
			}
		}
		counted := newTally()
		counted.add(r)
		if err := errors.Join(s.take(t, r), s.end(t, counted.sum(t))); err != nil {
			return err
		}
	}
	return nil
}

// Look looks at the change log once, as FollowNodes does all the time, and returns how
// many rows that reads.
func (db *DB) Look(ctx context.Context) (rows int, err error) {
	seen, err := db.feed.read(ctx)
	if err == nil {
		err = db.feed.lookOnce()
	}
	return len(seen.changes), err
}

// Identities returns what the server says when it is asked for itself, and when a snapshot
// is of one that was started at another time, of which it can say nothing.
func (db *DB) Identities(ctx context.Context) (own string, others, err error) {
	self, err := db.identity(ctx, db.feed.last.snapshot)
	if err != nil {
		return "", nil, err
	}
	_, others = db.identity(ctx, snapshot{started: "0"})
	return self.system + self.timeline, others, nil
}
