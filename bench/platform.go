package main

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

// platform is a platform API that knows every id and says how often it was asked.
type platform struct {
	address string
	delay   time.Duration // before each answer
	calls   atomic.Int64
	server  *http.Server
}

// startPlatform serves a platform whose ids all lead to one backend.
func startPlatform(backend string, delay time.Duration) (*platform, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	p := &platform{address: l.Addr().String(), delay: delay}
	answer, err := json.Marshal(map[string]string{"url": "http://" + backend})
	if err != nil {
		return nil, err
	}
	p.server = &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if !strings.EqualFold(r.URL.Path, "/v1/app/resolve") {
			http.NotFound(w, r)
			return
		}
		p.calls.Add(1)
		select {
		case <-time.After(p.delay): // a real one is far away
		case <-r.Context().Done():
		}
		w.Header().Set("Content-Type", "application/json")
		_, _ = w.Write(answer) // who asked may have gone
	})}
	go func() { _ = p.server.Serve(l) }() // its end is Close
	return p, nil
}

func (p *platform) close() { _ = p.server.Close() }

// remoteIngress is an ingress in front of a platform of the bench's own.
func remoteIngress(ctx context.Context, ps *processes, s surroundings, p *platform) (*peer, error) {
	program, err := buildIngress(ctx, s)
	if err != nil {
		return nil, err
	}
	front := &peer{name: "ingress"}
	if front.address, err = freePort(); err != nil {
		return nil, err
	}
	front.proc, err = ps.startQuiet(program, []string{
		"serve", "--listen", front.address, "--admin-listen", "127.0.0.1:0", "--access-log", "none",
		"--api-address", "http://" + p.address, "--max-client-connections", "20000",
	}, []string{"M3O_API_TOKEN=" + rand.Text()})
	if err != nil {
		return nil, err
	}
	return front, front.proc.listening(ctx, front.address)
}

// measureResolving measures what no peer has: many who wait for one id, and many
// ids.
func measureResolving(ctx context.Context, ps *processes, s surroundings, ids int) (string, error) {
	p, err := startPlatform(s.backend, 100*time.Millisecond)
	if err != nil {
		return "", err
	}
	defer p.close()
	front, err := remoteIngress(ctx, ps, s, p)
	if err != nil {
		return "", fmt.Errorf("the ingress in front of a platform: %w", err)
	}
	const waiting = 1000
	slowest, err := coldResolve(ctx, front, waiting)
	if err != nil {
		return "", fmt.Errorf("cold resolve: %w", err)
	}
	calls := p.calls.Load()
	text := fmt.Sprintf("%d visitors at once for an app that nobody has asked for yet, with a platform that takes %v to answer: "+
		"%d call of the platform, the last visitor was answered after %v.\n\n", waiting, p.delay, calls, slowest.Round(time.Millisecond))
	if calls != 1 {
		return "", fmt.Errorf("cold resolve: the platform was called %d times, want once", calls)
	}
	p.delay = 0
	known, err := manyApps(ctx, front, ids)
	return text + known, err
}

// coldResolve has n clients ask for one id at once, and returns how long the last
// one waited. They are connected before the first one asks.
func coldResolve(ctx context.Context, front *peer, n int) (time.Duration, error) {
	conns := make([]net.Conn, n)
	for i := range conns {
		conn, err := front.dial(ctx)
		if err != nil {
			return 0, err
		}
		defer conn.Close()
		conns[i] = conn
	}
	l := load{request: []byte("GET /1k HTTP/1.1\r\nHost: cold.app.localhost\r\n\r\n"), status: "200"}
	errs := make(chan error, n)
	begin := time.Now()
	for _, conn := range conns {
		go func() { errs <- l.once(conn) }()
	}
	for range n {
		if err := <-errs; err != nil {
			return 0, err
		}
	}
	return time.Since(begin), nil
}

// manyApps has the ingress learn ids, each by one request, and measures what it
// keeps of them and what a request costs then.
func manyApps(ctx context.Context, front *peer, ids int) (string, error) {
	request := func(n int) []byte {
		return fmt.Appendf(nil, "GET /1k HTTP/1.1\r\nHost: app%06d.app.localhost\r\n\r\n", n)
	}
	before, err := front.proc.usage()
	if err != nil {
		return "", err
	}
	pass := func() error { return eachOnce(ctx, front, ids, request) }
	if err := pass(); err != nil {
		return "", fmt.Errorf("%d apps: %w", ids, err)
	}
	learned, err := front.proc.usage()
	if err != nil {
		return "", err
	}
	if err := pass(); err != nil {
		return "", fmt.Errorf("%d apps: %w", ids, err)
	}
	after, err := front.proc.usage()
	if err != nil {
		return "", err
	}
	return fmt.Sprintf("%d apps known: %.2f KiB of memory each, garbage included; a request to one of them costs %s, the first one %s.\n",
		ids, float64(learned.resident-before.resident)/float64(ids)/1024,
		micro((after.cpu-learned.cpu)/time.Duration(ids)), micro((learned.cpu-before.cpu)/time.Duration(ids))), nil
}

// eachOnce sends one request for each number, over 64 connections.
func eachOnce(ctx context.Context, front *peer, n int, request func(int) []byte) error {
	var next atomic.Int64
	var wait sync.WaitGroup
	errs := make(chan error, 64)
	for range 64 {
		wait.Go(func() {
			conn, err := front.dial(ctx)
			if err != nil {
				errs <- err
				return
			}
			defer conn.Close()
			for i := int(next.Add(1)) - 1; i < n && ctx.Err() == nil; i = int(next.Add(1)) - 1 {
				if err := (load{request: request(i), status: "200"}).once(conn); err != nil {
					errs <- err
					return
				}
			}
		})
	}
	wait.Wait()
	close(errs)
	return <-errs
}
