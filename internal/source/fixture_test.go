package source

import (
	"encoding/pem"
	"net"
	"net/http"
	"net/http/cgi"
	"net/http/httptest"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/m3o/ingress/internal/skiptest"
)

// hub is a folder of bare repositories.
type hub struct {
	dir string
	// First and Second are commits of the repository "app": Second is its branch
	// main, and First has a name only in the tag v1.
	First, Second, Hidden string
}

// newHub makes the repositories of all tests:
//
//	app     two commits, branches main and other, tags v1 and (annotated) v2
//	empty   nothing
//	escape  a link that leads out
//	parent  a submodule ./app in the folder lib/app
//	huge    a file of 3 MiB, of one byte again and again
func newHub(t testing.TB) hub {
	t.Helper()
	needGit(t)
	h := hub{dir: t.TempDir()}
	work := t.TempDir()
	h.make(t, work, "app", map[string]string{"main.go": "package main // 1", "web/index.html": "one", "skip.txt": "kept", ".gitattributes": "skip.txt export-ignore\n"})
	app := filepath.Join(work, "app")
	h.First = runGit(t, app, "rev-parse", "HEAD")
	runGit(t, app, "tag", "v1")
	write(t, app, map[string]string{"main.go": "package main // 2", "web/link": "-> index.html", "run.sh": "#!/bin/sh"})
	if err := os.Chmod(filepath.Join(app, "run.sh"), 0o755); err != nil {
		t.Fatal(err)
	}
	runGit(t, app, "add", "-A")
	runGit(t, app, "commit", "-qm", "middle")
	h.Hidden = runGit(t, app, "rev-parse", "HEAD")
	runGit(t, app, "commit", "-qm", "second", "--allow-empty")
	h.Second = runGit(t, app, "rev-parse", "HEAD")
	runGit(t, app, "tag", "-am", "two", "v2")
	runGit(t, app, "branch", "other", "v1")
	runGit(t, app, "push", "-q", "--mirror", filepath.Join(h.dir, "app"))
	runGit(t, h.dir, "init", "-q", "--bare", "-b", "main", "empty")
	h.make(t, work, "escape", map[string]string{"a": "-> ../../etc/passwd"})
	h.make(t, work, "huge", map[string]string{"big": strings.Repeat("x", 3<<20)})
	h.make(t, work, "parent", map[string]string{"p": "parent", ".gitmodules": "[submodule \"app\"]\n\tpath = lib/app\n\turl = ../app\n"})
	parent := filepath.Join(work, "parent")
	runGit(t, parent, "update-index", "--add", "--cacheinfo", "160000,"+h.First+",lib/app")
	runGit(t, parent, "commit", "-qm", "module")
	runGit(t, parent, "push", "-q", "--mirror", filepath.Join(h.dir, "parent"))
	return h
}

func (h hub) make(t testing.TB, work, name string, files map[string]string) {
	t.Helper()
	runGit(t, h.dir, "init", "-q", "--bare", "-b", "main", name)
	runGit(t, work, "init", "-q", "-b", "main", name)
	dir := filepath.Join(work, name)
	write(t, dir, files)
	runGit(t, dir, "add", "-A")
	runGit(t, dir, "commit", "-qm", "first")
	runGit(t, dir, "push", "-q", "--mirror", filepath.Join(h.dir, name))
}

// https serves the repositories by git's smart protocol, with a password when one
// is given. It returns the address and the file with the server's certificate.
func (h hub) https(t testing.TB, password string) (address, caFile string) {
	t.Helper()
	backend, err := exec.Command("git", "--exec-path").Output()
	if err != nil {
		t.Fatal(err)
	}
	program := filepath.Join(strings.TrimSpace(string(backend)), "git-http-backend")
	if _, err := os.Stat(program); err != nil {
		skiptest.Skip(t, "there is no git http-backend, which serves https in this test")
	}
	handler := &cgi.Handler{Path: program, Env: []string{"GIT_PROJECT_ROOT=" + h.dir, "GIT_HTTP_EXPORT_ALL=1", "HOME=" + h.home(t)},
		InheritEnv: []string{"PATH"}, Stderr: testLog{t}}
	return serve(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if p := r.Header.Get("Git-Protocol"); p != "" {
			r.Header.Set("Git-Protocol", p)
		}
		if _, given, _ := r.BasicAuth(); password != "" && given != password {
			w.Header().Set("WWW-Authenticate", `Basic realm="git"`)
			http.Error(w, "no", http.StatusUnauthorized)
			return
		}
		handler.ServeHTTP(w, r)
	}))
}

// home is a HOME in which git opens the repositories whoever owns them.
func (h hub) home(t testing.TB) string {
	home := t.TempDir()
	write(t, home, map[string]string{".gitconfig": "[safe]\n\tdirectory = *\n"})
	return home
}

type testLog struct{ t testing.TB }

func (l testLog) Write(p []byte) (int, error) {
	l.t.Logf("%s", p)
	return len(p), nil
}

// serve serves TLS and returns the address and the file with the certificate.
func serve(t testing.TB, handler http.Handler) (address, caFile string) {
	t.Helper()
	server := httptest.NewUnstartedServer(handler)
	server.Config.ErrorLog = nil
	server.StartTLS()
	t.Cleanup(server.Close)
	caFile = filepath.Join(t.TempDir(), "ca.pem")
	text := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: server.Certificate().Raw})
	if err := os.WriteFile(caFile, text, 0o644); err != nil {
		t.Fatal(err)
	}
	return server.URL, caFile
}

// port is the port of an address, as Options.Egress wants it.
func port(t testing.TB, address string) uint16 {
	t.Helper()
	u, err := url.Parse(address)
	if err != nil {
		t.Fatal(err)
	}
	n, err := strconv.ParseUint(u.Port(), 10, 16)
	if err != nil {
		t.Fatal(err)
	}
	return uint16(n)
}

// listen gives each connection to a function, and returns an address that leads to it.
func listen(t testing.TB, each func(net.Conn)) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go each(c)
		}
	}()
	t.Cleanup(func() { l.Close(); <-done })
	return "git://" + l.Addr().String() + "/app"
}
