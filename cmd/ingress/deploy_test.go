package main_test

import (
	"bytes"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"

	"github.com/goccy/go-yaml"

	"github.com/m3o/ingress/internal/skiptest"
	"github.com/m3o/ingress/internal/store/storetest"
)

// Every variable of ours that the files under deploy/ set is one.
func TestDeployFilesSetWhatThereIs(t *testing.T) {
	help, _, code := runProgram(t, nil, "serve", "--help")
	if code != 0 {
		t.Fatal("there is no help")
	}
	var compose struct {
		Services map[string]struct{ Environment map[string]string }
	}
	content, err := os.ReadFile("../../deploy/compose.yaml")
	if err != nil {
		t.Fatal(err)
	}
	if err := yaml.Unmarshal(content, &compose); err != nil {
		t.Fatal(err)
	}
	secrets := "INGRESS_SECRET_KEY INGRESS_BOOTSTRAP_KEY INGRESS_DATABASE_PASSWORD"
	set := compose.Services["ingress"].Environment
	if len(set) < 5 {
		t.Fatalf("the ingress of compose.yaml has %v", set)
	}
	for name := range set {
		flag := "--" + strings.ToLower(strings.ReplaceAll(strings.TrimPrefix(name, "INGRESS_"), "_", "-"))
		if !strings.Contains(help, flag) && !strings.Contains(secrets, name) {
			t.Errorf("%s is no variable", name)
		}
	}
	unit, err := os.ReadFile("../../deploy/ingress.service")
	if err != nil {
		t.Fatal(err)
	}
	for _, start := range regexp.MustCompile(`(?m)^Exec\w+=/usr/local/bin/ingress (\w+) --config`).FindAllSubmatch(unit, -1) {
		if _, stderr, code := runProgram(t, nil, string(start[1]), "--help"); code != 0 {
			t.Errorf("%s: %s", start[1], stderr)
		}
	}
}

// haproxy runs HAProxy with the configuration under deploy/, in front of nodes.
func haproxy(t *testing.T, nodes []*ingress) (address string) {
	t.Helper()
	program, err := exec.LookPath("haproxy")
	if err != nil {
		if program = "/usr/sbin/haproxy"; !isFile(program) {
			skiptest.Skip(t, "haproxy is not installed")
		}
	}
	content, err := os.ReadFile("../../deploy/haproxy.cfg")
	if err != nil {
		t.Fatal(err)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	listener, err := l.(*net.TCPListener).File() // a port that was free a moment ago may be another's
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	config := strings.Replace(string(content), "bind :8080", "bind fd@3", 1)
	config = regexp.MustCompile(`(?m)^resolvers docker\n(    .*\n)+`).ReplaceAllString(config, "")
	var servers strings.Builder
	for i, n := range nodes {
		_, port, _ := strings.Cut(n.admin, ":")
		fmt.Fprintf(&servers, "    server ingress%d %s check port %s inter 100ms fall 2 rise 1\n", i, n.listen, port)
	}
	config = regexp.MustCompile(`(?m)^    server-template .*\n`).ReplaceAllString(config, servers.String())
	file := filepath.Join(t.TempDir(), "haproxy.cfg")
	if err := os.WriteFile(file, []byte(config), 0o600); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(program, "-db", "-f", file)
	cmd.ExtraFiles = []*os.File{listener}
	var said bytes.Buffer
	cmd.Stderr = &said
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := cmd.Process.Signal(syscall.SIGTERM); err != nil {
			t.Error(err)
		}
		_ = cmd.Wait() // ended by us
		if t.Failed() {
			t.Logf("HAProxy said %s", &said)
		}
	})
	return l.Addr().String()
}

func isFile(path string) bool {
	info, err := os.Stat(path)
	return err == nil && info.Mode().IsRegular()
}

