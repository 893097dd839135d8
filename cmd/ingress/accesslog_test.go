package main_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestWhereTheAccessLogGoes(t *testing.T) {
	file := filepath.Join(t.TempDir(), "access.log")
	for _, c := range []struct {
		where                  string
		stderr, stdout, inFile bool
	}{
		{"", true, false, false},
		{"stderr", true, false, false},
		{"stdout", false, true, false},
		{"none", false, false, false},
		{file, false, false, true},
	} {
		t.Run(c.where, func(t *testing.T) {
			var args []string
			if c.where != "" {
				args = []string{"--access-log", c.where}
			}
			i := startIngress(t, args...)
			i.get("http://localhost/u/nosuch?api_key=hunter2")
			i.stop() // after which every line is written
			stdout, stderr := i.output()
			const line = `"msg":"request"`
			if strings.Contains(stderr, line) != c.stderr || strings.Contains(stdout, line) != c.stdout {
				t.Errorf("standard error: %s\nstandard output: %s", stderr, stdout)
			}
			text, err := os.ReadFile(file)
			if c.inFile && err != nil {
				t.Fatal(err)
			}
			if got := strings.Count(string(text), line); c.inFile != (got == 1) {
				t.Errorf("%d lines are in the file", got)
			}
			if strings.Contains(stdout+stderr+string(text), "hunter2") {
				t.Error("a key is in a log")
			}
		})
	}
}
