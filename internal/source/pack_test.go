package source

import (
	"bytes"
	"context"
	"errors"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// packed packs a folder and returns what comes out of the archive.
func packed(t testing.TB, from string) map[string]string {
	t.Helper()
	var b bytes.Buffer
	if _, err := Pack(context.Background(), from, &b); err != nil {
		t.Fatal(err)
	}
	dest := t.TempDir()
	if _, err := Unpack(context.Background(), &b, dest, Limits{}); err != nil {
		t.Fatal(err)
	}
	return read(t, dest)
}

func TestFoldersArePacked(t *testing.T) {
	files := map[string]string{"a": "1", "d/b": "2", "d/l": "-> ../a", "dangling": "-> none"}
	from := t.TempDir()
	write(t, from, files)
	write(t, from, map[string]string{".git/config": "secret", "d/.git": "gitdir: x"})
	if err := os.Chmod(from+"/a", 0o700); err != nil {
		t.Fatal(err)
	}
	if err := syscall.Mkfifo(from+"/pipe", 0o600); err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(files, packed(t, from)); d != "" {
		t.Error(d)
	}
	var one, two bytes.Buffer
	r, err := Pack(deadline(t), from, &one)
	if err != nil || r.Files != 4 || r.Bytes != 2 || len(r.Skipped) != 1 || !strings.Contains(r.Skipped[0], "pipe") {
		t.Errorf("%+v, %v", r, err)
	}
	if len(r.Largest) != 3 || r.Largest[1] != (Part{Name: "d", Files: 2, Bytes: 1}) {
		t.Errorf("the largest are %+v", r.Largest)
	}
	if err := os.Chtimes(from+"/a", r0, r0); err != nil {
		t.Fatal(err)
	}
	if _, err := Pack(deadline(t), from, &two); err != nil || !bytes.Equal(one.Bytes(), two.Bytes()) {
		t.Errorf("the same files make another archive (%v)", err)
	}
}

func TestWhatCannotBePackedIsNamed(t *testing.T) {
	for name, test := range map[string]struct {
		files map[string]string
		want  Reason
		says  string
	}{
		"links out":     {map[string]string{"a": "1", "d/x": "-> ../../y", "z": "-> /etc"}, Refused, "d/x, z"},
		"nothing":       {nil, Empty, "nothing to pack"},
		"all is named":  {map[string]string{".ingressignore": "*", "a": "1"}, Empty, "leave out"},
		"link by links": {map[string]string{"a/b/up": "-> ../..", "a/b/out": "-> up/../x"}, Refused, "a/b/out"},
	} {
		from := t.TempDir()
		write(t, from, test.files)
		_, err := Pack(deadline(t), from, &bytes.Buffer{})
		if reason(err) != test.want || !strings.Contains(err.Error(), test.says) {
			t.Errorf("%s: %v, want %s with %q", name, err, test.want, test.says)
		}
	}
	if _, err := Pack(deadline(t), t.TempDir()+"/none", &bytes.Buffer{}); reason(err) != NotFound {
		t.Error(err)
	}
}

func TestUnreadableFilesAreNamed(t *testing.T) {
	if os.Getuid() == 0 {
		t.Skip("root can read everything; an ordinary user runs this")
	}
	from := t.TempDir()
	write(t, from, map[string]string{"a": "1", "b": "2", "c": "3"})
	for _, name := range []string{"a", "c"} {
		if err := os.Chmod(filepath.Join(from, name), 0); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := Pack(deadline(t), from, &bytes.Buffer{}); reason(err) != Refused || !strings.Contains(err.Error(), "a, c") {
		t.Error(err)
	}
}

// growing changes a file as soon as packing has begun.
type growing struct {
	bytes.Buffer
	change func()
}

func (g *growing) Write(p []byte) (int, error) {
	if g.change != nil {
		g.change()
		g.change = nil
	}
	return g.Buffer.Write(p)
}

func TestFilesThatChangeDoNotBreakTheArchive(t *testing.T) {
	from := t.TempDir()
	big := bytes.Repeat([]byte("0123456789abcdef"), 1<<19) // 8 MiB
	write(t, from, map[string]string{"a": string(big), "b": "1"})
	g := &growing{change: func() {
		f, err := os.OpenFile(from+"/a", os.O_APPEND|os.O_WRONLY, 0)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := f.Write(big); err != nil || f.Close() != nil {
			t.Fatal(err)
		}
	}}
	if _, err := Pack(deadline(t), from, g); err != nil {
		t.Fatal(err)
	}
	if _, err := Unpack(deadline(t), &g.Buffer, t.TempDir(), Limits{}); err != nil {
		t.Errorf("a file that grew: %v", err)
	}
	g = &growing{change: func() {
		if err := os.Truncate(from+"/a", 10); err != nil {
			t.Fatal(err)
		}
	}}
	if _, err := Pack(deadline(t), from, g); reason(err) != Failed || !strings.Contains(err.Error(), "shorter") {
		t.Errorf("a file that shrank: %v", err)
	}
}

func TestIngressIgnoreOutranksGitIgnore(t *testing.T) {
	from := t.TempDir()
	write(t, from, map[string]string{".gitignore": "dist/\nnode_modules/\n", ".ingressignore": "!dist/\n*.test\n",
		"dist/app.js": "1", "node_modules/x": "1", "a.test": "1", "a": "1"})
	want := map[string]string{".gitignore": "dist/\nnode_modules/\n", ".ingressignore": "!dist/\n*.test\n", "dist/app.js": "1", "a": "1"}
	if d := cmp.Diff(want, packed(t, from)); d != "" {
		t.Error(d)
	}
}

func TestRulesOfFoldersAboveHold(t *testing.T) {
	repo := t.TempDir()
	write(t, repo, map[string]string{".git/HEAD": "x", ".gitignore": "*.log\n/apps/web/out\n/out\n", "apps/.gitignore": "tmp\n",
		"apps/web/a": "1", "apps/web/b.log": "1", "apps/web/out": "1", "apps/web/tmp": "1", "apps/web/x/out": "1"})
	if d := cmp.Diff(map[string]string{"a": "1", "x/out": "1"}, packed(t, repo+"/apps/web")); d != "" {
		t.Error(d)
	}
}

// tree is what patterns are tried on.
var tried = []string{"a", "b.txt", "ab", "a b", "a ", "!x", "#x", "[x]", `b\c`, "Ab", "a-b", "a]b", "dir/a", "dir/ab/x.o", "dir/sub/b.txt", "foo/bar/baz",
	"foo/baz", "foobar/baz", "x/y/z/w.o", "x/a/b", "a.d/f", "**", "é", "~1"}

// ignoring makes a repository with the files that patterns are tried on.
func ignoring(t testing.TB) string {
	needGit(t)
	from := t.TempDir()
	runGit(t, from, "init", "-q", "-b", "main")
	files := map[string]string{}
	for _, name := range tried {
		files[name] = "1"
	}
	write(t, from, files)
	return from
}

// compare asks git and us about the same patterns.
func compare(t testing.TB, from, top, inner string) {
	t.Helper()
	write(t, from, map[string]string{".gitignore": top, "dir/.gitignore": inner})
	cmd := exec.Command("git", "check-ignore", "--no-index", "--stdin", "-z")
	cmd.Dir = from
	cmd.Env = []string{"PATH=" + os.Getenv("PATH"), "HOME=/nonexistent", "GIT_CONFIG_NOSYSTEM=1"}
	cmd.Stdin = strings.NewReader(strings.Join(tried, "\x00") + "\x00")
	out, err := cmd.Output()
	var exit *exec.ExitError
	if err != nil && (!errors.As(err, &exit) || exit.ExitCode() != 1) {
		t.Fatal(err)
	}
	byGit := map[string]bool{}
	for name := range strings.SplitSeq(string(out), "\x00") {
		byGit[name] = true
	}
	root, err := os.OpenRoot(from)
	if err != nil {
		t.Fatal(err)
	}
	defer root.Close()
	for _, name := range tried {
		if got := ignoredByUs(t, root, name); got != byGit[name] {
			t.Errorf("%q with %q and, in dir, %q: ignored is %v, and git says %v", name, top, inner, got, byGit[name])
		}
	}
}

// ignoredByUs goes down to a file as Pack does.
func ignoredByUs(t testing.TB, root *os.Root, name string) bool {
	t.Helper()
	var r rules
	at := ""
	for {
		var err error
		where := at
		if where == "" {
			where = "."
		}
		if r, err = r.enter(root, where, at); err != nil {
			t.Fatal(err)
		}
		rest := strings.TrimPrefix(strings.TrimPrefix(name, at), "/")
		part, _, more := strings.Cut(rest, "/")
		if at = strings.TrimPrefix(at+"/"+part, "/"); r.ignores(at, more) {
			return true
		}
		if !more {
			return false
		}
	}
}

var patternsToTry = []string{"a", "/a", "a/", "*.txt", "!b.txt", "*\n!dir/\n!dir/a", "dir/**", "**/b.txt", "**/a/b", "foo/**/baz", "foo**/baz", "foo*/baz",
	"foo/*", "/foo/*\n!/foo/bar", `\!x`, `\#x`, "#x", "!x", `a\ `, "a ", "a b", "[ab]", "[!a]", "[^a]*", "[]]", `\[x\]`, "[[]x]", "[a-b]b", "[[:alpha:]]", "[[:nope:]]",
	"a[]-]b", `b\\c`, `b\c`, "x/**/w.o", "**/", "**", "/**", "***", "a/**", "?", "??", "\xef\xbb\xbfa", "a\r", "*/a", "dir/sub", "sub/", "z", "x/y", "[a", "a*b*", "*.o\n!/x/y/z/*.o",
	"*[", "[z-a]", "é", "?.d", "dir/a\n!a", "/", "//", "!", "!/", "\\", "a\\", "[\\]]", "**/**/b", "foo/b?r", "foo?bar/baz", "foo[/]bar"}

func TestIgnoreRulesAreGits(t *testing.T) {
	from := ignoring(t)
	for _, p := range patternsToTry {
		compare(t, from, p, "")
		compare(t, from, p+"\n", "!*\n")
		compare(t, from, "", p)
	}
	const alphabet = "ab*?[]!/\\-x.^d o"
	random := rand.New(rand.NewPCG(1, 2))
	for range 300 {
		var p strings.Builder
		for range 1 + random.IntN(8) {
			p.WriteByte(alphabet[random.IntN(len(alphabet))])
		}
		compare(t, from, p.String(), "")
	}
}

func FuzzIgnore(f *testing.F) {
	from := ignoring(f)
	for _, p := range patternsToTry {
		f.Add(p, "")
		f.Add("", p)
	}
	f.Fuzz(func(t *testing.T, top, inner string) {
		if len(top)+len(inner) > 200 || strings.ContainsRune(top+inner, 0) || strings.HasPrefix(top, "-> ") || strings.HasPrefix(inner, "-> ") {
			return
		}
		compare(t, from, top, inner)
	})
}

// Without memory, each star would multiply the time by the length of the text.
func TestPatternsOfManyStarsEnd(t *testing.T) {
	if wild(strings.Repeat("*a", 100), strings.Repeat("a", 1000)+"b", true) || wild(strings.Repeat("**/a*/", 100)+"b", strings.Repeat("a/", 300)+"c", true) {
		t.Error("it matched")
	}
}

func FuzzWild(f *testing.F) {
	f.Add("a*b", "aab", true)
	f.Add(strings.Repeat("*a", 50), strings.Repeat("a", 100)+"b", false)
	f.Fuzz(func(t *testing.T, pattern, text string, paths bool) {
		if len(pattern)+len(text) < 1000 {
			wild(pattern, text, paths)
		}
		if literal := strings.NewReplacer("*", `\*`, "?", `\?`, "[", `\[`, `\`, `\\`).Replace(text); len(text) < 1000 && !wild(literal, text, paths) {
			t.Errorf("%q does not match itself as %q", text, literal)
		}
	})
}
