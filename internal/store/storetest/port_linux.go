package storetest

import (
	"errors"
	"syscall"
)

// reservePort finds a free port of 127.0.0.1 and keeps it until release. While a socket is
// bound to it, the system gives it to nobody who asks for any port, and still lets who
// names it listen on it, as long as both have SO_REUSEADDR, which PostgreSQL sets.
func reservePort() (port int, release func() error, err error) {
	fd, err := syscall.Socket(syscall.AF_INET, syscall.SOCK_STREAM|syscall.SOCK_CLOEXEC, 0)
	if err != nil {
		return 0, nil, err
	}
	if port, err = bindAny(fd); err != nil {
		return 0, nil, errors.Join(err, syscall.Close(fd))
	}
	return port, func() error { return syscall.Close(fd) }, nil
}

func bindAny(fd int) (port int, err error) {
	if err := syscall.SetsockoptInt(fd, syscall.SOL_SOCKET, syscall.SO_REUSEADDR, 1); err != nil {
		return 0, err
	}
	if err := syscall.Bind(fd, &syscall.SockaddrInet4{Addr: [4]byte{127, 0, 0, 1}}); err != nil {
		return 0, err
	}
	bound, err := syscall.Getsockname(fd)
	if err != nil {
		return 0, err
	}
	inet, ok := bound.(*syscall.SockaddrInet4)
	if !ok {
		return 0, errors.New("the socket has no IPv4 address")
	}
	return inet.Port, nil
}
