package source

import (
	"fmt"
	"slices"
	"strings"
)

// maxRef is the longest name of a branch or tag in bytes.
const maxRef = 255

// validRef reports whether text can name a branch, tag or commit by the rules of
// git-check-ref-format(1), or is empty for the default branch. No such name can be
// taken for an option, a range or a pattern.
func validRef(text string) bool {
	if text == "" {
		return true
	}
	if len(text) > maxRef || text[0] == '-' || text == "@" || strings.HasSuffix(text, ".") ||
		strings.Contains(text, "..") || strings.Contains(text, "@{") || strings.ContainsAny(text, " ~^:?*[\\\x7f") {
		return false
	}
	for part := range strings.SplitSeq(text, "/") {
		if part == "" || part[0] == '.' || strings.HasSuffix(part, ".lock") {
			return false
		}
	}
	return strings.IndexFunc(text, func(r rune) bool { return r < ' ' }) < 0
}

// isHex reports whether text can be a commit's id, or the beginning of one.
func isHex(text string) bool {
	return len(text) >= 4 && len(text) <= 64 && strings.Trim(text, "0123456789abcdef") == ""
}

// isFull reports whether text is the whole id of a commit.
func isFull(text string) bool { return isHex(text) && (len(text) == 40 || len(text) == 64) }

// advertised is what a server says it has.
type advertised struct {
	// Head is the branch that HEAD points to, "" when the server does not tell.
	Head string
	// Refs are full names with the ids of what they point to, HEAD among them.
	Refs map[string]string
}

// choice is what to ask a server for.
type choice struct {
	// Want is a full ref name, HEAD, or a full id.
	Want string
	// Name is the branch or tag for people, "" for a commit.
	Name string
	// Search is the beginning of an id that no ref has: all history must be had.
	Search string
}

// choose finds what a ref of a request means: a branch, else a tag, else a commit.
func (a advertised) choose(ref, repo string) (choice, error) {
	if len(a.Refs) == 0 && !isFull(ref) {
		return choice{}, fail(Empty, "the repository %s is empty: push a commit to it first", repo)
	}
	if ref == "" || ref == "HEAD" {
		return a.standard(repo)
	}
	for _, name := range []string{ref, "refs/heads/" + ref, "refs/tags/" + ref} {
		if _, ok := a.Refs[name]; ok {
			return choice{Want: name, Name: short(name)}, nil
		}
	}
	lower := strings.ToLower(ref)
	switch {
	case isFull(lower):
		return choice{Want: lower}, nil
	case isHex(lower):
		return choice{Search: lower}, nil
	}
	return choice{}, a.missing(ref, repo)
}

// standard is the choice when none is named.
func (a advertised) standard(repo string) (choice, error) {
	if _, ok := a.Refs["HEAD"]; ok {
		return choice{Want: "HEAD", Name: short(a.Head)}, nil
	}
	if branches := a.branches(); len(branches) == 1 {
		return choice{Want: "refs/heads/" + branches[0], Name: branches[0]}, nil
	}
	return choice{}, fail(NoRef, "the default branch of %s does not exist: name one of %s", repo, a.list())
}

// missing says what there is instead.
func (a advertised) missing(ref, repo string) error {
	return fail(NoRef, "there is no branch, tag or commit %q in %s; the branches are %s", ref, repo, a.list())
}

func (a advertised) branches() []string {
	var names []string
	for name := range a.Refs {
		if branch, ok := strings.CutPrefix(name, "refs/heads/"); ok {
			names = append(names, branch)
		}
	}
	slices.Sort(names)
	return names
}

// list names branches, as many as a person reads.
func (a advertised) list() string {
	const most = 20
	names := a.branches()
	if len(names) == 0 {
		return "none"
	}
	if len(names) > most {
		return fmt.Sprintf("%s and %d more", strings.Join(names[:most], ", "), len(names)-most)
	}
	return strings.Join(names, ", ")
}

func short(name string) string {
	name = strings.TrimPrefix(name, "refs/heads/")
	return strings.TrimPrefix(name, "refs/tags/")
}
