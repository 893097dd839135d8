package edge

import (
	"net/http"
	"net/netip"
	"slices"
	"strings"
)

// forwarded decides who came, and tells backends. Headers that say so are
// believed only when the peer itself is a trusted proxy: anyone else could write
// what they like into them.
type forwarded struct {
	trusted []netip.Prefix
}

// newForwarded returns the rules for these trusted proxies.
func newForwarded(trusted []netip.Prefix) forwarded {
	f := forwarded{}
	for _, prefix := range trusted {
		f.trusted = append(f.trusted, plainPrefix(prefix))
	}
	return f
}

// plainPrefix turns a prefix of IPv4-mapped addresses into one of IPv4, the form
// in which addresses are compared.
func plainPrefix(p netip.Prefix) netip.Prefix {
	if p.Addr().Is4In6() && p.Bits() >= 96 {
		p = netip.PrefixFrom(p.Addr().Unmap(), p.Bits()-96)
	}
	return p.Masked()
}

func (f forwarded) trusts(addr netip.Addr) bool {
	return slices.ContainsFunc(f.trusted, func(p netip.Prefix) bool { return p.Contains(addr) })
}

// journey is what is believed of the way a request took to us. The visitor's
// address is invalid when the listener is not an IP socket.
type journey struct {
	visitor visitor
	// hops are the addresses it came by, the visitor's side first, our peer last.
	hops []netip.Addr
	// from is the index of the visitor in hops.
	from int
	// believed says that the peer is trusted.
	believed bool
}

// journey reads the forwarding headers of a trusted peer. X-Forwarded-For is
// preferred to Forwarded: it is what proxies in use write, and one that writes it
// may let a client's Forwarded through.
func (f forwarded) journey(r *http.Request) journey {
	j := journey{visitor: direct(r)}
	if !j.visitor.addr.IsValid() {
		return j
	}
	j.believed = f.trusts(j.visitor.addr)
	if j.believed && len(r.Header["X-Forwarded-For"]) > 0 {
		j.hops = readXFF(r.Header["X-Forwarded-For"])
		j.hops = append(j.hops, j.visitor.addr)
		f.findVisitor(&j)
	} else if elements := r.Header["Forwarded"]; j.believed && len(elements) > 0 {
		f.readForwarded(&j, elements)
	} else {
		j.hops = []netip.Addr{j.visitor.addr}
	}
	if j.believed {
		j.readXForwarded(r.Header)
	}
	return j
}

// direct returns the peer as the visitor, as if no proxy were in front.
func direct(r *http.Request) visitor {
	v := visitor{scheme: "http", host: r.Host}
	if r.TLS != nil {
		v.scheme = "https"
	}
	if peer, err := netip.ParseAddrPort(r.RemoteAddr); err == nil {
		v.addr = plainAddr(peer.Addr())
	}
	return v
}

func plainAddr(a netip.Addr) netip.Addr { return a.Unmap().WithZone("") }

// findVisitor walks from our peer outwards: the first address that is no trusted
// proxy is the visitor. If all are trusted it is the outermost.
func (f forwarded) findVisitor(j *journey) {
	j.from = len(j.hops) - 1
	for j.from > 0 && f.trusts(j.hops[j.from]) {
		j.from--
	}
	j.visitor.addr = j.hops[j.from]
}

// readXFF returns the well-formed addresses at the end of the list. What stands
// left of a malformed one was not written by a proxy that could be believed.
func readXFF(values []string) []netip.Addr {
	var hops []netip.Addr
	for _, value := range values {
		for item := range strings.SplitSeq(value, ",") {
			addr, ok := parseNode(strings.Trim(item, " \t"))
			if !ok {
				hops = hops[:0]
				continue
			}
			hops = append(hops, addr)
		}
	}
	return hops
}

// parseNode reads an address as proxies write them: bare, in brackets, and either
// with a port.
func parseNode(s string) (netip.Addr, bool) {
	if addrPort, err := netip.ParseAddrPort(s); err == nil {
		return plainAddr(addrPort.Addr()), true
	}
	if inner, ok := strings.CutPrefix(s, "["); ok {
		if s, ok = strings.CutSuffix(inner, "]"); !ok {
			return netip.Addr{}, false
		}
	}
	addr, err := netip.ParseAddr(s)
	return plainAddr(addr), err == nil
}

// element is one step of a Forwarded header (RFC 7239).
type element struct {
	addr        netip.Addr
	host, proto string
}

// readForwarded takes the way from Forwarded. Each element was written by the
// proxy that received the request from its "for", so the visitor's element says
// which scheme and host the visitor used.
func (f forwarded) readForwarded(j *journey, values []string) {
	elements := parseForwarded(values)
	for _, e := range elements {
		j.hops = append(j.hops, e.addr)
	}
	j.hops = append(j.hops, j.visitor.addr)
	f.findVisitor(j)
	if j.from < len(elements) {
		j.visitor.setScheme(elements[j.from].proto)
		j.visitor.setHost(elements[j.from].host)
	}
}

