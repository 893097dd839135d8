package workload

import (
	"context"
	"fmt"

	"github.com/m3o/ingress/internal/api"
	"github.com/m3o/ingress/internal/store"
)

// keepVersions is how many versions are listed: rows of older ones go when their
// folders have.
const keepVersions = 100

// Versions returns the versions of a workload of the caller's, newest first,
// with the names of inline files and not their content, and the number of the
// current one, 0 when there is none.
func (r *Registry) Versions(ctx context.Context, caller api.Caller, name string) (list []Version, current int64, err error) {
	// Before the rows, so that what is written in between is in either.
	pending := r.journal.pending()
	var w record
	var rows []versionRow
	// At once: a version that has just become the current one must not be listed as
	// ready, and another as current.
	err = r.db.Read(ctx, func(q store.Querier) error {
		if w, err = r.find(ctx, q, caller.Tenant, name); err != nil {
			return err
		}
		rows, err = r.versionRows(ctx, q, listed, "WHERE v.kind = $1 AND v.id = $2 ORDER BY v.number DESC", string(r.kind), w.ID)
		return err
	})
	if err != nil {
		return nil, 0, err
	}
	list = make([]Version, 0, len(rows))
	for _, v := range rows {
		for _, e := range pending[w.ID] {
			if e.version == v.Number {
				now := status{v.State, v.Reason}.journalled(e, v.Number == w.Current)
				v.State, v.Reason = now.state, now.reason
			}
		}
		list = append(list, v.Version)
	}
	return list, w.Current, nil
}

// addVersion makes a version of a source the wanted one, pending. Older ones that
// have not begun are given up: of many updates in a row, the one that is built
// and the last are worth anything.
func (r *Registry) addVersion(ctx context.Context, tx *store.Tx, caller api.Caller, w *record, source Source, program Program) error {
	if err := r.checkSpace(ctx, tx, caller.Tenant, caller.Quotas.VersionBytes, source.size()); err != nil {
		return err
	}
	if source.Upload != "" {
		if err := r.takeUpload(ctx, tx, caller.Tenant, source.Upload); err != nil {
			return err
		}
	}
	var number int64
	err := tx.QueryRowContext(ctx, "UPDATE workload_ids SET last_version = last_version + 1 WHERE kind = $1 AND id = $2 RETURNING last_version",
		string(r.kind), w.ID).Scan(&number)
	if err != nil {
		return fmt.Errorf("number a version: %w", err)
	}
	if err := r.supersede(ctx, tx, w, number); err != nil {
		return err
	}
	w.asked++
	now := r.now().UTC()
	v := versionRow{
		Version: Version{Number: number, State: Pending, Source: source, Program: program, Created: now, Available: true},
		id:      w.ID, tenant: w.Tenant, asked: w.asked, askedAt: now, quota: caller.Quotas.VersionBytes,
	}
	if err := r.insertVersion(ctx, tx, v); err != nil {
		return err
	}
	w.wanted = v
	if err := r.record(ctx, tx, w.ID, Event{Version: number, State: Pending, At: now}); err != nil {
		return err
	}
	return r.dropOldVersions(ctx, tx, w, number)
}

// supersede stops the versions that wait for their deploy.
func (r *Registry) supersede(ctx context.Context, tx *store.Tx, w *record, by int64) error {
	rows, err := r.versionRows(ctx, tx, listed, "WHERE v.kind = $1 AND v.id = $2 AND v.state = $3", string(r.kind), w.ID, string(Pending))
	if err != nil {
		return err
	}
	for _, v := range rows {
		if err := r.move(ctx, tx, &v, Stopped, supersededBy(by)); err != nil {
			return err
		}
	}
	return nil
}

func supersededBy(number int64) string { return fmt.Sprintf("superseded by version %d", number) }

// dropOldVersions removes rows that nobody needs, those that were never begun among
// them, and the files of versions that cannot be built any more: they count in no
// quota.
func (r *Registry) dropOldVersions(ctx context.Context, tx *store.Tx, w *record, newest int64) error {
	_, err := tx.ExecContext(ctx, `
		DELETE FROM workload_versions
		WHERE kind = $1 AND id = $2 AND number <= $3 AND number <> $4
			AND (available = FALSE OR state = $5 AND artifact = '' AND steps = '')`,
		string(r.kind), w.ID, newest-keepVersions, w.Current, string(Stopped))
	if err != nil {
		return fmt.Errorf("drop old versions: %w", err)
	}
	_, err = tx.ExecContext(ctx, `
		UPDATE workload_versions SET files = ''
		WHERE kind = $1 AND id = $2 AND files <> '' AND artifact = '' AND state NOT IN ($3, $4, $5)`,
		string(r.kind), w.ID, string(Pending), string(Building), string(Starting))
	if err != nil {
		return fmt.Errorf("drop files of old versions: %w", err)
	}
	return nil
}

// checkSpace refuses more bytes to a tenant whose versions and uploads take what
// it may have.
func (r *Registry) checkSpace(ctx context.Context, tx *store.Tx, tenant string, quota, more int64) error {
	left, err := r.spaceLeft(ctx, tx, tenant, quota)
	if err == nil && more > left {
		err = noSpace(quota)
	}
	return err
}

// spaceLeft returns how many bytes a tenant may still have in versions and
// uploads, of both kinds together, or a *QuotaError when there are none.
func (r *Registry) spaceLeft(ctx context.Context, tx *store.Tx, tenant string, quota int64) (int64, error) {
	var used int64
	err := tx.QueryRowContext(ctx, `
		SELECT CAST(coalesce((SELECT sum(size) FROM workload_versions WHERE tenant = $1 AND available = TRUE), 0) +
			coalesce((SELECT sum(size) FROM uploads WHERE tenant = $1), 0) AS BIGINT)`, tenant).Scan(&used)
	if err != nil {
		return 0, fmt.Errorf("sum up the versions of a tenant: %w", err)
	}
	if used >= quota {
		return 0, noSpace(quota)
	}
	return quota - used, nil
}

func noSpace(quota int64) error {
	return &QuotaError{Reason: fmt.Sprintf("versions and uploads would take more than the %d bytes allowed; "+
		"delete what is not needed, or ask the operator for more", quota)}
}
