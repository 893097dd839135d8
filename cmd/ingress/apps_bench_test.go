package main_test

import (
	"bufio"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/m3o/ingress/internal/porttest"
)

// Run these by hand: go test ./cmd/ingress -run '^$' -bench 'Wake|IdleApps' -benchtime 20x

// tinyApp is a folder with a program that does next to nothing, ready to run, so
// that what is measured is the ingress.
func tinyApp(t testing.TB) (folder, program string) {
	t.Helper()
	folder = t.TempDir()
	source := filepath.Join(t.TempDir(), "main.go")
	const code = `package main

import ("net/http"; "os")

func main() {
	panic(http.ListenAndServe("127.0.0.1:"+os.Getenv("PORT"), http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { w.Write([]byte("tiny")) })))
}
`
	if err := os.WriteFile(source, []byte(code), 0o644); err != nil {
		t.Fatal(err)
	}
	program = filepath.Join(folder, "tiny")
	build := exec.Command("go", "build", "-ldflags=-s -w", "-o", program, source)
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	if err := os.WriteFile(filepath.Join(folder, "Procfile"), []byte("web: ./tiny\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	// A procfile alone says how to start it, not what it is made of.
	return folder, program
}

// BenchmarkWake measures the first request to a sleeping app, and beside it how
// long the app needs by itself from its start to its first answer: medians, since
// whatever else the machine does makes single wakes many times as long.
func BenchmarkWake(b *testing.B) {
	i := startPlatform(b)
	dir, program := tinyApp(b)
	i.deployed("app", "run", "tiny", "--dir", dir, "--idle-timeout", "1s")
	var through, alone []time.Duration
	for b.Loop() {
		i.awaitState("tiny", "idle")
		begin := time.Now()
		if a := i.get(appURL("tiny", "/")); a.body != "tiny" {
			b.Fatalf("got %d %q", a.status, a.body)
		}
		through = append(through, time.Since(begin))
		alone = append(alone, startAlone(b, program))
	}
	b.ReportMetric(middle(through)*1000, "ms/wake")
	b.ReportMetric(middle(alone)*1000, "ms/own-start")
	b.ReportMetric((middle(through)-middle(alone))*1000, "ms/added")
}

// middle is the median, in seconds.
func middle(all []time.Duration) float64 {
	slices.Sort(all)
	return all[len(all)/2].Seconds()
}

// startAlone starts a program and waits for its first answer.
func startAlone(t testing.TB, program string) time.Duration {
	t.Helper()
	address := porttest.Closed(t)
	_, port, _ := net.SplitHostPort(address)
	cmd := exec.Command(program)
	cmd.Env = []string{"PORT=" + port}
	begin := time.Now()
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() { _ = cmd.Process.Kill(); _ = cmd.Wait() }()
	for time.Since(begin) < deadline {
		conn, err := net.Dial("tcp", address)
		if err != nil {
			continue
		}
		_, _ = fmt.Fprintf(conn, "GET / HTTP/1.0\r\n\r\n")
		_, err = bufio.NewReader(conn).ReadString('\n')
		_ = conn.Close()
		if err == nil {
			return time.Since(begin)
		}
	}
	t.Fatal("the program does not answer")
	return 0
}

// BenchmarkIdleApps deploys a thousand apps, lets them fall asleep, and measures
// what the ingress holds for each.
func BenchmarkIdleApps(b *testing.B) {
	const apps = 1000
	i := startPlatform(b, "--idle-timeout", "1s")
	i.mustCall("api/tenants/setquotas", `{"tenant":"default","quotas":{"apps":2000,"version_bytes":100000000000}}`)
	dir, _ := tinyApp(b)
	i.deployed("app", "run", "warm", "--dir", dir)
	i.awaitState("warm", "idle")
	before := i.resident()
	var wait sync.WaitGroup
	next := make(chan int)
	for range 4 {
		wait.Go(func() {
			for n := range next {
				i.deployed("app", "run", fmt.Sprintf("idle%d", n), "--dir", dir)
			}
		})
	}
	for n := range apps {
		next <- n
	}
	close(next)
	wait.Wait()
	i.await("all apps to sleep", func() bool { return len(launchers(b, i.dir)) == 0 })
	processes := len(launchers(b, i.dir))
	after := i.resident()
	for b.Loop() {
		i.get(appURL("idle7", "/"))
	}
	b.ReportMetric(float64(after-before)/apps/1024, "KiB/app")
	b.ReportMetric(float64(processes)/apps, "processes/app")
}

// resident is the program's heap in use after a collection, in bytes.
func (i *ingress) resident() int64 {
	i.t.Helper()
	client := i.operator()
	for range 2 { // what the first collection finds unused, the second frees
		res, err := client.Get("http://ingress/debug/pprof/heap?gc=1")
		if err != nil {
			i.t.Fatal(err)
		}
		_ = res.Body.Close() // the profile itself is not wanted
	}
	return int64(i.figure("go_memstats_heap_alloc_bytes"))
}
