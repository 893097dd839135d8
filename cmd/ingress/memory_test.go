package main

import (
	"math"
	"os"
	"path/filepath"
	"runtime/debug"
	"testing"
)

func TestTheMemoryLimitIsTheLowestOfTheControlGroups(t *testing.T) {
	for name, c := range map[string]struct {
		files map[string]string
		want  int64
	}{
		"no control groups": {nil, 0},
		"version 2, no limit": {map[string]string{
			"proc/self/cgroup": "0::/a/b\n", "sys/fs/cgroup/a/b/memory.max": "max\n",
		}, 0},
		"version 2, the outer one": {map[string]string{
			"proc/self/cgroup": "0::/a/b\n", "sys/fs/cgroup/a/b/memory.max": "2000000000\n", "sys/fs/cgroup/a/memory.max": "1000000000\n",
		}, 1000000000},
		"version 1": {map[string]string{
			"proc/self/cgroup": "4:cpu,cpuacct:/a\n3:memory:/a\n",
			"sys/fs/cgroup/memory/a/memory.limit_in_bytes":      "500000000\n",
			"sys/fs/cgroup/memory/memory.limit_in_bytes":        "9223372036854771712\n",
			"sys/fs/cgroup/cpu,cpuacct/a/memory.limit_in_bytes": "1\n",
		}, 500000000},
		"a container that sees its own top": {map[string]string{
			"proc/self/cgroup": "0::/docker/0123\n", "sys/fs/cgroup/memory.max": "300000000\n",
		}, 300000000},
		"no number": {map[string]string{
			"proc/self/cgroup": "x\n0::/\n", "sys/fs/cgroup/memory.max": "-5\n",
		}, 0},
	} {
		root := t.TempDir()
		for file, text := range c.files {
			path := filepath.Join(root, file)
			if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
				t.Fatal(err)
			}
		}
		if got := memoryLimit(root); got != c.want {
			t.Errorf("%s: %d, want %d", name, got, c.want)
		}
	}
}

func TestTheOperatorsWordOnMemoryCounts(t *testing.T) {
	percent, limit := debug.SetGCPercent(-1), debug.SetMemoryLimit(-1)
	t.Cleanup(func() {
		debug.SetGCPercent(percent)
		debug.SetMemoryLimit(limit)
	})
	debug.SetGCPercent(77)
	debug.SetMemoryLimit(math.MaxInt64)
	tuneMemory(func(string) (string, bool) { return "", true })
	if got := debug.SetGCPercent(77); got != 77 || debug.SetMemoryLimit(-1) != math.MaxInt64 {
		t.Errorf("given both, the percentage is %d and the limit %d", got, debug.SetMemoryLimit(-1))
	}
	tuneMemory(func(string) (string, bool) { return "", false })
	if got := debug.SetGCPercent(77); got != gcPercent {
		t.Errorf("given none, the percentage is %d", got)
	}
}