// parseForwarded returns the elements at the end of the list whose address is
// known, for the reason given at readXFF.
func parseForwarded(values []string) []element {
	var elements []element
	for _, value := range values {
		for item := range listItems(value, ',') {
			e, ok := parseElement(item)
			if !ok {
				elements = elements[:0]
				continue
			}
			elements = append(elements, e)
		}
	}
	return elements
}

// parseElement reads one element: pairs separated by semicolons, names in any
// case, values as tokens or quoted. It is not ok without an address.
func parseElement(item string) (e element, ok bool) {
	for pair := range listItems(item, ';') {
		name, value, _ := strings.Cut(pair, "=")
		value = unquote(value)
		switch strings.ToLower(name) {
		case "for":
			if e.addr, ok = parseNode(value); !ok {
				return element{}, false
			}
		case "host":
			e.host = value
		case "proto":
			e.proto = value
		}
	}
	return e, ok
}

// unquote returns the content of a quoted string (RFC 9110 5.6.4), and anything
// else as it is.
func unquote(s string) string {
	if len(s) < 2 || s[0] != '"' || s[len(s)-1] != '"' {
		return s
	}
	var text strings.Builder
	for i := 1; i < len(s)-1; i++ {
		if s[i] == '\\' && i+1 < len(s)-1 {
			i++
		}
		text.WriteByte(s[i])
	}
	return text.String()
}

// readXForwarded believes the scheme and host our trusted peer wrote: the last of
// a list, since proxies append.
func (j *journey) readXForwarded(h http.Header) {
	j.visitor.setScheme(lastItem(h["X-Forwarded-Proto"]))
	j.visitor.setHost(lastItem(h["X-Forwarded-Host"]))
}

func lastItem(values []string) string {
	if len(values) == 0 {
		return ""
	}
	last := values[len(values)-1]
	return strings.Trim(last[strings.LastIndexByte(last, ',')+1:], " \t")
}

// setScheme keeps what it had unless given a scheme of ours. Some proxies write
// ws and wss for WebSockets.
func (v *visitor) setScheme(scheme string) {
	switch strings.ToLower(scheme) {
	case "http", "ws":
		v.scheme = "http"
	case "https", "wss":
		v.scheme = "https"
	}
}

// setHost keeps what it had unless given something that can stand in a URL.
func (v *visitor) setHost(host string) {
	if host != "" && !strings.ContainsFunc(host, notInHost) {
		v.host = host
	}
}

func notInHost(r rune) bool {
	return !(r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || strings.ContainsRune("-._:[]", r))
}

// write tells the backend the way: X-Forwarded-* for those who read them, and
// Forwarded, the standard. Headers of that kind that came from anyone but a
// trusted proxy are dropped.
func (j journey) write(out http.Header) {
	if !j.believed {
		for name := range out {
			if strings.HasPrefix(name, "X-Forwarded-") {
				delete(out, name)
			}
		}
	}
	dropLookalikes(out)
	delete(out, "Forwarded")
	delete(out, "X-Forwarded-For")
	values := []string{j.visitor.host, j.visitor.scheme, "", ""} // one allocation for all four
	out["X-Forwarded-Host"], out["X-Forwarded-Proto"] = values[0:1:1], values[1:2:2]
	if len(j.hops) > 0 {
		values[2], values[3] = j.list(), j.elements()
		out["X-Forwarded-For"], out["Forwarded"] = values[2:3:3], values[3:4:4]
	}
}

// dropLookalikes takes out names with an underscore that servers which put headers
// into environment variables (RFC 3875 4.1.18) would mix up with ours.
func dropLookalikes(out http.Header) {
	for name := range out {
		if strings.IndexByte(name, '_') < 0 {
			continue
		}
		same := http.CanonicalHeaderKey(strings.ReplaceAll(name, "_", "-"))
		if same == "Forwarded" || same == requestIDHeader || strings.HasPrefix(same, "X-Forwarded-") {
			delete(out, name)
		}
	}
}

func (j journey) list() string {
	if len(j.hops) == 1 {
		return j.hops[0].String()
	}
	var list []byte
	for i, hop := range j.hops {
		if i > 0 {
			list = append(list, ", "...)
		}
		list = hop.AppendTo(list)
	}
	return string(list)
}

// elements writes RFC 7239. Scheme and host stand with the visitor, who used them.
func (j journey) elements() string {
	list := make([]byte, 0, 96)
	for i, hop := range j.hops {
		if i > 0 {
			list = append(list, ", "...)
		}
		list = appendFor(list, hop)
		if i == j.from {
			list = append(list, ";host=\""...)
			list = appendQuoted(list, j.visitor.host)
			list = append(list, "\";proto="...)
			list = append(list, j.visitor.scheme...)
		}
	}
	return string(list)
}

// appendFor writes the "for" pair; an IPv6 address is bracketed and quoted
// (RFC 7239 6).
func appendFor(list []byte, addr netip.Addr) []byte {
	if addr.Is4() {
		return addr.AppendTo(append(list, "for="...))
	}
	list = addr.AppendTo(append(list, "for=\"["...))
	return append(list, "]\""...)
}

func appendQuoted(list []byte, s string) []byte {
	for i := range len(s) {
		if s[i] == '"' || s[i] == '\\' {
			list = append(list, '\\')
		}
		list = append(list, s[i])
	}
	return list
}
