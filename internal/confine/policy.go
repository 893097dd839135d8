// Package confine starts a process that can do no more than it needs: which
// files, ports, memory, processor time and processes it and its descendants may
// use. What the machine offers for that differs; Probe says what is in force.
package confine

import (
	"fmt"
	"os"
)

// User is who a process runs as. The zero User is whoever runs the ingress, the
// only choice of an ordinary user.
type User struct {
	UID uint32 `json:"uid"`
	GID uint32 `json:"gid"`
}

// IsZero reports whether the process keeps the user of the ingress.
func (u User) IsZero() bool { return u == User{} }

// Policy is what a process and its descendants may do. Everything it does not
// name is forbidden as far as the machine can forbid it.
type Policy struct {
	// Name tells the process tree from all others of this machine: the name of its
	// control groups. Letters, digits, "-" and "_".
	Name string `json:"name"`
	// User is who it runs as.
	User User `json:"user"`
	// ReadWrite are the directories it may change; ReadOnly the files and
	// directories it may read and execute besides the system's own. All are
	// absolute and exist; names that lead to them through directories closed to
	// the User are made to work where the machine can.
	ReadWrite []string `json:"read_write"`
	ReadOnly  []string `json:"read_only"`
	// Bind are the TCP ports it may listen on, Connect those it may connect to on
	// any address.
	Bind    []uint16 `json:"bind"`
	Connect []uint16 `json:"connect"`
	// Umask are the permissions that files it makes do not get; 0 stands for 022.
	// Builds that share a cache through their group use 002.
	Umask uint32 `json:"umask,omitempty"`
	// Limits bound what it uses.
	Limits Limits `json:"limits"`
}

// umask is the mask to apply.
func (p Policy) umask() uint32 {
	if p.Umask == 0 {
		return 0o022
	}
	return p.Umask & 0o777
}

// Limits bound a process tree. Zero means no limit.
type Limits struct {
	// Memory in bytes, of the whole tree.
	Memory int64 `json:"memory"`
	// CPU in thousandths of a processor, of the whole tree.
	CPU int `json:"cpu"`
	// Processes, threads included, of the whole tree.
	Processes int `json:"processes"`
	// Files that one process may have open.
	Files int `json:"files"`
	// Disk in bytes beneath ReadWrite together.
	Disk int64 `json:"disk"`
}

// Command is what to start.
type Command struct {
	// Path is the absolute path of the program, Args its arguments with its own
	// name first.
	Path string   `json:"path"`
	Args []string `json:"args"`
	// Env is the whole environment, as NAME=value. Nothing is inherited.
	Env []string `json:"env"`
	// Dir is where it starts.
	Dir string `json:"dir"`
	// Output receives what it writes to standard output and standard error. Its
	// standard input is empty.
	Output *os.File `json:"-"`
}

// Exit is how a process ended.
type Exit struct {
	// Code is its exit code, or -1 when a signal ended it.
	Code int `json:"code"`
	// Signal is the signal's name, such as "SIGKILL", or empty.
	Signal string `json:"signal,omitempty"`
	// Excess says which limit ended it, in words fit for its owner, such as
	// "it used more than 512 MiB of memory"; empty when none did.
	Excess string `json:"excess,omitempty"`
}

// String says how it ended, for the owner of the process.
func (e Exit) String() string {
	switch {
	case e.Excess != "":
		return e.Excess
	case e.Signal != "":
		return "it was ended by " + e.Signal
	}
	return fmt.Sprintf("it exited with code %d", e.Code)
}
