package activator

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/netip"
	"path/filepath"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/m3o/ingress/internal/confine"
	"github.com/m3o/ingress/internal/workload"
)

const hello = "app/hello"

// world is an Activator with everything around it made up. Inside a synctest
// bubble its clock is the bubble's.
type world struct {
	*Activator
	*runner
	releases *releases
	journal  *journal
	stopRun  context.CancelFunc
}

func newWorld(t testing.TB, adjust func(*Options)) *world {
	t.Helper()
	w := &world{runner: newRunner(), releases: newReleases(), journal: &journal{}}
	o := Options{
		Runner: w.runner, Releases: w.releases, Journal: w.journal,
		NewTransport: func(addr netip.AddrPort) Transport { return w.runner.transport(addr) },
		NewSite:      func(code, folder string) http.Handler { return site(filepath.Join(code, folder)) },
	}
	if adjust != nil {
		adjust(&o)
	}
	w.Activator = New(o)
	ctx, cancel := context.WithCancel(context.Background())
	w.stopRun = cancel
	ran := make(chan struct{})
	go func() {
		defer close(ran)
		w.Run(ctx)
	}()
	t.Cleanup(func() {
		cancel()
		<-ran
		if err := w.Close(context.Background()); err != nil {
			t.Errorf("Close: %v", err)
		}
	})
	return w
}

// bubble runs a test with made-up time.
func bubble(t *testing.T, adjust func(*Options), f func(t *testing.T, w *world)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) { f(t, newWorld(t, adjust)) })
}

// pass lets made-up time pass, and everything happen that is due by then.
func pass(d time.Duration) {
	if d > 0 {
		<-time.After(d)
	}
	synctest.Wait()
}

// acquire gets a lease that must be had.
func (w *world) acquire(t testing.TB, key string) Lease {
	t.Helper()
	l, err := w.Acquire(t.Context(), key)
	if err != nil {
		t.Fatalf("Acquire(%s): %v", key, err)
	}
	return l
}

// refused gets the reason why there is no lease.
func (w *world) refused(t *testing.T, key, reason string) *Unready {
	t.Helper()
	l, err := w.Acquire(t.Context(), key)
	if err == nil {
		l.Release()
		t.Fatalf("Acquire(%s) succeeded, want %q", key, reason)
	}
	return wantUnready(t, err, reason)
}

func wantUnready(t testing.TB, err error, reason string) *Unready {
	t.Helper()
	var u *Unready
	if !errors.As(err, &u) || u.Reason != reason {
		t.Fatalf("the error is %v, want an Unready for %q", err, reason)
	}
	return u
}

// result is what became of a request in the background.
type result struct {
	lease Lease
	err   error
	took  time.Duration
}

func (w *world) background(ctx context.Context, key string) <-chan result {
	c := make(chan result, 1)
	began := time.Now()
	go func() {
		l, err := w.Acquire(ctx, key)
		c <- result{l, err, time.Since(began)}
	}()
	return c
}

// version is what a lease leads to.
func version(t testing.TB, l Lease) int64 {
	t.Helper()
	if l.Transport == nil {
		t.Fatal("the lease has no transport")
	}
	return l.Transport.(*leased).r.version
}

func release(version int64) workload.Release {
	return workload.Release{
		Kind: workload.App, ID: "hello", Tenant: "t", Version: version,
		Artifact: workload.Artifact{Args: []string{"/bin/app"}},
		Settings: workload.Settings{IdleTimeout: workload.DefaultIdle},
		Env:      map[string]string{"SECRET": "sesame"},
		Dir:      fmt.Sprintf("/data/apps/hello/%d", version),
	}
}

// releases is a database of releases.
type releases struct {
	mu      sync.Mutex
	current map[string]workload.Release
	err     error
	asked   int
}

func newReleases() *releases {
	return &releases{current: map[string]workload.Release{hello: release(1)}}
}

func (r *releases) Current(_ context.Context, key string) (workload.Release, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.asked++
	if r.err != nil {
		return workload.Release{}, r.err
	}
	current, ok := r.current[key]
	if !ok {
		return workload.Release{}, &Unready{Reason: ReasonDeploying, Message: "it has no version yet"}
	}
	return current, nil
}

func (r *releases) set(release workload.Release) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.current[release.Key()] = release
}

func (r *releases) fail(err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.err = err
}

// commit returns the commit of a promotion.
func (r *releases) commit(release workload.Release) func(context.Context) error {
	return func(context.Context) error {
		r.set(release)
		return nil
	}
}

// journal keeps what it is told, as "version state".
type journal struct {
	mu      sync.Mutex
	entries []string
}

func (j *journal) Entered(_ string, version int64, state workload.State, _ string) {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.entries = append(j.entries, fmt.Sprintf("%d %s", version, state))
}

// told returns and forgets what it was told.
func (j *journal) told() []string {
	j.mu.Lock()
	defer j.mu.Unlock()
	told := j.entries
	j.entries = nil
	return told
}

func (j *journal) want(t *testing.T, want ...string) {
	t.Helper()
	if got := j.told(); !slices.Equal(got, want) {
		t.Errorf("the journal was told %q, want %q", got, want)
	}
}

// site is a folder being served.
type site string

func (s site) ServeHTTP(http.ResponseWriter, *http.Request) {}

