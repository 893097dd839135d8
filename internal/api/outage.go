package api

import (
	"maps"
	"sync"
	"time"
)

// outageEvery is how often an outage is logged for as long as it lasts.
const outageEvery = 10 * time.Second

// outage thins out the log while something that many calls need is away: each of them
// fails, and says the same as others of its kind, such as those that write. It is safe
// for concurrent use.
type outage struct {
	mu    sync.Mutex
	kinds map[string]*kind // by what callers are told, of which there are a few
}

// kind is the failures that callers are told the same of.
type kind struct {
	next    time.Time // when one is logged again
	omitted int
}

// admit reports whether a failure is to be logged, and how many of its kind before it were
// not. What was omitted in an outage that is over is forgotten.
func (o *outage) admit(detail string, now time.Time) (omitted int, logged bool) {
	o.mu.Lock()
	defer o.mu.Unlock()
	k := o.kinds[detail]
	if k != nil && now.Before(k.next) {
		k.omitted++
		return 0, false
	}
	if k != nil && now.Before(k.next.Add(outageEvery)) {
		omitted = k.omitted
	}
	maps.DeleteFunc(o.kinds, func(_ string, k *kind) bool { return !now.Before(k.next.Add(outageEvery)) })
	if o.kinds == nil {
		o.kinds = map[string]*kind{}
	}
	o.kinds[detail] = &kind{next: now.Add(outageEvery)}
	return omitted, true
}
