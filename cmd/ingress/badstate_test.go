package main_test

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestAStateThatCannotBeUsedIsNamedAndKept(t *testing.T) {
	seed := startIngress(t)
	seed.mustCall("url/create", `{"id":"kept","destinationURL":"https://example.com/"}`)
	seed.stop()
	for _, test := range []struct {
		name  string
		spoil func(dir string) (file string, content []byte)
		args  []string
		says  string
	}{
		{"a database of garbage", spoilFile("ingress.db", []byte("this is no database at all, really not")), nil, "restore it from a backup"},
		{"half a database", func(dir string) (string, []byte) {
			content, err := os.ReadFile(filepath.Join(dir, "ingress.db"))
			if err != nil {
				t.Fatal(err)
			}
			return "ingress.db", content[:len(content)/2]
		}, nil, "restore it from a backup"},
		{"a bad secret key", spoilFile("secret.key", []byte("zz\n")), nil, "64 hexadecimal digits"},
		{"an empty secret key", spoilFile("secret.key", nil), nil, "no secret key"},
		{"a file in the socket's place", spoilFile("not-a-socket", []byte("precious")), []string{"--admin-socket", "not-a-socket"}, "is no socket"},
	} {
		t.Run(test.name, func(t *testing.T) {
			dir := shortTempDir(t)
			if err := os.CopyFS(dir, os.DirFS(seed.dir)); err != nil {
				t.Fatal(err)
			}
			if err := os.Chmod(dir, 0o700); err != nil {
				t.Fatal(err)
			}
			name, content := test.spoil(dir)
			path := filepath.Join(dir, name)
			if err := os.WriteFile(path, content, 0o600); err != nil {
				t.Fatal(err)
			}
			args := test.args
			if len(args) == 2 {
				args = []string{args[0], filepath.Join(dir, args[1])}
			}
			i := launch(t, dir, nil, args...)
			err := i.wait()
			_, stderr := i.output()
			if err == nil || i.cmd.ProcessState.ExitCode() != 1 || !strings.Contains(stderr, path) || !strings.Contains(stderr, test.says) {
				t.Errorf("it ended with %v and says %s", err, stderr)
			}
			if strings.Contains(stderr, "goroutine ") {
				t.Errorf("stderr has a stack: %s", stderr)
			}
			if after, err := os.ReadFile(path); err != nil || !bytes.Equal(after, content) {
				t.Errorf("%s was changed: %q, %v", name, after, err)
			}
		})
	}
	t.Run("a data directory that is a file", func(t *testing.T) {
		path := filepath.Join(t.TempDir(), "file")
		if err := os.WriteFile(path, []byte("precious"), 0o600); err != nil {
			t.Fatal(err)
		}
		i := launch(t, path, nil)
		if err := i.wait(); err == nil {
			t.Error("it started")
		}
		if _, stderr := i.output(); !strings.Contains(stderr, path) || !strings.Contains(stderr, "not a directory") {
			t.Errorf("it says %s", stderr)
		}
	})
}

func spoilFile(name string, content []byte) func(string) (string, []byte) {
	return func(string) (string, []byte) { return name, content }
}
