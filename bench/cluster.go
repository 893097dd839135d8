package main

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/m3o/ingress/internal/store/storetest"
)

// node is one of several ingresses on one database.
type node struct {
	address, admin string
	proc           *process
	args, env      []string
	key            string
	client         *http.Client
}

// clusterBench measures what several ingresses on one database cost and gain.
type clusterBench struct {
	options
	ps      *processes
	s       surroundings
	program string
	server  *storetest.Server
	report  strings.Builder
}

// measureCluster measures all of it and returns tables in Markdown.
func measureCluster(ctx context.Context, o options, ps *processes, s surroundings) (string, error) {
	program, err := buildIngress(ctx, s)
	if err != nil {
		return "", err
	}
	server, err := storetest.NewServer(ctx)
	if err != nil {
		return "", err
	}
	c := &clusterBench{options: o, ps: ps, s: s, program: program, server: server}
	fmt.Fprintf(&c.report, "%s, %d processors, Linux %s, PostgreSQL on the same machine with its default durability.\n", processor(), runtime.NumCPU(), kernel())
	err = errors.Join(c.throughput(ctx), c.writes(ctx), c.invalidation(ctx), c.recovery(ctx))
	c.ps.end()
	return c.report.String(), errors.Join(err, server.Close())
}

const benchSecret = "000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f"

// start starts a node on a database, or without one on its own file.
func (c *clusterBench) start(ctx context.Context, database string) (*node, error) {
	n := &node{key: "m3o_bench_key_of_the_cluster", client: &http.Client{Timeout: 30 * time.Second, Transport: &http.Transport{MaxIdleConnsPerHost: 64}}}
	var bad [2]error
	n.address, bad[0] = freePort()
	n.admin, bad[1] = freePort()
	data, err := os.MkdirTemp(c.s.dir, "node")
	if err := errors.Join(err, bad[0], bad[1]); err != nil {
		return nil, err
	}
	n.args = []string{"serve", "--listen", n.address, "--admin-listen", n.admin, "--data-dir", data, "--access-log=none", "--max-client-connections", "20000"}
	n.env = []string{"INGRESS_BOOTSTRAP_KEY=" + n.key, "INGRESS_SECRET_KEY=" + benchSecret, "INGRESS_DATABASE=" + database}
	return n, c.run(ctx, n)
}

// run starts a node's process and waits until it serves.
func (c *clusterBench) run(ctx context.Context, n *node) (err error) {
	if n.proc, err = c.ps.startQuiet(c.program, n.args, n.env); err != nil {
		return err
	}
	return n.until(ctx, func() bool { return n.get("http://"+n.admin+"/readyz", "") == "ready\n" })
}

// until waits for something, and looks often.
func (n *node) until(ctx context.Context, is func() bool) error {
	deadline := time.Now().Add(time.Minute)
	for !is() {
		if ctx.Err() != nil || time.Now().After(deadline) {
			return errors.New("a node does not become what it should be in a minute")
		}
		time.Sleep(500 * time.Microsecond)
	}
	return nil
}

// get returns a body, or where a redirect leads.
func (n *node) get(url, host string) string {
	req, err := http.NewRequest(http.MethodGet, url, nil)
	if err != nil {
		return ""
	}
	req.Host = host
	res, err := n.client.Transport.RoundTrip(req)
	if err != nil {
		return ""
	}
	defer res.Body.Close()
	if to := res.Header.Get("Location"); to != "" {
		return to
	}
	body, err := io.ReadAll(res.Body)
	if err != nil {
		return ""
	}
	return string(body)
}

// call calls a method.
func (n *node) call(path string, in any) error {
	body, err := json.Marshal(in)
	if err != nil {
		return err
	}
	req, err := http.NewRequest(http.MethodPost, "http://"+n.address+"/v1/"+path, bytes.NewReader(body))
	if err != nil {
		return err
	}
	req.Header.Set("Authorization", "Bearer "+n.key)
	res, err := n.client.Do(req)
	if err != nil {
		return err
	}
	defer res.Body.Close()
	text, err := io.ReadAll(res.Body)
	if err == nil && res.StatusCode != http.StatusOK {
		err = fmt.Errorf("%s: %d %s", path, res.StatusCode, text)
	}
	return err
}

func (c *clusterBench) nodes(ctx context.Context, count int) ([]*node, error) {
	name, err := c.server.NewDatabase()
	if err != nil {
		return nil, err
	}
	all := make([]*node, count)
	for i := range all {
		if all[i], err = c.start(ctx, c.server.DatabaseURL(name)); err != nil {
			return nil, err
		}
	}
	return all, nil
}

