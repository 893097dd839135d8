package main

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"net/url"
	"strconv"
	"strings"

	"golang.org/x/net/idna"
)

// addresses are the settings every URL that people see is made from. They
// change as a whole, while the program runs.
type addresses struct {
	public          *url.URL
	hosts           []string
	appsDomain      string
	functionsDomain string
	userHost        string
	urlPrefix       string
	verifyEmailURL  string
}

// newAddresses derives the addresses from the settings and from where the
// program listens. The error names the field and the value.
func newAddresses(c *config, listen net.Addr) (*addresses, error) {
	a := &addresses{hosts: c.Host, appsDomain: c.AppsDomain, functionsDomain: c.FunctionsDomain, userHost: c.UserHost}
	for name, host := range map[string]string{"--apps-domain": a.appsDomain, "--functions-domain": a.functionsDomain, "--user-host": a.userHost} {
		if host == "" {
			return nil, fmt.Errorf("%s: it is empty", name)
		}
	}
	var err error
	if a.public, err = publicURL(c, listen); err != nil {
		return nil, err
	}
	a.urlPrefix = c.URLPrefix
	if a.urlPrefix == "" {
		a.urlPrefix = a.atPublic("/u/").String()
	}
	a.urlPrefix, err = completePrefix(a.urlPrefix)
	if err != nil {
		return nil, fmt.Errorf("--url-prefix: %q %w", c.URLPrefix, err)
	}
	a.verifyEmailURL = c.VerifyEmailURL
	if a.verifyEmailURL == "" {
		a.verifyEmailURL = a.under(a.userHost) + "/"
	}
	if _, err := parseWebURL(a.verifyEmailURL); err != nil {
		return nil, fmt.Errorf("--verify-email-url: %q %w", c.VerifyEmailURL, err)
	}
	return a, nil
}

// publicURL is the one set, or the first listener's as a browser on this machine
// would write it.
func publicURL(c *config, listen net.Addr) (*url.URL, error) {
	if c.PublicURL == "" {
		return listenerURL(c, listen), nil
	}
	u, err := parseWebURL(c.PublicURL)
	if err != nil {
		return nil, fmt.Errorf("--public-url: %q %w", c.PublicURL, err)
	}
	if u.User != nil || u.RawQuery != "" || u.Fragment != "" || strings.Trim(u.Path, "/") != "" {
		return nil, fmt.Errorf("--public-url: %q must be scheme, host and port alone", u.Redacted())
	}
	if c.TLS.on() && u.Scheme != "https" {
		return nil, fmt.Errorf("--public-url: %q must begin with https:// where TLS is on: plain requests are redirected", u)
	}
	return &url.URL{Scheme: u.Scheme, Host: u.Host}, nil
}

// listenerURL is what a visitor would write: with TLS the name of the ingress,
// for which there may be a certificate, when it is known.
func listenerURL(c *config, listen net.Addr) *url.URL {
	scheme := "http"
	if c.TLS.on() {
		scheme = "https"
	}
	host := localHost(c.shownListen())
	if c.TLS.on() && len(c.Host) > 0 {
		host = c.Host[0]
	}
	return &url.URL{Scheme: scheme, Host: withPort(host, scheme, listen)}
}

// shownListen is the configured address of the listener that URLs lead to.
func (c *config) shownListen() string {
	if c.TLS.on() {
		return c.TLS.ListenTLS[0]
	}
	return c.Listen[0]
}

// localHost replaces a host that is no address (none, 0.0.0.0, ::) with
// localhost.
func localHost(configured string) string {
	host, _, err := net.SplitHostPort(configured)
	if addr, parseErr := netip.ParseAddr(host); err != nil || host == "" || parseErr == nil && addr.IsUnspecified() {
		return "localhost"
	}
	return host
}

// withPort adds the port really listened on, unless it is the scheme's own.
func withPort(host, scheme string, listen net.Addr) string {
	_, port, err := net.SplitHostPort(listen.String())
	if err != nil || scheme == "http" && port == "80" || scheme == "https" && port == "443" {
		return host
	}
	return net.JoinHostPort(host, port)
}

