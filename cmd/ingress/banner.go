package main

import (
	"fmt"
	"io"
	"strings"
)

// banner is what a start shows to people: where everything is and what to try.
type banner struct {
	version   string
	addresses *addresses
	platform  string // "built in", or the remote API's address
	dataDir   string // empty in remote mode
	admin     string // host:port, or empty
	keyFile   string // where the API key is, or empty when it was given
	key       string // the key itself, at its first start on a terminal only
}

// write prints the banner. A failed write is not worth stopping for: the same
// facts are in the log.
func (b banner) write(w io.Writer) {
	a := b.addresses
	var s strings.Builder
	fmt.Fprintf(&s, "M3O Ingress %s\n\n", b.version)
	row := func(name, value string) { fmt.Fprintf(&s, "  %-10s %s\n", name, value) }
	route := func(name, link, serves string) { fmt.Fprintf(&s, "  %-10s %-32s %s\n", name, link, serves) }
	route("index", a.public.String()+"/", "")
	route("api", a.public.String()+"/v1/", "/api/{service}/{endpoint}")
	route("apps", a.under(a.appsDomain)+"/", "{id}."+a.appsDomain)
	route("functions", a.under(a.functionsDomain)+"/", "{id}."+a.functionsDomain)
	route("links", a.urlPrefix, "/u/{id}")
	route("verify", a.verifyEmailURL, "?token={token}")
	s.WriteByte('\n')
	row("platform", b.platform)
	if b.admin != "" {
		row("admin", "http://"+b.admin+"/readyz  /metrics")
	}
	if b.dataDir != "" {
		row("data", b.dataDir)
	}
	switch {
	case b.key != "":
		row("API key", b.key+"   (kept in "+b.keyFile+")")
	case b.keyFile != "":
		row("API key", "in "+b.keyFile)
	}
	fmt.Fprintf(&s, "\nTry:\n  %s\n\n", b.example())
	_, _ = io.WriteString(w, s.String())
}

// example is one line that can be pasted.
func (b banner) example() string {
	target := "'" + b.addresses.public.String() + "/api/helloworld/Call?name=World'"
	switch {
	case b.keyFile != "":
		return `curl -H "Authorization: Bearer $(cat ` + shellQuote(b.keyFile) + `)" ` + target
	case b.dataDir != "":
		return `curl -H "Authorization: Bearer $INGRESS_BOOTSTRAP_KEY" ` + target
	}
	return `curl -H "Authorization: Bearer $M3O_API_TOKEN" ` + target
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
