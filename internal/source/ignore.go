package source

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"strings"
)

// What names the files that are not packed. The second outranks the first, so
// that it can bring back what is kept out of git, such as built files.
const (
	gitIgnore     = ".gitignore"
	ingressIgnore = ".ingressignore"
)

// maxIgnore bounds one file of patterns in bytes.
const maxIgnore = 1 << 20

// pattern is a line of a .gitignore file; see gitignore(5) for what each means.
type pattern struct {
	text    string // without "!", the first and the last slash
	literal int    // how much of text has no wildcard
	negated bool
	dirOnly bool
	byName  bool // matches in any folder, since there is no slash in it
}

// patterns are those of one file, which hold beneath its folder.
type patterns struct {
	base string // the folder, "" for the top
	list []pattern
}

// parsePatterns reads a file of patterns.
func parsePatterns(base, text string) patterns {
	p := patterns{base: base}
	text = strings.TrimPrefix(text, "\ufeff")
	for line := range strings.SplitSeq(text, "\n") {
		line = strings.TrimSuffix(line, "\r")
		if line == "" || line[0] == '#' || strings.IndexByte(line, 0) >= 0 {
			continue
		}
		if one, ok := parsePattern(trimSpaces(line)); ok {
			p.list = append(p.list, one)
		}
	}
	return p
}

// trimSpaces takes off blanks at the end that no backslash keeps.
func trimSpaces(line string) string {
	end := len(line)
	spaces := false
	for i := 0; i < len(line); i++ {
		switch line[i] {
		case ' ':
			if !spaces {
				spaces, end = true, i
			}
		case '\\':
			i++
			spaces = false
		default:
			spaces = false
		}
	}
	if spaces {
		return line[:end]
	}
	return line
}

func parsePattern(line string) (pattern, bool) {
	var p pattern
	p.text, p.negated = strings.CutPrefix(line, "!")
	p.text, p.dirOnly = strings.CutSuffix(p.text, "/")
	p.byName = !strings.Contains(p.text, "/")
	p.text = strings.TrimPrefix(p.text, "/")
	p.literal = strings.IndexAny(p.text, `*?[\`)
	if p.literal < 0 {
		p.literal = len(p.text)
	}
	return p, p.text != ""
}

// match reports whether a name, seen from the pattern's folder, is meant.
func (p pattern) match(name string, dir bool) bool {
	if p.dirOnly && !dir {
		return false
	}
	if p.byName {
		return wild(p.text, path.Base(name), false)
	}
	// The part without wildcards is compared by itself, as git does: what follows
	// it is a pattern of its own, at whose beginning "**" has its meaning.
	rest, ok := strings.CutPrefix(name, p.text[:p.literal])
	return ok && wild(p.text[p.literal:], rest, true)
}

// verdict is what patterns say of a name.
type verdict int

const (
	unnamed verdict = iota
	ignored
	kept
)

// verdict looks for the last pattern that names a file or folder.
func (p patterns) verdict(name string, dir bool) verdict {
	inner := name
	if p.base != "" {
		var ok bool
		if inner, ok = strings.CutPrefix(name, p.base+"/"); !ok {
			return unnamed
		}
	}
	for i := len(p.list) - 1; i >= 0; i-- {
		if !p.list[i].match(inner, dir) {
			continue
		}
		if p.list[i].negated {
			return kept
		}
		return ignored
	}
	return unnamed
}

// rules are the patterns of a folder and those above it, by the file they are in.
// The last are of the deepest folder.
type rules struct{ git, ingress []patterns }

// ignores reports whether a file or folder is left out. A folder that is left out
// is not looked into, so nothing beneath it can be brought back.
func (r rules) ignores(name string, dir bool) bool {
	for _, stack := range [][]patterns{r.ingress, r.git} {
		for i := len(stack) - 1; i >= 0; i-- {
			if v := stack[i].verdict(name, dir); v != unnamed {
				return v == ignored
			}
		}
	}
	return false
}

// enter adds the patterns of a folder; name is its name beneath the top, and dir
// is where it is in root.
func (r rules) enter(root *os.Root, dir, name string) (rules, error) {
	var err error
	if r.git, err = enter(r.git, root, path.Join(dir, gitIgnore), name); err != nil {
		return rules{}, err
	}
	r.ingress, err = enter(r.ingress, root, path.Join(dir, ingressIgnore), name)
	return r, err
}

func enter(stack []patterns, root *os.Root, file, base string) ([]patterns, error) {
	info, err := root.Lstat(file)
	if errors.Is(err, fs.ErrNotExist) || err == nil && !info.Mode().IsRegular() {
		return stack, nil // git takes no links for this either
	}
	if err != nil {
		return nil, err
	}
	if info.Size() > maxIgnore {
		return nil, fail(TooLarge, "%s is larger than %s", file, bytesText(maxIgnore))
	}
	text, err := root.ReadFile(file)
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", file, err)
	}
	return append(stack[:len(stack):len(stack)], parsePatterns(base, string(text))), nil
}
