package logfile

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"unicode/utf8"
)

// Read returns at most limit bytes of the log at path from an absolute offset on,
// and the offset to read from next. A log that does not exist is empty.
//
// When the text at offset has been dropped, Read begins with the oldest that was
// kept: next-len(text) is greater than offset then, by as much as is missing.
// When offset is beyond the end, there is no text and next is the end. Text does
// not end inside a UTF-8 character, unless half a character is all there is.
func Read(path string, offset int64, limit int) (text []byte, next int64, err error) {
	v, err := openView(path)
	if err != nil {
		return nil, 0, err
	}
	defer v.close()
	from := max(min(offset, v.end()), v.start())
	text, err = v.read(from, limit)
	if err != nil {
		return nil, 0, err
	}
	if from > offset {
		text, from = wholeStart(text, from)
	}
	text = wholeEnd(text)
	return text, from + int64(len(text)), nil
}

// Tail returns the last lines of the log at path, as many as fit in maxBytes. A
// last line without its end counts as one, and a single line that is too long
// loses its beginning. A log that does not exist has none.
func Tail(path string, lines, maxBytes int) ([]byte, error) {
	v, err := openView(path)
	if err != nil {
		return nil, err
	}
	defer v.close()
	if lines <= 0 || maxBytes <= 0 {
		return nil, nil
	}
	// One byte more tells whether the text begins with a whole line.
	from := max(v.end()-int64(maxBytes)-1, v.start())
	text, err := v.read(from, int(v.end()-from))
	if err != nil {
		return nil, err
	}
	if len(text) > maxBytes {
		text = afterFirstLine(text)
	}
	return lastLines(text, lines), nil
}

// afterFirstLine returns text without its first line, which may be a part of
// one, or without its first byte and half a character when there is no other.
func afterFirstLine(text []byte) []byte {
	if end := bytes.IndexByte(text, '\n'); end >= 0 && end+1 < len(text) {
		return text[end+1:]
	}
	text, _ = wholeStart(text[1:], 0)
	return text
}

// lastLines returns the last n lines of text.
func lastLines(text []byte, n int) []byte {
	start := len(text)
	for ; n > 0 && start > 0; n-- {
		start = bytes.LastIndexByte(text[:start-1], '\n') + 1
	}
	return text[start:]
}

// wholeStart takes what is left of a cut character from the start of text, which
// is at offset.
func wholeStart(text []byte, offset int64) ([]byte, int64) {
	for n := range min(len(text), utf8.UTFMax) {
		if utf8.RuneStart(text[n]) {
			return text[n:], offset + int64(n)
		}
	}
	return text, offset
}

// wholeEnd takes the first bytes of an unfinished character from the end of
// text, unless there is nothing else.
func wholeEnd(text []byte) []byte {
	for n := 1; n < min(len(text), utf8.UTFMax); n++ {
		last := text[len(text)-n:]
		if !utf8.RuneStart(last[0]) {
			continue
		}
		if !utf8.FullRune(last) {
			return text[:len(text)-n]
		}
		break
	}
	return text
}

// view is the open segments of a log, oldest first, without a gap.
type view []*segment

// tries is how often a reader looks again when it met the writer at changing
// segments, which takes two of its system calls. A gap that stays is none the
// writer is about to close: a loss of power made it.
const tries = 100

// openView opens what there is of the log at path.
func openView(path string) (view, error) {
	for try := 1; ; try++ {
		v, err := openSegments(path)
		if err != nil {
			return nil, err
		}
		if len(v) < 2 || v[0].end() == v[1].start {
			return v, nil
		}
		if try == tries {
			v[0].file.Close()
			return v[1:], nil
		}
		v.close()
	}
}

// openSegments opens the segments of the log at path, the current one first:
// then the other, if it changed meanwhile, is too new and not too old.
func openSegments(path string) (v view, err error) {
	for _, name := range []string{path, path + olderSuffix} {
		s, err := openSegment(name, os.O_RDONLY)
		if errors.Is(err, errNoSegment) {
			continue
		}
		if err != nil {
			v.close()
			return nil, err
		}
		v = append(view{s}, v...)
	}
	return v, nil
}

// start is the offset of the oldest byte.
func (v view) start() int64 {
	if len(v) == 0 {
		return 0
	}
	return v[0].start
}

// end is the offset after the newest byte.
func (v view) end() int64 {
	if len(v) == 0 {
		return 0
	}
	return v[len(v)-1].end()
}

// read returns at most limit bytes from an offset that is between start and end.
func (v view) read(offset int64, limit int) ([]byte, error) {
	text := make([]byte, min(int64(max(limit, 0)), v.end()-offset))
	filled := 0
	for _, s := range v {
		at := offset + int64(filled)
		if at >= s.end() {
			continue
		}
		n := min(int64(len(text)-filled), s.end()-at)
		if _, err := io.ReadFull(io.NewSectionReader(s.file, headerSize+at-s.start, n), text[filled:filled+int(n)]); err != nil {
			return nil, fmt.Errorf("read the log: %w", err)
		}
		filled += int(n)
	}
	return text, nil
}

// close closes the segments.
func (v view) close() {
	for _, s := range v {
		s.file.Close()
	}
}
