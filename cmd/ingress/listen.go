package main

import (
	"errors"
	"fmt"
	"net"
	"slices"
	"syscall"
)

// listenAll opens every listener, or none: what was opened is closed when one
// fails. Others are ours already.
func listenAll(field string, addrs []string, others []net.Listener) (listeners []net.Listener, err error) {
	defer func() {
		if err != nil {
			closeAll(listeners)
			listeners = nil
		}
	}()
	for _, addr := range addrs {
		opened, err := listen(addr)
		listeners = append(listeners, opened...)
		if err != nil {
			return listeners, explainListen(field, addr, err, append(listeners, others...))
		}
	}
	return listeners, nil
}

// listen opens addr; localhost means both loopback addresses on one port, the
// second only where the machine has IPv6.
func listen(addr string) ([]net.Listener, error) {
	host, _, err := net.SplitHostPort(addr)
	if err != nil || host != "localhost" {
		l, err := net.Listen("tcp", addr)
		if err != nil {
			return nil, err
		}
		return []net.Listener{l}, nil
	}
	return listenLocalhost(addr)
}

// portTries bounds the search for a port that is free on both addresses when
// any port will do.
const portTries = 10

func listenLocalhost(addr string) ([]net.Listener, error) {
	_, port, _ := net.SplitHostPort(addr)
	var last error
	for range portTries {
		v4, err := net.Listen("tcp4", net.JoinHostPort("127.0.0.1", port))
		if err != nil {
			return nil, err
		}
		_, given, _ := net.SplitHostPort(v4.Addr().String())
		v6, err := net.Listen("tcp6", net.JoinHostPort("::1", given))
		if err == nil {
			return []net.Listener{v4, v6}, nil
		}
		if !errors.Is(err, syscall.EADDRINUSE) { // no IPv6 here
			return []net.Listener{v4}, nil
		}
		v4.Close()
		last = err
		if port != "0" {
			break
		}
	}
	return nil, last
}

// explainListen says why addr cannot be listened on, beside the listeners that
// are ours.
func explainListen(field, addr string, err error, ours []net.Listener) error {
	switch {
	case errors.Is(err, syscall.EADDRINUSE) && takesPort(ours, addr):
		return fmt.Errorf("%s: %q has the port of another address given; give one of its own", field, addr)
	case errors.Is(err, syscall.EADDRINUSE):
		return fmt.Errorf("%s: %q is in use by another process; stop that one or give another address", field, addr)
	case errors.Is(err, syscall.EACCES):
		return fmt.Errorf("%s: %q needs privileges; give a port from 1024 on, or grant CAP_NET_BIND_SERVICE", field, addr)
	}
	return fmt.Errorf("%s: cannot listen on %q: %w", field, addr, err)
}

// takesPort reports whether one of the listeners has the port of addr.
func takesPort(listeners []net.Listener, addr string) bool {
	_, port, _ := net.SplitHostPort(addr)
	return slices.ContainsFunc(listeners, func(l net.Listener) bool {
		_, taken, _ := net.SplitHostPort(l.Addr().String())
		return taken == port
	})
}

func closeAll(listeners []net.Listener) {
	for _, l := range listeners {
		l.Close()
	}
}

// allLoopback reports whether nobody outside this machine can reach any of the
// listeners.
func allLoopback(listeners []net.Listener) bool {
	for _, l := range listeners {
		tcp, ok := l.Addr().(*net.TCPAddr)
		if !ok || !tcp.IP.IsLoopback() {
			return false
		}
	}
	return true
}
