package workload

import (
	"context"
	"maps"
	"slices"
	"time"

	"github.com/m3o/ingress/internal/api"
	"github.com/m3o/ingress/internal/store"
)

// Update is what changes in a workload; what is empty stays.
type Update struct {
	// Backend is the new URL to register. What runs here for the workload stops.
	Backend string
	// Source, unless it is the zero Source, is deployed as a new version. Redeploy
	// makes a new version of the old source.
	Source   Source
	Redeploy bool
	// Program replaces what a function is written in, by a new version.
	Program *Program
	// HealthPath, IdleTimeout and Concurrency replace those of the Settings.
	HealthPath  *string
	IdleTimeout *time.Duration
	Concurrency *int
	// Env replaces the whole environment, but for values that are Hidden.
	Env map[string]string
}

// Update changes a workload of the caller's. A new backend is in force for every
// request that begins after Update has returned. A new version is pending then,
// and what answered before goes on until it is ready. Changes of environment and
// settings alone raise the revision, and the current version is started anew
// with them, beside the old one.
func (r *Registry) Update(ctx context.Context, caller api.Caller, name string, u Update) error {
	if err := u.check(); err != nil {
		return err
	}
	if u.Backend != "" {
		backend, err := r.admitBackend(ctx, caller, u.Backend)
		if err != nil {
			return err
		}
		u.Backend = backend
	}
	return r.write(ctx, func(tx *store.Tx) error {
		w, err := r.find(ctx, tx, caller.Tenant, name)
		if err != nil {
			return err
		}
		if err := r.takesSources(u.Backend == "" && (w.Managed() || !u.Source.IsZero())); err != nil {
			return err
		}
		changed, err := r.apply(ctx, tx, caller, &w, u)
		if err != nil || !changed {
			return err
		}
		w.Updated = r.now().UTC()
		if err := r.save(ctx, tx, w); err != nil {
			return err
		}
		return tx.Changed(ctx, string(r.kind), w.ID)
	})
}

func (u Update) check() error {
	if err := checkEnv(u.Env); err != nil {
		return err
	}
	deploys := !u.Source.IsZero() || u.Redeploy || u.Program != nil
	if u.Backend != "" && deploys {
		return invalid("source", "a workload has a backend or a source, and not both")
	}
	if !u.Source.IsZero() {
		if err := u.Source.check(); err != nil {
			return err
		}
	}
	if u.Program != nil {
		return u.Program.check()
	}
	return nil
}

// apply makes the changes and reports whether there were any.
func (r *Registry) apply(ctx context.Context, tx *store.Tx, caller api.Caller, w *record, u Update) (bool, error) {
	revised, err := r.revise(w, u)
	if err != nil {
		return false, err
	}
	if u.Backend != "" {
		w.Backend = u.Backend
		return true, r.retire(ctx, tx, w)
	}
	source, program, deploy, err := w.next(u)
	if err != nil {
		return false, err
	}
	if deploy {
		return true, r.addVersion(ctx, tx, caller, w, source, program)
	}
	if revised {
		return true, r.retry(ctx, tx, w)
	}
	return false, nil
}

// revise changes environment and settings, and reports whether it did.
func (r *Registry) revise(w *record, u Update) (revised bool, err error) {
	settings := w.Settings
	if u.HealthPath != nil {
		settings.HealthPath = *u.HealthPath
	}
	if u.IdleTimeout != nil {
		settings.IdleTimeout = *u.IdleTimeout
	}
	if u.Concurrency != nil {
		settings.Concurrency = *u.Concurrency
	}
	if settings != w.Settings {
		if err := settings.check(); err != nil {
			return false, err
		}
		w.Settings, revised = settings, true
	}
	if len(u.Env) > 0 {
		env, err := sealEnv(r.sealer, r.kind, w.ID, u.Env, w.env)
		if err != nil {
			return false, err
		}
		if !maps.Equal(env, w.env) { // a value given anew is sealed anew
			w.env, revised = env, true
			w.Env = env.names()
		}
	}
	if revised {
		w.Revision++
	}
	return revised, nil
}

// next returns what a new version is made of, and whether there shall be one.
func (w *record) next(u Update) (Source, Program, bool, error) {
	program := w.Program
	if u.Program != nil {
		program = *u.Program
	}
	if !u.Source.IsZero() {
		return u.Source, program, true, nil
	}
	if !u.Redeploy && program == w.Program {
		return Source{}, Program{}, false, nil
	}
	if w.Source.IsZero() {
		return Source{}, Program{}, false, ErrRegistered
	}
	if w.Source.Upload != "" {
		return Source{}, Program{}, false, ErrUploadAgain
	}
	return w.Source, program, true, nil
}

