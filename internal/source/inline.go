package source

import (
	"fmt"
	"maps"
	"os"
	"path"
	"slices"
	"strings"
)

// Inline source is for functions of a few files.
const (
	maxInlineFiles = 200
	maxInlineBytes = 10 << 20
)

// CheckInline refuses inline files whose names or sizes cannot be written: names
// are slash-separated and relative, and no file is another's folder. Its error is
// an *Error.
func CheckInline(files map[string]string) error {
	if len(files) == 0 {
		return fail(Empty, "there are no files")
	}
	if len(files) > maxInlineFiles {
		return fail(TooLarge, "there are %d files, and %d is the most: use a repository or upload a folder", len(files), maxInlineFiles)
	}
	total := 0
	for name, content := range files {
		if err := checkName(name); err != nil {
			return fail(Refused, "the file name %.100q cannot be used: %v", name, err)
		}
		for dir := path.Dir(name); dir != "."; dir = path.Dir(dir) {
			if _, taken := files[dir]; taken {
				return fail(Refused, "%.100q is both a file and the folder of %.100q", dir, name)
			}
		}
		total += len(content)
	}
	if total > maxInlineBytes {
		return fail(TooLarge, "the files have %s, and %s is the most: use a repository or upload a folder",
			bytesText(int64(total)), bytesText(maxInlineBytes))
	}
	return nil
}

// writeInline writes files into dest.
func writeInline(files map[string]string, dest string, limits Limits) (Result, error) {
	if err := CheckInline(files); err != nil {
		return Result{}, err
	}
	root, err := os.OpenRoot(dest)
	if err != nil {
		return Result{}, fmt.Errorf("open the folder for the code: %w", err)
	}
	defer root.Close()
	w := newWriter(root, limits)
	for _, name := range slices.Sorted(maps.Keys(files)) {
		if err := w.file(name, 0o644, int64(len(files[name])), strings.NewReader(files[name])); err != nil {
			return Result{}, err
		}
	}
	return Result{Bytes: w.bytes, Files: w.files, Detail: "inline, " + size(Result{Bytes: w.bytes, Files: w.files})}, nil
}
