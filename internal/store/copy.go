package store

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"hash"
	"maps"
	"slices"
	"strings"

	"github.com/jackc/pgx/v5/pgconn"
)

// Sum is what a table holds: how many records, and the SHA-256 of all of them in the
// order of their keys. It is the same for the same records in any engine or file.
type Sum struct {
	Table   string `json:"table"`
	Records int64  `json:"records"`
	Digest  string `json:"sha256"`
}

// Source is where Import and Export read records from: a database or a file.
type Source interface {
	// each gives every record of every table to s, of one state of the source.
	each(ctx context.Context, s sink) error
}

// sink is what a Source gives its records to.
type sink interface {
	// take is given each record of a table in the order of its key. It may keep it.
	take(t *table, r record) error
	// end is called for each of tables, after its records, with what the source has
	// counted.
	end(t *table, sum Sum) error
}

// tally counts records and digests them.
type tally struct {
	records int64
	sha     hash.Hash
	buffer  []byte
}

func newTally() *tally { return &tally{sha: sha256.New()} }

// add takes a record in. Every value is preceded by its type and, where that does not
// tell, its length, so that no two records look alike.
func (t *tally) add(r record) {
	t.records++
	b := binary.AppendUvarint(t.buffer[:0], uint64(len(r)))
	for _, value := range r {
		switch v := value.(type) {
		case nil:
			b = append(b, 'n')
		case string:
			b = append(binary.AppendUvarint(append(b, 't'), uint64(len(v))), v...)
		case []byte:
			b = append(binary.AppendUvarint(append(b, 'b'), uint64(len(v))), v...)
		case int64:
			b = binary.BigEndian.AppendUint64(append(b, 'i'), uint64(v))
		case bool:
			b = append(b, map[bool]byte{true: 'T', false: 'F'}[v])
		}
	}
	t.sha.Write(b) // never fails (hash.Hash)
	t.buffer = b
}

func (t *tally) sum(of *table) Sum {
	return Sum{of.name, t.records, hex.EncodeToString(t.sha.Sum(nil))}
}

// each implements Source: it reads all of the database as it is at one moment. The
// schema must be the one that this program knows.
func (db *DB) each(ctx context.Context, s sink) error {
	return db.Read(ctx, func(q Querier) error {
		have, err := db.schema(ctx, q)
		if err != nil {
			return err
		}
		if err := db.checkSchema(have); err != nil {
			return err
		}
		return readTables(ctx, q, s)
	})
}

// checkSchema refuses what has other tables than those that are moved.
func (db *DB) checkSchema(have int64) error {
	switch known := db.engine.knownSchema(); {
	case have > known:
		return fmt.Errorf("database %s was written by a newer release (schema %d, this program knows %d); use that release", db.name, have, known)
	case have < known:
		return fmt.Errorf("database %s is of an older release (schema %d, this program knows %d); back it up, and bring it up to date with: ingress db migrate", db.name, have, known)
	}
	return nil
}

func readTables(ctx context.Context, q Querier, s sink) error {
	for _, t := range tables {
		if err := readTable(ctx, q, t, s); err != nil {
			return err
		}
	}
	return nil
}

func readTable(ctx context.Context, q Querier, t *table, s sink) error {
	rows, err := q.QueryContext(ctx, t.selection())
	if err != nil {
		return fmt.Errorf("read the table %s: %w", t.name, err)
	}
	defer rows.Close()
	counted := newTally()
	for rows.Next() {
		r, err := t.scan(rows)
		if err != nil {
			return err
		}
		counted.add(r)
		if err := s.take(t, r); err != nil {
			return err
		}
	}
	if err := rows.Err(); err != nil {
		return fmt.Errorf("read the table %s: %w", t.name, err)
	}
	return s.end(t, counted.sum(t))
}

func (t *table) scan(rows *Rows) (record, error) {
	r := make(record, len(t.columns))
	places := make([]any, len(r))
	for i := range r {
		places[i] = &r[i]
	}
	if err := rows.Scan(places...); err != nil {
		return nil, fmt.Errorf("read the table %s: %w", t.name, classify(err))
	}
	for i := range r {
		value, err := t.columns[i].normal(r[i])
		if err != nil {
			return nil, t.valueError(r, i, err)
		}
		r[i] = value
	}
	return r, nil
}

// Progress is told how far a copy is: so many records of a table, and whether these
// are all. It is called often, by the goroutine that copies.
type Progress func(table string, records int64, done bool)

