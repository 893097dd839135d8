package certs

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"path"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/caddyserver/certmagic"

	"github.com/m3o/ingress/internal/store"
)

// Leases of locks. A holder renews its lease three times before it would expire;
// one that died keeps the others waiting for at most the lease. They go by the clock of
// the database.
const (
	lease        = 30 * time.Second
	renewEvery   = lease / 4
	lockPollWait = 200 * time.Millisecond
)

// Storage keeps certificates in the store, sealed, because private keys are
// secrets. It is a certmagic.Storage, safe for concurrent use. Close it before
// the database.
type Storage struct {
	db     *store.DB
	sealer *store.Sealer
	log    *slog.Logger
	now    func() time.Time

	mu   sync.Mutex
	held map[string]*heldLock // by name
	gone func(key string)     // or nil
	gap  func(context.Context) error
	life context.Context
	end  context.CancelFunc
	busy sync.WaitGroup
}

// heldLock is a lock of ours that is being renewed.
type heldLock struct {
	holder string
	stop   context.CancelFunc
}

// changeCertificate is the kind of change that says that a certificate was deleted, by
// its key. Other ingresses may show it, and one that was revoked must be shown by none.
const changeCertificate = "certificate"

// NewStorage returns a storage in the database.
func NewStorage(db *store.DB, sealer *store.Sealer, log *slog.Logger) *Storage {
	s := &Storage{db: db, sealer: sealer, log: log, now: time.Now, held: map[string]*heldLock{}}
	s.life, s.end = context.WithCancel(context.Background())
	db.Subscribe(func(c store.Change) {
		if gone, _ := s.listeners(); c.Kind == changeCertificate && gone != nil {
			gone(c.ID)
		}
	})
	db.OnGap(func(ctx context.Context) error {
		if _, gap := s.listeners(); gap != nil {
			return gap(ctx)
		}
		return nil
	})
	return s
}

// listen has gone called with the key of each certificate that anybody deletes, and gap
// when some of these may have been missed.
func (s *Storage) listen(gone func(key string), gap func(context.Context) error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.gone, s.gap = gone, gap
}

func (s *Storage) listeners() (gone func(string), gap func(context.Context) error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.gone, s.gap
}

// Close stops renewing locks: those still held expire by themselves.
func (s *Storage) Close() error {
	s.mu.Lock()
	s.end()
	s.mu.Unlock()
	s.busy.Wait()
	return nil
}

// String names the storage in certmagic's logs.
func (s *Storage) String() string { return "the store" }

func purpose(key string) string { return "certificate/" + key }

// Store implements certmagic.Storage.
func (s *Storage) Store(ctx context.Context, key string, value []byte) error {
	sealed := s.sealer.Seal(purpose(key), value)
	err := s.db.Write(ctx, func(tx *store.Tx) error {
		_, err := tx.ExecContext(ctx, `
			INSERT INTO certificate_files (key, sealed, size, modified) VALUES ($1, $2, $3, $4)
			ON CONFLICT (key) DO UPDATE SET sealed = excluded.sealed, size = excluded.size, modified = excluded.modified`,
			key, sealed, len(value), s.now().UnixNano())
		return err
	})
	if err != nil {
		return fmt.Errorf("store %s: %w", key, err)
	}
	return nil
}

// Load implements certmagic.Storage. What cannot be opened any more, because the
// secret key was lost, counts as not there: it can be had anew.
func (s *Storage) Load(ctx context.Context, key string) ([]byte, error) {
	var sealed string
	err := s.db.QueryRowContext(ctx, "SELECT sealed FROM certificate_files WHERE key = $1", key).Scan(&sealed)
	if store.IsNoRows(err) {
		return nil, fmt.Errorf("load %s: %w", key, fs.ErrNotExist)
	}
	if err != nil {
		return nil, fmt.Errorf("load %s: %w", key, err)
	}
	value, err := s.sealer.Open(purpose(key), sealed)
	if err != nil {
		s.log.Warn("something stored for certificates cannot be opened, and is obtained anew", "key", key, "error", err)
		return nil, fmt.Errorf("load %s: %w: %w", key, fs.ErrNotExist, err)
	}
	return value, nil
}

