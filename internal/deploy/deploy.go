// Package deploy brings versions from where their owner asked for them to where
// they answer requests: it fetches, builds, has them started beside what runs,
// and removes what is no longer needed. What it does is stored as it happens, so
// that a deploy that the end of the ingress cut off begins again.
package deploy

import (
	"context"
	"log/slog"
	"time"

	"github.com/m3o/ingress/internal/builder"
	"github.com/m3o/ingress/internal/source"
	"github.com/m3o/ingress/internal/workload"
)

// Registry is what a deploy reads and writes of one kind of workload; see
// workload.Registry, which implements it.
type Registry interface {
	Backend(ctx context.Context, id string) (workload.Backend, error)
	Work(ctx context.Context) ([]workload.Job, error)
	Source(ctx context.Context, id string, number int64) (workload.Source, error)
	Advance(ctx context.Context, id string, number int64, to workload.State, reason string, change func(*workload.Version)) error
	Release(ctx context.Context, id string, number int64) (workload.Release, error)
	Promoted(ctx context.Context, id string, number, revision int64) error
	RestartFailed(ctx context.Context, id string, number, revision int64, reason string) error
	Prune(ctx context.Context, id string, keep int) ([]int64, error)
	Kept(ctx context.Context) (workload.Kept, error)
	Tenants(ctx context.Context) ([]string, error)
	UploadFile(tenant, upload string) (string, error)
	PruneTenantUploads(ctx context.Context, tenant string) error
	CredentialFor(ctx context.Context, tenant, host string) (workload.Credential, bool, error)
	LearnHost(ctx context.Context, tenant, host, knownHosts string) error
}

// Fetcher puts the code of a source into a folder; see source.Fetcher.
type Fetcher interface {
	Fetch(ctx context.Context, r source.Request) (source.Result, error)
}

// Builder makes something to run of a folder; see builder.Builder.
type Builder interface {
	Build(ctx context.Context, r builder.Request) (workload.Artifact, error)
}

// Activator starts and stops what was built; see activator.Activator.
type Activator interface {
	// Promote starts a release beside what runs, calls commit once it is ready, and
	// gives it all requests from then on. The error says to the owner why not.
	Promote(ctx context.Context, r workload.Release, commit func(context.Context) error) error
	// Remove stops everything of a workload that is no more, or not ours to run.
	Remove(ctx context.Context, key string) error
}

// Options are a Deployer's collaborators. All are required but Log.
type Options struct {
	Registries map[workload.Kind]Registry
	Fetcher    Fetcher
	Builder    Builder
	Activator  Activator
	Layout     workload.Layout
	// Builds is how many versions are fetched and built at the same time. Tenants
	// take turns.
	Builds int
	// Keep is how many versions of a workload keep their folders.
	Keep int
	// CacheBytes is how much the builds of a tenant may leave on disk for its next
	// ones; 0 for nothing. It is looked at when no build of the tenant runs.
	CacheBytes int64
	// LogBytes is what is kept of what a fetch and build print.
	LogBytes int64
	// Log is the operator's.
	Log *slog.Logger
	// Now defaults to time.Now.
	Now func() time.Time
}

// Deployer does the deploys of all workloads, one at a time for each. Its methods
// are safe for concurrent use.
type Deployer struct {
	Options
	slots    *slots
	wake     chan struct{} // holds a token while inbox may have something
	inbox    inbox
	cacheUse cacheUse
}

// New returns a Deployer; Run makes it work.
func New(o Options) *Deployer {
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	return &Deployer{
		Options: o,
		slots:   newSlots(max(o.Builds, 1)),
		wake:    make(chan struct{}, 1),
	}
}

// Notify says that something about a workload has changed. It does not block.
func (d *Deployer) Notify(kind workload.Kind, id string) {
	d.inbox.add(subject{kind, id})
	select {
	case d.wake <- struct{}{}:
	default: // a look is due already
	}
}

// subject is a workload.
type subject struct {
	kind workload.Kind
	id   string
}

func (s subject) key() string { return string(s.kind) + "/" + s.id }
