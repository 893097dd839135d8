package edge

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"time"

	"github.com/m3o/ingress/internal/upstream"
)

// Explanation says what would become of a GET request, without making it. The
// sentences are for people.
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
	// Remembered is a sentence about Known, with times.
	Remembered string `json:"remembered,omitempty"`
	// Leads is where the id leads as far as is remembered: a backend's address or a
	// link's destination.
	Leads string `json:"leads,omitempty"`
	// Backend is a sentence about the state of the backend.
	Backend string `json:"backend,omitempty"`
	// Answer is who would answer: "the backend", "the platform", or a status and
	// reason of the ingress itself.
	Answer string `json:"answer"`
}

// Explain returns what would become of a GET of a URL. It looks no id up and
// changes nothing.
func (e *Edge) Explain(ctx context.Context, u *url.URL) Explanation {
	var x Explanation
	if name, err := normaliseHost(u.Host); err == nil {
		x.Host = name
	}
	m := e.route(http.MethodGet, u.Host, u.Path)
	x.Route = m.kind.String()
	switch m.kind {
	case routeApp:
		e.explainTenant(ctx, &x, App, m.id, unknownApp())
	case routeFunction:
		e.explainTenant(ctx, &x, Function, m.id, unknownFunction())
	case routeLink:
		x.ID = m.id
		destination, memory := e.links.peek(m.id)
		x.Leads = destination
		x.explainMemory(memory, unknownLink(), "302 to where it leads")
	case routeAPI, routePlatform, routeResolve:
		x.Answer = "the platform"
	case routeUser:
		x.Answer = "a redirect, once the platform has looked at the token"
	case routeIndex, routeAppsDomain, routeFunctionsDomain, routeAsset:
		x.Answer = "a page of the ingress"
	case routeBadHost:
		x.Answer = ownAnswer(fail(http.StatusBadRequest, ReasonBadRequest, ""))
	case routeBadMethod, routeBadAPIMethod:
		x.Answer = ownAnswer(methodNotAllowed(""))
	case routeUnknownPath:
		x.Answer = ownAnswer(unknownPath())
	default:
		x.Answer = ownAnswer(unknownHost())
	}
	if u.Scheme == "http" && e.explainRedirect(x, m.kind) {
		x.Answer = "a redirect to TLS; there: " + x.Answer
	}
	return x
}

// explainRedirect reports whether a plain request would be sent to TLS, as
// securedHost decides. What is known of a link makes no difference to its host.
func (e *Edge) explainRedirect(x Explanation, kind routeKind) bool {
	if x.Host == "" || !kind.isSecured() || e.config.Secure == nil || !e.config.Secure.Covers(x.Host) {
		return false
	}
	return kind != routeApp && kind != routeFunction || x.Known != knownUnknown
}

// explainTenant is about an app or a function. One that runs here forgets with each
// change of its state where it leads, and is described all the same: that is when
// it is asked about.
func (e *Edge) explainTenant(ctx context.Context, x *Explanation, kind Kind, id string, unknown *failure) {
	x.ID = id
	cache := e.apps
	if kind == Function {
		cache = e.functions
	}
	backend, memory := cache.peek(id)
	x.explainMemory(memory, unknown, "the backend")
	switch known := memory.known == knownFresh || memory.known == knownStale; {
	case known && backend.Origin == Managed:
		x.Leads = backend.Key
		e.explainManaged(ctx, x, kind)
		return
	case memory.known == knownNot:
		e.explainManaged(ctx, x, kind)
		return
	case !known:
		return
	}
	x.Leads = backend.URL.String()
	if backend.Origin == Registered && e.explainForbidden(ctx, x, &backend.URL) {
		return
	}
	if backend.Origin == Registered || backend.Origin == Remote {
		var refused *failure
		if x.Backend, refused = e.guards.describe(backend.URL.Host); refused != nil {
			x.Answer = ownAnswer(refused)
		}
	}
}

// explainForbidden reports whether the address rules, which each ingress has of its own,
// keep a request from a backend. What cannot be looked up the dialling will tell.
func (e *Edge) explainForbidden(ctx context.Context, x *Explanation, u *url.URL) bool {
	if e.config.Admit == nil {
		return false
	}
	ctx, cancel := context.WithTimeout(ctx, e.config.Limits.Resolve)
	defer cancel()
	forbidden, ok := errors.AsType[*upstream.ForbiddenError](e.config.Admit(ctx, u))
	if ok {
		x.Backend, x.Answer = forbidden.Error(), ownAnswer(backendFailure(forbidden))
	}
	return ok
}

// explainManaged is about what runs here.
func (e *Edge) explainManaged(ctx context.Context, x *Explanation, kind Kind) {
	if e.config.Describe == nil {
		return
	}
	sentence, reason, err := e.config.Describe(ctx, kind, x.ID)
	x.Backend = sentence
	if err != nil {
		x.Backend = "it cannot be told: " + err.Error()
	}
	switch {
	case err != nil && x.Known == knownNot:
		x.Answer = ownAnswer(platformDown(err)) // as whoever asks for it now hears
	case reason != "":
		x.Answer = ownAnswer(unreadyText(reason))
	case sentence != "":
		x.Answer = "the backend"
	}
}

// explainMemory puts into words what is remembered, and what follows from it.
func (x *Explanation) explainMemory(m memory, unknown *failure, served string) {
	x.Known = m.known
	shortly := m.left.Round(100 * time.Millisecond)
	switch m.known {
	case knownFresh:
		x.Remembered, x.Answer = fmt.Sprintf("the platform is asked again in %v", shortly), served
	case knownStale:
		x.Remembered, x.Answer = "the platform is asked again with the next request, which does not wait for it", served
	case knownUnknown:
		x.Remembered = fmt.Sprintf("the platform said that there is none, which is believed for %v more", shortly)
		x.Answer = ownAnswer(unknown)
	case knownDeploying:
		x.Remembered = fmt.Sprintf("the platform said that it is being deployed, which is believed for %v more", shortly)
		x.Answer = ownAnswer(deploying())
	default:
		x.Remembered, x.Answer = "the platform is asked, and the request waits for it", served+", if the platform knows it"
	}
}

// ownAnswer is how an answer of the ingress itself is told.
func ownAnswer(f *failure) string { return fmt.Sprintf("%d %s", f.status, f.reason) }

// What may be remembered of an id.
const (
	knownFresh     = "fresh"
	knownStale     = "stale"
	knownUnknown   = "unknown"
	knownDeploying = "deploying"
	knownNot       = "no"
)

// memory is what a cache remembers of an id, and for how long that holds.
type memory struct {
	known string
	left  time.Duration
}

// peek returns what is remembered of an id, and how well, without asking.
func (c *resolveCache[V]) peek(id string) (value V, m memory) {
	now := c.settings.now()
	if entry, ok := c.good.GetIfPresent(id); ok {
		if left := entry.askAfter.Sub(now); left > 0 {
			return entry.value, memory{knownFresh, left}
		}
		return entry.value, memory{knownStale, 0}
	}
	if no, ok := c.bad.GetIfPresent(id); ok && now.Before(no.until) {
		m = memory{knownUnknown, no.until.Sub(now)}
		if no.err == errDeploying {
			m.known = knownDeploying
		}
		return value, m
	}
	return value, memory{known: knownNot}
}
