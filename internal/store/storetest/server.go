package storetest

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/m3o/ingress/internal/skiptest"
)

// Server is a PostgreSQL server for tests.
type Server struct {
	base url.URL // of its database postgres
	made atomic.Int64

	// What is below is of a server that the test has started.
	dir, bin string
	parent   string
	settings []string
	port     int
	release  func() error // gives up the port, once place has found one
	owner    *syscall.Credential
	cmd      *exec.Cmd
	exited   chan struct{}
}

// careless are settings of a server whose machine does not crash: killing it loses nothing.
func careless() []string { return []string{"fsync=off", "full_page_writes=off"} }

// StartPostgres starts a server that tests may treat badly, in a temporary directory, on
// a socket and on loopback. As root it is run by an unprivileged user, which PostgreSQL
// insists on. Without its programs the test is skipped.
func StartPostgres(t testing.TB) *Server {
	t.Helper()
	s, err := NewServer(t.Context(), careless()...)
	if errors.Is(err, ErrNotInstalled) {
		skiptest.Skip(t, err.Error())
	}
	if err != nil {
		t.Fatalf("start PostgreSQL: %v", err)
	}
	return s.until(t)
}

// NewServer starts a server of its own with settings, such as fsync=off, until Close. The
// error is ErrNotInstalled where there is none.
func NewServer(ctx context.Context, settings ...string) (*Server, error) {
	return NewServerIn(ctx, "", settings...)
}

// NewServerIn is NewServer with its files in a folder of the one given, or for "" of the
// system's for temporary files.
func NewServerIn(ctx context.Context, parent string, settings ...string) (*Server, error) {
	s := &Server{bin: findPrograms(), parent: parent, settings: settings}
	if s.bin == "" {
		return nil, ErrNotInstalled
	}
	if err := s.begin(ctx, s.initialise); err != nil {
		return nil, err
	}
	return s, nil
}

// begin has the server's files made and starts it, or leaves nothing behind.
func (s *Server) begin(ctx context.Context, files func() error) error {
	err := s.place()
	if err == nil {
		err = files()
	}
	if err == nil {
		err = s.Start(ctx)
	}
	if err != nil {
		return errors.Join(err, s.Close())
	}
	return nil
}

// StartRelease is StartPostgres with the programs in a folder that has them as bin, lib
// and share. The user that runs them need not be able to reach it.
func StartRelease(t testing.TB, programs string) *Server {
	t.Helper()
	s := &Server{settings: careless()}
	err := s.begin(t.Context(), func() error {
		copied := filepath.Join(s.dir, "programs")
		if err := os.CopyFS(copied, os.DirFS(programs)); err != nil {
			return err
		}
		s.bin = filepath.Join(copied, "bin")
		return s.initialise()
	})
	if err != nil {
		t.Fatalf("start PostgreSQL of %s: %v", programs, err)
	}
	return s.until(t)
}

// until has the server end with the test.
func (s *Server) until(t testing.TB) *Server {
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Errorf("remove the PostgreSQL server: %v", err)
		}
	})
	return s
}

// Close ends the server and removes its files.
func (s *Server) Close() error {
	err := errors.Join(s.Stop(), os.RemoveAll(s.dir))
	if s.release != nil {
		err = errors.Join(err, s.release())
	}
	return err
}

// place finds the server a folder, a user and a port.
func (s *Server) place() (err error) {
	if s.dir, err = os.MkdirTemp(s.parent, "pg"); err != nil { // short: a socket's path must be
		return err
	}
	if os.Geteuid() == 0 {
		if s.owner, err = unprivileged(); err != nil {
			return err
		}
		if err := os.Chown(s.dir, int(s.owner.Uid), int(s.owner.Gid)); err != nil {
			return err
		}
	}
	if s.port, s.release, err = reservePort(); err != nil {
		return err
	}
	s.base = url.URL{Scheme: "postgres", User: url.User("tests"), Host: net.JoinHostPort("127.0.0.1", strconv.Itoa(s.port)), Path: "/postgres"}
	return nil
}

// initialise makes the server's files.
func (s *Server) initialise() error {
	init := s.command("initdb", "--pgdata", s.data(), "--username", "tests", "--auth", "trust", "--encoding", "UTF8", "--locale", "C", "--no-sync")
	if out, err := init.CombinedOutput(); err != nil {
		return fmt.Errorf("initdb: %w\n%s", err, out)
	}
	return nil
}

func (s *Server) data() string { return filepath.Join(s.dir, "data") }

// Start starts the server and waits until it answers. It is for one that was
// stopped, too.
func (s *Server) Start(ctx context.Context) error {
	log, err := os.OpenFile(filepath.Join(s.dir, "log"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	defer log.Close() // the server has its own
	args := []string{"-D", s.data(), "-k", s.dir, "-p", strconv.Itoa(s.port), "-h", "127.0.0.1", "-c", "max_connections=200", "-c", "shared_buffers=32MB"}
	for _, setting := range s.settings {
		args = append(args, "-c", setting)
	}
	s.cmd = s.command("postgres", args...)
	s.cmd.Stdout, s.cmd.Stderr = log, log
	if err := s.cmd.Start(); err != nil {
		return err
	}
	s.exited = make(chan struct{})
	go func() {
		defer close(s.exited)
		_ = s.cmd.Wait() // how it ended is in its log
	}()
	return s.await(ctx)
}

// await waits until the server takes connections.
func (s *Server) await(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for {
		conn, err := pgx.Connect(ctx, s.base.String())
		if err == nil {
			return conn.Close(ctx)
		}
		select {
		case <-tick.C:
		case <-s.exited:
			text, _ := os.ReadFile(filepath.Join(s.dir, "log"))
			return fmt.Errorf("it ended: %s", text)
		case <-ctx.Done():
			return fmt.Errorf("it does not answer: %w", err)
		}
	}
}

// Stop has the server end at once and waits for that; connections are cut, as by an
// operator who stops it. What is committed stays.
func (s *Server) Stop() error { return s.end(syscall.SIGINT) }

func (s *Server) end(sig syscall.Signal) error {
	if s.cmd == nil {
		return nil
	}
	select {
	case <-s.exited:
		return nil
	default:
	}
	if err := s.cmd.Process.Signal(sig); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return err
	}
	select {
	case <-s.exited:
		return nil
	case <-time.After(30 * time.Second):
		return errors.Join(errors.New("PostgreSQL did not end in 30 s"), s.cmd.Process.Kill())
	}
}

// Address is where the server listens.
func (s *Server) Address() string { return s.base.Host }
