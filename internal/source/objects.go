package source

import (
	"archive/tar"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"

	git "github.com/go-git/go-git/v5"
	"github.com/go-git/go-git/v5/config"
	"github.com/go-git/go-git/v5/plumbing"
	"github.com/go-git/go-git/v5/plumbing/filemode"
	"github.com/go-git/go-git/v5/plumbing/object"
)

// fetchedRef is where what was asked for is kept.
const fetchedRef = "refs/ingress/code"

// objects fetches what was chosen and returns the commit.
func (r *remote) objects(ctx context.Context, c choice, refs advertised) (*object.Commit, error) {
	switch {
	case r.Local != "" && c.Search == "":
		return r.commit(r.id(c, refs), refs)
	case r.Local != "":
		return r.search(c.Search, refs)
	case c.Want != "":
		err := r.pull(ctx, 1, "+"+c.Want+":"+fetchedRef)
		if err == nil {
			return r.commit(r.id(c, refs), refs)
		}
		if !isFull(c.Want) || !refusedID(err) {
			return nil, err
		}
		c.Search = c.Want // this server gives no commit but those that have a name
	}
	if err := r.pull(ctx, 0, "+refs/heads/*:refs/ingress/heads/*", "+refs/tags/*:refs/ingress/tags/*"); err != nil {
		return nil, err
	}
	return r.search(c.Search, refs)
}

// refusedID reports whether a server had no answer to a commit's id alone.
func refusedID(err error) bool {
	return errors.Is(err, git.ErrExactSHA1NotSupported) || errors.Is(err, git.NoMatchingRefSpecError{}) ||
		strings.Contains(err.Error(), "not our ref") || strings.Contains(err.Error(), "unadvertised") ||
		strings.Contains(err.Error(), "upload-pack")
}

func (r *remote) pull(ctx context.Context, depth int, specs ...string) error {
	o := &git.FetchOptions{Depth: depth, Auth: r.auth, Tags: git.NoTags, CABundle: r.ca, Force: true}
	for _, s := range specs {
		o.RefSpecs = append(o.RefSpecs, config.RefSpec(s))
	}
	err := r.remote().FetchContext(ctx, o)
	if errors.Is(err, git.NoErrAlreadyUpToDate) {
		return nil
	}
	return err
}

// id is the object that a choice leads to.
func (r *remote) id(c choice, refs advertised) plumbing.Hash {
	if ref, err := r.repo.Storer.Reference(fetchedRef); err == nil {
		return ref.Hash() // what was fetched, should the branch have moved since it was listed
	}
	if id, ok := refs.Refs[c.Want]; ok {
		return plumbing.NewHash(id)
	}
	return plumbing.NewHash(c.Want)
}

// commit returns the commit that an object is, or that a tag leads to.
func (r *remote) commit(id plumbing.Hash, refs advertised) (*object.Commit, error) {
	for range 10 { // tags of tags
		tag, err := r.repo.TagObject(id)
		if err != nil {
			break
		}
		id = tag.Target
	}
	commit, err := r.repo.CommitObject(id)
	if errors.Is(err, plumbing.ErrObjectNotFound) {
		return nil, refs.missing(r.Ref, r.Name)
	}
	return commit, err
}

// search finds the one commit whose id begins with text.
func (r *remote) search(text string, refs advertised) (*object.Commit, error) {
	iter, err := r.repo.CommitObjects()
	if err != nil {
		return nil, fmt.Errorf("read the commits: %w", err)
	}
	var found *object.Commit
	err = iter.ForEach(func(c *object.Commit) error {
		switch {
		case !strings.HasPrefix(c.Hash.String(), text):
			return nil
		case found != nil && found.Hash != c.Hash:
			return fail(NoRef, "several commits of %s begin with %s: give more of the id", r.Name, text)
		}
		found = c
		return nil
	})
	if err != nil {
		return nil, err
	}
	if found == nil {
		return nil, refs.missing(r.Ref, r.Name)
	}
	return found, nil
}

