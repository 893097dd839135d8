package main_test

import (
	"bufio"
	"bytes"
	"compress/gzip"
	"crypto/rand"
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/m3o/ingress/internal/certs/acmetest"
	"github.com/m3o/ingress/internal/domain/domaintest"
	"github.com/m3o/ingress/internal/store"
	"github.com/m3o/ingress/internal/store/storetest"
)

// The database through the whole program: what an operator does to move it.

// otherSecretKey is one that seals nothing.
var otherSecretKey = strings.Repeat("0f", 32)

// dbCommand runs ingress db. Variables come before the arguments.
type dbCommand struct {
	t   *testing.T
	env []string
}

// must runs a command that must succeed.
func (d dbCommand) must(args ...string) (stdout, stderr string) {
	d.t.Helper()
	stdout, stderr, code := runProgram(d.t, d.env, append([]string{"db"}, args...)...)
	if code != 0 {
		d.t.Fatalf("ingress db %s: exit code %d\n%s%s", strings.Join(args, " "), code, stdout, stderr)
	}
	return stdout, stderr
}

// refuse runs a command that must fail and say all of the texts.
func (d dbCommand) refuse(says []string, args ...string) {
	d.t.Helper()
	stdout, stderr, code := runProgram(d.t, d.env, append([]string{"db"}, args...)...)
	if code == 0 || stdout != "" || strings.Count(stderr, "\n") > 3 {
		d.t.Errorf("ingress db %s: exit code %d\n%s%s", strings.Join(args, " "), code, stdout, stderr)
	}
	for _, text := range says {
		if !strings.Contains(stderr, text) {
			d.t.Errorf("ingress db %s lacks %q:\n%s", strings.Join(args, " "), text, stderr)
		}
	}
}

// dbSums are the sums of all tables, as an export prints them.
func (d dbCommand) sums(args ...string) string {
	d.t.Helper()
	stdout, _ := d.must(append([]string{"export", "--json", filepath.Join(d.t.TempDir(), "export.gz")}, args...)...)
	var done struct {
		Tables []struct {
			Table, SHA256 string
			Records       int64
		}
	}
	if err := json.Unmarshal([]byte(stdout), &done); err != nil || len(done.Tables) < 20 {
		d.t.Fatalf("an export says %s, %v", stdout, err)
	}
	return fmt.Sprint(done.Tables)
}

// dbStatus is what db status --json says.
type dbStatus struct {
	Engine, Database, Server string
	Shared, Exists           bool
	Schema, Bytes            int64
	Known                    int64 `json:"schema_known"`
	Tables                   []struct {
		Table   string
		Records int64
	}
	Connections []struct {
		Name  string
		Count int64
	}
}

func (d dbCommand) status(args ...string) (s dbStatus) {
	d.t.Helper()
	stdout, _ := d.must(append([]string{"status", "--json"}, args...)...)
	if err := json.Unmarshal([]byte(stdout), &s); err != nil {
		d.t.Fatal(err)
	}
	return s
}

// platform is an ingress with something in every corner of its database.
type movedPlatform struct {
	t       *testing.T
	ca      *acmetest.Server
	args    []string
	key     string // of the tenant acme
	session string
}

const movedPassword = "correct horse battery"

