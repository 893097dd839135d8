package confine

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// listening returns the sockets of this machine that listen on the TCP port, by
// their inodes.
func listening(port uint16) (map[string]bool, error) {
	inodes := map[string]bool{}
	err := errors.Join(diagListeners(unix.AF_INET, port, inodes), diagListeners(unix.AF_INET6, port, inodes))
	if err == nil {
		return inodes, nil
	}
	// A kernel without the module, or a filter of system calls around us.
	return listed(port)
}

// listed is listening by the files in /proc.
func listed(port uint16) (map[string]bool, error) {
	inodes := map[string]bool{}
	for _, name := range []string{"/proc/net/tcp", "/proc/net/tcp6"} {
		f, err := os.Open(name)
		if errors.Is(err, fs.ErrNotExist) {
			continue // no IPv6
		}
		if err != nil {
			return nil, fmt.Errorf("read the machine's sockets: %w", err)
		}
		err = listeners(f, port, inodes)
		f.Close()
		if err != nil {
			return nil, fmt.Errorf("read %s: %w", name, err)
		}
	}
	return inodes, nil
}

// listeners adds to inodes the sockets of a table (proc_pid_net(5)) that listen
// on port. The kernel writes those that listen first, with the connections still
// being made among them on old kernels, and makes the text as it is read: what
// follows is every connection of the machine, on a busy one tens of thousands,
// and takes far longer than the start of an app.
func listeners(table io.Reader, port uint16, inodes map[string]bool) error {
	const listening, opening = "0A", "03"
	lines := bufio.NewScanner(table)
	for heading := true; lines.Scan(); heading = false {
		f := bytes.Fields(lines.Bytes())
		if heading || len(f) < 10 || string(f[3]) == opening {
			continue
		}
		if string(f[3]) != listening {
			return nil
		}
		_, text, found := strings.Cut(string(f[1]), ":")
		raw, err := hex.DecodeString(text)
		if !found || err != nil || len(raw) != 2 {
			continue
		}
		if binary.BigEndian.Uint16(raw) == port {
			inodes[string(f[9])] = true
		}
	}
	return lines.Err()
}

// holds reports whether a process has one of the sockets open.
func holds(pid int, inodes map[string]bool) bool {
	dir := "/proc/" + strconv.Itoa(pid) + "/fd"
	f, err := os.Open(dir)
	if err != nil {
		return false // it ended, or is not ours to look into
	}
	defer f.Close()
	names, err := f.Readdirnames(-1)
	if err != nil {
		return false
	}
	for _, name := range names {
		target, err := os.Readlink(dir + "/" + name)
		if err != nil {
			continue
		}
		inode, found := strings.CutPrefix(target, "socket:[")
		if found && inodes[strings.TrimSuffix(inode, "]")] {
			return true
		}
	}
	return false
}
