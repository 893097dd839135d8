package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/netip"
	"net/url"
	"os"
	"strings"
	"sync"
	"time"

	"github.com/m3o/ingress/internal/activator"
	"github.com/m3o/ingress/internal/adapter"
	"github.com/m3o/ingress/internal/api"
	"github.com/m3o/ingress/internal/builder"
	"github.com/m3o/ingress/internal/confine"
	"github.com/m3o/ingress/internal/deploy"
	"github.com/m3o/ingress/internal/edge"
	"github.com/m3o/ingress/internal/function"
	"github.com/m3o/ingress/internal/runner"
	"github.com/m3o/ingress/internal/site"
	"github.com/m3o/ingress/internal/source"
	"github.com/m3o/ingress/internal/store"
	"github.com/m3o/ingress/internal/upstream"
	"github.com/m3o/ingress/internal/workload"
)

// engine builds and runs apps and functions on this machine.
type engine struct {
	registries map[workload.Kind]*workload.Registry
	runner     *runner.Local
	builder    *builder.Builder
	activator  *activator.Activator
	deployer   *deploy.Deployer
	log        *slog.Logger

	// Set by run, for end.
	stopDeploys func()
	stopRest    func(context.Context) error
	once        sync.Once
	err         error
}

// makeEngine makes what runs apps and functions. It starts nothing.
func (s *server) makeEngine(layout workload.Layout, rules *upstream.Rules, registries map[workload.Kind]*workload.Registry) (*engine, error) {
	var err error
	w := &engine{registries: registries, log: s.log}
	s.onClose(func() error {
		ctx, cancel := context.WithTimeout(context.Background(), s.config.Limits.ShutdownTimeout)
		defer cancel()
		return w.close(ctx)
	})
	c := &s.config.Running
	if w.runner, err = runner.NewLocal(s.runnerOptions(layout)); err != nil {
		return nil, err
	}
	w.builder = builder.New(s.builderOptions(w.runner))
	w.activator = activator.New(s.activatorOptions(w))
	w.deployer = deploy.New(deploy.Options{
		Registries: deployRegistries(registries),
		Fetcher:    source.New(s.sourceOptions(w.runner, rules)),
		Builder:    w.builder, Activator: w.activator, Layout: layout,
		Builds: c.Builds, Keep: c.KeepVersions, LogBytes: int64(c.BuildLogBytes), CacheBytes: int64(c.BuildCacheBytes), Log: s.log,
	})
	return w, nil
}

func deployRegistries(registries map[workload.Kind]*workload.Registry) map[workload.Kind]deploy.Registry {
	of := make(map[workload.Kind]deploy.Registry, len(registries))
	for kind, registry := range registries {
		of[kind] = registry
	}
	return of
}

func (s *server) runnerOptions(layout workload.Layout) runner.Options {
	c := &s.config.Running
	return runner.Options{
		Layout: layout, Executable: s.runningProgram(), FirstPort: c.AppPorts.First, LastPort: c.AppPorts.Last,
		IdleTimeout: c.IdleTimeout, Egress: ports(c.AppEgressPorts), LogBytes: int64(c.AppLogBytes), Log: s.log,
		Limits: confine.Limits{
			Memory: int64(c.AppMemory), CPU: int(c.AppCPUs * 1000), Processes: c.AppProcesses, Files: c.AppFiles, Disk: int64(c.AppDisk),
		},
	}
}

// Limits of a build that nobody needs to change: enough for any compiler, and
// bounded all the same.
const (
	buildProcesses = 2048
	buildFiles     = 65536
)

// runningProgram is a path to the very program that runs, whatever is at its own path by
// now: between an installation and ingress upgrade apps must still wake.
func (s *server) runningProgram() string {
	const self = "/proc/self/exe"
	if _, err := os.Stat(self); err == nil {
		return self
	}
	return s.executable // not Linux
}

func (s *server) builderOptions(tasks workload.TaskRunner) builder.Options {
	c := &s.config.Running
	return builder.Options{
		Tasks: tasks, Egress: ports(c.BuildEgressPorts), Timeout: c.BuildTimeout, OutputBytes: int64(c.BuildLogBytes),
		Limits: confine.Limits{Memory: int64(c.BuildMemory), Processes: buildProcesses, Files: buildFiles, Disk: int64(c.BuildDisk)},
		Env:    builder.PassedEnv(os.Environ()),
	}
}

