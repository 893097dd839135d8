package source

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/m3o/ingress/internal/skiptest"
	"github.com/m3o/ingress/internal/workload"
)

// engines are run through the same tests.
var engines = []string{"system git", "own git"}

// fetcher returns a Fetcher that uses one engine.
func fetcher(t *testing.T, engine string, o Options) (*Fetcher, *processes) {
	t.Helper()
	tasks := &processes{t: t}
	o.Tasks = tasks
	var err error
	if o.Executable, err = os.Executable(); err != nil {
		t.Fatal(err)
	}
	f := New(o)
	switch {
	case engine != "system git":
		f.git = func() string { return "" }
	case f.git() == "":
		skiptest.Skip(t, "this machine's git cannot be used")
	}
	return f, tasks
}

func TestRepositoriesAreFetched(t *testing.T) {
	h := newHub(t)
	first := map[string]string{"main.go": "package main // 1", "web/index.html": "one", "skip.txt": "kept", ".gitattributes": "skip.txt export-ignore\n"}
	second := map[string]string{"main.go": "package main // 2", "web/index.html": "one", "web/link": "-> index.html", "run.sh": "#!/bin/sh",
		"skip.txt": "kept", ".gitattributes": "skip.txt export-ignore\n"}
	web := map[string]string{"index.html": "one", "link": "-> index.html"}
	parent := map[string]string{"p": "parent", ".gitmodules": "[submodule \"app\"]\n\tpath = lib/app\n\turl = ../app\n"}
	withModule := map[string]string{"p": "parent", ".gitmodules": parent[".gitmodules"]}
	for name, content := range first {
		withModule["lib/app/"+name] = content
	}
	parent["lib/app"] = "/"
	tests := map[string]struct {
		repo, ref, path string
		modules         bool
		commit          string
		want            map[string]string
		reason          Reason
		says            string
	}{
		"the default branch":    {repo: "app", commit: h.Second, want: second},
		"a branch":              {repo: "app", ref: "other", commit: h.First, want: first},
		"a full ref":            {repo: "app", ref: "refs/heads/other", commit: h.First, want: first},
		"a tag":                 {repo: "app", ref: "v1", commit: h.First, want: first},
		"an annotated tag":      {repo: "app", ref: "v2", commit: h.Second, want: second},
		"a commit":              {repo: "app", ref: h.First, commit: h.First, want: first},
		"a commit without name": {repo: "app", ref: h.Hidden, commit: h.Hidden, want: second},
		"a short commit":        {repo: "app", ref: h.Hidden[:10], commit: h.Hidden, want: second},
		"a folder":              {repo: "app", path: "web", commit: h.Second, want: web},
		"a folder with slashes": {repo: "app", path: "/web/", commit: h.Second, want: web},
		"a submodule":           {repo: "parent", modules: true, want: withModule},
		"no submodule":          {repo: "parent", want: parent},
		"no such repository":    {repo: "none", reason: NotFound},
		"nothing in it":         {repo: "empty", reason: Empty, says: "push a commit"},
		"no such branch":        {repo: "app", ref: "nope", reason: NoRef, says: "main, other"},
		"no such commit":        {repo: "app", ref: strings.Repeat("ab", 20), reason: NoRef},
		"no such short commit":  {repo: "app", ref: "abcdef012", reason: NoRef},
		"an option for a ref":   {repo: "app", ref: "--upload-pack=touch /tmp/x", reason: NoRef},
		"a range for a ref":     {repo: "app", ref: "main..other", reason: NoRef},
		"no such folder":        {repo: "app", path: "nope", reason: NoPath, says: `no folder "nope"`},
		"a file for a folder":   {repo: "app", path: "main.go", reason: NoPath},
		"a folder above":        {repo: "app", path: "../x", reason: Refused},
		"a link out":            {repo: "escape", reason: Refused, says: "leads out"},
		"too large":             {repo: "huge", reason: TooLarge, says: "2 MiB"},
	}
	address, caFile := h.https(t, "")
	for _, engine := range engines {
		for _, base := range []string{address + "/", "file://" + h.dir + "/"} {
			scheme, _, _ := strings.Cut(base, ":")
			for name, test := range tests {
				t.Run(engine+"/"+scheme+"/"+name, func(t *testing.T) {
					t.Parallel()
					f, _ := fetcher(t, engine, Options{AllowLocal: true, Submodules: test.modules, MaxBytes: 2 << 20, CAFile: caFile, Egress: []uint16{port(t, address)}})
					dest := t.TempDir()
					r, err := f.Fetch(deadline(t), Request{Source: workload.Source{Repo: base + test.repo, Ref: test.ref, Path: test.path}, Dest: dest, Name: "t"})
					if test.reason != "" {
						if reason(err) != test.reason || !strings.Contains(err.Error(), test.says) {
							t.Errorf("%v (%s), want %s with %q", err, reason(err), test.reason, test.says)
						}
						wantEmpty(t, dest)
						return
					}
					if err != nil {
						t.Fatal(err)
					}
					if d := cmp.Diff(test.want, read(t, dest)); d != "" {
						t.Error(d)
					}
					if test.commit != "" && r.Commit != test.commit || !strings.Contains(r.Detail, r.Commit[:12]) {
						t.Errorf("commit %s (%s), want %s", r.Commit, r.Detail, test.commit)
					}
				})
			}
		}
	}
}

