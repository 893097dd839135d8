package user

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"time"

	"github.com/m3o/ingress/internal/store"
)

// What the repository says about names. The methods turn these into the errors
// of the contract.
var (
	errIDTaken       = errors.New("the id is taken")
	errEmailTaken    = errors.New("the e-mail address is taken")
	errUsernameTaken = errors.New("the username is taken")
	errNotFound      = errors.New("not found")
)

// repository holds the queries of this package. Each carries the tenant, but for
// those of mailed tokens, which are found by their hash because the visitor who
// brings one has no tenant.
type repository struct {
	db *store.DB
}

const accountColumns = "tenant, id, username, email, password, profile, created, updated, verified"

// createAccount stores a new account, or returns which of its names is taken.
func (r repository) createAccount(ctx context.Context, a account) error {
	profile, err := json.Marshal(a.profile)
	if err != nil {
		return fmt.Errorf("store an account: %w", err)
	}
	err = r.db.Write(ctx, func(tx *store.Tx) error {
		_, err := tx.ExecContext(ctx, "INSERT INTO accounts ("+accountColumns+") VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)",
			a.tenant, a.id, nullString(a.username), a.email, a.password, string(profile),
			a.created.UnixNano(), a.updated.UnixNano(), nanosOrZero(a.verified))
		return err
	})
	if store.IsConflict(err) {
		if taken := r.taken(ctx, a); taken != nil {
			return taken
		}
	}
	if err != nil {
		return fmt.Errorf("store an account: %w", err)
	}
	return nil
}

// taken says which name of a new account another one holds, in the order in
// which the original checks them, or returns nil.
func (r repository) taken(ctx context.Context, a account) error {
	for _, name := range []struct {
		column, value string
		taken         error
	}{
		{"id", a.id, errIDTaken},
		{"email", a.email, errEmailTaken},
		{"username", a.username, errUsernameTaken},
	} {
		_, err := r.findAccount(ctx, a.tenant, name.column, name.value)
		if err == nil {
			return name.taken
		}
		if !errors.Is(err, errNotFound) {
			return err
		}
	}
	return nil
}

func (r repository) accountByID(ctx context.Context, tenant, id string) (account, error) {
	if isNoID(id) {
		return account{}, errNotFound
	}
	return r.findAccount(ctx, tenant, "id", id)
}

// isNoID reports whether an id, as callers send them, is one that no account can have. A
// change is announced by its id, which every node reads again and again.
func isNoID(id string) bool { return len(id) > maxIDBytes || !store.IsText(id) }

func (r repository) accountByEmail(ctx context.Context, tenant, email string) (account, error) {
	return r.findAccount(ctx, tenant, "email", email)
}

func (r repository) accountByUsername(ctx context.Context, tenant, username string) (account, error) {
	return r.findAccount(ctx, tenant, "username", username)
}

// findAccount returns the account with this value in a column, which is one of
// the three names, or errNotFound.
func (r repository) findAccount(ctx context.Context, tenant, column, value string) (account, error) {
	row := r.db.QueryRowContext(ctx, "SELECT "+accountColumns+" FROM accounts WHERE tenant = $1 AND "+column+" = $2", tenant, value)
	a, err := scanAccount(row.Scan)
	if store.IsNoRows(err) {
		return account{}, errNotFound
	}
	if err != nil {
		return account{}, fmt.Errorf("read an account: %w", err)
	}
	return a, nil
}

func scanAccount(scan func(...any) error) (account, error) {
	var a account
	var username sql.NullString
	var profile string
	var created, updated, verified int64
	if err := scan(&a.tenant, &a.id, &username, &a.email, &a.password, &profile, &created, &updated, &verified); err != nil {
		return account{}, err
	}
	a.username = username.String
	a.created, a.updated = time.Unix(0, created), time.Unix(0, updated)
	if verified != 0 {
		a.verified = time.Unix(0, verified)
	}
	return a, json.Unmarshal([]byte(profile), &a.profile)
}

