package api

import (
	"context"
	"errors"
	"math"
	"net/http"
	"strconv"
	"time"
)

// Authenticator knows the keys. It is called concurrently.
type Authenticator interface {
	// Authenticate returns who a key belongs to. An *Error with code 401 means
	// that the key is not good; any other error that is not an *Error, that it
	// could not be looked up, which callers see as a 503. The secret is what the
	// caller sent, unchecked and of any length up to the header limit; it must
	// not appear in an error.
	Authenticate(ctx context.Context, secret string) (Caller, error)
}

// Limiter counts requests. It is called once for every authenticated request,
// concurrently, and must not block.
type Limiter interface {
	// Take counts one request against the caller's key.
	Take(Caller) Rate
}

// Rate is what a Limiter decided.
type Rate struct {
	// Allowed is false when the request is one too many.
	Allowed bool
	// Limit is how many requests are allowed at once, and Remaining how many of
	// them are left. A Limit of zero means that there is none.
	Limit, Remaining int64
	// Reset is how long it takes until Remaining is Limit again.
	Reset time.Duration
	// RetryAfter is when a refused request may be tried again.
	RetryAfter time.Duration
}

// admit finds out who is calling, counts the request, and says so in the header.
func (h *Handler) admit(header http.Header, r *http.Request) (Caller, *Error) {
	if h.anonymous != nil {
		if caller, ok := h.anonymous(r.Context()); ok {
			return caller, nil
		}
	}
	caller, err := h.authenticate(r.Context(), credential(r))
	if err != nil {
		return Caller{}, err
	}
	h.called(r.Context(), caller)
	rate := h.limiter.Take(caller)
	rate.write(header)
	if !rate.Allowed {
		return caller, TooManyRequests("v1.blocked", rate.RetryAfter, "Too Many Requests")
	}
	return caller, nil
}

func (h *Handler) authenticate(ctx context.Context, secret string) (Caller, *Error) {
	if secret == "" {
		return Caller{}, unauthorized(nil)
	}
	caller, err := h.auth.Authenticate(ctx, secret)
	if err == nil {
		return caller, nil
	}
	known, ok := errors.AsType[*Error](err)
	switch {
	case ok && known.Code == http.StatusUnauthorized:
		return Caller{}, unauthorized(known)
	case ok:
		return Caller{}, known
	}
	return Caller{}, Unavailable("v1", "keys cannot be checked at the moment, please try again", err)
}

// unauthorized is the one answer to a missing and to a bad key (WIRE.md 2), so
// that nothing can be learned from it.
func unauthorized(cause error) *Error {
	e := Unauthorized("v1", "Unauthorized")
	e.Cause = cause
	return e
}

// blocked answers a key that lacks the scope (WIRE.md 2).
func blocked() *Error {
	return Forbidden("v1.blocked", "Request blocked. Insufficient privileges")
}

// write sets the RateLimit headers. A caller without a limit gets none: there is
// no number for it.
func (rate Rate) write(header http.Header) {
	if rate.Limit <= 0 {
		return
	}
	header.Set("RateLimit-Limit", strconv.FormatInt(rate.Limit, 10))
	header.Set("RateLimit-Remaining", strconv.FormatInt(max(rate.Remaining, 0), 10))
	header.Set("RateLimit-Reset", wholeSeconds(rate.Reset))
}

// wholeSeconds rounds up: who comes back after as many seconds is never early.
func wholeSeconds(d time.Duration) string {
	return strconv.FormatInt(int64(math.Ceil(max(d, 0).Seconds())), 10)
}