// Copied is what came of Import or Export.
type Copied struct {
	// Tables are all tables, those without records among them.
	Tables []Sum `json:"tables"`
	// Mended counts texts for people of which characters were replaced that PostgreSQL
	// cannot keep.
	Mended int64 `json:"mended,omitempty"`
	// SecretKeys are the ids of the secret keys that values are sealed with.
	SecretKeys []string `json:"secret_keys"`
	// Managed names the apps and functions that run from source, which one database of
	// several ingresses runs nowhere: "app hello".
	Managed []string `json:"managed"`
}

// Records is how many there are in all tables.
func (c *Copied) Records() int64 {
	var n int64
	for _, sum := range c.Tables {
		n += sum.Records
	}
	return n
}

// NotEmptyError says that a database has records already, so that nothing is copied
// into it.
type NotEmptyError struct {
	// Database names it, without secrets.
	Database string
	// Tables are those with records.
	Tables []string
}

// Error implements error.
func (e *NotEmptyError) Error() string {
	return fmt.Sprintf("database %s has data already (%s); nothing was changed", e.Database, strings.Join(e.Tables, ", "))
}

// Import copies all records of a source into the database, which must have none, in
// one transaction: an error, or a ctx that ends, leaves it as it was. Before it commits
// it reads back what was written and compares it with the source. The error is a
// *NotEmptyError when there are records. progress may be nil.
func (db *DB) Import(ctx context.Context, from Source, progress Progress) (*Copied, error) {
	w := &writer{db: db, notes: newNotes(progress)}
	// Once: a file is not read twice, and nobody else writes meanwhile.
	_, err := db.attempt(ctx, func(tx *Tx) error {
		if err := db.reserve(ctx, tx); err != nil {
			return err
		}
		w.ctx, w.tx = ctx, tx
		if err := from.each(ctx, w); err != nil {
			return err
		}
		return verify(ctx, tx, w.copied.Tables)
	})
	if err != nil {
		return nil, classify(ended(ctx, err))
	}
	return w.finish(), nil
}

// reserve keeps others from writing until the transaction ends, as SQLite does anyway,
// and refuses a database with records.
func (db *DB) reserve(ctx context.Context, tx *Tx) error {
	if db.Shared() {
		names := make([]string, len(tables))
		for i, t := range tables {
			names[i] = t.name
		}
		// Before anything is read, so that the transaction sees what others wrote before.
		if _, err := tx.ExecContext(ctx, "LOCK TABLE "+strings.Join(names, ", ")+" IN EXCLUSIVE MODE"); err != nil {
			return fmt.Errorf("lock the tables of %s: %w", db.name, err)
		}
	}
	used := &NotEmptyError{Database: db.name}
	for _, t := range tables {
		var some bool
		if err := tx.QueryRowContext(ctx, "SELECT EXISTS (SELECT 1 FROM "+t.name+")").Scan(&some); err != nil {
			return fmt.Errorf("read the table %s: %w", t.name, err)
		}
		if some {
			used.Tables = append(used.Tables, t.name)
		}
	}
	if len(used.Tables) > 0 {
		return used
	}
	return nil
}

const (
	// batch is how many records are written at once: with the most columns there are,
	// far from the 32,766 parameters that SQLite takes.
	batch = 200
	// batchBytes bounds what waits to be written: a version of a function has all of
	// its files in it.
	batchBytes = 4 << 20
)

// writer writes what it is given into the tables of a transaction.
type writer struct {
	ctx     context.Context
	db      *DB
	tx      *Tx
	pending []record
	bytes   int    // of text in those
	written *tally // of the table at hand, as it should be found; nil before its first record
	*notes
}

// take implements sink.
func (w *writer) take(t *table, r record) error {
	if err := w.ctx.Err(); err != nil {
		return err
	}
	r, err := w.fit(t, r)
	if err != nil {
		return err
	}
	w.note(t, r)
	if w.written == nil {
		w.written = newTally()
	}
	w.written.add(r)
	w.pending = append(w.pending, r)
	for _, value := range r {
		if text, ok := value.(string); ok {
			w.bytes += len(text)
		}
	}
	if len(w.pending) < batch && w.bytes < batchBytes {
		return nil
	}
	return w.flush(t)
}

