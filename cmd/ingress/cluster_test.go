package main_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/m3o/ingress/internal/certs/acmetest"
	"github.com/m3o/ingress/internal/store"
	"github.com/m3o/ingress/internal/store/storetest"
)

// clusterSecret is the secret key of all nodes under test.
const clusterSecret = "000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f"

// cluster is any number of ingresses on one database.
type cluster struct {
	t      testing.TB
	server *storetest.Server
	url    string
}

func newCluster(t testing.TB) *cluster {
	t.Helper()
	server := storetest.StartPostgres(t)
	return &cluster{t: t, server: server, url: server.CreateDatabase(t)}
}

func (c *cluster) env() []string {
	return []string{"INGRESS_DATABASE=" + c.url, "INGRESS_SECRET_KEY=" + clusterSecret}
}

// node starts one more ingress.
func (c *cluster) node(args ...string) *ingress {
	c.t.Helper()
	return startIngressIn(c.t, shortTempDir(c.t), c.env(), args...)
}

// nodes starts several, one after the other.
func (c *cluster) nodes(n int, args ...string) []*ingress {
	c.t.Helper()
	all := make([]*ingress, n)
	for i := range all {
		all[i] = c.node(args...)
	}
	return all
}

// named is a backend that answers with its name.
func named(t testing.TB, name string) (url string) {
	t.Helper()
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, name) }))
	t.Cleanup(s.Close)
	return s.URL
}

// shortened returns the id of a new link.
func (i *ingress) shortened(destination string) string {
	i.t.Helper()
	link, _ := i.mustCall("url/Shorten", fmt.Sprintf(`{"destinationURL":%q}`, destination))["shortURL"].(string)
	return link[strings.LastIndex(link, "/")+1:]
}

// awaitStatus waits until a GET has a status.
func (i *ingress) awaitStatus(url string, status int) {
	i.t.Helper()
	i.await(fmt.Sprintf("%s to answer %d", url, status), func() bool { return i.get(url).status == status })
}

func TestNodesShareWhatIsStored(t *testing.T) {
	t.Parallel()
	c := newCluster(t)
	nodes := c.nodes(3)
	one, two, three := nodes[0], nodes[1], nodes[2]

	link := one.shortened("https://example.com/there")
	for _, n := range nodes {
		if a := n.get("http://localhost/u/" + link); a.status != http.StatusFound || a.header.Get("Location") != "https://example.com/there" {
			t.Errorf("the link of another node: %d %v", a.status, a.header)
		}
	}
	two.mustCall("url/Update", fmt.Sprintf(`{"shortURL":"http://localhost/u/%s","destinationURL":"https://example.com/elsewhere"}`, link))
	for _, n := range nodes {
		n.await("the link to lead elsewhere", func() bool {
			return n.get("http://localhost/u/"+link).header.Get("Location") == "https://example.com/elsewhere"
		})
	}
	three.mustCall("url/Delete", fmt.Sprintf(`{"shortURL":"http://localhost/u/%s"}`, link))
	for _, n := range nodes {
		n.awaitStatus("http://localhost/u/"+link, http.StatusNotFound)
	}

	one.mustCall("app/Run", fmt.Sprintf(`{"name":"hello","backend":%q}`, named(t, "first")))
	for _, n := range nodes {
		if a := n.get("http://hello.app.localhost/"); a.body != "first" {
			t.Errorf("the app of another node: %d %s", a.status, a.body)
		}
	}
	two.mustCall("app/Update", fmt.Sprintf(`{"name":"hello","backend":%q}`, named(t, "second")))
	for _, n := range nodes {
		n.await("the app to have moved", func() bool { return n.get("http://hello.app.localhost/").body == "second" })
	}
	one.mustCall("app/Delete", `{"name":"hello"}`)
	for _, n := range nodes {
		n.awaitStatus("http://hello.app.localhost/", http.StatusNotFound)
	}
}

