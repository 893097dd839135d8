package source

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"

	"github.com/m3o/ingress/internal/workload"
)

// Submodules may have submodules of their own.
const (
	maxModules      = 32
	maxModuleDepth  = 3
	archiveName     = "code.tar"
	tarBytesPerFile = 4096 // the most that tar adds to a file of ordinary name
)

// job is one repository to fetch. It is what an engine gets.
type job struct {
	Repo   workload.Repo
	Ref    string
	Folder string
	// Dir is the engine's directory, where it leaves archiveName.
	Dir        string
	Submodules bool
	Credential Credential
	// Addresses are those of the repository's host that may be connected to.
	Addresses []netip.Addr
	request   Request
}

// got is what an engine brought.
type got struct {
	Commit string `json:"commit"`
	// Ref is the branch or tag that was taken, "" for a commit.
	Ref        string   `json:"ref"`
	Modules    []module `json:"modules,omitempty"`
	KnownHosts string   `json:"known_hosts,omitempty"`
}

// engine talks to git servers: the system's git, or our own.
type engine interface {
	fetch(ctx context.Context, j job) (got, error)
}

// tree is a fetch of a repository and its submodules into one directory.
type tree struct {
	*Fetcher
	request Request
	origin  string // which the credential is for
	writer  *writer
	modules int
	hosts   []string
}

func (f *Fetcher) fetchRepo(ctx context.Context, req Request, limits Limits) (Result, error) {
	repo, err := f.parse(req.Source.Repo)
	if err != nil {
		return Result{}, err
	}
	folder, err := cleanPath(req.Source.Path)
	if err != nil {
		return Result{}, err
	}
	if !validRef(req.Source.Ref) {
		return Result{}, fail(NoRef, "%.100q cannot be the name of a branch, tag or commit", req.Source.Ref)
	}
	root, err := os.OpenRoot(req.Dest)
	if err != nil {
		return Result{}, fmt.Errorf("open the folder for the code: %w", err)
	}
	defer root.Close()
	t := &tree{Fetcher: f, request: req, origin: origin(repo.URL), writer: newWriter(root, limits)}
	j := job{Repo: repo, Ref: req.Source.Ref, Folder: folder, Submodules: f.options.Submodules, request: req}
	g, err := t.fetch(ctx, j, ".", 0)
	if err != nil {
		return Result{}, err
	}
	if t.writer.files == 0 {
		return Result{}, fail(Empty, "there are no files in %s", at(repo, folder))
	}
	if err := t.writer.finish(); err != nil {
		return Result{}, err
	}
	r := Result{Commit: g.Commit, Bytes: t.writer.bytes, Files: t.writer.files, KnownHosts: strings.Join(t.hosts, ""), pointers: t.writer.pointers}
	r.Detail = describe(repo, g, r)
	return r, nil
}

// parse reads an address as far as the operator allows it.
func (f *Fetcher) parse(text string) (workload.Repo, error) {
	if f.options.AllowLocal && (strings.HasPrefix(text, "file:") || filepath.IsAbs(text)) {
		repo, err := workload.ParseLocalRepo(text)
		return repo, refused(err)
	}
	repo, err := workload.ParseRepo(text)
	return repo, refused(err)
}

// refused makes an *Error of what is wrong with an address.
func refused(err error) error {
	if err == nil {
		return nil
	}
	return fail(Refused, "the repository's address cannot be used: %v", err)
}

// fetch gets one repository into the folder at of the tree.
func (t *tree) fetch(ctx context.Context, j job, at string, depth int) (got, error) {
	var err error
	if j.Addresses, err = t.pin(ctx, j.Repo.URL); err != nil {
		return got{}, err
	}
	if origin(j.Repo.URL) == t.origin {
		j.Credential = t.request.Credential
	}
	fmt.Fprintf(t.request.Log, "fetching %s\n", j.Repo.Address)
	g, archive, err := t.download(ctx, j)
	if err != nil {
		return got{}, err
	}
	defer archive.Close()
	if g.KnownHosts != "" && !slices.Contains(t.hosts, g.KnownHosts) {
		t.hosts = append(t.hosts, g.KnownHosts)
	}
	t.writer.prefix = at
	if err := unpackTar(ctx, archive, t.writer); err != nil {
		return got{}, err
	}
	for _, m := range g.Modules {
		if err := t.module(ctx, j, m, at, depth+1); err != nil {
			return got{}, err
		}
	}
	return g, nil
}

// download runs an engine in a directory of its own and returns the archive it
// made, which has no name any more, nor has anything else the engine wrote.
func (t *tree) download(ctx context.Context, j job) (g got, archive *os.File, err error) {
	// By way of Dest, which belongs to the user: a program of theirs that runs may put
	// a link in the folder's place, and what is written to it is written by us.
	name := ".fetch-" + strings.ToLower(rand.Text())
	if err := t.writer.root.Mkdir(name, 0o700); err != nil {
		return got{}, nil, fmt.Errorf("make a folder to fetch into: %w", err)
	}
	j.Dir = filepath.Join(t.request.Dest, name)
	defer func() {
		if removed := os.RemoveAll(j.Dir); removed != nil {
			err = errors.Join(err, fmt.Errorf("remove what was fetched: %w", removed))
		}
	}()
	scratch, err := t.writer.root.OpenRoot(name)
	if err != nil {
		return got{}, nil, fmt.Errorf("open the folder to fetch into: %w", err)
	}
	defer scratch.Close()
	if err := prepare(scratch, j, t.options.CAFile); err != nil {
		return got{}, nil, fmt.Errorf("prepare a folder to fetch into: %w", err)
	}
	if g, err = t.watched(ctx, j, t.engine(j)); err != nil {
		return got{}, nil, err
	}
	archive, err = openFile(scratch, archiveName)
	if err != nil {
		return got{}, nil, fmt.Errorf("open what was fetched: %w", err)
	}
	return g, archive, nil
}

// module fetches one submodule.
func (t *tree) module(ctx context.Context, parent job, m module, at string, depth int) error {
	if t.modules++; t.modules > maxModules || depth > maxModuleDepth {
		return fail(TooLarge, "there are more than %d submodules, or they are more than %d deep", maxModules, maxModuleDepth)
	}
	if err := checkName(m.Path); err != nil {
		return fail(Refused, "the submodule path %.100q cannot be used: %v", m.Path, err)
	}
	inFolder, ok := beneath(parent.Folder, m.Path)
	if !ok {
		return nil
	}
	repo, err := t.parse(m.resolve(parent.Repo))
	if err != nil {
		return fmt.Errorf("the submodule %.100q: %w", m.Path, err)
	}
	j := job{Repo: repo, Ref: m.Commit, Folder: ".", Submodules: true, request: t.request}
	if _, err := t.fetch(ctx, j, path.Join(at, inFolder), depth); err != nil {
		return fmt.Errorf("the submodule %.100q: %w", m.Path, err)
	}
	return nil
}

// beneath returns name as seen from folder.
func beneath(folder, name string) (string, bool) {
	if folder == "." {
		return name, true
	}
	return strings.CutPrefix(name, folder+"/")
}

// at names a folder of a repository.
func at(repo workload.Repo, folder string) string {
	if folder == "." {
		return repo.String()
	}
	return fmt.Sprintf("the folder %q of %s", folder, repo)
}

func describe(repo workload.Repo, g got, r Result) string {
	name := repo.String()
	if g.Ref != "" {
		name += "@" + g.Ref
	}
	return fmt.Sprintf("%s %.12s, %s", name, g.Commit, size(r))
}
