// Package porttest is how a test comes by a port at which nobody listens.
package porttest

import (
	"fmt"
	"math/rand/v2"
	"net"
	"sync/atomic"
	"testing"
)

// The ports are below those that systems give to whoever asks for any, and below those
// that apps are given. What was given by the system and is free again it may give to
// another test, or another package's, before it is used.
const (
	first = 10_000
	count = 10_000
)

// Other programs that run at the same time begin elsewhere.
var (
	start = rand.Uint32N(count)
	given atomic.Uint32
)

// Free returns a port of 127.0.0.1 that is free, and another one each time.
func Free(t testing.TB) uint16 {
	t.Helper()
	for range count {
		port := uint16(first + (start+given.Add(1))%count)
		l, err := net.Listen("tcp4", fmt.Sprintf("127.0.0.1:%d", port))
		if err != nil {
			continue // it is used
		}
		if err := l.Close(); err != nil {
			t.Fatal(err)
		}
		return port
	}
	t.Fatal("no port is free")
	return 0
}

// Closed returns an address at which nobody listens.
func Closed(t testing.TB) string {
	t.Helper()
	return fmt.Sprintf("127.0.0.1:%d", Free(t))
}
