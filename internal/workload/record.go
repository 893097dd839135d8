package workload

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"time"

	"github.com/m3o/ingress/internal/api"
	"github.com/m3o/ingress/internal/store"
)

// record is a workload as it is stored, with the two versions that matter.
type record struct {
	Workload
	env sealedEnv
	// current is what the current version is doing.
	current status
	// currentRevision is in force, triedRevision could not be put in force.
	currentRevision, triedRevision int64
	// asked is how often a version was asked for.
	asked int64
	// wanted is the version asked for last, or one with the number 0.
	wanted versionRow
}

// status is the part of a version that changes while it runs.
type status struct {
	state  State
	reason string
}

const columns = `w.id, w.tenant, w.name, w.region, w.backend, w.env, w.health_path, w.idle_timeout, w.concurrency,
	w.current_version, w.asked, w.revision, w.current_revision, w.tried_revision, w.created, w.updated,
	coalesce(c.state, ''), coalesce(c.reason, ''),
	(SELECT coalesce(string_agg(d.host, ' ' ORDER BY d.host), '') FROM domains d WHERE d.kind = w.kind AND d.id = w.id)`

// joined is where columns come from, and those of the version asked for last.
const joined = ` FROM workloads w
	LEFT JOIN workload_versions c ON c.kind = w.kind AND c.id = w.id AND c.number = w.current_version
	LEFT JOIN workload_versions v ON v.kind = w.kind AND v.id = w.id AND v.number = w.wanted_version `

// Get returns a workload of the caller's, or ErrNotFound.
func (r *Registry) Get(ctx context.Context, caller api.Caller, name string) (Workload, error) {
	w, err := r.find(ctx, r.db, caller.Tenant, name)
	return r.here(w.Workload), err
}

// List returns the caller's workloads, oldest first.
func (r *Registry) List(ctx context.Context, caller api.Caller) ([]Workload, error) {
	records, err := r.records(ctx, r.db, listed, "WHERE w.kind = $1 AND w.tenant = $2 ORDER BY w.created, w.id",
		string(r.kind), caller.Tenant)
	if err != nil {
		return nil, fmt.Errorf("list workloads: %w", err)
	}
	var list []Workload
	for _, w := range records {
		list = append(list, r.here(w.Workload))
	}
	return list, nil
}

// here returns a workload as it is where no sources are taken: what was deployed
// elsewhere has Stopped, whatever it did last there.
func (r *Registry) here(w Workload) Workload {
	if r.noSources != "" && w.Managed() {
		w.State, w.Reason = Stopped, r.noSources
	}
	return w
}

// find returns the tenant's workload of that name, or ErrNotFound.
func (r *Registry) find(ctx context.Context, q store.Querier, tenant, name string) (record, error) {
	if !store.IsText(name) {
		return record{}, ErrNotFound
	}
	return r.one(ctx, q, "WHERE w.kind = $1 AND w.tenant = $2 AND w.name = $3", string(r.kind), tenant, name)
}

// byID returns the workload of an id, whoever's it is, or ErrNotFound.
func (r *Registry) byID(ctx context.Context, q store.Querier, id string) (record, error) {
	return r.one(ctx, q, "WHERE w.kind = $1 AND w.id = $2", string(r.kind), id)
}

func (r *Registry) one(ctx context.Context, q store.Querier, where string, args ...any) (record, error) {
	records, err := r.records(ctx, q, whole, where, args...)
	if err != nil {
		return record{}, fmt.Errorf("read a workload: %w", err)
	}
	if len(records) == 0 {
		return record{}, ErrNotFound
	}
	return records[0], nil
}

// records reads workloads as they are now, with what the journal has still to
// write. That is looked at first: what is written meanwhile is then seen twice
// rather than not at all.
func (r *Registry) records(ctx context.Context, q store.Querier, e extent, where string, args ...any) ([]record, error) {
	pending := r.journal.pending()
	rows, err := q.QueryContext(ctx, "SELECT "+columns+", "+versionColumns(e)+joined+where, args...)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	var list []record
	for rows.Next() {
		w, err := scanRecord(rows)
		if err != nil {
			return nil, err
		}
		w.overlay(pending[w.ID])
		w.derive()
		list = append(list, w)
	}
	return list, rows.Err()
}

