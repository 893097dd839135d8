package main

import (
	"bufio"
	"context"
	"errors"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/m3o/ingress/internal/skiptest"
	"github.com/m3o/ingress/internal/store/storetest"
)

// The test binary is its own backend and peer, as the program is.
func TestMain(m *testing.M) {
	if len(os.Args) > 1 && (os.Args[1] == "backend" || os.Args[1] == "reverseproxy" || os.Args[1] == "relay") {
		main()
	}
	os.Exit(m.Run())
}

func TestQuantilesAreWithinAStep(t *testing.T) {
	var h histogram
	var all []time.Duration
	for range 10_000 {
		d := time.Duration(1+rand.IntN(1<<rand.IntN(24))) * time.Microsecond
		h.add(d)
		all = append(all, d)
	}
	slices.Sort(all)
	for _, q := range []float64{0, 0.5, 0.9, 0.99, 0.9999} {
		want := all[int(q*float64(len(all)))]
		if got := h.quantile(q); got < want || float64(got) > float64(want)*(1+1.0/subBuckets)+float64(time.Microsecond) {
			t.Errorf("quantile %v is %v, want %v", q, got, want)
		}
	}
}

func TestAnswersAreChecked(t *testing.T) {
	const good = "HTTP/1.1 200 OK\r\ncontent-length: 3\r\n\r\nabc"
	for text, want := range map[string]string{
		good: "",
		"HTTP/1.1 502 Bad Gateway\r\nContent-Length: 0\r\n\r\n":          "want 200",
		"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n": "no Content-Length",
		"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nabc":                "unexpected EOF",
		"": "EOF",
	} {
		in := bufio.NewReader(strings.NewReader(text))
		err := readAnswer(in, "200")
		if (err == nil) != (want == "") || err != nil && !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v, want %q", text, err, want)
		}
		if rest, _ := io.ReadAll(in); err == nil && len(rest) > 0 {
			t.Errorf("%q: %q was not read", text, rest)
		}
	}
}

// needsThreadTimes skips a test where nothing can be measured, unless no test may
// be skipped.
func needsThreadTimes(t *testing.T) {
	t.Helper()
	if _, err := os.Stat("/proc/self/schedstat"); err == nil {
		return
	}
	const why = "the kernel does not tell here how long a thread has run"
	skiptest.Skip(t, why)
}

// A whole run with the one peer that is there on every machine.
func TestARunReportsWhatItMeasured(t *testing.T) {
	needsThreadTimes(t)
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	var ps processes
	defer ps.end()
	backend, err := startBackend(ctx, &ps, t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	files, err := makeCertificate(dir)
	if err != nil {
		t.Fatal(err)
	}
	peers, err := startPeers(ctx, &ps, surroundings{dir: dir, backend: backend, certificate: files}, wanted("reverseproxy"))
	if err != nil {
		t.Fatal(err)
	}
	o := options{rounds: 1, duration: 100 * time.Millisecond, connections: 4, idle: 20}
	all, err := measure(ctx, o, peers, workloads)
	if err != nil {
		t.Fatal(err)
	}
	table := report(o, peers, workloads, all, "")
	for _, w := range workloads {
		_, section, found := strings.Cut(table, "### "+w.name)
		section, _, _ = strings.Cut(section, "\n### ")
		if !found || strings.Contains(section, "requests/s") == w.memory {
			t.Errorf("%s is missing in\n%s", w.name, table)
		}
	}
	if !strings.Contains(table, "| reverseproxy | ") || strings.Contains(table, "| 0.0 µs |") {
		t.Errorf("the figures are\n%s", table)
	}
}

// Several ingresses on one database, for a moment.
func TestSeveralOnOneDatabaseAreMeasured(t *testing.T) {
	needsThreadTimes(t)
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Minute) // it builds the ingress
	defer cancel()
	var ps processes
	defer ps.end()
	o := options{duration: 100 * time.Millisecond, connections: 4}
	table, err := measureCluster(ctx, o, &ps, surroundings{dir: t.TempDir()})
	if errors.Is(err, storetest.ErrNotInstalled) {
		skiptest.Skip(t, err.Error())
	}
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"| 4 | ", "| SQLite | ", "| PostgreSQL, 4 processes | ", "| when it is lost | ", "| the database was paused and goes on | "} {
		if !strings.Contains(table, want) {
			t.Errorf("%q is not in\n%s", want, table)
		}
	}
}

// The command that the compiler's profile is renewed with.
func TestTheProfileIsWritten(t *testing.T) {
	needsThreadTimes(t)
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Minute) // it builds the ingress
	defer cancel()
	var ps processes
	defer ps.end()
	dir := t.TempDir()
	backend, err := startBackend(ctx, &ps, dir)
	if err != nil {
		t.Fatal(err)
	}
	files, err := makeCertificate(dir)
	if err != nil {
		t.Fatal(err)
	}
	out := filepath.Join(dir, "default.pgo")
	o := options{duration: 250 * time.Millisecond, connections: 4}
	if err := renewProfile(ctx, o, &ps, surroundings{dir: dir, backend: backend, certificate: files}, out); err != nil {
		t.Fatal(err)
	}
	if content, err := os.ReadFile(out); err != nil || len(content) < 1000 || content[0] != 0x1f {
		t.Errorf("the profile has %d bytes, %v", len(content), err)
	}
}
