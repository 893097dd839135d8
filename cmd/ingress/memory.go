package main

import (
	"os"
	"path/filepath"
	"runtime/debug"
	"strconv"
	"strings"
)

const (
	// gcPercent lets the heap grow to four times what is in use before it is
	// collected, where Go's default is twice. What is in use is a few megabytes, and
	// each collection costs every processor: on small answers a fifteenth of all.
	gcPercent = 300
	// memoryShare is how much of a memory limit the heap may take before it is
	// collected more often instead; the rest is for what Go does not count.
	memoryShare = 0.8
)

// tuneMemory sets how the garbage collector works, unless GOGC or GOMEMLIMIT say
// so. Only a limit of the machine's that can be read is heeded.
func tuneMemory(lookup func(string) (string, bool)) {
	if _, given := lookup("GOGC"); !given {
		debug.SetGCPercent(gcPercent)
	}
	if _, given := lookup("GOMEMLIMIT"); given {
		return
	}
	if limit := memoryLimit("/"); limit > 0 {
		debug.SetMemoryLimit(int64(float64(limit) * memoryShare))
	}
}

// memoryLimit is the memory in bytes that the control groups of this process
// leave it, or 0 when they do not limit it. root is "/", but in tests.
func memoryLimit(root string) int64 {
	own, err := os.ReadFile(filepath.Join(root, "proc/self/cgroup"))
	if err != nil {
		return 0 // not Linux
	}
	lowest := int64(0)
	for line := range strings.Lines(string(own)) {
		f := strings.SplitN(strings.TrimSpace(line), ":", 3)
		if len(f) != 3 {
			continue
		}
		var top, file string
		switch {
		case f[0] == "0" && f[1] == "":
			top, file = "sys/fs/cgroup", "memory.max"
		case f[1] == "memory":
			top, file = "sys/fs/cgroup/memory", "memory.limit_in_bytes"
		default:
			continue
		}
		if limit := lowestLimit(filepath.Join(root, top), f[2], file); limit > 0 && (lowest == 0 || limit < lowest) {
			lowest = limit
		}
	}
	return lowest
}

// lowestLimit looks at a group and those around it. In a container the group's own
// path may not exist, because its top is what the container sees.
func lowestLimit(top, group, file string) int64 {
	lowest := int64(0)
	for dir := filepath.Clean("/" + group); ; dir = filepath.Dir(dir) {
		text, err := os.ReadFile(filepath.Join(top, dir, file))
		if err == nil {
			// "max", and on version 1 a number beyond all memory, mean none.
			limit, err := strconv.ParseInt(strings.TrimSpace(string(text)), 10, 64)
			if err == nil && limit > 0 && limit < 1<<60 && (lowest == 0 || limit < lowest) {
				lowest = limit
			}
		}
		if dir == "/" {
			return lowest
		}
	}
}
