package main

import (
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"net/http"
	"strconv"
	"time"
)

// streams is how many requests each HTTP/2 connection has under way.
const streams = 8

// http2Load is as many requests at a time as load has, over an eighth of the
// connections.
type http2Load struct {
	url, status string
	clients     []*http.Client
}

// measureHTTP2 measures a workload's path over HTTP/2. The client is net/http's,
// which costs more than the peers, and so is alike for all.
func measureHTTP2(ctx context.Context, o options, p *peer, _ workload) (sample, error) {
	l := http2Load{url: "https://" + p.host + "/1k", status: "200"}
	for range max(o.connections/streams, 1) {
		transport := &http.Transport{
			ForceAttemptHTTP2: true,
			DialTLSContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
				return p.agree(ctx, "h2")
			},
		}
		defer transport.CloseIdleConnections()
		l.clients = append(l.clients, &http.Client{Transport: transport})
	}
	return turn(ctx, o, p, l.run)
}

// run sends until the time is over.
func (l http2Load) run(ctx context.Context, d time.Duration) (outcome, error) {
	return drive(ctx, d, len(l.clients)*streams, l.stream)
}

// stream is a client that shares its connection with others.
func (l http2Load) stream(ctx context.Context, n int) (exchange func() error, end func(), err error) {
	return func() error { return l.get(ctx, l.clients[n/streams]) }, func() {}, nil
}

func (l http2Load) get(ctx context.Context, client *http.Client) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, l.url, nil)
	if err != nil {
		return err
	}
	res, err := client.Do(req)
	if err != nil {
		return err
	}
	_, err = io.Copy(io.Discard, res.Body)
	_ = res.Body.Close() // it has been read
	switch {
	case err != nil:
		return err
	case res.ProtoMajor != 2 || strconv.Itoa(res.StatusCode) != l.status:
		return fmt.Errorf("the answer is %s %s, want HTTP/2 %s", res.Proto, res.Status, l.status)
	}
	return nil
}

// agree opens a connection under TLS that speaks a protocol. The certificate is the
// bench's own and names nobody.
func (p *peer) agree(ctx context.Context, protocol string) (net.Conn, error) {
	conn, err := (&net.Dialer{}).DialContext(ctx, "tcp", p.secure)
	if err != nil {
		return nil, err
	}
	secured := tls.Client(conn, &tls.Config{InsecureSkipVerify: true, NextProtos: []string{protocol}})
	if err := secured.HandshakeContext(ctx); err != nil {
		_ = conn.Close()
		return nil, fmt.Errorf("agree on TLS: %w", err)
	}
	return secured, nil
}