func TestPermissionsAreKept(t *testing.T) {
	h := newHub(t)
	for _, engine := range engines {
		f, _ := fetcher(t, engine, Options{AllowLocal: true})
		dest := t.TempDir()
		if _, err := f.Fetch(deadline(t), Request{Source: workload.Source{Repo: h.dir + "/app"}, Dest: dest, Name: "t"}); err != nil {
			t.Fatal(err)
		}
		for name, want := range map[string]os.FileMode{"run.sh": 0o755, "main.go": 0o644} {
			info, err := os.Stat(dest + "/" + name)
			if err != nil || info.Mode().Perm() != want {
				t.Errorf("%s: %s has %v, %v; want %v", engine, name, info.Mode(), err, want)
			}
		}
	}
}

func TestCredentialsOpenRepositories(t *testing.T) {
	const password = "sw0rdfish-and-more"
	h := newHub(t)
	address, caFile := h.https(t, password)
	for _, engine := range engines {
		for given, want := range map[string]Reason{password: "", "": NotFound, "wrong-password-1": Denied} {
			f, tasks := fetcher(t, engine, Options{CAFile: caFile, Egress: []uint16{port(t, address)}})
			dest := t.TempDir()
			var log strings.Builder
			r, err := f.Fetch(deadline(t), Request{Source: workload.Source{Repo: address + "/app"}, Dest: dest, Name: "t",
				Credential: Credential{Username: "me", Password: given}, Log: &log})
			if want == "" && err != nil || want != "" && reason(err) != want {
				t.Errorf("%s, %q: %v, want %q", engine, given, err, want)
			}
			if want == "" && r.Commit != h.Second {
				t.Errorf("%s: commit %s", engine, r.Commit)
			}
			all := strings.Join(tasks.args, " ") + log.String() + r.Detail
			if err != nil {
				all += err.Error()
				wantEmpty(t, dest)
				if !strings.Contains(err.Error(), "ingress app credential set") {
					t.Errorf("%s: %v does not say what to do", engine, err)
				}
			}
			if given != "" && (strings.Contains(all, given) || strings.Contains(all, Credential{Username: "me", Password: given}.basic()[6:])) {
				t.Errorf("%s: the password can be read in %s", engine, all)
			}
		}
	}
}

func TestCredentialsStayAtTheirServer(t *testing.T) {
	needGit(t)
	var seen []string
	other, otherCA := serve(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		seen = append(seen, r.URL.Path+" "+r.Header.Get("Authorization"))
		http.NotFound(w, r)
	}))
	address, caFile := serve(t, http.RedirectHandler(other+"/app/info/refs?service=git-upload-pack", http.StatusFound))
	joined := caFile + ".both"
	for _, file := range []string{caFile, otherCA} {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		f, err := os.OpenFile(joined, os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o644)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := f.Write(text); err != nil || f.Close() != nil {
			t.Fatal(err)
		}
	}
	for _, engine := range engines {
		f, _ := fetcher(t, engine, Options{CAFile: joined, Egress: []uint16{port(t, address), port(t, other)}})
		_, err := f.Fetch(deadline(t), Request{Source: workload.Source{Repo: address + "/app"}, Dest: t.TempDir(), Name: "t", Credential: Credential{Password: "secret-123"}})
		if reason(err) != Moved {
			t.Errorf("%s: %v, want it to have moved", engine, err)
		}
	}
	if len(seen) > 0 {
		t.Errorf("the other server got %q", seen)
	}
}

