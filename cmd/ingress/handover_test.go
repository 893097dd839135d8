package main

import (
	"os"
	"strconv"
	"strings"
	"testing"
)

// What is no number of sockets is not taken for none, nor believed.
func TestANumberOfSocketsThatIsNone(t *testing.T) {
	for _, count := range []string{"", "some", "-1", "1000000"} {
		given := map[string]string{"LISTEN_PID": strconv.Itoa(os.Getpid()), "LISTEN_FDS": count}
		h, err := activated(func(name string) (string, bool) {
			value, ok := given[name]
			return value, ok
		})
		if h != nil || err == nil || !strings.Contains(err.Error(), "LISTEN_FDS") || !strings.Contains(err.Error(), strconv.Quote(count)) {
			t.Errorf("%q: %v, %v", count, h, err)
		}
	}
}
