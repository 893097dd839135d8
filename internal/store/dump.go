package store

import (
	"bufio"
	"bytes"
	"compress/flate"
	"compress/gzip"
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strconv"
	"time"
	"unicode/utf8"
)

// An export is gzip-ed lines of JSON: a header, then for each table a line with its
// name and columns and a line for each record, an array, and at the end a line with
// the sums of all tables. Text that is not UTF-8, and bytes, are {"base64":"…"}.

const (
	dumpFormat  = "m3o-ingress-export"
	dumpVersion = 1
	// longestLine bounds what a line of a file may take of memory. A record is a few
	// megabytes at most: the inline files of a function.
	longestLine = 256 << 20
)

// dumpHeader is the first line.
type dumpHeader struct {
	Format  string    `json:"format"`
	Version int       `json:"version"`
	Schema  int64     `json:"schema"`
	Made    time.Time `json:"made"`
}

// dumpTable begins a table.
type dumpTable struct {
	Table   string   `json:"table"`
	Columns []string `json:"columns"`
}

// dumpEnd is the last line.
type dumpEnd struct {
	End []Sum `json:"end"`
}

// Export writes all of the database as it is at one moment, as a file that OpenDump
// reads. progress may be nil.
func (db *DB) Export(ctx context.Context, to io.Writer, progress Progress) (*Copied, error) {
	zipped := gzip.NewWriter(to)
	buffered := bufio.NewWriterSize(zipped, 1<<16)
	d := &dumper{ctx: ctx, out: newEncoder(buffered), notes: newNotes(progress)}
	err := d.copy(db, db.engine.knownSchema())
	if err == nil {
		err = errors.Join(buffered.Flush(), zipped.Close())
	}
	if err != nil {
		return nil, fmt.Errorf("export %s: %w", db.name, err)
	}
	return d.finish(), nil
}

func newEncoder(to io.Writer) *json.Encoder {
	e := json.NewEncoder(to)
	e.SetEscapeHTML(false)
	return e
}

// dumper writes what it is given as lines.
type dumper struct {
	ctx context.Context
	out *json.Encoder
	at  *table // the one that was begun
	*notes
}

// copy writes all lines.
func (d *dumper) copy(from Source, schema int64) error {
	if err := d.out.Encode(dumpHeader{dumpFormat, dumpVersion, schema, time.Now().UTC()}); err != nil {
		return err
	}
	if err := from.each(d.ctx, d); err != nil {
		return err
	}
	return d.out.Encode(dumpEnd{d.copied.Tables})
}

func (d *dumper) begin(t *table) error {
	if d.at == t {
		return nil
	}
	d.at = t
	return d.out.Encode(dumpTable{t.name, t.columnNames()})
}

// take implements sink.
func (d *dumper) take(t *table, r record) error {
	if err := errors.Join(d.ctx.Err(), d.begin(t)); err != nil {
		return err
	}
	d.note(t, r)
	values := make([]any, len(r))
	for i, value := range r {
		values[i] = encodeValue(value)
	}
	return d.out.Encode(values)
}

// end implements sink.
func (d *dumper) end(t *table, sum Sum) error {
	if err := d.begin(t); err != nil {
		return err
	}
	d.close(sum)
	return nil
}

// encodedBytes is what JSON has no text for.
type encodedBytes struct {
	Base64 *string `json:"base64"`
}

func encodeValue(value any) any {
	switch v := value.(type) {
	case []byte:
		text := base64.StdEncoding.EncodeToString(v)
		return encodedBytes{&text}
	case string:
		if !utf8.ValidString(v) {
			return encodeValue([]byte(v))
		}
	}
	return value
}

// Dump is an export that is read. It is read once.
type Dump struct {
	lines *lines
	// Made is when it was written, as the file says.
	Made time.Time
}

// OpenDump reads the beginning of what Export wrote. It refuses other files, and those
// of releases with another schema.
func OpenDump(from io.Reader) (*Dump, error) {
	zipped, err := gzip.NewReader(from)
	if err != nil {
		return nil, errors.New("it is no export: it is not compressed with gzip; exports are made with: ingress db export FILE")
	}
	return openLines(zipped, sqliteEngine.knownSchema())
}

