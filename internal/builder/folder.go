package builder

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"slices"
	"strings"
	"syscall"
)

const (
	// maxFileBytes bounds each file that is read to find out what the code is.
	maxFileBytes = 1 << 20
	// maxDirEntries bounds how much of a directory is looked at.
	maxDirEntries = 10_000
)

// folder is a code folder, read without ever leaving it: its author may have put
// symbolic links, pipes and devices in it, and the ingress may be root. Names are
// slash-separated and relative.
type folder struct{ root *os.Root }

func openFolder(name string) (*folder, error) {
	root, err := os.OpenRoot(name)
	if err != nil {
		return nil, err
	}
	return &folder{root}, nil
}

// Close implements io.Closer.
func (f *folder) Close() error { return f.root.Close() }

// isFile reports whether name is a regular file, or a link to one in the folder.
func (f *folder) isFile(name string) bool {
	info, err := f.root.Stat(name)
	return err == nil && info.Mode().IsRegular()
}

// isDir reports whether name is a directory, or a link to one in the folder.
func (f *folder) isDir(name string) bool {
	info, err := f.root.Stat(name)
	return err == nil && info.IsDir()
}

// firstFile returns the first of names that is a file, or "".
func (f *folder) firstFile(names ...string) string {
	for _, name := range names {
		if f.isFile(name) {
			return name
		}
	}
	return ""
}

// open opens a regular file. It never waits: a pipe is opened without a writer,
// and then refused.
func (f *folder) open(name string) (*os.File, error) {
	file, err := f.root.OpenFile(name, os.O_RDONLY|syscall.O_NONBLOCK, 0)
	if err != nil {
		return nil, err
	}
	info, err := file.Stat()
	if err == nil && !info.Mode().IsRegular() {
		err = errors.New("it is no regular file")
	}
	if err != nil {
		file.Close()
		return nil, err
	}
	return file, nil
}

// read returns the content of a file without a byte order mark. The errors are
// fit for the owner.
func (f *folder) read(name string) ([]byte, error) {
	file, err := f.open(name)
	if err != nil {
		return nil, refuse("%s cannot be read: %v", name, plain(err))
	}
	defer file.Close()
	content, err := io.ReadAll(io.LimitReader(file, maxFileBytes+1))
	if err != nil {
		return nil, fmt.Errorf("reading %s: %w", name, err)
	}
	if len(content) > maxFileBytes {
		return nil, refuse("%s has more than %d bytes", name, maxFileBytes)
	}
	return bytes.TrimPrefix(content, []byte("\ufeff")), nil
}

// list returns what is in a directory, sorted by name, or nothing when it cannot
// be read.
func (f *folder) list(name string) []fs.DirEntry {
	dir, err := f.root.Open(name)
	if err != nil {
		return nil
	}
	defer dir.Close()
	entries, err := dir.ReadDir(maxDirEntries)
	if err != nil {
		return nil
	}
	slices.SortFunc(entries, func(a, b fs.DirEntry) int { return strings.Compare(a.Name(), b.Name()) })
	return entries
}

// directories returns the names of the directories in one, without hidden ones
// and links.
func (f *folder) directories(name string) []string {
	var dirs []string
	for _, entry := range f.list(name) {
		if entry.IsDir() && entry.Name()[0] != '.' {
			dirs = append(dirs, path.Join(name, entry.Name()))
		}
	}
	return dirs
}

// plain returns an error of the file system without the name it is about.
func plain(err error) error {
	var where *fs.PathError
	if errors.As(err, &where) {
		return where.Err
	}
	return err
}
