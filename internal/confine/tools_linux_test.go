package confine

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/m3o/ingress/internal/porttest"
	"github.com/m3o/ingress/internal/skiptest"
)

// What apps and builds are made with works confined, without a network.
func TestToolsWork(t *testing.T) {
	for _, tool := range []struct{ name, path, script, want string }{
		{"sh", "/bin/sh", `for i in 1 2 3; do echo $i; done | wc -l; echo x > f; mv f g; mkdir d; mv g d/g; cat d/g; date; ls -l d`, "x"},
		{"node", "/usr/bin/node", `node -e '
			const http = require("http"), cp = require("child_process"), os = require("os"), dns = require("dns"), fs = require("fs");
			os.networkInterfaces(); fs.mkdtempSync(os.tmpdir() + "/x"); new (require("worker_threads").Worker)("1", {eval: true});
			dns.lookup("localhost", (e, a) => {
				if (e) throw e;
				const s = http.createServer((q, r) => r.end("answer")).listen(Number(process.env.PORT || PORT), "127.0.0.1", () =>
					http.get("http://127.0.0.1:" + s.address().port, r => { r.on("data", d => {
						console.log(String(d), cp.execSync("echo child").toString()); process.exit(0) }) }));
			})'`, "child"},
		{"python", "/usr/bin/python3", `python3 -m venv --without-pip v && v/bin/python -c '
import socket, ssl, subprocess, tempfile, multiprocessing, threading
socket.getaddrinfo("localhost", 80); ssl.create_default_context(); tempfile.mkstemp()
t = threading.Thread(target=lambda: None); t.start(); t.join()
print(subprocess.check_output(["echo", "child"]).decode())
r, w = multiprocessing.Pipe(); p = multiprocessing.Process(target=lambda: w.send(1)); p.start(); p.join(); print("pipe", r.recv())'`, "pipe 1"},
		{"go", "/usr/local/go/bin/go", `mkdir m && cd m && printf 'package main\nfunc main() { println("built") }\n' > main.go &&
			printf 'module m\ngo 1.26\n' > go.mod && GOFLAGS=-mod=mod GOTOOLCHAIN=local CGO_ENABLED=0 GOPROXY=off GOTELEMETRY=off go build -o x . && ./x`, "built"},
		{"git", "/usr/bin/git", `git init -q r && cd r && echo a > a && git add a && git -c user.name=n -c user.email=e@e commit -qm first &&
			git gc -q && cd .. && git clone -q --no-hardlinks r s && git -C s log --format=%s`, "first"},
	} {
		t.Run(tool.name, func(t *testing.T) {
			if _, err := exec.LookPath(tool.path); err != nil {
				skiptest.Skip(t, tool.path+" is not installed")
			}
			a := newApp(t, "tool")
			a.policy.Limits = Limits{Memory: 2 << 30, CPU: 2000, Processes: 512, Files: 4096, Disk: 2 << 30}
			port := porttest.Free(t)
			a.policy.Bind = []uint16{port}
			script := strings.ReplaceAll(tool.script, "|| PORT", fmt.Sprintf("|| %d", port))
			exit, out := a.run("/bin/sh", "-c", script)
			if exit != (Exit{}) || !strings.Contains(out, tool.want) {
				t.Errorf("%v: %s", exit, out)
			}
		})
	}
}

// BenchmarkStart measures starting and ending a confined program that does
// nothing, and BenchmarkStartPlain the same without confinement.
func BenchmarkStart(b *testing.B) {
	p := Policy{Name: "bench", ReadWrite: []string{b.TempDir()},
		Limits: Limits{Memory: 64 << 20, CPU: 1000, Processes: 64, Files: 256, Disk: 1 << 30}}
	if os.Geteuid() == 0 {
		p.User = User{UID: 61234, GID: 61234}
	}
	null, err := os.OpenFile(os.DevNull, os.O_WRONLY, 0)
	if err != nil {
		b.Fatal(err)
	}
	defer null.Close()
	for b.Loop() {
		process, err := Start(p, Command{Path: "/bin/true", Args: []string{"true"}, Dir: "/", Output: null})
		if err != nil {
			b.Fatal(err)
		}
		b.StopTimer()
		process.Wait()
		b.StartTimer()
	}
}

func BenchmarkStartPlain(b *testing.B) {
	for b.Loop() {
		cmd := exec.Command("/bin/true")
		if err := cmd.Start(); err != nil {
			b.Fatal(err)
		}
		b.StopTimer()
		_ = cmd.Wait()
		b.StartTimer()
	}
}

func FuzzParseStat(f *testing.F) {
	own, err := os.ReadFile("/proc/self/stat")
	if err != nil {
		f.Fatal(err)
	}
	f.Add(own)
	f.Add([]byte("1 (a) b) S 1 2"))
	f.Fuzz(func(t *testing.T, text []byte) {
		if p, ok := parseStat(7, text); ok && (p.pid != 7 || p.state == 0) {
			t.Errorf("%+v", p)
		}
	})
}

func FuzzHierarchies(f *testing.F) {
	f.Add("30 23 0:26 / /sys/fs/cgroup rw shared:4 - cgroup2 cgroup2 rw\n", "0::/user.slice\n")
	f.Add("30 23 0:26 /a /cg\\040x rw - cgroup cgroup rw,memory\n", "4:memory:/a/b\n")
	f.Fuzz(func(t *testing.T, mounts, own string) {
		for _, h := range parseHierarchies(strings.NewReader(mounts), own) {
			if h.base == "" || h.version == 1 && len(h.controllers) == 0 || filepath.Clean(h.base) != h.base {
				t.Errorf("%+v", h)
			}
		}
	})
}

func FuzzListeners(f *testing.F) {
	f.Add("  0: 0100007F:4E20 00000000:0000 0A 00000000:00000000 00:00000000 00000000 0 0 777 1\n")
	f.Fuzz(func(t *testing.T, table string) {
		found := map[string]bool{}
		_ = listeners(strings.NewReader(table), 20000, found)
		for id := range found {
			if id == "" {
				t.Error("a socket without a number")
			}
		}
	})
}
