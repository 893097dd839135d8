package main_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"
)

// offVariable says by how many seconds the clock of the program of wrongClock is off.
const offVariable = "INGRESS_TEST_CLOCK_OFF"

// wrongClock makes the real program with a clock that can be off, once for all tests. No
// container and no system call gives a process another time of day, and Go asks no library
// for it; so the standard library's own time.Now is replaced, for all packages.
var wrongClock = sync.OnceValues(func() (path string, err error) {
	root, err := exec.Command("go", "env", "GOROOT").Output()
	if err != nil {
		return "", err
	}
	dir := filepath.Join(strings.TrimSpace(string(root)), "src", "time")
	source, err := os.ReadFile(filepath.Join(dir, "time.go"))
	if err != nil {
		return "", err
	}
	const reading = "func Now() Time {\n\tsec, nsec, mono := runtimeNow()\n"
	if strings.Count(string(source), reading) != 1 {
		return "", fmt.Errorf("this Go's time.Now does not begin with %q", reading)
	}
	files := map[string]string{
		"time.go": strings.Replace(string(source), reading, reading+"\tsec += off\n", 1),
		"off.go":  offSource,
	}
	replaced := map[string]string{}
	for name, text := range files {
		replaced[filepath.Join(dir, name)] = filepath.Join(scratch, name)
		if err := os.WriteFile(filepath.Join(scratch, name), []byte(text), 0o600); err != nil {
			return "", err
		}
	}
	overlay, err := json.Marshal(map[string]any{"Replace": replaced})
	if err != nil {
		return "", err
	}
	if err := os.WriteFile(filepath.Join(scratch, "overlay.json"), overlay, 0o600); err != nil {
		return "", err
	}
	path = filepath.Join(scratch, "ingress-off")
	build := exec.Command("go", "build", "-o", path, "-pgo=off", "-overlay", filepath.Join(scratch, "overlay.json"), ".")
	if out, err := build.CombinedOutput(); err != nil {
		return "", fmt.Errorf("build the program with another clock: %w\n%s", err, out)
	}
	return path, nil
})

// offSource is a file of the package time, which reads offVariable without the packages that
// are built on it.
const offSource = `package time

import "syscall"

var off = func() (seconds int64) {
	text, _ := syscall.Getenv("` + offVariable + `")
	sign := int64(1)
	for _, c := range []byte(text) {
		if c == '-' {
			sign = -1
		} else {
			seconds = 10*seconds + int64(c-'0')
		}
	}
	return sign * seconds
}()
`

// startOff is startIngressIn with a clock that is off.
func startOff(t testing.TB, off time.Duration, dir string, env []string, args ...string) *ingress {
	t.Helper()
	program, err := wrongClock()
	if err != nil {
		t.Fatal(err)
	}
	env = append(env, fmt.Sprintf("%s=%d", offVariable, int64(off/time.Second)))
	return launchProgram(t, program, nil, dir, env, args...).started()
}

// nodeOff is node with a clock that is off.
func (c *cluster) nodeOff(off time.Duration, args ...string) *ingress {
	c.t.Helper()
	return startOff(c.t, off, shortTempDir(c.t), c.env(), args...)
}

// Nodes whose clocks are an hour apart agree on keys, sessions, links and what is changed.
func TestNodesWhoseClocksAreWrong(t *testing.T) {
	t.Parallel()
	c := newCluster(t)
	right, behind, ahead := c.node(), c.nodeOff(-time.Hour), c.nodeOff(time.Hour)
	nodes := []*ingress{right, behind, ahead}
	for i, want := range []time.Duration{0, -time.Hour, time.Hour} {
		said, err := http.ParseTime(nodes[i].get("http://localhost/u/unknown").header.Get("Date"))
		if off := time.Until(said) - want; err != nil || off.Abs() > time.Minute {
			t.Fatalf("a clock that is to be off by %v says %v, %v", want, said, err)
		}
	}
	right.mustCall("user/Create", `{"username":"anna","email":"anna@example.com","password":"correct horse"}`)
	for _, n := range nodes {
		n.awaitNodes(len(nodes))
		link := n.shortened("https://example.com/")
		made := n.mustCall("api/keys/Generate", `{"scopes":["helloworld"]}`)
		secret, _ := made["api_key"].(string)
		opened, _ := n.mustCall("user/Login", `{"username":"anna","password":"correct horse"}`)["session"].(map[string]any)
		session := fmt.Sprintf(`{"session_id":%q}`, opened["id"])
		for _, other := range nodes {
			if a := other.get("http://localhost/u/" + link); a.status != http.StatusFound {
				t.Errorf("a link that another node has made: %d", a.status)
			}
			if status, answer := other.call(secret, "helloworld/Call", `{"name":"x"}`); status != http.StatusOK {
				t.Errorf("a key that another node has made: %d %v", status, answer)
			}
			other.mustCall("user/ReadSession", session)
		}
		n.mustCall("api/keys/Revoke", fmt.Sprintf(`{"id":%q}`, made["api_key_id"]))
		n.mustCall("user/Logout", session)
		n.mustCall("url/Delete", fmt.Sprintf(`{"shortURL":%q}`, link))
		for _, other := range nodes {
			other.awaitStatus("http://localhost/u/"+link, http.StatusNotFound)
			other.await("the key to be refused", func() bool {
				status, _ := other.call(secret, "helloworld/Call", `{"name":"x"}`)
				return status == http.StatusUnauthorized
			})
			other.await("the session to be gone", func() bool {
				status, _ := other.call(bootstrapKey, "user/ReadSession", session)
				return status != http.StatusOK
			})
		}
	}
	for _, n := range nodes {
		n.wantCleanLog()
	}
}
