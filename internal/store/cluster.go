package store

import (
	"context"
	"errors"
	"fmt"
)

// secretProof is what all nodes must be able to open.
const secretProof = "secret-key"

// ErrOtherSecret says that a node has another secret key than those that were on the
// database before it.
var ErrOtherSecret = errors.New("the database belongs to ingresses with another INGRESS_SECRET_KEY; give this one the same, or a database of its own")

// AgreeOnSecret makes sure that all nodes on the database can read each other's
// secrets: the first to come leaves a proof of its key, which every other must be able
// to open, and one that seals with a newer key renews it, so that a node without that
// key starts no more. The error is ErrOtherSecret for a key that is none of theirs. On
// one machine there is nobody to agree with.
func (db *DB) AgreeOnSecret(ctx context.Context, s *Sealer) error {
	if !db.Shared() {
		return nil
	}
	err := db.Write(ctx, func(tx *Tx) error {
		var proof string
		err := tx.QueryRowContext(ctx, "SELECT value FROM cluster WHERE name = $1", secretProof).Scan(&proof)
		if err != nil && !IsNoRows(err) {
			return err
		}
		if proof != "" {
			if _, err := s.Open(secretProof, proof); err != nil {
				return fmt.Errorf("%w (%w)", ErrOtherSecret, err)
			}
			if s.isNewest(proof) {
				return nil
			}
		}
		_, err = tx.ExecContext(ctx, `
			INSERT INTO cluster (name, value) VALUES ($1, $2) ON CONFLICT (name) DO UPDATE SET value = excluded.value`,
			secretProof, s.Seal(secretProof, nil))
		return err
	})
	if err != nil {
		return fmt.Errorf("database %s: %w", db.name, err)
	}
	return nil
}
