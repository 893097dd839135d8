package workload

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/m3o/ingress/internal/api"
	"github.com/m3o/ingress/internal/store"
	"golang.org/x/crypto/ssh"
)

// Bounds of credentials: how many a tenant may have, and bytes of one.
const (
	maxCredentials = 100
	maxPassword    = 4 << 10
	maxUsername    = 256
	maxSSHKey      = 32 << 10
	maxKnownHosts  = 32 << 10
)

// Credential is what a tenant's repositories on one host are fetched with. All of
// it but the host is sealed in the store. Apps and functions share it.
type Credential struct {
	// Host is the name of the git server, without a port.
	Host string `json:"-"`
	// Username and Password are for https; the password may be a token.
	Username string `json:"username,omitempty"`
	Password string `json:"password,omitempty"`
	// SSHKey is an unencrypted private key in PEM form, KnownHosts the host's
	// public keys as in a known_hosts file.
	SSHKey     string `json:"ssh_key,omitempty"`
	KnownHosts string `json:"known_hosts,omitempty"`
	// Updated is when it was set last, UTC; only Credentials knows it.
	Updated time.Time `json:"-"`
}

func (c Credential) check() error {
	switch {
	case !validHost(c.Host):
		return invalid("host", "it must be the name or address of a git server, without a scheme and port")
	case len(c.Username) > maxUsername || !utf8.ValidString(c.Username) || strings.IndexFunc(c.Username, isControl) >= 0:
		return invalid("username", "it is too long or holds what no name does")
	case len(c.Password) > maxPassword || !utf8.ValidString(c.Password) || strings.IndexFunc(c.Password, isControl) >= 0:
		return invalid("password", "it is too long or holds control characters")
	case len(c.KnownHosts) > maxKnownHosts || !utf8.ValidString(c.KnownHosts) || strings.ContainsRune(c.KnownHosts, 0):
		return invalid("known_hosts", "it is no known_hosts file of at most %d bytes", maxKnownHosts)
	case c.Password == "" && c.SSHKey == "" && c.KnownHosts == "":
		return invalid("credential", "there is neither a password nor a key in it")
	}
	if err := checkKnownHosts(c.KnownHosts); err != nil {
		return err
	}
	return checkSSHKey(c.SSHKey)
}

// checkSSHKey returns an *InvalidError, which does not show the key, unless key
// is empty, kept, or usable without a passphrase.
func checkSSHKey(key string) error {
	if key == "" || key == Hidden {
		return nil
	}
	if len(key) > maxSSHKey {
		return invalid("ssh_key", "it has %d bytes and at most %d are allowed", len(key), maxSSHKey)
	}
	if _, err := ssh.ParsePrivateKey([]byte(key)); err != nil {
		return invalid("ssh_key", "it must be a private key in PEM form without a passphrase")
	}
	return nil
}

// checkKnownHosts looks at each line, so that a typing error shows now and not as
// a host that is not known.
func checkKnownHosts(text string) error {
	for line := range strings.Lines(text) {
		line = strings.TrimSpace(line)
		if line == "" || strings.HasPrefix(line, "#") {
			continue
		}
		if _, _, _, _, _, err := ssh.ParseKnownHosts([]byte(line)); err != nil {
			return invalid("known_hosts", "it has a line that is none of a known_hosts file")
		}
	}
	return nil
}

// SetCredential stores what the caller's tenant fetches from a host with, in
// place of what was stored. A Password or SSHKey that is Hidden stays.
func (r *Registry) SetCredential(ctx context.Context, caller api.Caller, c Credential) error {
	c.Host = strings.ToLower(c.Host)
	if err := c.check(); err != nil {
		return err
	}
	return r.db.Write(ctx, func(tx *store.Tx) error {
		old, found, err := r.credential(ctx, tx, caller.Tenant, c.Host)
		if err != nil {
			return err
		}
		if !found {
			if err := checkCredentials(ctx, tx, caller.Tenant); err != nil {
				return err
			}
		}
		next := c // which stays as it was given, for another attempt
		if next.Password, err = keptSecret("password", c.Password, old.Password); err != nil {
			return err
		}
		if next.SSHKey, err = keptSecret("ssh_key", c.SSHKey, old.SSHKey); err != nil {
			return err
		}
		return r.saveCredential(ctx, tx, caller.Tenant, next)
	})
}

func keptSecret(field, given, old string) (string, error) {
	if given != Hidden {
		return given, nil
	}
	if old == "" {
		return "", invalid(field, "it is %q, which keeps a stored value, and none is stored", Hidden)
	}
	return old, nil
}

func checkCredentials(ctx context.Context, tx *store.Tx, tenant string) error {
	var have int
	if err := tx.QueryRowContext(ctx, "SELECT count(*) FROM credentials WHERE tenant = $1", tenant).Scan(&have); err != nil {
		return fmt.Errorf("count the credentials of a tenant: %w", err)
	}
	if have >= maxCredentials {
		return &QuotaError{Reason: fmt.Sprintf("there are credentials for %d hosts and no more are allowed; delete one", have)}
	}
	return nil
}

