package main

import (
	"errors"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// socketDir is a directory whose path leaves room for a socket's name.
func socketDir(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "ing")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := os.RemoveAll(dir); err != nil {
			t.Error(err)
		}
	})
	return dir
}

func TestTheSocketReplacesOnlyAStaleSocket(t *testing.T) {
	for _, test := range []struct {
		name string
		// prepare puts something at path.
		prepare func(t *testing.T, path string)
		refused string // what the error says, or empty
	}{
		{"nothing there", func(*testing.T, string) {}, ""},
		{"a socket left by a killed process", func(t *testing.T, path string) {
			l, err := net.ListenUnix("unix", &net.UnixAddr{Name: path, Net: "unix"})
			if err != nil {
				t.Fatal(err)
			}
			l.SetUnlinkOnClose(false)
			if err := l.Close(); err != nil {
				t.Fatal(err)
			}
		}, ""},
		{"a socket that answers", func(t *testing.T, path string) {
			l, err := net.Listen("unix", path)
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { l.Close() })
		}, "in use"},
		{"a file", func(t *testing.T, path string) {
			if err := os.WriteFile(path, []byte("precious"), 0o600); err != nil {
				t.Fatal(err)
			}
		}, "no socket"},
		{"a directory", func(t *testing.T, path string) {
			if err := os.Mkdir(path, 0o700); err != nil {
				t.Fatal(err)
			}
		}, "no socket"},
		{"a link to a file", func(t *testing.T, path string) {
			if err := os.Symlink("/etc/hostname", path); err != nil {
				t.Fatal(err)
			}
		}, "no socket"},
	} {
		t.Run(test.name, func(t *testing.T) {
			path := filepath.Join(socketDir(t), "admin.sock")
			test.prepare(t, path)
			before, _ := os.Lstat(path) // none for the first row
			l, err := listenSocket(path)
			if test.refused != "" {
				after, statErr := os.Lstat(path)
				if err == nil || !strings.Contains(err.Error(), test.refused) || !strings.Contains(err.Error(), path) {
					t.Errorf("got %v, want it to say %q and the path", err, test.refused)
				}
				if statErr != nil || !os.SameFile(before, after) {
					t.Errorf("what was there is gone: %v", statErr)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			defer l.Close()
			if info, err := os.Stat(path); err != nil || info.Mode().Perm() != 0o600 {
				t.Errorf("the socket is %v, %v; want mode 0600", info, err)
			}
		})
	}
}

func TestASocketPathThatIsTooLong(t *testing.T) {
	for _, name := range []string{strings.Repeat("x", 120), strings.Repeat("x", 300)} {
		_, err := listenSocket(filepath.Join(t.TempDir(), name))
		if err == nil || !strings.Contains(err.Error(), "--admin-socket") || !strings.Contains(err.Error(), "too long") {
			t.Errorf("got %v", err)
		}
	}
	if _, err := listenSocket(filepath.Join(t.TempDir(), "no", "such", "dir")); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("got %v", err)
	}
}