// populate does what tenants, their users and visitors do.
func (m *movedPlatform) populate(i *ingress, zone *domaintest.Zone) {
	m.t.Helper()
	backend := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { fmt.Fprint(w, "the shop") }))
	m.t.Cleanup(backend.Close)
	tenant := i.mustCall("api/tenants/create", `{"name":"acme"}`)["tenant"].(map[string]any)["id"]
	m.key = i.mustCall("api/keys/generate", fmt.Sprintf(`{"scopes":["url","user"],"description":"Ünïcödé","tenant":%q}`, tenant))["api_key"].(string)
	for n := range 30 {
		i.mustCall("url/create", fmt.Sprintf(`{"id":"docs-%d","destinationURL":"https://example.com/%d?a=b&c=%%20"}`, n, n))
	}
	i.mustCall("url/delete", `{"id":"docs-29"}`)
	i.mustCall("user/create", `{"email":"jane@example.com","username":"jane","password":"`+movedPassword+`","profile":{"colour":"blue \u0000"}}`)
	i.mustCall("user/create", `{"email":"john@example.com","password":"`+movedPassword+`"}`)
	m.session = i.mustCall("user/login", `{"email":"jane@example.com","password":"`+movedPassword+`"}`)["session"].(map[string]any)["id"].(string)
	i.mustCall("app/run", fmt.Sprintf(`{"name":"shop","backend":%q,"env_vars":{"SECRET":"blue"}}`, backend.URL))
	i.mustCall("function/deploy", fmt.Sprintf(`{"name":"greet","backend":%q}`, backend.URL))
	i.mustCall("function/Deploy", object(m.t, map[string]any{"name": "hello", "runtime": "python", "source": pythonSource, "entrypoint": "hello", "env_vars": map[string]string{"COLOUR": "blue"}}))
	if v := i.settled("function", "hello"); v["state"] != "ready" {
		m.t.Fatalf("the function is %v", v)
	}
	if _, stderr, code := i.run(nil, "config", "set", "micro.user.verify_email_url", "https://m3o.test/verify"); code != 0 {
		m.t.Fatal(stderr)
	}
	_, port, err := net.SplitHostPort(i.listen)
	if err != nil {
		m.t.Fatal(err)
	}
	zone.Set(m.t, "www.example.com. CNAME shop.apps.test.")
	if _, stderr, code := i.run([]string{"INGRESS_ADDRESS=http://localhost:" + port}, "app", "domain", "add", "shop", "www.example.com"); code != 0 {
		m.t.Fatal(stderr)
	}
	m.check(i)
}

// check asks an ingress for everything, which must be as it was.
func (m *movedPlatform) check(i *ingress) {
	m.t.Helper()
	m.ca.Reach(i.listen, i.tlsAddress())
	if a := i.get("http://localhost/u/docs-7"); a.status != 302 || a.header.Get("Location") != "https://example.com/7?a=b&c=%20" {
		m.t.Errorf("a link answers %d %v", a.status, a.header)
	}
	if a := i.get("http://localhost/u/docs-29"); a.status != 404 {
		m.t.Errorf("a deleted link answers %d", a.status)
	}
	if _, body, err := i.getSecurely(m.ca.Roots, "https://www.example.com/"); err != nil || body != "the shop" {
		m.t.Errorf("the app's own domain answers %q, %v", body, err)
	}
	if status, got := i.call(m.key, "url/list", `{}`); status != 200 {
		m.t.Errorf("a tenant's key: %d %v", status, got)
	}
	if status, _ := i.call("wrong-"+m.key, "url/list", `{}`); status != 401 {
		m.t.Errorf("a wrong key: %d", status)
	}
	if got := i.mustCall("user/readSession", fmt.Sprintf(`{"session_id":%q}`, m.session)); got["session"] == nil {
		m.t.Errorf("a session is %v", got)
	}
	i.mustCall("user/login", `{"username":"jane","password":"`+movedPassword+`"}`)
	if status, got := i.call(bootstrapKey, "url/create", `{"id":"docs-7","destinationURL":"https://example.com/"}`); status == 200 {
		m.t.Errorf("an id is given twice: %v", got)
	}
	if got := fmt.Sprint(i.mustCall("app/list", `{}`)); !strings.Contains(got, "shop") {
		m.t.Errorf("the apps are %s", got)
	}
}