// Delete implements certmagic.Storage: it removes what is under the key as well.
func (s *Storage) Delete(ctx context.Context, key string) error {
	from, to := under(key)
	err := s.db.Write(ctx, func(tx *store.Tx) error {
		rows, err := tx.QueryContext(ctx, "DELETE FROM certificate_files WHERE key = $1 OR key > $2 AND key < $3 RETURNING key", key, from, to)
		if err != nil {
			return err
		}
		deleted, err := keysOf(rows)
		for _, key := range deleted {
			if err == nil && strings.HasSuffix(key, ".crt") {
				err = tx.Changed(ctx, changeCertificate, key)
			}
		}
		return err
	})
	if err != nil {
		return fmt.Errorf("delete %s: %w", key, err)
	}
	return nil
}

// under returns the bounds, themselves excluded, between which the keys below a
// key lie: '0' is what comes after '/'.
func under(key string) (from, to string) { return key + "/", key + "0" }

// Exists implements certmagic.Storage. An error counts as no.
func (s *Storage) Exists(ctx context.Context, key string) bool {
	_, err := s.Stat(ctx, key)
	return err == nil
}

// Stat implements certmagic.Storage.
func (s *Storage) Stat(ctx context.Context, key string) (certmagic.KeyInfo, error) {
	info := certmagic.KeyInfo{Key: key, IsTerminal: true}
	var modified int64
	err := s.db.QueryRowContext(ctx, "SELECT size, modified FROM certificate_files WHERE key = $1", key).Scan(&info.Size, &modified)
	if err == nil {
		info.Modified = time.Unix(0, modified)
		return info, nil
	}
	if !store.IsNoRows(err) {
		return certmagic.KeyInfo{}, fmt.Errorf("look for %s: %w", key, err)
	}
	from, to := under(key)
	var one int
	err = s.db.QueryRowContext(ctx, "SELECT 1 FROM certificate_files WHERE key > $1 AND key < $2 LIMIT 1", from, to).Scan(&one)
	if store.IsNoRows(err) {
		return certmagic.KeyInfo{}, fmt.Errorf("look for %s: %w", key, fs.ErrNotExist)
	}
	if err != nil {
		return certmagic.KeyInfo{}, fmt.Errorf("look for %s: %w", key, err)
	}
	return certmagic.KeyInfo{Key: key}, nil
}

// List implements certmagic.Storage: the keys right below prefix, or all that are
// below it when recursive; those that only lead to others are among them. An
// empty prefix lists from the root.
func (s *Storage) List(ctx context.Context, prefix string, recursive bool) ([]string, error) {
	files, err := s.filesUnder(ctx, prefix)
	if err != nil {
		return nil, fmt.Errorf("list %s: %w", prefix, err)
	}
	if len(files) == 0 && prefix != "" {
		return nil, fmt.Errorf("list %s: %w", prefix, fs.ErrNotExist)
	}
	listed := map[string]bool{}
	for _, file := range files {
		for _, key := range between(prefix, file) {
			listed[key] = true
			if !recursive {
				break
			}
		}
	}
	keys := make([]string, 0, len(listed))
	for key := range listed {
		keys = append(keys, key)
	}
	slices.Sort(keys)
	return keys, nil
}

func (s *Storage) filesUnder(ctx context.Context, prefix string) ([]string, error) {
	from, to := under(prefix)
	if prefix == "" {
		from, to = "", "\U0010FFFF"
	}
	rows, err := s.db.QueryContext(ctx, "SELECT key FROM certificate_files WHERE key > $1 AND key < $2", from, to)
	if err != nil {
		return nil, err
	}
	return keysOf(rows)
}

func keysOf(rows *store.Rows) (keys []string, err error) {
	defer rows.Close()
	for rows.Next() {
		var key string
		if err := rows.Scan(&key); err != nil {
			return nil, err
		}
		keys = append(keys, key)
	}
	return keys, rows.Err()
}

// between returns the keys on the way from a prefix to a file below it, the file
// last.
func between(prefix, file string) []string {
	var keys []string
	for component := range strings.SplitSeq(strings.TrimPrefix(strings.TrimPrefix(file, prefix), "/"), "/") {
		prefix = path.Join(prefix, component)
		keys = append(keys, prefix)
	}
	return keys
}

