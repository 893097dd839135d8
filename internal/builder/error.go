package builder

import (
	"errors"
	"fmt"
)

// Error is a build that failed for a reason its owner can do something about, or
// at least has to know. Its text is short and fit for them; the log has the rest.
type Error struct {
	// Step is the command that failed, such as "go build", or empty when none did.
	Step string
	// Reason says why, and ends with the last lines that the step printed.
	Reason string
}

// Error implements error.
func (e *Error) Error() string {
	if e.Step == "" {
		return e.Reason
	}
	return e.Step + " failed: " + e.Reason
}

// Why a step was ended.
var (
	errTimeout = errors.New("the build took too long")
	errOutput  = errors.New("the build printed too much")
)

func refuse(format string, args ...any) error {
	return &Error{Reason: fmt.Sprintf(format, args...)}
}

// failedStep returns the step that an error is about, or "".
func failedStep(err error) string {
	var failure *Error
	if errors.As(err, &failure) {
		return failure.Step
	}
	return ""
}
