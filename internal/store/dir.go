package store

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"

	"golang.org/x/sys/unix"
)

// ErrDirInUse says that another process holds the data directory.
var ErrDirInUse = errors.New("in use by another process")

// DirLock is the lock of a data directory. It lasts until every process that has
// its file has closed it.
type DirLock struct{ file *os.File }

// LockDir makes the data directory if need be, readable by its owner alone, and
// takes its lock, which ends with Close or with the process. It returns an error
// that wraps ErrDirInUse, at once, when another process holds it.
func LockDir(dir string) (*DirLock, error) {
	if info, err := os.Stat(dir); err == nil && !info.IsDir() {
		return nil, fmt.Errorf("%s is a file and not a directory; give another path", dir)
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("the data directory cannot be made: %w; give another one that this user may make", err)
	}
	file, err := os.OpenFile(filepath.Join(dir, "lock"), os.O_CREATE|os.O_RDWR, 0o600)
	if errors.Is(err, fs.ErrPermission) || errors.Is(err, syscall.EROFS) {
		return nil, fmt.Errorf("the data directory %s cannot be written: %w; it must belong to the user who runs this", dir, err)
	}
	if err != nil {
		return nil, fmt.Errorf("lock the data directory %s: %w", dir, err)
	}
	if err := tryLock(file); err != nil {
		_ = file.Close() // nothing was done with it
		if errors.Is(err, unix.EWOULDBLOCK) {
			err = ErrDirInUse
		}
		return nil, fmt.Errorf("data directory %s: %w", dir, err)
	}
	return &DirLock{file}, nil
}

func tryLock(file *os.File) error {
	for {
		err := unix.Flock(int(file.Fd()), unix.LOCK_EX|unix.LOCK_NB)
		if !errors.Is(err, unix.EINTR) {
			return err
		}
	}
}

// InheritDirLock returns the lock of a data directory whose file another process
// has handed over, which must hold it.
func InheritDirLock(file *os.File, dir string) (*DirLock, error) {
	ours, err := file.Stat()
	if err != nil {
		return nil, fmt.Errorf("take over the lock of %s: %w", dir, err)
	}
	there, err := os.Stat(filepath.Join(dir, "lock"))
	if err != nil || !os.SameFile(ours, there) {
		return nil, fmt.Errorf("take over the lock of %s: what was handed over is the lock of another directory", dir)
	}
	if err := tryLock(file); err != nil { // no other has it when the one who handed it over does
		return nil, fmt.Errorf("take over the lock of %s: %w", dir, err)
	}
	return &DirLock{file}, nil
}

// File is the lock's file, to be handed over to another process.
func (l *DirLock) File() *os.File { return l.file }

// Close gives the lock up, unless another process has its file, too.
func (l *DirLock) Close() error { return l.file.Close() }

// WriteFile writes a file readable by its owner alone so that, whatever
// happens, either the old or the new content is there: a temporary file, synced,
// renamed, and the directory synced.
func WriteFile(path string, content []byte) error {
	dir := filepath.Dir(path)
	tmp, err := os.CreateTemp(dir, "."+filepath.Base(path)+"-*") // made with mode 0600
	if err != nil {
		return fmt.Errorf("write %s: %w", path, err)
	}
	defer os.Remove(tmp.Name())
	_, err = tmp.Write(content)
	if err == nil {
		err = tmp.Sync()
	}
	if err := errors.Join(err, tmp.Close()); err != nil {
		return fmt.Errorf("write %s: %w", path, err)
	}
	if err := os.Rename(tmp.Name(), path); err != nil {
		return fmt.Errorf("write %s: %w", path, err)
	}
	return syncDir(dir)
}

// CreateFile makes a file readable by its owner alone of what write writes. It is there
// whole or not at all, and is never put in the place of another: then the error is
// fs.ErrExist.
func CreateFile(path string, write func(io.Writer) error) error {
	if _, err := os.Lstat(path); err == nil {
		return fmt.Errorf("write %s: %w", path, fs.ErrExist)
	}
	tmp, err := os.CreateTemp(filepath.Dir(path), "."+filepath.Base(path)+"-*") // made with mode 0600
	if err != nil {
		return fmt.Errorf("write %s: %w", path, err)
	}
	defer os.Remove(tmp.Name())
	err = write(tmp)
	if err == nil {
		err = tmp.Sync()
	}
	if err := errors.Join(err, tmp.Close()); err != nil {
		return err
	}
	// A link, which unlike a renaming fails when another file came there meanwhile.
	if err := os.Link(tmp.Name(), path); err != nil {
		return fmt.Errorf("write %s: %w", path, err)
	}
	return syncDir(filepath.Dir(path))
}

func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return fmt.Errorf("sync directory: %w", err)
	}
	if err := errors.Join(d.Sync(), d.Close()); err != nil {
		return fmt.Errorf("sync directory %s: %w", dir, err)
	}
	return nil
}
