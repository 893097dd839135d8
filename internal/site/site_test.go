package site_test

import (
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/m3o/ingress/internal/site"
)

// folder makes a site beside a file that must never be served.
func folder(t *testing.T, files map[string]string) string {
	t.Helper()
	top := t.TempDir()
	write(t, filepath.Join(top, "secret.txt"), "sesame")
	dir := filepath.Join(top, "site")
	for name, content := range files {
		write(t, filepath.Join(dir, name), content)
	}
	return dir
}

func write(t *testing.T, name, content string) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(name, []byte(content), 0o644); err != nil {
		t.Fatal(err)
	}
}

// get sends a request whose path is exactly target, as a client with bad manners
// would.
func get(t *testing.T, h http.Handler, method, target string, header ...string) *http.Response {
	t.Helper()
	r := httptest.NewRequest(method, "http://site.test/", nil)
	path, query, _ := strings.Cut(target, "?")
	r.URL.Path, r.URL.RawQuery = path, query
	for i := 0; i+1 < len(header); i += 2 {
		r.Header.Set(header[i], header[i+1])
	}
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	return w.Result()
}

func body(t *testing.T, res *http.Response) string {
	t.Helper()
	b, err := io.ReadAll(res.Body)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

func TestNames(t *testing.T) {
	dir := folder(t, map[string]string{
		"index.html": "home", "about.html": "about", "blog/index.html": "blog", "a b.txt": "spaces", "empty/x": "",
		"404.html": "lost", ".env": "sesame", ".git/config": "sesame", ".well-known/security.txt": "contact",
		"js/app.3f9a02bc.js": "1", "style.css": "2", "x.webmanifest": "{}",
	})
	for name, to := range map[string]string{"out.txt": "../secret.txt", "in.txt": "style.css", "out": ".."} {
		if err := os.Symlink(to, filepath.Join(dir, name)); err != nil {
			t.Fatal(err)
		}
	}
	if err := syscall.Mkfifo(filepath.Join(dir, "pipe.txt"), 0o644); err != nil {
		t.Fatal(err)
	}
	h := site.New(dir, ".")
	for _, row := range []struct {
		target string
		status int
		want   string // the body, or the location
	}{
		{"/", 200, "home"},
		{"", 200, "home"},
		{"/index.html", 200, "home"},
		{"/about", 200, "about"},
		{"/about.html", 200, "about"},
		{"/about/", 404, "lost"},
		{"/about.html/", 301, "/about.html"},
		{"/blog/", 200, "blog"},
		{"/blog?x=1&y=%2F", 301, "/blog/?x=1&y=%2F"},
		{"//blog", 301, "/blog/"},
		{"/a b.txt", 200, "spaces"},
		{"/empty/", 404, "lost"},
		{"/missing", 404, "lost"},
		{"/missing.html", 404, "lost"},
		{"/.env", 404, "lost"},
		{"/.git/config", 404, "lost"},
		{"/.well-known/security.txt", 200, "contact"},
		{"/../secret.txt", 404, "lost"},
		{"/js/../../secret.txt", 404, "lost"},
		{"/out.txt", 404, "lost"},
		{"/out/secret.txt", 404, "lost"},
		{"/in.txt", 200, "2"},
		{"/pipe.txt", 404, "lost"},
		{"/\x00", 404, "lost"},
		{"/" + strings.Repeat("x", 5000), 404, "lost"},
	} {
		res := get(t, h, "GET", row.target)
		got := body(t, res)
		if row.status == 301 {
			got = res.Header.Get("Location")
		}
		if res.StatusCode != row.status || got != row.want {
			t.Errorf("%q: got %d %q, want %d %q", row.target, res.StatusCode, got, row.status, row.want)
		}
	}
}

func TestHeaders(t *testing.T) {
	h := site.New(folder(t, map[string]string{
		"index.html": "home", "js/app.3f9a02bc.js": "1", "js/index-B4x9Qw2c.css": "1", "js/application.min.js": "1",
		"x.webmanifest": "{}", "README": "plain text",
	}), ".")
	const asked, kept = "public, max-age=0, must-revalidate", "public, max-age=31536000, immutable"
	for target, want := range map[string][2]string{
		"/":                      {asked, "text/html; charset=utf-8"},
		"/js/app.3f9a02bc.js":    {kept, "text/javascript; charset=utf-8"},
		"/js/index-B4x9Qw2c.css": {kept, "text/css; charset=utf-8"},
		"/js/application.min.js": {asked, "text/javascript; charset=utf-8"},
		"/x.webmanifest":         {asked, "application/manifest+json"},
		"/README":                {asked, "text/plain; charset=utf-8"},
	} {
		res := get(t, h, "GET", target)
		if got := [2]string{res.Header.Get("Cache-Control"), res.Header.Get("Content-Type")}; got != want {
			t.Errorf("%s: got %q, want %q", target, got, want)
		}
		tag := res.Header.Get("ETag")
		if again := get(t, h, "GET", target, "If-None-Match", tag); again.StatusCode != 304 || body(t, again) != "" {
			t.Errorf("%s: with its ETag %s: %d", target, tag, again.StatusCode)
		}
	}
	if res := get(t, h, "GET", "/", "Range", "bytes=1-2"); res.StatusCode != 206 || body(t, res) != "om" {
		t.Errorf("a range: %d", res.StatusCode)
	}
	if res := get(t, h, "HEAD", "/"); res.StatusCode != 200 || res.ContentLength != 4 || body(t, res) != "" {
		t.Errorf("HEAD: %d, %d bytes", res.StatusCode, res.ContentLength)
	}
	if res := get(t, h, "POST", "/"); res.StatusCode != 405 || res.Header.Get("Allow") != "GET, HEAD" {
		t.Errorf("POST: %d, Allow %q", res.StatusCode, res.Header.Get("Allow"))
	}
}

func TestAFolderWithoutPagesOfItsOwn(t *testing.T) {
	if res := get(t, site.New(folder(t, map[string]string{"x": ""}), "."), "GET", "/"); res.StatusCode != 404 {
		t.Errorf("no index: %d", res.StatusCode)
	}
	if res := get(t, site.New(t.TempDir(), "gone"), "GET", "/"); res.StatusCode != 500 {
		t.Errorf("no folder: %d", res.StatusCode)
	}
}

// The owner's programs may write to the code: a link in the folder's place would
// have the ingress read for them what they cannot read themselves.
func TestTheFolderIsNoLinkThatLeadsOut(t *testing.T) {
	code := folder(t, map[string]string{"public/index.html": "hello", "public/secret.txt": "public"})
	for link, target := range map[string]string{
		"inside": "public", "above": "..", "absolute": filepath.Dir(code), "beyond": "public/../..",
	} {
		if err := os.Symlink(target, filepath.Join(code, link)); err != nil {
			t.Fatal(err)
		}
		res := get(t, site.New(code, link), "GET", "/secret.txt")
		if text := body(t, res); link == "inside" && text != "public" || link != "inside" && (res.StatusCode != 500 || strings.Contains(text, "sesame")) {
			t.Errorf("by the link %s it answers %d %q", link, res.StatusCode, text)
		}
	}
}
