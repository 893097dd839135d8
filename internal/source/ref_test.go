package source

import (
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/m3o/ingress/internal/workload"
)

var r0 = time.Unix(1e9, 0)

func TestRefNamesAreGits(t *testing.T) {
	needGit(t)
	for _, name := range []string{"main", "feature/x", "v1.0", "a.lock", "a/b.lock/c", ".a", "a/.b", "a..b", "a b", "a~1", "a^", "a:b", "a?", "a*", "a[", `a\b`, "a@{1}", "@", "a@b",
		"a/", "/a", "a//b", "a.", "a\x01", "a\x7f", "ä", "-x", "--upload-pack=x", "HEAD", "refs/heads/x"} {
		err := exec.Command("git", "check-ref-format", "--allow-onelevel", name).Run()
		want := err == nil && !strings.HasPrefix(name, "-") // a branch cannot begin so, and options do
		if got := validRef(name); got != want {
			t.Errorf("%q: %v, want %v", name, got, want)
		}
	}
}

func TestSubmoduleAddresses(t *testing.T) {
	for _, test := range [][3]string{
		{"https://example.com/a/b", "../c", "https://example.com/a/c"},
		{"https://example.com/a/b.git", "./c", "https://example.com/a/b.git/c"},
		{"https://example.com/a/b/", "../../c/d/", "https://example.com/c/d"},
		{"git@example.com:a/b", "../c", "git@example.com:a/c"},
		{"git@example.com:a/b", "../../c", "git@example.com:c"},
		{"https://example.com/a/b", "https://other.example/x", "https://other.example/x"},
	} {
		if got := (module{URL: test[1]}).resolve(workload.Repo{Address: test[0]}); got != test[2] {
			t.Errorf("%s from %s is %s, want %s", test[1], test[0], got, test[2])
		}
	}
}

func TestOldGitIsNotUsed(t *testing.T) {
	for text, want := range map[string]bool{"git version 2.39.5": true, "git version 2.37.0.windows.1": true, "git version 2.36.9": false, "git version 1.99": false,
		"git version 3.0": true, "": false, "hg 5": false} {
		if got := recentGit(text); got != want {
			t.Errorf("%q: %v, want %v", text, got, want)
		}
	}
}

func TestBytesAreWrittenForPeople(t *testing.T) {
	for n, want := range map[int64]string{0: "0 bytes", 1023: "1023 bytes", 1024: "1 KiB", 1258291: "1.2 MiB", 256 << 20: "256 MiB", 3 << 40: "3 TiB"} {
		if got := bytesText(n); got != want {
			t.Errorf("%d: %s, want %s", n, got, want)
		}
	}
}

func FuzzRepoAddress(f *testing.F) {
	for _, text := range []string{"https://example.com/a", "git@example.com:a/b", "example.com/a/b", "file:///a", "/a", "ssh://-x/a", "../c"} {
		f.Add(text)
	}
	parent := workload.Repo{Address: "https://example.com/a/b"}
	fetcher := New(Options{AllowLocal: true})
	f.Fuzz(func(t *testing.T, text string) {
		for _, address := range []string{text, module{URL: text}.resolve(parent)} {
			repo, err := fetcher.parse(address)
			if err != nil {
				continue
			}
			if _, password := repo.URL.User.Password(); password || strings.HasPrefix(repo.Address, "-") || strings.ContainsAny(repo.Address, "\x00\r\n") || strings.HasPrefix(repo.URL.Host, "-") {
				t.Errorf("%q was taken as %+v", address, repo)
			}
			if again, err := fetcher.parse(repo.Address); err != nil || again.Address != repo.Address {
				t.Errorf("%q became %q, and that %q, %v", address, repo.Address, again.Address, err)
			}
		}
	})
}