// stop ends nodes before others are measured.
func (c *clusterBench) stop() {
	c.ps.end()
	c.ps.list = nil
}

// throughput loads so many processes at once, each with its part of the connections.
func (c *clusterBench) throughput(ctx context.Context) error {
	c.report.WriteString("\n| processes | GET 1 KiB, requests/s | CPU a request | redirects/s | CPU a redirect |\n|---:|---:|---:|---:|---:|\n")
	for _, count := range []int{1, 2, 4} {
		backend, err := startBackend(ctx, c.ps, c.s.dir)
		if err != nil {
			return err
		}
		nodes, err := c.nodes(ctx, count)
		if err != nil {
			return err
		}
		if err := errors.Join(
			nodes[0].call("app/Run", map[string]string{"name": "bench", "backend": "http://" + backend}),
			nodes[0].call("url/Create", map[string]string{"id": "bench", "destinationURL": redirectTarget}),
		); err != nil {
			return err
		}
		gets, cpuGet, err := c.load(ctx, nodes, "GET /1k HTTP/1.1\r\nHost: bench.app.localhost\r\n", "200")
		if err != nil {
			return err
		}
		links, cpuLink, err := c.load(ctx, nodes, "GET /u/bench HTTP/1.1\r\nHost: localhost\r\n", "302")
		if err != nil {
			return err
		}
		fmt.Fprintf(&c.report, "| %d | %.0f | %s | %.0f | %s |\n", count, gets, micro(cpuGet), links, micro(cpuLink))
		c.stop()
	}
	return nil
}

// load returns requests per second of all nodes together, and what one costs.
func (c *clusterBench) load(ctx context.Context, nodes []*node, head, status string) (rate float64, cpu time.Duration, err error) {
	run := func(d time.Duration) (requests int64, took time.Duration, err error) {
		outcomes, errs := make([]outcome, len(nodes)), make([]error, len(nodes))
		var busy sync.WaitGroup
		for i, n := range nodes {
			l := load{
				request: []byte(head + usual + "\r\n"), status: status, connections: max(1, c.connections/len(nodes)),
				dial: func(ctx context.Context) (net.Conn, error) { return (&net.Dialer{}).DialContext(ctx, "tcp", n.address) },
			}
			busy.Go(func() { outcomes[i], errs[i] = l.run(ctx, d) })
		}
		busy.Wait()
		for _, o := range outcomes {
			requests += o.requests
			took = max(took, o.took)
		}
		return requests, took, errors.Join(errs...)
	}
	if _, _, err := run(warmUp); err != nil {
		return 0, 0, err
	}
	before, err := c.used(nodes)
	if err != nil {
		return 0, 0, err
	}
	requests, took, err := run(c.duration)
	if err != nil {
		return 0, 0, err
	}
	after, err := c.used(nodes)
	if err != nil {
		return 0, 0, err
	}
	return float64(requests) / took.Seconds(), (after - before) / time.Duration(requests), nil
}

func (c *clusterBench) used(nodes []*node) (all time.Duration, err error) {
	for _, n := range nodes {
		u, err := n.proc.usage()
		if err != nil {
			return 0, err
		}
		all += u.cpu
	}
	return all, nil
}

// writers is how many callers write at once.
const writers = 16

// writes makes links as fast as it goes, for one tenant, whose quota they all count
// against.
func (c *clusterBench) writes(ctx context.Context) error {
	c.report.WriteString("\n| | links made per second, by 16 callers |\n|---|---:|\n")
	for _, each := range []struct {
		name  string
		nodes int
	}{{"SQLite", 0}, {"PostgreSQL, 1 process", 1}, {"PostgreSQL, 2 processes", 2}, {"PostgreSQL, 4 processes", 4}} {
		var nodes []*node
		var err error
		if each.nodes > 0 {
			nodes, err = c.nodes(ctx, each.nodes)
		} else {
			var n *node
			n, err = c.start(ctx, "")
			nodes = []*node{n}
		}
		if err != nil {
			return err
		}
		rate, err := c.write(ctx, nodes)
		if err != nil {
			return err
		}
		fmt.Fprintf(&c.report, "| %s | %.0f |\n", each.name, rate)
		c.stop()
	}
	return nil
}

