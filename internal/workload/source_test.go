package workload

import (
	"errors"
	"io/fs"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// FuzzSource checks that no source that is taken names a file outside itself,
// holds a password, or can be read as an option.
func FuzzSource(f *testing.F) {
	f.Add("github.com/a/b", "main", "cmd/web", "index.js")
	f.Add("https://user:secret@github.com/a/b", "-x", "../..", "/etc/passwd")
	f.Add("git@github.com:a/b", "a..b", "/x/", "a/../b")
	f.Add("", "", "", "a\\..\\b")
	f.Fuzz(func(t *testing.T, repo, ref, path, file string) {
		for _, s := range []Source{{Repo: repo, Ref: ref, Path: path}, {Files: map[string]string{file: "x"}, Path: path}} {
			err := s.check()
			if err != nil {
				var invalid *InvalidError
				if !errors.As(err, &invalid) {
					t.Errorf("%v is no InvalidError", err)
				}
				continue
			}
			if strings.HasPrefix(s.Repo, "-") || strings.HasPrefix(s.Ref, "-") || strings.Contains(s.Repo, "https://") && strings.Contains(strings.SplitN(s.Repo[8:], "/", 2)[0], "@") && strings.HasPrefix(s.Repo, "https://") {
				t.Errorf("took %+v", s)
			}
			for _, name := range []string{strings.Trim(s.Path, "/"), file} {
				if s.Files == nil && name == file || name == "" {
					continue
				}
				if !filepath.IsLocal(name) || !fs.ValidPath(name) || strings.ContainsRune(name, 0) {
					t.Errorf("took the name %q", name)
				}
			}
		}
	})
}

func FuzzKnownHosts(f *testing.F) {
	f.Add("github.com ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIOMqqnkVzrm0SdG6UOoqKLsabgH5C9okWi0dh2l9GKJl\n")
	f.Add("@revoked * ssh-rsa AAAA\n# comment\n\n")
	f.Fuzz(func(t *testing.T, text string) {
		err := checkKnownHosts(text)
		var invalid *InvalidError
		if err != nil && !errors.As(err, &invalid) {
			t.Errorf("%v is no InvalidError", err)
		}
	})
}

func TestSettingsAreChecked(t *testing.T) {
	for _, row := range []struct {
		settings Settings
		good     bool
	}{
		{DefaultSettings(), true},
		{Settings{HealthPath: "/health?deep=1", Concurrency: 8}, true},
		{Settings{IdleTimeout: time.Second}, true},
		{Settings{HealthPath: "health"}, false},
		{Settings{HealthPath: "//evil.example/x"}, false},
		{Settings{HealthPath: "http://evil.example/"}, false},
		{Settings{HealthPath: "/a b"}, false},
		{Settings{HealthPath: "/a\r\nX: y"}, false},
		{Settings{HealthPath: "/" + strings.Repeat("x", 1024)}, false},
		{Settings{IdleTimeout: time.Millisecond}, false},
		{Settings{IdleTimeout: -time.Hour}, false},
		{Settings{Concurrency: -1}, false},
		{Settings{Concurrency: 1 << 30}, false},
	} {
		if err := row.settings.check(); (err == nil) != row.good {
			t.Errorf("%+v: %v", row.settings, err)
		}
	}
}

func TestProgramsAreChecked(t *testing.T) {
	for _, row := range []struct {
		program Program
		good    bool
	}{
		{Program{}, true},
		{Program{"nodejs", "hello_World$1"}, true},
		{Program{"python", "grüße"}, true},
		{Program{"../x", ""}, false},
		{Program{"go", "a b"}, false},
		{Program{"go", "a;b"}, false},
		{Program{"go", "a/b"}, false},
		{Program{"go", "a\x00"}, false},
	} {
		if err := row.program.check(); (err == nil) != row.good {
			t.Errorf("%+v: %v", row.program, err)
		}
	}
}
