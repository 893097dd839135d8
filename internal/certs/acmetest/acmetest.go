// Package acmetest gives tests a real ACME authority: Pebble, which Let's Encrypt
// tests clients with, in the test's own process, with a name server for which
// every host is this machine.
package acmetest

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io"
	"log"
	"net"
	"net/http"
	"os"
	"sync"
	"testing"
	"time"

	"github.com/letsencrypt/pebble/v2/ca"
	"github.com/letsencrypt/pebble/v2/db"
	"github.com/letsencrypt/pebble/v2/va"
	"github.com/letsencrypt/pebble/v2/wfe"

	"github.com/m3o/ingress/internal/certs/certstest"
)

// Server is an authority. Make one with New.
type Server struct {
	// Directory is its URL, and RootFile has who vouches for that.
	Directory, RootFile string
	// TrustPool is RootFile's.
	TrustPool *x509.CertPool
	// Roots vouch for the certificates that it gives.
	Roots *x509.CertPool
	// DNS is where it looks names up.
	DNS *DNS

	t       testing.TB
	handler http.Handler
	config  *tls.Config
	address string
	web     *forwarder // what it takes for port 80 of every host
	secure  *forwarder // and for 443

	mu      sync.Mutex
	server  *http.Server // nil while it is stopped
	orders  int
	revoked int
}

// New starts an authority whose certificates are valid for so long. It ends with
// the test.
func New(t testing.TB, validity time.Duration) *Server {
	t.Helper()
	// Pebble misbehaves now and then on purpose, and is slow on purpose; these are
	// its only switches.
	for name, value := range map[string]string{"PEBBLE_VA_NOSLEEP": "1", "PEBBLE_WFE_NONCEREJECT": "0", "PEBBLE_AUTHZREUSE": "0"} {
		if err := os.Setenv(name, value); err != nil {
			t.Fatal(err)
		}
	}
	s := &Server{t: t, DNS: newDNS(t), web: newForwarder(t), secure: newForwarder(t)}
	quiet := log.New(io.Discard, "", 0)
	store := db.NewMemoryStore()
	authority := ca.New(quiet, store, "", "ecdsa", 0, 1, map[string]ca.Profile{
		"default": {Description: "for tests", ValidityPeriod: uint64(validity.Seconds())},
	})
	validation := va.New(quiet, s.web.port(), s.secure.port(), true, s.DNS.Address, store)
	front := wfe.New(quiet, store, validation, authority, []string{"pebble.test"}, true, false, 1, 1)
	s.handler = s.counting(front.Handler())
	s.Roots = x509.NewCertPool()
	s.Roots.AddCert(authority.GetRootCert(0).Cert)
	s.vouch()
	s.Start()
	t.Cleanup(s.Stop)
	return s
}

// vouch gives the authority's own web server a certificate.
func (s *Server) vouch() {
	s.t.Helper()
	issuer := certstest.New(s.t)
	cert, key := issuer.Issue("127.0.0.1")
	pair, err := tls.X509KeyPair(cert, key)
	if err != nil {
		s.t.Fatal(err)
	}
	s.config = &tls.Config{Certificates: []tls.Certificate{pair}}
	s.TrustPool = issuer.Pool()
	s.RootFile, _ = certstest.Files(s.t, issuer.PEM(), nil)
}

func (s *Server) counting(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		s.mu.Lock()
		switch r.URL.Path {
		case "/order-plz":
			s.orders++
		case "/revoke-cert":
			s.revoked++
		}
		s.mu.Unlock()
		next.ServeHTTP(w, r)
	})
}

// Orders is how many were made so far.
func (s *Server) Orders() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.orders
}

// Revoked is how often a revocation was asked for.
func (s *Server) Revoked() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.revoked
}

// Start has it listen again where it did before.
func (s *Server) Start() {
	s.t.Helper()
	address := s.address
	if address == "" {
		address = "127.0.0.1:0"
	}
	l, err := net.Listen("tcp", address)
	if err != nil {
		s.t.Fatal(err)
	}
	s.address = l.Addr().String()
	s.Directory = "https://" + s.address + wfe.DirectoryPath
	server := &http.Server{Handler: s.handler, ErrorLog: log.New(io.Discard, "", 0), ReadHeaderTimeout: time.Minute}
	s.mu.Lock()
	s.server = server
	s.mu.Unlock()
	go func() {
		if err := server.Serve(tls.NewListener(l, s.config)); !errors.Is(err, http.ErrServerClosed) {
			s.t.Errorf("the authority: %v", err)
		}
	}()
}

// Stop has connections to it refused.
func (s *Server) Stop() {
	s.mu.Lock()
	server := s.server
	s.server = nil
	s.mu.Unlock()
	if server != nil {
		server.Close()
	}
}

// Reach says where the ports 80 and 443 of every host are. An empty one is where
// nobody listens.
func (s *Server) Reach(web, secure string) {
	s.web.to(web)
	s.secure.to(secure)
}

// forwarder is a port that leads to another one.
type forwarder struct {
	listener net.Listener
	mu       sync.Mutex
	target   string
}

func newForwarder(t testing.TB) *forwarder {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	f := &forwarder{listener: l}
	t.Cleanup(func() { l.Close() })
	go func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			go f.forward(conn)
		}
	}()
	return f
}

func (f *forwarder) port() int { return f.listener.Addr().(*net.TCPAddr).Port }

func (f *forwarder) to(target string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.target = target
}

func (f *forwarder) forward(from net.Conn) {
	defer from.Close()
	f.mu.Lock()
	target := f.target
	f.mu.Unlock()
	to, err := net.Dial("tcp", target)
	if target == "" || err != nil {
		return
	}
	defer to.Close()
	go func() {
		_, _ = io.Copy(to, from)
		to.Close()
	}()
	_, _ = io.Copy(from, to)
}
