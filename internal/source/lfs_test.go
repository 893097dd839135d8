package source

import (
	"archive/tar"
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/m3o/ingress/internal/workload"
)

// pointer is a pointer of Git LFS for a file of so many bytes.
func pointer(size int64) string {
	return fmt.Sprintf("version https://git-lfs.github.com/spec/v1\noid sha256:%s\nsize %d\n", strings.Repeat("ab", 32), size)
}

func TestPointersOfGitLFSAreSaidInTheLog(t *testing.T) {
	h := newHub(t)
	h.make(t, t.TempDir(), "large", map[string]string{
		"index.html": "hello", "web/photo.jpg": pointer(12 << 20), "film.mp4": pointer(3 << 20), "about.txt": "see " + pointer(1),
	})
	h.make(t, t.TempDir(), "one", map[string]string{"index.html": "hello", "photo.jpg": pointer(5)})
	for _, engine := range engines {
		for repo, want := range map[string]string{
			"large": `Warning: 2 files are pointers of Git LFS and not the content, such as "film.mp4", which stands for 3 MiB.`,
			"one":   `Warning: 1 file is a pointer of Git LFS and not the content, such as "photo.jpg", which stands for 5 bytes.`,
			"app":   "",
		} {
			f, _ := fetcher(t, engine, Options{AllowLocal: true})
			var log strings.Builder
			dest := t.TempDir()
			if _, err := f.Fetch(deadline(t), Request{Source: workload.Source{Repo: h.dir + "/" + repo}, Dest: dest, Name: "t", Log: &log}); err != nil {
				t.Fatal(err)
			}
			if want == "" && strings.Contains(log.String(), "Git LFS") || !strings.Contains(log.String(), want) || want != "" && !strings.Contains(log.String(), "git lfs pull") {
				t.Errorf("%s, %s: the log says\n%s\nwant %q", engine, repo, log.String(), want)
			}
		}
	}
}

func TestPointersOfGitLFSInUploadsAreSaid(t *testing.T) {
	var archive bytes.Buffer
	w := tar.NewWriter(&archive)
	for _, member := range [][2]string{{"twice", pointer(1)}, {"photo.jpg", pointer(2048)}, {"twice", "content"}} {
		if err := w.WriteHeader(&tar.Header{Name: member[0], Mode: 0o644, Size: int64(len(member[1]))}); err != nil {
			t.Fatal(err)
		}
		if _, err := w.Write([]byte(member[1])); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "upload")
	if err := os.WriteFile(file, archive.Bytes(), 0o600); err != nil {
		t.Fatal(err)
	}
	var log strings.Builder
	_, err := New(Options{}).Fetch(deadline(t), Request{Source: workload.Source{Upload: "x"}, UploadFile: file, Dest: t.TempDir(), Log: &log})
	if err != nil || !strings.Contains(log.String(), `1 file is a pointer of Git LFS and not the content, such as "photo.jpg", which stands for 2 KiB`) {
		t.Errorf("%v, the log says %q", err, log.String())
	}
}

func TestWhatIsAPointerOfGitLFS(t *testing.T) {
	good := pointer(7)
	for text, want := range map[string]bool{
		good: true,
		strings.Replace(good, "git-lfs", "hawser", 1):              true,
		strings.Replace(good, "oid ", "ext-0-x sha256:1\noid ", 1): true,
		"":                               false,
		"\n" + good:                      false,
		good[:len(good)-len("size 7\n")]: false,
		strings.Replace(good, "size 7", "size -7", 1):       false,
		strings.Replace(good, "size 7", "size many", 1):     false,
		strings.Replace(good, "sha256:", "md5:", 1):         false,
		strings.Replace(good, "spec/v1", "spec/v9", 1):      false,
		good + strings.Repeat("x", maxPointer):              false,
		"version https://git-lfs.github.com/spec/v1\nabout": false,
	} {
		if size, got := parsePointer(text); got != want || got && size != 7 {
			t.Errorf("%q: %t, %d", text, got, size)
		}
	}
}

func FuzzParsePointer(f *testing.F) {
	f.Add(pointer(1))
	f.Add("version https://git-lfs.github.com/spec/v1\nsize\noid sha256:\n")
	f.Fuzz(func(t *testing.T, text string) {
		if size, ok := parsePointer(text); ok && (size < 0 || !strings.Contains(text, "oid sha256:") || len(text) >= maxPointer) {
			t.Errorf("%q stands for %d bytes", text, size)
		}
	})
}
