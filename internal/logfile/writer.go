package logfile

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"sync"

	"golang.org/x/sys/unix"
)

// mode keeps what programs print from everybody but the ingress.
const mode = 0o600

// Writer adds to a log. Its methods are safe for concurrent use, and a log may
// have several Writers, in different processes, too: two runs of one version
// overlap when its settings change.
type Writer struct {
	path  string
	limit int64
	// dir is the log's directory. Writers take turns by a lock on it, which the
	// kernel takes from a killed one; a file for the lock would be one more to
	// leave behind.
	dir *os.File

	mu      sync.Mutex
	current *segment // nil once closed
}

// Create opens the log at path for writing and makes it if it is not there. An
// existing log is continued and its offsets go on, whatever ended its writer.
// The last limit bytes, at least, and twice as many at most, are kept.
func Create(path string, limit int64) (*Writer, error) {
	if limit <= 0 {
		return nil, fmt.Errorf("the size of a log is %d bytes, but must be positive", limit)
	}
	dir, err := os.Open(filepath.Dir(path))
	if err != nil {
		return nil, fmt.Errorf("create the log: %w", err)
	}
	w := &Writer{path: path, limit: limit, dir: dir}
	if err := w.locked(w.open); err != nil {
		dir.Close()
		return nil, err
	}
	return w, nil
}

// locked calls f while no other Writer of the directory does anything.
func (w *Writer) locked(f func() error) error {
	fd := int(w.dir.Fd())
	err := unix.Flock(fd, unix.LOCK_EX)
	for errors.Is(err, unix.EINTR) {
		err = unix.Flock(fd, unix.LOCK_EX)
	}
	if err != nil {
		return fmt.Errorf("lock the log: %w", err)
	}
	err = f()
	if unlock := unix.Flock(fd, unix.LOCK_UN); unlock != nil {
		err = errors.Join(err, fmt.Errorf("unlock the log: %w", unlock))
	}
	return err
}

// open makes the current segment the one that is at path.
func (w *Writer) open() error {
	current, err := openSegment(w.path, os.O_RDWR|os.O_APPEND)
	if errors.Is(err, errNoSegment) {
		current, err = firstSegment(w.path)
	}
	if err != nil {
		return err
	}
	if w.current != nil {
		w.current.file.Close()
	}
	w.current = current
	return nil
}

// refresh takes note of what other Writers did.
func (w *Writer) refresh() error {
	mine, err := w.current.file.Stat()
	if err != nil {
		return fmt.Errorf("write the log: %w", err)
	}
	if there, err := os.Stat(w.path); err != nil || !os.SameFile(mine, there) {
		return w.open()
	}
	w.current.size = max(mine.Size()-headerSize, 0)
	return nil
}

// firstSegment makes the segment to write to when there is none, which is also
// so when a writer was killed in the middle of a rotation.
func firstSegment(path string) (*segment, error) {
	start := int64(0)
	older, err := openSegment(path+olderSuffix, os.O_RDONLY)
	switch {
	case err == nil:
		start = older.end()
		older.file.Close()
	case !errors.Is(err, errNoSegment):
		return nil, err
	}
	fresh, err := freshSegment(path, start)
	if err != nil {
		return nil, err
	}
	if err := os.Rename(path+freshSuffix, path); err != nil {
		fresh.file.Close()
		return nil, fmt.Errorf("create the log: %w", err)
	}
	return fresh, nil
}

// freshSegment makes a segment that is not yet part of the log.
func freshSegment(path string, start int64) (*segment, error) {
	file, err := os.OpenFile(path+freshSuffix, os.O_RDWR|os.O_APPEND|os.O_CREATE|os.O_TRUNC, mode)
	if err != nil {
		return nil, fmt.Errorf("create the log: %w", err)
	}
	if _, err := file.WriteString(header(start)); err != nil {
		file.Close()
		return nil, fmt.Errorf("create the log: %w", err)
	}
	return &segment{file: file, start: start}, nil
}

// Write adds p to the log and drops old text to make room. After an error, such
// as a full disk, the log is whole as far as it was written, and the Writer can
// go on.
func (w *Writer) Write(p []byte) (written int, err error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.current == nil {
		return 0, os.ErrClosed
	}
	err = w.locked(func() error {
		if err := w.refresh(); err != nil {
			return err
		}
		written, err = w.write(p)
		return err
	})
	return written, err
}

// write adds p to the current segment and those after it.
func (w *Writer) write(p []byte) (written int, err error) {
	for len(p) > 0 {
		n := w.fits(p)
		if n == 0 {
			if err := w.rotate(); err != nil {
				return written, err
			}
			continue
		}
		n, err := w.current.file.Write(p[:n])
		w.current.size += int64(n)
		written += n
		if err != nil {
			return written, fmt.Errorf("write the log: %w", err)
		}
		p = p[n:]
	}
	return written, nil
}

// fits returns how much of p goes to the current segment: up to the end of a
// line where there is one, so that segments begin with whole lines.
func (w *Writer) fits(p []byte) int {
	room := max(w.limit-w.current.size, 0)
	if int64(len(p)) <= room {
		return len(p)
	}
	if end := bytes.LastIndexByte(p[:room], '\n') + 1; end > 0 {
		return end
	}
	if w.current.size > 0 {
		return 0
	}
	return int(room)
}

// rotate makes the current segment the older one and begins another. A reader
// finds the log whole between any two of its steps.
func (w *Writer) rotate() error {
	fresh, err := freshSegment(w.path, w.current.end())
	if err != nil {
		return err
	}
	// There is none if an earlier attempt failed half way.
	if err = os.Rename(w.path, w.path+olderSuffix); err == nil || errors.Is(err, fs.ErrNotExist) {
		err = os.Rename(w.path+freshSuffix, w.path)
	}
	if err != nil {
		fresh.file.Close()
		return fmt.Errorf("rotate the log: %w", err)
	}
	w.current.file.Close()
	w.current = fresh
	return nil
}

// Close ends writing. What was written stays.
func (w *Writer) Close() error {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.current == nil {
		return nil
	}
	err := errors.Join(w.current.file.Close(), w.dir.Close())
	w.current = nil
	if err != nil {
		return fmt.Errorf("close the log: %w", err)
	}
	return nil
}