// modules returns the submodules of a commit.
func (r *remote) modules(commit *object.Commit) ([]module, error) {
	if !r.Submodules {
		return nil, nil
	}
	tree, err := commit.Tree()
	if err != nil {
		return nil, fmt.Errorf("read the commit: %w", err)
	}
	file, err := tree.File(modulesFile)
	if errors.Is(err, object.ErrFileNotFound) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", modulesFile, err)
	}
	if file.Size > maxInlineBytes {
		return nil, fail(TooLarge, "its %s is too large", modulesFile)
	}
	text, err := file.Contents()
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", modulesFile, err)
	}
	modules, err := parseModules([]byte(text))
	if err != nil {
		return nil, err
	}
	commits := map[string]string{}
	for _, m := range modules {
		if entry, err := tree.FindEntry(m.Path); err == nil && entry.Mode == filemode.Submodule {
			commits[m.Path] = entry.Hash.String()
		}
	}
	return withCommits(modules, commits), nil
}

// archive writes the tree of a commit, or of its folder, to the archive.
func (r *remote) archive(commit *object.Commit) (err error) {
	tree, err := commit.Tree()
	if err != nil {
		return fmt.Errorf("read the commit: %w", err)
	}
	if r.Folder != "." {
		if tree, err = tree.Tree(r.Folder); err != nil {
			return fail(NoPath, "there is no folder %q in %s", r.Folder, r.Name)
		}
	}
	out, err := os.OpenFile(filepath.Join(r.Dir, archiveName), os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	if err != nil {
		return fmt.Errorf("write the archive: %w", err)
	}
	defer func() { err = errors.Join(err, out.Close()) }()
	w := tar.NewWriter(out)
	if err := r.members(tree, w); err != nil {
		return err
	}
	return w.Close()
}

// members writes a tree. The size is known before content is read, so a tree that
// repeats one blob a million times ends here and not on the disk.
func (r *remote) members(tree *object.Tree, w *tar.Writer) error {
	var total int64
	walker := object.NewTreeWalker(tree, true, nil)
	defer walker.Close()
	for {
		name, entry, err := walker.Next()
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return fmt.Errorf("read the commit: %w", err)
		}
		if entry.Mode == filemode.Dir {
			continue
		}
		if entry.Mode == filemode.Submodule {
			if err := w.WriteHeader(&tar.Header{Typeflag: tar.TypeDir, Name: name + "/", Mode: 0o755, Format: tar.FormatPAX}); err != nil {
				return fmt.Errorf("write %q: %w", name, err)
			}
			continue
		}
		blob, err := object.GetBlob(r.repo.Storer, entry.Hash)
		if err != nil {
			return fmt.Errorf("read %q: %w", name, err)
		}
		if total += blob.Size; total > r.MaxBytes {
			return fail(TooLarge, "%s is larger than %s: leave out what the app does not need", r.Name, bytesText(r.MaxBytes))
		}
		if err := writeBlob(w, name, entry.Mode, blob); err != nil {
			return fmt.Errorf("write %q: %w", name, err)
		}
	}
}

// writeBlob writes one file or link.
func writeBlob(w *tar.Writer, name string, mode filemode.FileMode, blob *object.Blob) (err error) {
	content, err := blob.Reader()
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, content.Close()) }()
	header := &tar.Header{Name: name, Mode: 0o644, Size: blob.Size, Typeflag: tar.TypeReg, Format: tar.FormatPAX}
	switch mode {
	case filemode.Executable:
		header.Mode = 0o755
	case filemode.Symlink:
		target, err := io.ReadAll(io.LimitReader(content, maxName+1))
		if err != nil {
			return err
		}
		header.Typeflag, header.Size, header.Linkname = tar.TypeSymlink, 0, string(target)
		return w.WriteHeader(header)
	}
	if err := w.WriteHeader(header); err != nil {
		return err
	}
	_, err = io.Copy(w, content)
	return err
}
