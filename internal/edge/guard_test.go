package edge

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/url"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/m3o/ingress/internal/porttest"
)

func TestABackendThatCannotBeReachedIsLeftAlone(t *testing.T) {
	clock := newClock()
	metrics := prometheus.NewRegistry()
	var dials atomic.Int64
	transport := &http.Transport{DialContext: func(ctx context.Context, network, address string) (net.Conn, error) {
		dials.Add(1)
		var d net.Dialer
		return d.DialContext(ctx, network, address)
	}}
	t.Cleanup(transport.CloseIdleConnections)
	r := newRig(t, nil, func(c *Config) { c.Now, c.Metrics, c.Transport = clock.now, metrics, transport })
	address := porttest.Closed(t)
	r.backends["gone"] = Backend{Key: "gone", URL: *urlOf(t, "http://"+address), Origin: Remote}
	r.backends["alias"] = Backend{Key: "alias", URL: *urlOf(t, "http://"+address+"/base"), Origin: Remote}
	r.backends["fine"] = backend(t, func(http.ResponseWriter, *http.Request) {})

	for range failuresToEject {
		r.get("gone.app.test/").wantFailure(t, 502, ReasonBackendRefused)
	}
	for _, app := range []string{"gone", "alias"} {
		answer := r.get(app + ".app.test/")
		answer.wantFailure(t, 503, ReasonBackendEjected)
		if answer.Header.Get("Retry-After") != "1" {
			t.Errorf("Retry-After is %q", answer.Header.Get("Retry-After"))
		}
	}
	if n := dials.Load(); n != failuresToEject {
		t.Errorf("it was dialled %d times", n)
	}
	if answer := r.get("fine.app.test/"); answer.StatusCode != 200 {
		t.Errorf("another backend: %d", answer.StatusCode)
	}

	// One request tries each time, and each time the wait is longer, up to a bound.
	for _, wait := range []time.Duration{1, 2, 4, 8, 10, 10} {
		clock.advance(wait*time.Second - time.Millisecond)
		r.get("gone.app.test/").wantFailure(t, 503, ReasonBackendEjected)
		clock.advance(time.Millisecond)
		r.get("gone.app.test/").wantFailure(t, 502, ReasonBackendRefused)
	}
	listener, err := net.Listen("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	back := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, "back") })}
	ended := make(chan error, 1)
	go func() { ended <- back.Serve(listener) }()
	t.Cleanup(func() { _ = back.Close(); <-ended })
	r.get("gone.app.test/").wantFailure(t, 503, ReasonBackendEjected)
	clock.advance(10 * time.Second)
	for range 2 {
		if answer := r.get("gone.app.test/"); answer.body != "back" {
			t.Errorf("got %d %q", answer.StatusCode, answer.body)
		}
	}
	families, err := metrics.Gather()
	if err != nil || !strings.Contains(fmt.Sprint(families), "ingress_backend_ejections_total") {
		t.Errorf("ejections are not counted: %v", err)
	}
}

func TestOnlyOneRequestTriesAnEjectedBackend(t *testing.T) {
	clock := newClock()
	g := newGuards(Limits{}.withDefaults(), discard(), clock.now)
	for range failuresToEject {
		p, _ := g.enter(t.Context(), "a:1")
		p.missed()
		p.leave()
	}
	clock.advance(firstEjection)
	probe, failed := g.enter(t.Context(), "a:1")
	if failed != nil {
		t.Fatal(failed)
	}
	if _, failed := g.enter(t.Context(), "a:1"); failed == nil || failed.reason != ReasonBackendEjected {
		t.Errorf("a second one got %v", failed)
	}
	probe.leave() // its visitor left before anything was known
	probe, failed = g.enter(t.Context(), "a:1")
	if failed != nil {
		t.Fatalf("nobody tries any more: %v", failed)
	}
	probe.reached()
	if _, failed := g.enter(t.Context(), "a:1"); failed != nil {
		t.Errorf("it has answered: %v", failed)
	}
}

// The request that tries an ejected backend may wait for its answer as long as any
// other: that there is a connection is enough for the rest.
func TestNobodyWaitsForASlowAnswerToTheOneWhoTries(t *testing.T) {
	clock := newClock()
	r := newRig(t, nil, func(c *Config) { c.Now = clock.now })
	address := porttest.Closed(t)
	r.backends["back"] = Backend{Key: "back", URL: *urlOf(t, "http://"+address), Origin: Remote}
	for range failuresToEject {
		r.get("back.app.test/").wantFailure(t, 502, ReasonBackendRefused)
	}
	inside, answer := make(chan struct{}), make(chan struct{})
	l, err := net.Listen("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	back := &http.Server{Handler: http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/slow" {
			close(inside)
			<-answer
		}
	})}
	ended := make(chan error, 1)
	go func() { ended <- back.Serve(l) }()
	t.Cleanup(func() { _ = back.Close(); <-ended })
	clock.advance(firstEjection)
	slow := make(chan int)
	go func() {
		defer close(slow)
		slow <- r.get("back.app.test/slow").StatusCode
	}()
	<-inside
	if got := r.get("back.app.test/"); got.StatusCode != 200 {
		t.Errorf("while it answers slowly: %d %s", got.StatusCode, got.Header.Get(errorHeader))
	}
	close(answer)
	if status := <-slow; status != 200 {
		t.Errorf("who tried it got %d", status)
	}
}

