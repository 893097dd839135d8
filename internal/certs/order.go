package certs

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/caddyserver/certmagic"
)

// failure is what is remembered of orders that failed.
type failure struct {
	times int
	again time.Time
}

// job is one order under way, and what came of it.
type job struct {
	done   chan struct{} // closed when err is set
	err    error
	cancel context.CancelFunc
}

type jobKey struct{}

// isOrdered reports whether an authority may be asking for a name because of an order of
// ours.
func (a *authority) isOrdered(name string) bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	_, renewed := a.have[name]
	return renewed || a.jobs[name] != nil
}

// obtain waits for a certificate for a name that has none. Who gives up waiting
// leaves the order to go on: the next handshake finds what came of it.
func (a *authority) obtain(ctx context.Context, name string) error {
	j := a.underway(name)
	if j == nil {
		if f, ok := a.failures.get(name); ok && a.now().Before(f.again) {
			return fmt.Errorf("%s: %w", name, errBackoff)
		}
		err := a.gate.admit(ctx, name)
		if err == nil {
			j, err = a.start(name)
		}
		if err != nil {
			a.complain(err)
			return fmt.Errorf("%s: %w", name, err)
		}
	}
	select {
	case <-j.done:
		return j.err
	case <-ctx.Done():
		return fmt.Errorf("the certificate for %s is still being ordered: %w", name, ctx.Err())
	}
}

func (a *authority) underway(name string) *job {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.jobs[name]
}

// start begins an order unless one is under way or has just ended well.
func (a *authority) start(name string) (*job, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if j := a.jobs[name]; j != nil {
		return j, nil
	}
	j := &job{done: make(chan struct{})}
	expires, known := a.have[name]
	if expires.After(a.now()) {
		close(j.done)
		return j, nil
	}
	switch {
	case a.life.Err() != nil:
		return nil, errEnding
	case !known && len(a.have)+len(a.jobs) >= a.o.MaxNames:
		return nil, errFull
	case !a.orders.take():
		return nil, errBudget
	}
	a.jobs[name] = j
	a.busy.Go(func() { a.order(name, j) })
	return j, nil
}

// order obtains one certificate. certmagic would try again for hours; once must
// do, because people wait: the next handshake after a while is the next attempt.
func (a *authority) order(name string, j *job) {
	ctx, cancel := context.WithTimeout(a.life, orderTimeout)
	defer cancel()
	j.cancel = cancel
	expires, err := a.expiryOf(ctx, name)
	if err != nil || !expires.After(a.now()) { // what is left of it, if anything, is of no use
		err = a.o.Storage.Delete(ctx, certmagic.StorageKeys.CertsSitePrefix(a.issuer.IssuerKey(), name))
		if err == nil {
			err = a.magic.ObtainCertAsync(context.WithValue(ctx, jobKey{}, j), name)
		}
		if j.err != nil { // why it was cancelled
			err = j.err
		}
		if err == nil {
			expires, err = a.expiryOf(ctx, name)
		}
	}
	if err != nil && a.life.Err() == nil {
		a.failed(name, err)
	}
	a.mu.Lock()
	if err == nil {
		a.have[name] = expires
	}
	delete(a.jobs, name)
	j.err = err
	a.mu.Unlock()
	if err == nil {
		a.failures.forget(name)
		a.drop(name) // the expired one
	}
	close(j.done)
}

func (a *authority) failed(name string, err error) {
	f, _ := a.failures.get(name)
	wait := min(firstBackoff<<min(f.times, 10), lastBackoff)
	f = failure{times: f.times + 1, again: a.now().Add(wait)}
	a.failures.set(name, f, f.again.Add(lastBackoff))
	a.log.Error("a certificate could not be obtained; a visitor of the host has it tried again after a while", "name", name, "after", wait.String(), "error", err)
}

// complain tells the operator of limits that were reached, once a minute each.
func (a *authority) complain(err error) {
	for _, limit := range []error{errFull, errBudget, errTooMany, errCannotAsk} {
		if !errors.Is(err, limit) {
			continue
		}
		if _, said := a.complaints.get(limit.Error()); !said {
			a.complaints.set(limit.Error(), struct{}{}, a.now().Add(time.Minute))
			a.log.Warn("a host gets no certificate for now", "error", err)
		}
	}
}
