// Package edge is the data plane: from the listener over the route and its
// resolution to the backend and back. It is the only package that proxies, and
// it sees the platform through the small interfaces of this file, which the
// embedded services and a remote platform satisfy alike.
package edge

import (
	"context"
	"net/http"
	"net/url"
	"time"
)

// Resolver finds the backend behind an app's or a function's id.
type Resolver interface {
	// Resolve returns the backend for an id that is already known to be
	// well-formed. What it returns is an immutable value: cacheable, and holding
	// no resource.
	//
	// An error for which api.IsNotFound holds means that there is no such id. A
	// Backend with an empty URL and no error means that it exists but is still
	// being deployed. Any other error means that the platform could not tell, and
	// never replaces what was known before. Resolve is called concurrently, with a
	// deadline in ctx, at most once at a time for the same id.
	Resolve(ctx context.Context, id string) (Backend, error)
}

// Backend is where a request goes.
type Backend struct {
	// Key names the backend to the Activator and groups its connections and its
	// figures; it is stable as long as the thing behind it is the same.
	Key string
	// Tenant owns it, for the access log; empty when that is not known.
	Tenant string
	// URL is the address: scheme, host and an optional base path that is put in
	// front of the visitor's. Empty while the backend is being deployed, and for
	// Managed backends, whose Lease knows the way.
	URL url.URL
	// PreserveHost sends the visitor's Host instead of the backend's own.
	PreserveHost bool
	// Origin decides which addresses may be dialled.
	Origin Origin
}

// Domains knows which app a host of a tenant's own leads to.
type Domains interface {
	// App returns the id of the app behind a host in its normal form. It answers from
	// memory, because anybody can ask for any host, and is called concurrently.
	App(host string) (id string, ok bool)
}

// Origin says who vouches for a backend's address.
type Origin int

const (
	// Remote backends were named by a remote platform the operator trusts: any
	// address may be dialled.
	Remote Origin = iota
	// Registered backends were named by a tenant: the address rules apply on
	// every connection (DESIGN 6, package upstream).
	Registered
	// Managed backends are processes of ours, reached through a Lease.
	Managed
)

// Activator wakes managed backends and keeps them awake. It is asked for every
// request, after the cache, so that a loopback port is never cached: a stale one
// may be another tenant's.
type Activator interface {
	// Acquire returns once the backend is ready, or when ctx ends, or with an
	// error that says why it cannot be: an *Unready when there is something to tell
	// the visitor.
	Acquire(ctx context.Context, key string) (Lease, error)
}

// Unready is why a managed backend cannot take a request now.
type Unready struct {
	// Reason is one of ReasonDeploying, ReasonNotAwake, ReasonQueueFull, ReasonBusy,
	// ReasonDeployFailed, ReasonCrashLooping, ReasonStopped and ReasonElsewhere.
	Reason Reason
	// RetryAfter is when it is worth trying again; zero when nobody knows.
	RetryAfter time.Duration
	// Cause is for the log only: it may quote what the backend printed.
	Cause error
}

// Error implements error for logs.
func (u *Unready) Error() string {
	if u.Cause == nil {
		return "not ready: " + string(u.Reason)
	}
	return "not ready: " + string(u.Reason) + ": " + u.Cause.Error()
}

// Unwrap returns the private cause.
func (u *Unready) Unwrap() error { return u.Cause }

// Lease is a managed backend held awake. Exactly one of Transport and Handler is
// set.
type Lease struct {
	// Transport reaches the process.
	Transport http.RoundTripper
	// Handler serves a site that has no process.
	Handler http.Handler
	// ColdStart is how long the backend took to start when this request was one
	// of those that waited for it; otherwise zero.
	ColdStart time.Duration
	// Release ends the lease; the ingress calls it when the body, or the
	// upgraded connection, has ended.
	Release func()
}

// LinkResolver finds where a short link leads.
type LinkResolver interface {
	// ResolveLink returns the destination under the rules of Resolver.Resolve. It
	// counts no hit of its own in the embedded platform.
	ResolveLink(ctx context.Context, id string) (destination string, err error)
}

// HitRecorder counts visits to short links.
type HitRecorder interface {
	// Hit counts one visit. It is called once for every redirect that a GET by a
	// person got; it must not block and cannot fail.
	Hit(id string)
}

// EmailVerifier checks the token of a verification link.
type EmailVerifier interface {
	// VerifyEmail marks the address behind the token as verified. An *api.Error
	// with a 4xx status means that the token is not good; any other error, that
	// the platform could not tell. Redirects are returned with either, when the
	// token is known.
	VerifyEmail(ctx context.Context, token string) (Redirects, error)
}

// Redirects are the addresses stored with a verification token when its mail was
// sent. The zero value means that nothing was stored, as with a remote platform.
type Redirects struct {
	// Success and Failure are where the visitor goes, or empty.
	Success, Failure string
}
