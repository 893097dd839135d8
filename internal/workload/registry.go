package workload

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/m3o/ingress/internal/api"
	"github.com/m3o/ingress/internal/store"
)

// Registry keeps the workloads of one kind, and who holds which id. Its methods
// are safe for concurrent use, by several processes on one database as well, and
// none but Backend sees anything of another tenant.
//
// Errors are those of error.go for whatever a caller did wrong; all others are
// the store's.
type Registry struct {
	kind    Kind
	db      *store.DB
	sealer  *store.Sealer
	rules   BackendRules
	regions Regions
	now     func() time.Time
	suffix  func() string
}

// Options are a Registry's collaborators.
type Options struct {
	// DB and Sealer keep the state and its secrets; Rules admits addresses. All
	// are required.
	DB     *store.DB
	Sealer *store.Sealer
	Rules  BackendRules
	// Regions default to DefaultRegions.
	Regions Regions
	// Now defaults to time.Now, Suffix to eight random letters and digits.
	Now    func() time.Time
	Suffix func() string
	// Layout is where versions, logs and uploads are.
	Layout Layout
	// Log gets what nobody else can be told; it defaults to slog.Default.
	Log *slog.Logger
	// PublicURL returns where visitors reach an id; Resolve answers it for what
	// runs here.
	PublicURL func(id string) string
	// MaxUpload is the most bytes of one upload; 512 MiB by default.
	MaxUpload int64
	// SwitchUser gives each workload a user of its own, which only root can.
	// FirstUID is the first number for them, 1,900,000,000 by default.
	SwitchUser bool
	FirstUID   uint32
}

// NewRegistry returns the registry of a kind. Any number may share a database.
func NewRegistry(kind Kind, o Options) *Registry {
	r := &Registry{kind: kind, db: o.DB, sealer: o.Sealer, rules: o.Rules, regions: o.Regions, now: o.Now, suffix: o.Suffix}
	if len(r.regions) == 0 {
		r.regions = DefaultRegions()
	}
	if r.now == nil {
		r.now = time.Now
	}
	if r.suffix == nil {
		r.suffix = randomSuffix
	}
	return r
}

// Regions returns where workloads can run. It must not be changed.
func (r *Registry) Regions() Regions { return r.regions }

// Spec describes a new workload.
type Spec struct {
	// Name is what the tenant calls it.
	Name string
	// Region is one of Regions.
	Region string
	// Backend is the URL to register, as the caller gave it. Exactly one of Backend
	// and Source is set.
	Backend string
	// Source is what to build and run, Program what a function is written in.
	Source  Source
	Program Program
	// Settings are how it is run; DefaultSettings are a good beginning.
	Settings Settings
	// Env is its environment.
	Env map[string]string
}

// Create makes a workload and returns it, ready. Its id is the name, or, when
// another tenant holds that, the name with a suffix; a name used before by the
// tenant and not yet given away gets its old id back.
func (r *Registry) Create(ctx context.Context, caller api.Caller, spec Spec) (Workload, error) {
	if err := CheckName(spec.Name); err != nil {
		return Workload{}, err
	}
	if err := checkEnv(spec.Env); err != nil {
		return Workload{}, err
	}
	backend, err := r.admitBackend(ctx, caller, spec.Backend)
	if err != nil {
		return Workload{}, err
	}
	w := record{Workload: Workload{Tenant: caller.Tenant, Name: spec.Name, Region: spec.Region, Backend: backend}}
	w.State = Ready
	err = r.db.Write(ctx, func(tx *store.Tx) error { return r.create(ctx, tx, caller, &w, spec.Env) })
	if err != nil {
		return Workload{}, err
	}
	return w.Workload, nil
}

// create takes an id and writes the row; the times are those of the transaction,
// so that the order of creation is the order of commits.
func (r *Registry) create(ctx context.Context, tx *store.Tx, caller api.Caller, w *record, env map[string]string) error {
	if _, err := r.find(ctx, tx, caller.Tenant, w.Name); err == nil {
		return ErrExists
	} else if !errors.Is(err, ErrNotFound) {
		return err
	}
	if err := r.checkQuota(ctx, tx, caller); err != nil {
		return err
	}
	now := r.now().UTC()
	id, err := r.takeID(ctx, tx, caller, w.Name, now)
	if err != nil {
		return err
	}
	w.ID, w.Created, w.Updated = id, now, now
	if w.env, err = sealEnv(r.sealer, r.kind, id, env, nil); err != nil {
		return err
	}
	w.Env = w.env.names()
	if err := r.insert(ctx, tx, *w); err != nil {
		return err
	}
	return tx.Changed(ctx, string(r.kind), id)
}

func (r *Registry) checkQuota(ctx context.Context, tx *store.Tx, caller api.Caller) error {
	var have int64
	err := tx.QueryRowContext(ctx, "SELECT count(*) FROM workloads WHERE kind = $1 AND tenant = $2",
		string(r.kind), caller.Tenant).Scan(&have)
	if err != nil {
		return fmt.Errorf("count the workloads of a tenant: %w", err)
	}
	if quota := r.kind.quota(caller); have >= quota {
		return &QuotaError{Reason: fmt.Sprintf("there are %d and at most %d allowed; delete one, or ask the operator for more", have, quota)}
	}
	return nil
}

// Update is what changes in a workload; what is empty stays.
type Update struct {
	// Backend is the new URL to register.
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
// request that begins after Update has returned.
func (r *Registry) Update(ctx context.Context, caller api.Caller, name string, u Update) error {
	if err := checkEnv(u.Env); err != nil {
		return err
	}
	if u.Backend != "" {
		backend, err := r.admitBackend(ctx, caller, u.Backend)
		if err != nil {
			return err
		}
		u.Backend = backend
	}
	return r.db.Write(ctx, func(tx *store.Tx) error {
		w, err := r.find(ctx, tx, caller.Tenant, name)
		if err != nil {
			return err
		}
		if u.Backend == "" && len(u.Env) == 0 {
			return nil
		}
		if err := r.apply(&w, u); err != nil {
			return err
		}
		if err := r.save(ctx, tx, w); err != nil {
			return err
		}
		return tx.Changed(ctx, string(r.kind), w.ID)
	})
}

func (r *Registry) apply(w *record, u Update) (err error) {
	if u.Backend != "" {
		w.State = Ready
		w.Backend, w.Reason = u.Backend, ""
	}
	if len(u.Env) > 0 {
		if w.env, err = sealEnv(r.sealer, r.kind, w.ID, u.Env, w.env); err != nil {
			return err
		}
	}
	w.Updated = r.now().UTC()
	return nil
}

// Delete removes a workload of the caller's. Its id stays the tenant's for
// keepID.
func (r *Registry) Delete(ctx context.Context, caller api.Caller, name string) error {
	return r.db.Write(ctx, func(tx *store.Tx) error {
		w, err := r.find(ctx, tx, caller.Tenant, name)
		if err != nil {
			return err
		}
		_, err = tx.ExecContext(ctx, "DELETE FROM workloads WHERE kind = $1 AND id = $2 AND tenant = $3",
			string(r.kind), w.ID, caller.Tenant)
		if err != nil {
			return fmt.Errorf("delete a workload: %w", err)
		}
		if err := r.releaseID(ctx, tx, caller.Tenant, w.ID, r.now()); err != nil {
			return err
		}
		return tx.Changed(ctx, string(r.kind), w.ID)
	})
}