// retire stops all versions, because a backend takes their place.
func (r *Registry) retire(ctx context.Context, tx *store.Tx, w *record) error {
	rows, err := r.versionRows(ctx, tx, listed, "WHERE v.kind = $1 AND v.id = $2", string(r.kind), w.ID)
	if err != nil {
		return err
	}
	for _, v := range rows {
		if v.Number != w.Current && !v.State.OnItsWay() {
			continue
		}
		if err := r.move(ctx, tx, &v, Stopped, "superseded by a registered backend"); err != nil {
			return err
		}
	}
	w.Current, w.currentRevision, w.triedRevision, w.wanted = 0, 0, 0, versionRow{}
	return nil
}

// retry has a version started again whose start failed, since the change may be
// what it lacked. Nothing answers, so there is nothing to lose.
func (r *Registry) retry(ctx context.Context, tx *store.Tx, w *record) error {
	v := &w.wanted
	if w.Current != 0 || !w.Managed() || v.State != Failed || !v.Built() || !v.Available {
		return nil
	}
	return r.ask(ctx, tx, w, v, "started again with the changed environment or settings")
}

// ask makes a stored version that was built the wanted one.
func (r *Registry) ask(ctx context.Context, tx *store.Tx, w *record, v *versionRow, reason string) error {
	w.asked++
	v.asked, v.askedAt = w.asked, r.now().UTC()
	if err := r.move(ctx, tx, v, Starting, reason); err != nil {
		return err
	}
	if err := r.saveVersion(ctx, tx, *v); err != nil {
		return err
	}
	w.wanted = *v
	return nil
}

// Rollback makes an older version of a workload of the caller's the wanted one:
// the one of a number, or, for 0, the newest good one below the current. It needs
// no build. All other versions on their way are given up. Naming the current
// version gives up those and nothing else. Errors are ErrNoVersion, ErrPruned,
// ErrIsCurrent, ErrNeverBuilt and ErrRegistered.
func (r *Registry) Rollback(ctx context.Context, caller api.Caller, name string, number int64) (Workload, error) {
	var w record
	err := r.write(ctx, func(tx *store.Tx) (err error) {
		if w, err = r.find(ctx, tx, caller.Tenant, name); err != nil {
			return err
		}
		if !w.Managed() {
			return ErrRegistered
		}
		if err := r.takesSources(true); err != nil {
			return err
		}
		rows, err := r.versionRows(ctx, tx, whole, "WHERE v.kind = $1 AND v.id = $2 ORDER BY v.number DESC", string(r.kind), w.ID)
		if err != nil {
			return err
		}
		if err := r.rollback(ctx, tx, &w, rows, number); err != nil {
			return err
		}
		w.Updated = r.now().UTC()
		if err := r.save(ctx, tx, w); err != nil {
			return err
		}
		return tx.Changed(ctx, string(r.kind), w.ID)
	})
	if err != nil {
		return Workload{}, err
	}
	w.derive()
	return w.Workload, nil
}

func (r *Registry) rollback(ctx context.Context, tx *store.Tx, w *record, rows []versionRow, number int64) error {
	chosen := slices.IndexFunc(rows, func(v versionRow) bool {
		if number != 0 {
			return v.Number == number
		}
		return v.good && v.Available && (w.Current == 0 || v.Number < w.Current)
	})
	if chosen < 0 {
		return ErrNoVersion
	}
	v := rows[chosen]
	underway := slices.ContainsFunc(rows, func(o versionRow) bool { return o.Number != v.Number && o.onItsWay(w.Current) })
	switch {
	case !v.Available:
		return ErrPruned
	case !v.Built():
		return ErrNeverBuilt
	case v.Number == w.Current && !underway && w.wanted.Number == v.Number:
		return ErrIsCurrent
	}
	for i := range rows {
		if rows[i].Number == v.Number || !rows[i].onItsWay(w.Current) {
			continue
		}
		if err := r.move(ctx, tx, &rows[i], Stopped, supersededBy(v.Number)); err != nil {
			return err
		}
	}
	if v.Number == w.Current {
		w.asked++
		v.asked, v.askedAt = w.asked, r.now().UTC()
		w.wanted = v
		return r.saveVersion(ctx, tx, v)
	}
	return r.ask(ctx, tx, w, &v, "rolled back to")
}
