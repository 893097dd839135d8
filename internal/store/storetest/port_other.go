//go:build !linux

package storetest

import "net"

// reservePort finds a free port of 127.0.0.1, which it cannot keep on this system.
func reservePort() (port int, release func() error, err error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return 0, nil, err
	}
	return l.Addr().(*net.TCPAddr).Port, func() error { return nil }, l.Close()
}
