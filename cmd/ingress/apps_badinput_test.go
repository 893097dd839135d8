package main_test

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
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
	shared := []string{"apps", "functions", "uploads", "run", filepath.Join("run", "launcher.log")}
	for _, dir := range shared[:4] {
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

// wantFailed deploys an app, which must fail for a reason that says so, and
// deletes it: nothing is left.
func (i *ingress) wantFailed(what, reason string, fields map[string]any) {
	i.t.Helper()
	fields["name"] = "hello"
	i.mustCall("app/Run", object(i.t, fields))
	v := i.settled("app", "hello")
	s := i.service("hello")
	if v["state"] != "failed" || !strings.Contains(fmt.Sprint(v["reason"]), reason) {
		i.t.Errorf("%s: it is %v: %v; want %q", what, v["state"], v["reason"], reason)
	}
	if status := fmt.Sprint(s["status"]); !strings.HasPrefix(status, "DeploymentError: ") {
		i.t.Errorf("%s: the status is %q", what, status)
	}
	i.t.Logf("%s: %.300v", what, v["reason"])
	if a := i.get(appURL("hello", "/")); a.status != 503 {
		i.t.Errorf("%s: visited, it answers %d", what, a.status)
	}
	i.mustCall("app/Delete", `{"name":"hello"}`)
	i.wantNothingLeft()
}

// wantNoErrors checks that the program met nothing that its operator has to see
// to: what owners do wrong is none of it.
func (i *ingress) wantNoErrors() {
	i.t.Helper()
	_, stderr := i.output()
	for line := range strings.Lines(stderr) {
		if strings.Contains(line, `"level":"ERROR"`) {
			i.t.Errorf("the log has an error: %s", line)
		}
	}
}

func TestRepositoriesThatCannotBeFetched(t *testing.T) {
	i := startPlatform(t, "--allow-local-repos", "--max-source-bytes", "1MiB")
	site := folder(t, map[string]string{"index.html": "hello"})
	good := repository(t, site)
	empty := t.TempDir()
	git(t, empty, "init", "-q", "-b", "main")
	huge := folder(t, map[string]string{"index.html": "hello"})
	noise := make([]byte, 3<<20)
	if _, err := rand.Read(noise); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(huge, "noise"), noise, 0o644); err != nil {
		t.Fatal(err)
	}
	for what, row := range map[string]struct{ repo, branch, path, reason string }{
		"no repository":     {"file://" + filepath.Join(site, "nowhere"), "", "", "no repository"},
		"an empty one":      {"file://" + empty, "", "", "empty"},
		"one too large":     {repository(t, huge), "", "", "MiB"},
		"no such branch":    {good, "nowhere", "", "nowhere"},
		"no such folder":    {good, "", "nowhere", "nowhere"},
		"no server answers": {"https://127.0.0.1:1/a/b", "", "", "port 1"},
	} {
		i.wantFailed(what, row.reason, map[string]any{"repo": row.repo, "branch": row.branch, "path": row.path})
	}
}

func TestLocalRepositoriesAreRefusedUnlessAllowed(t *testing.T) {
	i := startPlatform(t)
	repo := repository(t, folder(t, map[string]string{"index.html": "hello"}))
	for _, address := range []string{repo, strings.TrimPrefix(repo, "file://"), "https://user:secret@example.com/a/b", "ext::sh -c id", "-oProxyCommand=id", "http://example.com/a/b"} {
		status, answer := i.call(bootstrapKey, "app/Run", object(t, map[string]any{"name": "hello", "repo": address}))
		if status != 400 || strings.Contains(fmt.Sprint(answer), "secret") {
			t.Errorf("%s: %d %v", address, status, answer)
		}
	}
	i.wantNothingLeft()
	i.wantNoErrors()
	i.wantCleanLog("secret")
}

