package user

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"time"

	"github.com/m3o/ingress/internal/store"
	userpb "github.com/m3o/ingress/proto/user"
)

// session is a login that lasts. The id is the secret; it is known only when the
// session is opened or brought along.
type session struct {
	id      string
	tenant  string
	account string
	created time.Time
	expires time.Time
}

// maxSessions is how many sessions one account has at once; opening one more
// ends the oldest.
const maxSessions = 100

// message returns the session as the contract shows it.
func (s session) message() *userpb.Session {
	return &userpb.Session{Id: s.id, UserId: s.account, Created: s.created.Unix(), Expires: s.expires.Unix()}
}

// newSecret returns 256 random bits in URL-safe letters.
func newSecret() string {
	var bits [32]byte
	rand.Read(bits[:]) // never fails (crypto/rand)
	return base64.RawURLEncoding.EncodeToString(bits[:])
}

// hashSecret is what is stored of a session id or token. They are random, so
// that a plain hash cannot be guessed from.
func hashSecret(secret string) string {
	sum := sha256.Sum256([]byte(secret))
	return hex.EncodeToString(sum[:])
}

// openSession stores a session for an account, or returns errNotFound when the
// account has gone or its password is no longer the one with this hash: the change has
// ended the sessions that there were, and this one would outlast it.
func (r repository) openSession(ctx context.Context, s session, password string) error {
	err := r.db.Write(ctx, func(tx *store.Tx) error {
		var now string
		err := tx.QueryRowContext(ctx, "SELECT password FROM accounts WHERE tenant = $1 AND id = $2", s.tenant, s.account).Scan(&now)
		if store.IsNoRows(err) || err == nil && now != password {
			return errNotFound
		}
		if err != nil {
			return err
		}
		return r.insertSession(ctx, tx, s)
	})
	if err != nil {
		return wrapUnlessNotFound("open a session", err)
	}
	return nil
}

func (r repository) insertSession(ctx context.Context, tx *store.Tx, s session) error {
	result, err := tx.ExecContext(ctx, `
		INSERT INTO sessions (hash, tenant, account, created, expires)
		SELECT CAST($1 AS TEXT), tenant, id, CAST($2 AS BIGINT), CAST($3 AS BIGINT)
		FROM accounts WHERE tenant = $4 AND id = $5`,
		hashSecret(s.id), s.created.UnixNano(), s.expires.UnixNano(), s.tenant, s.account)
	if err := oneRow(result, err); err != nil {
		return err
	}
	// The new one stays whatever its time: another node's clock may be ahead.
	result, err = tx.ExecContext(ctx, `
		DELETE FROM sessions WHERE tenant = $1 AND account = $2 AND hash <> $3 AND hash NOT IN (
			SELECT hash FROM sessions WHERE tenant = $1 AND account = $2 AND hash <> $3
			ORDER BY created DESC, hash LIMIT $4)`,
		s.tenant, s.account, hashSecret(s.id), maxSessions-1)
	if err != nil {
		return err
	}
	if ended, err := result.RowsAffected(); err != nil || ended == 0 {
		return err
	}
	return r.accountChanged(ctx, tx, s.tenant, s.account)
}

// readSession returns a live session with its account, or errNotFound.
func (r repository) readSession(ctx context.Context, tenant, id string, now time.Time) (session, account, error) {
	s := session{id: id, tenant: tenant}
	var created, expires int64
	err := r.db.QueryRowContext(ctx, "SELECT account, created, expires FROM sessions WHERE tenant = $1 AND hash = $2 AND expires > $3",
		tenant, hashSecret(id), now.UnixNano()).Scan(&s.account, &created, &expires)
	if store.IsNoRows(err) {
		return session{}, account{}, errNotFound
	}
	if err != nil {
		return session{}, account{}, fmt.Errorf("read a session: %w", err)
	}
	s.created, s.expires = time.Unix(0, created), time.Unix(0, expires)
	a, err := r.accountByID(ctx, tenant, s.account)
	return s, a, err
}

// endSession ends a session; ending one that is not there succeeds.
func (r repository) endSession(ctx context.Context, tenant, id string) error {
	err := r.db.Write(ctx, func(tx *store.Tx) error {
		var account string
		err := tx.QueryRowContext(ctx, "DELETE FROM sessions WHERE tenant = $1 AND hash = $2 RETURNING account", tenant, hashSecret(id)).Scan(&account)
		if store.IsNoRows(err) {
			return nil
		}
		if err != nil {
			return err
		}
		return r.accountChanged(ctx, tx, tenant, account)
	})
	if err != nil {
		return fmt.Errorf("end a session: %w", err)
	}
	return nil
}

// endSessions ends every session of an account.
func (r repository) endSessions(ctx context.Context, tenant, account string) error {
	if isNoID(account) {
		return nil
	}
	err := r.db.Write(ctx, func(tx *store.Tx) error {
		if _, err := tx.ExecContext(ctx, "DELETE FROM sessions WHERE tenant = $1 AND account = $2", tenant, account); err != nil {
			return err
		}
		return r.accountChanged(ctx, tx, tenant, account)
	})
	if err != nil {
		return fmt.Errorf("end sessions: %w", err)
	}
	return nil
}

// exec runs one statement in a transaction of its own.
func (r repository) exec(ctx context.Context, what, query string, args ...any) error {
	err := r.db.Write(ctx, func(tx *store.Tx) error {
		_, err := tx.ExecContext(ctx, query, args...)
		return err
	})
	if err != nil {
		return fmt.Errorf("%s: %w", what, err)
	}
	return nil
}
