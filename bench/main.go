// Command bench measures what a request costs in the ingress and in other
// proxies, on this machine and in one run:
//
//	go run ./bench
//
// Peers that are not installed are left out, and said to be. Figures of different
// machines, or of different runs on a shared one, cannot be compared; what can are
// the ratios to HAProxy within a run.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"time"
)

// options are what a run is told.
type options struct {
	rounds      int
	duration    time.Duration
	connections int
	idle        int
	ids         int
	peers       string
	workloads   string
	install     bool
	out         string
	profile     string
	cluster     bool
}

func main() {
	if len(os.Args) > 1 {
		// What the bench starts itself as, so that each is a process with figures of
		// its own.
		switch os.Args[1] {
		case "backend":
			exit(serveBackend(os.Args[2]))
		case "reverseproxy":
			exit(serveReverseProxy(os.Args[2], os.Args[3], os.Args[4], certificate{chain: os.Args[5], key: os.Args[6]}))
		case "relay":
			exit(serveRelay(os.Args[2], os.Args[3], os.Args[4], certificate{chain: os.Args[5], key: os.Args[6]}))
		}
	}
	var o options
	flag.IntVar(&o.rounds, "rounds", 5, "how often each peer has its turn at each workload")
	flag.DurationVar(&o.duration, "duration", 3*time.Second, "length of one turn")
	flag.IntVar(&o.connections, "connections", 64, "connections of the load, each with one request at a time")
	flag.IntVar(&o.idle, "idle", 5000, "idle connections whose memory is measured")
	flag.IntVar(&o.ids, "ids", 100_000, "apps that the ingress knows when that is measured; 0 leaves it out")
	flag.StringVar(&o.peers, "peers", "", "names of peers, with commas between; all that are installed unless set")
	flag.StringVar(&o.workloads, "workloads", "", "names of workloads, likewise")
	flag.BoolVar(&o.install, "install", false, "build Caddy from its module when it is not installed, which takes minutes")
	flag.StringVar(&o.out, "out", "", "file for the table in Markdown, besides standard output")
	flag.StringVar(&o.profile, "profile", "", "write the ingress's processor profile to this file, such as cmd/ingress/default.pgo, and measure nothing")
	flag.BoolVar(&o.cluster, "cluster", false, "measure several ingresses on one PostgreSQL database instead, which must be installed")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	exit(run(ctx, o))
}

func exit(err error) {
	if err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
	os.Exit(0)
}

// run starts the backend and the peers, gives each its turns, and prints the
// table.
func run(ctx context.Context, o options) error {
	dir, err := os.MkdirTemp("", "bench")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	var processes processes
	defer processes.end()
	backend, err := startBackend(ctx, &processes, dir)
	if err != nil {
		return err
	}
	files, err := makeCertificate(dir)
	if err != nil {
		return err
	}
	s := surroundings{dir: dir, backend: backend, install: o.install, certificate: files}
	if o.profile != "" {
		return renewProfile(ctx, o, &processes, s, o.profile)
	}
	if o.cluster {
		table, err := measureCluster(ctx, o, &processes, s)
		fmt.Print(table)
		return err
	}
	peers, err := startPeers(ctx, &processes, s, wanted(o.peers))
	if err != nil {
		return err
	}
	chosen, err := chooseWorkloads(wanted(o.workloads))
	if err != nil {
		return err
	}
	results, err := measure(ctx, o, peers, chosen)
	if err != nil {
		return err
	}
	resolving := ""
	if o.ids > 0 {
		if resolving, err = measureResolving(ctx, &processes, s, o.ids); err != nil {
			return err
		}
	}
	table := report(o, peers, chosen, results, resolving)
	fmt.Print(table)
	if o.out == "" {
		return nil
	}
	return os.WriteFile(filepath.Clean(o.out), []byte(table), 0o644)
}

// wanted splits a list of names; an empty one wants everything.
func wanted(names string) func(string) bool {
	if names == "" {
		return func(string) bool { return true }
	}
	list := strings.Split(names, ",")
	return func(name string) bool {
		for _, n := range list {
			if n == name {
				return true
			}
		}
		return false
	}
}

// measure gives every peer its turn at every workload, round by round, so that
// what the machine does besides is spread over all of them.
func measure(ctx context.Context, o options, peers []*peer, chosen []workload) (results, error) {
	all := results{}
	for round := range o.rounds {
		for _, w := range chosen {
			for n := range peers {
				// Whoever comes first in one round comes last in another.
				p := peers[(n+round)%len(peers)]
				if !p.can(w) {
					continue
				}
				fmt.Fprintf(os.Stderr, "round %d of %d: %s, %s\n", round+1, o.rounds, w.name, p.name)
				s, err := w.run(ctx, o, p)
				if ctx.Err() != nil {
					return nil, errors.New("interrupted")
				}
				if err != nil {
					return nil, fmt.Errorf("%s with %s: %w", w.name, p.name, err)
				}
				all.add(p, w, s)
			}
		}
	}
	return all, nil
}