// sendArchive uploads bytes as they are.
func (i *ingress) sendArchive(key, archive string) (int, map[string]any) {
	i.t.Helper()
	a := i.do(http.MethodPost, "http://localhost/v1/app/Upload", []string{"Authorization", "Bearer " + key, "Content-Type", "application/octet-stream"}, archive)
	return a.status, decoded(i.t, a)
}

func (i *ingress) uploaded(key, archive string) string {
	i.t.Helper()
	status, answer := i.sendArchive(key, archive)
	if status != 200 {
		i.t.Fatalf("an upload of %d bytes: %d %v", len(archive), status, answer)
	}
	return fmt.Sprint(answer["upload"])
}

// member is a file, or whatever kind says, of an archive.
type member struct {
	name, content, link string
	kind                byte
}

// packed makes a tar.gz.
func packed(t testing.TB, members ...member) string {
	t.Helper()
	var out bytes.Buffer
	z := gzip.NewWriter(&out)
	w := tar.NewWriter(z)
	for _, m := range members {
		if m.kind == 0 {
			m.kind = tar.TypeReg
		}
		err := w.WriteHeader(&tar.Header{Name: m.name, Typeflag: m.kind, Linkname: m.link, Size: int64(len(m.content)), Mode: 0o644})
		if err == nil {
			_, err = w.Write([]byte(m.content))
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	if err := errors.Join(w.Close(), z.Close()); err != nil {
		t.Fatal(err)
	}
	return out.String()
}

func TestHostileArchives(t *testing.T) {
	i := startPlatform(t, "--max-source-bytes", "64MiB", "--max-source-files", "100")
	outside := filepath.Join(filepath.Dir(i.dir), "planted")
	good := packed(t, member{name: "index.html", content: "hello"})
	many := make([]member, 200)
	for n := range many {
		many[n] = member{name: fmt.Sprint("f", n), content: "x"}
	}
	for what, row := range map[string][2]string{
		"..":                 {packed(t, member{name: "../../../../planted", content: "x"}), ".."},
		"an absolute name":   {packed(t, member{name: outside, content: "x"}), "planted"},
		"a link out":         {packed(t, member{name: "out", link: "/etc", kind: tar.TypeSymlink}, member{name: "out/planted", content: "x"}), "out"},
		"a relative link":    {packed(t, member{name: "out", link: "../../../..", kind: tar.TypeSymlink}, member{name: "out/planted", content: "x"}), "out"},
		"a hard link":        {packed(t, member{name: "shadow", link: "/etc/shadow", kind: tar.TypeLink}), "shadow"},
		"a device":           {packed(t, member{name: "disk", kind: tar.TypeBlock}), "disk"},
		"a bomb":             {packed(t, member{name: "zeros", content: strings.Repeat("\x00", 40<<20)}), "expand"},
		"a larger bomb":      {packed(t, member{name: "zeros", content: strings.Repeat("\x00", 80<<20)}), ""},
		"too many files":     {packed(t, many...), "100"},
		"cut off":            {good[:len(good)-20], "archive"},
		"no archive":         {"this is a letter and no archive", "archive"},
		"nothing at all":     {packed(t), "no files"},
		"a zip":              {"PK\x03\x04 and so on", "zip"},
		"a gzip of nonsense": {"\x1f\x8b" + strings.Repeat("nonsense", 100), "gzip"},
	} {
		i.wantFailed(what, row[1], map[string]any{"upload": i.uploaded(bootstrapKey, row[0])})
	}
	if _, err := os.Lstat(outside); !os.IsNotExist(err) {
		t.Errorf("an archive wrote outside of its folder: %v", err)
	}
	i.wantCleanLog()
}

func TestUploadsOfOthersAndOfNobody(t *testing.T) {
	i := startPlatform(t)
	other := makeKey(i, makeTenant(i, "other"), "*")
	upload := i.uploaded(bootstrapKey, packed(t, member{name: "index.html", content: "hello"}))
	for key, ids := range map[string][]string{other: {upload}, bootstrapKey: {"abcdefghijklmnopqrstuvwxyz", "../../ingress.db", upload + "x"}} {
		for _, id := range ids {
			status, answer := i.call(key, "app/Run", object(t, map[string]any{"name": "hello", "upload": id}))
			if status != 400 || !strings.Contains(fmt.Sprint(answer["detail"]), "no such upload") {
				t.Errorf("upload %q: %d %v", id, status, answer)
			}
		}
	}
	i.mustCall("app/Run", object(t, map[string]any{"name": "hello", "upload": upload}))
	if v := i.settled("app", "hello"); v["state"] != "ready" {
		t.Errorf("its owner's app is %v: %v", v["state"], v["reason"])
	}
	status, answer := i.call(bootstrapKey, "app/Run", object(t, map[string]any{"name": "hello", "upload": upload}))
	if status != 400 || !strings.Contains(fmt.Sprint(answer["detail"]), "already running") {
		t.Errorf("a name of one's own: %d %v", status, answer)
	}
	// A name that another tenant has gets an id of its own.
	theirs := i.uploaded(other, packed(t, member{name: "index.html", content: "theirs"}))
	status, answer = i.call(other, "app/Run", object(t, map[string]any{"name": "hello", "upload": theirs}))
	if status != 200 {
		t.Fatalf("a name of another tenant: %d %v", status, answer)
	}
	id := fmt.Sprint(answer["service"].(map[string]any)["id"])
	i.await("their app", func() bool { return i.get(appURL(id, "/")).body == "theirs" })
	if a := i.get(appURL("hello", "/")); id == "hello" || a.body != "hello" {
		t.Errorf("their id is %s, and ours answers %q", id, a.body)
	}
}

func TestBuildsThatGoWrong(t *testing.T) {
	needs(t, "node", "npm")
	// What goes on without end is given up soon; what ends by itself has all the time that
	// it takes on a slow machine.
	hasty := startPlatform(t, "--build-timeout", "6s", "--start-timeout", "2s", "--stop-timeout", "1s")
	patient := startPlatform(t, "--build-log-bytes", "64KiB", "--stop-timeout", "1s")
	for what, row := range map[string]struct {
		i             *ingress
		build, reason string
	}{
		"it fails":              {patient, "echo broken build; exit 4", "4"},
		"it hangs":              {hasty, "sleep 1000", "longer than 6s"},
		"it prints without end": {patient, "yes", "print"},
	} {
		row.i.wantFailed(what, row.reason, map[string]any{"upload": row.i.uploaded(bootstrapKey, packed(t,
			member{name: "package.json", content: fmt.Sprintf(`{"scripts":{"build":%q,"start":"node server.js"}}`, row.build)}, member{name: "server.js"}))})
	}
	for what, row := range map[string]struct {
		i              *ingress
		source, reason string
	}{
		"it never listens":   {hasty, `setInterval(() => {}, 1000)`, ""},
		"it listens on 8080": {hasty, `require("http").createServer().listen(18080, "127.0.0.1")`, ""},
		"it exits at once":   {patient, `console.error("no way"); process.exit(7)`, "no way"},
		"it is no program":   {patient, `this is not JavaScript`, "SyntaxError"},
	} {
		row.i.wantFailed(what, row.reason, map[string]any{"upload": row.i.uploaded(bootstrapKey, nodeUpload(t, row.source))})
	}
}

// nodeUpload packs an app of one file.
func nodeUpload(t testing.TB, source string) string {
	t.Helper()
	return packed(t, member{name: "package.json", content: `{}`}, member{name: "server.js", content: source})
}

func TestAppsThatAnswerGarbage(t *testing.T) {
	needs(t, "node", "npm")
	i := startPlatform(t)
	source := `require("net").createServer(s => { s.on("error", () => {}); s.once("data", d => {
		const path = String(d).split(" ")[1];
		if (path === "/garbage") s.end("this is no HTTP\r\n\r\n");
		else if (path === "/close") s.end();
		else if (path === "/reset") s.resetAndDestroy();
		else if (path === "/early") s.end("HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nonly this");
		else s.end("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok");
	}); }).listen(process.env.PORT, "127.0.0.1");`
	i.mustCall("app/Run", object(t, map[string]any{"name": "hello", "upload": i.uploaded(bootstrapKey, nodeUpload(t, source))}))
	if v := i.settled("app", "hello"); v["state"] != "ready" {
		t.Fatalf("it is %v: %v", v["state"], v["reason"])
	}
	for _, path := range []string{"/garbage", "/close", "/reset"} {
		if a := i.get(appURL("hello", path)); a.status != 502 {
			t.Errorf("%s: got %d, %s", path, a.status, a.header.Get("X-Ingress-Error"))
		}
	}
	res, err := i.client().Get(appURL("hello", "/early"))
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	if body, err := io.ReadAll(res.Body); err == nil {
		t.Errorf("an answer that breaks off is passed on as whole: %q", body)
	}
	if a := i.get(appURL("hello", "/")); a.status != 200 || a.body != "ok" {
		t.Errorf("afterwards: %d %q", a.status, a.body)
	}
	i.mustCall("app/Delete", `{"name":"hello"}`)
	i.wantNothingLeft()
}

func TestDeletingWhileBuilding(t *testing.T) {
	needs(t, "node", "npm")
	i := startPlatform(t)
	slow := packed(t, member{name: "package.json", content: `{"scripts":{"build":"echo begun; sleep 1000","start":"node server.js"}}`}, member{name: "server.js"})
	i.mustCall("app/Run", object(t, map[string]any{"name": "hello", "upload": i.uploaded(bootstrapKey, slow)}))
	i.await("the build to begin", func() bool { return strings.Contains(i.logs("app", "hello", "build"), "begun\n") })
	i.mustCall("app/Delete", `{"name":"hello"}`)
	i.wantNothingLeft()
	// The name is free again, and nothing of the first app gets in its way.
	i.mustCall("app/Run", object(t, map[string]any{"name": "hello", "upload": i.uploaded(bootstrapKey, packed(t, member{name: "index.html", content: "second"}))}))
	if v := i.settled("app", "hello"); v["state"] != "ready" || i.get(appURL("hello", "/")).body != "second" {
		t.Errorf("the second app is %v: %v", v["state"], v["reason"])
	}
	i.wantNoErrors()
}

func TestUpdatesAtOnce(t *testing.T) {
	i := startPlatform(t)
	site := func(n int) string {
		return object(t, map[string]any{"name": "hello", "upload": i.uploaded(bootstrapKey, packed(t, member{name: "index.html", content: fmt.Sprint("version ", n)}))})
	}
	i.mustCall("app/Run", site(1))
	i.settled("app", "hello")
	var updates sync.WaitGroup
	for n := range 4 {
		body := site(n + 2)
		updates.Go(func() {
			if status, answer := i.call(bootstrapKey, "app/Update", body); status != 200 {
				t.Errorf("an update: %d %v", status, answer)
			}
		})
	}
	updates.Wait()
	newest := i.settled("app", "hello")
	if newest["number"] != "5" || newest["state"] != "ready" || newest["current"] != true {
		t.Errorf("the newest version: %v", newest)
	}
	for _, v := range i.versions("app", "hello")[1:] {
		if v["state"] != "stopped" && v["state"] != "draining" {
			t.Errorf("an older version: %v", v)
		}
	}
	if a := i.get(appURL("hello", "/")); a.status != 200 || !strings.HasPrefix(a.body, "version ") {
		t.Errorf("got %d %q", a.status, a.body)
	}
	i.wantNoErrors()
	i.mustCall("app/Delete", `{"name":"hello"}`)
	i.wantNothingLeft()
}