func TestAddressesAreChecked(t *testing.T) {
	asked := ""
	o := Options{Lookup: func(_ context.Context, host string, port uint16) ([]netip.Addr, error) {
		asked = fmt.Sprintf("%s:%d", host, port)
		return nil, errors.New("this address is private")
	}}
	for address, want := range map[string]string{
		"git@example.com:a/b.git":       "example.com:22",
		"example.com/a/b":               "example.com:443",
		"ssh://example.com/a/b":         "example.com:22",
		"git://example.com/a/b":         "example.com:9418",
		"https://[2001:db8::1]/a/b":     "2001:db8::1:443",
		"https://example.com:443/a/b":   "example.com:443",
		"http://example.com/a/b":        "",
		"https://example.com:8443/a/b":  "",
		"https://me:pw@example.com/a/b": "",
		"file:///etc":                   "",
		"/etc":                          "",
		"ext::sh -c id":                 "",
		"ssh://-oProxyCommand=id/x":     "",
		"git@-oProxyCommand=id:x":       "",
		"ssh://-oa@example.com/x":       "",
		"--upload-pack=id":              "",
	} {
		f, tasks := fetcher(t, "own git", o)
		asked = ""
		_, err := f.Fetch(deadline(t), Request{Source: workload.Source{Repo: address}, Dest: t.TempDir(), Name: "t"})
		if reason(err) != Refused || asked != want || len(tasks.args) > 0 {
			t.Errorf("%s: %v; asked about %q, want %q; ran %v", address, err, asked, want, tasks.args)
		}
		if err != nil && strings.Contains(err.Error(), "pw") {
			t.Errorf("%v repeats a password", err)
		}
	}
}

func TestServersThatMisbehave(t *testing.T) {
	needGit(t)
	released := make(chan struct{})
	hang := listen(t, func(c net.Conn) { <-released; c.Close() })
	t.Cleanup(func() { close(released) })
	cut := listen(t, func(c net.Conn) {
		io.WriteString(c, "00a0")
		c.Close()
	})
	endless := listen(t, func(c net.Conn) {
		defer c.Close()
		line := "003f" + strings.Repeat("a", 40) + " refs/heads/aaaaaaa"
		line = line[:63]
		for {
			if _, err := io.WriteString(c, line[:62]+"\n"); err != nil {
				return
			}
		}
	})
	for _, engine := range engines {
		for address, want := range map[string]Reason{hang: TooLong, cut: Unreachable} {
			o := Options{Egress: []uint16{port(t, address)}}
			if want == TooLong { // a busy machine may need seconds to find out the other
				o.Timeout = 3 * time.Second
			}
			f, _ := fetcher(t, engine, o)
			dest := t.TempDir()
			_, err := f.Fetch(deadline(t), Request{Source: workload.Source{Repo: address}, Dest: dest, Name: "t"})
			if reason(err) != want {
				t.Errorf("%s: %v, want %s", engine, err, want)
			}
			wantEmpty(t, dest)
		}
		f, _ := fetcher(t, engine, Options{Timeout: 3 * time.Second, Egress: []uint16{port(t, endless)}})
		dest := t.TempDir()
		if _, err := f.Fetch(deadline(t), Request{Source: workload.Source{Repo: endless}, Dest: dest, Name: "t"}); err == nil {
			t.Errorf("%s: an endless list of refs was taken", engine)
		}
		wantEmpty(t, dest)
	}
}

func TestCancellingLeavesNothing(t *testing.T) {
	needGit(t)
	for _, engine := range engines {
		connected := make(chan net.Conn, 10)
		address := listen(t, func(c net.Conn) { connected <- c })
		f, _ := fetcher(t, engine, Options{Egress: []uint16{port(t, address)}})
		dest := t.TempDir()
		ctx, cancel := context.WithCancel(deadline(t))
		failed := make(chan error)
		go func() {
			_, err := f.Fetch(ctx, Request{Source: workload.Source{Repo: address}, Dest: dest, Name: "t"})
			failed <- err
		}()
		c := <-connected
		cancel()
		if err := <-failed; !errors.Is(err, context.Canceled) {
			t.Errorf("%s: %v", engine, err)
		}
		c.Close()
		wantEmpty(t, dest)
	}
}