func (s *server) sourceOptions(tasks workload.TaskRunner, rules *upstream.Rules) source.Options {
	c := &s.config.Running
	return source.Options{
		Tasks: tasks, Executable: s.executable, Lookup: repoHosts(rules), AllowLocal: c.AllowLocalRepos,
		MaxBytes: int64(c.MaxSourceBytes), MaxFiles: c.MaxSourceFiles, Timeout: c.SourceTimeout,
		Submodules: c.GitSubmodules, Egress: ports(c.BuildEgressPorts),
	}
}

func (s *server) activatorOptions(w *engine) activator.Options {
	c := &s.config.Running
	idle := c.IdleTimeout
	if idle == 0 {
		idle = -1 // never
	}
	return activator.Options{
		Runner: w.runner, Releases: w, Journal: w, NewTransport: s.newInstanceTransport,
		NewSite:     func(code, folder string) http.Handler { return site.New(code, folder) },
		IdleTimeout: idle, StartTimeout: c.StartTimeout, WakeTimeout: c.WakeTimeout, Queue: c.WakeQueue,
		DrainTimeout: c.DrainTimeout, StopGrace: c.StopTimeout, AdoptGrace: s.config.Limits.ShutdownTimeout, Log: s.log, Metrics: s.metrics,
	}
}

// newInstanceTransport makes the transport of one running process.
func (s *server) newInstanceTransport(addr netip.AddrPort) activator.Transport {
	return &instanceTransport{host: addr.String(), Transport: upstream.New(upstream.Options{
		DialTimeout:           s.config.Limits.DialTimeout,
		ResponseHeaderTimeout: s.config.Limits.ResponseHeaderTimeout,
		Counters:              &s.backends,
		Engine:                upstream.Engine(s.config.UpstreamTransport),
	})}
}

// instanceTransport sends every request to one address, whatever its URL says.
type instanceTransport struct {
	host string
	*upstream.Transport
}

// RoundTrip implements http.RoundTripper.
func (t *instanceTransport) RoundTrip(r *http.Request) (*http.Response, error) {
	to := *r // a RoundTripper must not change the request
	to.URL = &url.URL{Scheme: "http", Host: t.host, Opaque: r.URL.Opaque, Path: r.URL.Path, RawPath: r.URL.RawPath, ForceQuery: r.URL.ForceQuery, RawQuery: r.URL.RawQuery}
	if to.Host == "" {
		to.Host = r.URL.Host
	}
	return t.Transport.RoundTrip(&to)
}

// run takes over what runs, and deploys and wakes until release or close. Apps run
// on then.
func (w *engine) run(ctx context.Context, db *store.DB) error {
	var intents []activator.Intent
	for _, registry := range w.registries {
		list, err := registry.Intents(ctx)
		if err != nil {
			return err
		}
		for _, i := range list {
			intents = append(intents, activator.Intent{
				Key: i.Key, Version: i.Version, Revision: i.Revision, State: i.State, Resident: i.IdleTimeout == 0,
			})
		}
	}
	if err := w.activator.Adopt(ctx, intents); err != nil {
		return err
	}
	db.Subscribe(func(c store.Change) {
		if kind := workload.Kind(c.Kind); w.registries[kind] != nil {
			w.deployer.Notify(kind, c.ID)
		}
	})
	w.runInBackground()
	return nil
}

func (w *engine) runInBackground() {
	working, stopWork := context.WithCancel(context.Background())
	deploying, stopDeploys := context.WithCancel(working)
	writing, stopWriting := context.WithCancel(context.Background())
	var deploys, work, journals sync.WaitGroup
	deploys.Go(func() { w.deployer.Run(deploying) })
	work.Go(func() { w.activator.Run(working) })
	for _, registry := range w.registries {
		journals.Go(func() {
			if err := registry.RunJournal(writing); err != nil {
				w.log.Error("what became of running versions could not be stored", "error", err)
			}
		})
	}
	w.stopDeploys = func() {
		stopDeploys()
		deploys.Wait()
	}
	w.stopRest = func(ctx context.Context) error {
		stopWork()
		work.Wait()
		err := w.activator.Close(ctx)
		stopWriting() // after the last who had something to write
		journals.Wait()
		return joinErrors(err, w.runner.Close())
	}
}

