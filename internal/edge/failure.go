package edge

import (
	"net/http"
	"time"
)

// Reason names, for machines, why the ingress itself answered. It is sent in
// the X-Ingress-Error header and written to the access log, so that an operator
// can tell the ingress's failures from an app's own.
type Reason string

// The reasons there are. docs/operations.md explains each to operators.
const (
	ReasonBadRequest        Reason = "bad_request"         // the request makes no sense
	ReasonUnknownHost       Reason = "unknown_host"        // no setting serves this host
	ReasonUnknownPath       Reason = "unknown_path"        // our own host has nothing there
	ReasonUnknownApp        Reason = "unknown_app"         // no such app
	ReasonUnknownFunction   Reason = "unknown_function"    // no such function
	ReasonUnknownLink       Reason = "unknown_link"        // no such link
	ReasonMethodNotAllowed  Reason = "method_not_allowed"  // the route exists, the method does not
	ReasonURLTooLong        Reason = "url_too_long"        // beyond the limit on URLs
	ReasonTooManyHeaders    Reason = "too_many_headers"    // beyond the limit on their number
	ReasonClientRate        Reason = "client_rate"         // the client makes too many requests
	ReasonRequestTimeout    Reason = "request_timeout"     // it took longer than a request may in all
	ReasonBodyTooLarge      Reason = "body_too_large"      // beyond the limit on /api and /v1
	ReasonBodyTooSlow       Reason = "body_too_slow"       // it stopped coming
	ReasonDeploying         Reason = "deploying"           // it exists and is not ready yet
	ReasonPlatformDown      Reason = "platform_down"       // the platform could not tell
	ReasonBackendRefused    Reason = "backend_refused"     // no connection to the backend
	ReasonBackendForbidden  Reason = "backend_forbidden"   // the address rules forbid dialling it
	ReasonBackendTimeout    Reason = "backend_timeout"     // connected, but no answer in time
	ReasonBackendBroken     Reason = "backend_broken"      // it answered, but not in HTTP, or hung up
	ReasonBackendEjected    Reason = "backend_ejected"     // it could not be reached several times, and is left alone for a moment
	ReasonBackendBusy       Reason = "backend_busy"        // it has as many requests as it may have at once
	ReasonClientGone        Reason = "client_gone"         // the visitor left before the end of the answer; only ever in the log
	ReasonLoop              Reason = "loop"                // the request came through here before
	ReasonVerifyFailed      Reason = "verification_failed" // the token of the link is not good
	ReasonRedirectForbidden Reason = "redirect_forbidden"  // verification may not redirect there
	ReasonNotAwake          Reason = "not_awake"           // its process could not be started in time
	ReasonStarting          Reason = "starting"            // its process is being started; a page that reloads itself
	ReasonQueueFull         Reason = "queue_full"          // too many requests wait for it already
	ReasonBusy              Reason = "busy"                // it has as many requests as its owner lets it have at once
	ReasonDeployFailed      Reason = "deploy_failed"       // none of its versions could be built and started
	ReasonCrashLooping      Reason = "crash_looping"       // its process ends again and again
	ReasonStopped           Reason = "stopped"             // its owner, or its removal, stopped it
	ReasonElsewhere         Reason = "elsewhere"           // it ran on one machine, and this ingress is one of several
	ReasonBadDestination    Reason = "bad_destination"     // the link leads to something that is no web address
	ReasonInternal          Reason = "internal"            // a defect of ours
)

// statusClientGone is what the log says of a visitor who left; nobody receives
// it. The number is the one other proxies use.
const statusClientGone = 499

// failure is an answer of the ingress itself. Handlers return it; errors.go
// renders it, as JSON for API callers and as a page for people.
type failure struct {
	status     int
	reason     Reason
	message    string        // one sentence for the visitor, fit for the public
	hint       string        // what the visitor or the operator can do, or empty
	retryAfter time.Duration // becomes Retry-After when positive
	allow      string        // becomes Allow when set (405)
	reload     time.Duration // a browser's page loads itself again after this long, when positive
	waiting    string        // instead of hint, on a page that loads itself again
	cause      error         // for the log only
}

// Error implements error for logs.
func (f *failure) Error() string {
	text := string(f.reason) + ": " + f.message
	if f.cause != nil {
		text += ": " + f.cause.Error()
	}
	return text
}

// Unwrap returns the private cause.
func (f *failure) Unwrap() error { return f.cause }

func fail(status int, reason Reason, message string) *failure {
	return &failure{status: status, reason: reason, message: message}
}

// handler is an http.Handler that may end in a failure instead of an answer. It
// must not have written anything when it returns one.
type handler func(w http.ResponseWriter, r *http.Request) *failure
