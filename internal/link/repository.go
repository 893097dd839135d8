package link

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"math"
	"slices"
	"time"

	"github.com/m3o/ingress/internal/store"
)

// repository is every query on links.
type repository struct{ db *store.DB }

// Why a link was not made.
var (
	errTaken = errors.New("the id is taken")
	errQuota = errors.New("the quota of links is reached")
)

// create writes a new link and announces it. It returns errTaken when the id
// belongs to a link, or did, until less than keepDeleted ago, to another
// tenant's; errQuota when the tenant has as many links as it may.
func (r repository) create(ctx context.Context, l link, quota int64) error {
	return r.db.Write(ctx, func(tx *store.Tx) error {
		if err := countOneMore(ctx, tx, l.tenant, quota); err != nil {
			return err
		}
		// One statement, so that of two writers exactly one gets the id.
		rows, err := exec(ctx, tx, `
			INSERT INTO links (id, tenant, destination, created) VALUES ($1, $2, $3, $4)
			ON CONFLICT (id) DO UPDATE SET
				tenant = excluded.tenant, destination = excluded.destination, created = excluded.created, hits = 0, deleted = 0
			WHERE links.deleted <> 0 AND (links.tenant = excluded.tenant OR links.deleted < $5)`,
			l.id, l.tenant, l.destination, l.created.UnixNano(), l.created.Add(-keepDeleted).UnixNano())
		if err != nil {
			return fmt.Errorf("store a link: %w", err)
		}
		if rows == 0 {
			return errTaken
		}
		return tx.Changed(ctx, "link", l.id)
	})
}

// countOneMore adds one to the tenant's number of links unless it is at the
// quota. The row stays locked until the transaction ends.
func countOneMore(ctx context.Context, tx *store.Tx, tenant string, quota int64) error {
	_, err := exec(ctx, tx, "INSERT INTO link_counts (tenant, links) VALUES ($1, 0) ON CONFLICT (tenant) DO NOTHING", tenant)
	if err != nil {
		return fmt.Errorf("count links: %w", err)
	}
	rows, err := exec(ctx, tx, "UPDATE link_counts SET links = links + 1 WHERE tenant = $1 AND links < $2", tenant, quota)
	if err != nil {
		return fmt.Errorf("count links: %w", err)
	}
	if rows == 0 {
		return errQuota
	}
	return nil
}

// get returns a link of any tenant, or nil when there is none.
func (r repository) get(ctx context.Context, id string) (*link, error) {
	l := link{id: id}
	var created int64
	err := r.db.QueryRowContext(ctx, "SELECT tenant, destination, created, hits FROM links WHERE id = $1 AND deleted = 0", id).
		Scan(&l.tenant, &l.destination, &created, &l.hits)
	if store.IsNoRows(err) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("look up a link: %w", err)
	}
	l.created = time.Unix(0, created).UTC()
	return &l, nil
}

// place is where a link stands in its tenant's list: behind those made earlier
// and, of those made at one time, behind smaller ids.
type place struct {
	created int64 // Unix nanoseconds
	id      string
}

// theFirst is before every link.
func theFirst() place { return place{created: math.MinInt64} }

func (l link) place() place { return place{l.created.UnixNano(), l.id} }

// page returns the links of a tenant that come after a place, oldest first, so
// many at most.
func (r repository) page(ctx context.Context, tenant string, after place, limit int) ([]link, error) {
	rows, err := r.db.QueryContext(ctx, `
		SELECT id, destination, created, hits FROM links
		WHERE tenant = $1 AND deleted = 0 AND (created, id) > ($2, $3) ORDER BY created, id LIMIT $4`,
		tenant, after.created, after.id, limit)
	if err != nil {
		return nil, fmt.Errorf("list links: %w", err)
	}
	defer rows.Close()
	var links []link
	for rows.Next() {
		l := link{tenant: tenant}
		var created int64
		if err := rows.Scan(&l.id, &l.destination, &created, &l.hits); err != nil {
			return nil, fmt.Errorf("list links: %w", err)
		}
		l.created = time.Unix(0, created).UTC()
		links = append(links, l)
	}
	if err := rows.Err(); err != nil {
		return nil, fmt.Errorf("list links: %w", err)
	}
	return links, nil
}

