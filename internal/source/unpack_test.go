package source

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"context"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/m3o/ingress/internal/confine"
	"github.com/m3o/ingress/internal/workload"
)

// member is one of an archive made by a test.
type member struct {
	kind       byte
	name, text string
}

// archive makes a tar of members; text is the target of a link.
func archive(t testing.TB, members ...member) []byte {
	t.Helper()
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	for _, m := range members {
		h := &tar.Header{Typeflag: m.kind, Name: m.name, Mode: 0o6755, Format: tar.FormatPAX}
		if m.kind == tar.TypeReg {
			h.Size = int64(len(m.text))
		} else {
			h.Linkname = m.text
		}
		if err := w.WriteHeader(h); err != nil {
			t.Fatal(err)
		}
		if m.kind == tar.TypeReg {
			if _, err := io.WriteString(w, m.text); err != nil {
				t.Fatal(err)
			}
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func zipped(t testing.TB, plain []byte) []byte {
	t.Helper()
	var b bytes.Buffer
	w := gzip.NewWriter(&b)
	if _, err := w.Write(plain); err != nil || w.Close() != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

const (
	regular  = tar.TypeReg
	symbolic = tar.TypeSymlink
	hard     = tar.TypeLink
	dir      = tar.TypeDir
)

func TestArchivesAreUnpacked(t *testing.T) {
	for name, test := range map[string]struct {
		members []member
		folder  string
		want    map[string]string
	}{
		"files and folders": {members: []member{{dir, "./", ""}, {dir, "./a/", ""}, {regular, "./a/b", "1"}, {regular, "c/d/e", "2"}},
			want: map[string]string{"a/b": "1", "c/d/e": "2"}},
		"the last of a name": {members: []member{{regular, "a", "1"}, {regular, "a", "2"}}, want: map[string]string{"a": "2"}},
		"a file in place of a link": {members: []member{{regular, "b", "b"}, {symbolic, "a", "b"}, {regular, "a", "2"}},
			want: map[string]string{"a": "2", "b": "b"}},
		"names that differ in case": {members: []member{{regular, "a", "1"}, {regular, "A", "2"}}, want: map[string]string{"a": "1", "A": "2"}},
		"links inside": {members: []member{{symbolic, "x/l", "../a"}, {regular, "a", "1"}, {symbolic, "none", "nothing"}, {symbolic, "self", "self"}},
			want: map[string]string{"x/l": "-> ../a", "a": "1", "none": "-> nothing", "self": "-> self"}},
		"hard links": {members: []member{{regular, "a", "1"}, {hard, "d/b", "./a"}}, want: map[string]string{"a": "1", "d/b": "1"}},
		"git's own":  {members: []member{{regular, ".git/config", "x"}, {regular, "m/.GIT", "x"}, {regular, "a", "1"}}, want: map[string]string{"a": "1"}},
		"one folder": {members: []member{{regular, "x", "1"}, {regular, "p/q/a", "2"}, {regular, "p/qq", "3"}}, folder: "p/q", want: map[string]string{"a": "2"}},
		"a folder's own top": {members: []member{{dir, "top/", ""}, {regular, "top/a", "1"}},
			want: map[string]string{"top/a": "1"}},
	} {
		for _, form := range []string{"tar", "tar.gz"} {
			text := archive(t, test.members...)
			if form == "tar.gz" {
				text = zipped(t, text)
			}
			dest := t.TempDir()
			if _, err := Unpack(deadline(t), bytes.NewReader(text), dest, Limits{Folder: test.folder}); err != nil {
				t.Errorf("%s, %s: %v", name, form, err)
			}
			if d := cmp.Diff(test.want, read(t, dest)); d != "" {
				t.Errorf("%s, %s: %s", name, form, d)
			}
		}
	}
}

func TestSetuidIsTakenOff(t *testing.T) {
	dest := t.TempDir()
	if _, err := Unpack(deadline(t), bytes.NewReader(archive(t, member{regular, "a", "1"})), dest, Limits{}); err != nil {
		t.Fatal(err)
	}
	if info, err := os.Stat(dest + "/a"); err != nil || info.Mode() != 0o755 {
		t.Errorf("%v, %v", info.Mode(), err)
	}
}

func TestHostileArchivesAreRefused(t *testing.T) {
	deep := strings.Repeat("d/", maxDepth) + "f"
	for name, test := range map[string]struct {
		text   []byte
		folder string
		want   Reason
	}{
		"above":                   {archive(t, member{regular, "ok", "1"}, member{regular, "../x", "1"}), "", Refused},
		"above by a detour":       {archive(t, member{regular, "a/../../x", "1"}), "", Refused},
		"absolute":                {archive(t, member{regular, "/x", "1"}), "", Refused},
		"a NUL":                   {bytes.ReplaceAll(archive(t, member{regular, "aZb/" + strings.Repeat("x", 120), "1"}), []byte("aZb"), []byte("a\x00b")), "", Refused},
		"too deep":                {archive(t, member{regular, deep, "1"}), "", Refused},
		"a long part":             {archive(t, member{regular, strings.Repeat("x", 256), "1"}), "", Refused},
		"a long name":             {archive(t, member{regular, strings.Repeat("x/", 20) + strings.Repeat("y/yyyyyyyyyyyyyyyyyyyyyyyyyyyyyy", 32), "1"}), "", Refused},
		"a link above":            {archive(t, member{symbolic, "a", "../x"}), "", Refused},
		"an absolute link":        {archive(t, member{symbolic, "a", "/etc"}), "", Refused},
		"an empty link":           {archive(t, member{symbolic, "a", ""}), "", Refused},
		"a link by a link":        {archive(t, member{symbolic, "a/b/up", "../.."}, member{symbolic, "a/b/out", "up/../x"}), "", Refused},
		"through a link":          {archive(t, member{dir, "d", ""}, member{symbolic, "a", "d"}, member{regular, "a/x", "1"}), "", Refused},
		"a folder and a file":     {archive(t, member{regular, "a", "1"}, member{regular, "a/x", "1"}), "", Refused},
		"a file for a folder":     {archive(t, member{regular, "a/x", "1"}, member{regular, "a", "1"}), "", Refused},
		"a hard link above":       {archive(t, member{hard, "a", "../../etc/passwd"}), "", Refused},
		"a hard link to nothing":  {archive(t, member{hard, "a", "b"}), "", Refused},
		"a hard link to a link":   {archive(t, member{symbolic, "l", "x"}, member{hard, "a", "l"}), "", Refused},
		"a device":                {archive(t, member{tar.TypeChar, "a", ""}), "", Refused},
		"a pipe":                  {archive(t, member{tar.TypeFifo, "a", ""}), "", Refused},
		"nothing":                 {nil, "", Empty},
		"no member":               {archive(t), "", Empty},
		"folders alone":           {archive(t, member{dir, "a", ""}), "", Empty},
		"no such folder":          {archive(t, member{regular, "a", "1"}), "b", NoPath},
		"a file as folder":        {archive(t, member{regular, "a", "1"}), "a", NoPath},
		"a link out of a folder":  {archive(t, member{regular, "x", "1"}, member{symbolic, "p/l", "../x"}), "p", Refused},
		"a zip":                   {[]byte("PK\x03\x04 and so on"), "", Refused},
		"no archive":              {[]byte(strings.Repeat("hello ", 1000)), "", Refused},
		"no gzip":                 {[]byte("\x1f\x8b hello"), "", Refused},
		"cut short":               {archive(t, member{regular, "a", strings.Repeat("1", 1000)})[:1800], "", Refused},
		"a gzip that is cut":      {zipped(t, archive(t, member{regular, "a", strings.Repeat("1", 5000)}))[:40], "", Refused},
		"too many":                {archive(t, member{regular, "a/b/c/d/e", "1"}, member{regular, "f", "1"}, member{regular, "g", "1"}), "", TooLarge},
		"too many skipped":        {archive(t, many("x/", 7)...), "y", TooLarge},
		"too large":               {archive(t, member{regular, "a", strings.Repeat("1", 700)}, member{regular, "b", strings.Repeat("1", 700)}), "", TooLarge},
		"too large, again":        {archive(t, member{regular, "a", strings.Repeat("1", 700)}, member{regular, "a", strings.Repeat("1", 700)}), "", TooLarge},
		"a size that is too much": {hugeHeader(t), "", TooLarge},
	} {
		dest := t.TempDir()
		_, err := Unpack(deadline(t), bytes.NewReader(test.text), dest, Limits{Files: 6, Bytes: 1024, Folder: test.folder})
		if strings.HasPrefix(name, "too deep") || strings.HasPrefix(name, "a long") {
			_, err = Unpack(deadline(t), bytes.NewReader(test.text), dest, Limits{})
		}
		if reason(err) != test.want {
			t.Errorf("%s: %v, want %s", name, err, test.want)
		}
		wantEmpty(t, dest)
		if _, err := os.Lstat(filepath.Join(filepath.Dir(dest), "x")); err == nil {
			t.Errorf("%s: something was written above", name)
		}
	}
}

func many(folder string, n int) []member {
	var list []member
	for i := range n {
		list = append(list, member{regular, folder + string(rune('a'+i)), ""})
	}
	return list
}

// hugeHeader promises far more than it has.
func hugeHeader(t testing.TB) []byte {
	t.Helper()
	var b bytes.Buffer
	if err := tar.NewWriter(&b).WriteHeader(&tar.Header{Typeflag: tar.TypeReg, Name: "a", Size: 1 << 50, Format: tar.FormatGNU}); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// zeros is an endless file.
type zeros struct{}

func (zeros) Read(p []byte) (int, error) {
	clear(p)
	return len(p), nil
}

func TestArchiveBombsEndEarly(t *testing.T) {
	bomb := func(size int64) io.Reader {
		r, w := io.Pipe()
		t.Cleanup(func() { r.Close() })
		go func() {
			compressed := gzip.NewWriter(w)
			archive := tar.NewWriter(compressed)
			if archive.WriteHeader(&tar.Header{Typeflag: tar.TypeReg, Name: "a", Size: size}) == nil {
				if _, err := io.CopyN(archive, zeros{}, size); err == nil {
					w.CloseWithError(errors.Join(archive.Close(), compressed.Close()))
				}
			}
		}()
		return r
	}
	dest := t.TempDir()
	if _, err := Unpack(deadline(t), bomb(200<<20), dest, Limits{}); reason(err) != Refused || !strings.Contains(err.Error(), "expands") {
		t.Errorf("a bomb: %v", err)
	}
	wantEmpty(t, dest)
	// What is skipped is read too.
	if _, err := Unpack(deadline(t), bomb(1<<30), dest, Limits{Folder: "other", Bytes: 1 << 20}); err == nil {
		t.Error("a bomb in a folder that is skipped was read to its end")
	}
	wantEmpty(t, dest)
}

func TestUnpackingEndsWithItsContext(t *testing.T) {
	ctx, cancel := context.WithCancel(deadline(t))
	cancel()
	dest := t.TempDir()
	if _, err := Unpack(ctx, bytes.NewReader(archive(t, member{regular, "a", "1"})), dest, Limits{}); !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
	wantEmpty(t, dest)
}

func TestUnpackingNeedsAnEmptyFolder(t *testing.T) {
	dest := t.TempDir()
	write(t, dest, map[string]string{"mine": "1"})
	if _, err := Unpack(deadline(t), bytes.NewReader(archive(t, member{regular, "a", "1"})), dest, Limits{}); err == nil {
		t.Error("it was unpacked beside something else")
	}
	if got := read(t, dest); len(got) != 1 {
		t.Errorf("left %v", got)
	}
}

func TestUploadsAreFetched(t *testing.T) {
	file := filepath.Join(t.TempDir(), "upload")
	if err := os.WriteFile(file, zipped(t, archive(t, member{regular, "web/a", "1"}, member{symbolic, "web/l", "a"})), 0o600); err != nil {
		t.Fatal(err)
	}
	req := Request{Source: workload.Source{Upload: "u", Path: "web"}, UploadFile: file, Dest: t.TempDir()}
	if os.Getuid() == 0 {
		req.User = confine.User{UID: 23456, GID: 23456}
		if err := os.Chown(req.Dest, 23456, 23456); err != nil {
			t.Fatal(err)
		}
	}
	r, err := New(Options{}).Fetch(deadline(t), req)
	if err != nil || r.Files != 2 || r.Detail != "archive, 2 files, 1 bytes" {
		t.Errorf("%+v, %v", r, err)
	}
	if d := cmp.Diff(map[string]string{"a": "1", "l": "-> a"}, read(t, req.Dest)); d != "" {
		t.Error(d)
	}
	if os.Getuid() == 0 {
		wantOwner(t, req.Dest, req.User)
	}
	req.UploadFile, req.Dest = file+"x", t.TempDir()
	if _, err := New(Options{}).Fetch(deadline(t), req); reason(err) != NotFound {
		t.Error(err)
	}
}

func FuzzUnpack(f *testing.F) {
	f.Add(archive(f, member{regular, "a/b", "1"}, member{symbolic, "l", "a"}, member{hard, "h", "a/b"}), "")
	f.Add(zipped(f, archive(f, member{regular, "a/b", "1"}, member{dir, "c", ""})), "a")
	f.Add(archive(f, member{symbolic, "a/b/up", "../.."}, member{symbolic, "a/b/out", "up/../x"}), "")
	f.Fuzz(func(t *testing.T, text []byte, folder string) {
		top := t.TempDir()
		dest := filepath.Join(top, "dest")
		if err := os.Mkdir(dest, 0o755); err != nil {
			t.Fatal(err)
		}
		folder, err := cleanPath(folder)
		if err != nil {
			return
		}
		_, err = Unpack(t.Context(), bytes.NewReader(text), dest, Limits{Bytes: 1 << 16, Files: 100, Folder: folder})
		if err != nil {
			wantEmpty(t, dest)
		}
		if entries, err := os.ReadDir(top); err != nil || len(entries) != 1 {
			t.Errorf("beside the folder there is %v, %v", entries, err)
		}
		err = filepath.Walk(dest, func(name string, info os.FileInfo, err error) error {
			if err != nil || info.Mode().IsRegular() || info.IsDir() && info.Mode()&os.ModeSetgid == 0 {
				return err
			}
			real, err := filepath.EvalSymlinks(name)
			if err == nil && real != dest && !strings.HasPrefix(real, dest+"/") {
				t.Errorf("%s leads to %s", name, real)
			}
			return nil
		})
		if err != nil {
			t.Error(err)
		}
	})
}
