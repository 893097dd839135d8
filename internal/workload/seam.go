package workload

import (
	"context"
	"errors"
	"io"

	"github.com/m3o/ingress/internal/api"
)

var errSoon = errors.New("this part of the registry is being written")

func (r *Registry) Events(ctx context.Context, caller api.Caller, name string) ([]Event, error) {
	return nil, errSoon
}
func (r *Registry) Versions(ctx context.Context, caller api.Caller, name string) ([]Version, error) {
	return nil, errSoon
}
func (r *Registry) Rollback(ctx context.Context, caller api.Caller, name string, number int64) (Workload, error) {
	return Workload{}, errSoon
}
func (r *Registry) Logs(ctx context.Context, caller api.Caller, name string, req LogRequest) (Log, error) {
	return Log{}, errSoon
}
func (r *Registry) AddUpload(ctx context.Context, caller api.Caller, body io.Reader) (id string, size int64, err error) {
	return "", 0, errSoon
}
func (r *Registry) UploadFile(tenant, id string) (string, error) { return "", errSoon }

// PruneUploads removes uploads an hour old that no version waits for.
func (r *Registry) PruneUploads(ctx context.Context) error { return errSoon }
func (r *Registry) SetCredential(ctx context.Context, caller api.Caller, c Credential) error {
	return errSoon
}

// Credentials has secrets Hidden.
func (r *Registry) Credentials(ctx context.Context, caller api.Caller) ([]Credential, error) {
	return nil, errSoon
}
func (r *Registry) DeleteCredential(ctx context.Context, caller api.Caller, host string) error {
	return errSoon
}
func (r *Registry) CredentialFor(ctx context.Context, tenant, host string) (Credential, bool, error) {
	return Credential{}, false, errSoon
}

// LearnHost keeps a host's keys when none are known yet.
func (r *Registry) LearnHost(ctx context.Context, tenant, host, knownHosts string) error {
	return errSoon
}

// Work: versions on their way and restarts, oldest first.
func (r *Registry) Work(ctx context.Context) ([]Job, error) { return nil, errSoon }

// Advance: ErrNotFound when deleted, ErrSuperseded, *QuotaError when the size is too much.
func (r *Registry) Advance(ctx context.Context, id string, number int64, to State, reason string, change func(*Version)) error {
	return errSoon
}
func (r *Registry) Release(ctx context.Context, id string, number int64) (Release, error) {
	return Release{}, errSoon
}
func (r *Registry) Promoted(ctx context.Context, id string, number, revision int64) error {
	return errSoon
}

// RestartFailed says that the current version could not be started with a revision; it is not
// tried again by Work, and the version that runs goes on.
func (r *Registry) RestartFailed(ctx context.Context, id string, number, revision int64, reason string) error {
	return errSoon
}

// Current: ErrNotFound or *NotDeployedError.
func (r *Registry) Current(ctx context.Context, id string) (Release, error) {
	return Release{}, errSoon
}

// Intents is called once at start.
func (r *Registry) Intents(ctx context.Context) ([]Intent, error) { return nil, errSoon }
func (r *Registry) Prune(ctx context.Context, id string, keep int) ([]int64, error) {
	return nil, errSoon
}

// Kept: list the folders first, then ask.
func (r *Registry) Kept(ctx context.Context) (Kept, error) { return nil, errSoon }

// Entered implements Journal.
func (r *Registry) Entered(key string, version int64, state State, reason string) {}

// RunJournal writes what Entered is told, until ctx ends, and then what is left.
func (r *Registry) RunJournal(ctx context.Context) error { <-ctx.Done(); return nil }
