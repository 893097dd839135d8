package edge

import (
	"net/http"
	"strings"
)

// routeKind is one of the places a request can go. Its name is the route label
// of logs and metrics.
type routeKind uint8

const (
	routeUnknownHost routeKind = iota
	routeBadHost
	routeBadMethod
	routeBadAPIMethod
	routeUnknownPath
	routeIndex
	routeAsset
	routeAPI
	routePlatform
	routeResolve
	routeLink
	routeUser
	routeApp
	routeFunction
	routeAppsDomain
	routeFunctionsDomain
	routeKinds // how many there are
)

func (k routeKind) String() string {
	return [routeKinds]string{
		routeUnknownHost: "unknown_host", routeBadHost: "bad_host", routeBadMethod: "bad_method", routeBadAPIMethod: "bad_method",
		routeUnknownPath: "unknown_path",
		routeIndex:       "index", routeAsset: "asset", routeAPI: "api", routePlatform: "platform", routeResolve: "resolve", routeLink: "link",
		routeUser: "user", routeApp: "app", routeFunction: "function",
		routeAppsDomain: "apps_domain", routeFunctionsDomain: "functions_domain",
	}[k]
}

// isAPI reports whether the callers of the route are programs that expect JSON.
func (k routeKind) isAPI() bool {
	return k == routeAPI || k == routePlatform || k == routeResolve || k == routeBadAPIMethod
}

// match is the answer of the router: where a request goes, and with what.
type match struct {
	kind routeKind
	// id is the subdomain of apps and functions, already known to be a valid
	// label; the part after /u/, /url/ and /user/ otherwise, not yet checked.
	id string
}

// route picks the route from method, host and path alone (DESIGN 3, "Which host
// is whose"). The path is the decoded one. It allocates nothing for hosts in
// their normal form, and may be called concurrently.
func (t *hostTable) route(method, host, path string) match {
	name, err := normaliseHost(host)
	if err != nil {
		return match{kind: routeBadHost}
	}
	m := t.hostRoute(name, path)
	if method != http.MethodTrace && method != http.MethodConnect {
		return m
	}
	// TRACE would show a page the visitor's own credentials (RFC 9110 9.3.8), and
	// CONNECT is for forward proxies.
	if m.kind.isAPI() {
		return match{kind: routeBadAPIMethod}
	}
	return match{kind: routeBadMethod}
}

// hostRoute picks the route from a normalised host and the path.
func (t *hostTable) hostRoute(name, path string) match {
	switch {
	case name == t.user, name == t.mailed:
		return t.userHostRoute(path, t.own[name])
	case t.own[name] || t.anyIP && isIP(name):
		return t.ownRoute(path)
	}
	return t.tenantRoute(name)
}

// tenantRoute finds the one label under the apps or the functions domain. The
// longer domain decides alone: what is under it is never looked for under the
// shorter.
func (t *hostTable) tenantRoute(host string) match {
	for _, d := range t.domains {
		if host == d.name {
			return match{kind: d.itself}
		}
		labels, ok := d.cutFrom(host)
		if !ok {
			continue
		}
		if isLabel(labels) {
			return match{kind: d.ids, id: labels}
		}
		break
	}
	return match{kind: routeUnknownHost}
}

// cutFrom returns what stands before the domain in a host that is under it.
func (d tenantDomain) cutFrom(host string) (labels string, ok bool) {
	at := len(host) - len(d.name) - 1
	if at < 0 || host[at] != '.' || host[at+1:] != d.name {
		return "", false
	}
	return host[:at], true
}

// ownRoute is the index of what our own hosts serve.
func (t *hostTable) ownRoute(path string) match {
	if path == "/" || path == "" {
		return match{kind: routeIndex}
	}
	first, rest, _ := strings.Cut(path[1:], "/")
	switch first {
	case "api":
		return match{kind: routeAPI}
	case "v1":
		return match{kind: routePlatform}
	case "u":
		return match{kind: routeLink, id: rest}
	case "url":
		return t.bareResolveOr(routeLink, "resolve", rest)
	case "app":
		return t.bareResolveOr(routeUnknownPath, "resolve", rest)
	case "function":
		return t.bareResolveOr(routeUnknownPath, "proxy", rest)
	case "user":
		return match{kind: routeUser, id: rest}
	case "favicon.ico", "robots.txt":
		return match{kind: routeAsset, id: first}
	}
	return match{kind: routeUnknownPath}
}

// bareResolveOr recognises the resolve methods without /v1 (WIRE.md 1), whose
// names are in any case like all of the platform's.
func (t *hostTable) bareResolveOr(otherwise routeKind, method, rest string) match {
	if t.publicResolve && strings.EqualFold(rest, method) {
		return match{kind: routeResolve, id: rest}
	}
	return match{kind: otherwise, id: rest}
}

// userHostRoute serves verification on every path of the user host, because
// what mails link to is configured freely (WIRE.md 6), but for the API, which is
// on every host of the ingress. A host that is also one of our own keeps those
// routes.
func (t *hostTable) userHostRoute(path string, own bool) match {
	m := t.ownRoute(path)
	switch m.kind {
	case routeAPI, routePlatform, routeUser, routeAsset:
		return m
	case routeIndex, routeUnknownPath:
		return match{kind: routeUser}
	}
	if own {
		return m
	}
	return match{kind: routeUser}
}
