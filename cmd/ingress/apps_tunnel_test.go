package main_test

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"testing"
	"time"
)

// tunnel is an upgraded connection to an app, as a visitor has it.
type tunnel struct {
	t    testing.TB
	conn *net.TCPConn
	in   *bufio.Reader
}

func (i *ingress) tunnel(name, path string) *tunnel {
	i.t.Helper()
	conn, err := net.Dial("tcp", i.listen)
	if err != nil {
		i.t.Fatal(err)
	}
	i.t.Cleanup(func() { _ = conn.Close() })
	if err := conn.SetDeadline(time.Now().Add(deadline)); err != nil {
		i.t.Fatal(err)
	}
	u := &tunnel{i.t, conn.(*net.TCPConn), bufio.NewReader(conn)}
	fmt.Fprintf(conn, "GET %s HTTP/1.1\r\nHost: %s.app.localhost\r\nConnection: Upgrade\r\nUpgrade: test\r\n\r\n", path, name)
	res, err := http.ReadResponse(u.in, nil)
	if err != nil || res.StatusCode != http.StatusSwitchingProtocols {
		i.t.Fatalf("the upgrade got %+v, %v", res, err)
	}
	return u
}

// echo sends bytes, which must come back.
func (u *tunnel) echo(text string) {
	u.t.Helper()
	got := make([]byte, len(text))
	if _, err := io.WriteString(u.conn, text); err != nil {
		u.t.Fatal(err)
	}
	if _, err := io.ReadFull(u.in, got); err != nil || string(got) != text {
		u.t.Fatalf("got %q, %v, want %q", got, err, text)
	}
}

// halfClose ends the visitor's side alone.
func (u *tunnel) halfClose() {
	u.t.Helper()
	if err := u.conn.CloseWrite(); err != nil {
		u.t.Fatal(err)
	}
}

// rest is what still comes until the other side has ended, too.
func (u *tunnel) rest() string {
	u.t.Helper()
	rest, err := io.ReadAll(u.in)
	if err != nil {
		u.t.Fatalf("%q, and then %v", rest, err)
	}
	return string(rest)
}

// TestAVisitorWhoLeavesATunnelKeepsNoAppAwake has an app that never ends its side
// of an upgraded connection.
func TestAVisitorWhoLeavesATunnelKeepsNoAppAwake(t *testing.T) {
	i := startPlatform(t, "--half-closed-timeout", "5s")
	i.deployed("app", "run", "hello", "--dir", pythonApp(t, "one"), "--idle-timeout", "1s")
	open := i.tunnel("hello", "/open")
	silent, talks, gone := i.tunnel("hello", "/silent"), i.tunnel("hello", "/talks"), i.tunnel("hello", "/gone")
	for _, u := range []*tunnel{open, silent, talks, gone} {
		u.echo("hello")
	}
	silent.halfClose()
	talks.halfClose()
	if err := gone.conn.Close(); err != nil {
		t.Fatal(err)
	}
	within(t, "three ends in the app", func() bool { return len(i.noted("hello", "ended")) == 3 })
	if rest := talks.rest(); rest != "one,two,three" {
		t.Errorf("after the visitor's half had ended the app's got as far as %q", rest)
	}
	if rest := silent.rest(); rest != "" {
		t.Errorf("a silent app said %q", rest)
	}
	i.await("only the open tunnel to be left", func() bool { return i.figure("ingress_requests_in_flight") == 1 })
	open.echo("still here")
	if s := i.service("hello"); s["state"] != "ready" {
		t.Errorf("with an open tunnel it is %v", s["state"])
	}
	open.halfClose()
	if rest := open.rest(); rest != "" {
		t.Errorf("at the end the app said %q", rest)
	}
	i.awaitState("hello", "idle")
	within(t, "end of the idle process", func() bool { return len(launchers(t, i.dir)) == 0 })
}
