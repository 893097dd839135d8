package api

import (
	"sync"
	"time"
)

// outageEvery is how often an outage is logged for as long as it lasts.
const outageEvery = 10 * time.Second

// outage thins out the log while something that all calls need is away: each of them
// fails, and says the same. It is safe for concurrent use.
type outage struct {
	mu      sync.Mutex
	detail  string // what was logged last
	next    time.Time
	omitted int
}

// admit reports whether a failure is to be logged, and how many before it were not.
func (o *outage) admit(detail string, now time.Time) (omitted int, logged bool) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if detail == o.detail && now.Before(o.next) {
		o.omitted++
		return 0, false
	}
	omitted = o.omitted
	o.detail, o.next, o.omitted = detail, now.Add(outageEvery), 0
	return omitted, true
}
