package workload

import (
	"context"
	"fmt"
	"time"

	"github.com/m3o/ingress/internal/store"
)

// Intent is a version that shall be there for its requests.
type Intent struct {
	// Key names the workload, as Release.Key does.
	Key string
	// Version is the current one, Revision that of the environment and settings it
	// was promoted with. An instance of a later revision serves as well: it was
	// woken after the change.
	Version, Revision int64
	// State is the one it entered last.
	State State
	// IdleTimeout is that of its Settings.
	IdleTimeout time.Duration
}

// Release returns a version with all that is needed to build and to run it: its
// environment as it is now, and a user, who is found for it when it has none. The
// error is ErrNotFound when there is no such workload, ErrNoVersion when it has
// no such version, and ErrPruned when its folder is gone.
func (r *Registry) Release(ctx context.Context, id string, number int64) (Release, error) {
	w, err := r.byID(ctx, r.db, id)
	if err != nil {
		return Release{}, err
	}
	v, err := r.version(ctx, r.db, id, number)
	if err != nil {
		return Release{}, err
	}
	return r.release(ctx, w, v)
}

// Current returns the release that answers requests to an id now. The error is
// ErrNotFound when there is no such workload and a *NotDeployedError when nothing
// of it runs here.
func (r *Registry) Current(ctx context.Context, id string) (Release, error) {
	for {
		w, err := r.byID(ctx, r.db, id)
		if err != nil {
			return Release{}, err
		}
		if !w.Managed() {
			return Release{}, &NotDeployedError{State: Stopped, Reason: ErrRegistered.Error()}
		}
		if w.Current == 0 {
			return Release{}, &NotDeployedError{State: w.State, Reason: w.Reason}
		}
		v, err := r.version(ctx, r.db, id, w.Current)
		if err == nil {
			return r.release(ctx, w, v)
		}
		// The row of a current version is never dropped: it is another one now.
		if again, now := r.byID(ctx, r.db, id); now != nil || again.Current == w.Current {
			return Release{}, fmt.Errorf("read the current version of %s %s: %w", r.kind, id, err)
		}
	}
}

func (r *Registry) release(ctx context.Context, w record, v versionRow) (Release, error) {
	if !v.Available {
		return Release{}, ErrPruned
	}
	env, err := r.openEnv(w)
	if err != nil {
		return Release{}, err
	}
	user, err := r.user(ctx, w.ID, w.Tenant)
	if err != nil {
		return Release{}, err
	}
	return Release{
		Kind: r.kind, ID: w.ID, Tenant: w.Tenant, Version: v.Number, Revision: w.Revision,
		Artifact: v.Artifact, Settings: w.Settings, Env: env,
		Dir: r.layout.Version(r.kind, w.ID, v.Number), Home: r.layout.Home(r.kind, w.ID), User: user,
	}, nil
}

// openEnv returns the environment readable.
func (r *Registry) openEnv(w record) (map[string]string, error) {
	env := make(map[string]string, len(w.env))
	for name, sealed := range w.env {
		value, err := r.sealer.Open(envPurpose(r.kind, w.ID, name), sealed)
		if err != nil {
			return nil, fmt.Errorf("read the variable %s of %s %s: %w", name, r.kind, w.ID, err)
		}
		env[name] = string(value)
	}
	return env, nil
}

// Intents returns the current versions of all workloads that run here. It is for
// the start, before anything is: versions that an earlier run of the ingress left
// draining become stopped.
func (r *Registry) Intents(ctx context.Context) ([]Intent, error) {
	if err := r.endDraining(ctx); err != nil {
		return nil, err
	}
	records, err := r.records(ctx, r.db, listed, "WHERE w.kind = $1 AND w.current_version <> 0 ORDER BY w.id", string(r.kind))
	if err != nil {
		return nil, fmt.Errorf("find what shall run: %w", err)
	}
	list := make([]Intent, len(records))
	for i, w := range records {
		list[i] = Intent{
			Key: string(r.kind) + "/" + w.ID, Version: w.Current, Revision: w.currentRevision,
			State: w.State, IdleTimeout: w.Settings.IdleTimeout,
		}
	}
	return list, nil
}

func (r *Registry) endDraining(ctx context.Context) error {
	return r.write(ctx, func(tx *store.Tx) error {
		rows, err := r.versionRows(ctx, tx, listed, "WHERE v.kind = $1 AND v.state = $2", string(r.kind), string(Draining))
		if err != nil {
			return err
		}
		for _, v := range rows {
			if err := r.move(ctx, tx, &v, Stopped, v.Reason); err != nil {
				return err
			}
		}
		return nil
	})
}