// Behind a balancer nodes can end, one after the other, and nobody notices.
func TestNodesEndBehindABalancer(t *testing.T) {
	t.Parallel()
	c := newCluster(t)
	nodes := c.nodes(3, "--trusted-proxies", "127.0.0.0/8")
	nodes[0].mustCall("app/Run", fmt.Sprintf(`{"name":"hello","backend":%q}`, named(t, "hello")))
	front := &ingress{t: t, listen: haproxy(t, nodes), exited: make(chan error, 1)}
	front.await("the balancer", func() bool {
		res, err := front.client().Get("http://hello.app.localhost/")
		if err != nil {
			return false
		}
		return res.Body.Close() == nil && res.StatusCode == http.StatusOK
	})
	stop := make(chan struct{})
	var answered atomic.Int64
	var visitors sync.WaitGroup
	for range 4 {
		visitors.Go(func() {
			client := front.client()
			for {
				select {
				case <-stop:
					return
				default:
				}
				res, err := client.Get("http://hello.app.localhost/")
				if err != nil {
					t.Errorf("after %d answers: %v", answered.Load(), err)
					return
				}
				if err := res.Body.Close(); err != nil || res.StatusCode != http.StatusOK {
					t.Errorf("after %d answers: %d, %v", answered.Load(), res.StatusCode, err)
				}
				answered.Add(1)
			}
		})
	}
	for _, n := range nodes[1:] {
		before := answered.Load()
		n.stop()
		front.await("answers of the others", func() bool { return answered.Load() > before+100 })
	}
	close(stop)
	visitors.Wait()
}

// A node that is cut off from the database serves visitors, and is sent no calls as long
// as another one can answer them.
func TestABalancerSendsCallsToWhoReachesTheDatabase(t *testing.T) {
	t.Parallel()
	c := newCluster(t)
	ways := []*storetest.Proxy{c.server.NewProxy(t), c.server.NewProxy(t)}
	nodes := make([]*ingress, len(ways))
	for i, way := range ways {
		env := []string{"INGRESS_DATABASE=" + way.Through(t, c.url), "INGRESS_SECRET_KEY=" + clusterSecret}
		nodes[i] = startIngressIn(t, shortTempDir(t), env, "--trusted-proxies", "127.0.0.0/8")
	}
	nodes[0].mustCall("app/Run", fmt.Sprintf(`{"name":"hello","backend":%q}`, named(t, "hello")))
	for _, n := range nodes {
		n.awaitStatus("http://hello.app.localhost/", http.StatusOK)
	}
	front := &ingress{t: t, listen: haproxy(t, nodes), exited: make(chan error, 1)}
	list := func(path string) answer {
		return front.do(http.MethodGet, path, []string{"Authorization", "Bearer " + bootstrapKey}, "")
	}
	allOf := func(path string) func() bool {
		return func() bool {
			for range 10 {
				if list(path).status != http.StatusOK {
					return false
				}
			}
			return true
		}
	}
	cutOff := func(i int) {
		ways[i].Cut()
		nodes[i].await("the node to be degraded", func() bool { return strings.Contains(nodes[i].adminGet("/readyz"), "degraded") })
	}

	cutOff(0)
	if a := nodes[0].do(http.MethodGet, "http://localhost/v1/url/List", []string{"Authorization", "Bearer " + bootstrapKey}, ""); a.status != http.StatusServiceUnavailable {
		t.Errorf("a call of the node itself: %d %s", a.status, a.body)
	}
	for _, path := range []string{"http://localhost/v1/url/List", "http://localhost/api/url/List"} {
		front.await("calls that are answered", allOf(path))
	}
	served := nodes[0].figure(`ingress_requests_total{class="2xx",reason="",route="app"}`)
	front.await("a visitor whom the node serves", func() bool {
		if a := front.get("http://hello.app.localhost/"); a.body != "hello" {
			t.Fatalf("a visitor: %d %s", a.status, a.body)
		}
		return nodes[0].figure(`ingress_requests_total{class="2xx",reason="",route="app"}`) > served
	})

	cutOff(1)
	front.await("an ingress to say why", func() bool {
		a := list("http://localhost/v1/url/List")
		return a.status == http.StatusServiceUnavailable && strings.Contains(a.body, "the database cannot be reached")
	})

	for _, way := range ways {
		way.Heal()
	}
	front.await("calls that are answered again", allOf("http://localhost/v1/url/List"))
}
