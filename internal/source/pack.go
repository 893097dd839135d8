package source

import (
	"archive/tar"
	"bytes"
	"cmp"
	"compress/gzip"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

// PackResult is what Pack put into an archive.
type PackResult struct {
	// Files and Bytes are what was packed, before compression; links are files.
	Files, Bytes int64
	// Skipped names what cannot be packed, with the reason: sockets, pipes and
	// devices, and files that went away meanwhile.
	Skipped []string
	// Largest are the parts at the top with the most bytes, largest first, at most
	// five: for the person who wonders what is so big.
	Largest []Part
}

// Part is a file or folder at the top of what was packed.
type Part struct {
	Name         string
	Files, Bytes int64
}

// Files up to this size are read before they are written, so that one that
// changes meanwhile is packed as it was at some moment.
const wholeFile = 4 << 20

// Pack writes a directory to w as a tar.gz that Unpack takes. It leaves out .git
// and what .gitignore and .ingressignore files name, by git's rules; those of the
// folders above count too when they are of the same repository. Patterns of
// .ingressignore outrank those of .gitignore. The same files make the same
// archive. Its errors are an *Error when the person who packs can do something
// about them; what was written then is no archive.
func Pack(ctx context.Context, dir string, w io.Writer) (PackResult, error) {
	dir, err := filepath.Abs(dir)
	if err != nil {
		return PackResult{}, fmt.Errorf("find the folder: %w", err)
	}
	root, err := os.OpenRoot(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return PackResult{}, fail(NotFound, "there is no folder %s", dir)
	}
	if err != nil {
		return PackResult{}, fmt.Errorf("open the folder to pack: %w", err)
	}
	defer root.Close()
	above, prefix, err := rulesAbove(dir)
	if err != nil {
		return PackResult{}, err
	}
	compressed := gzip.NewWriter(w)
	p := &packer{ctx: ctx, root: root, tar: tar.NewWriter(compressed), prefix: prefix, parts: map[string]*Part{}}
	if err := p.folder(".", above); err != nil {
		return PackResult{}, err
	}
	if err := p.refusal(dir); err != nil {
		return PackResult{}, err
	}
	if err := errors.Join(p.tar.Close(), compressed.Close()); err != nil {
		return PackResult{}, fmt.Errorf("write the archive: %w", err)
	}
	return p.finished(), nil
}

// rulesAbove reads the patterns of the folders above dir, up to the top of the
// repository it is in, and returns dir's name beneath that.
func rulesAbove(dir string) (rules, string, error) {
	top := dir
	for {
		if _, err := os.Lstat(filepath.Join(top, ".git")); err == nil {
			break
		}
		up := filepath.Dir(top)
		if up == top {
			return rules{}, "", nil // in no repository
		}
		top = up
	}
	root, err := os.OpenRoot(top)
	if err != nil {
		return rules{}, "", fmt.Errorf("open the repository's top: %w", err)
	}
	defer root.Close()
	inner, err := filepath.Rel(top, dir)
	if err != nil {
		return rules{}, "", fmt.Errorf("find the folder in the repository: %w", err)
	}
	if inner == "." {
		return rules{}, "", nil
	}
	prefix := filepath.ToSlash(inner)
	var r rules
	at := ""
	for part := range strings.SplitSeq(prefix, "/") {
		if r, err = r.enter(root, cmp.Or(at, "."), at); err != nil {
			return rules{}, "", err
		}
		at = path.Join(at, part)
	}
	return r, prefix, nil
}

// packer is one Pack.
type packer struct {
	ctx    context.Context
	root   *os.Root
	tar    *tar.Writer
	prefix string // the folder's name in its repository
	result PackResult
	parts  map[string]*Part
	// What stands in the way, all of it, so that it can be mended at once.
	unreadable, outward, changed []string
}

// folder packs what is in a folder.
func (p *packer) folder(name string, r rules) error {
	if err := p.ctx.Err(); err != nil {
		return err
	}
	inner := strings.TrimSuffix(path.Join(p.prefix, name), "/.")
	if inner == "." {
		inner = ""
	}
	r, err := r.enter(p.root, name, inner)
	if err != nil {
		return err
	}
	entries, err := fs.ReadDir(p.root.FS(), name)
	if err != nil {
		return p.missed(name, err)
	}
	for _, e := range entries { // in order of name
		child := path.Join(name, e.Name())
		if strings.EqualFold(e.Name(), ".git") || r.ignores(path.Join(inner, e.Name()), e.IsDir()) {
			continue
		}
		if err := p.entry(child, e, r); err != nil {
			return err
		}
	}
	return nil
}

// entry packs one file, link or folder.
func (p *packer) entry(name string, e fs.DirEntry, r rules) error {
	if err := checkName(name); err != nil {
		return fail(Refused, "the name %.100q cannot be packed: %v", name, err)
	}
	switch e.Type() {
	case fs.ModeDir:
		if err := p.header(&tar.Header{Typeflag: tar.TypeDir, Name: name + "/", Mode: 0o755}); err != nil {
			return err
		}
		return p.folder(name, r)
	case fs.ModeSymlink:
		return p.link(name)
	case 0:
		return p.file(name)
	}
	p.result.Skipped = append(p.result.Skipped, name+": it is no file, folder or link")
	return nil
}

func (p *packer) header(h *tar.Header) error {
	h.Format = tar.FormatPAX
	h.ModTime = time.Unix(0, 0)
	if err := p.tar.WriteHeader(h); err != nil {
		return fmt.Errorf("write the archive: %w", err)
	}
	return nil
}

// link packs a link that stays inside.
func (p *packer) link(name string) error {
	target, err := p.root.Readlink(name)
	if err != nil {
		return p.missed(name, err)
	}
	if _, err := p.root.Stat(name); !inside(name, filepath.ToSlash(target)) || err != nil && !dangling(err) {
		p.outward = append(p.outward, name)
		return nil
	}
	p.count(name, 0)
	return p.header(&tar.Header{Typeflag: tar.TypeSymlink, Name: name, Linkname: filepath.ToSlash(target), Mode: 0o777})
}

// file packs one file.
func (p *packer) file(name string) error {
	f, err := openFile(p.root, name)
	if err != nil {
		return p.missed(name, err)
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return p.missed(name, err)
	}
	if !info.Mode().IsRegular() {
		p.changed = append(p.changed, name)
		return nil
	}
	h := &tar.Header{Typeflag: tar.TypeReg, Name: name, Mode: 0o644, Size: info.Size()}
	if info.Mode()&0o111 != 0 {
		h.Mode = 0o755
	}
	content := io.Reader(f)
	if h.Size <= wholeFile {
		whole, err := io.ReadAll(io.LimitReader(f, 2*wholeFile))
		if err != nil {
			return p.missed(name, err)
		}
		h.Size, content = int64(len(whole)), bytes.NewReader(whole)
	}
	if err := p.header(h); err != nil {
		return err
	}
	p.count(name, h.Size)
	read := &counter{ctx: p.ctx, r: io.LimitReader(content, h.Size)}
	if _, err := io.Copy(p.tar, read); err != nil {
		return fmt.Errorf("pack %s: %w", name, err)
	}
	if read.n < h.Size {
		// The header promised more, so nothing can follow in this archive.
		return fail(Failed, "%s became shorter while it was packed: try again", name)
	}
	return nil
}

// missed notes why a file cannot be packed.
func (p *packer) missed(name string, err error) error {
	switch {
	case errors.Is(err, fs.ErrPermission):
		p.unreadable = append(p.unreadable, name)
	case errors.Is(err, fs.ErrNotExist):
		p.result.Skipped = append(p.result.Skipped, name+": it went away")
	default:
		return fmt.Errorf("pack %s: %w", name, err)
	}
	return nil
}

func (p *packer) count(name string, size int64) {
	p.result.Files++
	p.result.Bytes += size
	top, _, _ := strings.Cut(name, "/")
	if p.parts[top] == nil {
		p.parts[top] = &Part{Name: top}
	}
	p.parts[top].Files++
	p.parts[top].Bytes += size
}

// refusal is the error for all that stood in the way, or nil.
func (p *packer) refusal(dir string) error {
	switch {
	case len(p.outward) > 0:
		return fail(Refused, "these links lead out of %s: %s: put a copy of what they point to in their place, or name them in %s",
			dir, some(p.outward), ingressIgnore)
	case len(p.unreadable) > 0:
		return fail(Refused, "these cannot be read: %s: change their permissions, or name them in %s", some(p.unreadable), ingressIgnore)
	case len(p.changed) > 0:
		return fail(Failed, "these changed while they were packed: %s: try again", some(p.changed))
	case p.result.Files == 0:
		return fail(Empty, "there is nothing to pack in %s that %s and %s do not leave out", dir, gitIgnore, ingressIgnore)
	}
	return nil
}

func (p *packer) finished() PackResult {
	for _, part := range p.parts {
		p.result.Largest = append(p.result.Largest, *part)
	}
	slices.SortFunc(p.result.Largest, func(a, b Part) int {
		return cmp.Or(cmp.Compare(b.Bytes, a.Bytes), cmp.Compare(a.Name, b.Name))
	})
	p.result.Largest = p.result.Largest[:min(len(p.result.Largest), 5)]
	return p.result
}

// some names the first of many.
func some(names []string) string {
	const most = 10
	if len(names) > most {
		return fmt.Sprintf("%s and %d more", strings.Join(names[:most], ", "), len(names)-most)
	}
	return strings.Join(names, ", ")
}
