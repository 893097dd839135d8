package source

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"net/url"
	"strconv"
	"strings"
)

// A name is looked up once. The addresses that come of it are checked, and nothing
// but those is connected to, whichever program connects: were it to look the name up
// again, whoever owns the name could give it another address meanwhile.

// schemePorts are the ports of addresses without one.
var schemePorts = map[string]uint16{"https": 443, "ssh": 22, "git": 9418}

// lookUp is the default of Options.Lookup: what this machine's resolver knows.
func lookUp(ctx context.Context, host string, _ uint16) ([]netip.Addr, error) {
	return net.DefaultResolver.LookupNetIP(ctx, "ip", host)
}

// pin looks a repository's host up and returns the addresses that may be connected
// to; none for a repository of this machine.
func (t *tree) pin(ctx context.Context, u *url.URL) ([]netip.Addr, error) {
	if u.Scheme == "file" {
		return nil, nil // parse took it, so the operator allows them
	}
	if _, err := t.ports(u); err != nil {
		return nil, err
	}
	addrs, err := t.options.Lookup(ctx, u.Hostname(), portOf(u))
	if err == nil && len(addrs) == 0 {
		err = errors.New("it has no address")
	}
	if err != nil {
		if ctx.Err() != nil {
			return nil, context.Cause(ctx)
		}
		return nil, fail(Refused, "%s cannot be fetched from: %v", u.Host, err)
	}
	return addrs, nil
}

// portOf returns the port of a URL that Fetcher.ports has let pass.
func portOf(u *url.URL) uint16 {
	if n, err := strconv.ParseUint(u.Port(), 10, 16); err == nil {
		return uint16(n)
	}
	return schemePorts[u.Scheme]
}

// first is the address to connect to for programs that are told of one only. The
// resolver gives first what this machine can reach (RFC 6724).
func (j job) first() netip.Addr {
	if len(j.Addresses) == 0 {
		return netip.Addr{}
	}
	return j.Addresses[0]
}

// curlResolve are settings for git's section [http] that let it connect to the
// checked addresses alone. The second is for whatever name curl may take the host
// for; a curl older than 7.64 does not know it, and has the first.
func (j job) curlResolve() string {
	if j.Repo.URL.Scheme != "https" {
		return ""
	}
	var list []string
	for _, addr := range j.Addresses {
		text := addr.String()
		if addr.Is6() {
			text = "[" + text + "]"
		}
		list = append(list, text)
	}
	names := []string{j.Repo.URL.Hostname(), "*"}
	if _, err := netip.ParseAddr(names[0]); err == nil {
		names = names[1:] // curl looks no address up
	}
	var config strings.Builder
	for _, name := range names {
		fmt.Fprintf(&config, "\tcurloptResolve = \"%s:%d:%s\"\n", name, portOf(j.Repo.URL), strings.Join(list, ","))
	}
	return config.String()
}

// gitAddress is what the system's git is given. For git:// it has the checked
// address in place of the name, which the server is told otherwise (environment).
func (j job) gitAddress() string {
	u, err := url.Parse(j.Repo.Address)
	if j.Repo.URL.Scheme != "git" || err != nil {
		return j.Repo.Address
	}
	u.Host = netip.AddrPortFrom(j.first(), portOf(j.Repo.URL)).String()
	return u.String()
}

// sshHost are options that let ssh connect to the checked address, and know the
// server by its name all the same.
func (j job) sshHost() string {
	if j.Repo.URL.Scheme != "ssh" {
		return ""
	}
	return fmt.Sprintf(" -o Hostname=%s -o HostKeyAlias='%s' -o CheckHostIP=no", j.first(), knownAs(j.Repo.URL))
}

// knownAs is what known_hosts files call a server (sshd(8)).
func knownAs(u *url.URL) string {
	if port := portOf(u); port != schemePorts["ssh"] {
		return fmt.Sprintf("[%s]:%d", u.Hostname(), port)
	}
	return u.Hostname()
}