// Lock implements certmagic.Locker. The lease of the lock is renewed until Unlock
// or Close.
func (s *Storage) Lock(ctx context.Context, name string) error {
	tick := time.NewTicker(lockPollWait)
	defer tick.Stop()
	for {
		got, err := s.TryLock(ctx, name)
		if err != nil || got {
			return err
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return fmt.Errorf("lock %s: %w", name, ctx.Err())
		}
	}
}

// TryLock implements certmagic.TryLocker.
func (s *Storage) TryLock(ctx context.Context, name string) (bool, error) {
	free, err := s.isFree(ctx, name)
	if err != nil || !free { // reading first, because there is one writer
		return false, err
	}
	holder, got := rand.Text(), false
	err = s.db.Write(ctx, func(tx *store.Tx) error {
		result, err := tx.ExecContext(ctx, `
			INSERT INTO certificate_locks (name, holder, expires) VALUES ($1, $2, `+s.db.Now()+` + $3)
			ON CONFLICT (name) DO UPDATE SET holder = excluded.holder, expires = excluded.expires
			WHERE certificate_locks.expires <= `+s.db.Now(),
			name, holder, lease.Nanoseconds())
		if err != nil {
			return err
		}
		changed, err := result.RowsAffected()
		got = changed == 1
		return err
	})
	if err != nil {
		return false, fmt.Errorf("lock %s: %w", name, err)
	}
	if got {
		s.keep(name, holder)
	}
	return got, nil
}

func (s *Storage) isFree(ctx context.Context, name string) (bool, error) {
	var free bool
	err := s.db.QueryRowContext(ctx, "SELECT expires <= "+s.db.Now()+" FROM certificate_locks WHERE name = $1", name).Scan(&free)
	if store.IsNoRows(err) {
		return true, nil
	}
	if err != nil {
		return false, fmt.Errorf("lock %s: %w", name, err)
	}
	return free, nil
}

// keep renews the lease until it is given up.
func (s *Storage) keep(name, holder string) {
	ctx, stop := context.WithCancel(s.life)
	s.mu.Lock()
	defer s.mu.Unlock()
	if before := s.held[name]; before != nil {
		before.stop() // its lease had expired
	}
	s.held[name] = &heldLock{holder, stop}
	if s.life.Err() != nil {
		return // certmagic waits for none of its renewals when it ends
	}
	s.busy.Go(func() {
		tick := time.NewTicker(renewEvery)
		defer tick.Stop()
		for {
			select {
			case <-tick.C:
			case <-ctx.Done():
				return
			}
			if err := s.renew(ctx, name, holder); err != nil && ctx.Err() == nil {
				s.log.Warn("the lease of a lock was not renewed", "lock", name, "error", err)
			}
		}
	})
}

var errLockLost = errors.New("somebody else has the lock, because the lease had expired")

func (s *Storage) renew(ctx context.Context, name, holder string) error {
	return s.db.Write(ctx, func(tx *store.Tx) error {
		result, err := tx.ExecContext(ctx, "UPDATE certificate_locks SET expires = "+s.db.Now()+" + $1 WHERE name = $2 AND holder = $3",
			lease.Nanoseconds(), name, holder)
		if err != nil {
			return err
		}
		if changed, err := result.RowsAffected(); err != nil || changed == 0 {
			return errors.Join(errLockLost, err)
		}
		return nil
	})
}

// Unlock implements certmagic.Locker. A lock whose lease somebody else has taken
// over is left to them.
func (s *Storage) Unlock(ctx context.Context, name string) error {
	s.mu.Lock()
	lock := s.held[name]
	delete(s.held, name)
	s.mu.Unlock()
	if lock == nil {
		return fmt.Errorf("unlock %s: it is not locked", name)
	}
	lock.stop()
	err := s.db.Write(ctx, func(tx *store.Tx) error {
		_, err := tx.ExecContext(ctx, "DELETE FROM certificate_locks WHERE name = $1 AND holder = $2", name, lock.holder)
		return err
	})
	if err != nil {
		return fmt.Errorf("unlock %s: %w", name, err)
	}
	return nil
}
