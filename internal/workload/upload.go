package workload

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/m3o/ingress/internal/api"
	"github.com/m3o/ingress/internal/store"
)

const (
	// maxUpload is the default of Options.MaxUpload.
	maxUpload = 256 << 20
	// uploadChunk is how much of a tenant's quota is set aside at once while an
	// upload comes in, so that many at once cannot exceed it together.
	uploadChunk = 8 << 20
	// keepUpload is how long an upload waits for the version made of it.
	keepUpload = time.Hour
	// uploadID is the length of an upload's id: 128 random bits in base 32.
	uploadIDLength = 26
)

// AddUpload stores an archive of the caller's tenant for a Create or Update that
// names its id, which nobody can guess. The file is on disk when it returns;
// after an error nothing is left of it. What is too large for one upload or for
// the tenant's quota is a *QuotaError.
func (r *Registry) AddUpload(ctx context.Context, caller api.Caller, body io.Reader) (id string, size int64, err error) {
	if err := r.takesSources(true); err != nil {
		return "", 0, err
	}
	if err := r.PruneTenantUploads(ctx, caller.Tenant); err != nil {
		return "", 0, err
	}
	id = strings.ToLower(rand.Text())
	if err := r.openUpload(ctx, caller, id); err != nil {
		return "", 0, err
	}
	size, err = r.receive(ctx, caller, id, body)
	if err == nil {
		err = r.closeUpload(ctx, caller.Tenant, id, size)
	}
	if err != nil {
		// Also when ctx has ended: what is not removed now waits for PruneUploads.
		undo, cancel := context.WithTimeout(context.WithoutCancel(ctx), flushTime)
		defer cancel()
		return "", 0, errors.Join(err, r.dropUpload(undo, caller.Tenant, id))
	}
	return id, size, nil
}

// openUpload makes the row of an upload, with nothing set aside yet.
func (r *Registry) openUpload(ctx context.Context, caller api.Caller, id string) error {
	return r.db.Write(ctx, func(tx *store.Tx) error {
		if err := r.checkSpace(ctx, tx, caller.Tenant, caller.Quotas.VersionBytes, 0); err != nil {
			return err
		}
		_, err := tx.ExecContext(ctx, "INSERT INTO uploads (id, tenant, size, complete, created) VALUES ($1, $2, 0, FALSE, $3)",
			id, caller.Tenant, r.now().UnixNano())
		if err != nil {
			return fmt.Errorf("store an upload: %w", err)
		}
		return nil
	})
}

// receive writes the body to the upload's file.
func (r *Registry) receive(ctx context.Context, caller api.Caller, id string, body io.Reader) (size int64, err error) {
	dir := r.layout.Uploads(caller.Tenant)
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return 0, fmt.Errorf("store an upload: %w", err)
	}
	f, err := os.OpenFile(filepath.Join(dir, id), os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return 0, fmt.Errorf("store an upload: %w", err)
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	for {
		space, err := r.setAside(ctx, caller, id, size)
		if err != nil {
			return 0, err
		}
		n, err := io.CopyN(f, body, space)
		size += n
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return 0, fmt.Errorf("receive an upload: %w", err)
		}
		if size > r.maxUpload {
			return 0, &QuotaError{Reason: fmt.Sprintf("an upload may have %d bytes; leave out what the build makes by itself", r.maxUpload)}
		}
	}
	if err := f.Sync(); err != nil {
		return 0, fmt.Errorf("store an upload: %w", err)
	}
	return size, syncUploads(dir)
}

// syncUploads makes the name of a new file durable.
func syncUploads(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return fmt.Errorf("store an upload: %w", err)
	}
	if err := errors.Join(d.Sync(), d.Close()); err != nil {
		return fmt.Errorf("store an upload: %w", err)
	}
	return nil
}

// setAside makes room for the next part of an upload and returns how much may be
// written: one byte beyond the most an upload may have shows that it has more.
func (r *Registry) setAside(ctx context.Context, caller api.Caller, id string, size int64) (int64, error) {
	var space int64
	err := r.db.Write(ctx, func(tx *store.Tx) error {
		if err := ownSize(ctx, tx, caller.Tenant, id, size); err != nil {
			return err
		}
		left, err := r.spaceLeft(ctx, tx, caller.Tenant, caller.Quotas.VersionBytes)
		if err != nil {
			return err
		}
		space = min(uploadChunk, r.maxUpload+1-size, left)
		return ownSize(ctx, tx, caller.Tenant, id, size+space)
	})
	return space, err
}

// ownSize stores what an upload takes. It is ErrNotFound when the upload took so
// long that it was given up.
func ownSize(ctx context.Context, tx *store.Tx, tenant, id string, size int64) error {
	result, err := tx.ExecContext(ctx, "UPDATE uploads SET size = $1 WHERE id = $2 AND tenant = $3", size, id, tenant)
	if err != nil {
		return fmt.Errorf("store the size of an upload: %w", err)
	}
	if n, err := result.RowsAffected(); err != nil || n != 1 {
		return errors.Join(err, errors.New("the upload took too long and was given up; send it again"))
	}
	return nil
}

