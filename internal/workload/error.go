package workload

import (
	"errors"
	"fmt"

	"github.com/m3o/ingress/internal/api"
)

// What a Registry refuses. Refusal turns each into the platform's answer.
var (
	// ErrNotFound: the tenant has no such workload.
	ErrNotFound = errors.New("not found")
	// ErrExists: the tenant has a workload of that name.
	ErrExists = errors.New("already exists")
	// ErrName: the name is malformed.
	ErrName = errors.New("invalidate name format")
	// ErrReserved: the name is held by another tenant, or by the platform.
	ErrReserved = errors.New("name already reserved")
	// ErrScope: the caller's key may not register backends.
	ErrScope = errors.New("the key lacks the scope " + api.ScopeBackend)
)

// InvalidError says which part of a request cannot be used, and why.
type InvalidError struct {
	// Field is the request's field.
	Field string
	// Reason is fit for callers and holds no secret.
	Reason string
}

// Error implements error.
func (e *InvalidError) Error() string { return "invalid " + e.Field + ": " + e.Reason }

// QuotaError says that a tenant has all it may have.
type QuotaError struct {
	// Reason says what there is too much of, and what to do.
	Reason string
}

// Error implements error.
func (e *QuotaError) Error() string { return "deployment limit reached: " + e.Reason }

func invalid(field, format string, args ...any) error {
	return &InvalidError{Field: field, Reason: fmt.Sprintf(format, args...)}
}

// Refusal returns the platform's answer to an error of a Registry; method is the
// error id, such as "app.run". An error that is no refusal is returned as it is.
func Refusal(method string, err error) error {
	var invalid *InvalidError
	var quota *QuotaError
	switch {
	case errors.Is(err, ErrNotFound):
		return api.NotFound(method)
	case errors.Is(err, ErrScope):
		return api.Forbidden("v1.blocked", "Request blocked. Insufficient privileges") // WIRE.md 2
	case errors.Is(err, ErrExists):
		return api.BadRequest(method, "%v", ErrExists)
	case errors.Is(err, ErrName):
		return api.BadRequest(method, "%v", ErrName)
	case errors.Is(err, ErrReserved):
		return api.BadRequest(method, "%v", ErrReserved)
	case errors.As(err, &invalid):
		return api.BadRequest(method, "%v", invalid)
	case errors.As(err, &quota):
		return api.Forbidden(method, "%v", quota)
	}
	return err
}