// What may last for days although the backend is well takes no place from others.
func TestStreamsTakeNoPlace(t *testing.T) {
	r := newRig(t, nil, func(c *Config) { c.Limits.BackendRequests, c.Limits.BackendQueue = 2, -1 })
	r.backends["events"] = backend(t, func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", r.Header.Get("Want"))
		_ = http.NewResponseController(w).Flush()
		if r.URL.Path == "/stays" {
			<-r.Context().Done()
		}
	})
	stay := func(kind string) {
		t.Helper()
		req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://events.app.test/stays", nil)
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set("Want", kind)
		res, err := r.client.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = res.Body.Close() })
	}
	for range 4 {
		stay("Text/Event-Stream; charset=utf-8")
	}
	if got := r.get("events.app.test/"); got.StatusCode != 200 {
		t.Errorf("a page beside event streams: %d %s", got.StatusCode, got.Header.Get(errorHeader))
	}
	for range 2 {
		stay("text/plain")
	}
	r.get("events.app.test/").wantFailure(t, 503, ReasonBackendBusy)
}

func TestVisitorsWhoLeaveEjectNobody(t *testing.T) {
	r := newRig(t, nil)
	// A listener whose queue is full leaves those who dial waiting; one that accepts
	// and says nothing is as good for a visitor who leaves.
	silent := rawListener(t)
	r.backends["hello"] = Backend{Key: "a", URL: *urlOf(t, "http://"+silent), Origin: Remote}
	for range 2 * failuresToEject {
		ctx, cancel := context.WithCancel(t.Context())
		req, err := http.NewRequestWithContext(ctx, "GET", "http://hello.app.test/", nil)
		if err != nil {
			t.Fatal(err)
		}
		time.AfterFunc(time.Millisecond, cancel)
		if res, err := r.client.Do(req); err == nil {
			res.Body.Close()
		}
		cancel()
	}
	if strings.Contains(r.log.String(), "left alone") {
		t.Error("the backend was ejected")
	}
}

// rawListener accepts connections and says nothing on them.
func rawListener(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var open sync.WaitGroup
	open.Go(func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			open.Go(func() { _, _ = io.Copy(io.Discard, conn); conn.Close() })
		}
	})
	t.Cleanup(func() { _ = l.Close() })
	return l.Addr().String()
}