// TestAPlatformMovesToPostgreSQLAndBack follows an operator from one machine to a
// shared database, and back to a file on another machine.
func TestAPlatformMovesToPostgreSQLAndBack(t *testing.T) {
	needs(t, "python3")
	server := storetest.StartPostgres(t)
	url, spare := server.CreateDatabase(t), server.CreateDatabase(t)
	zone, ca := domaintest.NewZone(t), acmetest.New(t, validity)
	m := &movedPlatform{t: t, ca: ca, args: acmeArgs(ca, "--dns-server", zone.Address)}
	dir := shortTempDir(t)
	endAppsOf(t, dir)
	first := startIngressIn(t, dir, nil, m.args...)
	m.populate(first, zone)
	orders := ca.Orders()

	secret, err := os.ReadFile(filepath.Join(dir, "secret.key"))
	if err != nil {
		t.Fatal(err)
	}
	ours := dbCommand{t, []string{"INGRESS_SECRET_KEY=" + strings.TrimSpace(string(secret))}}
	move := []string{"import", "--from", dir, "--database", url}
	ours.refuse([]string{"an ingress is running on " + dir, "Stop it first"}, move...)
	live := ours.status("--data-dir", dir)
	first.stop()

	// What would go wrong is refused, and leaves nothing.
	dbCommand{t, nil}.refuse([]string{"INGRESS_SECRET_KEY is not set"}, move...)
	dbCommand{t, []string{"INGRESS_SECRET_KEY=" + otherSecretKey}}.refuse([]string{"not the secret key in " + filepath.Join(dir, "secret.key")}, move...)
	if s := ours.status("--database", url); s.Schema != 0 || len(s.Tables) != 0 || !s.Shared || s.Engine != "PostgreSQL" {
		t.Errorf("before the move the database is %+v", s)
	}
	before := ours.sums("--data-dir", dir)
	stdout, stderr := ours.must(move...)
	t.Logf("the operator sees\n%s%s", stdout, stderr)
	for _, want := range []string{"links ", "accounts ", "run nothing from source, as these apps and functions (1) do: function hello", filepath.Join(dir, "bootstrap.key")} {
		if !strings.Contains(stderr, want) {
			t.Errorf("moving lacks %q:\n%s", want, stderr)
		}
	}
	if !strings.Contains(stdout, "records in 20 tables") || strings.Contains(stdout+stderr, strings.TrimSpace(string(secret))) {
		t.Errorf("moving says %s", stdout)
	}
	if got := ours.sums("--database", url); got != before {
		t.Errorf("PostgreSQL has\n%s\nwant\n%s", got, before)
	}
	ours.refuse([]string{"has data already", "links", "createdb"}, move...)

	m.restoreWithAnotherKey(ours, dir, spare)

	// Back into a file, before anybody has written more.
	back := filepath.Join(filepath.Dir(dir), "back")
	home := []string{"import", "--from", url, "--data-dir", back}
	_, stderr = dbCommand{t, nil}.must(home...)
	for _, want := range []string{"from now on is not included", filepath.Join(back, "secret.key"), filepath.Join(back, "bootstrap.key"), "(1) are not copied: function hello"} {
		if !strings.Contains(stderr, want) {
			t.Errorf("moving back lacks %q:\n%s", want, stderr)
		}
	}
	if got := ours.sums("--data-dir", back); got != before {
		t.Errorf("back in SQLite there is\n%s\nwant\n%s", got, before)
	}
	dbCommand{t, nil}.refuse([]string{"has data already", "--data-dir"}, home...)
	if got, want := ours.status("--data-dir", back).Tables, live.Tables; len(got) != len(want) || len(got) < 20 {
		t.Errorf("the tables are %v, want %v", got, want)
	}

	node := startIngressIn(t, filepath.Join(filepath.Dir(dir), "node"), ours.env, append(m.args, "--database", url)...)
	m.check(node)
	if got := node.mustCall("url/list", `{"id":"docs-7"}`); !strings.Contains(fmt.Sprint(got), "docs-7") {
		t.Errorf("a link is %v", got)
	}
	// Why it answers nobody, the operator is told without a visit, which would order a
	// certificate.
	if out, stderr, code := node.run(nil, "explain", "https://hello.fn.test/"); code != 0 || !strings.Contains(out, "elsewhere") || !strings.Contains(out, "one of several") {
		t.Errorf("a function that ran from source: %d %s%s", code, out, stderr)
	}
	s := ours.status("--database", url)
	if len(s.Connections) == 0 || s.Connections[0].Count < 1 || s.Server == "" || s.Bytes < 1<<20 || s.Schema != s.Known {
		t.Errorf("with an ingress on it the database is %+v", s)
	}
	node.stop()

	if err := os.WriteFile(filepath.Join(back, "secret.key"), secret, 0o600); err != nil {
		t.Fatal(err)
	}
	last := startIngressIn(t, back, nil, m.args...)
	m.check(last)
	if got := ca.Orders(); got != orders {
		t.Errorf("%d certificates were ordered anew", got-orders)
	}
	last.stop()
}

