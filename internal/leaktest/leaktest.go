// Package leaktest is how a package's tests end: with no goroutine left.
package leaktest

import (
	"fmt"
	"os"
	"testing"

	"go.uber.org/goleak"
)

// Main runs the tests and exits. It is for TestMain.
func Main(m *testing.M) {
	code := m.Run()
	if code == 0 {
		if err := find(); err != nil {
			fmt.Fprintln(os.Stderr, err)
			code = 1
		}
	}
	os.Exit(code)
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
