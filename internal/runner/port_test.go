package runner

import (
	"errors"
	"net"
	"os/exec"
	"sync"
	"testing"
)

// A child has, between fork and exec, a copy of the socket that tries a port: that
// must not look like somebody who listens.
func TestAFreePortStaysFreeWhileProcessesStart(t *testing.T) {
	// On port 0 the system chooses one that nobody has.
	l, err := net.Listen("tcp", ":0")
	if err != nil {
		t.Fatal(err)
	}
	port := uint16(l.Addr().(*net.TCPAddr).Port)
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	var p portSet
	var starters sync.WaitGroup
	stop := make(chan struct{})
	for range 2 {
		starters.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
				}
				cmd := exec.Command("/bin/sh", "-c", ":")
				if err := errors.Join(p.start(cmd), cmd.Wait()); err != nil {
					t.Error(err)
					return
				}
			}
		})
	}
	taken := 0
	for range 1500 {
		if !p.free(port) {
			taken++
		}
	}
	close(stop)
	starters.Wait()
	if taken != 0 {
		t.Errorf("port %d seemed taken %d times of 1500", port, taken)
	}
}