// restoreWithAnotherKey imports a file, which has no secret key to compare with: the
// operator is warned, and can still start with the right one, and then with no other.
func (m *movedPlatform) restoreWithAnotherKey(right dbCommand, dir, url string) {
	m.t.Helper()
	file := filepath.Join(m.t.TempDir(), "export.gz")
	right.must("export", file, "--data-dir", dir)
	wrong := dbCommand{m.t, []string{"INGRESS_SECRET_KEY=" + otherSecretKey}}
	if _, stderr := wrong.must("import", file, "--database", url); !strings.Contains(stderr, "not among those given") {
		m.t.Errorf("with another secret key an import says\n%s", stderr)
	}
	node := filepath.Join(filepath.Dir(dir), "spare")
	i := startIngressIn(m.t, node, right.env, append(m.args, "--database", url)...)
	m.check(i)
	i.stop()
	other := launch(m.t, node, wrong.env, append(m.args, "--database", url)...)
	if err := other.wait(); err == nil {
		m.t.Error("an ingress with another secret key starts")
	}
	if _, stderr := other.output(); !strings.Contains(stderr, "another INGRESS_SECRET_KEY") {
		m.t.Errorf("an ingress with another secret key says\n%s", stderr)
	}
}

// TestABackupIsRestored goes through a file, and standard input and output.
func TestABackupIsRestored(t *testing.T) {
	i := startIngress(t)
	for n := range 5 {
		i.mustCall("url/create", fmt.Sprintf(`{"id":"docs-%d","destinationURL":"https://example.com/"}`, n))
	}
	here := dbCommand{t, []string{"INGRESS_DATA_DIR=" + i.dir}}
	folder := t.TempDir()
	file := filepath.Join(folder, "backup.gz")
	here.must("export", file) // while it runs
	info, err := os.Stat(file)
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Fatalf("the file is %v, %v", info, err)
	}
	here.refuse([]string{"the file is there already"}, "export", file)
	here.refuse([]string{"there is no folder " + filepath.Join(folder, "none")}, "export", filepath.Join(folder, "none", "backup.gz"))
	if all, err := os.ReadDir(folder); err != nil || len(all) != 1 {
		t.Errorf("in the folder there are %v, %v", all, err)
	}
	here.refuse([]string{"an ingress is running on " + i.dir}, "import", file)
	here.refuse([]string{"an ingress is running on " + i.dir}, "migrate")
	i.stop()

	piped, _ := here.must("export", "-")
	if zipped, err := gzip.NewReader(strings.NewReader(piped)); err != nil || zipped.Close() != nil {
		t.Errorf("standard output is no export: %v", err)
	}
	content, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	cut := filepath.Join(folder, "cut.gz")
	if err := os.WriteFile(cut, content[:len(content)-20], 0o600); err != nil {
		t.Fatal(err)
	}
	elsewhere := filepath.Join(folder, "data")
	there := dbCommand{t, []string{"INGRESS_DATA_DIR=" + elsewhere}}
	there.refuse([]string{"give either a file or --from"}, "import")
	there.refuse([]string{"give either a file or --from"}, "import", file, "--from", i.dir)
	there.refuse([]string{"are the same"}, "import", "--from", i.dir, "--data-dir", i.dir)
	there.refuse([]string{"no database at"}, "import", "--from", folder)
	there.refuse([]string{"no such file"}, "import", filepath.Join(folder, "none.gz"))
	there.refuse([]string{"no export"}, "import", filepath.Join(i.dir, "secret.key"))
	there.refuse([]string{"password"}, "import", "--from", "postgres://a:b@localhost/c")
	if all, err := os.ReadDir(folder); err != nil || len(all) != 2 {
		t.Errorf("refusing made %v, %v", all, err)
	}
	if _, stderr, code := runProgram(t, there.env, "db", "import", cut); code == 0 || !strings.Contains(stderr, "the file ends here") {
		t.Errorf("a cut file: exit code %d, %s", code, stderr)
	}
	if s := there.status(); !s.Exists || slices.ContainsFunc(s.Tables, func(t struct {
		Table   string
		Records int64
	}) bool {
		return t.Records > 0
	}) {
		t.Errorf("a cut file left %+v", s)
	}
	there.must("import", file)
	again := startIngressIn(t, elsewhere, nil)
	if a := again.get("http://localhost/u/docs-4"); a.status != 302 {
		t.Errorf("a link answers %d", a.status)
	}
	again.stop()
}

