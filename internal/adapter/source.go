package adapter

import (
	"embed"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
)

// The patterns name the files: a folder's would leave out __init__.py and take
// what Python keeps beside its source.
//
//go:embed golang/*.txt nodejs/*.cjs python/*.py python/*/*.py
var adapters embed.FS

// source is the folder with the function's source. Everything in it was chosen
// by the author, so it is only reached through root, which no link leads out of.
type source struct{ root *os.Root }

// maxFolders bounds the search for a folder's name that is free.
const maxFolders = 100

// isFile reports whether there is a file of that name, or a link to one that
// does not lead out of the source.
func (s source) isFile(name string) bool {
	info, err := s.root.Stat(name)
	return err == nil && info.Mode().IsRegular()
}

// isDir reports whether there is a folder of that name itself: a link to one is
// none.
func (s source) isDir(name string) bool {
	info, err := s.root.Lstat(name)
	return err == nil && info.IsDir()
}

// newFolder makes the folder for the adapter and returns its name. A name that
// the author has used, for whatever, is left alone and the next one tried.
func (s source) newFolder() (string, error) {
	for i := 1; i <= maxFolders; i++ {
		name := ".ingress"
		if i > 1 {
			name = fmt.Sprintf(".ingress-%d", i)
		}
		err := s.mkdir(name)
		if !errors.Is(err, fs.ErrExist) {
			return name, err
		}
	}
	return "", errors.New("the source has too many files named .ingress-…; take them out")
}

// mkdir makes a folder that is not there yet, owned by the owner of the source.
func (s source) mkdir(name string) error {
	if err := s.root.Mkdir(name, 0o755); err != nil {
		return fmt.Errorf("write the function's adapter: %w", err)
	}
	return s.hand(name, 0o755)
}

// write makes a file that is not there yet, owned by the owner of the source.
func (s source) write(name string, content []byte) error {
	f, err := s.root.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o644)
	if err != nil {
		return fmt.Errorf("write the function's adapter: %w", err)
	}
	_, err = f.Write(content)
	if err := errors.Join(err, f.Close()); err != nil {
		return fmt.Errorf("write the function's adapter: %w", err)
	}
	return s.hand(name, 0o644)
}

// hand gives what was just made to the owner of the source, whatever the umask.
func (s source) hand(name string, mode fs.FileMode) error {
	err := s.root.Chmod(name, mode)
	if err == nil {
		err = s.giveAway(name)
	}
	if err != nil {
		return fmt.Errorf("hand the function's adapter to its owner: %w", err)
	}
	return nil
}

// copyAdapter writes the files of one embedded folder, and those beneath it,
// into the folder to, which is there.
func (s source) copyAdapter(from, to string) error {
	entries, err := adapters.ReadDir(from)
	if err != nil {
		return fmt.Errorf("write the function's adapter: %w", err)
	}
	for _, entry := range entries {
		if err := s.copyEntry(path.Join(from, entry.Name()), path.Join(to, entry.Name()), entry.IsDir()); err != nil {
			return err
		}
	}
	return nil
}

func (s source) copyEntry(from, to string, isDir bool) error {
	if isDir {
		if err := s.mkdir(to); err != nil {
			return err
		}
		return s.copyAdapter(from, to)
	}
	content, err := adapters.ReadFile(from)
	if err != nil {
		return fmt.Errorf("write the function's adapter: %w", err)
	}
	return s.write(to, content)
}
