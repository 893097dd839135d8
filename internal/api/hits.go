package api

import (
	"cmp"
	"context"
	"fmt"
	"log/slog"
	"net/http"
	"sync"
	"sync/atomic"
	"time"
)

// hits reports visits to links to a platform that counts a visit with every
// Resolve: as many Resolves as visits, whether the edge made them to learn the
// destination or a worker makes them here (DESIGN 5).
type hits struct {
	hitsConfig
	logger  *slog.Logger
	resolve func(ctx context.Context, id string) error
	dropped atomic.Int64

	ctx     context.Context // of the Resolves
	cancel  context.CancelFunc
	workers sync.WaitGroup
	closing chan struct{}

	mu     sync.Mutex
	closed bool
	queue  chan string    // visits to report
	ahead  map[string]int // Resolves made that no visit has used up yet
}

// hitsConfig are the bounds, with their values when zero.
type hitsConfig struct {
	waiting  int           // visits in the queue: 10,000
	links    int           // links with a Resolve ahead: 10,000
	workers  int           // Resolves at a time: 8
	pause    time.Duration // before trying again when the platform is down: 1 s
	maxPause time.Duration // to which the pause doubles: 30 s
}

func newHits(config hitsConfig, logger *slog.Logger, resolve func(context.Context, string) error) *hits {
	h := &hits{
		hitsConfig: config,
		logger:     logger,
		resolve:    resolve,
		closing:    make(chan struct{}),
		queue:      make(chan string, cmp.Or(config.waiting, 10_000)),
		ahead:      map[string]int{},
	}
	h.links = cmp.Or(h.links, 10_000)
	h.pause = cmp.Or(h.pause, time.Second)
	h.maxPause = cmp.Or(h.maxPause, 30*time.Second)
	h.ctx, h.cancel = context.WithCancel(context.Background())
	for range cmp.Or(config.workers, 8) {
		h.workers.Go(h.work)
	}
	return h
}

// counted notes that the platform has counted a visit which is yet to come: the
// edge resolves a link before it redirects the visitor.
func (h *hits) counted(id string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if _, known := h.ahead[id]; !known && len(h.ahead) >= h.links {
		h.forget()
	}
	h.ahead[id]++
}

// forget makes room by giving up what is known of one link, any of them: its
// next visit will count twice. Links that were only looked at would otherwise
// fill the table for good.
func (h *hits) forget() {
	for id := range h.ahead {
		delete(h.ahead, id)
		return
	}
}

// hit uses up a Resolve made ahead, or asks for one.
func (h *hits) hit(id string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.useUp(id) {
		return
	}
	if h.closed {
		h.dropped.Add(1)
		return
	}
	select {
	case h.queue <- id:
	default:
		h.dropped.Add(1)
	}
}

func (h *hits) useUp(id string) bool {
	left, ok := h.ahead[id]
	switch {
	case !ok:
		return false
	case left == 1:
		delete(h.ahead, id)
	default:
		h.ahead[id]--
	}
	return true
}

func (h *hits) work() {
	for id := range h.queue {
		h.report(id)
	}
}

// report resolves one link, again and again while the platform is down.
func (h *hits) report(id string) {
	for pause := h.pause; ; pause = min(2*pause, h.maxPause) {
		err := h.resolve(h.ctx, id)
		if err == nil {
			return
		}
		if !h.worthRetrying(err) {
			h.dropped.Add(1)
			h.logger.Debug("visit not reported", "link", id, "cause", err)
			return
		}
		h.wait(pause)
	}
}

// worthRetrying reports whether the platform may count the visit later. A link
// that is gone, and a key that is not good, stay so. When closing there is one
// attempt for each visit, lest a platform that is down hold up the end.
func (h *hits) worthRetrying(err error) bool {
	select {
	case <-h.closing:
		return false
	default:
	}
	e := AsError(remoteID, err)
	return !IsNotFound(e) && (e.Code >= http.StatusInternalServerError || e.Code == http.StatusTooManyRequests)
}

// wait pauses until it is time to try again, or to close.
func (h *hits) wait(pause time.Duration) {
	timer := time.NewTimer(pause)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-h.closing:
	}
}

// close reports what waits, until ctx ends.
func (h *hits) close(ctx context.Context) error {
	before := h.dropped.Load()
	h.stopQueue()
	stop := context.AfterFunc(ctx, h.cancel)
	defer stop()
	h.workers.Wait()
	h.cancel()
	if lost := h.dropped.Load() - before; lost > 0 {
		return fmt.Errorf("%d visits to links could not be reported to the platform", lost)
	}
	return nil
}

func (h *hits) stopQueue() {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.closed {
		return
	}
	h.closed = true
	close(h.closing)
	close(h.queue)
}
