package main_test

import (
	"crypto/rand"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/m3o/ingress/internal/skiptest"
)

// TestAFullDiskInTheMiddleOfADeploy gives the program a data directory on a
// small disk of its own.
func TestAFullDiskInTheMiddleOfADeploy(t *testing.T) {
	if os.Geteuid() != 0 {
		skiptest.Skip(t, "only root can mount a small disk")
	}
	dir := shortTempDir(t)
	if err := os.MkdirAll(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := syscall.Mount("tmpfs", dir, "tmpfs", 0, "size=48m,mode=0700"); err != nil {
		skiptest.Skip(t, "no disk can be mounted here: "+err.Error())
	}
	t.Cleanup(func() {
		if err := syscall.Unmount(dir, syscall.MNT_DETACH); err != nil {
			t.Error(err)
		}
	})
	endAppsOf(t, dir)
	i := startIngressIn(t, dir, nil)
	i.deployed("app", "run", "hello", "--dir", folder(t, map[string]string{"index.html": "good"}))
	ballast := filepath.Join(dir, "ballast")
	fill(t, ballast, 4<<20)
	// Most of it compresses well, so that it is the unpacking that fills the disk.
	noise := make([]byte, 1<<20)
	if _, err := rand.Read(noise); err != nil {
		t.Fatal(err)
	}
	large := folder(t, map[string]string{"index.html": "large", "noise": string(noise), "filling": strings.Repeat("x", 12<<20)})
	_, stderr, code := i.run(nil, "app", "update", "hello", "--dir", large)
	if code == 0 || !strings.Contains(stderr, "disk") {
		t.Errorf("with a full disk: exit code %d, %s", code, stderr)
	}
	t.Logf("with a full disk: %s", stderr)
	if a := i.get(appURL("hello", "/")); a.status != 200 || a.body != "good" {
		t.Errorf("with a full disk the good version answers %d %q", a.status, a.body)
	}
	if err := os.Remove(ballast); err != nil {
		t.Fatal(err)
	}
	i.deployed("app", "update", "hello", "--dir", large)
	if a := i.get(appURL("hello", "/")); a.status != 200 || a.body != "large" {
		t.Errorf("with room again it answers %d %q", a.status, a.body)
	}
	i.mustCall("app/Delete", `{"name":"hello"}`)
	i.await("removal of its folder", func() bool {
		_, err := os.Stat(filepath.Join(dir, "apps", "hello"))
		return os.IsNotExist(err)
	})
}

// fill writes a file that leaves so much room on its disk.
func fill(t *testing.T, path string, room uint64) {
	t.Helper()
	var disk syscall.Statfs_t
	if err := syscall.Statfs(filepath.Dir(path), &disk); err != nil {
		t.Fatal(err)
	}
	free := disk.Bavail * uint64(disk.Bsize)
	if err := os.WriteFile(path, make([]byte, free-room), 0o600); err != nil {
		t.Fatal(err)
	}
}
