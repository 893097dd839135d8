package edge

import (
	"net/http"
	"net/url"
)

// Explanation says what would become of a GET request, without making it.
type Explanation struct {
	// Host is the host in the form routes are looked up by; empty when the one
	// asked for is malformed.
	Host string `json:"host"`
	// Route is the route's name, as in the access log; "unknown_host" and the like
	// when there is none.
	Route string `json:"route"`
	// ID is the app's, function's or link's id.
	ID string `json:"id,omitempty"`
	// Known says what is remembered of the id: "fresh", "stale" (served, while the
	// platform is asked again), "unknown" (the platform said there is no such id),
	// "deploying", or "no" (the platform will be asked).
	Known string `json:"known,omitempty"`
	// Leads is where the id leads as far as is remembered: a backend's address or a
	// link's destination.
	Leads string `json:"leads,omitempty"`
}

// Explain returns what would become of a GET of a URL. It asks the platform
// nothing and changes nothing.
func (e *Edge) Explain(u *url.URL) Explanation {
	var x Explanation
	if name, err := normaliseHost(u.Host); err == nil {
		x.Host = name
	}
	m := e.hosts.Load().route(http.MethodGet, u.Host, u.Path)
	x.Route = m.kind.String()
	switch m.kind {
	case routeApp:
		x.explainBackend(e.apps, m.id)
	case routeFunction:
		x.explainBackend(e.functions, m.id)
	case routeLink:
		x.ID = m.id
		x.Leads, x.Known = e.links.peek(m.id)
	}
	return x
}

func (x *Explanation) explainBackend(cache *resolveCache[Backend], id string) {
	var backend Backend
	x.ID = id
	backend, x.Known = cache.peek(id)
	if backend.URL.Host != "" {
		x.Leads = backend.URL.String()
	}
}

// peek returns what is remembered of an id, and how well, without asking.
func (c *resolveCache[V]) peek(id string) (value V, known string) {
	now := c.settings.now()
	if entry, ok := c.good.GetIfPresent(id); ok {
		if now.Before(entry.askAfter) {
			return entry.value, "fresh"
		}
		return entry.value, "stale"
	}
	if no, ok := c.bad.GetIfPresent(id); ok && now.Before(no.until) {
		if no.err == errDeploying {
			return value, "deploying"
		}
		return value, "unknown"
	}
	return value, "no"
}
