package main_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestTheControlSocketReplacesNoFile(t *testing.T) {
	dir := shortTempDir(t)
	precious := filepath.Join(filepath.Dir(dir), "precious")
	if err := os.WriteFile(precious, []byte("content"), 0o600); err != nil {
		t.Fatal(err)
	}
	i := launch(t, dir, nil, "--admin-socket", precious)
	if err := i.wait(); err == nil {
		t.Error("it started")
	}
	if _, stderr := i.output(); !strings.Contains(stderr, "no socket") {
		t.Errorf("it said %s", stderr)
	}
	if content, err := os.ReadFile(precious); err != nil || string(content) != "content" {
		t.Errorf("the file is %q, %v", content, err)
	}
}
