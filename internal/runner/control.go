package runner

import (
	"crypto/subtle"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/m3o/ingress/internal/confine"
)

// patience bounds how long a launcher waits for a line of a client, and a client
// for an answer.
const patience = 10 * time.Second

// acceptPause is how long a launcher that cannot accept waits before it tries again.
const acceptPause = time.Second

// socketOf is where the launcher of a state file listens.
func socketOf(stateFile string) string {
	return strings.TrimSuffix(stateFile, ".json") + ".sock"
}

// listen opens the socket and writes the state file, in this order: whoever finds
// the file can connect.
func (l *launcher) listen() error {
	stateFile := l.spec.StateFile
	var err error
	if l.listener, err = net.Listen("unix", socketOf(stateFile)); err != nil {
		return fmt.Errorf("listen for the ingress: %w", err)
	}
	if err := os.Chmod(socketOf(stateFile), 0o600); err != nil {
		return fmt.Errorf("listen for the ingress: %w", err)
	}
	r := l.spec.Record
	r.PID = os.Getpid()
	if r.Born, err = bornAt(r.PID); err != nil {
		return err
	}
	return writeRecord(stateFile, r)
}

// close removes what would lead to a launcher that is no more.
func (l *launcher) close() {
	l.closing.Do(func() {
		close(l.ended)
		_ = l.listener.Close() // removes the socket
		_ = os.Remove(l.spec.StateFile)
	})
}

// serve answers on the socket until it is closed.
func (l *launcher) serve() {
	for {
		conn, err := l.listener.Accept()
		if errors.Is(err, net.ErrClosed) {
			return
		}
		if err != nil {
			// Out of descriptors, perhaps those of the whole machine: nothing tells when
			// there are some again, so this asks again after a while.
			select {
			case <-time.After(acceptPause):
			case <-l.ended:
			}
			continue
		}
		go l.answer(conn)
	}
}

// answer does what one connection asks. Only who knows the nonce is listened to.
func (l *launcher) answer(conn net.Conn) {
	_ = conn.SetDeadline(time.Now().Add(patience))
	var r request
	if err := readMessage(conn, &r); err != nil || subtle.ConstantTimeCompare([]byte(r.Nonce), []byte(l.spec.Record.Nonce)) != 1 {
		_ = conn.Close()
		return
	}
	if r.Do == doWatch {
		l.watch(conn)
		return
	}
	defer conn.Close()
	var answer reply
	switch r.Do {
	case doListens:
		listens, err := l.process.Listens(r.Port)
		if answer.Listens = listens; err != nil {
			answer.Error = err.Error()
		}
	case doStop:
		l.stop(r.Grace)
	default:
		answer.Error = "unknown request " + r.Do
	}
	_ = writeMessage(conn, answer) // who does not wait for it does not miss it
}

// watch keeps the connection until the process ends, or the ingress does.
func (l *launcher) watch(conn net.Conn) {
	l.mu.Lock()
	if writeMessage(conn, reply{PID: l.process.PID(), Notice: l.notice}) != nil || conn.SetDeadline(time.Time{}) != nil {
		l.mu.Unlock()
		_ = conn.Close()
		return
	}
	l.watchers[conn] = true
	if l.orphaned != nil {
		l.orphaned.Stop()
	}
	l.mu.Unlock()
	_, _ = conn.Read(make([]byte, 1)) // the ingress says nothing; it only ends
	l.mu.Lock()
	delete(l.watchers, conn)
	if len(l.watchers) == 0 {
		l.setOrphaned()
	}
	l.mu.Unlock()
	_ = conn.Close()
}

// setOrphaned begins the time after which a process that no ingress watches is
// stopped: nobody can visit it then, as if it were idle. It is called with l.mu
// held, so that a watcher who comes meanwhile finds the timer it has to stop.
func (l *launcher) setOrphaned() {
	if l.spec.Orphan <= 0 {
		return
	}
	if l.orphaned != nil {
		l.orphaned.Stop()
	}
	l.orphaned = time.AfterFunc(l.spec.Orphan, func() {
		l.mu.Lock()
		alone := len(l.watchers) == 0
		l.mu.Unlock()
		if alone {
			l.stop(stopGrace)
		}
	})
}

// notify passes on what is wrong with the process, until it has ended.
func (l *launcher) notify() {
	for text := range l.process.Notices() {
		l.mu.Lock()
		l.notice = text
		for conn := range l.watchers {
			_ = conn.SetWriteDeadline(time.Now().Add(patience))
			_ = writeMessage(conn, reply{Notice: text}) // as in announce
		}
		l.mu.Unlock()
	}
}

// announce tells those who watch how the process ended.
func (l *launcher) announce(exit confine.Exit) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for conn := range l.watchers {
		_ = conn.SetWriteDeadline(time.Now().Add(patience))
		_ = writeMessage(conn, reply{Exit: &exit}) // one that has gone asks again after its restart
	}
}

// writeRecord writes a state file that is never seen in part. It is not flushed to
// the disk, for which a request that wakes the app would wait: the file outlasts
// every process, and a machine that loses it has lost its launchers too.
func writeRecord(stateFile string, r record) error {
	var text strings.Builder
	if err := writeMessage(&text, r); err != nil {
		return err
	}
	part := stateFile + ".part"
	err := os.WriteFile(part, []byte(text.String()), 0o600)
	if err == nil {
		err = os.Rename(part, stateFile)
	}
	if err != nil {
		_ = os.Remove(part)
		return fmt.Errorf("write the state file %s: %w", filepath.Base(stateFile), err)
	}
	return nil
}
