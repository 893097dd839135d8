package main

import (
	"context"
	"errors"
	"net/http"

	"github.com/m3o/ingress/internal/api"
	"github.com/m3o/ingress/internal/edge"
	"github.com/m3o/ingress/internal/function"
	"github.com/m3o/ingress/internal/store"
	"github.com/m3o/ingress/internal/workload"
)

// workloads is what becomes of apps and functions that are not registered backends:
// the engine builds and runs them, elsewhere says that it does not.
type workloads interface {
	edge.Activator
	function.Caller
	// describe says in a sentence what a workload is doing, and why it would answer
	// nobody.
	// It is edge.Config's Describe.
	describe(ctx context.Context, kind edge.Kind, id string) (sentence string, reason edge.Reason, err error)
	// run begins, and release ends for another process to begin.
	run(ctx context.Context, db *store.DB) error
	release(ctx context.Context) error
}

// notHere says to callers why code does not run on one of several nodes.
const notHere = "this ingress is one of several on one database, and runs no code itself; " +
	"register where the code runs instead (with --backend), or deploy it to an ingress with a database of its own"

// elsewhere is in the engine's place on a node that is one of several: a process runs
// on one machine, and to place it is not the work of an ingress.
type elsewhere struct {
	registries map[workload.Kind]*workload.Registry
}

// errElsewhere is why nothing answers for what was deployed before the database was
// shared.
var errElsewhere = errors.New("it was deployed on one machine, and this ingress is one of several; register a backend in its place")

// Acquire implements edge.Activator.
func (elsewhere) Acquire(context.Context, string) (edge.Lease, error) {
	return edge.Lease{}, &edge.Unready{Reason: edge.ReasonElsewhere, Cause: errElsewhere}
}

// Do implements function.Caller.
func (elsewhere) Do(context.Context, string, *http.Request) (*http.Response, error) {
	return nil, &function.UnreadyError{Message: errElsewhere.Error()}
}

func (e elsewhere) describe(ctx context.Context, kind edge.Kind, id string) (sentence string, reason edge.Reason, err error) {
	registry := e.registries[workload.Kind(kind)]
	if registry == nil {
		return "", "", nil
	}
	b, err := registry.Backend(ctx, id)
	switch {
	case api.IsNotFound(err), err == nil && !b.Managed:
		return "", "", nil
	case err != nil:
		return "", edge.ReasonElsewhere, err
	}
	return errElsewhere.Error(), edge.ReasonElsewhere, nil
}

func (elsewhere) run(context.Context, *store.DB) error { return nil }

func (elsewhere) release(context.Context) error { return nil }

// noLanguages says of every language why functions are not written in it here.
type noLanguages struct{ languagesOf }

// Runtimes implements function.Runtimes.
func (l noLanguages) Runtimes(ctx context.Context) (available []string, unavailable map[string]string) {
	some, others := l.languagesOf.Runtimes(ctx)
	unavailable = map[string]string{}
	for _, name := range some {
		unavailable[name] = notHere
	}
	for name := range others {
		unavailable[name] = notHere
	}
	return nil, unavailable
}
