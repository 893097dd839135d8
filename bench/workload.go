package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"time"
)

// workload is one kind of use.
type workload struct {
	name, what string
	secure     bool // over TLS
	memory     bool // it is memory that counts, and no request's cost
	// request makes the request for a peer, with the status of the answer.
	request func(p *peer) (request []byte, status string)
	// measure measures it, if load does not.
	measure func(ctx context.Context, o options, p *peer, w workload) (sample, error)
}

// sample is one turn of one peer.
type sample struct {
	cpu      time.Duration // per request
	rate     float64       // requests per second
	p50, p99 time.Duration
	memory   float64 // private bytes: of the program, or of what is measured
}

var workloads = []workload{
	{name: "GET 1 KiB", what: "CPU of one request, kept connections", request: get("/1k")},
	{name: "GET 64 KiB", what: "likewise", request: get("/64k")},
	{name: "GET 10 MiB", what: "likewise", request: get("/10m")},
	{name: "POST 1 KiB", what: "likewise, answered with 1 KiB", request: post("/1k", 1<<10)},
	{name: "TLS GET 1 KiB", what: "likewise, over kept connections with TLS", request: get("/1k"), secure: true},
	{name: "HTTP/2 GET 1 KiB", what: "likewise, with 8 streams on each of an eighth of the connections", request: get("/1k"), secure: true, measure: measureHTTP2},
	{name: "redirect", what: "a short link", request: redirect},
	{name: "idle", what: "private memory of one idle connection", request: get("/1k"), memory: true, measure: measureIdle},
}

func chooseWorkloads(wanted func(string) bool) ([]workload, error) {
	var chosen []workload
	for _, w := range workloads {
		if wanted(w.name) {
			chosen = append(chosen, w)
		}
	}
	if len(chosen) == 0 {
		return nil, errors.New("there is no such workload")
	}
	return chosen, nil
}

// What a browser sends besides.
const usual = "User-Agent: Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0\r\n" +
	"Accept: text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8\r\nAccept-Language: en-US,en;q=0.5\r\n" +
	"Cookie: session=4f6e63652075706f6e2061\r\n"

func get(path string) func(*peer) ([]byte, string) {
	return func(p *peer) ([]byte, string) {
		return fmt.Appendf(nil, "GET %s HTTP/1.1\r\nHost: %s\r\n%s\r\n", path, p.host, usual), "200"
	}
}

func post(path string, size int) func(*peer) ([]byte, string) {
	return func(p *peer) ([]byte, string) {
		r := fmt.Appendf(nil, "POST %s HTTP/1.1\r\nHost: %s\r\n%sContent-Type: text/plain\r\nContent-Length: %d\r\n\r\n", path, p.host, usual, size)
		return append(r, bytes.Repeat([]byte("b"), size)...), "200"
	}
}

func redirect(p *peer) ([]byte, string) {
	return fmt.Appendf(nil, "GET /u/bench HTTP/1.1\r\nHost: %s\r\n%s\r\n", p.linkHost, usual), "302"
}

// warmUp is how long a peer works before it is measured.
const warmUp = 300 * time.Millisecond

// run gives a peer its turn.
func (w workload) run(ctx context.Context, o options, p *peer) (sample, error) {
	if w.measure != nil {
		return w.measure(ctx, o, p, w)
	}
	return turn(ctx, o, p, w.load(o, p).run)
}

// turn measures what a load costs a peer.
func turn(ctx context.Context, o options, p *peer, run func(context.Context, time.Duration) (outcome, error)) (sample, error) {
	if _, err := run(ctx, warmUp); err != nil {
		return sample{}, err
	}
	before, err := p.proc.usage()
	if err != nil {
		return sample{}, err
	}
	done, err := run(ctx, o.duration)
	if err != nil {
		return sample{}, err
	}
	after, err := p.proc.usage()
	if err != nil {
		return sample{}, err
	}
	return sample{
		cpu:  (after.cpu - before.cpu) / time.Duration(done.requests),
		rate: float64(done.requests) / done.took.Seconds(),
		p50:  done.latencies.quantile(0.5), p99: done.latencies.quantile(0.99),
		memory: float64(after.resident),
	}, nil
}

func (w workload) load(o options, p *peer) load {
	request, status := w.request(p)
	l := load{request: request, status: status, connections: o.connections, dial: p.dial}
	if w.secure {
		l.dial = p.dialSecure
	}
	return l
}

func (p *peer) dial(ctx context.Context) (net.Conn, error) {
	return (&net.Dialer{}).DialContext(ctx, "tcp", p.address)
}

func (p *peer) dialSecure(ctx context.Context) (net.Conn, error) { return p.agree(ctx, "http/1.1") }

// measureIdle opens connections, makes one request on each, and looks at what they
// cost while nothing happens on them.
func measureIdle(ctx context.Context, o options, p *peer, w workload) (sample, error) {
	l := w.load(o, p)
	if _, err := l.run(ctx, warmUp); err != nil {
		return sample{}, err
	}
	before, err := p.proc.usage()
	if err != nil {
		return sample{}, err
	}
	conns := make([]net.Conn, 0, o.idle)
	defer func() {
		for _, c := range conns {
			_ = c.Close()
		}
	}()
	for range o.idle {
		conn, err := p.dial(ctx)
		if err != nil {
			return sample{}, err
		}
		conns = append(conns, conn)
		if err := l.once(conn); err != nil {
			return sample{}, err
		}
	}
	after, err := p.proc.usage()
	if err != nil {
		return sample{}, err
	}
	return sample{memory: float64(after.resident-before.resident) / float64(o.idle)}, nil
}
