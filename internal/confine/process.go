package confine

import (
	"fmt"
	"path/filepath"
	"regexp"
	"strings"
	"time"
)

// Usage is what a process tree uses at one moment.
type Usage struct {
	// Memory in bytes.
	Memory int64 `json:"memory"`
	// CPU is the processor time it has used since it started.
	CPU time.Duration `json:"cpu"`
	// Processes are its processes, and Threads those and their threads.
	Processes int `json:"processes"`
	Threads   int `json:"threads"`
	// Disk in bytes beneath ReadWrite, as of the last look. It is 0 without a
	// limit: nobody looks then.
	Disk int64 `json:"disk"`
}

// Measure is one thing that confinement consists of, and whether this machine
// can do it.
type Measure struct {
	// Name is what it protects, such as "memory limit".
	Name string `json:"name"`
	// InForce says that processes are started with it.
	InForce bool `json:"in_force"`
	// Detail says how it is done, or why it is not.
	Detail string `json:"detail"`
	// Advice says what the operator can do about it; empty when in force.
	Advice string `json:"advice,omitempty"`
}

var names = regexp.MustCompile(`^[A-Za-z0-9_-]{1,128}$`)

// check refuses what Start cannot work with.
func check(p Policy, c Command) error {
	if !names.MatchString(p.Name) {
		return fmt.Errorf("the name %q of a confined process has to be of letters, digits, - and _", p.Name)
	}
	for _, path := range append(append([]string{c.Path, c.Dir}, p.ReadWrite...), p.ReadOnly...) {
		if !filepath.IsAbs(path) || strings.ContainsRune(path, 0) || filepath.Clean(path) != path {
			return fmt.Errorf("%q has to be a clean absolute path", path)
		}
	}
	switch {
	case len(c.Args) == 0:
		return fmt.Errorf("%s has no arguments, not even its own name", c.Path)
	case c.Output == nil:
		return fmt.Errorf("%s has no output", c.Path)
	case p.User.UID == 0 && p.User.GID != 0:
		return fmt.Errorf("a group without a user is not a user to run as")
	}
	return nil
}

// bytesText writes a size as people read it.
func bytesText(n int64) string {
	for _, unit := range []struct {
		size int64
		name string
	}{{1 << 30, "GiB"}, {1 << 20, "MiB"}, {1 << 10, "KiB"}} {
		if n >= unit.size {
			return strings.TrimSuffix(fmt.Sprintf("%.1f", float64(n)/float64(unit.size)), ".0") + " " + unit.name
		}
	}
	return fmt.Sprintf("%d bytes", n)
}
