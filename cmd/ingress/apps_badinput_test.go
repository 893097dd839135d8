package main_test

import (
	"io/fs"
	"path/filepath"
	"slices"
	"strings"
)

// wantNothingLeft waits until nothing is left of apps and functions that were
// deleted: no process, no folder, no temporary file.
func (i *ingress) wantNothingLeft() {
	i.t.Helper()
	var left []string
	defer func() {
		if i.t.Failed() && len(left) > 0 {
			i.t.Logf("left: %s", strings.Join(left, " "))
		}
	}()
	i.await("the end of all that was deleted", func() bool {
		left = i.leftovers()
		return len(left) == 0 && len(launchers(i.t, i.dir)) == 0
	})
}

// leftovers lists what of apps and functions is in the data directory, but for
// the folders that all of them share.
func (i *ingress) leftovers() (left []string) {
	shared := []string{"apps", "functions", "uploads", "run"}
	for _, dir := range shared {
		err := filepath.WalkDir(filepath.Join(i.dir, dir), func(path string, entry fs.DirEntry, err error) error {
			name, _ := filepath.Rel(i.dir, path)
			tenant := filepath.Dir(name) == "uploads" && err == nil && entry.IsDir()
			if err == nil && !slices.Contains(shared, name) && !tenant {
				left = append(left, name)
			}
			return nil // what is gone is what is wanted
		})
		if err != nil {
			i.t.Error(err)
		}
	}
	return left
}