func TestNodesShareKeysAndSettings(t *testing.T) {
	t.Parallel()
	c := newCluster(t)
	nodes := c.nodes(2)
	made := nodes[0].mustCall("api/keys/Generate", `{"description":"shared","scopes":["helloworld"]}`)
	secret, _ := made["api_key"].(string)
	id, _ := made["api_key_id"].(string)
	if secret == "" {
		t.Fatalf("generated %v", made)
	}
	works := func(n *ingress) bool {
		status, _ := n.call(secret, "helloworld/Call", `{"name":"x"}`)
		return status == http.StatusOK
	}
	for _, n := range nodes {
		if !works(n) {
			t.Error("the key does not work on every node")
		}
	}
	nodes[1].mustCall("api/keys/Revoke", fmt.Sprintf(`{"id":%q}`, id))
	for _, n := range nodes {
		n.await("the key to be refused", func() bool { return !works(n) })
	}
	// A setting that is stored by one is in force on all.
	_, stderr, code := nodes[0].run(nil, "config", "set", "apps-domain", "apps.example")
	if code != 0 {
		t.Fatal(stderr)
	}
	nodes[0].mustCall("app/Run", fmt.Sprintf(`{"name":"hello","backend":%q}`, named(t, "hello")))
	for _, n := range nodes {
		n.await("the new domain", func() bool { return n.get("http://hello.apps.example/").body == "hello" })
		n.awaitStatus("http://hello.app.localhost/", http.StatusNotFound)
	}
}

// Of nodes that start together on an empty database one makes the schema, and one the
// key.
func TestManyNodesStartAtOnce(t *testing.T) {
	t.Parallel()
	c := newCluster(t)
	nodes := make([]*ingress, 5)
	for n := range nodes {
		nodes[n] = launch(t, shortTempDir(t), append(c.env(), "INGRESS_BOOTSTRAP_KEY="))
	}
	var keys []string
	for _, n := range nodes {
		n.started()
		if content, err := os.ReadFile(filepath.Join(n.dir, "bootstrap.key")); err == nil {
			keys = append(keys, strings.TrimSpace(string(content)))
		}
	}
	if len(keys) != 1 {
		t.Fatalf("%d nodes keep a bootstrap key, want 1", len(keys))
	}
	for _, n := range nodes {
		if status, answer := n.call(keys[0], "helloworld/Call", `{"name":"x"}`); status != http.StatusOK {
			t.Errorf("the key on one of the nodes: %d %v", status, answer)
		}
	}
	// It stays when one that has none starts again, and the one that has it.
	for _, n := range nodes[:2] {
		n.stop()
		again := launch(t, n.dir, append(c.env(), "INGRESS_BOOTSTRAP_KEY=")).started()
		if status, answer := again.call(keys[0], "helloworld/Call", `{"name":"x"}`); status != http.StatusOK {
			t.Errorf("the key after a start: %d %v", status, answer)
		}
	}
}

func TestANodeWithAnotherSecretKeyDoesNotStart(t *testing.T) {
	t.Parallel()
	c := newCluster(t)
	c.node()
	dir := shortTempDir(t)
	env := []string{"INGRESS_DATABASE=" + c.url, "INGRESS_SECRET_KEY=" + strings.Repeat("ef", 32), "INGRESS_DATA_DIR=" + dir}
	_, stderr, code := runProgram(t, env, "serve", "--listen", "127.0.0.1:0", "--admin-listen", "")
	if code != 1 || !strings.Contains(stderr, "another INGRESS_SECRET_KEY") || strings.Count(stderr, "\n") != 1 {
		t.Errorf("it ended with %d and said %s", code, stderr)
	}
	if strings.Contains(stderr, "efef") {
		t.Error("it shows the key")
	}
}

