package main

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"time"
)

// profiled are the workloads that the compiler's profile is made of, which is what
// an ingress does most.
var profiled = []string{"GET 1 KiB", "GET 64 KiB", "POST 1 KiB", "redirect"}

// renewProfile runs them and writes the processor profile of the ingress, which the
// compiler optimises by when the file is cmd/ingress/default.pgo.
func renewProfile(ctx context.Context, o options, ps *processes, s surroundings, file string) error {
	p, err := newPeer("ingress")
	if err != nil {
		return err
	}
	if err := startIngress("--access-log=none")(ctx, ps, s, p); err != nil {
		return err
	}
	sockets, err := filepath.Glob(filepath.Join(s.dir, "data*", "admin.sock"))
	if err != nil || len(sockets) != 1 {
		return fmt.Errorf("look for the socket with the profile: %q, %v", sockets, err)
	}
	whole := o.duration * time.Duration(len(profiled))
	got := make(chan error, 1)
	go func() { got <- fetchProfile(ctx, sockets[0], whole, file) }()
	for _, name := range profiled {
		chosen, err := chooseWorkloads(wanted(name))
		if err != nil {
			return err
		}
		if _, err := chosen[0].load(o, p).run(ctx, o.duration); err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
	}
	return <-got
}

// fetchProfile asks a running ingress for the profile of a time from now on.
func fetchProfile(ctx context.Context, socket string, d time.Duration, file string) error {
	client := &http.Client{Transport: &http.Transport{DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return (&net.Dialer{}).DialContext(ctx, "unix", socket)
	}}}
	defer client.CloseIdleConnections()
	url := fmt.Sprintf("http://ingress/debug/pprof/profile?seconds=%d", max(int(d.Seconds()), 1))
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return err
	}
	res, err := client.Do(req)
	if err != nil {
		return fmt.Errorf("fetch the profile: %w", err)
	}
	defer res.Body.Close()
	text, err := io.ReadAll(res.Body)
	if err != nil || res.StatusCode != http.StatusOK {
		return fmt.Errorf("fetch the profile: %s, %w", res.Status, err)
	}
	return os.WriteFile(file, text, 0o644)
}
