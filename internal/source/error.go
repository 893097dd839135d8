package source

import (
	"errors"
	"fmt"
)

// Reason says what kind of failure an Error is.
type Reason string

// Why code could not be had.
const (
	// Refused: the address, name or archive is one that is never taken.
	Refused Reason = "refused"
	// NotFound: there is no such repository, or it wants a credential that was not
	// given; servers do not tell these two apart.
	NotFound Reason = "not found"
	// Denied: the server refused the credential.
	Denied Reason = "denied"
	// HostKey: the server's ssh key is not the one that is known.
	HostKey Reason = "host key"
	// NoRef: the repository has no such branch, tag or commit.
	NoRef Reason = "no ref"
	// NoPath: there is no such folder.
	NoPath Reason = "no path"
	// Empty: there is nothing in it.
	Empty Reason = "empty"
	// TooLarge: it has more bytes or files than allowed.
	TooLarge Reason = "too large"
	// TooLong: it took longer than allowed.
	TooLong Reason = "too long"
	// Unreachable: the server did not answer, or stopped in the middle.
	Unreachable Reason = "unreachable"
	// Moved: the server says that the repository has another address.
	Moved Reason = "moved"
	// Failed: none of these; the text has what the program that fetches said.
	Failed Reason = "failed"
)

// Error says why code could not be had, in words fit for its owner: what
// happened, to what, and what to do. It holds no secret.
type Error struct {
	Reason Reason
	Text   string
}

// Error implements error.
func (e *Error) Error() string { return e.Text }

func fail(reason Reason, format string, args ...any) error {
	return &Error{Reason: reason, Text: fmt.Sprintf(format, args...)}
}

// is reports whether err is an Error of that reason.
func is(err error, reason Reason) bool {
	var e *Error
	return errors.As(err, &e) && e.Reason == reason
}
