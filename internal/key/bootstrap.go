package key

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/m3o/ingress/internal/api"
	"github.com/m3o/ingress/internal/store"
)

// defaultTenant is the name of the tenant that the bootstrap key belongs to.
const defaultTenant = "default"

// minBootstrapChars is the least a bootstrap key may have. It may be guessed at
// as fast as the network allows, since no rate limit knows an unknown key.
const minBootstrapChars = 20

// bootstrapScopes is everything.
var bootstrapScopes = []string{api.ScopeAll, api.ScopeOperator, api.ScopeBackend, api.ScopeResolve}

// Bootstrap says which bootstrap key is in force. Printing or logging it does
// not show the secret.
type Bootstrap struct {
	// Secret is the key itself, for a terminal at the first start.
	Secret string
	// File is where the key is kept, or empty when it was given by the operator.
	File string
	// Generated is set when the key was made just now.
	Generated bool
	// Revoked is set when the key was revoked through the API: it does not work,
	// and was not brought back. Another one must be given, or File removed so that
	// a new one is made.
	Revoked bool
	// Elsewhere is set when another node on the same database has made the key that
	// is in force, and keeps it. Secret and File are empty then.
	Elsewhere bool
}

// String describes the bootstrap key without showing it.
func (b Bootstrap) String() string {
	return fmt.Sprintf("bootstrap key (file %q, generated %t, revoked %t)", b.File, b.Generated, b.Revoked)
}

// GoString is String, for the verb %#v.
func (b Bootstrap) GoString() string { return b.String() }

// LogValue keeps the secret out of logs.
func (b Bootstrap) LogValue() slog.Value {
	return slog.GroupValue(slog.String("file", b.File), slog.Bool("generated", b.Generated), slog.Bool("revoked", b.Revoked))
}

// EnsureBootstrap makes sure that the bootstrap key exists, with all scopes, in
// the tenant "default", which it makes at the first start. The key is the one
// given, of any format but at least 20 characters; when that is empty, the one
// in the file, which is made with a new key when it is not there.
//
// A key that differs from the one of the last start replaces it; a given one also
// replaces the file. One that was revoked through the API stays revoked. On a database
// of several nodes only a given key replaces another: of those that nodes make for
// themselves the first stays. To be called once, before the first Authenticate.
func (s *Service) EnsureBootstrap(ctx context.Context, given, file string) (Bootstrap, error) {
	b := Bootstrap{Secret: strings.TrimSpace(given)}
	yields := b.Secret == "" && s.keys.db.Shared()
	if yields && !exists(file) {
		h, there, err := otherBootstrap(ctx, s.keys.db, hash{})
		if err != nil {
			return Bootstrap{}, err
		}
		if there {
			s.bootstrap.Store(&h)
			return Bootstrap{Elsewhere: true}, nil
		}
	}
	if b.Secret == "" {
		var err error
		if b, err = readOrMake(file); err != nil {
			return Bootstrap{}, err
		}
	}
	if err := CheckBootstrap(b.Secret); err != nil {
		if b.File != "" {
			err = fmt.Errorf("%s: %w", b.File, err)
		}
		return Bootstrap{}, err
	}
	ours := hashOf(b.Secret)
	inForce := ours
	err := s.keys.db.Write(ctx, func(tx *store.Tx) (err error) {
		inForce = ours
		if yields {
			if other, there, err := otherBootstrap(ctx, tx, ours); err != nil || there {
				inForce = other
				return err
			}
		}
		b.Revoked, err = s.putBootstrap(ctx, tx, ours)
		return err
	})
	if err != nil {
		return Bootstrap{}, fmt.Errorf("store the bootstrap key: %w", err)
	}
	s.bootstrap.Store(&inForce)
	switch {
	case inForce != ours && b.Generated: // another node was quicker
		return Bootstrap{Elsewhere: true}, os.Remove(file)
	case inForce != ours:
		return Bootstrap{Elsewhere: true}, nil
	case b.File == "":
		err = dropFormerFile(file, b.Secret)
	}
	return b, err
}

// rereadBootstrap learns of the bootstrap key that another node was started with in
// place of the one in force, which may have any format: the edge must not pass it on. A
// key that was revoked stays known for that reason.
func (s *Service) rereadBootstrap(ctx context.Context) error {
	h, there, err := otherBootstrap(ctx, s.keys.db, hash{})
	if there {
		s.bootstrap.Store(&h)
	}
	return err
}

func exists(file string) bool {
	_, err := os.Stat(file)
	return err == nil
}

// otherBootstrap returns the hash of a bootstrap key that is not the one given, if
// there is one.
func otherBootstrap(ctx context.Context, q store.Querier, than hash) (other hash, there bool, err error) {
	var h []byte
	err = q.QueryRowContext(ctx, "SELECT hash FROM keys WHERE bootstrap AND hash <> $1", than[:]).Scan(&h)
	if store.IsNoRows(err) {
		return hash{}, false, nil
	}
	if err != nil {
		return hash{}, false, fmt.Errorf("look up the bootstrap key: %w", err)
	}
	return hash(h), true, nil
}