// completePrefix lets a bare host serve as prefix, as the original platform's
// setting was often written: m3o.one/u/ means https://m3o.one/u/.
func completePrefix(prefix string) (string, error) {
	if !strings.Contains(prefix, "://") {
		prefix = "https://" + prefix
	}
	u, err := parseWebURL(prefix)
	if err != nil {
		return "", err
	}
	if u.User != nil || u.RawQuery != "" || u.Fragment != "" {
		return "", errors.New("must be scheme, host and path alone")
	}
	if !strings.HasSuffix(prefix, "/") {
		prefix += "/"
	}
	return prefix, nil
}

// under returns the origin of a host beside the public one: same scheme, same
// port.
func (a *addresses) under(host string) string {
	if port := a.public.Port(); port != "" {
		host = net.JoinHostPort(host, port)
	}
	return a.public.Scheme + "://" + host
}

// appURL is where visitors reach an app.
func (a *addresses) appURL(id string) string { return a.under(id + "." + a.appsDomain) }

// appHost is the host of an app's URL; empty when apps have no domain.
func (a *addresses) appHost(id string) string {
	if a.appsDomain == "" {
		return ""
	}
	return id + "." + a.appsDomain
}

// functionURL is where visitors reach a function.
func (a *addresses) functionURL(id string) string { return a.under(id + "." + a.functionsDomain) }

// shortens reports whether a URL leads to the shortener itself: under the URL
// prefix, or under /u or /url of the public URL.
func (a *addresses) shortens(u *url.URL) bool {
	prefix, err := url.Parse(a.urlPrefix)
	return err == nil && leadsUnder(u, prefix) ||
		leadsUnder(u, a.atPublic("/u/")) || leadsUnder(u, a.atPublic("/url/"))
}

func (a *addresses) atPublic(path string) *url.URL {
	return &url.URL{Scheme: a.public.Scheme, Host: a.public.Host, Path: path}
}

// leadsUnder compares what a browser would: the host in its ASCII form, the port,
// where the ports of http and https are one, and the decoded path.
func leadsUnder(u, prefix *url.URL) bool {
	return asciiHost(u) == asciiHost(prefix) && webPort(u) == webPort(prefix) && strings.HasPrefix(u.Path, prefix.Path)
}

func asciiHost(u *url.URL) string { return asciiName(u.Hostname()) }

// asciiName returns a host as it is looked up: in lower case, in ASCII, without a
// trailing dot.
func asciiName(host string) string {
	host = strings.TrimSuffix(host, ".")
	if ascii, err := idna.Lookup.ToASCII(host); err == nil {
		return ascii
	}
	return strings.ToLower(host)
}

// webPort returns no port for those that a URL need not have. An http URL of a
// host usually leads where its https URL does.
func webPort(u *url.URL) string {
	if port := u.Port(); port != "80" && port != "443" {
		return port
	}
	return ""
}

// parseWebURL parses an absolute http or https URL. The error is a phrase that
// follows the value.
func parseWebURL(s string) (*url.URL, error) {
	u, err := url.Parse(s)
	if err != nil {
		return nil, errors.New("is not a URL")
	}
	if u.Scheme != "http" && u.Scheme != "https" {
		return nil, errors.New("must begin with http:// or https://")
	}
	if u.Hostname() == "" {
		return nil, errors.New("has no host")
	}
	return u, nil
}

// checkListenAddress accepts host:port with a port number.
func checkListenAddress(field, addr string) error {
	_, port, err := net.SplitHostPort(addr)
	if err != nil {
		return fmt.Errorf("%s: %q is not host:port, such as localhost:8080 or :80", field, addr)
	}
	if _, err := strconv.ParseUint(port, 10, 16); err != nil {
		return fmt.Errorf("%s: %q has no port number", field, addr)
	}
	return nil
}