func TestANodeOfSeveralRunsNoCode(t *testing.T) {
	t.Parallel()
	n := newCluster(t).node()
	for path, body := range map[string]string{
		"app/Run":         `{"name":"hello","repo":"https://example.com/a/b"}`,
		"function/Deploy": `{"name":"hello","source":"x","runtime":"nodejs"}`,
	} {
		status, answer := n.call(bootstrapKey, path, body)
		detail, _ := answer["detail"].(string)
		if status != http.StatusBadRequest || !strings.Contains(detail, "one of several") || !strings.Contains(detail, "--backend") {
			t.Errorf("%s: %d %v", path, status, answer)
		}
	}
	if _, answer := n.call(bootstrapKey, "function/Runtimes", `{}`); fmt.Sprint(answer["runtimes"]) != "[]" {
		t.Errorf("the languages are %v", answer)
	}
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "index.html"), []byte("hello"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, stderr, code := n.run(nil, "app", "run", "hello", "--dir", dir); code == 0 || !strings.Contains(stderr, "one of several") {
		t.Errorf("a folder: %d %s", code, stderr)
	}
	// A registered backend has all that its settings say.
	n.mustCall("app/Run", fmt.Sprintf(`{"name":"hello","backend":%q,"env_vars":{"A":"b"}}`, named(t, "hello")))
	if a := n.get("http://hello.app.localhost/"); a.body != "hello" {
		t.Errorf("the app: %d %s", a.status, a.body)
	}
}

// fault is something that happens to the database, and its end.
type fault struct {
	name     string
	down, up func() error
}

func (c *cluster) faults() []fault {
	restart := func() error { return c.server.Start(context.Background()) }
	return []fault{
		{"stopped", c.server.Stop, restart},
		{"killed", c.server.Kill, restart},
		{"paused", c.server.Pause, c.server.Resume},
	}
}

// What is known keeps working while the database is away; what cannot be known is
// said to be; writes are refused; and afterwards all is as it should be.
func TestTheDatabaseGoesAwayAndComesBack(t *testing.T) {
	t.Parallel()
	c := newCluster(t)
	nodes := c.nodes(2)
	one, two := nodes[0], nodes[1]
	link := one.shortened("https://example.com/")
	one.mustCall("app/Run", fmt.Sprintf(`{"name":"hello","backend":%q}`, named(t, "hello")))
	for _, f := range c.faults() {
		t.Run(f.name, func(t *testing.T) {
			made := time.Now()
			for _, n := range nodes { // so that each knows them, and has no news that makes it forget them
				n.awaitLook(made)
				n.awaitStatus("http://localhost/u/"+link, http.StatusFound)
				n.awaitStatus("http://hello.app.localhost/", http.StatusOK)
				n.mustCall("helloworld/Call", `{"name":"x"}`)
			}
			if err := f.down(); err != nil {
				t.Fatal(err)
			}
			for _, n := range nodes {
				n.await("the node to be degraded", func() bool { return strings.Contains(n.adminGet("/readyz"), "degraded") })
				if a := n.get("http://localhost/u/" + link); a.status != http.StatusFound {
					t.Errorf("a known link: %d", a.status)
				}
				if a := n.get("http://hello.app.localhost/"); a.body != "hello" {
					t.Errorf("a known app: %d %s", a.status, a.body)
				}
				n.mustCall("helloworld/Call", `{"name":"x"}`) // a known key
				for unknown, route := range map[string]string{"http://localhost/u/unknown": "link", "http://unknown.app.localhost/": "app"} {
					if a := n.get(unknown); a.status != http.StatusServiceUnavailable || a.header.Get("X-Ingress-Error") != "platform_down" {
						t.Errorf("an unknown %s: %d %v", route, a.status, a.header)
					}
				}
				status, answer := n.call(bootstrapKey, "url/Shorten", `{"destinationURL":"https://example.com/lost"}`)
				if detail, _ := answer["detail"].(string); status != http.StatusServiceUnavailable || !strings.Contains(detail, "database") {
					t.Errorf("a write: %d %v", status, answer)
				}
			}
			if err := f.up(); err != nil {
				t.Fatal(err)
			}
			for _, n := range nodes {
				n.await("the node to be ready", func() bool { return n.adminGet("/readyz") == "ready\n" })
			}
			later := one.shortened("https://example.com/later")
			if a := two.get("http://localhost/u/" + later); a.status != http.StatusFound {
				t.Errorf("a link made afterwards: %d", a.status)
			}
		})
	}
	if text := fmt.Sprint(one.mustCall("url/List", `{}`)); strings.Contains(text, "lost") {
		t.Errorf("what was refused is there: %s", text)
	}
	for _, n := range nodes {
		n.wantCleanLog()
	}
}

