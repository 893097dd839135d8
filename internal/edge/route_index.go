package edge

import (
	"io"
	"net/http"
	"net/url"
	"strings"
)

// serveIndex shows what lives where, with addresses that work for this visitor.
func (e *Edge) serveIndex(w http.ResponseWriter, r *http.Request) *failure {
	if f := onlyReads(r); f != nil {
		return f
	}
	hosts := e.hosts.Load().settings
	public := publicAddress(hosts, r)
	return e.servePage(w, r, page{
		Title:   "M3O Ingress",
		Message: "This is the front door of a small serverless platform. These are its routes:",
		Routes:  append([]routeInfo{e.apiRoute(public)}, hosts.routes(public)...),
	})
}

// publicAddress is the scheme and host people see: as configured, or as this
// visitor came.
func publicAddress(hosts Hosts, r *http.Request) *url.URL {
	if u, err := url.Parse(hosts.PublicURL); err == nil && u.Host != "" {
		return u
	}
	v := recordOf(r).visitor
	return &url.URL{Scheme: v.scheme, Host: v.host}
}

// apiRoute describes route 1. Only the platform that is built in is known to have
// a page that explains its methods.
func (e *Edge) apiRoute(public *url.URL) routeInfo {
	base := public.Scheme + "://" + public.Host
	about := "A call of a method of the platform, with an API key and parameters or JSON."
	if e.config.Platform == nil {
		return routeInfo{Name: "API", URL: base + "/api/{service}/{endpoint}", About: about}
	}
	return routeInfo{Name: "API", URL: base + "/v1/", Link: true, About: "The reference of all methods. /api/{service}/{endpoint} calls one, with an API key and parameters or JSON."}
}

// routes describes the routes behind the API. Hosts other than the public one are assumed
// to be on the same port.
func (h Hosts) routes(public *url.URL) []routeInfo {
	base := public.Scheme + "://" + public.Host
	on := func(host string) string {
		if port := public.Port(); port != "" {
			host += ":" + port
		}
		return public.Scheme + "://" + host + "/"
	}
	prefix := firstOf(h.URLPrefix, base+"/u/")
	var list []routeInfo
	if h.AppsDomain != "" {
		list = append(list, routeInfo{Name: "Apps", URL: on("{id}." + h.AppsDomain), About: "One host name for each app."})
	}
	if h.FunctionsDomain != "" {
		list = append(list, routeInfo{Name: "Functions", URL: on("{id}." + h.FunctionsDomain), About: "One host name for each function."})
	}
	list = append(list, routeInfo{Name: "Short links", URL: prefix + "{id}", About: "A redirect; with a + behind it, a page that says where it leads."})
	if h.UserHost != "" {
		return append(list, routeInfo{Name: "E-mail verification", URL: on(h.UserHost) + "?token=…", About: "Where the links in e-mails lead."})
	}
	return append(list, routeInfo{Name: "E-mail verification", URL: base + "/user/{token}", About: "Where the links in e-mails lead."})
}

// serveBareDomain says what the subdomains of an apps or functions domain are.
func (e *Edge) serveBareDomain(w http.ResponseWriter, r *http.Request) *failure {
	if f := onlyReads(r); f != nil {
		return f
	}
	switch r.URL.Path {
	case "/robots.txt", "/favicon.ico":
		recordOf(r).match.id = strings.TrimPrefix(r.URL.Path, "/")
		return e.serveAsset(w, r)
	case "/", "":
	default:
		return unknownPath()
	}
	hosts := e.hosts.Load().settings
	title, domain := "Apps live here", hosts.AppsDomain
	if recordOf(r).match.kind == routeFunctionsDomain {
		title, domain = "Functions live here", hosts.FunctionsDomain
	}
	return e.servePage(w, r, page{Title: title, Message: "Each has a host name of its own: its id in front of ." + domain + "."})
}

// robots keeps crawlers off what is not for reading.
const robots = "User-agent: *\nDisallow: /api/\nDisallow: /v1/\nDisallow: /u/\nDisallow: /url/\nDisallow: /user/\n"

// serveAsset answers what browsers and crawlers ask of every host.
func (e *Edge) serveAsset(w http.ResponseWriter, r *http.Request) *failure {
	if f := onlyReads(r); f != nil {
		return f
	}
	w.Header().Set("Cache-Control", "public, max-age=86400")
	if recordOf(r).match.id == "favicon.ico" {
		w.WriteHeader(http.StatusNoContent) // there is none; the pages say so, too
		return nil
	}
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	_, _ = io.WriteString(w, robots) // a client that has gone is nobody to tell
	return nil
}