// dropFormerFile removes a generated key that a given one has replaced. Left
// there it would mislead whoever looks for the key, and come back to life with
// the first start without a given one.
func dropFormerFile(file, given string) error {
	content, err := os.ReadFile(file)
	if errors.Is(err, fs.ErrNotExist) || err == nil && strings.TrimSpace(string(content)) == given {
		return nil
	}
	if err == nil {
		err = os.Remove(file)
	}
	if err != nil {
		return fmt.Errorf("remove the replaced bootstrap key: %w", err)
	}
	return nil
}

// readOrMake returns the key in the file, which it makes when it is missing.
func readOrMake(file string) (Bootstrap, error) {
	content, err := os.ReadFile(file)
	if err == nil {
		return Bootstrap{Secret: strings.TrimSpace(string(content)), File: file}, nil
	}
	if !errors.Is(err, fs.ErrNotExist) {
		return Bootstrap{}, fmt.Errorf("read the bootstrap key: %w", err)
	}
	b := Bootstrap{Secret: newSecret(), File: file, Generated: true}
	if err := store.WriteFile(file, []byte(b.Secret+"\n")); err != nil {
		return Bootstrap{}, fmt.Errorf("keep the bootstrap key: %w", err)
	}
	return b, nil
}

// CheckBootstrap returns an error for a bootstrap key that is easy to guess, and
// for one that no header can carry. The error does not show it.
func CheckBootstrap(secret string) error {
	if !utf8.ValidString(secret) || strings.ContainsFunc(secret, unicode.IsControl) {
		return errors.New("the bootstrap key must be one line of text")
	}
	if utf8.RuneCountInString(secret) < minBootstrapChars {
		return fmt.Errorf("the bootstrap key must have at least %d characters", minBootstrapChars)
	}
	return nil
}

// putBootstrap makes the key with this hash the only bootstrap key, unless it
// was revoked.
func (s *Service) putBootstrap(ctx context.Context, tx *store.Tx, h hash) (revoked bool, err error) {
	tenant, err := s.ensureTenant(ctx, tx)
	if err != nil {
		return false, err
	}
	if err := dropOtherBootstraps(ctx, tx, h); err != nil {
		return false, err
	}
	var times int
	if err := tx.QueryRowContext(ctx, "SELECT COUNT(*) FROM revoked_bootstrap_keys WHERE hash = $1", h[:]).Scan(&times); err != nil {
		return false, fmt.Errorf("look up revoked keys: %w", err)
	}
	if times > 0 {
		return true, nil
	}
	there, err := bootstrapStored(ctx, tx, h)
	if err != nil || there {
		return false, err
	}
	return false, insert(ctx, tx, key{
		id: newKeyID(), tenant: tenant, scopes: bootstrapScopes,
		description: "bootstrap key", bootstrap: true, created: s.now(),
	}, h)
}

// ensureTenant returns the id of the tenant "default", made if need be.
func (s *Service) ensureTenant(ctx context.Context, tx *store.Tx) (string, error) {
	if _, err := insertTenant(ctx, tx, tenant{id: newTenantID(), name: defaultTenant, created: s.now()}); err != nil {
		return "", err
	}
	return tenantID(ctx, tx, defaultTenant)
}

// dropOtherBootstraps deletes the bootstrap keys of earlier starts.
func dropOtherBootstraps(ctx context.Context, tx *store.Tx, h hash) error {
	rows, err := tx.QueryContext(ctx, "DELETE FROM keys WHERE bootstrap AND hash <> $1 RETURNING id", h[:])
	if err != nil {
		return fmt.Errorf("drop the former bootstrap key: %w", err)
	}
	defer rows.Close()
	var ids []string
	for rows.Next() {
		var id string
		if err := rows.Scan(&id); err != nil {
			return fmt.Errorf("drop the former bootstrap key: %w", err)
		}
		ids = append(ids, id)
	}
	if err := rows.Err(); err != nil {
		return fmt.Errorf("drop the former bootstrap key: %w", err)
	}
	for _, id := range ids {
		if err := tx.Changed(ctx, "key", id); err != nil {
			return err
		}
	}
	return nil
}

// bootstrapStored reports whether the bootstrap key is already there. A key
// that somebody made through the API cannot become the bootstrap key: its
// tenant and its scopes would change under its users.
func bootstrapStored(ctx context.Context, tx *store.Tx, h hash) (bool, error) {
	var bootstrap bool
	err := tx.QueryRowContext(ctx, "SELECT bootstrap FROM keys WHERE hash = $1", h[:]).Scan(&bootstrap)
	if store.IsNoRows(err) {
		return false, nil
	}
	if err != nil {
		return false, fmt.Errorf("look up the bootstrap key: %w", err)
	}
	if !bootstrap {
		return false, errors.New("it is already a key made through the API; give another one")
	}
	return true, nil
}