// runner makes up instances.
type runner struct {
	mu         sync.Mutex
	boot       time.Duration                 // from start to ready; negative for never
	stopTakes  time.Duration                 // from being asked to end to the end
	startErr   error                         // of Start
	broken     func(workload.Release) string // why an instance ends instead of being ready
	left       []workload.Instance           // what an earlier run left
	portsTaken int                           // how many starts find their port taken
	unhealthy  string                        // a health path that never answers well
	started    []*instance
	live       map[string]int
	most       int // live at once of any one key
	port       uint16
	byAddr     map[netip.AddrPort]*transport
}

func newRunner() *runner {
	return &runner{live: map[string]int{}, port: 20000, byAddr: map[netip.AddrPort]*transport{}}
}

func (r *runner) Start(ctx context.Context, release workload.Release) (workload.Instance, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if err := errors.Join(ctx.Err(), r.startErr); err != nil {
		return nil, err
	}
	i := r.create(release)
	i.boot = r.boot
	if r.portsTaken > 0 {
		r.portsTaken--
		i.portTaken = true
	}
	if r.broken != nil {
		i.broken = r.broken(release)
	}
	r.started = append(r.started, i)
	return i, nil
}

func (r *runner) Adopt(context.Context) ([]workload.Instance, error) { return r.left, nil }

// create makes one that lives. The runner is locked.
func (r *runner) create(release workload.Release) *instance {
	r.port++
	key := release.Key()
	r.live[key]++
	r.most = max(r.most, r.live[key])
	return &instance{
		runner: r, key: key, version: release.Version, revision: release.Revision,
		addr:    netip.AddrPortFrom(netip.MustParseAddr("127.0.0.1"), r.port),
		started: time.Now(), done: make(chan struct{}),
	}
}

// leave makes an instance that an earlier run left.
func (r *runner) leave(release workload.Release) *instance {
	r.mu.Lock()
	defer r.mu.Unlock()
	i := r.create(release)
	r.left = append(r.left, i)
	return i
}

func (r *runner) set(f func(r *runner)) {
	r.mu.Lock()
	defer r.mu.Unlock()
	f(r)
}

func (r *runner) starts() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return len(r.started)
}

func (r *runner) last() *instance {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.started[len(r.started)-1]
}

func (r *runner) alive() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	n := 0
	for _, live := range r.live {
		n += live
	}
	return n
}

func (r *runner) transport(addr netip.AddrPort) *transport {
	r.mu.Lock()
	defer r.mu.Unlock()
	t := &transport{}
	r.byAddr[addr] = t
	return t
}

// transport counts instead of sending.
type transport struct {
	mu           sync.Mutex
	sent, closed int
}

func (t *transport) RoundTrip(*http.Request) (*http.Response, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.sent++
	return &http.Response{StatusCode: http.StatusOK, Body: http.NoBody}, nil
}

func (t *transport) CloseIdleConnections() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.closed++
}

// instance is a made-up process.
type instance struct {
	runner            *runner
	key               string
	version, revision int64
	addr              netip.AddrPort
	started           time.Time
	boot              time.Duration
	broken            string
	portTaken         bool
	done              chan struct{}
	once              sync.Once
	exit              confine.Exit
}

func (i *instance) Key() string             { return i.key }
func (i *instance) Version() int64          { return i.version }
func (i *instance) Revision() int64         { return i.revision }
func (i *instance) Addr() netip.AddrPort    { return i.addr }
func (i *instance) Started() time.Time      { return i.started }
func (i *instance) Done() <-chan struct{}   { return i.done }
func (i *instance) Exit() confine.Exit      { return i.exit }
func (i *instance) crash(exit confine.Exit) { i.end(exit) }

func (i *instance) ended() bool {
	select {
	case <-i.done:
		return true
	default:
		return false
	}
}

func (i *instance) Ready(ctx context.Context, health string) error {
	var booted <-chan time.Time
	if health != "" && health == i.runner.unhealthy {
		<-ctx.Done()
		return errors.New("its health path did not answer well")
	}
	switch {
	case i.boot > 0:
		booted = time.After(i.boot)
	case i.boot == 0:
		now := make(chan time.Time)
		close(now)
		booted = now
	}
	select {
	case <-booted:
	case <-i.done:
		return fmt.Errorf("the process ended: %v", i.exit)
	case <-ctx.Done():
		return errors.New("it did not listen; it printed: waiting for a database")
	}
	if i.portTaken {
		return fmt.Errorf("%w: %d", workload.ErrPortTaken, i.addr.Port())
	}
	if i.broken != "" {
		i.end(confine.Exit{Code: 1, Excess: i.broken})
		return errors.New("the process ended before it was ready")
	}
	return nil
}

func (i *instance) end(exit confine.Exit) {
	i.once.Do(func() {
		i.exit = exit
		i.runner.mu.Lock()
		i.runner.live[i.key]--
		i.runner.mu.Unlock()
		close(i.done)
	})
}

func (i *instance) Stop(ctx context.Context, _ time.Duration) error {
	i.runner.mu.Lock()
	takes := i.runner.stopTakes
	i.runner.mu.Unlock()
	if takes > 0 {
		select {
		case <-time.After(takes):
		case <-i.done:
		case <-ctx.Done():
			i.end(confine.Exit{Code: -1, Signal: "SIGKILL"})
			return ctx.Err()
		}
	}
	i.end(confine.Exit{Code: -1, Signal: "SIGTERM"})
	return nil
}

// forget drops all it was told.
func (j *journal) forget() {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.entries = nil
}
