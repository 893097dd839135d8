package edge

import (
	"context"
	"errors"
	"net/http"
	"time"
)

// serveApp is route 2: the app that the subdomain names.
func (e *Edge) serveApp(w http.ResponseWriter, r *http.Request) *failure {
	return e.serveTenant(w, r, e.apps, unknownApp)
}

// serveFunction is route 3: the function that the subdomain names.
func (e *Edge) serveFunction(w http.ResponseWriter, r *http.Request) *failure {
	return e.serveTenant(w, r, e.functions, unknownFunction)
}

func unknownApp() *failure {
	return unknownID(ReasonUnknownApp, "There is no app at this address.")
}

func unknownFunction() *failure {
	return unknownID(ReasonUnknownFunction, "There is no function at this address.")
}

// unknownID is the failure for an id that nobody knows.
func unknownID(reason Reason, message string) *failure {
	f := fail(http.StatusNotFound, reason, message)
	f.hint = "It may be misspelled, or have been removed."
	return f
}

// serveTenant resolves the id and hands the request to the backend behind it.
// Apps and functions differ only in who resolves them.
func (e *Edge) serveTenant(w http.ResponseWriter, r *http.Request, cache *resolveCache[Backend], unknown func() *failure) *failure {
	rec := recordOf(r)
	rec.id = rec.match.id
	backend, err := resolve(e, r, cache, rec.id)
	if err != nil {
		return resolveFailure(r.Context(), err, unknown)
	}
	rec.tenant = backend.Tenant
	t := target{Backend: backend} // serve releases the lease
	if backend.Origin == Managed {
		begin := e.now()
		lease, failed := e.acquire(r, backend.Key)
		end := e.now()
		rec.queue = end.Sub(begin)
		rec.trace.step("queue", begin, end)
		if failed != nil {
			return failed
		}
		t.Lease = &lease
		rec.coldStart = lease.ColdStart
	} else {
		pass, failed := e.guards.enter(r.Context(), backend.URL.Host)
		if failed != nil {
			rec.backend = backend.URL.Host
			return failed
		}
		t.pass = pass // serve has it leave
	}
	return e.proxy.serve(w, r, t)
}

// resolve asks the cache and notes in the record how long that took.
func resolve[V any](e *Edge, r *http.Request, cache *resolveCache[V], id string) (V, error) {
	rec := recordOf(r)
	begin := e.now()
	value, err := cache.get(r.Context(), id)
	end := e.now()
	rec.resolve = end.Sub(begin)
	rec.trace.step("resolve", begin, end)
	return value, err
}

// resolveFailure turns what the cache said into what the visitor is told.
func resolveFailure(ctx context.Context, err error, unknown func() *failure) *failure {
	switch {
	case errors.Is(err, errUnknown):
		return unknown()
	case errors.Is(err, errDeploying):
		return deploying()
	case ctx.Err() != nil:
		return clientGone(err)
	}
	return platformDown(err)
}

// deploying says that there is no version yet that could answer.
func deploying() *failure {
	f := fail(http.StatusServiceUnavailable, ReasonDeploying, "This is being deployed.")
	f.hint = "Try again in a few seconds."
	f.waiting = "This page loads itself again until it is ready."
	f.retryAfter = 2 * time.Second
	f.reload = 2 * time.Second
	return f
}

// clientGone is for the log alone.
func clientGone(cause error) *failure {
	f := fail(statusClientGone, ReasonClientGone, "The client gave up.")
	f.cause = cause
	return f
}

// platformDown says that the platform could not tell; the cause goes to the log.
func platformDown(cause error) *failure {
	f := fail(http.StatusServiceUnavailable, ReasonPlatformDown, "The platform cannot be reached at the moment.")
	f.hint = "Try again in a few seconds."
	f.retryAfter = 5 * time.Second
	f.cause = cause
	return f
}
