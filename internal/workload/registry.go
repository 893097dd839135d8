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
// those that take a caller see nothing of another tenant, but for Resolve. The
// others are for the parts of the ingress that route, deploy and run.
//
// Errors are those of error.go for whatever a caller did wrong; all others are
// the store's.
type Registry struct {
	allowLocal bool
	kind       Kind
	db         *store.DB
	sealer     *store.Sealer
	rules      BackendRules
	regions    Regions
	now        func() time.Time
	suffix     func() string
	layout     Layout
	log        *slog.Logger
	publicURL  func(id string) string
	maxUpload  int64

	noSources  string
	switchUser bool
	firstUID   uint32

	journal *journal
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
	// AllowLocal lets a source be a repository of this machine, by a file:// address
	// or an absolute path.
	AllowLocal bool
	// MaxUpload is the most bytes of one upload; 256 MiB by default.
	MaxUpload int64
	// NoSources says, to callers, why no sources are taken; empty takes them. Backends
	// can be registered all the same.
	NoSources string
	// SwitchUser gives each workload a user of its own, which only root can.
	// FirstUID is the first number for them, 1,900,000,000 by default.
	SwitchUser bool
	FirstUID   uint32
}

// NewRegistry returns the registry of a kind. Any number may share a database.
func NewRegistry(kind Kind, o Options) *Registry {
	r := &Registry{
		kind: kind, db: o.DB, sealer: o.Sealer, rules: o.Rules, regions: o.Regions, now: o.Now, suffix: o.Suffix,
		allowLocal: o.AllowLocal, layout: o.Layout, log: o.Log, publicURL: o.PublicURL, maxUpload: o.MaxUpload,
		noSources: o.NoSources, switchUser: o.SwitchUser, firstUID: o.FirstUID, journal: newJournal(),
	}
	if len(r.regions) == 0 {
		r.regions = DefaultRegions()
	}
	if r.now == nil {
		r.now = time.Now
	}
	if r.suffix == nil {
		r.suffix = randomSuffix
	}
	if r.log == nil {
		r.log = slog.Default()
	}
	if r.publicURL == nil {
		r.publicURL = func(string) string { return "" }
	}
	if r.maxUpload == 0 {
		r.maxUpload = maxUpload
	}
	if r.firstUID == 0 {
		r.firstUID = firstUID
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

// Create makes a workload and returns it: ready when a backend is registered,
// with a first version that is pending when there is a source. Its id is the
// name, or, when another tenant holds that, the name with a suffix; a name used
// before by the tenant and not yet given away gets its old id back.
func (r *Registry) Create(ctx context.Context, caller api.Caller, spec Spec) (Workload, error) {
	if err := spec.check(); err != nil {
		return Workload{}, err
	}
	if err := r.takesSources(!spec.Source.IsZero()); err != nil {
		return Workload{}, err
	}
	w := record{Workload: Workload{Tenant: caller.Tenant, Name: spec.Name, Region: spec.Region, Settings: spec.Settings}}
	if spec.Source.IsZero() {
		backend, err := r.admitBackend(ctx, caller, spec.Backend)
		if err != nil {
			return Workload{}, err
		}
		w.Backend = backend
	}
	var made record
	err := r.write(ctx, func(tx *store.Tx) error {
		made = w
		return r.create(ctx, tx, caller, &made, spec)
	})
	if err != nil {
		return Workload{}, err
	}
	made.derive()
	return made.Workload, nil
}

// takesSources returns why something that has a source cannot be deployed here.
func (r *Registry) takesSources(has bool) error {
	if has && r.noSources != "" {
		return invalid("source", "%s", r.noSources)
	}
	return nil
}

func (s Spec) check() error {
	if err := CheckName(s.Name); err != nil {
		return err
	}
	if err := checkEnv(s.Env); err != nil {
		return err
	}
	if err := s.Settings.check(); err != nil {
		return err
	}
	if s.Source.IsZero() {
		return nil
	}
	if s.Backend != "" {
		return invalid("source", "a workload has a backend or a source, and not both")
	}
	return errors.Join(s.Source.check(), s.Program.check())
}

// create takes an id and writes the rows; the times are those of the transaction,
// so that the order of creation is the order of commits.
func (r *Registry) create(ctx context.Context, tx *store.Tx, caller api.Caller, w *record, spec Spec) error {
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
	w.ID, w.Created, w.Updated, w.Revision = id, now, now, 1
	if w.env, err = sealEnv(r.sealer, r.kind, id, spec.Env, nil); err != nil {
		return err
	}
	w.Env = w.env.names()
	if err := r.insert(ctx, tx, *w); err != nil {
		return err
	}
	if w.Managed() {
		if err := r.addVersion(ctx, tx, caller, w, spec.Source, spec.Program); err != nil {
			return err
		}
	}
	if err := r.save(ctx, tx, *w); err != nil {
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

// Delete removes a workload of the caller's with all its versions. Its id stays
// the tenant's for keepID. Whoever deploys or runs it learns of it by the change
// feed, and at the latest by an ErrNotFound.
func (r *Registry) Delete(ctx context.Context, caller api.Caller, name string) error {
	return r.write(ctx, func(tx *store.Tx) error {
		w, err := r.find(ctx, tx, caller.Tenant, name)
		if err != nil {
			return err
		}
		_, err = tx.ExecContext(ctx, "DELETE FROM workloads WHERE kind = $1 AND id = $2 AND tenant = $3",
			string(r.kind), w.ID, caller.Tenant)
		if err != nil {
			return fmt.Errorf("delete a workload: %w", err)
		}
		if err := r.freeDomains(ctx, tx, w, w.Domains...); err != nil {
			return err
		}
		if err := r.releaseID(ctx, tx, caller.Tenant, w.ID, r.now()); err != nil {
			return err
		}
		return tx.Changed(ctx, string(r.kind), w.ID)
	})
}
