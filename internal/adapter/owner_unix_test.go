//go:build unix

package adapter_test

import (
	"io/fs"
	"os"
	"path/filepath"
	"syscall"
	"testing"
)

func TestWhatIsWrittenBelongsToTheOwnerOfTheSource(t *testing.T) {
	old := syscall.Umask(0o077)
	defer syscall.Umask(old)
	forEveryLanguage(t, func(t *testing.T, runtime, file string) {
		dir := folder(t, map[string]string{file: smallest[runtime]})
		want := uint32(os.Geteuid())
		if want == 0 { // an ordinary user cannot give files away, and need not
			want = 12345
			if err := os.Chown(dir, int(want), int(want)); err != nil {
				t.Fatal(err)
			}
		}
		prepare(t, runtime, dir)
		err := filepath.WalkDir(filepath.Join(dir, ".ingress"), func(path string, entry fs.DirEntry, err error) error {
			if err != nil {
				return err
			}
			info, err := entry.Info()
			if err != nil {
				return err
			}
			if owner := info.Sys().(*syscall.Stat_t).Uid; owner != want || info.Mode().Perm()&0o444 != 0o444 {
				t.Errorf("%s is %v of %d", path, info.Mode(), owner)
			}
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
	})
}