// openLines reads the header of what is inside.
func openLines(from io.Reader, known int64) (*Dump, error) {
	d := &Dump{lines: newLines(from)}
	line, err := d.lines.next()
	if err != nil {
		return nil, d.lines.wrap(err)
	}
	// Another version may have more in this line, and is told first.
	var h dumpHeader
	if json.Unmarshal(line, &h) != nil || h.Format != dumpFormat {
		return nil, errors.New("it is no export: its first line is another; exports are made with: ingress db export FILE")
	}
	switch {
	case h.Version != dumpVersion:
		return nil, fmt.Errorf("its format is version %d, and this program reads version %d; import it with the release that wrote it", h.Version, dumpVersion)
	case h.Schema > known:
		return nil, fmt.Errorf("it was written by a newer release (schema %d, this program knows %d); import it with that release", h.Schema, known)
	case h.Schema < known:
		return nil, fmt.Errorf("it was written by an older release (schema %d, this program has %d); import it with that release, and then upgrade", h.Schema, known)
	}
	d.Made = h.Made
	return d, nil
}

// each implements Source. It reads to the very end: a file that was cut, or in which
// anything is not as it was written, is an error.
func (d *Dump) each(ctx context.Context, s sink) error {
	check := &sums{}
	for _, t := range tables {
		if err := d.heading(t); err != nil {
			return d.lines.wrap(err)
		}
		if err := d.table(ctx, t, both{s, check}); err != nil {
			return d.lines.wrap(err)
		}
	}
	return d.lines.wrap(d.ending(check.all))
}

// heading reads the line that begins a table.
func (d *Dump) heading(t *table) error {
	line, err := d.lines.next()
	if err != nil {
		return err
	}
	var found dumpTable
	if err := strict(line, &found); err != nil || found.Table != t.name || !slices.Equal(found.Columns, t.columnNames()) {
		return fmt.Errorf("the table %s with its columns should begin here", t.name)
	}
	return nil
}

// table reads the records of a table, up to the line that is none.
func (d *Dump) table(ctx context.Context, t *table, s sink) error {
	counted := newTally()
	for {
		line, err := d.lines.next()
		if err != nil {
			return err
		}
		if line[0] == '{' {
			d.lines.again = true
			return s.end(t, counted.sum(t))
		}
		if err := ctx.Err(); err != nil {
			return err
		}
		r, err := t.parse(line)
		if err != nil {
			return err
		}
		counted.add(r)
		if err := s.take(t, r); err != nil {
			return err
		}
	}
}

// ending reads the last line, and that nothing follows.
func (d *Dump) ending(found []Sum) error {
	line, err := d.lines.next()
	if err != nil {
		return err
	}
	var end dumpEnd
	if err := strict(line, &end); err != nil {
		return errors.New("the sums of all tables should be here")
	}
	if !slices.Equal(end.End, found) {
		return errors.New("the sums are not those of the records before them: something was changed")
	}
	switch _, err := d.lines.next(); {
	case err == nil:
		return errors.New("something follows the end")
	case d.lines.ended:
		return nil
	default:
		return err
	}
}

// both gives to two sinks.
type both struct{ first, second sink }

func (b both) take(t *table, r record) error {
	return errors.Join(b.first.take(t, r), b.second.take(t, r))
}

func (b both) end(t *table, sum Sum) error {
	if err := b.first.end(t, sum); err != nil {
		return err
	}
	return b.second.end(t, sum)
}

// parse reads the line of a record.
func (t *table) parse(line []byte) (record, error) {
	var values []json.RawMessage
	if err := json.Unmarshal(line, &values); err != nil {
		return nil, fmt.Errorf("this is no record of the table %s", t.name)
	}
	if len(values) != len(t.columns) {
		return nil, fmt.Errorf("a record of the table %s has %d values, and this one %d", t.name, len(t.columns), len(values))
	}
	r := make(record, len(values))
	for i, value := range values {
		var err error
		if r[i], err = t.columns[i].parse(value); err != nil {
			return nil, fmt.Errorf("table %s, column %s: %w", t.name, t.columns[i].name, err)
		}
	}
	return r, nil
}

