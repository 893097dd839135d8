package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"strconv"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// handoverVariable tells a program that it takes another's place, and what the
// descriptors from 3 on are: a JSON list of names.
const handoverVariable = "INGRESS_HANDOVER"

// Names of what is handed over besides listeners, whose names are their setting
// and address.
const (
	handoverLock = "lock"
	handoverTalk = "talk"
)

// What the two programs say to each other, a byte each.
const (
	sayPrepared = 'p' // the new one: everything is open, and nothing is supervised yet
	sayGo       = 'g' // the old one: it supervises nothing any more
	sayServing  = 's' // the new one: it takes requests
)

// handoverTimeout bounds each of their steps: opening a database can mean to
// migrate it.
const handoverTimeout = 2 * time.Minute

// inheritance is what a program has got from the one whose place it takes, or from
// systemd, which talks about nothing. A nil one is that of a program that has got
// nothing.
type inheritance struct {
	listeners map[string][]*os.File
	lock      *os.File
	talk      net.Conn
}

// inherit takes what was handed over, by systemd or by the program whose place this
// one takes, if anything. The descriptors are not for those that this program
// starts.
func inherit(lookup func(string) (string, bool)) (*inheritance, error) {
	text, given := lookup(handoverVariable)
	if !given {
		return activated(lookup)
	}
	if err := os.Unsetenv(handoverVariable); err != nil {
		return nil, fmt.Errorf("%s: %w", handoverVariable, err)
	}
	var names []string
	if err := json.Unmarshal([]byte(text), &names); err != nil {
		return nil, fmt.Errorf("%s is for ingress upgrade itself: %w", handoverVariable, err)
	}
	h := &inheritance{listeners: map[string][]*os.File{}}
	for i, name := range names {
		file := inheritedFile(i, name)
		switch name {
		case handoverLock:
			h.lock = file
		case handoverTalk:
			conn, err := net.FileConn(file)
			if err := errors.Join(err, file.Close()); err != nil {
				return nil, fmt.Errorf("take over: %w", err)
			}
			h.talk = conn
		default:
			h.listeners[name] = append(h.listeners[name], file)
		}
	}
	if h.talk == nil {
		return nil, fmt.Errorf("%s is for ingress upgrade itself", handoverVariable)
	}
	return h, nil
}

// inheritedFile is the nth descriptor handed over.
func inheritedFile(n int, name string) *os.File {
	fd := firstInherited + n
	unix.CloseOnExec(fd)
	return os.NewFile(uintptr(fd), name)
}

// firstInherited is the first descriptor after those that every program has, also
// by sd_listen_fds(3).
const firstInherited = 3

// bySystemd stands for the address of listeners that systemd has opened: they are
// all that there are of their setting, whatever addresses it has.
const bySystemd = "systemd"

// activated takes the sockets that systemd has opened for this process
// (sd_listen_fds(3)). FileDescriptorName= in the socket's unit says what for:
// "listen-tls", "admin-listen", or else "listen".
func activated(lookup func(string) (string, bool)) (*inheritance, error) {
	pid, _ := lookup("LISTEN_PID")
	count, _ := lookup("LISTEN_FDS")
	if pid != strconv.Itoa(os.Getpid()) {
		return nil, nil //nolint:nilnil // nothing was handed over to this process, and that is no error
	}
	n, err := strconv.Atoi(count)
	if err != nil || n < 0 || n > maxActivated {
		return nil, fmt.Errorf("LISTEN_FDS: %q is no number from 0 to %d; LISTEN_PID and LISTEN_FDS are for systemd to set", count, maxActivated)
	}
	names, _ := lookup("LISTEN_FDNAMES")
	h := &inheritance{listeners: map[string][]*os.File{}}
	list := strings.Split(names, ":")
	for i := range n {
		field := "--listen"
		if i < len(list) && (list[i] == "listen-tls" || list[i] == "admin-listen") {
			field = "--" + list[i]
		}
		name := listenerName(field, bySystemd)
		h.listeners[name] = append(h.listeners[name], inheritedFile(i, name))
	}
	return h, nil
}

// maxActivated bounds what is believed of LISTEN_FDS.
const maxActivated = 256

// listenerName names a listener by its setting and the address given there: with
// another address in the configuration the new program opens its own.
func listenerName(field, addr string) string { return field + " " + addr }

// take returns the listeners for an address of a setting, or none.
func (h *inheritance) take(field, addr string) ([]net.Listener, error) {
	if h == nil {
		return nil, nil
	}
	name := listenerName(field, addr)
	var listeners []net.Listener
	for _, file := range h.listeners[name] {
		l, err := net.FileListener(file)
		if err := errors.Join(err, file.Close()); err != nil {
			return listeners, fmt.Errorf("%s: take over %q: %w", field, addr, err)
		}
		listeners = append(listeners, l)
	}
	delete(h.listeners, name)
	return listeners, nil
}

// has reports whether take would return any.
func (h *inheritance) has(field, addr string) bool {
	return h != nil && len(h.listeners[listenerName(field, addr)]) > 0
}

