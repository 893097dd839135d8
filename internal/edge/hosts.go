package edge

import (
	"cmp"
	"errors"
	"fmt"
	"net/url"
	"slices"
	"strings"
)

// Hosts says which host is whose (DESIGN 3). Names are without scheme and port,
// in any case, internationalised or not.
type Hosts struct {
	// Own are the hosts that serve the index, /api, /v1, /u, /url and /user. When
	// there are none, localhost and every IP address are ours.
	Own []string
	// AppsDomain and FunctionsDomain are the domains whose subdomains are apps and
	// functions. They must differ; an empty one switches its route off.
	AppsDomain, FunctionsDomain string
	// UserHost serves e-mail verification, with any path. Empty for none; /user on
	// the own hosts serves it as well.
	UserHost string
	// VerifyEmailURL is what mailed verification links begin with, when that is not
	// the user host. Its host serves verification as well, unless it is ours anyway.
	VerifyEmailURL string
	// PublicURL is the address people see, such as https://m3o.example. Its host is
	// ours too, and pages build their links from it. When empty they use the
	// address each visitor came by.
	PublicURL string
	// URLPrefix is what short links begin with, such as https://m3o.example/u/. Its
	// host is ours too.
	URLPrefix string
}

// Check returns the error that New and SetHosts would.
func (h Hosts) Check() error {
	_, err := newHostTable(h, false)
	return err
}

// Claims reports whether a host, in its normal form, is one of these or under the
// domains of apps and functions, whether or not anything is served there.
func (h Hosts) Claims(host string) bool {
	t, err := newHostTable(h, false)
	if err != nil {
		return true // such hosts are in force nowhere
	}
	return t.tenants(host) || t.hostRoute(host, "/").kind != routeUnknownHost
}

// tenants reports whether a host is one of the domains of apps and functions or
// under one, by however many labels.
func (t *hostTable) tenants(host string) bool {
	return slices.ContainsFunc(t.domains, func(d tenantDomain) bool {
		_, under := d.cutFrom(host)
		return under || host == d.name
	})
}

// missesLinks reports whether short links made with the prefix lead past the
// route that serves them.
func (h Hosts) missesLinks() bool {
	u, err := url.Parse(h.URLPrefix)
	return err == nil && h.URLPrefix != "" && u.EscapedPath() != "/u/" && u.EscapedPath() != "/url/"
}

// hostTable answers whose a host is. It is immutable.
type hostTable struct {
	settings Hosts
	user     string
	mailed   string // the host of the verification links, when it is another
	own      map[string]bool
	anyIP    bool
	domains  []tenantDomain // the longer first
	// tenantDomains are the names of domains.
	tenantDomains []string
	// publicResolve adds the resolve methods without /v1 to the own hosts.
	publicResolve bool
}

// tenantDomain is a domain whose subdomains belong to tenants.
type tenantDomain struct {
	name   string
	ids    routeKind // the route of its subdomains
	itself routeKind // the route of the bare domain
}

func newHostTable(hosts Hosts, publicResolve bool) (*hostTable, error) {
	t := &hostTable{settings: hosts, own: make(map[string]bool), anyIP: len(hosts.Own) == 0, publicResolve: publicResolve}
	if t.anyIP {
		t.own["localhost"] = true
	}
	for _, host := range hosts.Own {
		if err := t.addOwn("host", host); err != nil {
			return nil, err
		}
	}
	if err := t.addHostOf("public-url", hosts.PublicURL); err != nil {
		return nil, err
	}
	if err := t.addHostOf("url-prefix", hosts.URLPrefix); err != nil {
		return nil, err
	}
	if err := t.setUser(hosts.UserHost); err != nil {
		return nil, err
	}
	if err := t.setMailed(hosts.VerifyEmailURL); err != nil {
		return nil, err
	}
	if err := t.addDomains(hosts); err != nil {
		return nil, err
	}
	return t, nil
}

func (t *hostTable) addOwn(setting, host string) error {
	name, err := settingHost(setting, host)
	if err == nil {
		t.own[name] = true
	}
	return err
}

func (t *hostTable) addHostOf(setting, address string) error {
	name, err := hostOf(setting, address)
	if name != "" {
		t.own[name] = true
	}
	return err
}

// hostOf returns the normalised host of an http or https URL, and nothing for an
// empty one.
func hostOf(setting, address string) (string, error) {
	if address == "" {
		return "", nil
	}
	u, err := url.Parse(address)
	if err != nil || (u.Scheme != "http" && u.Scheme != "https") || u.Host == "" {
		return "", fmt.Errorf("%s %q: not an http or https URL", setting, address)
	}
	name, err := normaliseHost(u.Host)
	if err != nil {
		return "", fmt.Errorf("%s %q: its host is %w", setting, address, err)
	}
	return name, nil
}

// setMailed comes after the hosts that are ours.
func (t *hostTable) setMailed(address string) error {
	name, err := hostOf("verify-email-url", address)
	if name == "" || t.own[name] || t.anyIP && isIP(name) {
		return err
	}
	t.mailed = name
	return nil
}

func (t *hostTable) setUser(host string) (err error) {
	if host != "" {
		t.user, err = settingHost("user-host", host)
	}
	return err
}

func (t *hostTable) addDomains(hosts Hosts) error {
	for _, d := range []struct {
		setting, name string
		ids, itself   routeKind
	}{
		{"apps-domain", hosts.AppsDomain, routeApp, routeAppsDomain},
		{"functions-domain", hosts.FunctionsDomain, routeFunction, routeFunctionsDomain},
	} {
		if d.name == "" {
			continue
		}
		name, err := settingHost(d.setting, d.name)
		if err != nil {
			return err
		}
		if isIP(name) {
			return fmt.Errorf("%s %q: an IP address has no subdomains", d.setting, d.name)
		}
		t.domains = append(t.domains, tenantDomain{name: name, ids: d.ids, itself: d.itself})
	}
	if len(t.domains) == 2 && t.domains[0].name == t.domains[1].name {
		return fmt.Errorf("apps-domain and functions-domain are both %q: they must differ", t.domains[0].name)
	}
	for _, d := range t.domains {
		t.tenantDomains = append(t.tenantDomains, d.name)
	}
	slices.SortStableFunc(t.domains, func(a, b tenantDomain) int { return cmp.Compare(len(b.name), len(a.name)) })
	return nil
}

// settingHost normalises a host from the configuration, where a port is a
// misunderstanding: hosts are told apart by name alone.
func settingHost(setting, host string) (string, error) {
	bracketed := host
	if strings.Count(host, ":") > 1 && !strings.HasPrefix(host, "[") {
		bracketed = "[" + host + "]"
	}
	name, err := normaliseHost(bracketed)
	if err == nil && (strings.HasSuffix(bracketed, ":") || hasPort(bracketed)) {
		err = errors.New("give it without a port")
	}
	if err != nil {
		return "", fmt.Errorf("%s %q: %w", setting, host, err)
	}
	return name, nil
}

func hasPort(host string) bool {
	return strings.LastIndexByte(host, ':') > strings.LastIndexByte(host, ']')
}
