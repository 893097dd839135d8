// Package skiptest is how a test says that it needs what is not there.
package skiptest

import (
	"os"
	"testing"
)

// Skip ends a test that needs something this machine does not have, and says what.
// Where everything has to be there, as in CI, INGRESS_TEST_NO_SKIP makes that a
// failure.
func Skip(t testing.TB, why string) {
	t.Helper()
	if os.Getenv("INGRESS_TEST_NO_SKIP") != "" {
		t.Fatal(why)
	}
	t.Skip(why)
}