// lead has a host name lead to an app, as a node does that has found the name's records.
func lead(t *testing.T, db *store.DB, host, app string) {
	t.Helper()
	err := db.Write(t.Context(), func(tx *store.Tx) error {
		_, err := tx.ExecContext(t.Context(), "INSERT INTO domains (host, tenant, kind, id, changed) VALUES ($1, '', 'app', $2, 0)", host, app)
		if err != nil {
			return err
		}
		return tx.Changed(t.Context(), "domain", host+"/"+app)
	})
	if err != nil {
		t.Fatal(err)
	}
}

// Behind the address is another server than before, which has none of its transactions,
// as when a backup is restored: what it does not have is gone.
func TestAnotherServerTakesThePlaceOfTheDatabase(t *testing.T) {
	t.Parallel()
	before := newCluster(t)
	proxy := before.server.NewProxy(t)
	after := newCluster(t)
	after.node().mustCall("app/Run", fmt.Sprintf(`{"name":"shop","backend":%q}`, named(t, "after")))
	lead(t, storetest.OpenURL(t, after.url), "shop.example", "shop")
	there := storetest.OpenURL(t, before.url)
	before.url = proxy.Through(t, before.url)
	n := before.node()
	for i := range 400 { // so that the numbers of transactions tell the two apart
		if err := there.SetSetting(t.Context(), "unused", strconv.Itoa(i)); err != nil {
			t.Fatal(err)
		}
	}
	link := "http://localhost/u/" + n.shortened("https://example.com/")
	n.mustCall("app/Run", fmt.Sprintf(`{"name":"hello","backend":%q}`, named(t, "hello")))
	n.awaitStatus(link, http.StatusFound)
	n.awaitStatus("http://hello.app.localhost/", http.StatusOK)
	lead(t, there, "shop.example", "hello")
	n.awaitStatus("http://shop.example/", http.StatusOK)
	proxy.Lead(after.server)
	n.await("the node to notice", func() bool {
		_, log := n.output()
		return strings.Contains(log, "may have been missed")
	})
	n.awaitLook(time.Now())
	for _, gone := range []string{link, "http://hello.app.localhost/"} {
		if a := n.get(gone); a.status != http.StatusNotFound {
			t.Errorf("%s, which the server does not have, answers %d", gone, a.status)
		}
	}
	if a := n.get("http://shop.example/"); a.body != "after" {
		t.Errorf("a host that leads elsewhere on the server answers %d %s", a.status, a.body)
	}
}

