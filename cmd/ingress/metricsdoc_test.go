package main

import (
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// The names of all metrics are literals, so that they can be searched for.
func TestOperatorsFindEveryMetricAndNoOther(t *testing.T) {
	made := make(map[string]bool)
	for _, root := range []string{".", "../../internal"} {
		err := filepath.WalkDir(root, func(path string, _ fs.DirEntry, err error) error {
			if err != nil || !strings.HasSuffix(path, ".go") || strings.HasSuffix(path, "_test.go") {
				return err
			}
			source, err := os.ReadFile(path)
			for _, m := range regexp.MustCompile(`"(ingress_[a-z_]+)"`).FindAllStringSubmatch(string(source), -1) {
				made[m[1]] = true
			}
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	if len(made) < 20 {
		t.Fatalf("only %d metrics were found; is this the right folder?", len(made))
	}
	text, err := os.ReadFile("../../docs/operations.md")
	if err != nil {
		t.Fatal(err)
	}
	told := make(map[string]bool)
	for _, m := range regexp.MustCompile("`(ingress_[a-z_]+)").FindAllStringSubmatch(string(text), -1) {
		told[m[1]] = true
	}
	for _, name := range slices.Sorted(maps.Keys(made)) {
		if !told[name] {
			t.Errorf("docs/operations.md does not tell of %s", name)
		}
	}
	for _, name := range slices.Sorted(maps.Keys(told)) {
		if !made[name] {
			t.Errorf("docs/operations.md tells of %s, which there is not", name)
		}
	}
}