// parse reads one value.
func (c *column) parse(raw json.RawMessage) (any, error) {
	fail := fmt.Errorf("this should be %s", c.kind)
	switch text := string(raw); {
	case text == "null":
		return c.normal(nil)
	case c.kind == wholeColumn:
		n, err := strconv.ParseInt(text, 10, 64)
		if err != nil {
			return nil, fail
		}
		return n, nil
	case c.kind == flagColumn && (text == "true" || text == "false"):
		return text == "true", nil
	case c.kind == flagColumn:
		return nil, fail
	}
	if raw[0] == '"' && c.kind == textColumn {
		var s string
		if err := json.Unmarshal(raw, &s); err != nil {
			return nil, fail
		}
		return s, nil
	}
	return c.parseBytes(raw, fail)
}

// parseBytes reads what JSON has no text for.
func (c *column) parseBytes(raw json.RawMessage, fail error) (any, error) {
	var encoded encodedBytes
	if err := strict(raw, &encoded); err != nil || encoded.Base64 == nil {
		return nil, fail
	}
	content, err := base64.StdEncoding.Strict().DecodeString(*encoded.Base64)
	if err != nil {
		return nil, fail
	}
	if c.kind == textColumn {
		return string(content), nil
	}
	return content, nil
}

// strict reads an object without fields that are not known, and nothing after it.
func strict(raw []byte, into any) error {
	decoder := json.NewDecoder(bytes.NewReader(raw))
	decoder.DisallowUnknownFields()
	if err := decoder.Decode(into); err != nil {
		return err
	}
	if _, err := decoder.Token(); !errors.Is(err, io.EOF) {
		return errors.New("something follows the object")
	}
	return nil
}

// errCut says that a file ends before it should.
var errCut = errors.New("the file ends here, and should not: it was cut, or its writing was interrupted")

// lines reads lines and counts them.
type lines struct {
	scanner *bufio.Scanner
	number  int
	again   bool // the line was looked at, and is yet to be read
	ended   bool // after a whole line
}

func newLines(from io.Reader) *lines {
	s := bufio.NewScanner(from)
	s.Buffer(make([]byte, 0, 1<<16), longestLine)
	s.Split(wholeLine)
	return &lines{scanner: s}
}

// wholeLine is a bufio.SplitFunc for lines that all have an end.
func wholeLine(data []byte, atEOF bool) (advance int, token []byte, err error) {
	if at := bytes.IndexByte(data, '\n'); at >= 0 {
		return at + 1, data[:at], nil
	}
	if atEOF && len(data) > 0 {
		return 0, nil, errCut
	}
	return 0, nil, nil
}

// next returns the next line, which is not empty and is valid until the next call.
// The error is errCut at the end, too.
func (l *lines) next() ([]byte, error) {
	if l.again {
		l.again = false
		return l.scanner.Bytes(), nil
	}
	l.number++
	if l.scanner.Scan() {
		if len(l.scanner.Bytes()) == 0 {
			return nil, errors.New("the line is empty")
		}
		return l.scanner.Bytes(), nil
	}
	err := l.scanner.Err()
	var corrupt flate.CorruptInputError
	switch {
	case err == nil:
		l.ended = true
		return nil, errCut
	case errors.Is(err, errCut), errors.Is(err, io.ErrUnexpectedEOF):
		return nil, errCut
	case errors.Is(err, gzip.ErrChecksum), errors.Is(err, gzip.ErrHeader), errors.As(err, &corrupt):
		return nil, errors.New("the file is damaged")
	}
	return nil, fmt.Errorf("the file cannot be read: %w", err)
}

// wrap says at which line an error was met.
func (l *lines) wrap(err error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("line %d: %w", l.number, err)
}
