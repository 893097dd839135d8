package source

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/m3o/ingress/internal/confine"
)

// checkEmpty refuses a directory with something in it: what Fetch and Unpack
// leave must be all theirs, and they empty it when they fail.
func checkEmpty(dir string) error {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return fmt.Errorf("read the folder for the code: %w", err)
	}
	if len(entries) > 0 {
		return fmt.Errorf("the folder for the code, %s, is not empty", dir)
	}
	return nil
}

// clearDir removes all that is in a directory. Whatever permissions an archive has
// for its folders, those that it made can be entered and changed.
func clearDir(dir string) error {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return fmt.Errorf("empty %s: %w", dir, err)
	}
	var failed error
	for _, e := range entries {
		failed = errors.Join(failed, os.RemoveAll(filepath.Join(dir, e.Name())))
	}
	return failed
}

// own gives a file of root to its user, without following a link.
func own(root *os.Root, name string, user confine.User) error {
	if user.IsZero() {
		return nil
	}
	return root.Lchown(name, int(user.UID), int(user.GID))
}

// cleanPath returns a folder in the source as a slash-separated relative name, or
// "." for the top.
func cleanPath(folder string) (string, error) {
	trimmed := strings.Trim(folder, "/")
	if trimmed == "" || trimmed == "." {
		return ".", nil
	}
	trimmed = strings.TrimPrefix(trimmed, "./")
	if err := checkName(trimmed); err != nil {
		return "", fail(Refused, "the folder %.100q cannot be used: %v", folder, err)
	}
	return trimmed, nil
}

// What names in a source may be.
const (
	maxName  = 1024 // bytes of a whole name
	maxPart  = 255  // bytes between slashes: what Linux file systems take
	maxDepth = 64
)

// checkName refuses names that are not plainly of a file beneath the top.
func checkName(name string) error {
	switch {
	case name == "":
		return errors.New("it is empty")
	case len(name) > maxName:
		return fmt.Errorf("it is longer than %d bytes", maxName)
	case strings.IndexByte(name, 0) >= 0:
		return errors.New("it holds a NUL byte")
	case strings.HasPrefix(name, "/"):
		return errors.New("it must be relative")
	case !plainParts(name):
		return errors.New(`it must have no empty, "." or ".." part`)
	case strings.Count(name, "/") >= maxDepth:
		return fmt.Errorf("it is more than %d folders deep", maxDepth)
	}
	for part := range strings.SplitSeq(name, "/") {
		if len(part) > maxPart {
			return fmt.Errorf("a part of it is longer than %d bytes", maxPart)
		}
	}
	return nil
}

// plainParts is fs.ValidPath for names that are not UTF-8 as well, which git and
// tar may hold and the system takes, and not for the top itself.
func plainParts(name string) bool {
	for part := range strings.SplitSeq(name, "/") {
		if part == "" || part == "." || part == ".." {
			return false
		}
	}
	return true
}

// size describes how much a result is.
func size(r Result) string {
	files := fmt.Sprintf("%d files", r.Files)
	if r.Files == 1 {
		files = "1 file"
	}
	return files + ", " + bytesText(r.Bytes)
}

// bytesText writes a number of bytes the way people read it.
func bytesText(n int64) string {
	const units = "KMGT"
	if n < 1024 {
		return fmt.Sprintf("%d bytes", n)
	}
	value, unit := float64(n)/1024, 0
	for value >= 1024 && unit < len(units)-1 {
		value, unit = value/1024, unit+1
	}
	text := strings.TrimSuffix(fmt.Sprintf("%.1f", value), ".0")
	return fmt.Sprintf("%s %ciB", text, units[unit])
}
