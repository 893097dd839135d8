package confine

import (
	"io"
	"os"
	"testing"
)

func TestStart(t *testing.T) {
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	p, err := Start(Policy{Name: "t", User: User{UID: 23456, GID: 23456}, Limits: Limits{Memory: 64 << 20, CPU: 500, Processes: 10, Files: 100}},
		Command{Path: "/bin/sh", Args: []string{"sh", "-c", "id; ulimit -a; cat /proc/self/status /proc/self/cgroup; ls -l /proc/self/fd; (sleep 100 & ) ; exit 3"}, Env: []string{"A=b"}, Dir: "/", Output: w})
	w.Close()
	if err != nil {
		t.Fatal(err)
	}
	b, err := io.ReadAll(r)
	t.Log(string(b), err, p.Wait(), p.Leftover())
}