// place is where an account stands in its tenant's list: behind older ones and,
// of those made at one time, behind smaller ids.
type place struct {
	created int64 // Unix nanoseconds
	id      string
}

// theFirst is before every account.
func theFirst() place { return place{created: math.MinInt64} }

func (a account) place() place { return place{a.created.UnixNano(), a.id} }

// page is a part of a list: limit accounts after a place, without the first
// offset of them.
type page struct {
	after         place
	offset, limit int64
}

// listAccounts returns a page of a tenant's accounts, the oldest first.
func (r repository) listAccounts(ctx context.Context, tenant string, p page) ([]account, error) {
	rows, err := r.db.QueryContext(ctx, "SELECT "+accountColumns+` FROM accounts
		WHERE tenant = $1 AND (created, id) > ($2, $3) ORDER BY created, id LIMIT $4 OFFSET $5`,
		tenant, p.after.created, p.after.id, p.limit, p.offset)
	if err != nil {
		return nil, fmt.Errorf("list accounts: %w", err)
	}
	defer rows.Close()
	var accounts []account
	for rows.Next() {
		a, err := scanAccount(rows.Scan)
		if err != nil {
			return nil, fmt.Errorf("list accounts: %w", err)
		}
		accounts = append(accounts, a)
	}
	if err := rows.Err(); err != nil {
		return nil, fmt.Errorf("list accounts: %w", err)
	}
	return accounts, nil
}

// accountChange is what an update changes; nil fields stay.
type accountChange struct {
	username *string
	email    *string
	profile  map[string]string
}

// updateAccount applies a change, or returns errNotFound or which name is taken.
// A new address is unverified, and what was mailed to the old one no longer
// logs in or resets anything.
func (r repository) updateAccount(ctx context.Context, tenant, id string, change accountChange, now time.Time) error {
	if isNoID(id) {
		return errNotFound
	}
	var wanted account
	err := r.db.Write(ctx, func(tx *store.Tx) error {
		row := tx.QueryRowContext(ctx, "SELECT "+accountColumns+" FROM accounts WHERE tenant = $1 AND id = $2", tenant, id)
		a, err := scanAccount(row.Scan)
		if store.IsNoRows(err) {
			return errNotFound
		}
		if err != nil {
			return err
		}
		if change.email != nil && *change.email != a.email {
			if err := dropMailed(ctx, tx, tenant, id); err != nil {
				return err
			}
		}
		wanted = change.apply(a)
		if err := saveAccount(ctx, tx, wanted, now); err != nil {
			return err
		}
		return r.accountChanged(ctx, tx, tenant, id)
	})
	switch {
	case errors.Is(err, errNotFound):
		return errNotFound
	case store.IsConflict(err):
		if taken := r.takenByOther(ctx, wanted); taken != nil {
			return taken
		}
	}
	if err != nil {
		return fmt.Errorf("update an account: %w", err)
	}
	return nil
}

func (c accountChange) apply(a account) account {
	if c.username != nil {
		a.username = *c.username
	}
	if c.email != nil && *c.email != a.email {
		a.email, a.verified = *c.email, time.Time{}
	}
	if c.profile != nil {
		a.profile = c.profile
	}
	return a
}

func saveAccount(ctx context.Context, tx *store.Tx, a account, now time.Time) error {
	profile, err := json.Marshal(a.profile)
	if err != nil {
		return err
	}
	_, err = tx.ExecContext(ctx, `
		UPDATE accounts SET username = $1, email = $2, profile = $3, verified = $4, updated = $5
		WHERE tenant = $6 AND id = $7`,
		nullString(a.username), a.email, string(profile), nanosOrZero(a.verified), now.UnixNano(), a.tenant, a.id)
	return err
}

// takenByOther says which name of a is held by an account other than a itself,
// or returns nil.
func (r repository) takenByOther(ctx context.Context, a account) error {
	for _, name := range []struct {
		column, value string
		taken         error
	}{
		{"email", a.email, errEmailTaken},
		{"username", a.username, errUsernameTaken},
	} {
		other, err := r.findAccount(ctx, a.tenant, name.column, name.value)
		if err == nil && other.id != a.id {
			return name.taken
		}
		if err != nil && !errors.Is(err, errNotFound) {
			return err
		}
	}
	return nil
}