func (c *clusterBench) write(ctx context.Context, nodes []*node) (rate float64, err error) {
	var made atomic.Int64
	errs := make([]error, writers)
	var busy sync.WaitGroup
	begin := time.Now()
	until := begin.Add(c.duration)
	for w := range writers {
		busy.Go(func() {
			n := nodes[w%len(nodes)]
			for time.Now().Before(until) && ctx.Err() == nil && errs[w] == nil {
				errs[w] = n.call("url/Create", map[string]string{"id": "b" + rand.Text(), "destinationURL": redirectTarget})
				made.Add(1)
			}
		})
	}
	busy.Wait()
	return float64(made.Load()) / time.Since(begin).Seconds(), errors.Join(errs...)
}

// changes is how often a change is timed: a hundred times in a run of the usual
// length.
func (c *clusterBench) changes() int {
	return int(min(100, max(4, 100*c.duration/(3*time.Second))))
}

// outage is how long something is away.
func (c *clusterBench) outage() time.Duration { return min(5*time.Second, 10*c.duration) }

// invalidation times how long a node answers with what another has changed, when
// notifications arrive and when none is sent.
func (c *clusterBench) invalidation(ctx context.Context) error {
	defer c.stop()
	name, err := c.server.NewDatabase()
	if err != nil {
		return err
	}
	database := c.server.DatabaseURL(name)
	one, err := c.start(ctx, database)
	if err != nil {
		return err
	}
	two, err := c.start(ctx, database)
	if err != nil {
		return err
	}
	conn, err := pgx.Connect(ctx, database)
	if err != nil {
		return err
	}
	defer conn.Close(ctx)
	if err := one.call("url/Create", map[string]string{"id": "bench", "destinationURL": redirectTarget}); err != nil {
		return err
	}
	c.report.WriteString("\n| a changed link is seen by another process after | p50 | p99 |\n|---|---:|---:|\n")
	for _, way := range []struct {
		name   string
		rounds int
		change func(to string) error
	}{
		{"with a notification", c.changes(), func(to string) error {
			return one.call("url/Update", map[string]string{"shortURL": "bench", "destinationURL": to})
		}},
		{"when it is lost", c.changes() / 4, func(to string) error {
			_, err := conn.Exec(ctx, "WITH c AS (UPDATE links SET destination = '"+to+"' WHERE id = 'bench' RETURNING id) INSERT INTO changes (kind, id, at) SELECT 'link', id, 0 FROM c")
			return err
		}},
	} {
		var times histogram
		for round := range way.rounds {
			to := fmt.Sprintf("https://example.com/%s/%d", strings.ReplaceAll(way.name, " ", "-"), round)
			if err := way.change(to); err != nil {
				return err
			}
			changed := time.Now()
			if err := two.until(ctx, func() bool { return two.get("http://"+two.address+"/u/bench", "localhost") == to }); err != nil {
				return err
			}
			times.add(time.Since(changed))
		}
		fmt.Fprintf(&c.report, "| %s | %s | %s |\n", way.name, milli(times.quantile(0.5)), milli(times.quantile(0.99)))
	}
	return nil
}

func milli(d time.Duration) string { return fmt.Sprintf("%.1f ms", float64(d.Microseconds())/1000) }

// recovery times how long after a fault's end a node says that it is ready, and takes a
// write.
func (c *clusterBench) recovery(ctx context.Context) error {
	defer c.stop()
	nodes, err := c.nodes(ctx, 2)
	if err != nil {
		return err
	}
	n := nodes[0]
	restart := func() error { return c.server.Start(ctx) }
	c.report.WriteString("\n| after | ready | takes writes |\n|---|---:|---:|\n")
	for _, f := range []struct {
		name     string
		down, up func() error
	}{
		{"the database was stopped and answers again", c.server.Stop, restart},
		{"the database was killed and answers again", c.server.Kill, restart},
		{"the database was paused and goes on", c.server.Pause, c.server.Resume},
		{"a process was killed and is started again", func() error { return n.proc.cmd.Process.Kill() }, func() error { return c.run(ctx, n) }},
	} {
		if err := f.down(); err != nil {
			return err
		}
		time.Sleep(c.outage())
		begin := time.Now()
		if err := f.up(); err != nil {
			return err
		}
		if !strings.HasPrefix(f.name, "a process") {
			begin = time.Now() // the database's own start is not ours
		}
		if err := n.until(ctx, func() bool { return n.get("http://"+n.admin+"/readyz", "") == "ready\n" }); err != nil {
			return err
		}
		ready := time.Since(begin)
		if err := n.until(ctx, func() bool {
			return n.call("url/Create", map[string]string{"id": "r" + rand.Text(), "destinationURL": redirectTarget}) == nil
		}); err != nil {
			return err
		}
		fmt.Fprintf(&c.report, "| %s | %s | %s |\n", f.name, milli(ready), milli(time.Since(begin)))
	}
	return nil
}