// TestAfterACrashNothingIsLeftBehind: what was acknowledged last is in the write-ahead
// log alone.
func TestAfterACrashNothingIsLeftBehind(t *testing.T) {
	i := startIngress(t)
	i.mustCall("url/create", `{"id":"first","destinationURL":"https://example.com/"}`)
	i.mustCall("url/create", `{"id":"last","destinationURL":"https://example.com/"}`)
	i.kill()
	folder := t.TempDir()
	d := dbCommand{t, []string{"INGRESS_DATA_DIR=" + i.dir}}
	links := func(s dbStatus) int64 {
		for _, table := range s.Tables {
			if table.Table == "links" {
				return table.Records
			}
		}
		return -1
	}
	if got := links(d.status()); got != 2 {
		t.Errorf("the status says that there are %d links", got)
	}
	d.must("import", "--from", i.dir, "--data-dir", filepath.Join(folder, "one"))
	d.must("export", filepath.Join(folder, "file.gz"))
	d.must("import", filepath.Join(folder, "file.gz"), "--data-dir", filepath.Join(folder, "two"))
	for _, dir := range []string{"one", "two"} {
		if got := links(d.status("--data-dir", filepath.Join(folder, dir))); got != 2 {
			t.Errorf("in %s there are %d links", dir, got)
		}
	}
}