// The primary dies with a link that the replica has not heard of; the replica takes its
// place, and the processes find it by themselves.
func TestAReplicaTakesTheDatabasesPlace(t *testing.T) {
	t.Parallel()
	c := newCluster(t)
	storetest.OpenURL(t, c.url) // so that the replica has the schema
	replica := c.server.Replica(t)
	u, err := url.Parse(c.url)
	if err != nil {
		t.Fatal(err)
	}
	u.Host, u.RawQuery = replica.Address()+","+u.Host, "sslmode=disable&target_session_attrs=read-write"
	c.url = u.String()
	nodes := c.nodes(2)
	link, made := nodes[0].shortened("https://example.com/"), time.Now()
	for _, n := range nodes {
		n.awaitLook(made) // the news of it makes a node forget what it knows of it
		n.awaitStatus("http://localhost/u/"+link, http.StatusFound)
	}
	nodes[0].await("the replica to follow", func() bool {
		db, err := store.OpenPostgresToRead(t.Context(), store.PostgresOptions{URL: replica.DatabaseURL(strings.TrimPrefix(u.Path, "/"))})
		if err != nil {
			t.Fatal(err)
		}
		defer db.Close()
		var there int
		err = db.QueryRowContext(t.Context(), "SELECT count(*) FROM links WHERE id = $1", link).Scan(&there)
		return err == nil && there == 1
	})
	if err := replica.Stop(); err != nil {
		t.Fatal(err)
	}
	lost := nodes[0].shortened("https://example.com/lost")
	for _, n := range nodes {
		n.awaitStatus("http://localhost/u/"+lost, http.StatusFound)
	}
	if err := c.server.Kill(); err != nil {
		t.Fatal(err)
	}
	for _, n := range nodes {
		n.await("the node to be degraded", func() bool { return strings.Contains(n.adminGet("/readyz"), "degraded") })
		n.awaitStatus("http://localhost/u/"+link, http.StatusFound)
	}
	if err := errors.Join(replica.Start(t.Context()), replica.Promote()); err != nil {
		t.Fatal(err)
	}
	for _, n := range nodes {
		n.await("the node to be ready", func() bool { return n.adminGet("/readyz") == "ready\n" })
		n.awaitStatus("http://localhost/u/"+lost, http.StatusNotFound)
		n.awaitStatus("http://localhost/u/"+link, http.StatusFound)
	}
	later := nodes[0].shortened("https://example.com/later")
	nodes[1].awaitStatus("http://localhost/u/"+later, http.StatusFound)
	for _, n := range nodes {
		n.wantCleanLog()
	}
}

// While the database says nothing, nodes go on saying that they serve: to a balancer that
// does not wait long, before they know that they are behind. On a slow machine the first
// try may be too late to tell the two apart.
func TestReadinessDoesNotWaitForTheDatabase(t *testing.T) {
	t.Parallel()
	c := newCluster(t)
	n := c.node()
	for range 5 {
		if err := c.server.Pause(); err != nil {
			t.Fatal(err)
		}
		said, behind := n.adminGet("/readyz"), n.figure("ingress_store_behind_seconds")
		if err := c.server.Resume(); err != nil {
			t.Fatal(err)
		}
		if !strings.Contains(said, "degraded") {
			t.Fatalf("it says %q", said)
		}
		if behind < 2.9 {
			return
		}
		n.await("the node to be up to date", func() bool { return n.figure("ingress_store_behind_seconds") < 2 })
	}
	t.Error("it never answered before it knew that it was behind")
}

// Hits of the time in which the database was away are written afterwards.
func TestHitsOutliveAnOutage(t *testing.T) {
	t.Parallel()
	c := newCluster(t)
	nodes := c.nodes(2)
	link, made := nodes[0].shortened("https://example.com/"), time.Now()
	for _, n := range nodes {
		n.awaitLook(made) // the news of it makes a node forget what it knows of it
		n.awaitStatus("http://localhost/u/"+link, http.StatusFound)
	}
	if err := c.server.Stop(); err != nil {
		t.Fatal(err)
	}
	const each = 50
	for range each {
		for _, n := range nodes {
			if a := n.get("http://localhost/u/" + link); a.status != http.StatusFound {
				t.Fatalf("a known link: %d", a.status)
			}
		}
	}
	if err := c.server.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	const want = 2 + 2*each
	nodes[0].await("all hits", func() bool {
		status, answer := nodes[0].call(bootstrapKey, "url/List", fmt.Sprintf(`{"shortURL":"http://localhost/u/%s"}`, link))
		pairs, _ := answer["urlPairs"].([]any)
		if status != http.StatusOK || len(pairs) != 1 {
			return false
		}
		hits := fmt.Sprint(pairs[0].(map[string]any)["hitCount"])
		if n, _ := strconv.Atoi(hits); n > want {
			t.Fatalf("%s hits, and there were %d", hits, want)
		}
		return hits == strconv.Itoa(want)
	})
}

