package main_test

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"os"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/m3o/ingress/internal/store/storetest"
)

// modelTime is how long nodes and database are treated badly: a minute where nothing
// may be left out, as in CI, and otherwise as long as people wait.
func modelTime() time.Duration {
	if os.Getenv("INGRESS_TEST_NO_SKIP") != "" {
		return time.Minute
	}
	return 15 * time.Second
}

// modelNode is an ingress that is killed and started again, with a way to the database
// that is cut now and then.
type modelNode struct {
	c     *cluster
	dir   string
	proxy *storetest.Proxy
	off   time.Duration // its clock is, by up to that, another time at each start

	mu      sync.RWMutex // held for writing while there is no process
	process *ingress
}

// modelLink is what is known of a short link.
type modelLink struct {
	mu          sync.Mutex // held during an operation on it
	id          string
	destination string
	uncertain   bool // an operation on it had no answer
	deleted     bool

	counting sync.Mutex
	served   int64 // visits that were answered with a redirect
	maybe    int64 // visits that had no answer
}

// modelKey is an API key that exists, or does not any more.
type modelKey struct {
	id, secret string
	revoking   bool      // it was asked for
	revoked    bool      // it was acknowledged
	at         time.Time // when
}

// model is what must be so.
type model struct {
	t     *testing.T
	c     *cluster
	nodes []*modelNode

	mu    sync.Mutex
	links []*modelLink
	keys  []*modelKey
	ids   map[string]bool
	lost  int64 // hits that killed processes may have taken along
	acts  map[string]int
}

// TestNodesKeepTheirPromisesUnderFaults has three nodes, visitors and owners, and
// everything going wrong that can: processes are killed, the database is stopped, killed
// and paused, ways to it are cut and stalled, commits and their answers get lost. The clock
// of one of the nodes is wrong.
func TestNodesKeepTheirPromisesUnderFaults(t *testing.T) {
	t.Parallel()
	c := newCluster(t)
	m := &model{t: t, c: c, ids: map[string]bool{}, acts: map[string]int{}}
	for _, off := range []time.Duration{0, 0, time.Hour} {
		m.nodes = append(m.nodes, m.newNode(off))
	}
	ctx, cancel := context.WithTimeout(t.Context(), modelTime())
	defer cancel()
	var busy sync.WaitGroup
	for range 4 {
		busy.Go(func() { m.act(ctx) })
	}
	m.misbehave(ctx)
	busy.Wait()
	m.check()
	t.Logf("done: %v; hits that may be missing: %d", m.acts, m.lost)
}

func (m *model) newNode(off time.Duration) *modelNode {
	n := &modelNode{c: m.c, dir: shortTempDir(m.t), proxy: m.c.server.NewProxy(m.t), off: off}
	n.start()
	return n
}

// start starts the node's process, whatever the database is like.
func (n *modelNode) start() {
	env := []string{"INGRESS_DATABASE=" + n.proxy.Through(n.c.t, n.c.url), "INGRESS_SECRET_KEY=" + clusterSecret}
	const quiet = "--access-log=none"
	if n.off == 0 {
		n.process = startIngressIn(n.c.t, n.dir, env, quiet)
		return
	}
	n.process = startOff(n.c.t, rand.N(2*n.off)-n.off, n.dir, env, quiet)
}

// misbehave lets one thing after the other go wrong, and right again.
func (m *model) misbehave(ctx context.Context) {
	server := m.c.server
	proxyOf := func() *storetest.Proxy { return m.nodes[rand.N(len(m.nodes))].proxy }
	faults := []func(){
		func() { m.during(ctx, server.Stop, func() error { return server.Start(context.Background()) }) },
		func() { m.during(ctx, server.Kill, func() error { return server.Start(context.Background()) }) },
		func() { m.during(ctx, server.Pause, server.Resume) },
		func() { p := proxyOf(); m.during(ctx, errless(p.Cut), errless(p.Heal)) },
		func() { p := proxyOf(); m.during(ctx, errless(p.Stall), errless(p.Heal)) },
		func() { proxyOf().LoseCommit() },
		func() { proxyOf().LoseAnswer() },
		func() { m.killOne() },
	}
	for ctx.Err() == nil {
		pick := rand.N(len(faults))
		m.note("fault " + strconv.Itoa(pick))
		faults[pick]()
		wait(ctx, rand.N(2*time.Second))
	}
}

