package main

import "strings"

// joined is several errors that are said in one line, which is what a log and
// the end of a command have.
type joined []error

// joinErrors returns nil when every error is nil.
func joinErrors(errs ...error) error {
	var some joined
	for _, err := range errs {
		if err != nil {
			some = append(some, err)
		}
	}
	switch len(some) {
	case 0:
		return nil
	case 1:
		return some[0]
	}
	return some
}

// Error implements error.
func (j joined) Error() string {
	texts := make([]string, len(j))
	for i, err := range j {
		texts[i] = err.Error()
	}
	return strings.Join(texts, "; ")
}

// Unwrap lets errors.Is and errors.As see every one.
func (j joined) Unwrap() []error { return j }
