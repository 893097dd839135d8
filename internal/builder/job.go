package builder

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/m3o/ingress/internal/confine"
	"github.com/m3o/ingress/internal/workload"
)

// shell runs commands that authors wrote as text.
const shell = "/bin/sh"

// job is one build under way.
type job struct {
	Request
	builder *Builder
	code    *folder
	log     *buildLog
	// cacheSize says how large the tenant's cache was when first asked.
	cacheSize func() int64
}

// step is one command of a build.
type step struct {
	// name is what errors call it, such as "go build"; shown the command as the log
	// shows it, or empty for the words of args after the first's base name.
	name, shown string
	// args is the command; args[0] is an absolute path.
	args []string
	// tools is the language it needs, and path the directories to have before it in
	// PATH; env what it needs besides the owner's environment, and over it; cached
	// whether it uses the tenant's cache.
	tools  toolchain
	path   []string
	env    map[string]string
	cached bool
}

// umask lets other users of the tenant's group change what a step leaves in the
// tenant's cache: each app of the tenant may have a user of its own.
const umask = `umask 002 && exec "$@"`

// run runs a step to its end, and says in the log that it did.
func (j *job) run(ctx context.Context, s step) error {
	j.log.begin(s.command())
	begun := time.Now()
	exit, err := j.builder.options.Tasks.Run(ctx, j.task(s))
	took := spent(time.Since(begun))
	over, unwritten := j.log.state()
	switch {
	case unwritten != nil:
		return fmt.Errorf("writing the build log: %w", unwritten)
	case over:
		return &Error{Step: s.name, Reason: fmt.Sprintf("%v: more than %s", errOutput, size(j.builder.options.OutputBytes))}
	case ctx.Err() != nil:
		return &Error{Step: s.name, Reason: context.Cause(ctx).Error()}
	case err != nil:
		return fmt.Errorf("running %s: %w", s.name, err)
	case exit != (confine.Exit{}):
		j.log.printf("(failed after %s)", took)
		return &Error{Step: s.name, Reason: reason(exit) + j.log.ending()}
	}
	j.log.printf("(%s)", took)
	return nil
}

// reason says how a step ended, without the "it" that an error does not need.
func reason(exit confine.Exit) string {
	if exit.Excess == "" && exit.Signal == "" {
		return fmt.Sprintf("exit code %d", exit.Code)
	}
	return exit.String()
}

// command is the step as the log shows it.
func (s step) command() string {
	if s.shown != "" {
		return s.shown
	}
	return strings.Join(append([]string{filepath.Base(s.args[0])}, s.args[1:]...), " ")
}

func (j *job) task(s step) workload.Task {
	t := workload.Task{
		Name: j.Name,
		Args: append([]string{shell, "-c", umask, "sh"}, s.args...),
		Env: environ(map[string]string{"LANG": "C.UTF-8", "TERM": "dumb", "NO_COLOR": "1"},
			j.builder.options.Env, j.Env, s.env,
			map[string]string{"PATH": joinPath(append(slices.Clone(s.path), s.tools.bins()...)...), "HOME": j.Home, "TMPDIR": j.Temp}),
		Dir:       j.Code,
		User:      j.User,
		ReadWrite: []string{j.Code, j.Temp, j.Home},
		ReadOnly:  s.tools.roots,
		Connect:   j.builder.options.Egress,
		Limits:    j.builder.options.Limits,
		Output:    j.log,
	}
	if s.cached {
		t.ReadWrite = append(t.ReadWrite, j.Cache)
		if t.Limits.Disk > 0 {
			t.Limits.Disk += j.cacheSize() // what is there is not this build's doing
		}
	}
	return t
}

// treeSize is about how many bytes the files of a directory take on a disk. What
// goes away meanwhile does not count.
func treeSize(dir string) int64 {
	const block = 4096
	total := int64(0)
	_ = filepath.WalkDir(dir, func(_ string, entry fs.DirEntry, err error) error {
		if err != nil {
			return nil // gone, or closed to us: then it cannot be counted either
		}
		if info, err := entry.Info(); err == nil {
			total += (info.Size()/block + 1) * block
		}
		return nil
	})
	return total
}

// find returns the tools of a language, or an *Error that says what this machine
// lacks.
func (j *job) find(ctx context.Context, language string) (toolchain, error) {
	found, err := j.builder.tools.find(ctx, language)
	var missing *missingError
	if errors.As(err, &missing) {
		return toolchain{}, refuse("%v", missing)
	}
	found.roots = j.readable(found.roots)
	return found, err
}

// readable returns the directories of an installation that a tenant may read. One
// that was installed into somebody's home, or into a directory that the ingress
// keeps its data in, such as ~/.local, is not all there is in it: then only what is
// sure to be its own.
func (j *job) readable(roots []string) []string {
	var private []string
	home, _ := os.UserHomeDir() // none is none to keep to oneself
	for _, dir := range []string{home, j.Code, j.Cache} {
		if real, err := filepath.EvalSymlinks(dir); err == nil && dir != "" {
			private = append(private, real)
		}
	}
	open := func(dir string) bool {
		return !slices.ContainsFunc(private, func(p string) bool { return within(p, dir) })
	}
	var list []string
	for _, root := range roots {
		if open(root) {
			list = append(list, root)
			continue
		}
		for _, name := range installed {
			dir := filepath.Join(root, name)
			if info, err := os.Lstat(dir); err == nil && info.IsDir() && open(dir) {
				list = append(list, dir)
			}
		}
	}
	return list
}

// installed are the folders that languages are installed into, without share, in
// which everybody keeps everything.
var installed = []string{"bin", "include", "lib", "lib64", "libexec"}

// within reports whether a path is a directory or beneath it.
func within(path, dir string) bool {
	rest, found := strings.CutPrefix(path, strings.TrimSuffix(dir, "/"))
	return found && (rest == "" || rest[0] == '/')
}

// inCode returns the absolute path of something in the code folder.
func (j *job) inCode(name string) string { return filepath.Join(j.Code, filepath.FromSlash(name)) }

// inCache returns the absolute path of something in the tenant's cache.
func (j *job) inCache(name string) string { return filepath.Join(j.Cache, name) }

// size says a number of bytes as people would.
func size(n int64) string {
	if n >= 1<<20 {
		return fmt.Sprintf("%d MiB", n>>20)
	}
	return fmt.Sprintf("%d bytes", n)
}
