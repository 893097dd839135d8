package builder

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"
)

const (
	// lookAgain is how long it is believed that a language is there, or is not.
	lookAgain = 10 * time.Second
	// probeTimeout is how long a program may take to say its version.
	probeTimeout = 10 * time.Second
)

// usualPlaces are where languages are looked for when the ingress's PATH has none
// that can be used.
var usualPlaces = []string{"/usr/local/bin", "/usr/bin", "/bin", "/usr/local/go/bin", "/opt/homebrew/bin"}

// toolchain is a language found on this machine.
type toolchain struct {
	language string
	// path is the program itself, neither a link nor a script that chooses one.
	path    string
	version string
	// roots are the directories outside the system's own that it needs.
	roots []string
}

// bins are the directories to have first in a PATH.
func (t toolchain) bins() []string {
	if t.path == "" {
		return nil
	}
	return []string{filepath.Dir(t.path)}
}

// missingError says why a language cannot be used and how to get it.
type missingError struct{ text string }

func (e *missingError) Error() string { return e.text }

// language is how one is found.
type language struct {
	// names are those of its program, called what people call it.
	title string
	names []string
	least string
	// ask are arguments that make it print its own path, version and root, each on
	// a line of its own.
	ask []string
}

var languages = map[string]language{
	golang: {"Go", []string{"go"}, "1.21", []string{"env", "GOROOT", "GOVERSION", "GOROOT"}},
	nodejs: {"Node.js", []string{"node", "nodejs"}, "18", []string{"-p",
		`[process.execPath, process.versions.node, require("path").dirname(require("path").dirname(process.execPath))].join("\n")`}},
	python: {"Python", []string{"python3", "python"}, "3.8", []string{"-I", "-c",
		`import sys; print(getattr(sys, "_base_executable", None) or sys.executable, "%d.%d.%d" % sys.version_info[:3], sys.base_prefix, sep="\n")`}},
}

// finder finds languages. It is safe for concurrent use.
type finder struct {
	dirs []string
	// privileged is whether apps run as others than the ingress.
	privileged bool

	mu    sync.Mutex
	found map[string]lookup
}

// lookup is what came of looking for a language.
type lookup struct {
	at    time.Time
	tools toolchain
	err   error
}

func newFinder(dirs []string) *finder {
	if dirs == nil {
		dirs = append(filepath.SplitList(os.Getenv("PATH")), usualPlaces...)
	}
	return &finder{dirs: dirs, privileged: os.Geteuid() == 0, found: make(map[string]lookup)}
}

// find returns a language, or a *missingError. ctx does not end a look that has
// begun, since others may wait for it too.
func (f *finder) find(ctx context.Context, name string) (toolchain, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if err := ctx.Err(); err != nil {
		return toolchain{}, err
	}
	if known, ok := f.found[name]; ok && time.Since(known.at) < lookAgain {
		return known.tools, known.err
	}
	tools, err := f.look(context.WithoutCancel(ctx), name)
	f.found[name] = lookup{time.Now(), tools, err}
	return tools, err
}

// look tries each program of that name in turn, and remembers why not the others.
func (f *finder) look(ctx context.Context, name string) (toolchain, error) {
	l := languages[name]
	var reasons []string
	for _, candidate := range f.candidates(l.names) {
		tools, err := f.probe(ctx, l, candidate)
		if err == nil {
			tools.language = name
			return tools, nil
		}
		reasons = append(reasons, fmt.Sprintf("%s %v", candidate, err))
	}
	text := l.title + " is not installed on this machine"
	if len(reasons) > 0 {
		text = "no usable " + l.title + " on this machine: " + strings.Join(reasons, "; ")
	}
	return toolchain{}, &missingError{fmt.Sprintf(
		"%s; whoever operates it has to install %s %s or newer in a place such as /usr/local", text, l.title, l.least)}
}

// candidates are the absolute paths of what may be the program, without those that
// lead to the same file.
func (f *finder) candidates(names []string) []string {
	var paths, seen []string
	for _, name := range names {
		for _, dir := range f.dirs {
			path := filepath.Join(dir, name)
			target, err := filepath.EvalSymlinks(path)
			if err != nil || !filepath.IsAbs(path) || !executable(target) || slices.Contains(seen, target) {
				continue
			}
			paths, seen = append(paths, path), append(seen, target)
		}
	}
	return paths
}

func executable(path string) bool {
	info, err := os.Stat(path)
	return err == nil && info.Mode().IsRegular() && info.Mode()&0o111 != 0
}

// probe asks a program who it is, and checks that it can be used.
func (f *finder) probe(ctx context.Context, l language, path string) (toolchain, error) {
	if err := f.reachable(path); err != nil {
		return toolchain{}, err
	}
	answer, err := ask(ctx, path, l.ask)
	if err != nil {
		return toolchain{}, err
	}
	real, version, root := answer[0], strings.TrimPrefix(answer[1], "go"), answer[2]
	if l.names[0] == "go" {
		real = filepath.Join(root, "bin", "go")
	}
	if older(version, l.least) {
		return toolchain{}, fmt.Errorf("is version %s", version)
	}
	if real, err = filepath.EvalSymlinks(real); err != nil {
		return toolchain{}, fmt.Errorf("leads to nothing: %w", err)
	}
	if err := f.reachable(real); err != nil {
		return toolchain{}, err
	}
	return toolchain{path: real, version: version, roots: outsideSystem(root, real)}, nil
}

// reachable returns an error when apps, run as other users, could not start the
// program, such as one in root's home.
func (f *finder) reachable(path string) error {
	if !f.privileged {
		return nil
	}
	real, err := filepath.EvalSymlinks(path)
	if err != nil {
		return err
	}
	for ; ; real = filepath.Dir(real) {
		info, err := os.Stat(real)
		if err != nil {
			return err
		}
		if info.Mode()&0o001 == 0 {
			return fmt.Errorf("is closed to other users than root (%s)", real)
		}
		if real == filepath.Dir(real) {
			return nil
		}
	}
}

// outsideSystem returns the directories of an installation that a process cannot
// read anyway, as it can everything below /usr.
func outsideSystem(root, program string) []string {
	var roots []string
	for _, dir := range []string{root, filepath.Dir(filepath.Dir(program))} {
		real, err := filepath.EvalSymlinks(dir)
		if err != nil || real == "/" || real == "/usr" || strings.HasPrefix(real, "/usr/") || slices.Contains(roots, real) {
			continue
		}
		roots = append(roots, real)
	}
	return roots
}

// older reports whether version a comes before b. What is no number counts as 0;
// a version that does not begin with one, such as a development build, is newer
// than all.
func older(a, b string) bool {
	if a == "" || a[0] < '0' || a[0] > '9' {
		return false
	}
	return slices.Compare(numbers(a), numbers(b)) < 0
}

// numbers are the first three of a version.
func numbers(version string) []int {
	parts := make([]int, 3)
	for i, part := range strings.SplitN(version, ".", 4)[:min(3, strings.Count(version, ".")+1)] {
		digits := part[:len(part)-len(strings.TrimLeft(part, "0123456789"))]
		parts[i], _ = strconv.Atoi(digits) // no number is 0
	}
	return parts
}

// beside returns a program that came with a language, or one that is elsewhere on
// this machine and reachable, or "".
func (f *finder) beside(t toolchain, name string) string {
	for _, dir := range append(t.bins(), f.dirs...) {
		path := filepath.Join(dir, name)
		if target, err := filepath.EvalSymlinks(path); err == nil && executable(target) && f.reachable(path) == nil {
			return path
		}
	}
	return ""
}
