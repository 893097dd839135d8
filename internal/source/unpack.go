package source

import (
	"archive/tar"
	"bufio"
	"bytes"
	"compress/gzip"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path"
	"strings"
)

// An archive that expands more than maxRatio times is a bomb, once it is larger
// than ratioFrom. Source code compresses to a tenth at best.
const (
	maxRatio  = 200
	ratioFrom = 16 << 20
)

// Unpack writes the tar archive r, compressed with gzip or not, into the empty
// directory dest. Names must be relative and stay beneath dest, as must links;
// devices, pipes and sockets are refused; of permissions only "executable" is kept.
// A single folder at the top is kept as it is, and .git is left out. After an error dest is empty. The
// errors are an *Error unless they are the machine's or ctx's.
func Unpack(ctx context.Context, r io.Reader, dest string, limits Limits) (Result, error) {
	if err := checkEmpty(dest); err != nil {
		return Result{}, err
	}
	root, err := os.OpenRoot(dest)
	if err != nil {
		return Result{}, fmt.Errorf("open the folder for the code: %w", err)
	}
	defer root.Close()
	w := newWriter(root, limits)
	if err := unpack(ctx, r, w); err != nil {
		if cleared := clearDir(dest); cleared != nil {
			err = errors.Join(err, cleared)
		}
		return Result{}, err
	}
	return Result{Bytes: w.bytes, Files: w.files, pointers: w.pointers}, nil
}

func unpack(ctx context.Context, r io.Reader, w *writer) error {
	packed := &counter{ctx: ctx, r: r}
	plain, err := decompress(packed)
	if err != nil {
		return err
	}
	found, err := members(ctx, &ratio{counter: counter{ctx: ctx, r: plain}, packed: packed, limit: w.limits.Bytes}, w)
	switch {
	case err != nil:
		return err
	case !found:
		return fail(NoPath, "there is no folder %q in it", w.limits.Folder)
	case w.files == 0:
		return fail(Empty, "there are no files in it")
	}
	return w.finish()
}

// unpackTar writes an archive that an engine made.
func unpackTar(ctx context.Context, r io.Reader, w *writer) error {
	_, err := members(ctx, &counter{ctx: ctx, r: r}, w)
	return err
}

// members writes the members of an archive, and reports whether the folder that is
// kept was among them.
func members(ctx context.Context, r io.Reader, w *writer) (bool, error) {
	archive := tar.NewReader(r)
	found := w.limits.Folder == "" || w.limits.Folder == "."
	for {
		header, err := archive.Next()
		if err == io.EOF {
			return found, nil
		}
		if err != nil {
			return false, unreadable(ctx, err)
		}
		inFolder, err := w.member(header, archive)
		if err != nil {
			return false, unreadable(ctx, err)
		}
		found = found || inFolder
	}
}

// decompress looks at the first bytes, since names and types of uploads say little.
func decompress(r io.Reader) (io.Reader, error) {
	buffered := bufio.NewReader(r)
	start, err := buffered.Peek(4)
	switch {
	case len(start) == 0 && err == io.EOF:
		return nil, fail(Empty, "the archive is empty")
	case bytes.HasPrefix(start, []byte("\x1f\x8b")):
		plain, err := gzip.NewReader(buffered)
		if err != nil {
			return nil, fail(Refused, "the archive is no sound gzip file: make and upload it again")
		}
		return plain, nil
	case bytes.HasPrefix(start, []byte("PK\x03\x04")):
		return nil, fail(Refused, "zip archives are not taken: make a tar.gz, as with tar -czf code.tar.gz -C FOLDER .")
	}
	return buffered, nil
}

// member writes one member of an archive, and reports whether it was in the
// folder that is kept.
func (w *writer) member(h *tar.Header, content io.Reader) (bool, error) {
	if h.Typeflag == tar.TypeXGlobalHeader {
		return false, nil // what git says about the commit
	}
	name, err := memberName(h.Name)
	if err != nil {
		return false, fail(Refused, "the archive has the name %.100q: %v", h.Name, err)
	}
	name, inFolder := w.within(name)
	if !inFolder || ofGit(name) {
		return inFolder, w.counted() // skipping costs time too
	}
	if name == "." {
		if h.Typeflag != tar.TypeDir {
			return false, fail(NoPath, "%.100q is no folder in it", w.limits.Folder)
		}
		return true, nil
	}
	name = path.Join(w.prefix, name)
	switch h.Typeflag {
	case tar.TypeDir:
		return true, w.folder(name)
	case tar.TypeReg, tar.TypeGNUSparse:
		return true, w.file(name, os.FileMode(h.Mode), h.Size, content)
	case tar.TypeSymlink:
		return true, w.symlink(name, h.Linkname)
	case tar.TypeLink:
		target, err := memberName(h.Linkname)
		target, targetIn := w.within(target)
		if err != nil || !targetIn {
			return true, leadsOut(name)
		}
		return true, w.hardlink(name, path.Join(w.prefix, target))
	}
	return true, fail(Refused, "%.100q is no file, folder or link: devices, pipes and sockets are not taken", name)
}

// ofGit reports whether a name is git's own: a repository in the code is of no
// use, may hold passwords, and could tell git to run programs.
func ofGit(name string) bool {
	for part := range strings.SplitSeq(name, "/") {
		if strings.EqualFold(part, ".git") {
			return true
		}
	}
	return false
}

// memberName returns a member's name without the "./" and the final slash that
// tar programs write.
func memberName(name string) (string, error) {
	name = strings.TrimSuffix(name, "/")
	for strings.HasPrefix(name, "./") {
		name = strings.TrimLeft(name[2:], "/")
	}
	if name == "." || name == "" {
		return ".", nil
	}
	return name, checkName(name)
}

// within returns a name as seen from the folder that is kept.
func (w *writer) within(name string) (string, bool) {
	top := w.limits.Folder
	switch {
	case top == "" || top == ".":
		return name, true
	case name == top:
		return ".", true
	}
	return strings.CutPrefix(name, top+"/")
}

// unreadable turns what reading an archive failed with into words for its owner.
func unreadable(ctx context.Context, err error) error {
	var own *Error
	var disk *os.PathError
	var links *os.LinkError
	switch {
	case ctx.Err() != nil:
		return ctx.Err()
	case errors.As(err, &own), errors.As(err, &disk), errors.As(err, &links):
		return err
	case errors.Is(err, io.ErrUnexpectedEOF):
		return fail(Refused, "the archive is cut short: make and upload it again")
	}
	return fail(Refused, "the archive is no sound tar file (%v): make and upload it again", err)
}

// counter counts what is read, and ends with ctx.
type counter struct {
	ctx context.Context
	r   io.Reader
	n   int64
}

func (c *counter) Read(p []byte) (int, error) {
	if err := c.ctx.Err(); err != nil {
		return 0, err
	}
	n, err := c.r.Read(p)
	c.n += int64(n)
	return n, err
}

// ratio refuses to read on when far more came out of a reader than went in, or
// more than any archive of limit bytes can have: what is skipped counts as well.
type ratio struct {
	counter
	packed *counter
	limit  int64
}

func (r *ratio) Read(p []byte) (int, error) {
	switch {
	case r.n > ratioFrom && r.n > maxRatio*r.packed.n:
		return 0, fail(Refused, "the archive expands to more than %d times its size: that is no source code", maxRatio)
	case r.n > 2*r.limit+ratioFrom:
		return 0, fail(TooLarge, "the archive is larger than %s unpacked: leave out what the app does not need", bytesText(r.limit))
	}
	return r.counter.Read(p)
}