// A key that may have been revoked meanwhile is believed for so long and no longer.
func TestKeysAreBelievedForAWhileWithoutTheDatabase(t *testing.T) {
	t.Parallel()
	c := newCluster(t)
	n := c.node("--auth-max-stale", "5s")
	link := n.shortened("https://example.com/")
	n.awaitStatus("http://localhost/u/"+link, http.StatusFound)
	if err := c.server.Stop(); err != nil {
		t.Fatal(err)
	}
	n.await("the node to be degraded", func() bool { return strings.Contains(n.adminGet("/readyz"), "degraded") })
	n.await("the key not to be believed", func() bool {
		status, answer := n.call(bootstrapKey, "helloworld/Call", `{"name":"x"}`)
		if status != http.StatusOK && status != http.StatusServiceUnavailable {
			t.Fatalf("got %d %v", status, answer)
		}
		return status == http.StatusServiceUnavailable
	})
	if a := n.get("http://localhost/u/" + link); a.status != http.StatusFound {
		t.Errorf("a known link: %d", a.status)
	}
	if err := c.server.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	n.await("the key to be believed again", func() bool {
		status, _ := n.call(bootstrapKey, "helloworld/Call", `{"name":"x"}`)
		return status == http.StatusOK
	})
}

// A session that was read lately can be read while the database is away, unless it ended
// on any node before.
func TestSessionsAreBelievedForAWhileWithoutTheDatabase(t *testing.T) {
	t.Parallel()
	c := newCluster(t)
	nodes := c.nodes(2)
	nodes[0].mustCall("user/Create", `{"username":"anna","email":"anna@example.com","password":"correct horse"}`)
	login := func() string {
		opened, _ := nodes[0].mustCall("user/Login", `{"username":"anna","password":"correct horse"}`)["session"].(map[string]any)
		return fmt.Sprintf(`{"session_id":%q}`, opened["id"])
	}
	read := func(n *ingress, session string) int {
		status, _ := n.call(bootstrapKey, "user/ReadSession", session)
		return status
	}
	lasting, ended, unread := login(), login(), login()
	for _, n := range nodes {
		for _, session := range []string{lasting, ended} {
			if status := read(n, session); status != http.StatusOK {
				t.Fatalf("a session on another node: %d", status)
			}
		}
	}
	nodes[1].mustCall("user/Logout", ended)
	over := time.Now()
	for _, n := range nodes { // who hears of it forgets the account's other sessions, too
		n.awaitLook(over)
		n.mustCall("user/ReadSession", lasting)
	}
	if err := c.server.Stop(); err != nil {
		t.Fatal(err)
	}
	for _, n := range nodes {
		n.await("the node to be degraded", func() bool { return strings.Contains(n.adminGet("/readyz"), "degraded") })
		if status := read(n, lasting); status != http.StatusOK {
			t.Errorf("a session that was read: %d", status)
		}
		for name, session := range map[string]string{"one that ended": ended, "one that was never read": unread} {
			if status := read(n, session); status != http.StatusServiceUnavailable {
				t.Errorf("%s: %d", name, status)
			}
		}
	}
	if err := c.server.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	for _, n := range nodes {
		n.await("the session that ended", func() bool { return read(n, ended) == http.StatusNotFound })
	}
}

// What a node acknowledged is there when it is killed, and nothing is given twice.
func TestNothingAcknowledgedIsLostWhenANodeIsKilled(t *testing.T) {
	t.Parallel()
	c := newCluster(t)
	nodes := c.nodes(2)
	var mu sync.Mutex
	made := map[string]string{} // by id
	var writers sync.WaitGroup
	half := make(chan struct{})
	var reached sync.Once
	for w := range 4 {
		writers.Go(func() {
			client := nodes[w%2].client()
			for k := range 100 {
				destination := fmt.Sprintf("https://example.com/%d/%d", w, k)
				id, err := shortenWith(client, destination)
				if err != nil {
					return // it was killed
				}
				mu.Lock()
				if before, twice := made[id]; twice {
					t.Errorf("the id %s leads to %s and to %s", id, before, destination)
				}
				made[id] = destination
				if len(made) == 100 {
					reached.Do(func() { close(half) })
				}
				mu.Unlock()
			}
		})
	}
	<-half
	nodes[0].kill()
	writers.Wait()
	again := startIngressIn(t, nodes[0].dir, c.env())
	for id, destination := range made {
		for _, n := range []*ingress{nodes[1], again} {
			if a := n.get("http://localhost/u/" + id); a.header.Get("Location") != destination {
				t.Errorf("%s leads to %q, want %q", id, a.header.Get("Location"), destination)
			}
		}
	}
}