func errless(f func()) func() error { return func() error { f(); return nil } }

// during has something be wrong for a while.
func (m *model) during(ctx context.Context, wrong, right func() error) {
	if err := wrong(); err != nil {
		m.t.Error(err)
	}
	wait(ctx, rand.N(4*time.Second))
	if err := right(); err != nil {
		m.t.Error(err)
	}
}

// wait waits for a time, or the end.
func wait(ctx context.Context, d time.Duration) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-ctx.Done():
	}
}

// killOne kills a node between two visits, and starts it again. What it has counted and
// not written is lost, and no more.
func (m *model) killOne() {
	n := m.nodes[rand.N(len(m.nodes))]
	n.mu.Lock()
	defer n.mu.Unlock()
	unwritten := int64(n.process.figure("ingress_link_hits_unwritten"))
	n.process.kill()
	m.mu.Lock()
	m.lost += unwritten
	m.mu.Unlock()
	n.proxy.Heal() // a start that is disturbed fails, as it should
	n.start()
}

func (m *model) note(what string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.acts[what]++
}

// act does things as owners and visitors do.
func (m *model) act(ctx context.Context) {
	for ctx.Err() == nil {
		switch pick := rand.N(100); {
		case pick < 15:
			m.shorten()
		case pick < 60:
			m.visit()
		case pick < 70:
			m.update()
		case pick < 75:
			m.delete()
		case pick < 80:
			m.generate()
		case pick < 84:
			m.revoke()
		default:
			m.useKey()
		}
	}
}

// ask calls a method by a node; a status of 0 means that nobody knows what became of it.
func (n *modelNode) ask(secret, path, body string) (status int, answer map[string]any) {
	n.mu.RLock()
	defer n.mu.RUnlock()
	req, err := http.NewRequest(http.MethodPost, "http://localhost/v1/"+path, strings.NewReader(body))
	if err != nil {
		n.c.t.Error(err)
		return 0, nil
	}
	req.Header.Set("Authorization", "Bearer "+secret)
	client := n.process.client()
	defer client.CloseIdleConnections()
	res, err := client.Do(req)
	if err != nil {
		return 0, nil
	}
	defer res.Body.Close()
	content, err := io.ReadAll(res.Body)
	if err != nil || json.Unmarshal(content, &answer) != nil {
		return 0, nil
	}
	if detail, _ := answer["detail"].(string); res.StatusCode >= 500 && !strings.Contains(detail, "nothing was written") {
		return 0, answer
	}
	return res.StatusCode, answer
}

func (m *model) anyNode() *modelNode { return m.nodes[rand.N(len(m.nodes))] }

func (m *model) shorten() {
	destination := fmt.Sprintf("https://example.com/%d", rand.Int64())
	status, answer := m.anyNode().ask(bootstrapKey, "url/Shorten", fmt.Sprintf(`{"destinationURL":%q}`, destination))
	if status != http.StatusOK {
		m.note(fmt.Sprintf("shorten %d", status))
		return
	}
	short, _ := answer["shortURL"].(string)
	id := short[strings.LastIndex(short, "/")+1:]
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.ids[id] {
		m.t.Errorf("the id %s was given twice", id)
	}
	m.ids[id] = true
	m.links = append(m.links, &modelLink{id: id, destination: destination})
	m.acts["shorten"]++
}

// aLink picks a link, or nil.
func (m *model) aLink() *modelLink {
	m.mu.Lock()
	defer m.mu.Unlock()
	if len(m.links) == 0 {
		return nil
	}
	return m.links[rand.N(len(m.links))]
}

