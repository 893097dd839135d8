package api

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"time"
)

// Error is the answer of a method that failed, in the shape the platform's
// clients expect (WIRE.md 4). The public half is what callers see; Cause is for
// the log and never leaves the process.
type Error struct {
	// ID says which method or stage failed, such as "url.create" or
	// "v1.blocked". Clients match on it.
	ID string
	// Code is the HTTP status.
	Code int
	// Detail is the public message. Clients match on it, too.
	Detail string
	// RetryAfter, when positive, becomes a Retry-After header, rounded up to
	// whole seconds.
	RetryAfter time.Duration
	// Cause is the private reason, or nil.
	Cause error
}

// Error implements error with both halves, for logs.
func (e *Error) Error() string {
	text := fmt.Sprintf("%s: %s (%d)", e.ID, e.Detail, e.Code)
	if e.Cause != nil {
		text += ": " + e.Cause.Error()
	}
	return text
}

// Unwrap returns the private cause.
func (e *Error) Unwrap() error { return e.Cause }

// MarshalJSON writes the public half: id, code, detail and the status's
// standard text.
func (e *Error) MarshalJSON() ([]byte, error) {
	return json.Marshal(struct {
		ID     string `json:"id"`
		Code   int    `json:"code"`
		Detail string `json:"detail"`
		Status string `json:"status"`
	}{e.ID, e.Code, e.Detail, http.StatusText(e.Code)})
}

// BadRequest returns a 400: the caller must change the request.
func BadRequest(id, format string, args ...any) *Error {
	return newError(id, http.StatusBadRequest, format, args...)
}

// Unauthorized returns a 401: the credential given is not good.
func Unauthorized(id, format string, args ...any) *Error {
	return newError(id, http.StatusUnauthorized, format, args...)
}

// Forbidden returns a 403: the caller is known but may not do this.
func Forbidden(id, format string, args ...any) *Error {
	return newError(id, http.StatusForbidden, format, args...)
}

// NotFound returns a 404 with the detail "not found", which is what clients and
// IsNotFound look for.
func NotFound(id string) *Error {
	return newError(id, http.StatusNotFound, "not found")
}

// TooManyRequests returns a 429 that says when to come back.
func TooManyRequests(id string, retryAfter time.Duration, format string, args ...any) *Error {
	e := newError(id, http.StatusTooManyRequests, format, args...)
	e.RetryAfter = retryAfter
	return e
}

// NotImplemented returns a 501: the method exists, this program cannot do it.
func NotImplemented(id, format string, args ...any) *Error {
	return newError(id, http.StatusNotImplemented, format, args...)
}

// Unavailable returns a 503 with a private cause: trying again may help.
func Unavailable(id, detail string, cause error) *Error {
	return &Error{ID: id, Code: http.StatusServiceUnavailable, Detail: detail, Cause: cause}
}

// Internal returns a 500 whose cause is only logged.
func Internal(id string, cause error) *Error {
	return &Error{ID: id, Code: http.StatusInternalServerError, Detail: "internal error", Cause: cause}
}

func newError(id string, code int, format string, args ...any) *Error {
	return &Error{ID: id, Code: code, Detail: fmt.Sprintf(format, args...)}
}

// AsError returns err itself when it is, or wraps, an *Error; a 503 when it has
// an Unavailable method (the store's way of saying that it cannot work now, with
// a text fit for callers); otherwise a 500 that keeps err as the private cause.
// The id is used for the last two.
func AsError(id string, err error) *Error {
	var known *Error
	if errors.As(err, &known) {
		return known
	}
	var down interface{ Unavailable() string }
	if errors.As(err, &down) {
		return Unavailable(id, down.Unavailable(), err)
	}
	return Internal(id, err)
}

// IsNotFound reports whether err says that the thing asked for does not exist,
// as opposed to the platform being unable to tell. Resolvers rely on the
// difference: only a true "not found" may replace a known route (DESIGN 3).
//
// A remote platform says it with status 404 or 500 and the detail "not found",
// or with a 400 "invalid id" (WIRE.md 4); an Error of ours with status 404.
func IsNotFound(err error) bool {
	var e *Error
	if !errors.As(err, &e) {
		return false
	}
	detail := strings.ToLower(strings.TrimSpace(e.Detail))
	switch e.Code {
	case http.StatusNotFound, http.StatusInternalServerError:
		return detail == "not found"
	case http.StatusBadRequest:
		return detail == "invalid id"
	}
	return false
}
