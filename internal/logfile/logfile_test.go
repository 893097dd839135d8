package logfile

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"unicode/utf8"
)

// sample is text whose every part says where in it one is: any n bytes of it
// from offset on can be told from all others.
func sample(offset int64, n int) []byte {
	const line = int64(len("0123456789 grün €\n"))
	var text []byte
	for at := offset / line; int64(len(text)) < int64(n)+line; at++ {
		text = fmt.Appendf(text, "%010d grün €\n", at)
	}
	return text[offset%line:][:n]
}

func mustCreate(t testing.TB, path string, limit int64) *Writer {
	t.Helper()
	w, err := Create(path, limit)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { w.Close() })
	return w
}

func mustWrite(t testing.TB, w *Writer, text string) {
	t.Helper()
	if n, err := w.Write([]byte(text)); err != nil || n != len(text) {
		t.Fatalf("Write(%d bytes) = %d, %v", len(text), n, err)
	}
}

func mustRead(t testing.TB, path string, offset int64, limit int) (string, int64) {
	t.Helper()
	text, next, err := Read(path, offset, limit)
	if err != nil {
		t.Fatal(err)
	}
	return string(text), next
}

func mustTail(t testing.TB, path string, lines, maxBytes int) string {
	t.Helper()
	text, err := Tail(path, lines, maxBytes)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

func TestLogThatIsNotThereIsEmpty(t *testing.T) {
	path := filepath.Join(t.TempDir(), "run.log")
	for _, offset := range []int64{-1, 0, 17} {
		if text, next := mustRead(t, path, offset, 10); text != "" || next != 0 {
			t.Errorf("Read(%d) = %q, %d", offset, text, next)
		}
	}
	if text := mustTail(t, path, 3, 100); text != "" {
		t.Errorf("Tail = %q", text)
	}
}

func TestLogKeepsTheLastPart(t *testing.T) {
	path := filepath.Join(t.TempDir(), "run.log")
	w := mustCreate(t, path, 10)
	mustWrite(t, w, "one\ntwo\n")
	mustWrite(t, w, "three\n")
	mustWrite(t, w, "four\n")
	if text, next := mustRead(t, path, 0, 100); text != "three\nfour\n" && text != "one\ntwo\nthree\nfour\n" {
		t.Errorf("Read = %q, %d", text, next)
	}
	mustWrite(t, w, "five\nsix\n")
	text, next := mustRead(t, path, 0, 100)
	if next != int64(len("one\ntwo\nthree\nfour\nfive\nsix\n")) || !strings.HasSuffix("one\ntwo\nthree\nfour\nfive\nsix\n", text) || len(text) < 10 || len(text) > 20 {
		t.Errorf("Read = %q, %d: want the last 10 to 20 bytes", text, next)
	}
	if !strings.HasPrefix(text, "three") && !strings.HasPrefix(text, "four") {
		t.Errorf("Read = %q: want it to begin with a whole line", text)
	}
	for _, name := range []string{path, path + olderSuffix} {
		info, err := os.Stat(name)
		if err != nil {
			t.Fatal(err)
		}
		if info.Mode().Perm() != 0o600 {
			t.Errorf("%s has mode %v", filepath.Base(name), info.Mode())
		}
		if info.Size() > 10+headerSize {
			t.Errorf("%s has %d bytes", filepath.Base(name), info.Size())
		}
	}
}

func TestReadDoesNotEndInsideACharacter(t *testing.T) {
	path := filepath.Join(t.TempDir(), "run.log")
	w := mustCreate(t, path, 100)
	mustWrite(t, w, "a€b😀")
	for _, test := range []struct {
		offset int64
		limit  int
		want   string
	}{
		{0, 1, "a"}, {0, 2, "a"}, {0, 3, "a"}, {0, 4, "a€"}, {0, 5, "a€b"}, {0, 8, "a€b"}, {0, 9, "a€b😀"}, {0, 90, "a€b😀"},
		{1, 2, "\xe2\x82"}, {2, 1, "\x82"}, {2, 3, "\x82\xacb"}, {5, 3, "\xf0\x9f\x98"}, {4, 4, "b"}, {0, 0, ""}, {0, -1, ""},
	} {
		text, next := mustRead(t, path, test.offset, test.limit)
		if text != test.want || next != test.offset+int64(len(test.want)) {
			t.Errorf("Read(%d, %d) = %q, %d, want %q", test.offset, test.limit, text, next, test.want)
		}
	}
	mustWrite(t, w, "\xff\xff")
	if text, _ := mustRead(t, path, 0, 100); text != "a€b😀\xff\xff" {
		t.Errorf("bytes that are no text are kept back: %q", text)
	}
}

func TestReadBeginsWithACharacterAfterAGap(t *testing.T) {
	path := filepath.Join(t.TempDir(), "run.log")
	w := mustCreate(t, path, 10)
	mustWrite(t, w, strings.Repeat("€", 20))
	text, next := mustRead(t, path, 0, 100)
	if next != 60 || !utf8.ValidString(text) || len(text) < 10-2 {
		t.Errorf("Read = %q, %d", text, next)
	}
}

func TestTail(t *testing.T) {
	for _, test := range []struct {
		name, text      string
		lines, maxBytes int
		want            string
	}{
		{"all of few lines", "a\nb\n", 5, 100, "a\nb\n"},
		{"the last lines", "a\nb\nc\nd\n", 2, 100, "c\nd\n"},
		{"a line without an end", "a\nb\nc", 2, 100, "b\nc"},
		{"empty lines count", "a\n\n\n", 2, 100, "\n\n"},
		{"no more than fits", "aaaa\nbbbb\ncccc\n", 3, 12, "bbbb\ncccc\n"},
		{"lines that fit exactly", "aaaa\nbbbb\ncccc\n", 3, 10, "bbbb\ncccc\n"},
		{"the end of a long line", "a long line", 3, 4, "line"},
		{"the end of a long line with its end", "a long line\n", 3, 5, "line\n"},
		{"not a part of a character", "a€€€", 3, 7, "€€"},
		{"no lines", "a\n", 0, 100, ""},
		{"no bytes", "a\n", 1, 0, ""},
	} {
		t.Run(test.name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "run.log")
			mustWrite(t, mustCreate(t, path, 1000), test.text)
			if got := mustTail(t, path, test.lines, test.maxBytes); got != test.want {
				t.Errorf("Tail = %q, want %q", got, test.want)
			}
		})
	}
}

