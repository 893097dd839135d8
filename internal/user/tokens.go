package user

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/m3o/ingress/internal/store"
)

// verification is a mailed link that verifies an address.
type verification struct {
	tenant           string
	account          string // empty when it was deleted
	email            string
	success, failure string // where the link leads
	expires          time.Time
	forget           time.Time
}

// maxAttempts is how often a reset code may be tried.
const maxAttempts = 5

func (r repository) addVerification(ctx context.Context, token string, v verification) error {
	return r.exec(ctx, "store a verification", `
		INSERT INTO verifications (hash, tenant, account, email, success, failure, expires, forget)
		VALUES ($1, $2, $3, $4, $5, $6, $7, $8)`,
		hashSecret(token), v.tenant, v.account, v.email, v.success, v.failure, v.expires.UnixNano(), v.forget.UnixNano())
}

// dropVerification voids a token whose mail was not sent.
func (r repository) dropVerification(ctx context.Context, token string) error {
	return r.exec(ctx, "drop a verification", "DELETE FROM verifications WHERE hash = $1", hashSecret(token))
}

// findVerification returns what is known of a token, expired or not, or
// errNotFound.
func (r repository) findVerification(ctx context.Context, token string, now time.Time) (verification, error) {
	var v verification
	var expires, forget int64
	err := r.db.QueryRowContext(ctx, `
		SELECT tenant, account, email, success, failure, expires, forget FROM verifications
		WHERE hash = $1 AND forget > $2`, hashSecret(token), now.UnixNano()).
		Scan(&v.tenant, &v.account, &v.email, &v.success, &v.failure, &expires, &forget)
	if store.IsNoRows(err) {
		return verification{}, errNotFound
	}
	if err != nil {
		return verification{}, fmt.Errorf("read a verification: %w", err)
	}
	v.expires, v.forget = time.Unix(0, expires), time.Unix(0, forget)
	return v, nil
}

// markVerified marks the address as verified if it is still the account's, and
// keeps the date of the first time. It returns errNotFound when the account is
// gone or has another address now.
func (r repository) markVerified(ctx context.Context, v verification, now time.Time) error {
	a, err := r.accountByID(ctx, v.tenant, v.account)
	if err != nil {
		return err
	}
	if a.email != v.email {
		return errNotFound
	}
	if !a.verified.IsZero() {
		return nil // mail scanners open links again and again; they cost no write
	}
	err = r.db.Write(ctx, func(tx *store.Tx) error {
		result, err := tx.ExecContext(ctx, `
			UPDATE accounts SET verified = CASE verified WHEN 0 THEN $1 ELSE verified END, updated = $1
			WHERE tenant = $2 AND id = $3 AND email = $4`,
			now.UnixNano(), v.tenant, v.account, v.email)
		return oneRow(result, err)
	})
	return wrapUnlessNotFound("mark an address as verified", err)
}

// addLoginToken stores the token of a magic link, or returns errNotFound when the
// account is gone or has another address now.
func (r repository) addLoginToken(ctx context.Context, a account, token string, expires, forget time.Time) error {
	return r.addMailed(ctx, "store a login token", a, `
		INSERT INTO login_tokens (hash, tenant, account, expires, forget) VALUES ($1, $2, $3, $4, $5)`,
		hashSecret(token), a.tenant, a.id, expires.UnixNano(), forget.UnixNano())
}

// addMailed runs a statement that stores what is mailed to the account's address, unless
// that is no longer the account's: the change has voided what was mailed before.
func (r repository) addMailed(ctx context.Context, what string, a account, query string, args ...any) error {
	err := r.db.Write(ctx, func(tx *store.Tx) error {
		var address string
		err := tx.QueryRowContext(ctx, "SELECT email FROM accounts WHERE tenant = $1 AND id = $2", a.tenant, a.id).Scan(&address)
		if store.IsNoRows(err) || err == nil && address != a.email {
			return errNotFound
		}
		if err != nil {
			return err
		}
		_, err = tx.ExecContext(ctx, query, args...)
		return err
	})
	return wrapUnlessNotFound(what, err)
}

// dropLoginToken voids a token whose mail was not sent.
func (r repository) dropLoginToken(ctx context.Context, tenant, token string) error {
	return r.exec(ctx, "drop a login token", "DELETE FROM login_tokens WHERE tenant = $1 AND hash = $2", tenant, hashSecret(token))
}

// errExpired says that a token was good once.
var errExpired = errors.New("expired")

