package upstream

import "net/netip"

// network is a range of addresses and what it is.
type network struct {
	prefix netip.Prefix
	what   string
}

type networks []network

// find returns what the address is, or nothing.
func (n networks) find(addr netip.Addr) string {
	for _, network := range n {
		if network.prefix.Contains(addr) {
			return network.what
		}
	}
	return ""
}

// alwaysRefused are addresses that no backend can rightly have (IANA's
// special-purpose registries), and those at which clouds hand out a machine's
// credentials. The latter come first: they are the more telling reason.
var alwaysRefused = networks{
	{netip.MustParsePrefix("169.254.169.254/32"), "it is a cloud's metadata address"},
	{netip.MustParsePrefix("169.254.170.2/32"), "it is a cloud's metadata address"},
	{netip.MustParsePrefix("100.100.100.200/32"), "it is a cloud's metadata address"},
	{netip.MustParsePrefix("168.63.129.16/32"), "it is a cloud's metadata address"},
	{netip.MustParsePrefix("192.0.0.192/32"), "it is a cloud's metadata address"},
	{netip.MustParsePrefix("fd00:ec2::/64"), "it is a cloud's metadata address"},
	{netip.MustParsePrefix("fd20:ce::254/128"), "it is a cloud's metadata address"},
	{netip.MustParsePrefix("169.254.0.0/16"), "it is a link-local address"},
	{netip.MustParsePrefix("fe80::/10"), "it is a link-local address"},
	{netip.MustParsePrefix("0.0.0.0/8"), "it is an unspecified address"},
	{netip.MustParsePrefix("::/128"), "it is an unspecified address"},
	{netip.MustParsePrefix("224.0.0.0/4"), "it is a multicast address"},
	{netip.MustParsePrefix("ff00::/8"), "it is a multicast address"},
	{netip.MustParsePrefix("240.0.0.0/4"), "it is a reserved address"},
}

// privateOnly are addresses that mean something only on this machine or in its
// network.
var privateOnly = networks{
	{netip.MustParsePrefix("127.0.0.0/8"), "it is a loopback address"},
	{netip.MustParsePrefix("::1/128"), "it is a loopback address"},
	{netip.MustParsePrefix("10.0.0.0/8"), "it is a private address"},
	{netip.MustParsePrefix("172.16.0.0/12"), "it is a private address"},
	{netip.MustParsePrefix("192.168.0.0/16"), "it is a private address"},
	{netip.MustParsePrefix("100.64.0.0/10"), "it is a carrier-grade NAT address"},
	{netip.MustParsePrefix("192.0.0.0/24"), "it is a private address"},
	{netip.MustParsePrefix("198.18.0.0/15"), "it is a private address"},
	{netip.MustParsePrefix("fc00::/7"), "it is a unique local address"},
	{netip.MustParsePrefix("fec0::/10"), "it is a site-local address"},
	{netip.MustParsePrefix("64:ff9b:1::/48"), "it is a private translation address"},
}

// disguises returns the address in plain form, and the IPv4 addresses that ways of
// carrying IPv4 over IPv6 would make of it. All of them must be allowed: which of
// these ways the network has cannot be known.
func disguises(addr netip.Addr) []netip.Addr {
	addr = addr.WithZone("").Unmap()
	list := []netip.Addr{addr}
	if addr.Is4() {
		return list
	}
	b := addr.As16()
	switch {
	case sixToFour.Contains(addr):
		list = append(list, netip.AddrFrom4([4]byte(b[2:6])))
	case teredo.Contains(addr): // the client's address is stored inverted
		list = append(list, netip.AddrFrom4([4]byte(b[4:8])), netip.AddrFrom4([4]byte{^b[12], ^b[13], ^b[14], ^b[15]}))
	case localNAT64.Contains(addr): // the prefix has 48 bits, or 96 (RFC 6052 2.2)
		list = append(list, netip.AddrFrom4([4]byte(b[12:16])))
		if b[6] != 0 {
			list = append(list, netip.AddrFrom4([4]byte{b[6], b[7], b[9], b[10]}))
		}
	case nat64.Contains(addr), translated.Contains(addr), isISATAP(b):
		list = append(list, netip.AddrFrom4([4]byte(b[12:16])))
	case v4Compatible.Contains(addr) && addr != netip.IPv6Loopback() && !addr.IsUnspecified():
		list = append(list, netip.AddrFrom4([4]byte(b[12:16])))
	}
	return list
}

var (
	sixToFour    = netip.MustParsePrefix("2002::/16")       // RFC 3056
	teredo       = netip.MustParsePrefix("2001::/32")       // RFC 4380
	nat64        = netip.MustParsePrefix("64:ff9b::/96")    // RFC 6052
	localNAT64   = netip.MustParsePrefix("64:ff9b:1::/48")  // RFC 8215
	translated   = netip.MustParsePrefix("::ffff:0:0:0/96") // RFC 2765 2.1
	v4Compatible = netip.MustParsePrefix("::/96")           // RFC 4291 2.5.5.1
)

// isISATAP reports whether the interface identifier embeds an IPv4 address
// (RFC 5214 6.1).
func isISATAP(b [16]byte) bool {
	return b[8]&^0x02 == 0 && b[9] == 0 && b[10] == 0x5e && b[11] == 0xfe
}
