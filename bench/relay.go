package main

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"net"
	"os"
	"strings"
)

// The relay is what any Go program pays for a small request that goes through it: a
// goroutine, two connections, and the four system calls that move the request and
// the answer. It reads no header and can be no proxy, since it takes what one read
// brings for a whole message; what a proxy in Go costs beyond it is what that proxy
// does.

// startRelay starts it. It does what fits into one read.
func startRelay(_ context.Context, ps *processes, s surroundings, p *peer) error {
	self, err := os.Executable()
	if err != nil {
		return err
	}
	p.version = strings.TrimPrefix(versionOf("go", "version"), "go")
	p.config = "reads, writes, reads, writes; no HTTP: the least that Go needs"
	p.cannot = map[string]bool{"GET 64 KiB": true, "GET 10 MiB": true, "HTTP/2 GET 1 KiB": true, "idle": true}
	p.proc, err = ps.start(self, []string{"relay", p.address, p.secure, s.backend, s.certificate.chain, s.certificate.key}, nil)
	return err
}

// serveRelay is the program.
func serveRelay(address, secure, backend string, c certificate) error {
	pair, err := tls.LoadX509KeyPair(c.chain, c.key)
	if err != nil {
		return err
	}
	encrypted, err := tls.Listen("tcp", secure, &tls.Config{Certificates: []tls.Certificate{pair}})
	if err != nil {
		return err
	}
	plain, err := net.Listen("tcp", address)
	if err != nil {
		return errors.Join(err, encrypted.Close())
	}
	failed := make(chan error, 2)
	for _, l := range []net.Listener{plain, encrypted} {
		go func() { failed <- relayAll(l, backend) }()
	}
	return <-failed
}

func relayAll(l net.Listener, backend string) error {
	for {
		conn, err := l.Accept()
		if err != nil {
			return err
		}
		go relay(conn, backend)
	}
}

const relayedRedirect = "HTTP/1.1 302 Found\r\nLocation: " + redirectTarget + "\r\nContent-Length: 0\r\n\r\n"

// relay takes messages to and fro until a side hangs up, which the load notices.
func relay(visitor net.Conn, backend string) {
	defer visitor.Close()
	behind, err := net.Dial("tcp", backend)
	if err != nil {
		return
	}
	defer behind.Close()
	message := make([]byte, 8<<10)
	for err == nil {
		var n int
		if n, err = visitor.Read(message); err != nil {
			return
		}
		if bytes.HasPrefix(message[:n], []byte("GET /u/bench ")) {
			_, err = visitor.Write([]byte(relayedRedirect))
			continue
		}
		if _, err = behind.Write(message[:n]); err != nil {
			return
		}
		if n, err = behind.Read(message); err == nil {
			_, err = visitor.Write(message[:n])
		}
	}
}
