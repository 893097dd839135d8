package source

import (
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/m3o/ingress/internal/workload"
)

func TestInlineFilesAreWritten(t *testing.T) {
	files := map[string]string{"index.js": "1", "lib/a/b.js": "2", "lib/c.js": "", "ä b": "3"}
	dest := t.TempDir()
	r, err := New(Options{}).Fetch(deadline(t), Request{Source: workload.Source{Files: files}, Dest: dest})
	if err != nil || r.Files != 4 || r.Bytes != 3 || r.Detail != "inline, 4 files, 3 bytes" {
		t.Errorf("%+v, %v", r, err)
	}
	if d := cmp.Diff(files, read(t, dest)); d != "" {
		t.Error(d)
	}
}

func TestInlineFilesAreChecked(t *testing.T) {
	tooMany := map[string]string{}
	for i := range maxInlineFiles + 1 {
		tooMany[strings.Repeat("x", i+1)] = ""
	}
	for name, test := range map[string]struct {
		files map[string]string
		want  Reason
	}{
		"none":              {nil, Empty},
		"too many":          {tooMany, TooLarge},
		"too large":         {map[string]string{"a": strings.Repeat("x", maxInlineBytes+1)}, TooLarge},
		"a file and folder": {map[string]string{"a": "", "a/b/c": ""}, Refused},
		"above":             {map[string]string{"../a": ""}, Refused},
		"absolute":          {map[string]string{"/a": ""}, Refused},
		"no name":           {map[string]string{"": ""}, Refused},
		"a folder's":        {map[string]string{"a/": ""}, Refused},
		"the top":           {map[string]string{".": ""}, Refused},
		"twice a slash":     {map[string]string{"a//b": ""}, Refused},
		"a NUL":             {map[string]string{"a\x00b": ""}, Refused},
	} {
		dest := t.TempDir()
		_, err := New(Options{}).Fetch(deadline(t), Request{Source: workload.Source{Files: test.files}, Dest: dest})
		if reason(err) != test.want {
			t.Errorf("%s: %v, want %s", name, err, test.want)
		}
		wantEmpty(t, dest)
	}
}

func FuzzInline(f *testing.F) {
	f.Add("a", "b/c")
	f.Add("a", "a/b")
	f.Add("../a", "a\x00")
	f.Fuzz(func(t *testing.T, one, two string) {
		files := map[string]string{one: "1", two: "2"}
		dest := t.TempDir()
		if CheckInline(files) != nil {
			return
		}
		if _, err := writeInline(files, dest, Limits{}); err != nil {
			t.Fatalf("%q passed the check and failed: %v", files, err)
		}
		for name := range files {
			if !filepath.IsLocal(name) {
				t.Errorf("%q was taken", name)
			}
		}
		if d := cmp.Diff(files, read(t, dest)); d != "" {
			t.Error(d)
		}
	})
}
