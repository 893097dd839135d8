package runner

import (
	"fmt"
	"os"
	"strconv"
	"strings"
)

// bornAt returns when a process was started, in ticks since the machine was
// (proc(5), field 22 of stat), together with which boot that was.
func bornAt(pid int) (string, error) {
	stat, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/stat")
	if err != nil {
		return "", fmt.Errorf("see when process %d was started: %w", pid, err)
	}
	// The second field, in parentheses, may hold anything, spaces included.
	fields := strings.Fields(string(stat[strings.LastIndexByte(string(stat), ')')+1:]))
	const started = 22 - 3 // the first of these fields is the third
	if len(fields) <= started {
		return "", fmt.Errorf("see when process %d was started: its stat is too short", pid)
	}
	boot, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
	if err != nil {
		return "", fmt.Errorf("see which boot this is: %w", err)
	}
	return fields[started] + "@" + strings.TrimSpace(string(boot)), nil
}
