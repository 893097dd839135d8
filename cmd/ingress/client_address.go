package main

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"strings"
	"syscall"
	"time"
)

// dialTimeout bounds connecting, so that a dead host is told from a slow reply.
const dialTimeout = 10 * time.Second

// parseAddress reads the platform's address. Without a scheme it is http for this
// machine and https for any other. No error repeats a password in it.
func parseAddress(text string) (*url.URL, error) {
	if !strings.Contains(text, "://") {
		text = guessScheme(text) + text
	}
	address, err := url.Parse(text)
	if err != nil {
		return nil, badAddress("is not a URL")
	}
	switch {
	case address.Scheme != "http" && address.Scheme != "https":
		return nil, badAddress("must begin with http:// or https://")
	case address.Hostname() == "":
		return nil, badAddress("has no host")
	case address.User != nil:
		return nil, badAddress("must not contain a user or password; set M3O_API_TOKEN to the key instead")
	case address.RawQuery != "" || address.Fragment != "":
		return nil, badAddress("must not have a query or fragment")
	}
	return address, nil
}

func badAddress(why string) error {
	return &problem{text: "the address given with --address or INGRESS_ADDRESS " + why, hint: "An example: http://localhost:8080"}
}

func guessScheme(hostPort string) string {
	if guess, err := url.Parse("http://" + hostPort); err == nil && isLocal(guess) {
		return "http://"
	}
	return "https://"
}

// isLocal reports whether an address can only mean this machine: a loopback
// address, or a name that is one by RFC 6761 section 6.3.
func isLocal(address *url.URL) bool {
	if isLocalName(address.Hostname()) {
		return true
	}
	ip, err := netip.ParseAddr(address.Hostname())
	return err == nil && ip.Unmap().IsLoopback()
}

func isLocalName(host string) bool {
	host = strings.ToLower(strings.TrimSuffix(host, "."))
	return host == "localhost" || strings.HasSuffix(host, ".localhost")
}

// newTransport returns the connection to the platform. With localOnly it reaches
// nothing but loopback addresses, whatever a name or a proxy setting says.
func newTransport(localOnly bool) *http.Transport {
	dialer := &net.Dialer{Timeout: dialTimeout}
	transport := &http.Transport{
		Proxy:               http.ProxyFromEnvironment,
		TLSHandshakeTimeout: dialTimeout,
		ForceAttemptHTTP2:   true,
		// How long an upload waits to be let in; a platform that never says so gets
		// it anyway.
		ExpectContinueTimeout: 5 * time.Second,
	}
	if localOnly {
		transport.Proxy = nil
		dialer.Control = refuseRemote
	}
	transport.DialContext = func(ctx context.Context, network, address string) (net.Conn, error) {
		return dialer.DialContext(ctx, network, nameLoopback(address))
	}
	return transport
}

// nameLoopback turns a name under localhost into localhost itself, since many
// resolvers know only that one.
func nameLoopback(address string) string {
	host, port, err := net.SplitHostPort(address)
	if err != nil || !isLocalName(host) {
		return address
	}
	return net.JoinHostPort("localhost", port)
}

// refuseRemote is a dialer's control function that lets no connection leave
// this machine.
func refuseRemote(_, address string, _ syscall.RawConn) error {
	at, err := netip.ParseAddrPort(address)
	if err != nil || !at.Addr().Unmap().IsLoopback() {
		return fmt.Errorf("%s is not on this machine, and the bootstrap key does not leave it", address)
	}
	return nil
}
