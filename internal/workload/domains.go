package workload

import (
	"context"
	"fmt"
	"maps"
	"sync"

	"github.com/m3o/ingress/internal/store"
)

// Domains knows in memory which app a host name leads to: anybody can ask for any
// name, and none of those questions may reach the database. It is safe for
// concurrent use.
type Domains struct {
	mu    sync.RWMutex
	hosts map[string]domainTarget
	freed int // how often a host came to lead nowhere since forget
}

// domainTarget is where a host name leads, and which change said so. Changes may
// arrive in another order than they were made in.
type domainTarget struct {
	id      string // empty for nowhere
	version int64
}

// OpenDomains reads all host names and follows their changes for as long as db is
// open.
func OpenDomains(ctx context.Context, db *store.DB) (*Domains, error) {
	d := &Domains{hosts: make(map[string]domainTarget)}
	db.Subscribe(d.changed)
	if err := db.Read(ctx, func(q store.Querier) error { return d.load(ctx, q) }); err != nil {
		return nil, fmt.Errorf("read the domains: %w", err)
	}
	return d, nil
}

func (d *Domains) load(ctx context.Context, q store.Querier) error {
	version, err := store.LastChange(ctx, q)
	if err != nil {
		return err
	}
	rows, err := q.QueryContext(ctx, "SELECT host, id FROM domains WHERE kind = $1 AND id <> ''", string(App))
	if err != nil {
		return err
	}
	defer rows.Close()
	for rows.Next() {
		var host, id string
		if err := rows.Scan(&host, &id); err != nil {
			return err
		}
		d.set(host, domainTarget{id, version})
	}
	return rows.Err()
}

func (d *Domains) changed(c store.Change) {
	if c.Kind == changeDomain {
		host, id := splitChange(c)
		d.set(host, domainTarget{id, c.Version})
	}
}

func (d *Domains) set(host string, to domainTarget) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if to.version < d.hosts[host].version {
		return
	}
	d.hosts[host] = to
	if to.id == "" {
		d.forget(to.version)
	}
}

// disorder is by how many changes, at the very most, one arrives too late.
const disorder = 1000

// forget drops hosts that lead nowhere, now and then, once no change that is late can
// have them lead somewhere again.
func (d *Domains) forget(now int64) {
	if d.freed++; d.freed < disorder {
		return
	}
	d.freed = 0
	maps.DeleteFunc(d.hosts, func(_ string, t domainTarget) bool { return t.id == "" && t.version < now-disorder })
}

// App returns the id of the app that a host name, in its normal form, leads to.
func (d *Domains) App(host string) (id string, ok bool) {
	d.mu.RLock()
	defer d.mu.RUnlock()
	id = d.hosts[host].id
	return id, id != ""
}