// TestAKilledImportLeavesNothing kills one that has written much and waits for more.
func TestAKilledImportLeavesNothing(t *testing.T) {
	source := storetest.Open(t)
	err := source.Write(t.Context(), func(tx *store.Tx) error {
		for n := range 5000 {
			if _, err := tx.ExecContext(t.Context(), "INSERT INTO links (id, tenant, destination, created) VALUES ($1, 'a', $2, 1)", fmt.Sprint(n), rand.Text()); err != nil {
				return err
			}
		}
		_, err := tx.ExecContext(t.Context(), "INSERT INTO tenants (id, name, created) VALUES ('a', 'a', 1)")
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	var file bytes.Buffer
	if _, err := source.Export(t.Context(), &file, nil); err != nil {
		t.Fatal(err)
	}
	url := storetest.StartPostgres(t).CreateDatabase(t)
	for name, where := range map[string][]string{
		"SQLite": {"--data-dir", filepath.Join(t.TempDir(), "data")}, "PostgreSQL": {"--database", url},
	} {
		t.Run(name, func(t *testing.T) {
			d := dbCommand{t, []string{"INGRESS_SECRET_KEY=" + otherSecretKey}}
			killImport(t, d, file.Bytes(), where)
			s := d.status(where...)
			for _, table := range s.Tables {
				if table.Records != 0 {
					t.Errorf("%s has %d records", table.Table, table.Records)
				}
			}
			if len(s.Tables) < 20 {
				t.Errorf("the tables are %v", s.Tables)
			}
			path := filepath.Join(t.TempDir(), "file.gz")
			if err := os.WriteFile(path, file.Bytes(), 0o600); err != nil {
				t.Fatal(err)
			}
			d.must(append([]string{"import", path}, where...)...)
		})
	}
}

// killImport imports most of a file and kills the program when it has told of a table.
func killImport(t *testing.T, d dbCommand, file []byte, where []string) {
	t.Helper()
	cmd := exec.Command(binary(t), append([]string{"db", "import", "-"}, where...)...)
	cmd.Env = append([]string{"HOME=" + t.TempDir()}, d.env...)
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	said, err := cmd.StderrPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	timer := time.AfterFunc(deadline, func() { _ = cmd.Process.Kill() })
	defer timer.Stop()
	if _, err := in.Write(file[:len(file)-1000]); err != nil {
		t.Error(err)
	}
	told := false
	for lines := bufio.NewScanner(said); !told && lines.Scan(); {
		told = strings.HasPrefix(lines.Text(), "keys ")
	}
	if err := cmd.Process.Kill(); err != nil {
		t.Error(err)
	}
	_ = cmd.Wait() // "signal: killed"
	if !told {
		t.Error("the program told of no table")
	}
}

func TestLookingMakesNoDatabase(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "data")
	d := dbCommand{t, []string{"INGRESS_DATA_DIR=" + dir}}
	if s := d.status(); s.Exists || s.Engine != "SQLite" || s.Database != filepath.Join(dir, "ingress.db") {
		t.Errorf("where there is none the status is %+v", s)
	}
	d.refuse([]string{"no database at"}, "export", filepath.Join(dir, "backup.gz"))
	d.refuse([]string{"name the file to make"}, "export", "")
	if _, err := os.Stat(dir); err == nil {
		t.Error("looking made the directory")
	}
	if stdout, _ := d.must("migrate"); !strings.Contains(stdout, "from 0 to ") {
		t.Errorf("the first migration says %s", stdout)
	}
	if stdout, _ := d.must("migrate"); !strings.Contains(stdout, "up to date already") {
		t.Errorf("the second says %s", stdout)
	}
	before := filesOf(t, dir)
	if stdout, _ := d.must("status"); !strings.Contains(stdout, "up to date") || !strings.Contains(stdout, "links") {
		t.Errorf("the status is\n%s", stdout)
	}
	if after := filesOf(t, dir); !slices.Equal(after, before) {
		t.Errorf("looking changed the files from %q to %q", before, after)
	}

	url := storetest.StartPostgres(t).CreateDatabase(t)
	if s := d.status("--database", url); s.Schema != 0 || !s.Exists {
		t.Errorf("an empty database is %+v", s)
	}
	shared := append(d.env, "INGRESS_DATABASE="+url, "INGRESS_SECRET_KEY="+clusterSecret)
	if stdout, stderr, code := runProgram(t, shared, "config", "get", "micro.app.domain"); code != 0 || stdout != "app.localhost\n" {
		t.Errorf("a setting of an empty database: exit code %d\n%s%s", code, stdout, stderr)
	}
	if s := d.status("--database", url); s.Schema != 0 {
		t.Errorf("looking at a setting brought the schema to %d", s.Schema)
	}
	if stdout, _ := d.must("migrate", "--database", url); !strings.Contains(stdout, "from 0 to ") || !strings.Contains(stdout, url) {
		t.Errorf("the first migration says %s", stdout)
	}
	for _, args := range [][]string{{"set", "micro.app.domain", "apps.test"}, {"get", "micro.app.domain"}} {
		if stdout, stderr, code := runProgram(t, shared, append([]string{"config"}, args...)...); code != 0 || args[0] == "get" && stdout != "apps.test\n" {
			t.Errorf("%v: exit code %d\n%s%s", args, code, stdout, stderr)
		}
	}
	settings := filepath.Join(t.TempDir(), "ingress.yaml")
	if err := os.WriteFile(settings, []byte("database: "+url+"\napps-domain: apps.test\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if s := d.status("--config", settings); !s.Shared || s.Database != url {
		t.Errorf("with a configuration file the status is %+v", s)
	}
	secret := strings.Replace(url, "tests@", "tests:hidden@", 1)
	stdout, stderr, code := runProgram(t, append(d.env, "INGRESS_DATABASE="+secret), "db", "status")
	if code != 0 || strings.Contains(stdout+stderr, "hidden") || !strings.Contains(stdout, "PostgreSQL") {
		t.Errorf("with a password: exit code %d\n%s%s", code, stdout, stderr)
	}
}

// filesOf are the files of a directory with what is in them.
func filesOf(t *testing.T, dir string) (all []string) {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		content, err := os.ReadFile(filepath.Join(dir, e.Name()))
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, fmt.Sprintf("%s %d %x", e.Name(), len(content), bytes.Clone(content[:min(len(content), 100)])))
	}
	return all
}