// fit makes of a record what the engine can keep, or says why it cannot.
func (w *writer) fit(t *table, r record) (record, error) {
	if !w.db.Shared() {
		return r, nil
	}
	for i, c := range t.columns {
		text, ok := r[i].(string)
		if !ok || keepable(text) {
			continue
		}
		if !c.prose {
			return nil, t.valueError(r, i, errors.New("it has a zero byte, or bytes that are not UTF-8, which PostgreSQL cannot keep; change or delete it where it is, and try again"))
		}
		r[i] = mended(text)
		w.copied.Mended++
	}
	return r, nil
}

// flush writes the records that wait.
func (w *writer) flush(t *table) error {
	if len(w.pending) == 0 {
		return nil
	}
	args := make([]any, 0, len(w.pending)*len(t.columns))
	for _, r := range w.pending {
		args = append(args, r...)
	}
	_, err := w.tx.ExecContext(w.ctx, t.insertion(len(w.pending), w.db.engine.mark), args...)
	if err != nil {
		return fmt.Errorf("write the table %s, %s to %s: %w", t.name, t.keyOf(w.pending[0]), t.keyOf(w.pending[len(w.pending)-1]), withDetail(err))
	}
	w.pending, w.bytes = w.pending[:0], 0
	return nil
}

// withDetail adds to a refusal of PostgreSQL which column it is about.
func withDetail(err error) error {
	var server *pgconn.PgError
	if errors.As(err, &server) && server.ColumnName != "" {
		return fmt.Errorf("column %s: %w", server.ColumnName, err)
	}
	return err
}

// end implements sink. The sum is of what was written, which is what was given, but for
// text that was mended.
func (w *writer) end(t *table, _ Sum) error {
	if err := w.flush(t); err != nil {
		return err
	}
	if w.written == nil {
		w.written = newTally()
	}
	w.close(w.written.sum(t))
	w.written = nil
	return nil
}

// verify reads back what is in the tables and compares it with what should be.
func verify(ctx context.Context, q Querier, want []Sum) error {
	found := &sums{}
	if err := readTables(ctx, q, found); err != nil {
		return fmt.Errorf("read back what was written: %w", err)
	}
	for i, sum := range found.all {
		if i >= len(want) || sum != want[i] {
			return fmt.Errorf("the table %s is not what was written to it; nothing was changed", sum.Table)
		}
	}
	return nil
}

// sums keeps nothing but the sums.
type sums struct{ all []Sum }

func (s *sums) take(*table, record) error { return nil }

func (s *sums) end(_ *table, sum Sum) error {
	s.all = append(s.all, sum)
	return nil
}

// notes gathers on the way what is said at the end, and tells the progress.
type notes struct {
	copied   Copied
	progress Progress
	current  int64 // records of the table at hand
	keys     map[string]bool
}

func newNotes(progress Progress) *notes {
	if progress == nil {
		progress = func(string, int64, bool) {}
	}
	return &notes{progress: progress, keys: map[string]bool{}, copied: Copied{Managed: []string{}}}
}

// tellEvery is after how many records the progress is told.
const tellEvery = 1000

// note looks at a record.
func (n *notes) note(t *table, r record) {
	if n.current++; n.current%tellEvery == 0 {
		n.progress(t.name, n.current, false)
	}
	for i, c := range t.columns {
		if text, ok := r[i].(string); ok && c.sealed {
			n.noteSealed(text)
		}
	}
	if t.name == "workloads" && r[slices.IndexFunc(t.columns, func(c column) bool { return c.name == "backend" })] == "" {
		n.copied.Managed = append(n.copied.Managed, fmt.Sprintf("%s %s", r[0], r[1]))
	}
}

// noteSealed takes note of the keys that were used for a sealed value, or for each of
// a JSON object of them.
func (n *notes) noteSealed(text string) {
	var several map[string]string
	if json.Unmarshal([]byte(text), &several) != nil {
		several = map[string]string{"": text}
	}
	for _, sealed := range several {
		if id, _, ok := strings.Cut(sealed, "."); ok {
			n.keys[id] = true
		}
	}
}

// close takes note of a table's end.
func (n *notes) close(sum Sum) {
	n.copied.Tables = append(n.copied.Tables, sum)
	n.progress(sum.Table, sum.Records, true)
	n.current = 0
}

func (n *notes) finish() *Copied {
	n.copied.SecretKeys = slices.AppendSeq([]string{}, maps.Keys(n.keys)) // not null in JSON
	slices.Sort(n.copied.SecretKeys)
	return &n.copied
}