// Credentials returns those of the caller's tenant by host, with Password and
// SSHKey Hidden where there is one.
func (r *Registry) Credentials(ctx context.Context, caller api.Caller) ([]Credential, error) {
	rows, err := r.db.QueryContext(ctx, "SELECT host, sealed, updated FROM credentials WHERE tenant = $1 ORDER BY host", caller.Tenant)
	if err != nil {
		return nil, fmt.Errorf("list credentials: %w", err)
	}
	defer rows.Close()
	var list []Credential
	for rows.Next() {
		var host, sealed string
		var updated int64
		if err := rows.Scan(&host, &sealed, &updated); err != nil {
			return nil, fmt.Errorf("list credentials: %w", err)
		}
		c, err := r.openCredential(caller.Tenant, host, sealed)
		if err != nil {
			return nil, err
		}
		c.Updated = time.Unix(0, updated).UTC()
		for _, secret := range []*string{&c.Password, &c.SSHKey} {
			if *secret != "" {
				*secret = Hidden
			}
		}
		list = append(list, c)
	}
	if err := rows.Err(); err != nil {
		return nil, fmt.Errorf("list credentials: %w", err)
	}
	return list, nil
}

// DeleteCredential removes what the caller's tenant has for a host, or returns
// ErrNotFound.
func (r *Registry) DeleteCredential(ctx context.Context, caller api.Caller, host string) error {
	if !store.IsText(host) {
		return ErrNotFound
	}
	return r.db.Write(ctx, func(tx *store.Tx) error {
		result, err := tx.ExecContext(ctx, "DELETE FROM credentials WHERE tenant = $1 AND host = $2", caller.Tenant, strings.ToLower(host))
		if err != nil {
			return fmt.Errorf("delete a credential: %w", err)
		}
		n, err := result.RowsAffected()
		if err != nil {
			return fmt.Errorf("delete a credential: %w", err)
		}
		if n == 0 {
			return ErrNotFound
		}
		return nil
	})
}

// CredentialFor returns what a tenant fetches from a host with, readable, and
// false when there is nothing.
func (r *Registry) CredentialFor(ctx context.Context, tenant, host string) (Credential, bool, error) {
	return r.credential(ctx, r.db, tenant, strings.ToLower(host))
}

// LearnHost remembers the public keys by which a tenant met a host for the first
// time. Keys known already stay, whatever the host shows now: that a key has
// changed must not go unnoticed.
func (r *Registry) LearnHost(ctx context.Context, tenant, host, knownHosts string) error {
	learned := Credential{Host: strings.ToLower(host), KnownHosts: knownHosts}
	if err := learned.check(); err != nil {
		return err
	}
	return r.db.Write(ctx, func(tx *store.Tx) error {
		c, found, err := r.credential(ctx, tx, tenant, learned.Host)
		if err != nil || found && c.KnownHosts != "" {
			return err
		}
		if !found {
			if err := checkCredentials(ctx, tx, tenant); err != nil {
				return err
			}
			c.Host = learned.Host
		}
		c.KnownHosts = knownHosts
		return r.saveCredential(ctx, tx, tenant, c)
	})
}

func (r *Registry) credential(ctx context.Context, q store.Querier, tenant, host string) (Credential, bool, error) {
	var sealed string
	err := q.QueryRowContext(ctx, "SELECT sealed FROM credentials WHERE tenant = $1 AND host = $2", tenant, host).Scan(&sealed)
	if store.IsNoRows(err) {
		return Credential{}, false, nil
	}
	if err != nil {
		return Credential{}, false, fmt.Errorf("find a credential: %w", err)
	}
	c, err := r.openCredential(tenant, host, sealed)
	return c, err == nil, err
}

func credentialPurpose(tenant, host string) string { return "credential/" + tenant + "/" + host }

func (r *Registry) openCredential(tenant, host, sealed string) (Credential, error) {
	plain, err := r.sealer.Open(credentialPurpose(tenant, host), sealed)
	if err != nil {
		return Credential{}, fmt.Errorf("read the credential for %s: %w", host, err)
	}
	c := Credential{Host: host}
	if err := json.Unmarshal(plain, &c); err != nil {
		return Credential{}, fmt.Errorf("read the credential for %s: it is malformed", host)
	}
	return c, nil
}

func (r *Registry) saveCredential(ctx context.Context, tx *store.Tx, tenant string, c Credential) error {
	plain, err := json.Marshal(c)
	if err != nil {
		return fmt.Errorf("encode the credential for %s: %w", c.Host, err)
	}
	_, err = tx.ExecContext(ctx, `
		INSERT INTO credentials (tenant, host, sealed, updated) VALUES ($1, $2, $3, $4)
		ON CONFLICT (tenant, host) DO UPDATE SET sealed = excluded.sealed, updated = excluded.updated`,
		tenant, c.Host, r.sealer.Seal(credentialPurpose(tenant, c.Host), plain), r.now().UnixNano())
	if err != nil {
		return fmt.Errorf("store the credential for %s: %w", c.Host, err)
	}
	return nil
}
