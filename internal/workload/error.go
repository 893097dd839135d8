package workload

import (
	"errors"
	"fmt"
	"net/http"

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
	// ErrSuperseded: the version is no longer wanted, because another one was asked
	// for since. Whoever deploys it stops and cleans up.
	ErrSuperseded = errors.New("superseded by another version")
	// ErrNoVersion: the workload has no version of that number, or none to roll
	// back to.
	ErrNoVersion = errors.New("there is no such version")
	// ErrPruned: the version's folder was removed to make room.
	ErrPruned = errors.New("the version was removed to make room; deploy its source again")
	// ErrIsCurrent: the version is the current one already.
	ErrIsCurrent = errors.New("the version is the current one already")
	// ErrNeverBuilt: the version has nothing to start.
	ErrNeverBuilt = errors.New("the version was never built")
	// ErrRegistered: it cannot be done to a registered backend.
	ErrRegistered = errors.New("it is a registered backend, which is built and runs elsewhere")
	// ErrUploadAgain: an uploaded source cannot be deployed a second time.
	ErrUploadAgain = errors.New("its source was uploaded, and is not kept; upload it again")
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

// NotDeployedError says that a workload is there and no version of it is current.
type NotDeployedError struct {
	// State and Reason are those of the version asked for last.
	State  State
	Reason string
}

// Error implements error.
func (e *NotDeployedError) Error() string {
	if e.Reason == "" {
		return "nothing is deployed yet: " + string(e.State)
	}
	return "nothing is deployed: " + string(e.State) + ": " + e.Reason
}

func invalid(field, format string, args ...any) error {
	return &InvalidError{Field: field, Reason: fmt.Sprintf(format, args...)}
}

// Refusal returns the platform's answer to an error of a Registry; method is the
// error id, such as "app.run". An error that is no refusal is returned as it is.
func Refusal(method string, err error) error {
	for _, refused := range []error{ErrExists, ErrName, ErrReserved, ErrPruned, ErrIsCurrent, ErrNeverBuilt, ErrRegistered, ErrUploadAgain, ErrNoDomain, ErrDomainTaken} {
		if errors.Is(err, refused) {
			return api.BadRequest(method, "%v", refused)
		}
	}
	var invalid *InvalidError
	var quota *QuotaError
	switch {
	case errors.Is(err, ErrNotFound):
		return api.NotFound(method)
	case errors.Is(err, ErrScope):
		return api.Forbidden("v1.blocked", "Request blocked. Insufficient privileges") // WIRE.md 2
	case errors.Is(err, ErrNoVersion):
		return &api.Error{ID: method, Code: http.StatusNotFound, Detail: ErrNoVersion.Error()}
	case errors.As(err, &invalid):
		return api.BadRequest(method, "%v", invalid)
	case errors.As(err, &quota):
		return api.Forbidden(method, "%v", quota)
	}
	return err
}