// release ends all that run began and leaves what runs. Starts under way are
// waited for, for a while: requests wait for them.
func (w *engine) release(ctx context.Context) error {
	return w.end(ctx, func() {
		settling, cancel := context.WithTimeout(ctx, letGo)
		defer cancel()
		if err := w.activator.Settle(settling); err != nil {
			w.log.Warn("some requests that wait for an app are told to come again", "cause", err)
		}
	})
}

// close is release for the end of the program, where nobody is waited for.
func (w *engine) close(ctx context.Context) error { return w.end(ctx, func() {}) }

// end ends what run began, once.
func (w *engine) end(ctx context.Context, settle func()) error {
	w.once.Do(func() {
		if w.stopRest == nil { // the start failed before anything ran
			if w.runner != nil {
				w.err = w.runner.Close()
			}
			return
		}
		w.stopDeploys()
		settle()
		w.err = w.stopRest(ctx)
	})
	return w.err
}

// registry returns the registry of a key such as "app/hello", and the id.
func (w *engine) registry(key string) (*workload.Registry, string, error) {
	kind, id, _ := strings.Cut(key, "/")
	registry := w.registries[workload.Kind(kind)]
	if registry == nil {
		return nil, "", fmt.Errorf("%q is the key of no workload", key)
	}
	return registry, id, nil
}

// Current implements activator.Releases.
func (w *engine) Current(ctx context.Context, key string) (workload.Release, error) {
	registry, id, err := w.registry(key)
	if err != nil {
		return workload.Release{}, err
	}
	release, err := registry.Current(ctx, id)
	var none *workload.NotDeployedError
	switch {
	case errors.Is(err, workload.ErrNotFound):
		return workload.Release{}, &activator.Unready{Reason: activator.ReasonStopped, Message: "it was removed"}
	case errors.As(err, &none):
		return workload.Release{}, notDeployed(none)
	}
	return release, err
}

func notDeployed(e *workload.NotDeployedError) *activator.Unready {
	switch e.State {
	case workload.Failed:
		return &activator.Unready{Reason: activator.ReasonFailed, Message: "it could not be deployed", Detail: e.Reason}
	case workload.Stopped:
		return &activator.Unready{Reason: activator.ReasonStopped, Message: "it is stopped", Detail: e.Reason}
	}
	return &activator.Unready{Reason: activator.ReasonDeploying, Message: "it is being deployed"}
}

// Do implements function.Caller.
func (w *engine) Do(ctx context.Context, key string, r *http.Request) (*http.Response, error) {
	lease, err := w.activator.Acquire(ctx, key)
	var unready *activator.Unready
	switch {
	case errors.As(err, &unready):
		return nil, &function.UnreadyError{Message: unready.Message, RetryAfter: unready.RetryAfter}
	case err != nil:
		return nil, err
	case lease.Transport == nil:
		lease.Release()
		return nil, fmt.Errorf("%s is a folder of files, which answers no calls", key)
	}
	res, err := lease.Transport.RoundTrip(r.WithContext(ctx))
	if err != nil {
		lease.Release()
		return nil, err
	}
	res.Body = &leasedBody{res.Body, lease.Release}
	return res, nil
}

// leasedBody ends a lease with the body that it was taken for.
type leasedBody struct {
	io.ReadCloser
	release func()
}

// Close implements io.Closer.
func (b *leasedBody) Close() error {
	defer b.release()
	return b.ReadCloser.Close()
}

// languagesOf says which languages functions can be written in here; it
// implements function.Runtimes.
type languagesOf struct{ builder *builder.Builder }

// Runtimes implements function.Runtimes.
func (l languagesOf) Runtimes(ctx context.Context) (available []string, unavailable map[string]string) {
	found, unavailable := l.builder.Runtimes(ctx)
	for _, r := range found {
		available = append(available, r.Name)
	}
	return available, unavailable
}

// ParseRuntime implements function.Runtimes.
func (languagesOf) ParseRuntime(name string) (string, bool) { return builder.ParseRuntime(name) }

