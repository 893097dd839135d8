// Package leaktest is how a package's tests end: with no goroutine left.
package leaktest

import (
	"errors"
	"fmt"
	"net/http"
	"os"
	"testing"

	"go.uber.org/goleak"
)

// Main runs the tests, lets what has to be left go, and exits. It is for TestMain.
func Main(m *testing.M, leave ...func() error) { os.Exit(Run(m, leave...)) }

// Run is Main that returns the exit code.
func Run(m *testing.M, leave ...func() error) (code int) {
	code = m.Run()
	var err error
	for _, f := range leave {
		err = errors.Join(err, f())
	}
	if code == 0 {
		err = errors.Join(err, find())
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return max(code, 1)
	}
	return code
}

// IdleConnections is for tests that ask with http.DefaultClient.
func IdleConnections() error {
	http.DefaultClient.CloseIdleConnections()
	return nil
}

// find waits for the goroutines that are about to end. goleak gives them less than
// half a second, which on a busy machine is not enough for one that sees its
// connection closed, or that waits for half a second itself, as servers do before they
// close a connection with bytes unread.
func find() error {
	err := goleak.Find()
	for n := 0; err != nil && n < 20; n++ {
		err = goleak.Find()
	}
	return err
}
