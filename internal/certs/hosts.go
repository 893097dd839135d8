package certs

import (
	"context"
	"errors"
	"strings"
	"time"

	"github.com/caddyserver/certmagic"
)

// Hosts knows which hosts are served; only those may have a certificate. Both
// methods are called concurrently, with names in lower case and without a
// trailing dot, which anybody may have made up.
type Hosts interface {
	// HostRemembered answers from memory: whether the host is served, and whether
	// that is sure. It must not block.
	HostRemembered(host string) (served, sure bool)
	// HostServed finds out, within the deadline of ctx. An error means that nobody
	// can tell at the moment.
	HostServed(ctx context.Context, host string) (bool, error)
}

// What questions about names cost at most. Anybody can make them up and ask for
// each with one handshake, and every one could be a call of the platform.
const (
	lookupsPerMinute = 600
	refusedFor       = 10 * time.Second // that a name is not served is believed
	refusedNames     = 10_000           // remembered at once
	lookupTimeout    = 5 * time.Second
)

var (
	errRefused   = errors.New("nothing is served for this name, so that it gets no certificate")
	errTooMany   = errors.New("too many names that nobody knew yet were asked for within a minute")
	errCannotAsk = errors.New("whether this name is served cannot be found out now")
)

// gate decides which names may have a certificate, without asking more often than
// it should.
type gate struct {
	hosts   Hosts
	lookups *budget
	refused *timed[struct{}]
	now     func() time.Time
}

func newGate(hosts Hosts, now func() time.Time) *gate {
	return &gate{hosts: hosts, lookups: newBudget(lookupsPerMinute, now), refused: newTimed[struct{}](refusedNames, now), now: now}
}

// admit returns nil when a name that has no certificate may get one.
func (g *gate) admit(ctx context.Context, name string) error {
	if !qualifies(name) {
		return errRefused
	}
	served, sure := g.hosts.HostRemembered(name)
	if sure {
		return refusedUnless(served)
	}
	if _, known := g.refused.get(name); known {
		return errRefused
	}
	if !g.lookups.take() {
		return errTooMany
	}
	served, err := g.ask(ctx, name)
	if err == nil && !served {
		g.refused.set(name, struct{}{}, g.now().Add(refusedFor))
	}
	if err != nil {
		return errors.Join(errCannotAsk, err)
	}
	return refusedUnless(served)
}

// keep returns nil when a name that has a certificate may go on having one: unless
// it is known not to be served any more. There are as many such names as there
// are certificates, and nobody else can add to them.
func (g *gate) keep(ctx context.Context, name string) error {
	served, sure := g.hosts.HostRemembered(name)
	if !sure {
		var err error
		if served, err = g.ask(ctx, name); err != nil {
			return nil
		}
	}
	return refusedUnless(served)
}

func (g *gate) ask(ctx context.Context, name string) (bool, error) {
	ctx, cancel := context.WithTimeout(ctx, lookupTimeout)
	defer cancel()
	return g.hosts.HostServed(ctx, name)
}

func refusedUnless(served bool) error {
	if !served {
		return errRefused
	}
	return nil
}

// qualifies reports whether an authority would give a certificate for the name:
// a DNS name with a dot that is not an internal one.
func qualifies(name string) bool {
	return len(name) <= 253 && strings.Contains(name, ".") && !strings.Contains(name, "*") && !strings.Contains(name, "..") &&
		strings.IndexFunc(name, notInName) < 0 && certmagic.SubjectQualifiesForPublicCert(name) && !certmagic.SubjectIsIP(name)
}

func notInName(r rune) bool {
	return r != '.' && r != '-' && (r < 'a' || r > 'z') && (r < '0' || r > '9')
}
