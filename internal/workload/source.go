package workload

import (
	"io/fs"
	"net/url"
	"reflect"
	"strings"
	"time"
	"unicode/utf8"
)

// Bounds of what a version is made of, in bytes but for the first.
const (
	maxFiles      = 256
	maxFileName   = 255
	maxInline     = 4 << 20
	maxRef        = 256
	maxSourcePath = 1024
	maxEntrypoint = 128
	maxHealthPath = 1024
)

const (
	// minIdle is the shortest idle timeout but for none: below it a workload would
	// do little but start.
	minIdle = time.Second
	// maxConcurrency is more requests at once than one process can have.
	maxConcurrency = 100_000
)

// IsZero reports whether there is no source.
func (s Source) IsZero() bool { return reflect.ValueOf(s).IsZero() }

// check returns an *InvalidError unless the source could be fetched. Whether a
// repository may be is the fetching package's to say.
func (s Source) check() error {
	given := 0
	for _, is := range []bool{s.Repo != "", s.Upload != "", s.Files != nil} {
		if is {
			given++
		}
	}
	if given != 1 {
		return invalid("source", "it must be a repository, an upload, or files, and exactly one of them")
	}
	if s.Ref != "" && s.Repo == "" {
		return invalid("source", "only a repository has branches")
	}
	if err := checkRepo(s.Repo); err != nil {
		return err
	}
	if len(s.Ref) > maxRef || strings.HasPrefix(s.Ref, "-") || !utf8.ValidString(s.Ref) || strings.IndexFunc(s.Ref, notRef) >= 0 {
		return invalid("branch", "it is no name of a branch, tag or commit")
	}
	if len(s.Path) > maxSourcePath || strings.IndexFunc(s.Path, isControl) >= 0 || s.Path != "" && !fs.ValidPath(strings.Trim(s.Path, "/")) {
		return invalid("path", "it must be a folder of the source, such as cmd/web, without . and ..")
	}
	return checkFiles(s.Files)
}

// checkRepo refuses what must not be stored readable, or cannot be an address.
func checkRepo(repo string) error {
	if len(repo) > maxRepo || !utf8.ValidString(repo) || strings.IndexFunc(repo, isControl) >= 0 || strings.HasPrefix(repo, "-") {
		return invalid("repo", "it is no address of a repository")
	}
	u, err := url.Parse(repo)
	if err != nil || u.User == nil {
		return nil
	}
	if _, secret := u.User.Password(); secret || u.Scheme == "https" || u.Scheme == "http" {
		return invalid("repo", "the address must not hold a password or token; store it as a credential of its host")
	}
	return nil
}

// notRef tells what git allows in no name.
func notRef(r rune) bool { return isControl(r) || strings.ContainsRune(" ~^:?*[\\", r) }

func checkFiles(files map[string]string) error {
	if files != nil && len(files) == 0 {
		return invalid("source", "there are no files")
	}
	if len(files) > maxFiles {
		return invalid("source", "there are %d files and at most %d allowed", len(files), maxFiles)
	}
	total := 0
	for name, content := range files {
		if len(name) > maxFileName || name == "." || !fs.ValidPath(name) || strings.IndexFunc(name, isControl) >= 0 || strings.ContainsRune(name, '\\') {
			return invalid("source", "%.300q is no name of a file in the source", name)
		}
		total += len(name) + len(content)
	}
	if total > maxInline {
		return invalid("source", "the files have %d bytes together and at most %d are allowed; upload an archive instead", total, maxInline)
	}
	return nil
}

// size is what inline files take; 0 for what is not here yet.
func (s Source) size() (n int64) {
	for _, content := range s.Files {
		n += int64(len(content))
	}
	return n
}

// check returns an *InvalidError unless the program could be one.
func (p Program) check() error {
	if len(p.Runtime) > maxEntrypoint || strings.IndexFunc(p.Runtime, notAlphanumeric) >= 0 {
		return invalid("runtime", "a runtime is lower-case letters and digits")
	}
	if len(p.Entrypoint) > maxEntrypoint || !utf8.ValidString(p.Entrypoint) || strings.IndexFunc(p.Entrypoint, notEntrypoint) >= 0 {
		return invalid("entrypoint", "it is no name of a function")
	}
	return nil
}

// notEntrypoint tells what stands in no name of a function in any language.
func notEntrypoint(r rune) bool {
	return r < utf8.RuneSelf && r != '_' && r != '$' && r != '.' && notVarName(r)
}

// check returns an *InvalidError unless the settings can be put in force.
func (s Settings) check() error {
	if s.HealthPath != "" {
		_, err := url.ParseRequestURI(s.HealthPath)
		if err != nil || len(s.HealthPath) > maxHealthPath || s.HealthPath[0] != '/' || strings.HasPrefix(s.HealthPath, "//") || strings.ContainsAny(s.HealthPath, "# ") {
			return invalid("health_path", "it must be a path that begins with /")
		}
	}
	if t := s.IdleTimeout; t != DefaultIdle && t != 0 && t < minIdle {
		return invalid("idle_timeout", "it must be at least %v, or 0 for never", minIdle)
	}
	if s.Concurrency < 0 || s.Concurrency > maxConcurrency {
		return invalid("concurrency", "it must be from 0, for any number, to %d", maxConcurrency)
	}
	return nil
}
