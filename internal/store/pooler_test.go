package store_test

import (
	"fmt"
	"net"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/m3o/ingress/internal/porttest"
	"github.com/m3o/ingress/internal/skiptest"
	"github.com/m3o/ingress/internal/store/storetest"
)

// startPooler starts PgBouncer in front of a database, as docs/scaling.md has it but for
// the mode, and returns the database's URL through it.
func startPooler(t *testing.T, raw, mode string) string {
	t.Helper()
	program, err := exec.LookPath("pgbouncer")
	if err != nil {
		if program, err = exec.LookPath("/usr/sbin/pgbouncer"); err != nil {
			skiptest.Skip(t, "PgBouncer is not installed")
		}
	}
	manual, err := os.ReadFile("../../docs/scaling.md")
	if err != nil {
		t.Fatal(err)
	}
	ignored := regexp.MustCompile("`(ignore_startup_parameters = [a-z_,]+)`").FindSubmatch(manual)
	if ignored == nil {
		t.Fatal("docs/scaling.md does not say what PgBouncer is to ignore")
	}
	server, err := url.Parse(raw)
	if err != nil {
		t.Fatal(err)
	}
	port := porttest.Free(t)
	address := fmt.Sprintf("127.0.0.1:%d", port)
	dir, err := os.MkdirTemp("", "pooler")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	files := map[string]string{
		"users": `"tests" ""` + "\n",
		"ini": fmt.Sprintf("[databases]\n* = host=%s port=%s\n[pgbouncer]\nlisten_addr = 127.0.0.1\nlisten_port = %d\nunix_socket_dir =\nauth_type = trust\nauth_file = %s\npool_mode = %s\ndefault_pool_size = 50\nserver_login_retry = 1\n%s\n",
			server.Hostname(), server.Port(), port, filepath.Join(dir, "users"), mode, ignored[1]),
	}
	for name, text := range files {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Chmod(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(program, filepath.Join(dir, "ini"))
	if os.Geteuid() == 0 { // as which it does not run
		cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: 65534, Gid: 65534}}
	}
	log, err := os.Create(filepath.Join(dir, "log"))
	if err != nil {
		t.Fatal(err)
	}
	defer log.Close()
	cmd.Stdout, cmd.Stderr = log, log
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := cmd.Process.Kill(); err != nil {
			t.Error(err)
		}
		_ = cmd.Wait() // it was killed
		if t.Failed() {
			said, _ := os.ReadFile(log.Name())
			t.Logf("PgBouncer: %s", said)
		}
	})
	eventually(t, "PgBouncer", func() bool {
		conn, err := net.Dial("tcp", address)
		if err == nil {
			_ = conn.Close()
		}
		return err == nil
	})
	return with(t, raw, func(u *url.URL) { u.Host = address; u.RawQuery = "sslmode=disable" })
}

// A pooler that pools sessions does not keep nodes from hearing of each other, nor from
// coming back after an outage.
func TestNodesBehindAPooler(t *testing.T) {
	server := storetest.StartPostgres(t)
	u := startPooler(t, server.CreateDatabase(t), "session")
	one, heardByOne := node(t, u)
	two, heardByTwo := node(t, u)
	addAtOnce(t, 20, one, two)
	heardByOne.await(t, patience, "sum")
	heardByTwo.await(t, patience, "sum")
	for _, f := range []struct {
		name     string
		down, up func() error
	}{
		{"stopped", server.Stop, func() error { return server.Start(t.Context()) }},
		{"killed", server.Kill, func() error { return server.Start(t.Context()) }},
	} {
		if err := f.down(); err != nil {
			t.Fatal(err)
		}
		eventually(t, "the node to be behind", func() bool { return two.Behind() > 2*time.Second })
		if err := f.up(); err != nil {
			t.Fatal(err)
		}
		eventually(t, "a write", func() bool { return one.SetSetting(t.Context(), f.name, "") == nil })
		heardByTwo.await(t, patience, f.name)
		eventually(t, "the node to be up to date", func() bool { return two.Behind() < 2*time.Second })
	}
}

// A pooler that pools transactions may do for hours, until a notification or a lock is
// missing. The start says so, before it has left a lock to another's connection.
func TestAPoolerOfTransactionsIsRefused(t *testing.T) {
	server := storetest.StartPostgres(t)
	direct := server.CreateDatabase(t)
	u := startPooler(t, direct, "transaction")
	for range 3 {
		db, err := openPostgres(t.Context(), u, "")
		if err == nil {
			db.Close()
			t.Fatal("it opened")
		}
		if text := err.Error(); !strings.Contains(text, "does not pool sessions") || strings.Contains(text, "\n") {
			t.Errorf("it says %q", text)
		}
	}
	storetest.OpenURL(t, direct) // nobody has the lock on the schema
}
