package user

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/m3o/ingress/internal/store"
)

// maxKnownSessions and maxKnownBytes bound the memory of known: a profile of 64 KiB takes
// more than a mebibyte when it consists of many small values.
const (
	maxKnownSessions = 10_000
	maxKnownBytes    = 32 << 20
)

// changeAccount is the kind of the changes by which nodes tell each other that what
// they know of an account's sessions is not so any more.
const changeAccount = "account"

// knownSession is what was last read of a session.
type knownSession struct {
	session session
	account account
	size    int // bytes, once it is remembered
}

// bytes is about how much memory it takes.
func (s knownSession) bytes() int {
	const session, value = 1 << 10, 64 // without the texts of a profile
	n := session
	for name, text := range s.account.profile {
		n += value + len(name) + len(text)
	}
	return n
}

// known remembers the sessions that were read lately, for the time in which the
// database cannot be reached. It is used then only. A read that began before a change
// must not store what it found, so each takes the generation along, and every change
// makes a new one. It is safe for concurrent use.
type known struct {
	mu         sync.Mutex
	generation uint64
	sessions   map[string]knownSession // by tenant and hash
	bytes      int                     // of all sessions
}

func (k *known) begin() (generation uint64) {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.generation
}

// put stores a session, or with a zero one what is known of it to be nothing.
func (k *known) put(tenant, hash string, s knownSession, generation uint64) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if generation != k.generation {
		return
	}
	k.drop(tenant + "/" + hash)
	if s.session.account == "" {
		return
	}
	if k.sessions == nil {
		k.sessions = map[string]knownSession{}
	}
	s.size = s.bytes()
	for any := range k.sessions { // which, is no matter: one in use is back soon
		if len(k.sessions) < maxKnownSessions && k.bytes+s.size <= maxKnownBytes {
			break
		}
		k.drop(any)
	}
	k.sessions[tenant+"/"+hash] = s
	k.bytes += s.size
}

func (k *known) drop(key string) {
	if s, ok := k.sessions[key]; ok {
		k.bytes -= s.size
		delete(k.sessions, key)
	}
}

func (k *known) get(tenant, hash string) (s knownSession, ok bool) {
	k.mu.Lock()
	defer k.mu.Unlock()
	s, ok = k.sessions[tenant+"/"+hash]
	return s, ok
}

// forget drops the sessions of an account, or all when it is empty.
func (k *known) forget(account string) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.generation++
	for key, s := range k.sessions {
		if account == "" || accountKey(s.session.tenant, s.session.account) == account {
			k.drop(key)
		}
	}
}

// accountKey names an account in a change.
func accountKey(tenant, account string) string { return tenant + "/" + account }

// follow drops what is not so any more.
func (k *known) follow(db *store.DB) {
	db.Subscribe(func(c store.Change) {
		if c.Kind == changeAccount {
			k.forget(c.ID)
		}
	})
	db.OnGap(func(context.Context) error { k.forget(""); return nil })
}

// accountChanged announces that sessions of an account ended, or that it is not what
// it was. On one machine nobody needs to know.
func (r repository) accountChanged(ctx context.Context, tx *store.Tx, tenant, account string) error {
	if !r.db.Shared() {
		return nil
	}
	return tx.Changed(ctx, changeAccount, accountKey(tenant, account))
}

// silentFor is after how long a database that says nothing is not waited for, where an
// answer is known.
const silentFor = 3 * time.Second

// session returns a live session and its account, or errNotFound. While the database
// cannot be reached, and for no longer than maxStale, it is what was read last.
func (s *Service) session(ctx context.Context, tenant, id string) (session, account, error) {
	if !s.repo.db.Shared() {
		return s.repo.readSession(ctx, tenant, id, s.now())
	}
	if s.repo.db.Behind() > silentFor {
		if k, ok := s.believed(tenant, id); ok {
			return k.session, k.account, nil
		}
	}
	hash, generation := hashSecret(id), s.known.begin()
	found, a, err := s.repo.readSession(ctx, tenant, id, s.now())
	var away *store.UnavailableError
	switch {
	case err == nil:
		s.known.put(tenant, hash, knownSession{session: found, account: a}, generation)
	case errors.Is(err, errNotFound):
		s.known.put(tenant, hash, knownSession{}, generation)
	case errors.As(err, &away):
		if k, ok := s.believed(tenant, id); ok {
			return k.session, k.account, nil
		}
	}
	return found, a, err
}

// believed returns what was read last of a session, unless that is too long ago or the
// session has expired.
func (s *Service) believed(tenant, id string) (knownSession, bool) {
	k, ok := s.known.get(tenant, hashSecret(id))
	k.session.id = id
	return k, ok && s.repo.db.Behind() <= s.maxStale && k.session.expires.After(s.now())
}
