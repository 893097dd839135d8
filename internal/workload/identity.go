package workload

import (
	"context"
	"fmt"
	"math"

	"github.com/m3o/ingress/internal/confine"
	"github.com/m3o/ingress/internal/store"
)

// firstUID is the default of Options.FirstUID: far from what a distribution, a
// directory service or a container engine gives out.
const firstUID = 1_900_000_000

// user returns who a workload runs as: a user of its own in a group of its
// tenant's, always the same. Numbers are given when they are first needed, and
// to nobody else afterwards.
func (r *Registry) user(ctx context.Context, id, tenant string) (confine.User, error) {
	if !r.switchUser {
		return confine.User{}, nil
	}
	uid, err := r.identity(ctx, r.identityOwner(id, tenant))
	if err != nil {
		return confine.User{}, err
	}
	gid, err := r.identity(ctx, "tenant/"+tenant)
	if err != nil {
		return confine.User{}, err
	}
	return confine.User{UID: uid, GID: gid}, nil
}

// identityOwner names a workload in the table of identities. The tenant is part
// of it: what one tenant's left on disk must stay closed to whoever has the id
// after it.
func (r *Registry) identityOwner(id, tenant string) string {
	return fmt.Sprintf("%s/%s/%s", r.kind, id, tenant)
}

// identity returns the number of an owner, and gives it one if it has none.
func (r *Registry) identity(ctx context.Context, owner string) (uint32, error) {
	var number int64
	err := r.db.QueryRowContext(ctx, "SELECT number FROM identities WHERE owner = $1", owner).Scan(&number)
	if store.IsNoRows(err) {
		err = r.db.Write(ctx, func(tx *store.Tx) error {
			number, err = giveIdentity(ctx, tx, owner)
			return err
		})
	}
	if err != nil {
		return 0, fmt.Errorf("find a user for %s: %w", owner, err)
	}
	if number > math.MaxUint32-1-int64(r.firstUID) { // the last one means "nobody at all" to the kernel
		return 0, fmt.Errorf("find a user for %s: all from %d on are given", owner, r.firstUID)
	}
	return r.firstUID + uint32(number), nil
}

func giveIdentity(ctx context.Context, tx *store.Tx, owner string) (number int64, err error) {
	err = tx.QueryRowContext(ctx, "SELECT number FROM identities WHERE owner = $1", owner).Scan(&number)
	if !store.IsNoRows(err) {
		return number, err // given since, unless it failed
	}
	err = tx.QueryRowContext(ctx, `
		INSERT INTO identities (owner, number) VALUES ('', 1)
		ON CONFLICT (owner) DO UPDATE SET number = identities.number + 1
		RETURNING number`).Scan(&number)
	if err != nil {
		return 0, err
	}
	_, err = tx.ExecContext(ctx, "INSERT INTO identities (owner, number) VALUES ($1, $2)", owner, number)
	return number, err
}