func scanRecord(row scanner) (w record, err error) {
	var env, domains string
	var idle, created, updated int64
	dest := []any{&w.ID, &w.Tenant, &w.Name, &w.Region, &w.Backend, &env, &w.Settings.HealthPath, &idle, &w.Settings.Concurrency,
		&w.Current, &w.asked, &w.Revision, &w.currentRevision, &w.triedRevision, &created, &updated,
		&w.current.state, &w.current.reason, &domains}
	var v versionText
	if err := row.Scan(append(dest, v.dest(&w.wanted)...)...); err != nil {
		return record{}, err
	}
	if err := v.parse(&w.wanted); err != nil {
		return record{}, err
	}
	if w.env, err = parseSealedEnv(env); err != nil {
		return record{}, err
	}
	w.Env = w.env.names()
	if domains != "" {
		w.Domains = strings.Fields(domains)
	}
	w.Settings.IdleTimeout = time.Duration(idle)
	w.Created, w.Updated = time.Unix(0, created).UTC(), time.Unix(0, updated).UTC()
	return w, nil
}

// overlay brings the record up to what the journal has not written yet.
func (w *record) overlay(entries []entry) {
	for _, e := range entries {
		if e.version == w.Current {
			w.current = w.current.journalled(e, true)
		}
		if e.version == w.wanted.Number {
			now := status{w.wanted.State, w.wanted.Reason}.journalled(e, e.version == w.Current)
			w.wanted.State, w.wanted.Reason = now.state, now.reason
		}
	}
}

// derive fills in what the workload as a whole takes from its versions.
func (w *record) derive() {
	w.Newest = nil
	w.Source, w.Program = Source{}, Program{}
	if w.wanted.Number != 0 {
		newest := w.wanted.Version
		w.Newest, w.Source, w.Program = &newest, newest.Source, newest.Program
	}
	now := status{w.wanted.State, w.wanted.Reason}
	switch {
	case !w.Managed():
		now = status{state: Ready}
	case w.Current != 0:
		now = w.current
	}
	w.State, w.Reason = now.state, now.reason
}

func (r *Registry) insert(ctx context.Context, tx *store.Tx, w record) error {
	env, err := w.env.text()
	if err != nil {
		return err
	}
	_, err = tx.ExecContext(ctx, `
		INSERT INTO workloads (kind, id, tenant, name, region, backend, env, health_path, idle_timeout, concurrency, created, updated)
		VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12)`,
		string(r.kind), w.ID, w.Tenant, w.Name, w.Region, w.Backend, env, w.Settings.HealthPath, int64(w.Settings.IdleTimeout),
		w.Settings.Concurrency, w.Created.UnixNano(), w.Updated.UnixNano())
	if store.IsConflict(err) {
		return ErrExists // made by another node since find looked
	}
	if err != nil {
		return fmt.Errorf("store a workload: %w", err)
	}
	return nil
}

// save writes all that can change.
func (r *Registry) save(ctx context.Context, tx *store.Tx, w record) error {
	env, err := w.env.text()
	if err != nil {
		return err
	}
	_, err = tx.ExecContext(ctx, `
		UPDATE workloads SET backend = $1, env = $2, health_path = $3, idle_timeout = $4, concurrency = $5, current_version = $6,
			wanted_version = $7, asked = $8, revision = $9, current_revision = $10, tried_revision = $11, updated = $12
		WHERE kind = $13 AND id = $14 AND tenant = $15`,
		w.Backend, env, w.Settings.HealthPath, int64(w.Settings.IdleTimeout), w.Settings.Concurrency, w.Current,
		w.wanted.Number, w.asked, w.Revision, w.currentRevision, w.triedRevision, w.Updated.UnixNano(),
		string(r.kind), w.ID, w.Tenant)
	if err != nil {
		return fmt.Errorf("store a workload: %w", err)
	}
	return nil
}

// encode returns a value as the store keeps it.
func encode(what string, value any) (string, error) {
	raw, err := json.Marshal(value)
	if err != nil {
		return "", fmt.Errorf("encode %s: %w", what, err)
	}
	return string(raw), nil
}

// decode reads what encode returned; the empty text is the zero value.
func decode(what, text string, into any) error {
	if text == "" {
		return nil
	}
	if err := json.Unmarshal([]byte(text), into); err != nil {
		return fmt.Errorf("decode %s: %w", what, err)
	}
	return nil
}
