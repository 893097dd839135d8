package source

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path"
	"strings"
	"syscall"

	"github.com/m3o/ingress/internal/confine"
)

// Limits bound what is written, and say how.
type Limits struct {
	// Bytes and Files are the most that is written; Files counts folders and links
	// too. Zero means DefaultBytes and DefaultFiles.
	Bytes, Files int64
	// Folder keeps only what is beneath it, as if it were the top. Empty and "."
	// keep all.
	Folder string
	// Owner is who the files will belong to; the zero User leaves them to us.
	Owner confine.User
}

// entry is what a writer made under a name.
type entry byte

const (
	folder entry = iota + 1
	file
	link
)

// writer writes a tree into an empty directory. It knows everything that it made,
// and never writes through a link.
type writer struct {
	root         *os.Root
	limits       Limits
	prefix       string // where the archive being read goes, "" or "." for the top
	made         map[string]entry
	links        []string
	bytes, files int64 // what there is
	count        int64 // entries ever made, folders included
	pointers     pointers
}

func newWriter(root *os.Root, limits Limits) *writer {
	if limits.Bytes == 0 {
		limits.Bytes = DefaultBytes
	}
	if limits.Files == 0 {
		limits.Files = DefaultFiles
	}
	return &writer{root: root, limits: limits, made: map[string]entry{}, pointers: pointers{}}
}

// counted refuses one entry too many.
func (w *writer) counted() error {
	if w.count++; w.count > w.limits.Files {
		return fail(TooLarge, "it has more than %d files and folders: leave out what the app does not need", w.limits.Files)
	}
	return nil
}

// add refuses bytes beyond the limit.
func (w *writer) add(n int64) error {
	if n < 0 || n > w.limits.Bytes-w.bytes {
		return fail(TooLarge, "it is larger than %s: leave out what the app does not need", bytesText(w.limits.Bytes))
	}
	w.bytes += n
	return nil
}

// folder makes a folder and those above it.
func (w *writer) folder(name string) error {
	if name == "." || w.made[name] == folder {
		return nil
	}
	if w.made[name] != 0 {
		return fail(Refused, "%.100q is both a folder and something else", name)
	}
	if err := w.folder(path.Dir(name)); err != nil {
		return err
	}
	if err := w.counted(); err != nil {
		return err
	}
	if err := w.root.Mkdir(name, 0o755); err != nil {
		return machine("make a folder", err)
	}
	w.made[name] = folder
	return machine("make a folder", own(w.root, name, w.limits.Owner))
}

// place makes room for an entry that is no folder: the last of a name is kept.
func (w *writer) place(name string, kind entry) error {
	if err := w.folder(path.Dir(name)); err != nil {
		return err
	}
	if err := w.counted(); err != nil {
		return err
	}
	switch w.made[name] {
	case folder:
		return fail(Refused, "%.100q is both a folder and something else", name)
	case file, link:
		if err := w.root.Remove(name); err != nil {
			return machine("replace a file", err)
		}
		w.files--
	}
	w.made[name] = kind
	w.files++
	return nil
}

// file writes size bytes of r. A file that is shorter is an error.
func (w *writer) file(name string, mode os.FileMode, size int64, r io.Reader) error {
	if err := w.place(name, file); err != nil {
		return err
	}
	if err := w.add(size); err != nil {
		return err
	}
	perm := os.FileMode(0o644)
	if mode&0o111 != 0 {
		perm = 0o755
	}
	f, err := w.root.OpenFile(name, os.O_CREATE|os.O_EXCL|os.O_WRONLY, perm)
	if err != nil {
		return machine("write a file", err)
	}
	var small strings.Builder
	if size < maxPointer {
		r = io.TeeReader(r, &small)
	}
	_, err = io.CopyN(f, r, size)
	w.pointers.note(name, small.String())
	if err = errors.Join(err, f.Close()); err != nil {
		return machine("write a file", err)
	}
	return machine("write a file", own(w.root, name, w.limits.Owner))
}

// symlink makes a link whose target, read as text, is beneath the top. Finish
// looks at where it really leads.
func (w *writer) symlink(name, target string) error {
	if !inside(name, target) {
		return leadsOut(name)
	}
	if err := w.place(name, link); err != nil {
		return err
	}
	if err := w.root.Symlink(target, name); err != nil {
		return machine("make a link", err)
	}
	w.links = append(w.links, name)
	return machine("make a link", own(w.root, name, w.limits.Owner))
}

// hardlink makes a second name of a file made earlier.
func (w *writer) hardlink(name, target string) error {
	if w.made[target] != file || name == target {
		return fail(Refused, "%.100q is a hard link to something that is no file before it", name)
	}
	if err := w.place(name, file); err != nil {
		return err
	}
	return machine("make a link", w.root.Link(target, name))
}

// finish checks that no link leads out by way of other links. Text alone cannot
// tell: "a/.." is not the top when "a" is a link.
func (w *writer) finish() error {
	for _, name := range w.links {
		if w.made[name] != link {
			continue
		}
		_, err := w.root.Stat(name)
		if err != nil && !dangling(err) {
			return leadsOut(name)
		}
	}
	return nil
}

// dangling reports whether following a link failed because it leads to nothing,
// which is the code's own affair.
func dangling(err error) bool {
	return errors.Is(err, os.ErrNotExist) || errors.Is(err, syscall.ELOOP) || errors.Is(err, syscall.ENOTDIR)
}

// openFile opens a file for reading without waiting for a pipe: what was a file a
// moment ago may be something else.
func openFile(root *os.Root, name string) (*os.File, error) {
	return root.OpenFile(name, os.O_RDONLY|syscall.O_NONBLOCK, 0)
}

// inside reports whether a link's target is beneath the top, as text.
func inside(name, target string) bool {
	if target == "" || len(target) > maxName || path.IsAbs(target) || strings.IndexByte(target, 0) >= 0 {
		return false
	}
	joined := path.Join(path.Dir(name), target)
	return joined != ".." && !strings.HasPrefix(joined, "../")
}

func leadsOut(name string) error {
	return fail(Refused, "the link %.100q leads out of the code: put a copy of what it points to in its place", name)
}

// machine says what failed here. The errors of a full disk are kept for errors.Is.
func machine(doing string, err error) error {
	var own *Error
	switch {
	case err == nil:
		return nil
	case errors.As(err, &own):
		return err
	case errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, io.EOF):
		return fail(Refused, "the archive is cut short: make and upload it again")
	}
	return fmt.Errorf("%s: %w", doing, err)
}