// TestAStillBackendHoldsUpNobodyElse has hundreds of requests hang on a backend
// while another one's are answered.
func TestAStillBackendHoldsUpNobodyElse(t *testing.T) {
	const most, queue, visitors = 20, 10, 400
	release, inside := make(chan struct{}), make(chan struct{}, visitors)
	r := newRig(t, nil, func(c *Config) {
		c.Limits.BackendRequests, c.Limits.BackendQueue, c.Limits.BackendWait = most, queue, time.Hour
	})
	var reached atomic.Int64
	r.backends["still"] = backend(t, func(http.ResponseWriter, *http.Request) {
		reached.Add(1)
		inside <- struct{}{}
		<-release
	})
	r.backends["quick"] = backend(t, func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, "quick") })
	r.get("quick.app.test/") // so that what one visit needs is there
	before, goroutines := heap(), runtime.NumGoroutine()

	var all sync.WaitGroup
	statuses := make(chan reply, visitors)
	for range visitors {
		all.Go(func() { statuses <- r.get("still.app.test/") })
	}
	for range most {
		<-inside
	}
	for range visitors - most - queue {
		answer := <-statuses
		answer.wantFailure(t, 503, ReasonBackendBusy)
		if answer.Header.Get("Retry-After") == "" {
			t.Error("no Retry-After")
		}
	}
	if n := reached.Load(); n != most {
		t.Errorf("the still backend has %d requests, want %d", n, most)
	}
	for range 200 {
		if answer := r.get("quick.app.test/"); answer.StatusCode != 200 || answer.body != "quick" {
			t.Errorf("the other backend: %d %q", answer.StatusCode, answer.body)
		}
	}
	r.client.CloseIdleConnections()
	// Each of those that are left has goroutines here, at the client and at the
	// backend: ten are far more than it needs.
	eventually(t, "goroutines are few again", func() bool { return runtime.NumGoroutine() < goroutines+10*(most+queue) })
	if now := heap(); now > before+20<<20 {
		t.Errorf("the heap has grown from %d to %d bytes", before, now)
	}
	close(release)
	all.Wait()
	for range most + queue {
		if answer := <-statuses; answer.StatusCode != 200 {
			t.Errorf("one who waited got %d", answer.StatusCode)
		}
	}
	if n := reached.Load(); n != most+queue {
		t.Errorf("the still backend had %d requests in all", n)
	}
}

// heap returns the bytes in use after a collection.
func heap() uint64 {
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.HeapAlloc
}

func TestAQueueHasAnEnd(t *testing.T) {
	g := newGuards(Limits{BackendRequests: 1, BackendQueue: 1, BackendWait: time.Millisecond}, discard(), time.Now)
	first, failed := g.enter(t.Context(), "a:1")
	if failed != nil {
		t.Fatal(failed)
	}
	if _, failed := g.enter(t.Context(), "a:1"); failed == nil || failed.reason != ReasonBackendBusy {
		t.Errorf("who waited too long got %v", failed)
	}
	gone, cancel := context.WithCancel(t.Context())
	cancel()
	g.wait = time.Hour
	if _, failed := g.enter(gone, "a:1"); failed == nil || failed.reason != ReasonClientGone {
		t.Errorf("who left got %v", failed)
	}
	got := make(chan *failure, 1)
	go func() {
		second, failed := g.enter(t.Context(), "a:1")
		second.leave()
		got <- failed
	}()
	eventually(t, "one waits", func() bool { return g.waiting.Load() == 1 })
	first.leave()
	first.leave() // twice is once
	if failed := <-got; failed != nil {
		t.Error(failed)
	}
	if p, failed := g.enter(t.Context(), "a:1"); failed != nil || p.state.inFlight != 1 {
		t.Errorf("%v, %+v", failed, p.state)
	}
}

func TestUpgradedConnectionsTakeNoPlaceAtTheBackend(t *testing.T) {
	r := newRig(t, nil, func(c *Config) { c.Limits.BackendRequests, c.Limits.BackendQueue = 1, -1 })
	r.backends["hello"] = echoing(t)
	r.upgrade("hello.app.test")
	if answer := r.get("hello.app.test/"); answer.StatusCode == 503 {
		t.Error("it counts")
	}
}

func TestGuardsRememberSoMany(t *testing.T) {
	g := newGuards(Limits{}.withDefaults(), discard(), time.Now)
	for i := range 4 * guardShards * guardedPerShard {
		p, failed := g.enter(t.Context(), fmt.Sprintf("host%d:80", i))
		if failed != nil {
			t.Fatal(failed)
		}
		p.missed()
		p.leave()
	}
	for i := range g.shards {
		if n := len(g.shards[i].backends); n > guardedPerShard {
			t.Errorf("%d are remembered", n)
		}
	}
}

func BenchmarkGuard(b *testing.B) {
	g := newGuards(Limits{}.withDefaults(), discard(), time.Now)
	u, err := url.Parse("http://backend.example:8080/")
	if err != nil {
		b.Fatal(err)
	}
	b.ReportAllocs()
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			p, _ := g.enter(b.Context(), u.Host)
			p.reached()
			p.leave()
		}
	})
}

func discard() *slog.Logger { return slog.New(slog.DiscardHandler) }
