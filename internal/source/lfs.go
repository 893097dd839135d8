package source

import (
	"fmt"
	"io"
	"maps"
	"slices"
	"strconv"
	"strings"
)

// maxPointer is the size that no pointer of Git LFS has; see its specification.
const maxPointer = 1024

// pointerStarts begin pointers of Git LFS; the second is from before it had its name.
var pointerStarts = []string{"version https://git-lfs.github.com/spec/v1\n", "version https://hawser.github.com/spec/v1\n"}

// parsePointer reports whether a file's content stands for one that Git LFS keeps,
// and how many bytes that has.
func parsePointer(text string) (size int64, ok bool) {
	if len(text) >= maxPointer || !slices.ContainsFunc(pointerStarts, func(start string) bool { return strings.HasPrefix(text, start) }) {
		return 0, false
	}
	oid := false
	size = -1
	for line := range strings.Lines(text) {
		key, value, _ := strings.Cut(strings.TrimSuffix(line, "\n"), " ")
		switch key {
		case "oid":
			oid = strings.HasPrefix(value, "sha256:")
		case "size":
			n, err := strconv.ParseInt(value, 10, 64)
			if err != nil || n < 0 {
				return 0, false
			}
			size = n
		}
	}
	return max(size, 0), oid && size >= 0
}

// pointers are the files written that are pointers of Git LFS, with the sizes of
// what they stand for.
type pointers map[string]int64

// note looks at a file that was written, all of which is in text if it is small.
func (p pointers) note(name, text string) {
	if size, ok := parsePointer(text); ok {
		p[name] = size
	} else {
		delete(p, name) // an archive can have a name twice, and the last one counts
	}
}

// warn says for the owner what is not in the code, and what to do.
func (p pointers) warn(log io.Writer) {
	if len(p) == 0 {
		return
	}
	first := slices.Sorted(maps.Keys(p))[0]
	count, are := fmt.Sprintf("%d files", len(p)), "are pointers"
	if len(p) == 1 {
		count, are = "1 file", "is a pointer"
	}
	fmt.Fprintf(log, "Warning: %s %s of Git LFS and not the content, such as %.100q, which stands for %s. Git LFS is not fetched here: "+
		"run git lfs pull and deploy the folder (--dir), or keep the files in git itself (git lfs migrate export)\n", count, are, first, bytesText(p[first]))
}
