package edge

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"time"
)

var errNoActivator = errors.New("the backend is managed, and no activator is configured")

// errPatience is why a browser's wait for a start ends before the request does.
var errPatience = errors.New("the page is shown while the start goes on")

// acquire wakes a managed backend and holds it awake. People who wait long for a
// page are shown one that says so and loads itself again; programs wait until
// the activator gives up.
func (e *Edge) acquire(r *http.Request, key string) (Lease, *failure) {
	if e.config.Activator == nil {
		return Lease{}, acquireFailure(r.Context(), errNoActivator)
	}
	ctx := r.Context()
	if wantsPage(r) {
		bounded, cancel := context.WithTimeoutCause(ctx, e.config.Limits.Patience, errPatience)
		defer cancel()
		ctx = bounded
	}
	lease, err := e.config.Activator.Acquire(ctx, key)
	switch {
	case err == nil:
		return lease, nil
	case r.Context().Err() == nil && context.Cause(ctx) == errPatience: //nolint:errorlint // it is never wrapped
		return Lease{}, starting()
	}
	return Lease{}, acquireFailure(r.Context(), err)
}

// wantsPage reports whether a browser asks for something to show, which it may
// ask for again without harm.
func wantsPage(r *http.Request) bool {
	return r.Method == http.MethodGet && r.Header.Get("Upgrade") == "" &&
		strings.Contains(strings.Join(r.Header.Values("Accept"), ","), "text/html") && !wantsJSON(r)
}

func starting() *failure {
	f := fail(http.StatusServiceUnavailable, ReasonStarting, "This is waking up.")
	f.waiting = "It sleeps while nobody visits it. This page loads itself again until it is awake."
	f.retryAfter = 2 * time.Second
	f.reload = time.Second
	return f
}

// acquireFailure says why a managed backend cannot take the request. What the
// backend printed stays in the log.
func acquireFailure(ctx context.Context, err error) *failure {
	if ctx.Err() != nil {
		return clientGone(err)
	}
	unready := &Unready{Reason: ReasonNotAwake, Cause: err}
	_ = errors.As(err, &unready) // otherwise it stays what it is
	return unreadyFailure(unready)
}

func unreadyFailure(unready *Unready) *failure {
	f := unreadyText(unready.Reason)
	f.cause = unready
	if unready.RetryAfter > 0 {
		f.retryAfter = unready.RetryAfter
	}
	return f
}

func unreadyText(reason Reason) *failure {
	var message, hint string
	switch reason {
	case ReasonDeploying:
		return deploying()
	case ReasonQueueFull:
		message, hint = "Too many visitors wait for this already.", "Try again in a few seconds."
	case ReasonBusy:
		message, hint = "This has as many visitors as it can serve at once.", "Try again in a few seconds."
	case ReasonDeployFailed:
		message, hint = "This could not be deployed.", "Its owner finds the reason in its status and its logs."
	case ReasonCrashLooping:
		message, hint = "This keeps stopping soon after it is started.", "It is tried again from time to time. Its owner finds the reason in its status and its run log."
	case ReasonStopped:
		message, hint = "This is stopped.", "Its owner can start it again."
	case ReasonElsewhere:
		f := fail(http.StatusServiceUnavailable, reason, "This does not run here.")
		f.hint = "It was deployed on one machine, and this ingress is one of several. Its owner can register where it runs now."
		return f
	default:
		reason = ReasonNotAwake
		message, hint = "This could not be started in time.", "Try again in a few seconds. Its logs may say why."
	}
	f := fail(http.StatusServiceUnavailable, reason, message)
	f.hint = hint
	f.retryAfter = 5 * time.Second
	return f
}

// noteColdStart tells the visitor's developer tools how much of the wait was the
// start of the backend (Server-Timing, in milliseconds).
func noteColdStart(h http.Header, took time.Duration) {
	if took > 0 {
		h.Add("Server-Timing", fmt.Sprintf("cold-start;dur=%.1f", float64(took.Microseconds())/1000))
	}
}
