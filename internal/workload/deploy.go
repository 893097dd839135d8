package workload

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/m3o/ingress/internal/store"
)

// Job is something a deploy has to do: to bring a version on its way to where it
// is the current one, or to put a changed environment in force.
type Job struct {
	// ID and Tenant are the workload's.
	ID, Tenant string
	// Version is the one to deploy. The content of inline files is left out: many jobs
	// may wait, for long. Registry.Source has it.
	Version Version
	// Revision is that of the environment and settings it gets when it is started
	// now.
	Revision int64
	// First reports that no version of the workload was asked for before: whatever
	// runs or lies under its id belongs to one of that id before it.
	First bool
	// Restart reports that only these have changed: Version is the current one,
	// built, and is to be started beside itself.
	Restart bool
}

// waiting is a job and its place in the queue.
type waiting struct {
	Job
	since time.Time
	asked int64
}

// Work returns all there is to deploy, oldest first: versions on their way,
// also those whose deploy was cut short, and current versions to be started
// anew. Jobs of one workload must be done in this order.
func (r *Registry) Work(ctx context.Context) ([]Job, error) {
	coming, err := r.coming(ctx)
	if err != nil {
		return nil, fmt.Errorf("find what to deploy: %w", err)
	}
	restarts, err := r.restarts(ctx)
	if err != nil {
		return nil, fmt.Errorf("find what to start anew: %w", err)
	}
	all := append(coming, restarts...)
	slices.SortStableFunc(all, func(a, b waiting) int {
		if a.ID == b.ID {
			return cmp.Compare(a.asked, b.asked)
		}
		return cmp.Or(a.since.Compare(b.since), cmp.Compare(a.ID, b.ID))
	})
	jobs := make([]Job, len(all))
	for i, w := range all {
		jobs[i] = w.Job
	}
	return jobs, nil
}

// coming returns the versions on their way.
func (r *Registry) coming(ctx context.Context) ([]waiting, error) {
	rows, err := r.versionRows(ctx, r.db, listed, `
		WHERE v.kind = $1 AND v.state IN ($2, $3, $4) AND v.number <> w.current_version`,
		string(r.kind), string(Pending), string(Building), string(Starting))
	if err != nil {
		return nil, err
	}
	list := make([]waiting, len(rows))
	for i, v := range rows {
		list[i] = waiting{Job{ID: v.id, Tenant: v.tenant, Version: v.Version, First: v.asked == 1}, v.askedAt, v.asked}
		if err := r.db.QueryRowContext(ctx, "SELECT revision FROM workloads WHERE kind = $1 AND id = $2",
			string(r.kind), v.id).Scan(&list[i].Revision); err != nil && !store.IsNoRows(err) {
			return nil, err
		}
	}
	return list, nil
}

// restarts returns the current versions that run with an older environment, but
// for those that another version is about to replace.
func (r *Registry) restarts(ctx context.Context) ([]waiting, error) {
	records, err := r.records(ctx, r.db, listed, `
		WHERE w.kind = $1 AND w.current_version <> 0 AND w.revision > w.current_revision AND w.revision > w.tried_revision`, string(r.kind))
	if err != nil {
		return nil, err
	}
	var list []waiting
	for _, w := range records {
		if w.wanted.onItsWay(w.Current) {
			continue
		}
		v, err := r.versionRows(ctx, r.db, listed, "WHERE v.kind = $1 AND v.id = $2 AND v.number = $3", string(r.kind), w.ID, w.Current)
		if err != nil {
			return nil, err
		}
		if len(v) == 0 {
			continue // deleted since
		}
		list = append(list, waiting{
			Job{ID: w.ID, Tenant: w.Tenant, Version: v[0].Version, Revision: w.Revision, Restart: true}, w.Updated, w.asked,
		})
	}
	return list, nil
}

// Source returns where the code of a version comes from, with all inline files. The
// error is ErrNoVersion when there is no such version.
func (r *Registry) Source(ctx context.Context, id string, number int64) (Source, error) {
	v, err := r.version(ctx, r.db, id, number)
	return v.Source, err
}

