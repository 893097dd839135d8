package edge

import (
	"net/http"
	"net/url"
	"strings"
)

// relocation turns addresses a backend speaks of itself with back into the
// visitor's, so that a redirect does not lead around the ingress. Only the origin
// and the base path are replaced; the rest stays byte for byte.
type relocation struct {
	scheme, host, base string // the backend's; base without a final slash
	origin             string // the visitor's, such as https://shop.app.localhost
}

func newRelocation(backend *url.URL, v visitor) relocation {
	return relocation{
		scheme: strings.ToLower(backend.Scheme),
		host:   normalHost(backend.Scheme, backend.Host),
		base:   strings.TrimRight(backend.EscapedPath(), "/"),
		origin: v.scheme + "://" + v.host,
	}
}

// apply rewrites the headers of an answer that hold addresses.
func (l relocation) apply(h http.Header) {
	for _, name := range []string{"Location", "Content-Location"} {
		for i, value := range h[name] {
			h[name][i] = l.address(value)
		}
	}
	for i, value := range h["Refresh"] {
		h["Refresh"][i] = l.refresh(value)
	}
}

// address rewrites one URI reference. Those that name another origin, or a path
// of the backend that no visitor can reach, stay as they are.
func (l relocation) address(ref string) string {
	if strings.HasPrefix(ref, "/") && !strings.HasPrefix(ref, "//") {
		rest, ok := l.belowBase(ref)
		switch {
		case !ok || l.base == "":
			return ref
		case namesHost(rest):
			return l.origin + rest // what was a path must not become another host
		}
		return rest
	}
	authority, rest, ok := l.cutScheme(ref)
	if !ok || normalHost(l.scheme, authority) != l.host {
		return ref
	}
	rest, ok = l.belowBase(rest)
	if !ok {
		return ref
	}
	return l.origin + rest
}

// namesHost reports whether a browser would take what follows the base path for a
// host: it reads a backslash as a slash and drops tabs.
func namesHost(path string) bool {
	return len(path) > 1 && (path[1] == '/' || path[1] == '\\' || path[1] == '\t')
}

// cutScheme splits an absolute or scheme-relative reference with the backend's
// scheme into its authority and what follows.
func (l relocation) cutScheme(ref string) (authority, rest string, ok bool) {
	if scheme, after, found := strings.Cut(ref, "://"); found && strings.EqualFold(scheme, l.scheme) {
		ref = after
	} else if ref, ok = strings.CutPrefix(ref, "//"); !ok {
		return "", "", false
	}
	end := strings.IndexAny(ref, "/?#")
	if end < 0 {
		return ref, "", true
	}
	return ref[:end], ref[end:], true
}

// belowBase takes the base path off, if the path lies under it.
func (l relocation) belowBase(path string) (string, bool) {
	rest, ok := strings.CutPrefix(path, l.base)
	if !ok || rest != "" && !strings.ContainsRune("/?#", rune(rest[0])) {
		return "", false
	}
	if l.base != "" && !strings.HasPrefix(rest, "/") {
		rest = "/" + rest
	}
	return rest, true
}

// refresh rewrites the address in a Refresh header, such as "5; url=/next", which
// browsers also accept quoted, with a comma, and in any case.
func (l relocation) refresh(value string) string {
	start := strings.IndexAny(value, ";,")
	if start < 0 {
		return value
	}
	rest := strings.TrimLeft(value[start+1:], " \t")
	if len(rest) < 3 || !strings.EqualFold(rest[:3], "url") {
		return value
	}
	rest, ok := strings.CutPrefix(strings.TrimLeft(rest[3:], " \t"), "=")
	if !ok {
		return value
	}
	ref := strings.TrimLeft(rest, " \t")
	quote, end := "", len(ref)
	if ref != "" && (ref[0] == '\'' || ref[0] == '"') {
		quote, ref = ref[:1], ref[1:]
		if end = strings.Index(ref, quote); end < 0 {
			end = len(ref)
		}
	}
	head := value[:len(value)-len(ref)]
	return head + l.address(ref[:end]) + ref[end:]
}

// normalHost returns host and port in lower case, without the scheme's own port
// and the root's dot, so that equal origins compare equal.
func normalHost(scheme, host string) string {
	host = strings.ToLower(host)
	port := ":80"
	if strings.EqualFold(scheme, "https") {
		port = ":443"
	}
	host = strings.TrimSuffix(strings.TrimSuffix(host, port), ":")
	return strings.TrimSuffix(host, ".")
}