// closeUpload makes an upload one that versions can be made of.
func (r *Registry) closeUpload(ctx context.Context, tenant, id string, size int64) error {
	return r.db.Write(ctx, func(tx *store.Tx) error {
		if err := ownSize(ctx, tx, tenant, id, size); err != nil {
			return err
		}
		_, err := tx.ExecContext(ctx, "UPDATE uploads SET complete = TRUE, created = $1 WHERE id = $2", r.now().UnixNano(), id)
		if err != nil {
			return fmt.Errorf("store an upload: %w", err)
		}
		return nil
	})
}

// UploadFile returns where a tenant's upload is. It is ErrNotFound for an id that
// is none; whether there still is a file the caller finds out by opening it.
func (r *Registry) UploadFile(tenant, id string) (string, error) {
	if !validUpload(id) {
		return "", ErrNotFound
	}
	return filepath.Join(r.layout.Uploads(tenant), id), nil
}

func validUpload(id string) bool {
	return len(id) == uploadIDLength && strings.IndexFunc(id, notAlphanumeric) < 0
}

// takeUpload returns an *InvalidError unless the tenant has the upload. It is kept
// for the versions that wait for it and no longer from then on, also when these
// are deleted: its age is no reason any more.
func (r *Registry) takeUpload(ctx context.Context, tx *store.Tx, tenant, id string) error {
	var complete bool
	err := tx.QueryRowContext(ctx, "SELECT complete FROM uploads WHERE id = $1 AND tenant = $2", id, tenant).Scan(&complete)
	if store.IsNoRows(err) || err == nil && !complete {
		return invalid("upload", "there is no such upload, or it was too long ago; upload it again")
	}
	if err != nil {
		return fmt.Errorf("find an upload: %w", err)
	}
	if _, err := tx.ExecContext(ctx, "UPDATE uploads SET created = 0 WHERE id = $1", id); err != nil {
		return fmt.Errorf("take an upload: %w", err)
	}
	return nil
}

// PruneUploads removes the uploads of all tenants that were deployed, for good
// or bad, those of more than an hour ago that no version waits for, and files
// that are no upload's.
func (r *Registry) PruneUploads(ctx context.Context) error {
	entries, err := os.ReadDir(filepath.Dir(r.layout.Uploads("x")))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("prune uploads: %w", err)
	}
	for _, e := range entries {
		if err := r.PruneTenantUploads(ctx, e.Name()); err != nil {
			return err
		}
	}
	return nil
}

// PruneTenantUploads is PruneUploads for one tenant.
func (r *Registry) PruneTenantUploads(ctx context.Context, tenant string) error {
	limit := r.now().Add(-keepUpload)
	old, err := r.uploads(ctx, `SELECT u.id FROM uploads u WHERE u.tenant = $1
		AND (u.created < $2 OR EXISTS (SELECT 1 FROM workload_versions v WHERE v.upload = u.id))
		AND NOT EXISTS (SELECT 1 FROM workload_versions v WHERE v.upload = u.id AND v.artifact = '' AND v.state IN ($3, $4, $5))`,
		tenant, limit.UnixNano(), string(Pending), string(Building), string(Starting))
	if err != nil {
		return err
	}
	for id := range old {
		if err := r.dropUpload(ctx, tenant, id); err != nil {
			return err
		}
	}
	// Names are read before rows: a file is made after its row.
	files, err := os.ReadDir(r.layout.Uploads(tenant))
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("prune uploads: %w", err)
	}
	known, err := r.uploads(ctx, "SELECT id FROM uploads WHERE tenant = $1", tenant)
	if err != nil {
		return err
	}
	for _, f := range files {
		if known[f.Name()] {
			continue
		}
		if err := os.Remove(filepath.Join(r.layout.Uploads(tenant), f.Name())); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("prune uploads: %w", err)
		}
	}
	return nil
}

// uploads returns the ids a query finds.
func (r *Registry) uploads(ctx context.Context, query string, args ...any) (map[string]bool, error) {
	rows, err := r.db.QueryContext(ctx, query, args...)
	if err != nil {
		return nil, fmt.Errorf("list uploads: %w", err)
	}
	defer rows.Close()
	ids := map[string]bool{}
	for rows.Next() {
		var id string
		if err := rows.Scan(&id); err != nil {
			return nil, fmt.Errorf("list uploads: %w", err)
		}
		ids[id] = true
	}
	if err := rows.Err(); err != nil {
		return nil, fmt.Errorf("list uploads: %w", err)
	}
	return ids, nil
}

// dropUpload removes an upload, the row first: a file without a row is removed
// sooner or later, a row without a file would promise one. Whether a version
// waits for it is asked again, since one may have been made meanwhile.
func (r *Registry) dropUpload(ctx context.Context, tenant, id string) error {
	dropped := false
	err := r.db.Write(ctx, func(tx *store.Tx) error {
		result, err := tx.ExecContext(ctx, `
			DELETE FROM uploads WHERE id = $1 AND tenant = $2 AND NOT EXISTS (
				SELECT 1 FROM workload_versions v WHERE v.upload = uploads.id AND v.artifact = '' AND v.state IN ($3, $4, $5))`,
			id, tenant, string(Pending), string(Building), string(Starting))
		if err != nil {
			return err
		}
		n, err := result.RowsAffected()
		dropped = n == 1
		return err
	})
	if err != nil {
		return fmt.Errorf("drop an upload: %w", err)
	}
	if !dropped {
		return nil
	}
	if err := os.Remove(filepath.Join(r.layout.Uploads(tenant), id)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("drop an upload: %w", err)
	}
	return nil
}
