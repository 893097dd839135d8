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
	read := func(ctx context.Context) error {
		return db.Read(ctx, func(q store.Querier) error { return d.load(ctx, q) })
	}
	db.OnGap(func(ctx context.Context) error {
		d.disown()
		return read(ctx)
	})
	if err := read(ctx); err != nil {
		return nil, fmt.Errorf("read the domains: %w", err)
	}
	return d, nil
}

// disown has any change override what is known: another server, which may be behind the
// database's address now, counts its changes from elsewhere.
func (d *Domains) disown() {
	d.mu.Lock()
	defer d.mu.Unlock()
	for host, to := range d.hosts {
		d.hosts[host] = domainTarget{id: to.id}
	}
}

// load reads where all hosts lead. Changes may arrive meanwhile, and on several nodes a
// change with a lower version can be seen after one with a higher one, if it is of
// another host. So each host has the version of its own last change that the log still
// has, and what is not there any more is taken away only if no change has spoken of it
// meanwhile.
func (d *Domains) load(ctx context.Context, q store.Querier) error {
	before := d.leading()
	versions, err := domainVersions(ctx, q)
	if err != nil {
		return err
	}
	rows, err := q.QueryContext(ctx, "SELECT host, id FROM domains WHERE kind = $1 AND id <> ''", string(App))
	if err != nil {
		return err
	}
	defer rows.Close()
	found := map[string]domainTarget{}
	for rows.Next() {
		var host, id string
		if err := rows.Scan(&host, &id); err != nil {
			return err
		}
		found[host] = domainTarget{id, versions[host]}
	}
	if err := rows.Err(); err != nil {
		return err
	}
	d.replace(before, found)
	return nil
}

// domainVersions returns the last change of each host that the change log has.
func domainVersions(ctx context.Context, q store.Querier) (map[string]int64, error) {
	rows, err := q.QueryContext(ctx, "SELECT version, id FROM changes WHERE kind = $1 ORDER BY version", changeDomain)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	versions := map[string]int64{}
	for rows.Next() {
		var c store.Change
		if err := rows.Scan(&c.Version, &c.ID); err != nil {
			return nil, err
		}
		host, _ := splitChange(c)
		versions[host] = c.Version
	}
	return versions, rows.Err()
}

// replace takes what was found in place of what was there before, but for hosts that a
// change has spoken of since.
func (d *Domains) replace(before, found map[string]domainTarget) {
	for host, to := range found {
		d.set(host, to)
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	for host, to := range before {
		if _, there := found[host]; !there && d.hosts[host] == to {
			delete(d.hosts, host)
		}
	}
}

// leading returns the hosts that lead somewhere.
func (d *Domains) leading() map[string]domainTarget {
	d.mu.RLock()
	defer d.mu.RUnlock()
	hosts := map[string]domainTarget{}
	for host, to := range d.hosts {
		if to.id != "" {
			hosts[host] = to
		}
	}
	return hosts
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