// Advance takes a version on its way to a state, and stores what change sets of
// its Steps, Commit, Artifact and Size. The error is ErrNotFound when the
// workload was deleted, ErrSuperseded when the version is not wanted any more,
// and a *QuotaError, with nothing stored, when it takes more space than its
// tenant has left. A failed version is stored whatever it takes.
func (r *Registry) Advance(ctx context.Context, id string, number int64, to State, reason string, change func(*Version)) error {
	if !slices.Contains([]State{Building, Starting, Failed}, to) {
		return fmt.Errorf("deploy version %d of %s: a deploy does not make it %q", number, id, to)
	}
	return r.write(ctx, func(tx *store.Tx) error {
		w, v, err := r.underway(ctx, tx, id, number)
		if err != nil {
			return err
		}
		if number == w.Current {
			return fmt.Errorf("deploy version %d of %s: it is the current one already", number, id)
		}
		old := v.Size
		if change != nil {
			changed := v.Version
			change(&changed)
			v.Steps, v.Commit, v.Artifact, v.Size = changed.Steps, changed.Commit, changed.Artifact, changed.Size
		}
		if v.Size > old && to != Failed {
			if err := r.checkSpace(ctx, tx, v.tenant, v.quota, v.Size-old); err != nil {
				return err
			}
		}
		if err := r.move(ctx, tx, &v, to, legible(reason)); err != nil {
			return fmt.Errorf("deploy version %d of %s: %w", number, id, err)
		}
		if err := r.saveVersion(ctx, tx, v); err != nil {
			return err
		}
		return tx.Changed(ctx, string(r.kind), id)
	})
}

// underway returns a workload and a version of it that is current or on its way.
func (r *Registry) underway(ctx context.Context, tx *store.Tx, id string, number int64) (record, versionRow, error) {
	w, err := r.byID(ctx, tx, id)
	if err != nil {
		return record{}, versionRow{}, err
	}
	v, err := r.version(ctx, tx, id, number)
	if errors.Is(err, ErrNoVersion) {
		return record{}, versionRow{}, ErrNotFound // of a workload of that id before this one
	}
	if err == nil && number != w.Current && !v.onItsWay(w.Current) {
		err = ErrSuperseded
	}
	return w, v, err
}

// Promoted makes a version that answers with a revision of environment and
// settings the current one, and ready. The one before drains. A registered
// backend is one no longer. The error is ErrNotFound when the workload was
// deleted and ErrSuperseded when the version is not wanted any more; nothing has
// changed then, and the caller must end what it started.
func (r *Registry) Promoted(ctx context.Context, id string, number, revision int64) error {
	return r.write(ctx, func(tx *store.Tx) error {
		w, v, err := r.underway(ctx, tx, id, number)
		if err != nil {
			return err
		}
		if number != w.Current {
			if err := r.replaceCurrent(ctx, tx, &w, v); err != nil {
				return err
			}
		}
		if err := r.move(ctx, tx, &v, Ready, ""); err != nil {
			return fmt.Errorf("promote version %d of %s: %w", number, id, err)
		}
		v.good = true
		if err := r.saveVersion(ctx, tx, v); err != nil {
			return err
		}
		w.Backend, w.Current, w.currentRevision, w.Updated = "", number, min(revision, w.Revision), r.now().UTC()
		if err := r.save(ctx, tx, w); err != nil {
			return err
		}
		return tx.Changed(ctx, string(r.kind), id)
	})
}

// replaceCurrent has the current version drain for v, and gives up what was
// asked for before v.
func (r *Registry) replaceCurrent(ctx context.Context, tx *store.Tx, w *record, v versionRow) error {
	rows, err := r.versionRows(ctx, tx, listed, "WHERE v.kind = $1 AND v.id = $2 AND v.number <> $3", string(r.kind), w.ID, v.Number)
	if err != nil {
		return err
	}
	for _, o := range rows {
		switch {
		case o.Number == w.Current && o.asked > v.asked:
			return ErrSuperseded
		case o.Number == w.Current:
			err = r.move(ctx, tx, &o, leaving(o.State), fmt.Sprintf("replaced by version %d", v.Number))
		case o.onItsWay(w.Current) && o.asked < v.asked:
			err = r.move(ctx, tx, &o, Stopped, supersededBy(v.Number))
		}
		if err != nil {
			return fmt.Errorf("promote version %d of %s: %w", v.Number, w.ID, err)
		}
	}
	return nil
}

// leaving returns what a current version in a state becomes when it is replaced.
func leaving(s State) State {
	if s == Ready || s == Starting {
		return Draining
	}
	return Stopped // nothing of it runs
}

// RestartFailed says that the current version could not be started with a
// revision of environment and settings. What runs goes on, with the reason
// beside its state, and Work does not ask for that revision again.
func (r *Registry) RestartFailed(ctx context.Context, id string, number, revision int64, reason string) error {
	return r.write(ctx, func(tx *store.Tx) error {
		w, v, err := r.underway(ctx, tx, id, number)
		if err != nil {
			return err
		}
		if number != w.Current {
			return ErrSuperseded
		}
		w.triedRevision = max(w.triedRevision, revision)
		if err := r.save(ctx, tx, w); err != nil {
			return err
		}
		v.Reason = legible(reason)
		if err := r.saveVersion(ctx, tx, v); err != nil {
			return err
		}
		if err := r.record(ctx, tx, id, Event{Version: number, State: v.State, Reason: v.Reason, At: r.now()}); err != nil {
			return err
		}
		return tx.Changed(ctx, string(r.kind), id)
	})
}
