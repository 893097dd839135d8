package storetest

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net"
	"net/url"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/m3o/ingress/internal/skiptest"
	"github.com/m3o/ingress/internal/store"
)

// URLVariable names the variable with the URL of a PostgreSQL server that tests may
// make databases on. Without it, and where the server itself is made to fail, they start
// one of their own.
const URLVariable = "INGRESS_TEST_DATABASE_URL"

// ProgramsVariable names the variable with the folder of PostgreSQL's programs that
// servers are started from, instead of the newest that is installed.
const ProgramsVariable = "INGRESS_TEST_POSTGRES_PROGRAMS"

// Postgres returns an opener of empty databases on a real PostgreSQL server, which
// ends with the test. Where there is none the test is skipped. Work on them takes as long
// as it takes, as it does in SQLite: a slow machine is no silent server.
func Postgres(t testing.TB) func(testing.TB) *store.DB {
	t.Helper()
	server := givenServer(t)
	if server == nil {
		server = StartPostgres(t)
	}
	return func(t testing.TB) *store.DB {
		t.Helper()
		return open(t, store.PostgresOptions{URL: server.CreateDatabase(t), Patient: true})
	}
}

// OpenURL opens a PostgreSQL database until the test ends.
func OpenURL(t testing.TB, url string) *store.DB {
	t.Helper()
	return open(t, store.PostgresOptions{URL: url})
}

func open(t testing.TB, o store.PostgresOptions) *store.DB {
	t.Helper()
	o.Log = slog.New(slog.DiscardHandler)
	db, err := store.OpenPostgres(t.Context(), o)
	if err != nil {
		t.Fatalf("open a database: %v", err)
	}
	t.Cleanup(func() {
		if err := db.Close(); err != nil {
			t.Errorf("close the database: %v", err)
		}
	})
	return db
}

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

// givenServer is the one that URLVariable names, or nil.
func givenServer(t testing.TB) *Server {
	t.Helper()
	raw := os.Getenv(URLVariable)
	if raw == "" {
		return nil
	}
	u, err := url.Parse(raw)
	if err != nil {
		t.Fatalf("%s is no URL", URLVariable)
	}
	return &Server{base: *u}
}

// StartPostgres starts a server that tests may treat badly, in a temporary directory, on
// a socket and on loopback. As root it is run by an unprivileged user, which PostgreSQL
// insists on. Without its programs the test is skipped.
func StartPostgres(t testing.TB) *Server {
	t.Helper()
	// What a crash of the machine would lose is no matter here; killing it loses nothing.
	s, err := NewServer(t.Context(), "fsync=off", "full_page_writes=off")
	if errors.Is(err, ErrNotInstalled) {
		skiptest.Skip(t, err.Error())
	}
	if err != nil {
		t.Fatalf("start PostgreSQL: %v", err)
	}
	return s.until(t)
}

// ErrNotInstalled says that there is no PostgreSQL on this machine.
var ErrNotInstalled = errors.New("PostgreSQL's initdb and postgres are not installed, and " + URLVariable + " is not set")

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
	return s.begin(ctx, s.initialise)
}

// begin has the server's files made and starts it, or leaves nothing behind.
func (s *Server) begin(ctx context.Context, files func() error) (*Server, error) {
	err := s.place()
	if err == nil {
		err = files()
	}
	if err == nil {
		err = s.Start(ctx)
	}
	if err != nil {
		return nil, errors.Join(err, s.Close())
	}
	return s, nil
}