// update lets a link of the tenant lead elsewhere and announces it. It reports
// whether there is such a link.
func (r repository) update(ctx context.Context, tenant, id, destination string) (found bool, err error) {
	err = r.db.Write(ctx, func(tx *store.Tx) error {
		rows, err := exec(ctx, tx,
			"UPDATE links SET destination = $1 WHERE id = $2 AND tenant = $3 AND deleted = 0", destination, id, tenant)
		if err != nil {
			return fmt.Errorf("update a link: %w", err)
		}
		if found = rows > 0; !found {
			return nil
		}
		return tx.Changed(ctx, "link", id)
	})
	return found, err
}

// delete removes a link of the tenant, but for its id, and announces it. It
// reports whether there was such a link.
func (r repository) delete(ctx context.Context, tenant, id string, now time.Time) (found bool, err error) {
	err = r.db.Write(ctx, func(tx *store.Tx) error {
		// The count first, as in create: two transactions that lock in the same
		// order cannot wait for each other.
		if _, err := exec(ctx, tx, "UPDATE link_counts SET links = links - 1 WHERE tenant = $1", tenant); err != nil {
			return fmt.Errorf("count links: %w", err)
		}
		rows, err := exec(ctx, tx,
			"UPDATE links SET destination = '', hits = 0, deleted = $1 WHERE id = $2 AND tenant = $3 AND deleted = 0",
			now.UnixNano(), id, tenant)
		if err != nil {
			return fmt.Errorf("delete a link: %w", err)
		}
		if rows == 0 {
			return errNotThere // so that the count is rolled back
		}
		return tx.Changed(ctx, "link", id)
	})
	if errors.Is(err, errNotThere) {
		return false, nil
	}
	return err == nil, err
}

// errNotThere never leaves delete.
var errNotThere = errors.New("the link is not there")

// addHits adds to the hits of links; those that are gone are skipped. Tried again with
// the same receipt they are added once.
func (r repository) addHits(ctx context.Context, receipt string, hits map[string]int64) error {
	return r.db.WriteOnce(ctx, receipt, func(tx *store.Tx) error {
		// In order, for the reason given in delete.
		for _, id := range slices.Sorted(maps.Keys(hits)) {
			_, err := exec(ctx, tx, "UPDATE links SET hits = hits + $1 WHERE id = $2 AND deleted = 0", hits[id], id)
			if err != nil {
				return fmt.Errorf("write hits: %w", err)
			}
		}
		return nil
	})
}

// prune frees ids deleted before the time given, and of each tenant all but the
// latest so many.
func (r repository) prune(ctx context.Context, before time.Time, keep int) error {
	_, err := r.db.Prune(ctx, "DELETE FROM links WHERE id IN (SELECT id FROM links WHERE deleted <> 0 AND deleted < $1 LIMIT $2)", before.UnixNano())
	if err == nil {
		_, err = r.db.Prune(ctx, `
			DELETE FROM links WHERE id IN (
				SELECT id FROM (
					SELECT id, ROW_NUMBER() OVER (PARTITION BY tenant ORDER BY deleted DESC, id) AS place
					FROM links WHERE deleted <> 0
				) AS kept WHERE place > $1 LIMIT $2
			)`, keep)
	}
	if err != nil {
		return fmt.Errorf("free the ids of deleted links: %w", err)
	}
	return nil
}

// exec runs a statement and returns how many rows it changed.
func exec(ctx context.Context, tx *store.Tx, query string, args ...any) (int64, error) {
	result, err := tx.ExecContext(ctx, query, args...)
	if err != nil {
		return 0, err
	}
	return result.RowsAffected()
}