func (m *model) visit() {
	l, n := m.aLink(), m.anyNode()
	if l == nil {
		return
	}
	n.mu.RLock()
	defer n.mu.RUnlock()
	req, err := http.NewRequest(http.MethodGet, "http://localhost/u/"+l.id, nil)
	if err != nil {
		m.t.Error(err)
		return
	}
	client := n.process.client()
	defer client.CloseIdleConnections()
	res, err := client.Do(req)
	l.counting.Lock()
	defer l.counting.Unlock()
	switch {
	case err != nil:
		l.maybe++
	case res.StatusCode == http.StatusFound:
		l.served++
	}
	if err == nil {
		m.note(fmt.Sprintf("visit %d", res.StatusCode))
		_ = res.Body.Close() // a redirect's says nothing
	}
}

func (m *model) update() {
	l := m.aLink()
	if l == nil {
		return
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	destination := fmt.Sprintf("https://example.com/%d", rand.Int64())
	status, _ := m.anyNode().ask(bootstrapKey, "url/Update", fmt.Sprintf(`{"shortURL":%q,"destinationURL":%q}`, l.id, destination))
	switch {
	case status == http.StatusOK && l.deleted && !l.uncertain:
		m.t.Errorf("%s was updated after it was deleted", l.id)
	case status == http.StatusOK:
		l.destination = destination
	case status == 0:
		l.uncertain = true
	case status == http.StatusNotFound && !l.deleted && !l.uncertain:
		m.t.Errorf("%s is not there", l.id)
	}
	m.note(fmt.Sprintf("update %d", status))
}

func (m *model) delete() {
	l := m.aLink()
	if l == nil {
		return
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	status, _ := m.anyNode().ask(bootstrapKey, "url/Delete", fmt.Sprintf(`{"shortURL":%q}`, l.id))
	switch status {
	case http.StatusOK:
		l.deleted = true
	case 0:
		l.uncertain = true
	}
	m.note(fmt.Sprintf("delete %d", status))
}

func (m *model) generate() {
	status, answer := m.anyNode().ask(bootstrapKey, "api/keys/Generate", `{"scopes":["helloworld"]}`)
	m.note(fmt.Sprintf("generate %d", status))
	if status != http.StatusOK {
		return
	}
	id, _ := answer["api_key_id"].(string)
	secret, _ := answer["api_key"].(string)
	m.mu.Lock()
	defer m.mu.Unlock()
	m.keys = append(m.keys, &modelKey{id: id, secret: secret})
}

// aKey picks a key, or nil, and returns a copy.
func (m *model) aKey() (k *modelKey, now modelKey) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if len(m.keys) == 0 {
		return nil, modelKey{}
	}
	k = m.keys[rand.N(len(m.keys))]
	return k, *k
}

func (m *model) revoke() {
	k, before := m.aKey()
	if k == nil || before.revoked {
		return
	}
	m.mu.Lock()
	k.revoking = true
	m.mu.Unlock()
	status, _ := m.anyNode().ask(bootstrapKey, "api/keys/Revoke", fmt.Sprintf(`{"id":%q}`, k.id))
	m.note(fmt.Sprintf("revoke %d", status))
	if status == http.StatusOK {
		m.mu.Lock()
		defer m.mu.Unlock()
		k.revoked, k.at = true, time.Now()
	}
}

// useKey checks that a node that has looked since a key was revoked refuses it.
func (m *model) useKey() {
	k, before := m.aKey()
	if k == nil {
		return
	}
	n := m.anyNode()
	looked, known := n.looked()
	status, _ := n.ask(before.secret, "helloworld/Call", `{"name":"x"}`)
	m.note(fmt.Sprintf("use %d", status))
	switch {
	case status == http.StatusOK && before.revoked && known && looked.After(before.at):
		m.t.Errorf("a key that was revoked at %v worked on a node that has looked at %v", before.at, looked)
	case status == http.StatusUnauthorized:
		m.mu.Lock()
		defer m.mu.Unlock()
		if !k.revoking {
			m.t.Error("a key that nobody wanted to revoke is refused")
		}
	}
}

// looked is the process's looked.
func (n *modelNode) looked() (time.Time, bool) {
	n.mu.RLock()
	defer n.mu.RUnlock()
	return n.process.looked()
}

// looked returns a time that is not after the beginning of the program's last look at
// the changes of others. It is reckoned from before the question: the answer may take its
// time, in which the look does not become a later one.
func (i *ingress) looked() (notAfter time.Time, known bool) {
	asked := time.Now()
	behind, known := i.tryFigure("ingress_store_behind_seconds")
	return asked.Add(-time.Duration(behind * float64(time.Second))), known
}

// awaitLook waits until the program has looked at the changes of others since a time.
func (i *ingress) awaitLook(since time.Time) {
	i.t.Helper()
	i.await("a look at what others have changed", func() bool {
		looked, known := i.looked()
		return known && looked.After(since)
	})
}

// tryFigure is figure for a program that may not answer.
func (i *ingress) tryFigure(name string) (figure float64, ok bool) {
	res, err := http.Get("http://" + i.admin + "/metrics")
	if err != nil {
		return 0, false
	}
	defer res.Body.Close()
	content, err := io.ReadAll(res.Body)
	_, rest, found := strings.Cut(string(content), "\n"+name+" ")
	line, _, _ := strings.Cut(rest, "\n")
	figure, badFigure := strconv.ParseFloat(line, 64)
	return figure, err == nil && found && badFigure == nil
}

// check looks at what is left when all is well again.
func (m *model) check() {
	for _, n := range m.nodes {
		n.proxy.Heal()
		n.process.await("the node to be ready", func() bool { return n.process.adminGet("/readyz") == "ready\n" })
	}
	for _, n := range m.nodes { // a node that ends well writes what it has counted
		n.process.stop()
	}
	n := m.nodes[0]
	n.start()
	var served, recorded int64
	for _, l := range m.links {
		served += l.served
		recorded += m.checkLink(n, l)
	}
	if missing := served - recorded; missing > m.lost {
		m.t.Errorf("%d hits are missing, and %d were lost with killed processes", missing, m.lost)
	}
	for _, k := range m.keys {
		status, _ := n.ask(k.secret, "helloworld/Call", `{"name":"x"}`)
		if works := status == http.StatusOK; works && k.revoked || !works && !k.revoking {
			m.t.Errorf("a key answers %d, whose revocation was asked for: %t, and acknowledged: %t", status, k.revoking, k.revoked)
		}
	}
	if len(m.links) == 0 || served == 0 {
		m.t.Errorf("nothing was done: %d links, %d visits", len(m.links), served)
	}
}

// checkLink compares a link with what it must be, and returns its hits.
func (m *model) checkLink(n *modelNode, l *modelLink) (hits int64) {
	status, answer := n.ask(bootstrapKey, "url/List", fmt.Sprintf(`{"shortURL":%q}`, l.id))
	pairs, _ := answer["urlPairs"].([]any)
	if status != http.StatusOK || len(pairs) == 0 {
		if !l.deleted && !l.uncertain {
			m.t.Errorf("the link %s, which was acknowledged, is not there: %d %v", l.id, status, answer)
		}
		return l.served // its hits went with it
	}
	if l.deleted && !l.uncertain {
		m.t.Errorf("the link %s is there after it was deleted", l.id)
	}
	link, _ := pairs[0].(map[string]any)
	if got := link["destinationURL"]; got != l.destination && !l.uncertain {
		m.t.Errorf("the link %s leads to %v, want %s", l.id, got, l.destination)
	}
	hits, err := strconv.ParseInt(fmt.Sprint(link["hitCount"]), 10, 64)
	if err != nil || hits > l.served+l.maybe {
		m.t.Errorf("the link %s has %v hits, %v, and was visited %d times", l.id, link["hitCount"], err, l.served+l.maybe)
	}
	return hits
}
