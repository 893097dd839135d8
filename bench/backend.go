package main

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httputil"
	"net/url"
	"os"
	"strconv"
)

// The bodies that the backend answers with, by path.
var bodies = map[string]int{"/1k": 1 << 10, "/64k": 64 << 10, "/10m": 10 << 20}

// serveBackend is the program behind every peer. It costs the same for each.
func serveBackend(address string) error {
	mux := http.NewServeMux()
	for path, size := range bodies {
		body := make([]byte, size)
		for i := range body {
			body[i] = 'a' + byte(i%26)
		}
		length := []string{strconv.Itoa(size)}
		mux.HandleFunc(path, func(w http.ResponseWriter, r *http.Request) {
			if r.ContentLength > 0 {
				if _, err := io.Copy(io.Discard, r.Body); err != nil {
					return // whoever sent it has gone
				}
			}
			h := w.Header()
			h["Content-Type"], h["Content-Length"] = []string{"text/plain"}, length
			_, _ = w.Write(body) // likewise
		})
	}
	return serveOn(address, mux)
}

// serveReverseProxy is the standard library's proxy with nothing around it: what
// a Go program pays before it does anything of its own.
func serveReverseProxy(address, secure, backend string, c certificate) error {
	target := &url.URL{Scheme: "http", Host: backend}
	transport := &http.Transport{MaxIdleConnsPerHost: 1024, DisableCompression: true}
	proxy := &httputil.ReverseProxy{
		Rewrite:   func(r *httputil.ProxyRequest) { r.SetURL(target) },
		Transport: transport,
	}
	mux := http.NewServeMux()
	mux.Handle("/", proxy)
	mux.HandleFunc("/u/bench", func(w http.ResponseWriter, r *http.Request) {
		http.Redirect(w, r, redirectTarget, http.StatusFound)
	})
	l, err := net.Listen("tcp", secure)
	if err != nil {
		return err
	}
	failed := make(chan error, 2)
	go func() { failed <- (&http.Server{Handler: mux}).ServeTLS(l, c.chain, c.key) }()
	go func() { failed <- serveOn(address, mux) }()
	return <-failed
}

func serveOn(address string, h http.Handler) error {
	l, err := net.Listen("tcp", address)
	if err != nil {
		return err
	}
	return (&http.Server{Handler: h}).Serve(l)
}

// startBackend starts the backend and returns its address.
func startBackend(ctx context.Context, p *processes, _ string) (string, error) {
	address, err := freePort()
	if err != nil {
		return "", err
	}
	self, err := os.Executable()
	if err != nil {
		return "", err
	}
	proc, err := p.start(self, []string{"backend", address}, nil)
	if err != nil {
		return "", err
	}
	if err := proc.listening(ctx, address); err != nil {
		return "", fmt.Errorf("the backend: %w", err)
	}
	return address, nil
}
