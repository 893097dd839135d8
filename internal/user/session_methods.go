package user

import (
	"context"
	"errors"
	"strings"

	"github.com/m3o/ingress/internal/api"
	userpb "github.com/m3o/ingress/proto/user"
)

// Login checks a password and opens a session. Whatever is wrong, the answer is
// the same 401. Wrong passwords are limited for each name and for each tenant;
// over the limit the right one is not tried either.
func (s *Service) Login(ctx context.Context, caller api.Caller, req *userpb.LoginRequest) (*userpb.LoginResponse, error) {
	if strings.TrimSpace(req.Username) == "" && strings.TrimSpace(req.Email) == "" {
		return nil, api.BadRequest("user.login", "missing username or email")
	}
	opened, err := s.login(ctx, caller.Tenant, req)
	if errors.Is(err, errNotFound) { // changed meanwhile, or only hashed anew by another login
		opened, err = s.login(ctx, caller.Tenant, req)
	}
	if errors.Is(err, errNotFound) {
		return nil, wrongPassword("user.login")
	}
	if err != nil {
		return nil, err
	}
	return &userpb.LoginResponse{Session: opened.message()}, nil
}

// login returns errNotFound when the password was right, and the account has gone or has
// another hash now.
func (s *Service) login(ctx context.Context, tenant string, req *userpb.LoginRequest) (session, error) {
	a, err := s.accountByName(ctx, tenant, req.Username, req.Email)
	if err != nil && !errors.Is(err, errNotFound) {
		return session{}, err
	}
	hash, err := s.guess(ctx, "user.login", a, tenant, loginName(req), req.Password)
	if err != nil {
		return session{}, err
	}
	opened := s.newSession(a.tenant)
	opened.account = a.id
	return opened, s.repo.openSession(ctx, opened, hash)
}

// loginName is what wrong passwords are counted for: the name in the request,
// normal when it can be, so that spelling it differently is no way around.
func loginName(req *userpb.LoginRequest) string {
	if name, ok := normalUsername(req.Username); ok && name != "" {
		return "username " + name
	}
	if address, ok := normalEmail(req.Email); ok {
		return "email " + address
	}
	return "malformed"
}

func (s *Service) newSession(tenant string) session {
	now := s.now()
	return session{id: newSecret(), tenant: tenant, created: now, expires: now.Add(s.lives.session)}
}

// guess checks a password and returns the stored hash, renewed if need be, or
// the API error of the method with this id. An account without a hash, such as
// the zero one, takes as long and is refused like any other. A turn is taken
// before the answer is known, so that many guesses at once are no way around the
// limit.
func (s *Service) guess(ctx context.Context, id string, a account, tenant, name, password string) (hash string, err error) {
	key := throttleKey(tenant, name)
	if err := s.takeGuess(id, tenant, key); err != nil {
		return "", err
	}
	ok, stale, err := s.hasher.verify(ctx, tenant, a.password, password)
	if err == nil && !ok {
		return "", wrongPassword(id)
	}
	s.guessesPerCaller.giveBack(tenant)
	if err != nil {
		s.guessesPerAccount.giveBack(key)
		return "", err
	}
	s.guessesPerAccount.forgive(key)
	if stale {
		return s.renew(ctx, a, password), nil
	}
	return a.password, nil
}

func (s *Service) takeGuess(id, tenant, key string) error {
	wait := s.guessesPerAccount.take(key)
	if wait == 0 {
		if wait = s.guessesPerCaller.take(tenant); wait > 0 {
			s.guessesPerAccount.giveBack(key)
		}
	}
	if wait > 0 {
		return api.TooManyRequests(id, wait, "too many wrong passwords; try again later")
	}
	return nil
}

func wrongPassword(id string) error {
	return api.Unauthorized(id, "wrong username, email or password")
}

// renew hashes the password at today's cost and returns the hash now stored, unless
// another login has renewed it meanwhile. The login does not depend on it.
func (s *Service) renew(ctx context.Context, a account, password string) string {
	hash, err := s.hasher.hash(ctx, a.tenant, password)
	if err == nil {
		err = s.repo.renewPassword(ctx, a, hash)
	}
	if err != nil {
		s.log.WarnContext(ctx, "a password keeps its old hash until the next login", "account", a.id, "error", err)
		return a.password
	}
	return hash
}

// Logout ends a session; ending one that is not there succeeds.
func (s *Service) Logout(ctx context.Context, caller api.Caller, req *userpb.LogoutRequest) (*userpb.LogoutResponse, error) {
	if req.SessionId == "" {
		return nil, api.BadRequest("user.logout", "missing session_id")
	}
	if err := s.repo.endSession(ctx, caller.Tenant, req.SessionId); err != nil {
		return nil, err
	}
	return &userpb.LogoutResponse{}, nil
}

// LogoutAll ends every session of an account.
func (s *Service) LogoutAll(ctx context.Context, caller api.Caller, req *userpb.LogoutAllRequest) (*userpb.LogoutAllResponse, error) {
	id := strings.TrimSpace(req.UserId)
	if id == "" {
		return nil, api.BadRequest("user.logoutall", "missing user_id")
	}
	if err := s.repo.endSessions(ctx, caller.Tenant, id); err != nil {
		return nil, err
	}
	return &userpb.LogoutAllResponse{}, nil
}

// ReadSession returns a live session and its account; one that ended, expired or
// never was is not found.
func (s *Service) ReadSession(ctx context.Context, caller api.Caller, req *userpb.ReadSessionRequest) (*userpb.ReadSessionResponse, error) {
	if req.SessionId == "" {
		return nil, api.BadRequest("user.readsession", "missing session_id")
	}
	found, a, err := s.session(ctx, caller.Tenant, req.SessionId)
	if err != nil {
		return nil, accountError("user.readsession", err)
	}
	return &userpb.ReadSessionResponse{Session: found.message(), Account: a.message()}, nil
}
