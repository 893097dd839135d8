package main

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"path/filepath"
	"strconv"
	"sync"

	"github.com/caddyserver/certmagic"

	"github.com/m3o/ingress/internal/certs"
	"github.com/m3o/ingress/internal/edge"
)

// certificatesDir is where certificates are in the data directory when there is no
// store.
const certificatesDir = "certificates"

// openCerts makes what has the certificates, once there is a data plane that knows
// the hosts, and keeps them up to date until the run ends.
func (s *server) openCerts(ctx context.Context) error {
	if !s.config.TLS.on() {
		return nil
	}
	acme, err := s.acme()
	if err != nil {
		return err
	}
	s.certs, err = certs.New(ctx, certs.Options{Files: s.config.TLS.pairs(), ACME: acme, Log: s.log, Metrics: s.metrics})
	if err != nil {
		return fmt.Errorf("--tls: %w", err)
	}
	life, cancel := context.WithCancel(context.Background())
	var running sync.WaitGroup
	running.Go(func() { s.certs.Run(life) })
	s.onClose(func() error {
		cancel()
		running.Wait()
		return s.certs.Close()
	})
	s.warnUncertified()
	return nil
}

// acme returns where certificates are had on demand, or nil.
func (s *server) acme() (*certs.ACME, error) {
	t := &s.config.TLS
	if !t.ACME {
		return nil, nil
	}
	roots, err := t.roots()
	if err != nil {
		return nil, err
	}
	acme := &certs.ACME{
		CA: t.ACMECA, Roots: roots, Email: t.ACMEEmail, Storage: s.certStorage(), Hosts: s.edge,
		HTTPPort: portOf(s.listeners[0]), TLSPort: portOf(s.secure[0]),
		MaxNames: t.MaxNames, OrdersPerMinute: t.OrdersPerMinute,
		Wildcards: func() []string {
			now := s.settings.addresses()
			return []string{asciiName(now.appsDomain), asciiName(now.functionsDomain)}
		},
	}
	if t.ACMEDNSHook != "" {
		acme.DNS = certs.NewDNSHook(t.ACMEDNSHook)
	}
	return acme, nil
}

// certStorage is the store, or, as a remote platform has its own, a folder.
func (s *server) certStorage() certmagic.Storage {
	e, ok := s.platform.(*embedded)
	if !ok {
		return &certmagic.FileStorage{Path: filepath.Join(s.config.DataDir, certificatesDir)}
	}
	storage := certs.NewStorage(e.db, e.sealer, s.log)
	s.onClose(storage.Close)
	return storage
}

func portOf(l net.Listener) int {
	if tcp, ok := l.Addr().(*net.TCPAddr); ok {
		return tcp.Port
	}
	return 0
}

// warnUncertified warns where people are shown URLs for which there can be no
// certificate.
func (s *server) warnUncertified() {
	public := s.settings.addresses().public
	if !s.certs.Covers(asciiHost(public)) {
		s.log.Warn("there is no certificate for the address that people are shown, and none can be obtained; set --public-url", "public-url", public.String())
	}
}

// securing has plain requests redirected to where the public URL says that TLS is.
// Nothing is asked of the certificates before there are some.
func (s *server) securing() *edge.Secure {
	if !s.config.TLS.on() {
		return nil
	}
	port, err := strconv.ParseUint(s.settings.addresses().public.Port(), 10, 16)
	if err != nil { // there is none in the URL
		port = 443
	}
	return &edge.Secure{
		Port: uint16(port), HSTS: s.config.TLS.HSTS,
		Covers:    func(host string) bool { return s.certs.Covers(host) },
		Challenge: func(w http.ResponseWriter, r *http.Request) bool { return s.certs.ServeChallenge(w, r) },
	}
}