func TestCreateGoesOn(t *testing.T) {
	path := filepath.Join(t.TempDir(), "run.log")
	first := mustCreate(t, path, 16)
	mustWrite(t, first, string(sample(0, 40)))
	// The first writer is not closed, as if it had been killed.
	mustWrite(t, mustCreate(t, path, 16), string(sample(40, 4)))
	text, next := mustRead(t, path, 36, 100)
	if text != string(sample(36, 8)) || next != 44 {
		t.Errorf("Read = %q, %d, want %q, 44", text, next, sample(36, 8))
	}
}

func TestCreateAfterADeathInARotation(t *testing.T) {
	for _, test := range []struct {
		name  string
		crash func(path string) error
		next  int64
	}{
		{"before the fresh segment is in place", func(path string) error { return os.WriteFile(path+freshSuffix, []byte("log fr"), 0o600) }, 10},
		{"between the two renamings", func(path string) error { return os.Rename(path, path+olderSuffix) }, 10},
		{"a loss of power emptied it", func(path string) error { return os.Truncate(path, 0) }, 0},
		{"a loss of power cut its first line", func(path string) error { return os.Truncate(path, 9) }, 0},
	} {
		t.Run(test.name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "run.log")
			w := mustCreate(t, path, 100)
			mustWrite(t, w, "0123456789")
			w.Close()
			if err := test.crash(path); err != nil {
				t.Fatal(err)
			}
			if _, next := mustRead(t, path, 0, 100); next != test.next {
				t.Errorf("before, next = %d, want %d", next, test.next)
			}
			mustWrite(t, mustCreate(t, path, 100), "abc")
			if text, next := mustRead(t, path, test.next, 100); text != "abc" || next != test.next+3 {
				t.Errorf("Read = %q, %d, want abc, %d", text, next, test.next+3)
			}
		})
	}
}

func TestWriteAfterClose(t *testing.T) {
	w := mustCreate(t, filepath.Join(t.TempDir(), "run.log"), 10)
	if err := errors.Join(w.Close(), w.Close()); err != nil {
		t.Fatal(err)
	}
	if _, err := w.Write([]byte("x")); !errors.Is(err, os.ErrClosed) {
		t.Errorf("Write = %v", err)
	}
}

func TestWriteSaysWhatFails(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "run.log")
	w := mustCreate(t, path, 4)
	if err := os.Mkdir(path+freshSuffix, 0o700); err != nil { // no segment can be made
		t.Fatal(err)
	}
	if n, err := w.Write([]byte("123456")); n != 4 || err == nil {
		t.Errorf("Write = %d, %v, want the first segment and an error", n, err)
	}
	if err := os.Remove(path + freshSuffix); err != nil {
		t.Fatal(err)
	}
	mustWrite(t, w, "56")
	if text, next := mustRead(t, path, 4, 10); text != "56" || next != 6 {
		t.Errorf("once it works again, Read = %q, %d", text, next)
	}
	if _, err := Create(filepath.Join(dir, "other", "run.log"), 4); err == nil {
		t.Error("Create made a log in a directory that does not exist")
	}
	if _, err := Create(path, 0); err == nil {
		t.Error("Create made a log of no size")
	}
}

