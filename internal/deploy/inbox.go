package deploy

import "sync"

// inbox collects the workloads that something has changed about. Many changes of
// one are one entry.
type inbox struct {
	mu      sync.Mutex
	changed map[subject]bool
}

func (i *inbox) add(s subject) {
	i.mu.Lock()
	defer i.mu.Unlock()
	if i.changed == nil {
		i.changed = make(map[subject]bool)
	}
	i.changed[s] = true
}

// take empties the inbox.
func (i *inbox) take() map[subject]bool {
	i.mu.Lock()
	defer i.mu.Unlock()
	taken := i.changed
	i.changed = nil
	return taken
}
