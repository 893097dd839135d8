package key

import (
	"context"
	"crypto/subtle"

	"github.com/m3o/ingress/internal/api"
)

// Authenticate returns who the key belongs to. A key that is malformed, unknown,
// revoked, or of a disabled tenant gets the *api.Error of WIRE.md 2, "Unauthorized"
// with code 401; any other error means that the database could not tell.
func (s *Service) Authenticate(ctx context.Context, secret string) (api.Caller, error) {
	if !s.IsPlatformKey(secret) {
		return api.Caller{}, unauthorized()
	}
	h := hashOf(secret)
	e, found, generation := s.cache.get(h)
	// What nobody could have told us of for too long is not believed any more.
	if stale := s.maxStale > 0 && s.keys.db.Behind() > s.maxStale; !found || stale {
		caller, err := s.keys.caller(ctx, h)
		if err != nil {
			return api.Caller{}, err
		}
		e = nil // what was believed is not so any more when there is no such key
		if caller != nil {
			e = &entry{caller: *caller}
		}
		s.cache.put(h, e, generation)
	}
	if e == nil {
		return api.Caller{}, unauthorized()
	}
	s.used(e)
	return e.caller, nil
}

// used records the use of a key, once a second at most.
func (s *Service) used(e *entry) {
	now := s.now().Unix()
	if e.seen.Swap(now) != now {
		s.seen.record(e.caller.KeyID, now)
	}
}

// IsPlatformKey reports whether the text is, or could be, a key of this
// platform: it has the format of one, or it is the bootstrap key, which may have
// any format. The edge takes such credentials off requests to backends. There is
// no look-up.
func (s *Service) IsPlatformKey(secret string) bool {
	if Valid(secret) {
		return true
	}
	bootstrap := s.bootstrap.Load()
	if bootstrap == nil {
		return false
	}
	h := hashOf(secret)
	return subtle.ConstantTimeCompare(h[:], bootstrap[:]) == 1
}

func unauthorized() error { return api.Unauthorized("v1", "Unauthorized") }