// TestReadersRaceTheWriter follows a log that changes segments all the time.
func TestReadersRaceTheWriter(t *testing.T) {
	path := filepath.Join(t.TempDir(), "run.log")
	const total = 300_000
	w := mustCreate(t, path, 200)
	written := make(chan error, 1)
	go func() {
		var err error
		for at := int64(0); at < total && err == nil; {
			n := min(int(at%97)+1, int(total-at))
			_, err = w.Write(sample(at, n))
			at += int64(n)
		}
		written <- err
	}()
	dropped, offset, done := 0, int64(0), false
	for offset < total {
		text, next := mustRead(t, path, offset, 150)
		start := next - int64(len(text))
		if start < offset || next < offset {
			t.Fatalf("Read(%d) went back to %d", offset, start)
		}
		if start > offset {
			dropped++
		}
		if !bytes.Equal([]byte(text), sample(start, len(text))) {
			t.Fatalf("Read(%d) = %q, want %q", offset, text, sample(start, len(text)))
		}
		if offset == next && done {
			t.Fatalf("the log ends at %d", next)
		}
		offset = next
		select {
		case err := <-written:
			if err != nil {
				t.Fatal(err)
			}
			done = true
		default:
		}
	}
	t.Logf("read to the end with %d gaps", dropped)
}

// TestSeveralWriters has two writers at a time, each opening the log itself, as
// two processes do.
func TestSeveralWriters(t *testing.T) {
	path := filepath.Join(t.TempDir(), "run.log")
	const lines = 2000
	var wg sync.WaitGroup
	for _, name := range []string{"a", "b", "c"} {
		w := mustCreate(t, path, 400)
		wg.Go(func() {
			for n := range lines {
				if _, err := fmt.Fprintf(w, "%s%06d\n", name, n); err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
	text, next := mustRead(t, path, 0, 10_000)
	if next != 3*lines*8 || len(text) < 400 || len(text) > 800 {
		t.Errorf("the log ends at %d and keeps %d bytes", next, len(text))
	}
	last := map[byte]int{}
	for line := range strings.Lines(text) {
		var n int
		if _, err := fmt.Sscanf(line[1:], "%06d\n", &n); err != nil || len(line) != 8 {
			t.Fatalf("there is a line %q: %v", line, err)
		}
		if before, ok := last[line[0]]; ok && n != before+1 {
			t.Errorf("line %q follows %d", line, before)
		}
		last[line[0]] = n
	}
}

// FuzzLog writes, reads and reopens in any order and compares with all text ever
// written.
func FuzzLog(f *testing.F) {
	f.Add(uint8(10), []byte{0x03, 0x81, 0x0a, 0xc2})
	f.Add(uint8(1), []byte{0x3f, 0x40, 0x80, 0xff})
	f.Add(uint8(255), bytes.Repeat([]byte{0x3f, 0x9f, 0x44, 0xd0}, 40))
	f.Add(uint8(2), []byte("%A1\xc2")) // of five bytes that there are at most four are wanted
	f.Fuzz(func(t *testing.T, size uint8, operations []byte) {
		limit := int64(size) + 1
		path := filepath.Join(t.TempDir(), "run.log")
		w := mustCreate(t, path, limit)
		total := int64(0)
		for _, op := range operations[:min(len(operations), 64)] {
			n := int(op & 0x3f)
			switch op >> 6 {
			case 0:
				mustWrite(t, w, string(sample(total, n)))
				total += int64(n)
			case 1:
				w = mustCreate(t, path, limit)
			case 2:
				checkRead(t, path, total-int64(n)*8, n, total, limit)
			case 3:
				checkTail(t, path, n%8, n*2, total)
			}
		}
		checkRead(t, path, 0, int(total), total, limit)
	})
}

// checkRead compares what Read returns with what was written.
func checkRead(t *testing.T, path string, offset int64, n int, total, limit int64) {
	t.Helper()
	text, next := mustRead(t, path, offset, n)
	start := next - int64(len(text))
	kept := max(total-limit, 0)
	switch {
	case !bytes.Equal([]byte(text), sample(start, len(text))):
		t.Errorf("Read(%d, %d) = %q, want %q", offset, n, text, sample(start, len(text)))
	case start > max(offset, kept+utf8.UTFMax-1):
		t.Errorf("Read(%d, %d) starts at %d although at least all from %d is kept", offset, n, start, kept)
	case n > 0 && text == "" && next < total:
		t.Errorf("Read(%d, %d) ends at %d of %d", offset, n, next, total)
	case len(text) > n:
		t.Errorf("Read(%d, %d) returns %d bytes", offset, n, len(text))
	case len(text) >= utf8.UTFMax && next < total && !utf8.RuneStart(sample(next, 1)[0]):
		t.Errorf("Read(%d, %d) = %q ends inside a character", offset, n, text)
	}
}

// checkTail compares what Tail returns with what was written.
func checkTail(t *testing.T, path string, lines, maxBytes int, total int64) {
	t.Helper()
	text := mustTail(t, path, lines, maxBytes)
	switch {
	case !bytes.Equal([]byte(text), sample(total-int64(len(text)), len(text))):
		t.Errorf("Tail(%d, %d) = %q is not the end", lines, maxBytes, text)
	case len(text) > maxBytes:
		t.Errorf("Tail(%d, %d) returns %d bytes", lines, maxBytes, len(text))
	case strings.Count(strings.TrimSuffix(text, "\n"), "\n") > max(lines-1, 0):
		t.Errorf("Tail(%d, %d) = %q has too many lines", lines, maxBytes, text)
	case text == "" && lines > 0 && maxBytes >= utf8.UTFMax && total > 0:
		t.Errorf("Tail(%d, %d) has nothing of %d bytes", lines, maxBytes, total)
	}
}
