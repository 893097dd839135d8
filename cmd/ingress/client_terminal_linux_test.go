package main

import (
	"bytes"
	"context"
	"fmt"
	"net/http"
	"os"
	"runtime"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// newTerminal returns the two ends of a pseudo-terminal: the person's and the
// program's.
func newTerminal(t *testing.T) (person, program *os.File) {
	t.Helper()
	person, err := os.OpenFile("/dev/ptmx", os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { person.Close() })
	if err := unix.IoctlSetPointerInt(int(person.Fd()), unix.TIOCSPTLCK, 0); err != nil {
		t.Fatal(err)
	}
	n, err := unix.IoctlGetInt(int(person.Fd()), unix.TIOCGPTN)
	if err != nil {
		t.Fatal(err)
	}
	program, err = os.OpenFile(fmt.Sprintf("/dev/pts/%d", n), os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { program.Close() })
	return person, program
}

// echoes reports whether a terminal shows what is typed.
func echoes(t *testing.T, terminal *os.File) bool {
	t.Helper()
	state, err := unix.IoctlGetTermios(int(terminal.Fd()), unix.TCGETS)
	if err != nil {
		t.Errorf("read the terminal's state: %v", err)
		return false
	}
	return state.Lflag&unix.ECHO != 0
}

// typing answers each prompt with the next line. A prompt is a write that ends
// in ": "; what is typed before the echo is off would be lost, so the line waits
// in the terminal until it is read.
type typing struct {
	bytes.Buffer
	person *os.File
	lines  []string
}

func (w *typing) Write(p []byte) (int, error) {
	if strings.HasSuffix(string(p), ": ") && len(w.lines) > 0 {
		if _, err := w.person.WriteString(w.lines[0] + "\n"); err != nil {
			return 0, err
		}
		w.lines = w.lines[1:]
	}
	return w.Buffer.Write(p)
}

func (s shell) runAt(t *testing.T, program *os.File, stderr *typing, args ...string) outcome {
	t.Helper()
	s.stdin, s.stderr = program, stderr
	got := s.run(t, args...)
	got.stderr = stderr.String()
	return got
}

func TestPasswordsAreAskedForOnATerminal(t *testing.T) {
	p := newFakePlatform(t, http.StatusOK, `{"account":`+accountJSON+`}`)
	person, program := newTerminal(t)
	prompts := &typing{person: person, lines: []string{"correct horse", "correct horse"}}
	got := withKey().runAt(t, program, prompts, "user", "create", "--email", "jane@example.com", "--address", p.URL)
	if got != (outcome{accountText, "password: \npassword again: \n", 0}) {
		t.Errorf("%+v", got)
	}
	if want := `{"email":"jane@example.com","password":"correct horse"}`; !sameJSON(t, p.requests()[0].body, want) {
		t.Errorf("sent %s", p.requests()[0].body)
	}
	if !echoes(t, program) {
		t.Error("the terminal no longer shows what is typed")
	}
}

func TestPasswordsThatDifferAreNotSent(t *testing.T) {
	p := newFakePlatform(t, http.StatusOK, `{}`)
	person, program := newTerminal(t)
	prompts := &typing{person: person, lines: []string{"correct horse", "correct house"}}
	got := withKey().runAt(t, program, prompts, "user", "create", "--email", "jane@example.com", "--address", p.URL)
	if got.code != 1 || !strings.Contains(got.stderr, "the two passwords differ") || len(p.requests()) != 0 {
		t.Errorf("%+v, sent %v", got, p.requests())
	}
}

func TestInterruptAtAPromptRestoresTheEcho(t *testing.T) {
	_, program := newTerminal(t)
	ctx, interrupt := context.WithTimeout(t.Context(), time.Minute)
	defer interrupt()
	go func() {
		for ctx.Err() == nil && echoes(t, program) {
			runtime.Gosched()
		}
		interrupt()
	}()
	s := withKey()
	s.ctx = ctx
	got := s.runAt(t, program, &typing{}, "user", "login", "--username", "jane")
	if got.code != 1 || !strings.Contains(got.stderr, "interrupted") {
		t.Errorf("%+v", got)
	}
	if !echoes(t, program) {
		t.Error("the terminal no longer shows what is typed")
	}
}
