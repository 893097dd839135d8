package confine

import (
	"bytes"
	"fmt"
	"os"
	"strconv"

	"golang.org/x/sys/unix"
)

// A proc is a line of the process table.
type proc struct {
	pid, parent, group, session int
	state                       byte
	threads                     int
	// ticks of processor time, and of the machine's clock at its start.
	ticks, start uint64
	// rss in bytes.
	rss int64
}

// alive reports whether it can still do something.
func (p proc) alive() bool { return p.state != 'Z' && p.state != 'X' }

// processes reads the process table. What ends meanwhile is left out.
func processes() (map[int]proc, error) {
	dir, err := os.Open("/proc")
	if err != nil {
		return nil, fmt.Errorf("read the process table: %w", err)
	}
	defer dir.Close()
	entries, err := dir.Readdirnames(-1)
	if err != nil {
		return nil, fmt.Errorf("read the process table: %w", err)
	}
	table := make(map[int]proc, len(entries))
	for _, name := range entries {
		if pid, err := strconv.Atoi(name); err == nil {
			if p, ok := process(pid); ok {
				table[pid] = p
			}
		}
	}
	return table, nil
}

// process reads one line of the process table.
func process(pid int) (proc, bool) {
	stat, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/stat")
	if err != nil {
		return proc{}, false
	}
	return parseStat(pid, stat)
}

// parseStat reads /proc/PID/stat (proc_pid_stat(5)). The name of the program,
// its second field, is chosen by the program and may hold anything: the fields
// are counted from its last bracket.
func parseStat(pid int, stat []byte) (proc, bool) {
	end := bytes.LastIndexByte(stat, ')')
	if end < 0 {
		return proc{}, false
	}
	f := bytes.Fields(stat[end+1:])
	if len(f) < 22 || len(f[0]) != 1 {
		return proc{}, false
	}
	ok := true
	number := func(field int) int64 {
		n, err := strconv.ParseInt(string(f[field-3]), 10, 64)
		ok = ok && err == nil
		return n
	}
	p := proc{
		pid: pid, state: f[0][0],
		parent: int(number(4)), group: int(number(5)), session: int(number(6)),
		ticks:   uint64(number(14)) + uint64(number(15)),
		threads: int(number(20)), start: uint64(number(22)),
		rss: number(24) * int64(os.Getpagesize()),
	}
	return p, ok
}

// signal sends sig to exactly this process: not to another that got its number
// since.
func (p proc) signal(sig unix.Signal) {
	fd, err := unix.PidfdOpen(p.pid, 0)
	if err == unix.ENOSYS || err == unix.EPERM {
		_ = unix.Kill(p.pid, sig)
		return
	}
	if err != nil {
		return // it is gone
	}
	defer unix.Close(fd)
	if now, ok := process(p.pid); ok && now.start == p.start {
		_ = unix.PidfdSendSignal(fd, sig, nil, 0)
	}
}
