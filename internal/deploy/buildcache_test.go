package deploy

import (
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"
)

// cached makes a build cache of files of one block each; a file's content is how
// many hours ago it was used.
func cached(t *testing.T, files map[string]time.Duration) string {
	t.Helper()
	dir := t.TempDir()
	now := time.Now()
	for name, ago := range files {
		file := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(file, []byte("x"), 0o644); err != nil {
			t.Fatal(err)
		}
		if err := os.Chtimes(file, now, now.Add(-ago)); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

// filesIn lists what is in a folder, but for folders.
func filesIn(t *testing.T, dir string) []string {
	t.Helper()
	var list []string
	err := filepath.WalkDir(dir, func(path string, entry os.DirEntry, err error) error {
		if err == nil && !entry.IsDir() {
			name, _ := filepath.Rel(dir, path)
			list = append(list, name)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	slices.Sort(list)
	return list
}

func TestWhatWasUsedLeastRecentlyIsPrunedFirst(t *testing.T) {
	const hour = time.Hour
	files := map[string]time.Duration{
		"go-build/aa/1-a": 1 * hour, "go-build/aa/2-a": 4 * hour, "go-build/bb/3-d": 6 * hour,
		"npm/1": 3 * hour, "npm/2": 9 * hour, // used 3 hours ago as a whole
		"pip/1":          5 * hour,
		".discarded-npm": 0,
	}
	// A part as a whole has a block besides those of its files, for its folder.
	for limit, want := range map[int64]string{
		1 << 20:         "go-build/aa/1-a go-build/aa/2-a go-build/bb/3-d npm/1 npm/2 pip/1",
		8 * diskBlock:   "go-build/aa/1-a go-build/aa/2-a go-build/bb/3-d npm/1 npm/2 pip/1",
		7 * diskBlock:   "go-build/aa/1-a go-build/aa/2-a npm/1 npm/2 pip/1",
		5 * diskBlock:   "go-build/aa/1-a go-build/aa/2-a npm/1 npm/2",
		5*diskBlock - 1: "go-build/aa/1-a npm/1 npm/2",
		3 * diskBlock:   "go-build/aa/1-a",
		0:               "",
	} {
		dir := cached(t, files)
		freed, err := pruneCache(dir, limit)
		if got := strings.Join(filesIn(t, dir), " "); err != nil || got != want {
			t.Errorf("%d bytes: %s, %v; want %s", limit, got, err, want)
		}
		if most := int64(9 * diskBlock); freed < most-limit || freed > most {
			t.Errorf("%d bytes: %d were freed of %d", limit, freed, most)
		}
	}
	if freed, err := pruneCache(filepath.Join(t.TempDir(), "none"), 0); freed != 0 || err != nil {
		t.Errorf("no cache: %d, %v", freed, err)
	}
}

// TestNothingOutsideOfABuildCacheIsPruned prunes a cache whose owner put links in
// it where parts of a cache are looked for.
func TestNothingOutsideOfABuildCacheIsPruned(t *testing.T) {
	outside := t.TempDir()
	for _, name := range []string{"aa/1-a", "precious"} {
		if err := os.MkdirAll(filepath.Dir(filepath.Join(outside, name)), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(outside, name), make([]byte, 1<<20), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	for name, links := range map[string]map[string]string{
		"the cache of Go":          {"go-build": outside},
		"a folder of it":           {"go-build/aa": filepath.Join(outside, "aa")},
		"a file of it":             {"go-build/aa/1-a": filepath.Join(outside, "precious")},
		"another part":             {"npm": outside, "pip/deep/link": outside},
		"what is to be removed":    {".discarded-npm": outside, "npm": outside},
		"a folder named like that": {".discarded-npm/x": outside, "npm/x": outside},
	} {
		dir := cached(t, map[string]time.Duration{"go/1": 0})
		for link, target := range links {
			if err := os.MkdirAll(filepath.Dir(filepath.Join(dir, link)), 0o755); err != nil {
				t.Fatal(err)
			}
			if err := os.Symlink(target, filepath.Join(dir, link)); err != nil {
				t.Fatal(err)
			}
		}
		if freed, err := pruneCache(dir, 64<<10); err != nil || freed >= 1<<20 {
			t.Errorf("%s: counted what it leads to: %d, %v", name, freed, err)
		}
		if _, err := pruneCache(dir, 0); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		if left := filesIn(t, dir); len(left) > 0 {
			t.Errorf("%s: %v is left", name, left)
		}
		if got := filesIn(t, outside); !slices.Equal(got, []string{"aa/1-a", "precious"}) {
			t.Fatalf("%s: outside there is %v", name, got)
		}
	}
}

// TestFoldersThatAreClosedArePruned is about Go's modules, which are read-only,
// and about builds that hide what they leave.
func TestFoldersThatAreClosedArePruned(t *testing.T) {
	for name, mode := range map[string]os.FileMode{"read-only": 0o555, "closed": 0} {
		dir := cached(t, map[string]time.Duration{"go-mod/example.com/x@v1/x.go": 0, "go-build/aa/1-a": 0, "npm/1": time.Hour})
		for _, folder := range []string{"go-mod/example.com/x@v1", "go-build/aa"} {
			if err := os.Chmod(filepath.Join(dir, folder), mode); err != nil {
				t.Fatal(err)
			}
		}
		if _, err := pruneCache(dir, 0); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		if left := filesIn(t, dir); len(left) > 0 {
			t.Errorf("%s: %v is left", name, left)
		}
	}
}

// TestFoldersTakeRoomInABuildCache is about builds that leave nothing but folders,
// each of which takes a block of the disk.
func TestFoldersTakeRoomInABuildCache(t *testing.T) {
	for _, name := range []string{goBuildCache, "npm"} {
		dir := cached(t, map[string]time.Duration{"pip/1": time.Hour})
		for i := range 2 * goBuildFolders {
			if err := os.MkdirAll(filepath.Join(dir, name, strconv.Itoa(i)), 0o755); err != nil {
				t.Fatal(err)
			}
		}
		if freed, err := pruneCache(dir, goBuildFolders*diskBlock); err != nil || freed < goBuildFolders*diskBlock {
			t.Errorf("%s: %d bytes were freed, %v", name, freed, err)
		}
		if _, err := os.Stat(filepath.Join(dir, name)); !os.IsNotExist(err) {
			t.Errorf("%s is left: %v", name, err)
		}
	}
}
