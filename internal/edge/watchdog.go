package edge

import (
	"net/http"
	"sync"
	"time"
)

// watchdog ends something of which one piece takes too long. Between pieces it
// rests, so that what is merely silent is left alone. A nil one watches nothing.
// It is safe for concurrent use.
type watchdog struct {
	limit time.Duration
	bite  func() // makes the piece under way fail

	mu     sync.Mutex
	timer  *time.Timer
	armed  bool
	bitten bool
	gone   bool
}

// newWatchdog returns nil when there is no limit.
func newWatchdog(limit time.Duration, bite func()) *watchdog {
	if limit <= 0 {
		return nil
	}
	return &watchdog{limit: limit, bite: bite}
}

// begin is called before each piece.
func (d *watchdog) begin() {
	if d == nil {
		return
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	switch d.armed = !d.gone; {
	case d.gone:
	case d.timer == nil:
		d.timer = time.AfterFunc(d.limit, d.expire)
	default:
		d.timer.Reset(d.limit)
	}
}

// end is called after each piece.
func (d *watchdog) end() {
	if d == nil {
		return
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	d.armed = false
	if d.timer != nil {
		d.timer.Stop()
	}
}

// expire bites under the lock, so that it has happened, or never will, when leave
// returns. A timer that fires as a piece ends finds it disarmed.
func (d *watchdog) expire() {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.armed {
		d.bitten = true
		d.bite()
	}
}

// leave ends the watch for good.
func (d *watchdog) leave() {
	if d == nil {
		return
	}
	d.end()
	d.mu.Lock()
	defer d.mu.Unlock()
	d.gone, d.armed = true, false
}

// allow gives the time of one more piece to what the server has yet to write of an
// answer whose handler has returned.
func (d *watchdog) allow(w http.ResponseWriter) {
	if d != nil {
		// A writer without deadlines is a test's; net/http's have them.
		_ = http.NewResponseController(w).SetWriteDeadline(time.Now().Add(d.limit))
	}
}

// hasBitten reports whether a piece took too long.
func (d *watchdog) hasBitten() bool {
	if d == nil {
		return false
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.bitten
}

// aLongTimeAgo is a deadline that has passed.
var aLongTimeAgo = time.Unix(1, 0)

// watchReads returns a watchdog that makes reads of the request's body fail.
func watchReads(w http.ResponseWriter, limit time.Duration) *watchdog {
	control := http.NewResponseController(w)
	// A writer without deadlines is a test's; net/http's have them.
	return newWatchdog(limit, func() { _ = control.SetReadDeadline(aLongTimeAgo) })
}

// watchWrites returns one that ends an HTTP/2 stream, whose visitor may take
// nothing of it although the connection is well. A connection of HTTP/1 looks to
// that by itself.
func watchWrites(w http.ResponseWriter, r *http.Request, limit time.Duration) *watchdog {
	if r.ProtoMajor < 2 {
		return nil
	}
	control := http.NewResponseController(w)
	return newWatchdog(limit, func() { _ = control.SetWriteDeadline(aLongTimeAgo) })
}
