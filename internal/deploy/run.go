package deploy

import (
	"context"
	"errors"
	"os"
	"slices"
	"sync"
	"time"

	"github.com/m3o/ingress/internal/api"
	"github.com/m3o/ingress/internal/confine"
	"github.com/m3o/ingress/internal/workload"
)

// lookEvery is how often the store is asked for work that nobody told of: what
// another process asked for, and what could not be done a moment ago.
const lookEvery = 15 * time.Second

// Reasons why a deploy is cut off.
var (
	errSuperseded = errors.New("another version was asked for")
	errGone       = errors.New("it was removed")
)

// Run does deploys until ctx ends, and returns once none is going on. What was
// cut off is taken up by the next Run. It removes folders that an earlier run
// left behind, before anything else; build caches are looked at while it runs.
func (d *Deployer) Run(ctx context.Context) {
	d.sweep(ctx)
	r := &run{Deployer: d, going: make(map[subject]*going), ended: make(chan subject)}
	defer r.wait()
	r.running.Go(func() { d.sweepCaches(ctx, true) })
	tick := time.NewTicker(lookEvery)
	defer tick.Stop()
	for {
		r.look(ctx)
		select {
		case <-ctx.Done():
			return
		case <-d.wake:
		case <-tick.C:
		case s := <-r.ended:
			delete(r.going, s)
		}
	}
}

// run is the state of Run; only its goroutine touches it.
type run struct {
	*Deployer
	going   map[subject]*going
	ended   chan subject
	running sync.WaitGroup
}

// going is what is being done about one workload.
type going struct {
	job    workload.Job // zero while it is being removed
	cancel context.CancelCauseFunc
}

func (r *run) wait() {
	done := make(chan struct{})
	go func() { r.running.Wait(); close(done) }()
	for {
		select {
		case <-r.ended:
		case <-done:
			return
		}
	}
}

// look starts what is to be done.
func (r *run) look(ctx context.Context) {
	for s := range r.inbox.take() {
		r.check(ctx, s)
	}
	for kind, registry := range r.Registries {
		jobs, err := registry.Work(ctx)
		if err != nil {
			if ctx.Err() == nil {
				r.Log.Error("cannot see which versions are to be deployed", "kind", kind, "error", err)
			}
			continue
		}
		for id, job := range newest(jobs) {
			r.start(ctx, subject{kind, id}, job)
		}
	}
}

// newest returns the last job of each workload; those before it are superseded.
func newest(jobs []workload.Job) map[string]workload.Job {
	last := make(map[string]workload.Job)
	for _, job := range jobs {
		if before, ok := last[job.ID]; !ok || job.Version.Number >= before.Version.Number {
			last[job.ID] = job
		}
	}
	return last
}

// start begins a job unless it is being done. One for another version is told to
// end, be it newer and this one a rollback, and the next look begins this one.
func (r *run) start(ctx context.Context, s subject, job workload.Job) {
	if busy, ok := r.going[s]; ok {
		if busy.job.ID != "" && busy.job.Version.Number != job.Version.Number {
			busy.cancel(errSuperseded)
		}
		return
	}
	r.spawn(ctx, s, job, func(ctx context.Context) { r.deploy(ctx, s, job) })
}

func (r *run) spawn(ctx context.Context, s subject, job workload.Job, do func(context.Context)) {
	ctx, cancel := context.WithCancelCause(ctx)
	r.going[s] = &going{job: job, cancel: cancel}
	r.running.Go(func() {
		defer cancel(nil)
		do(ctx)
		r.ended <- s
	})
}

// check looks whether a workload that changed is still one to run, and clears up
// after it if not.
func (r *run) check(ctx context.Context, s subject) {
	registry, ok := r.Registries[s.kind]
	if !ok {
		return
	}
	b, err := registry.Backend(ctx, s.id)
	switch {
	case err == nil && b.Managed:
		return
	case err != nil && !api.IsNotFound(err):
		r.inbox.add(s) // the next look tries again
		return
	}
	gone := err != nil
	if busy, ok := r.going[s]; ok {
		if !gone && wanted(ctx, registry, busy.job) {
			return // a version is to replace the backend, and what it does is why we were told
		}
		cause := errSuperseded
		if gone {
			cause = errGone
		}
		busy.cancel(cause)
		r.inbox.add(s) // once that has ended
		return
	}
	r.spawn(ctx, s, workload.Job{}, func(ctx context.Context) { r.remove(ctx, s, gone) })
}

// wanted reports whether a job is still to be done. When nobody can tell it is begun
// again soon.
func wanted(ctx context.Context, registry Registry, job workload.Job) bool {
	jobs, err := registry.Work(ctx)
	return err == nil && slices.ContainsFunc(jobs, func(j workload.Job) bool {
		return j.ID == job.ID && j.Version.Number == job.Version.Number
	})
}

// remove stops what runs of a workload, and removes its folders when it is gone
// altogether. A registered backend keeps them: its owner may go back.
func (d *Deployer) remove(ctx context.Context, s subject, gone bool) {
	if err := d.Activator.Remove(ctx, s.key()); err != nil {
		d.Log.Error("a removed workload could not be stopped", "workload", s.key(), "error", err)
		return
	}
	if !gone {
		return
	}
	if err := confine.Remove(d.Layout.Workload(s.kind, s.id)); err != nil && !errors.Is(err, os.ErrNotExist) {
		d.Log.Error("the folder of a removed workload could not be removed", "workload", s.key(), "error", err)
	}
	d.sweepCaches(ctx, false)
}
