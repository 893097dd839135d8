package source

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"
)

// An engine's directory, all of it the user's:
//
//	repo         a bare repository
//	home         HOME, with nothing but our settings for git
//	key          the private ssh key, 0600, when there is one
//	known_hosts  known ssh servers; git's ssh adds the ones it meets
//	code.tar     what the engine is asked for

// attributes undo what a repository's own attributes make of an archive: all
// files are wanted, as they are.
const attributes = "* -export-ignore -export-subst\n"

// settings for git. An "insteadOf" or a hook of anybody is not among them, since
// no other file is read. Objects are not checked by fsck: old repositories of good
// repute fail it, and what it guards against is a checkout, which is not made here.
const settings = `[safe]
	directory = *
[core]
	hooksPath = /dev/null
	fsmonitor = false
[gc]
	auto = 0
[maintenance]
	auto = false
[pack]
	threads = 2
[fetch]
	unpackLimit = 1
	recurseSubmodules = no
[credential]
	helper =
[http]
	followRedirects = false
	lowSpeedLimit = 1000
	lowSpeedTime = 60
`

// prepare fills an engine's directory.
func prepare(dir *os.Root, j job, caFile string) error {
	config := settings + j.curlResolve()
	if caFile != "" {
		config += fmt.Sprintf("\tsslCAInfo = %q\n", caFile)
	}
	if err := own(dir, ".", j.request.User); err != nil {
		return err
	}
	for _, name := range []string{"home", "repo", "repo/objects", "repo/refs", "repo/info"} {
		if err := dir.Mkdir(name, 0o700); err != nil {
			return err
		}
		if err := own(dir, name, j.request.User); err != nil {
			return err
		}
	}
	files := map[string]string{
		"home/.gitconfig":      config,
		"repo/HEAD":            "ref: refs/heads/none\n",
		"repo/config":          "[core]\n\trepositoryformatversion = 0\n\tbare = true\n",
		"repo/info/attributes": attributes,
		"known_hosts":          j.Credential.hosts(),
	}
	if j.Credential.SSHKey != "" {
		files["key"] = j.Credential.key()
	}
	for name, content := range files {
		if err := dir.WriteFile(name, []byte(content), 0o600); err != nil {
			return err
		}
		if err := own(dir, name, j.request.User); err != nil {
			return err
		}
	}
	return nil
}

// watched runs an engine and ends it when its directory grows too large. What it
// runs is confined, but how many bytes that may write differs among machines.
func (f *Fetcher) watched(ctx context.Context, j job, e engine) (got, error) {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	done := make(chan struct{})
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		tick := time.NewTicker(100 * time.Millisecond)
		defer tick.Stop()
		for {
			select {
			case <-done:
				return
			case <-tick.C:
				if f.oversize(j.Dir) {
					cancel(f.tooLarge(j))
					return
				}
			}
		}
	}()
	g, err := e.fetch(ctx, j)
	close(done)
	<-ended
	switch {
	case err != nil && ctx.Err() != nil:
		return got{}, context.Cause(ctx)
	case err != nil:
		return got{}, err
	case f.oversize(j.Dir):
		return got{}, f.tooLarge(j)
	}
	return g, nil
}

func (f *Fetcher) tooLarge(j job) error {
	text := fmt.Sprintf("%s is larger than %s: leave out what the app does not need", at(j.Repo, j.Folder), bytesText(f.options.MaxBytes))
	if isHex(j.Ref) && len(j.Ref) < 40 {
		text = fmt.Sprintf("%s is larger than %s with all its history, in which %s was looked for: give the full commit id", j.Repo, bytesText(f.options.MaxBytes), j.Ref)
	}
	return &Error{Reason: TooLarge, Text: text}
}

// oversize reports whether an engine wrote more than it may.
func (f *Fetcher) oversize(dir string) bool {
	var packed, archived int64
	err := filepath.WalkDir(dir, func(name string, d fs.DirEntry, err error) error {
		if err != nil || !d.Type().IsRegular() {
			return nil // files come and go
		}
		info, err := d.Info()
		if err != nil {
			return nil
		}
		if strings.HasSuffix(name, "/"+archiveName) {
			archived += info.Size()
		} else {
			packed += info.Size()
		}
		if packed > f.options.MaxBytes || archived > f.options.MaxBytes+f.options.MaxFiles*tarBytesPerFile {
			return errOversize
		}
		return nil
	})
	return errors.Is(err, errOversize)
}

var errOversize = errors.New("too large")
