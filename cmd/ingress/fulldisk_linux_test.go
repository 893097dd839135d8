package main_test

import (
	"fmt"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// TestAFullDiskStopsWritesAndNothingElse bounds what the program may write, as a
// full disk would, and lifts the bound again.
func TestAFullDiskStopsWritesAndNothingElse(t *testing.T) {
	i := startIngress(t)
	backend, _, _ := counter(t)
	i.mustCall("app/run", fmt.Sprintf(`{"name":"hello","backend":%q}`, backend.URL))
	limit := func(bytes uint64) {
		t.Helper()
		bound := unix.Rlimit{Cur: bytes, Max: unix.RLIM_INFINITY}
		if err := unix.Prlimit(i.cmd.Process.Pid, unix.RLIMIT_FSIZE, &bound, nil); err != nil {
			t.Fatal(err)
		}
	}
	limit(400_000)
	kept, full := 0, false
	for n := 0; n < 1000 && !full; n++ {
		status, answer := i.call(bootstrapKey, "url/create", fmt.Sprintf(`{"id":"l%d","destinationURL":"https://example.com/%s"}`, n, strings.Repeat("a", 7000)))
		switch status {
		case 200:
			kept++
		case 503:
			full = strings.Contains(fmt.Sprint(answer["detail"]), "nothing was written")
			if !full {
				t.Fatalf("it says %v", answer)
			}
		default:
			t.Fatalf("%d %v", status, answer)
		}
	}
	if !full {
		t.Fatal("the limit was never met")
	}
	if a := i.get("http://hello.app.localhost/"); a.status != 200 {
		t.Errorf("the app while the disk is full: %d", a.status)
	}
	if got := len(i.mustCall("url/list", `{}`)["urlPairs"].([]any)); got != kept {
		t.Errorf("%d links were acknowledged, %d are there", kept, got)
	}
	limit(unix.RLIM_INFINITY)
	i.mustCall("url/create", `{"id":"after","destinationURL":"https://example.com/"}`)
	i.wantCleanLog()
	again := startIngressIn(t, i.dir, nil)
	if got := len(again.mustCall("url/list", `{}`)["urlPairs"].([]any)); got != kept+1 {
		t.Errorf("%d links were acknowledged, %d are there after a restart", kept+1, got)
	}
}
