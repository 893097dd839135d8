// Package logfile keeps the last part of what a program printed in two files of
// bounded size. Offsets count from the first byte ever written, so that a reader
// can go on where it was after older text has been dropped.
//
// Writers and readers are different processes, and readers need no lock. Each
// segment begins with a line that says at which offset its text starts, and its
// text only ever grows, so whoever has it open can read it whatever becomes of
// its name.
package logfile

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strconv"
	"strings"
)

// The names of a log's files are its path, for what is written now, and the path
// with these endings.
const (
	olderSuffix = ".1"   // the segment before
	freshSuffix = ".new" // the next one, until it has its first line
)

const (
	headerPrefix = "log from byte "
	headerDigits = 19 // of the largest int64
	headerSize   = int64(len(headerPrefix) + headerDigits + 1)
)

// segment is one open file of a log.
type segment struct {
	file *os.File
	// start is the offset of its first byte of text, size how many there are.
	start, size int64
}

// end is the offset after the segment's last byte.
func (s *segment) end() int64 { return s.start + s.size }

// errNoSegment says that there is no such file, or one whose first line is not
// whole, as a loss of power can leave it. Either holds no text.
var errNoSegment = errors.New("no log segment")

// openSegment opens the file name with the flags of os.OpenFile.
func openSegment(name string, flags int) (*segment, error) {
	file, err := os.OpenFile(name, flags, 0)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, errNoSegment
	}
	if err != nil {
		return nil, fmt.Errorf("open the log: %w", err)
	}
	s, err := readHeader(file)
	if err != nil {
		file.Close()
		return nil, err
	}
	return s, nil
}

// readHeader makes a segment of an open file.
func readHeader(file *os.File) (*segment, error) {
	info, err := file.Stat()
	if err != nil {
		return nil, fmt.Errorf("read the log: %w", err)
	}
	header := make([]byte, headerSize)
	if info.Size() < headerSize {
		return nil, errNoSegment
	}
	if _, err := file.ReadAt(header, 0); err != nil {
		return nil, fmt.Errorf("read the log: %w", err)
	}
	start, ok := parseHeader(string(header))
	if !ok {
		return nil, errNoSegment
	}
	return &segment{file: file, start: start, size: info.Size() - headerSize}, nil
}

// header is the first line of a segment.
func header(start int64) string {
	return fmt.Sprintf("%s%0*d\n", headerPrefix, headerDigits, start)
}

// parseHeader returns the offset that a segment's first line says.
func parseHeader(line string) (start int64, ok bool) {
	digits, ok := strings.CutPrefix(line, headerPrefix)
	if !ok || int64(len(line)) != headerSize || digits[headerDigits] != '\n' || digits[0] < '0' {
		return 0, false
	}
	start, err := strconv.ParseInt(digits[:headerDigits], 10, 64)
	return start, err == nil
}