// SourceFile implements function.Runtimes.
func (languagesOf) SourceFile(runtime string) string { return adapter.SourceFile(runtime) }

// DefaultEntrypoint implements function.Runtimes.
func (languagesOf) DefaultEntrypoint(runtime, name string) string {
	return adapter.DefaultEntrypoint(runtime, name)
}

// Entered implements workload.Journal.
func (w *engine) Entered(key string, version int64, state workload.State, reason string) {
	if registry, _, err := w.registry(key); err == nil {
		registry.Entered(key, version, state, reason)
	}
}

// describe says in a sentence what a workload is doing, and why it would answer
// nobody.
func (w *engine) describe(ctx context.Context, kind edge.Kind, id string) (sentence string, reason edge.Reason, err error) {
	key := string(kind) + "/" + id
	s, known := w.activator.Status(key)
	if !known || s.Version == 0 {
		return w.describeStored(ctx, key)
	}
	if s.State == workload.CrashLooping {
		reason = edge.ReasonCrashLooping
	}
	return statusSentence(s), reason, nil
}

// describeStored is about a workload of which nothing runs.
func (w *engine) describeStored(ctx context.Context, key string) (sentence string, reason edge.Reason, err error) {
	registry, id, err := w.registry(key)
	var b workload.Backend
	if err == nil {
		b, err = registry.Backend(ctx, id)
	}
	switch {
	case api.IsNotFound(err), err == nil && !b.Managed:
		return "", "", nil
	case err == nil:
		_, err = w.Current(ctx, key)
	}
	var unready *activator.Unready
	switch {
	case errors.As(err, &unready):
		return unready.Error(), edgeReason(unready.Reason), nil
	case err != nil: // it cannot be read then what to start
		return "", edge.ReasonNotAwake, err
	}
	return "it sleeps, and is started by the next request", "", nil
}

func statusSentence(s activator.Status) string {
	text := fmt.Sprintf("version %d is %s", s.Version, s.State)
	if s.Addr.IsValid() {
		text += fmt.Sprintf(" at %v since %s", s.Addr, s.Started.Format(time.DateTime))
	}
	text += fmt.Sprintf("; requests under way: %d, waiting: %d", s.InFlight, s.Waiting)
	switch {
	case s.Failures == 1:
		text += "; it has failed once"
	case s.Failures > 1:
		text += fmt.Sprintf("; it has failed %d times in a row", s.Failures)
	}
	if !s.NextTry.IsZero() {
		text += ", and is started again at " + s.NextTry.Format(time.DateTime)
	}
	if s.Reason != "" {
		text += "; " + s.Reason
	}
	return text
}

// Acquire implements edge.Activator.
func (w *engine) Acquire(ctx context.Context, key string) (edge.Lease, error) {
	lease, err := w.activator.Acquire(ctx, key)
	if err != nil {
		return edge.Lease{}, edgeError(err)
	}
	if lease.Transport != nil {
		lease.Transport = leaseTransport{lease.Transport}
	}
	return edge.Lease(lease), nil
}

// leaseTransport speaks of what cannot be reached in the data plane's terms.
type leaseTransport struct{ http.RoundTripper }

// RoundTrip implements http.RoundTripper.
func (t leaseTransport) RoundTrip(r *http.Request) (*http.Response, error) {
	res, err := t.RoundTripper.RoundTrip(r)
	if err != nil {
		err = edgeError(err)
	}
	return res, err
}

func edgeError(err error) error {
	var unready *activator.Unready
	if errors.As(err, &unready) {
		return &edge.Unready{Reason: edgeReason(unready.Reason), RetryAfter: unready.RetryAfter, Cause: unready}
	}
	return err
}

func edgeReason(reason string) edge.Reason {
	switch reason {
	case activator.ReasonQueueFull:
		return edge.ReasonQueueFull
	case activator.ReasonBusy:
		return edge.ReasonBusy
	case activator.ReasonCrashLooping:
		return edge.ReasonCrashLooping
	case activator.ReasonStopped:
		return edge.ReasonStopped
	case activator.ReasonDeploying:
		return edge.ReasonDeploying
	case activator.ReasonFailed:
		return edge.ReasonDeployFailed
	}
	return edge.ReasonNotAwake
}