// shortenWith makes a link, unless the node goes away.
func shortenWith(client *http.Client, destination string) (id string, err error) {
	req, err := http.NewRequest(http.MethodPost, "http://localhost/v1/url/Shorten", strings.NewReader(fmt.Sprintf(`{"destinationURL":%q}`, destination)))
	if err != nil {
		return "", err
	}
	req.Header.Set("Authorization", "Bearer "+bootstrapKey)
	res, err := client.Do(req)
	if err != nil {
		return "", err
	}
	defer res.Body.Close()
	var answer struct{ ShortURL string }
	if err := json.NewDecoder(res.Body).Decode(&answer); err != nil || res.StatusCode != http.StatusOK {
		return "", fmt.Errorf("%d, %w", res.StatusCode, err)
	}
	u, err := url.Parse(answer.ShortURL)
	if err != nil {
		return "", err
	}
	return strings.TrimPrefix(u.Path, "/u/"), nil
}

// Whichever node is asked, and whichever the authority visits: for one name there is one
// order, and all nodes show what came of it.
func TestNodesObtainACertificateOnce(t *testing.T) {
	t.Parallel()
	ca := acmetest.New(t, validity)
	c := newCluster(t)
	nodes := c.nodes(2, acmeArgs(ca)...)
	ca.Reach(nodes[1].listen, nodes[1].tlsAddress())
	nodes[0].mustCall("app/Run", fmt.Sprintf(`{"name":"hello","backend":%q}`, named(t, "hello")))
	for n, host := range []string{"hello.apps.test", "m3o.test"} {
		serials := make(chan string, 10)
		var visitors sync.WaitGroup
		for v := range cap(serials) {
			visitors.Go(func() {
				res, _, err := nodes[v%2].getSecurely(ca.Roots, "https://"+host+"/")
				if err != nil {
					t.Errorf("%s: %v", host, err)
					return
				}
				serials <- res.TLS.PeerCertificates[0].SerialNumber.String()
			})
		}
		visitors.Wait()
		close(serials)
		different := map[string]bool{}
		for s := range serials {
			different[s] = true
		}
		if len(different) != 1 || ca.Orders() != n+1 {
			t.Errorf("%s has %d certificates, and there were %d orders, want %d", host, len(different), ca.Orders(), n+1)
		}
		// The other way round for the next one.
		ca.Reach(nodes[0].listen, nodes[0].tlsAddress())
	}
}

// A node gives its place to another program like any ingress, and the new one hears of
// the others, too.
func TestANodeOfSeveralIsUpgradedInPlace(t *testing.T) {
	t.Parallel()
	c := newCluster(t)
	other := c.node()
	i, replace := replaceable(t, c.node())
	link := i.shortened("https://example.com/")
	for range 3 {
		i.awaitStatus("http://localhost/u/"+link, http.StatusFound)
		replace()
		i.awaitStatus("http://localhost/u/"+link, http.StatusFound)
		other.mustCall("url/Update", fmt.Sprintf(`{"shortURL":%q,"destinationURL":"https://example.com/%s"}`, link, t.Name()))
		i.await("the new destination", func() bool {
			return strings.HasSuffix(i.get("http://localhost/u/"+link).header.Get("Location"), t.Name())
		})
		other.mustCall("url/Update", fmt.Sprintf(`{"shortURL":%q,"destinationURL":"https://example.com/"}`, link))
		i.await("the old destination", func() bool {
			return i.get("http://localhost/u/"+link).header.Get("Location") == "https://example.com/"
		})
	}
}