// deleteAccount removes an account with its sessions, codes and login tokens;
// removing one that is not there succeeds. Of its verification links only where
// they lead is kept, with nothing that says whose they were.
func (r repository) deleteAccount(ctx context.Context, tenant, id string) error {
	if isNoID(id) {
		return nil
	}
	err := r.db.Write(ctx, func(tx *store.Tx) error {
		if _, err := tx.ExecContext(ctx, "UPDATE verifications SET account = '', email = '' WHERE tenant = $1 AND account = $2", tenant, id); err != nil {
			return err
		}
		if _, err := tx.ExecContext(ctx, "DELETE FROM accounts WHERE tenant = $1 AND id = $2", tenant, id); err != nil {
			return err
		}
		return r.accountChanged(ctx, tx, tenant, id)
	})
	if err != nil {
		return fmt.Errorf("delete an account: %w", err)
	}
	return nil
}

// renewPassword replaces a hash by another of the same password, unless it has
// been replaced meanwhile. Nothing else changes.
func (r repository) renewPassword(ctx context.Context, a account, hash string) error {
	err := r.db.Write(ctx, func(tx *store.Tx) error {
		_, err := tx.ExecContext(ctx, "UPDATE accounts SET password = $1 WHERE tenant = $2 AND id = $3 AND password = $4",
			hash, a.tenant, a.id, a.password)
		return err
	})
	if err != nil {
		return fmt.Errorf("renew a password hash: %w", err)
	}
	return nil
}

// changePassword replaces a password, ends every session of the account and
// voids what was mailed to it. It returns errNotFound when the password is no
// longer the one in a: another change came first.
func (r repository) changePassword(ctx context.Context, a account, hash string, now time.Time) error {
	err := r.db.Write(ctx, func(tx *store.Tx) error {
		result, err := tx.ExecContext(ctx, "UPDATE accounts SET password = $1, updated = $2 WHERE tenant = $3 AND id = $4 AND password = $5",
			hash, now.UnixNano(), a.tenant, a.id, a.password)
		if err := oneRow(result, err); err != nil {
			return err
		}
		return r.dropAccess(ctx, tx, a.tenant, a.id)
	})
	if err != nil && !errors.Is(err, errNotFound) {
		return fmt.Errorf("change a password: %w", err)
	}
	return err
}

// dropAccess ends an account's sessions and voids what was mailed to it.
func (r repository) dropAccess(ctx context.Context, tx *store.Tx, tenant, id string) error {
	if _, err := tx.ExecContext(ctx, "DELETE FROM sessions WHERE tenant = $1 AND account = $2", tenant, id); err != nil {
		return err
	}
	if err := r.accountChanged(ctx, tx, tenant, id); err != nil {
		return err
	}
	return dropMailed(ctx, tx, tenant, id)
}

// dropMailed voids magic links and reset codes.
func dropMailed(ctx context.Context, tx *store.Tx, tenant, id string) error {
	if _, err := tx.ExecContext(ctx, "DELETE FROM login_tokens WHERE tenant = $1 AND account = $2", tenant, id); err != nil {
		return err
	}
	_, err := tx.ExecContext(ctx, "DELETE FROM reset_codes WHERE tenant = $1 AND account = $2", tenant, id)
	return err
}

// oneRow returns errNotFound when a statement changed no row.
func oneRow(result sql.Result, err error) error {
	if err != nil {
		return err
	}
	n, err := result.RowsAffected()
	if err == nil && n == 0 {
		return errNotFound
	}
	return err
}

func nullString(s string) sql.NullString { return sql.NullString{String: s, Valid: s != ""} }

func nanosOrZero(t time.Time) int64 {
	if t.IsZero() {
		return 0
	}
	return t.UnixNano()
}
