package edge

import (
	"net/http"
	"net/http/httputil"
	"net/url"
	"strings"
)

// rewrite makes the outgoing request. ReverseProxy has already removed hop-by-hop
// headers and those that say who came.
func rewrite(pr *httputil.ProxyRequest) {
	h := hopOf(pr.In)
	out := pr.Out
	out.URL = backendURL(h.url, pr.In.URL)
	out.Host = h.host
	// The server fills this very map once the body has been read; a copy of it
	// would stay empty.
	out.Trailer = pr.In.Trailer
	dropRefusedUpgrade(pr.In, out.Header)
	h.request(out.Header)
	h.record.journey.write(out.Header)
	out.Header[requestIDHeader] = h.record.request
	markPass(out.Header, h.node)
}

// dropRefusedUpgrade takes out an upgrade that must not happen, as a server is
// free to do (RFC 9110 7.8). HTTP/1.0 has none. Upgraded to HTTP/2 in the clear,
// any number of requests would go through the connection unseen, our keys among
// them.
func dropRefusedUpgrade(in *http.Request, out http.Header) {
	if !in.ProtoAtLeast(1, 1) || strings.EqualFold(out.Get("Upgrade"), "h2c") {
		delete(out, "Upgrade")
		delete(out, "Connection")
		delete(out, "Http2-Settings")
	}
}

// backendURL puts the visitor's path, exactly as it was sent, behind the
// backend's base path, and keeps the query untouched; ReverseProxy would remove
// parameters it cannot parse. In a path that begins with two slashes the bytes
// that no URL may contain (RFC 3986) are encoded.
func backendURL(base, in *url.URL) *url.URL {
	u := &url.URL{Scheme: base.Scheme, Host: base.Host, RawQuery: in.RawQuery, ForceQuery: in.ForceQuery}
	prefix := strings.TrimRight(base.EscapedPath(), "/")
	path := sentPath(in)
	switch {
	case path == "*" && prefix == "":
		u.Path = "*"
		return u
	case path == "*":
		path = ""
	}
	u.RawPath = prefix + path
	u.Path = strings.TrimRight(base.Path, "/") + in.Path
	switch {
	case u.EscapedPath() == u.RawPath:
	case strings.HasPrefix(u.RawPath, "//"):
		// net/url would encode the whole path anew, and lose the difference between
		// %2F and a slash.
		u.RawPath = strings.ReplaceAll(escapeLocation(u.RawPath), "#", "%23")
	default:
		// Opaque is sent as it is, bytes that should have been encoded included. It
		// cannot begin with two slashes, which would name a host.
		u.Opaque = u.RawPath
	}
	return u
}

// sentPath returns the path in the encoding it arrived in. net/url keeps that in
// RawPath when it differs from its own.
func sentPath(u *url.URL) string {
	if u.RawPath != "" {
		if path, err := url.PathUnescape(u.RawPath); err == nil && path == u.Path {
			return u.RawPath
		}
	}
	return u.EscapedPath()
}
