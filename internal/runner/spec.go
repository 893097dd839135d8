// Package runner turns a release into a process of this machine with an address.
// Each has a launcher as its parent: the same program in another role, which
// applies the confinement, owns the log, and survives the ingress (decision 5).
package runner

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/m3o/ingress/internal/confine"
)

// spec is what a launcher is told on its standard input, in one line. It holds
// the process's environment, so it is never stored or passed as arguments.
type spec struct {
	Policy  confine.Policy  `json:"policy"`
	Command confine.Command `json:"command"`
	// Attached launchers run a task: they end when their standard input does.
	Attached bool `json:"attached"`
	// The rest is for those that are not. Record is what the launcher writes into
	// StateFile.
	StateFile string        `json:"state_file"`
	Record    record        `json:"record"`
	Log       string        `json:"log"`
	LogBytes  int64         `json:"log_bytes"`
	Orphan    time.Duration `json:"orphan"`
}

// record is a launcher's state file: how a later run of the ingress finds it.
// Only the ingress's own user can read it.
type record struct {
	// PID and Born are the launcher's number and the moment it was started, as the
	// kernel counts it: numbers are used again.
	PID  int    `json:"pid"`
	Born string `json:"born"`
	// Nonce has to be said on the socket.
	Nonce    string    `json:"nonce"`
	Key      string    `json:"key"`
	Version  int64     `json:"version"`
	Revision int64     `json:"revision"`
	Port     uint16    `json:"port"`
	Started  time.Time `json:"started"`
	// Name and User are those of the policy, and Temp its TMPDIR: how to find what
	// the process started when its launcher was killed.
	Name string       `json:"name"`
	User confine.User `json:"user"`
	Temp string       `json:"temp"`
}

// outcome is what a launcher says on its standard output: that the process runs,
// why it does not, or, of a task, how it ended.
type outcome struct {
	Error string        `json:"error,omitempty"`
	Exit  *confine.Exit `json:"exit,omitempty"`
}

// request is a line on a launcher's socket, reply the answer to it.
type request struct {
	Nonce string        `json:"nonce"`
	Do    string        `json:"do"`
	Port  uint16        `json:"port,omitempty"`
	Grace time.Duration `json:"grace,omitempty"`
}

// What a launcher can be asked.
const (
	doWatch   = "watch"   // answered now, and once more when the process has ended
	doListens = "listens" // whether the process listens on Port
	doStop    = "stop"    // SIGTERM now, SIGKILL after Grace
	// doKeep is said on standard input instead, once the process is watched.
	doKeep = "keep"
)

type reply struct {
	Error   string `json:"error,omitempty"`
	Listens bool   `json:"listens,omitempty"`
	// PID, in the first answer to watch, is the process's number.
	PID int `json:"pid,omitempty"`
	// Notice, in the first answer to watch and in every later one that is not the
	// last, is what confine.Process.Notices says at that time.
	Notice string        `json:"notice,omitempty"`
	Exit   *confine.Exit `json:"exit,omitempty"`
}

// maxLine bounds a message: the longest holds an environment.
const maxLine = 4 << 20

var errTooLong = errors.New("the message is too long")

// readMessage reads one JSON value and nothing after its line.
func readMessage(r io.Reader, into any) error {
	limited := &io.LimitedReader{R: r, N: maxLine}
	err := json.NewDecoder(limited).Decode(into)
	if err != nil && limited.N <= 0 {
		return errTooLong
	}
	return err
}

func writeMessage(w io.Writer, message any) error {
	line, err := json.Marshal(message)
	if err != nil {
		return fmt.Errorf("encode a message: %w", err)
	}
	_, err = w.Write(append(line, '\n'))
	return err
}
