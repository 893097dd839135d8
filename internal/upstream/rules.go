package upstream

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"net/url"
	"strconv"
)

// Rules say which addresses a tenant's backend may have. They keep tenants from
// using the ingress to reach what only the machine it runs on can reach. They are
// asked when a backend is registered (Check) and, since names change their
// addresses, in the dialer on every connection. Safe for concurrent use as long as
// the fields do not change.
type Rules struct {
	// AllowPrivate permits loopback, private, carrier-grade NAT and unique local
	// addresses.
	AllowPrivate bool
	// Listeners returns the addresses we listen on ourselves. Their ports are
	// refused on every address of this machine. Nil means none.
	Listeners func() []netip.AddrPort
	// Interfaces returns this machine's addresses; nil means net.InterfaceAddrs.
	Interfaces func() ([]net.Addr, error)
	// Resolver looks names up for Check. Nil means net.DefaultResolver.
	Resolver *net.Resolver
}

// ForbiddenError says that the rules forbid a backend.
type ForbiddenError struct {
	// Address is the URL registered, without its credentials, or the address that
	// was dialled.
	Address string
	// Why is the rule, for whoever registered the backend.
	Why string
}

// Error implements error.
func (e *ForbiddenError) Error() string {
	return fmt.Sprintf("backend %s is not allowed: %s", e.Address, e.Why)
}

// Check reports whether a backend may be registered under this URL: http or https,
// a host and at most a path besides, and each address the host has now allowed. An
// error is a *ForbiddenError, or says that the name could not be looked up.
func (r *Rules) Check(ctx context.Context, u *url.URL) error {
	if why := malformed(u); why != "" {
		return &ForbiddenError{Address: u.Redacted(), Why: why}
	}
	port := portOf(u)
	if addr, err := netip.ParseAddr(u.Hostname()); err == nil {
		return r.check(netip.AddrPortFrom(addr, port))
	}
	resolver := r.Resolver
	if resolver == nil {
		resolver = net.DefaultResolver
	}
	addrs, err := resolver.LookupNetIP(ctx, "ip", u.Hostname())
	if err != nil {
		return fmt.Errorf("the backend's host %s cannot be found: %s", u.Hostname(), lookupFailure(err))
	}
	for _, addr := range addrs {
		if why := r.forbids(netip.AddrPortFrom(addr, port)); why != "" {
			// The name and not its address: the text is shown to whoever registers a
			// backend, who must not be able to read the operator's own zone with it.
			return &ForbiddenError{Address: u.Redacted(), Why: why}
		}
	}
	return nil
}

// lookupFailure says why a name has no address. The resolver's own words name
// the operator's name server, and the text is shown to whoever registers a
// backend.
func lookupFailure(err error) string {
	var failed *net.DNSError
	if errors.As(err, &failed) && failed.IsNotFound {
		return "there is no such name"
	}
	return "the name server did not answer; try again"
}

// malformed says what is wrong with the URL itself, or nothing.
func malformed(u *url.URL) string {
	switch {
	case u.Scheme != "http" && u.Scheme != "https":
		return "the scheme must be http or https"
	case u.User != nil:
		return "it must not contain credentials"
	case u.Fragment != "" || u.RawFragment != "":
		return "it must not contain a fragment"
	case u.RawQuery != "" || u.ForceQuery:
		return "it must not contain a query"
	case u.Opaque != "" || u.Hostname() == "":
		return "it must name a host"
	case portOf(u) == 0:
		return "the port must be a number from 1 to 65535"
	}
	return ""
}

// portOf returns the URL's port, or its scheme's, or 0 when it is no port.
func portOf(u *url.URL) uint16 {
	switch port := u.Port(); {
	case port != "":
		n, err := strconv.ParseUint(port, 10, 16)
		if err != nil {
			return 0
		}
		return uint16(n)
	case u.Scheme == "https":
		return 443
	}
	return 80
}

// checkDial is Check for the dialer, which knows the address.
func (r *Rules) checkDial(address string) error {
	addr, err := netip.ParseAddrPort(address)
	if err != nil {
		return &ForbiddenError{Address: address, Why: "it is not an IP address and a port"}
	}
	return r.check(addr)
}

// check applies the rules to an address.
func (r *Rules) check(to netip.AddrPort) error {
	if why := r.forbids(to); why != "" {
		return &ForbiddenError{Address: to.String(), Why: why}
	}
	return nil
}

// forbids says which rule forbids an address, or one that it may be a disguise
// of, or nothing.
func (r *Rules) forbids(to netip.AddrPort) string {
	for _, addr := range disguises(to.Addr()) {
		if why := r.refuse(netip.AddrPortFrom(addr, to.Port())); why != "" {
			return why
		}
	}
	return ""
}

// refuse says which rule forbids an address, or nothing.
func (r *Rules) refuse(to netip.AddrPort) string {
	if why := alwaysRefused.find(to.Addr()); why != "" {
		return why
	}
	if why := r.refuseOwn(to); why != "" {
		return why
	}
	if r.AllowPrivate {
		return ""
	}
	if why := privateOnly.find(to.Addr()); why != "" {
		return why + "; the operator can allow such addresses with --allow-private-backends"
	}
	return ""
}

// refuseOwn keeps backends from being ourselves: our own port on any address of
// this machine.
func (r *Rules) refuseOwn(to netip.AddrPort) string {
	if r.Listeners == nil {
		return ""
	}
	const own = "it is an address of the ingress itself"
	for _, listener := range r.Listeners() {
		if listener.Port() != to.Port() {
			continue
		}
		if listener.Addr().Unmap() == to.Addr() || to.Addr().IsLoopback() || r.isOurs(to.Addr()) {
			return own
		}
	}
	return ""
}

// isOurs reports whether the address is one of this machine's. If that cannot be
// told it is taken to be.
func (r *Rules) isOurs(addr netip.Addr) bool {
	interfaces := r.Interfaces
	if interfaces == nil {
		interfaces = net.InterfaceAddrs
	}
	ours, err := interfaces()
	if err != nil {
		return true
	}
	for _, our := range ours {
		if prefix, err := netip.ParsePrefix(our.String()); err == nil && prefix.Addr().Unmap() == addr {
			return true
		}
	}
	return false
}
