package main

import (
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"strings"
)

// banner is what a start shows to people: where everything is and what to try.
// Without unusual settings its lines fit a terminal of 80 columns. It has no
// colours, so that it can be read on any background and in any log.
type banner struct {
	version   string
	addresses *addresses
	platform  string // "built in", or the remote API's address
	database  string // that others use, too, or empty
	dataDir   string // empty in remote mode
	admin     string // host:port, or empty
	home      string // shown as ~ in paths, or empty
	held      keyHolder
	key       string // the key itself, at its first start on a terminal only
}

// keyHolder says where a key is to be had: in a file, or else in a variable, or else
// where the note says.
type keyHolder struct{ file, variable, note string }

// write prints the banner. A failed write is not worth stopping for: the same
// facts are in the log.
func (b banner) write(w io.Writer) {
	var s strings.Builder
	fmt.Fprintf(&s, "M3O Ingress %s\n\n", b.version)
	b.writeRoutes(&s)
	s.WriteByte('\n')
	row := func(name, value string) { fmt.Fprintf(&s, "  %-10s %s\n", name, value) }
	row("platform", b.platform)
	if b.database != "" {
		row("database", b.database)
	}
	if b.admin != "" {
		row("admin", "http://"+b.admin+"/readyz  /metrics")
	}
	if b.dataDir != "" {
		row("data", b.path(b.dataDir))
	}
	if b.key != "" {
		row("API key", b.key)
		row("", "kept in "+b.path(b.held.file))
	} else if b.held.file != "" {
		row("API key", "in "+b.path(b.held.file))
	} else if b.held.note != "" {
		row("API key", b.held.note)
	} else {
		row("API key", "in $"+b.held.variable)
	}
	fmt.Fprintf(&s, "\nTry:\n%s\n\n", b.example())
	_, _ = io.WriteString(w, s.String())
}

// writeRoutes lists the routes: an address to click, and what it is like.
func (b banner) writeRoutes(w io.Writer) {
	a := b.addresses
	routes := []struct{ name, link, serves string }{
		{"index", a.public.String() + "/", ""},
		{"API", a.public.String() + "/v1/", "/api/{service}/{endpoint}"},
		{"apps", a.under(a.appsDomain) + "/", "{id}." + a.appsDomain},
		{"functions", a.under(a.functionsDomain) + "/", "{id}." + a.functionsDomain},
		{"links", a.urlPrefix, "/u/{id}"},
		{"verify", a.verifyEmailURL, "?token={token}"},
	}
	width := 0
	for _, r := range routes {
		width = max(width, len(r.link))
	}
	for _, r := range routes {
		line := fmt.Sprintf("  %-10s %-*s  %s", r.name, width, r.link, r.serves)
		fmt.Fprintln(w, strings.TrimRight(line, " "))
	}
}

// example is a command that can be pasted.
func (b banner) example() string {
	key := "$" + b.held.variable
	if b.held.file != "" {
		key = "$(cat " + b.path(b.held.file) + ")"
	}
	return fmt.Sprintf("  curl '%s/api/helloworld/Call?name=World' \\\n    -H \"Authorization: Bearer %s\"", b.addresses.public, key)
}

// path is how a shell takes the path, with ~ for the home directory.
func (b banner) path(path string) string {
	inside, err := filepath.Rel(b.home, path)
	if !filepath.IsAbs(b.home) || err != nil || !filepath.IsLocal(inside) {
		return shellQuote(path)
	}
	return "~/" + shellQuote(inside)
}

// shellQuote quotes a path only where a shell needs it.
func shellQuote(s string) string {
	if strings.IndexFunc(s, func(r rune) bool {
		return !strings.ContainsRune("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789/._-", r)
	}) < 0 {
		return s
	}
	return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'"
}

// announce says that the program is ready: a banner for people on stdout, a line
// in the log for everything else.
func (s *server) announce() {
	b := banner{
		version: version(), addresses: s.settings.addresses(),
		home: s.program.env("HOME"), held: s.config.keyHolder(s.program.env),
	}
	b.platform, b.database = s.platform.describe()
	if s.admin != nil {
		b.admin = s.admin.Addr().String()
	}
	if !s.config.remote() {
		b.dataDir = s.config.DataDir
	}
	key := s.platform.bootstrap()
	if key.file != "" {
		b.held = keyHolder{file: key.file}
	}
	if key.elsewhere {
		b.held = keyHolder{variable: "M3O_API_TOKEN", note: "made by another ingress on this database, and kept there"}
	}
	seen := isTerminal(s.program.stdout)
	if seen {
		b.key = key.secret
	}
	b.write(s.program.stdout)
	if !seen || !isTerminal(s.program.stderr) { // who sees both has just read it
		s.log.Info("ready", "version", b.version, "listen", addressesOf(s.listeners), "listen_tls", addressesOf(s.secure), "admin", b.admin, "platform", b.platform, "pid", os.Getpid())
	}
	if key.revoked {
		s.log.Warn("the bootstrap key was revoked and stays so; to get a new one, set another INGRESS_BOOTSTRAP_KEY or remove the file", "file", key.file)
	}
}

func addressesOf(listeners []net.Listener) []string {
	list := make([]string, len(listeners))
	for i, l := range listeners {
		list[i] = l.Addr().String()
	}
	return list
}