// StartRelease is StartPostgres with the programs in a folder that has them as bin, lib
// and share. The user that runs them need not be able to reach it.
func StartRelease(t testing.TB, programs string) *Server {
	t.Helper()
	s := &Server{bin: "bin", settings: []string{"fsync=off", "full_page_writes=off"}}
	s, err := s.begin(t.Context(), func() error {
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

// Replica starts a server that follows this one, from a copy of its files, for which this
// one is started again.
func (s *Server) Replica(t testing.TB) *Server {
	t.Helper()
	if err := s.Stop(); err != nil {
		t.Fatal(err)
	}
	replica := &Server{bin: s.bin, settings: slices.Concat(s.settings, []string{"primary_conninfo=host=127.0.0.1 user=tests port=" + strconv.Itoa(s.port)})}
	begun, err := replica.begin(t.Context(), func() error {
		if err := os.CopyFS(replica.data(), os.DirFS(s.data())); err != nil {
			return err
		}
		if err := os.WriteFile(filepath.Join(replica.data(), "standby.signal"), nil, 0o600); err != nil {
			return err
		}
		if err := s.Start(t.Context()); err != nil {
			return err
		}
		return replica.own()
	})
	if err != nil {
		t.Fatalf("start a replica: %v", err)
	}
	return begun.until(t)
}

// own gives the server's files to who runs it, and to nobody else.
func (s *Server) own() error {
	return filepath.WalkDir(s.data(), func(path string, entry fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		mode := fs.FileMode(0o600)
		if entry.IsDir() {
			mode = 0o700
		}
		if err := os.Chmod(path, mode); err != nil || s.owner == nil {
			return err
		}
		return os.Chown(path, int(s.owner.Uid), int(s.owner.Gid))
	})
}

// Promote has a replica take the place of the server that it follows.
func (s *Server) Promote() error {
	return s.exec("DO $$ BEGIN ASSERT pg_promote(), 'it is not promoted'; END $$")
}

// Encrypt has the server take connections by TLS alone, with a certificate and its key
// in PEM, from its next start on, for which it is stopped.
func (s *Server) Encrypt(cert, key []byte) error {
	files := map[string][]byte{
		"server.crt": cert, "server.key": key,
		"pg_hba.conf": []byte("hostssl all all 127.0.0.1/32 trust\n"),
	}
	for name, content := range files {
		path := filepath.Join(s.data(), name)
		if err := os.WriteFile(path, content, 0o600); err != nil {
			return err
		}
		if s.owner != nil {
			if err := os.Chown(path, int(s.owner.Uid), int(s.owner.Gid)); err != nil {
				return err
			}
		}
	}
	s.settings = append(s.settings, "ssl=on")
	return s.Stop()
}

// Guard has the server ask a user for a password, from now on.
func (s *Server) Guard(user, password string) error {
	path := filepath.Join(s.data(), "pg_hba.conf")
	rules, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	if err := os.WriteFile(path, append([]byte("host all "+user+" 127.0.0.1/32 scram-sha-256\n"), rules...), 0o600); err != nil {
		return err
	}
	return errors.Join(
		s.exec("CREATE ROLE "+user+" LOGIN SUPERUSER PASSWORD '"+password+"'"),
		s.exec("SELECT pg_reload_conf()"),
	)
}

// Close ends the server and removes its files.
func (s *Server) Close() error { return errors.Join(s.Stop(), s.leave()) }

// leave leaves nothing behind of a server that does not run.
func (s *Server) leave() error {
	err := os.RemoveAll(s.dir)
	if s.release != nil {
		err = errors.Join(err, s.release())
	}
	return err
}

// findPrograms returns the newest folder that has what is needed, or "". Debian
// keeps them where an ordinary PATH does not lead.
func findPrograms() string {
	if given := os.Getenv(ProgramsVariable); given != "" {
		return given
	}
	candidates, _ := filepath.Glob("/usr/lib/postgresql/*/bin") // the pattern is right
	slices.Sort(candidates)
	slices.Reverse(candidates)
	if path, err := exec.LookPath("initdb"); err == nil {
		if path, err = filepath.EvalSymlinks(path); err == nil {
			candidates = append(candidates, filepath.Dir(path))
		}
	}
	for _, dir := range candidates {
		_, noInit := os.Stat(filepath.Join(dir, "initdb"))
		_, noServer := os.Stat(filepath.Join(dir, "postgres"))
		if noInit == nil && noServer == nil {
			return dir
		}
	}
	return ""
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

// unprivileged is somebody to run the server as.
func unprivileged() (*syscall.Credential, error) {
	for _, name := range []string{"postgres", "nobody"} {
		u, err := user.Lookup(name)
		if err != nil {
			continue
		}
		uid, badUID := strconv.ParseUint(u.Uid, 10, 32)
		gid, badGID := strconv.ParseUint(u.Gid, 10, 32)
		return &syscall.Credential{Uid: uint32(uid), Gid: uint32(gid)}, errors.Join(badUID, badGID)
	}
	return nil, errors.New("there is no user postgres or nobody to run it as")
}

func (s *Server) command(program string, args ...string) *exec.Cmd {
	cmd := exec.Command(filepath.Join(s.bin, program), args...)
	cmd.Dir = s.dir
	cmd.Env = []string{"PATH=" + os.Getenv("PATH"), "LC_ALL=C", "HOME=" + s.dir}
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: s.owner}
	return cmd
}

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

// Kill kills all of the server, as a machine that loses power does.
func (s *Server) Kill() error { return s.end(syscall.SIGQUIT) }

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

// Pause stops every process of the server where it is, until Resume: it is there and
// says nothing.
func (s *Server) Pause() error { return s.signalAll(syscall.SIGSTOP) }

// Resume ends a Pause.
func (s *Server) Resume() error { return s.signalAll(syscall.SIGCONT) }

// signalAll signals the server and the processes it has made for connections.
func (s *Server) signalAll(sig syscall.Signal) error {
	pids := []int{s.cmd.Process.Pid}
	lists, _ := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/children", pids[0])) // the pattern is right
	for _, list := range lists {
		text, err := os.ReadFile(list)
		if err != nil {
			return err
		}
		for _, field := range strings.Fields(string(text)) {
			pid, err := strconv.Atoi(field)
			if err != nil {
				return err
			}
			pids = append(pids, pid)
		}
	}
	for _, pid := range pids {
		if err := syscall.Kill(pid, sig); err != nil && !errors.Is(err, syscall.ESRCH) {
			return err
		}
	}
	return nil
}

// CreateDatabase makes an empty database and returns its URL. It is removed with the
// server, or when the test ends.
func (s *Server) CreateDatabase(t testing.TB) string {
	t.Helper()
	name, err := s.NewDatabase()
	if err != nil {
		t.Fatal(err)
	}
	if s.cmd == nil { // a server that stays
		t.Cleanup(func() {
			if err := s.exec("DROP DATABASE IF EXISTS " + name + " WITH (FORCE)"); err != nil {
				t.Error(err)
			}
		})
	}
	return s.DatabaseURL(name)
}

// NewDatabase makes an empty database and returns its name.
func (s *Server) NewDatabase() (name string, err error) {
	name = fmt.Sprintf("test_%d_%d", os.Getpid(), s.made.Add(1))
	return name, s.exec("CREATE DATABASE " + name)
}

// DatabaseURL is the URL of a database of the server.
func (s *Server) DatabaseURL(name string) string {
	u := s.base
	u.Path = "/" + name
	return u.String()
}

// Address is where the server listens.
func (s *Server) Address() string { return s.base.Host }

// exec runs a statement in the server's own database.
func (s *Server) exec(statement string) error {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	conn, err := pgx.Connect(ctx, s.base.String())
	if err != nil {
		return fmt.Errorf("connect to PostgreSQL: %w", err)
	}
	_, err = conn.Exec(ctx, statement)
	if err := errors.Join(err, conn.Close(ctx)); err != nil {
		return fmt.Errorf("%s: %w", statement, err)
	}
	return nil
}
