package runner

import (
	"fmt"
	"math/rand/v2"
	"net"
	"net/netip"
	"os/exec"
	"sync"
)

// loopback is where processes listen.
var loopback = netip.AddrFrom4([4]byte{127, 0, 0, 1})

// portSet knows which ports are given to living processes.
type portSet struct {
	mu    sync.Mutex
	taken map[uint16]bool
	// probing is held while a port is tried and while a process is started: between
	// fork and exec a child has a copy of the socket that tries, which then seems
	// to be somebody else's.
	probing sync.Mutex
}

// take returns a port of the range that no process of ours has and that nobody
// listens on now. Where it begins to look is random, so that a port is seldom
// used again at once, when somebody may still connect to it and mean another.
func (p *portSet) take(first, last uint16) (uint16, error) {
	n := int(last) - int(first) + 1
	begin := rand.IntN(n)
	for k := range n {
		port := first + uint16((begin+k)%n)
		if p.claim(port) {
			if p.free(port) {
				return port, nil
			}
			p.give(port)
		}
	}
	return 0, fmt.Errorf("all ports from %d to %d are taken; the operator can give more with --app-ports", first, last)
}

// claim takes a port unless it is taken.
func (p *portSet) claim(port uint16) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.taken == nil {
		p.taken = make(map[uint16]bool)
	}
	if p.taken[port] {
		return false
	}
	p.taken[port] = true
	return true
}

// start starts a launcher, but not while a port is tried.
func (p *portSet) start(cmd *exec.Cmd) error {
	p.probing.Lock()
	defer p.probing.Unlock()
	return cmd.Start()
}

func (p *portSet) give(port uint16) {
	p.mu.Lock()
	defer p.mu.Unlock()
	delete(p.taken, port)
}

// free reports whether the port can be listened on, on every address: somebody
// who listens on all of them would get what is meant for a loopback address.
func (p *portSet) free(port uint16) bool {
	p.probing.Lock()
	defer p.probing.Unlock()
	for _, host := range []string{"127.0.0.1", ""} {
		l, err := net.Listen("tcp", fmt.Sprintf("%s:%d", host, port))
		if err != nil {
			return false
		}
		_ = l.Close()
	}
	return true
}
