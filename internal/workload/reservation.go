package workload

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"time"

	"github.com/m3o/ingress/internal/api"
	"github.com/m3o/ingress/internal/store"
)

// Reservation holds a name for a tenant (WIRE.md 5).
type Reservation struct {
	// Name is what is held.
	Name string
	// Tenant is for whom.
	Tenant string
	// Token proves the reservation. Only its hash is kept.
	Token string
	// Created and Expires are UTC, a year apart unless it was renewed.
	Created, Expires time.Time
}

// Reserve holds a name for the caller's tenant for a year: no other tenant's
// workload gets it as its id. Reserving again renews it, with a new token in
// place of the old one. It returns ErrReserved when another tenant holds the
// name, by a reservation or by a workload it has or deleted lately.
func (r *Registry) Reserve(ctx context.Context, caller api.Caller, name string) (Reservation, error) {
	if err := CheckName(name); err != nil {
		return Reservation{}, err
	}
	var res Reservation
	err := r.db.Write(ctx, func(tx *store.Tx) error {
		now := r.now().UTC()
		res = Reservation{Name: name, Tenant: caller.Tenant, Token: rand.Text(), Created: now, Expires: now.AddDate(1, 0, 0)}
		if err := r.dropLapsed(ctx, tx, caller.Tenant, name, now); err != nil {
			return err
		}
		if err := r.checkReservations(ctx, tx, caller, name, now); err != nil {
			return err
		}
		return r.reserve(ctx, tx, &res)
	})
	if err != nil {
		return Reservation{}, err
	}
	return res, nil
}

// reserve writes the reservation. One that still runs keeps its beginning.
func (r *Registry) reserve(ctx context.Context, tx *store.Tx, res *Reservation) error {
	hash := sha256.Sum256([]byte(res.Token))
	var created int64
	err := tx.QueryRowContext(ctx, `
		INSERT INTO workload_ids (kind, id, tenant, name, used_until, reserved, reserved_until, token_hash)
		VALUES ($1, $2, $3, $2, 0, $4, $5, $6)
		ON CONFLICT (kind, id) DO UPDATE SET
			reserved = CASE WHEN workload_ids.reserved_until > excluded.reserved THEN workload_ids.reserved ELSE excluded.reserved END,
			reserved_until = excluded.reserved_until, token_hash = excluded.token_hash
		WHERE workload_ids.tenant = excluded.tenant
		RETURNING reserved`,
		string(r.kind), res.Name, res.Tenant, res.Created.UnixNano(), res.Expires.UnixNano(), hex.EncodeToString(hash[:])).Scan(&created)
	if store.IsNoRows(err) {
		return ErrReserved
	}
	if err != nil {
		return fmt.Errorf("reserve a name: %w", err)
	}
	res.Created = time.Unix(0, created).UTC()
	return nil
}

// checkReservations allows a tenant as many reservations as workloads.
func (r *Registry) checkReservations(ctx context.Context, tx *store.Tx, caller api.Caller, name string, now time.Time) error {
	var have int64
	err := tx.QueryRowContext(ctx, `
		SELECT count(*) FROM workload_ids
		WHERE kind = $1 AND tenant = $2 AND id <> $3 AND reserved_until > $4`,
		string(r.kind), caller.Tenant, name, now.UnixNano()).Scan(&have)
	if err != nil {
		return fmt.Errorf("count the reservations of a tenant: %w", err)
	}
	if quota := r.kind.quota(caller); have >= quota {
		return &QuotaError{Reason: fmt.Sprintf("%d names are reserved and at most %d may be; ask the operator for more", have, quota)}
	}
	return nil
}