// redeemLoginToken uses up a token and opens s, whose account it fills in, in
// one transaction: a token opens one session however many bring it at once. It
// returns errNotFound or errExpired for a token that is not good.
func (r repository) redeemLoginToken(ctx context.Context, token string, s session) (session, error) {
	err := r.db.Write(ctx, func(tx *store.Tx) error {
		var expires int64
		err := tx.QueryRowContext(ctx, "SELECT account, expires FROM login_tokens WHERE tenant = $1 AND hash = $2",
			s.tenant, hashSecret(token)).Scan(&s.account, &expires)
		if store.IsNoRows(err) {
			return errNotFound
		}
		if err != nil {
			return err
		}
		if expires <= s.created.UnixNano() {
			return errExpired
		}
		result, err := tx.ExecContext(ctx, "DELETE FROM login_tokens WHERE tenant = $1 AND hash = $2", s.tenant, hashSecret(token))
		if err := oneRow(result, err); err != nil {
			return err
		}
		return r.insertSession(ctx, tx, s)
	})
	if errors.Is(err, errExpired) {
		return session{}, errExpired
	}
	if err != nil {
		return session{}, wrapUnlessNotFound("redeem a login token", err)
	}
	return s, nil
}

// setResetCode stores the hash of a reset code in place of an earlier one, or returns
// errNotFound when the account is gone or has another address now.
func (r repository) setResetCode(ctx context.Context, a account, hash string, expires time.Time) error {
	return r.addMailed(ctx, "store a reset code", a, `
		INSERT INTO reset_codes (tenant, account, code, attempts, expires) VALUES ($1, $2, $3, 0, $4)
		ON CONFLICT (tenant, account) DO UPDATE
		SET code = excluded.code, attempts = 0, expires = excluded.expires`,
		a.tenant, a.id, hash, expires.UnixNano())
}

// dropResetCode voids a code whose mail was not sent.
func (r repository) dropResetCode(ctx context.Context, a account, hash string) error {
	return r.exec(ctx, "drop a reset code", "DELETE FROM reset_codes WHERE tenant = $1 AND account = $2 AND code = $3", a.tenant, a.id, hash)
}

// claimAttempt uses up one attempt at an account's reset code and returns the
// code's hash, or errNotFound when there is no live code with attempts left. The
// attempt is counted before it is judged, so that many at once are no way around
// the limit.
func (r repository) claimAttempt(ctx context.Context, a account, now time.Time) (string, error) {
	var hash string
	err := r.db.Write(ctx, func(tx *store.Tx) error {
		return tx.QueryRowContext(ctx, `
			UPDATE reset_codes SET attempts = attempts + 1
			WHERE tenant = $1 AND account = $2 AND attempts < $3 AND expires > $4
			RETURNING code`, a.tenant, a.id, maxAttempts, now.UnixNano()).Scan(&hash)
	})
	if store.IsNoRows(err) {
		return "", errNotFound
	}
	if err != nil {
		return "", fmt.Errorf("check a reset code: %w", err)
	}
	return hash, nil
}

// resetPassword uses up the code with this hash, replaces the password, and ends
// all access opened before. It returns errNotFound when the code has been used
// meanwhile: one wins.
func (r repository) resetPassword(ctx context.Context, a account, code, hash string, now time.Time) error {
	err := r.db.Write(ctx, func(tx *store.Tx) error {
		result, err := tx.ExecContext(ctx, "DELETE FROM reset_codes WHERE tenant = $1 AND account = $2 AND code = $3", a.tenant, a.id, code)
		if err := oneRow(result, err); err != nil {
			return err
		}
		result, err = tx.ExecContext(ctx, "UPDATE accounts SET password = $1, updated = $2 WHERE tenant = $3 AND id = $4",
			hash, now.UnixNano(), a.tenant, a.id)
		if err := oneRow(result, err); err != nil {
			return err
		}
		return r.dropAccess(ctx, tx, a.tenant, a.id)
	})
	return wrapUnlessNotFound("reset a password", err)
}

// prune removes what has had its time, and returns how many rows went.
func (r repository) prune(ctx context.Context, now time.Time) (int64, error) {
	var total int64
	for _, query := range []string{
		"DELETE FROM sessions WHERE hash IN (SELECT hash FROM sessions WHERE expires <= $1 LIMIT $2)",
		"DELETE FROM verifications WHERE hash IN (SELECT hash FROM verifications WHERE forget <= $1 LIMIT $2)",
		"DELETE FROM login_tokens WHERE hash IN (SELECT hash FROM login_tokens WHERE forget <= $1 LIMIT $2)",
		"DELETE FROM reset_codes WHERE (tenant, account) IN (SELECT tenant, account FROM reset_codes WHERE expires <= $1 LIMIT $2)",
	} {
		n, err := r.db.Prune(ctx, query, now.UnixNano())
		total += n
		if err != nil {
			return total, fmt.Errorf("remove what has expired: %w", err)
		}
	}
	return total, nil
}

// wrapUnlessNotFound says what failed, but leaves errNotFound and success as
// they are.
func wrapUnlessNotFound(what string, err error) error {
	if err == nil || errors.Is(err, errNotFound) {
		return err
	}
	return fmt.Errorf("%s: %w", what, err)
}
