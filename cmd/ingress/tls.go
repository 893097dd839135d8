package main

import (
	"context"
	"fmt"
	"strconv"
	"sync"

	"github.com/m3o/ingress/internal/certs"
	"github.com/m3o/ingress/internal/edge"
)

// openCerts makes what has the certificates, and keeps them up to date until the
// run ends.
func (s *server) openCerts(ctx context.Context) error {
	if !s.config.TLS.on() {
		return nil
	}
	var err error
	s.certs, err = certs.New(ctx, certs.Options{Files: s.config.TLS.pairs(), Log: s.log, Metrics: s.metrics})
	if err != nil {
		return fmt.Errorf("--tls-cert: %w", err)
	}
	life, cancel := context.WithCancel(context.Background())
	var running sync.WaitGroup
	running.Go(func() { s.certs.Run(life) })
	s.onClose(func() error {
		cancel()
		running.Wait()
		return nil
	})
	return nil
}

// securing has plain requests redirected to where the public URL says that TLS is.
func (s *server) securing() *edge.Secure {
	if s.certs == nil {
		return nil
	}
	port, err := strconv.ParseUint(s.settings.addresses().public.Port(), 10, 16)
	if err != nil { // there is none in the URL
		port = 443
	}
	return &edge.Secure{Port: uint16(port), Covers: s.certs.Covers, HSTS: s.config.TLS.HSTS}
}