// rest closes what the configuration does not ask for any more.
func (h *inheritance) rest() {
	for _, files := range h.listeners {
		for _, file := range files {
			_ = file.Close() // the one who handed it over still has it
		}
	}
	h.listeners = nil
}

// prepared says that everything is open, and waits until the other program
// supervises nothing any more.
func (h *inheritance) prepared(ctx context.Context) error {
	if h == nil || h.talk == nil {
		return nil
	}
	if err := say(h.talk, sayPrepared); err != nil {
		return fmt.Errorf("take over: %w", err)
	}
	if err := hear(ctx, h.talk, sayGo); err != nil {
		return fmt.Errorf("take over: the program before did not let go: %w", err)
	}
	return nil
}

// serving says that requests are taken now.
func (h *inheritance) serving() error {
	if h == nil {
		return nil
	}
	h.rest()
	if h.talk == nil {
		return nil
	}
	return say(h.talk, sayServing)
}

// ended returns a channel that is closed once the program before has ended, which
// is when nobody else holds the other end of the connection; nil when there is no
// such program. It is to be called once, after prepared.
func (h *inheritance) ended() <-chan struct{} {
	if h == nil || h.talk == nil {
		return nil
	}
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		defer h.talk.Close()
		_ = h.talk.SetReadDeadline(time.Time{}) // which prepared has set
		_, _ = h.talk.Read(make([]byte, 1))     // it says nothing more; it only ends
	}()
	return ended
}

func say(to net.Conn, word byte) error {
	_, err := to.Write([]byte{word})
	return err
}

// hear waits for a word.
func hear(ctx context.Context, from net.Conn, word byte) error {
	stop := context.AfterFunc(ctx, func() { _ = from.SetReadDeadline(time.Unix(1, 0)) })
	defer stop()
	if err := from.SetReadDeadline(time.Now().Add(handoverTimeout)); err != nil {
		return err
	}
	var got [1]byte
	if _, err := io.ReadFull(from, got[:]); err != nil {
		switch {
		case ctx.Err() != nil:
			return ctx.Err()
		case errors.Is(err, io.EOF):
			return errors.New("it ended")
		case errors.Is(err, os.ErrDeadlineExceeded):
			return fmt.Errorf("it took longer than %v", handoverTimeout)
		}
		return err
	}
	if got[0] != word {
		return fmt.Errorf("it said %q instead of %q", got[0], word)
	}
	return nil
}

// bequest is what is handed over: descriptors with their names.
type bequest struct {
	names []string
	files []uintptr
}

// add adds a copy of a descriptor. The copy is made without os.File's Fd, which
// would make the original block.
func (b *bequest) add(name string, from syscall.Conn) error {
	raw, err := from.SyscallConn()
	if err != nil {
		return fmt.Errorf("hand over %s: %w", name, err)
	}
	copied := -1
	controlErr := raw.Control(func(fd uintptr) {
		copied, err = unix.FcntlInt(fd, unix.F_DUPFD_CLOEXEC, 3)
	})
	if err := errors.Join(controlErr, err); err != nil {
		return fmt.Errorf("hand over %s: %w", name, err)
	}
	b.names, b.files = append(b.names, name), append(b.files, uintptr(copied))
	return nil
}

// close gives the copies up; the started program has its own.
func (b *bequest) close() {
	for _, fd := range b.files {
		_ = unix.Close(int(fd))
	}
}

// socketPair makes two connected sockets that no other program inherits, also where a
// system call cannot say both at once.
func socketPair() (pair [2]int, err error) {
	syscall.ForkLock.RLock()
	defer syscall.ForkLock.RUnlock()
	if pair, err = unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM, 0); err == nil {
		unix.CloseOnExec(pair[0])
		unix.CloseOnExec(pair[1])
	}
	return pair, err
}

// start starts the program anew with the bequest, and returns its process and the
// connection to talk to it by.
func (b *bequest) start(executable string, args, env []string) (*os.Process, net.Conn, error) {
	pair, err := socketPair()
	if err != nil {
		return nil, nil, fmt.Errorf("make a way to talk to it: %w", err)
	}
	ours := os.NewFile(uintptr(pair[0]), handoverTalk)
	defer ours.Close()
	defer unix.Close(pair[1])
	names, err := json.Marshal(append(b.names[:len(b.names):len(b.names)], handoverTalk))
	if err != nil {
		return nil, nil, err
	}
	kept := env[:0:0]
	for _, entry := range env {
		if !strings.HasPrefix(entry, handoverVariable+"=") {
			kept = append(kept, entry)
		}
	}
	pid, err := syscall.ForkExec(executable, args, &syscall.ProcAttr{
		Env:   append(kept, handoverVariable+"="+string(names)),
		Files: append(append([]uintptr{0, 1, 2}, b.files...), uintptr(pair[1])),
	})
	if err != nil {
		return nil, nil, fmt.Errorf("start %s: %w", executable, err)
	}
	process, err := os.FindProcess(pid)
	if err != nil {
		return nil, nil, fmt.Errorf("find what was started: %w", err)
	}
	talk, err := net.FileConn(ours)
	if err != nil {
		_ = process.Kill()
		return nil, nil, fmt.Errorf("make a way to talk to it: %w", err)
	}
	return process, talk, nil
}
