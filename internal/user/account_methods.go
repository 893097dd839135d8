package user

import (
	"context"
	"crypto/rand"
	"errors"
	"strings"

	"github.com/m3o/ingress/internal/api"
	userpb "github.com/m3o/ingress/proto/user"
)

// Pages of List, and how many accounts are read and sent at a time: each may have
// a profile of 64 KiB.
const (
	defaultPage = 25
	maxPage     = 1000
	pieceOfPage = 50
)

// Create makes an account. The e-mail address is required; id and username are
// not.
func (s *Service) Create(ctx context.Context, caller api.Caller, req *userpb.CreateRequest) (*userpb.CreateResponse, error) {
	a, err := s.newAccount(caller.Tenant, req)
	if err != nil {
		return nil, err
	}
	// A name that is taken is told before the work of hashing. The unique indexes
	// decide in the end.
	if err := s.repo.taken(ctx, a); err != nil {
		return nil, accountError("user.create", err)
	}
	if a.password, err = s.hasher.hash(ctx, caller.Tenant, req.Password); err != nil {
		return nil, err
	}
	if err := s.repo.createAccount(ctx, a); err != nil {
		return nil, accountError("user.create", err)
	}
	return &userpb.CreateResponse{Account: a.message()}, nil
}

// newAccount checks a request and returns the account it describes, still
// without a password hash.
func (s *Service) newAccount(tenant string, req *userpb.CreateRequest) (account, error) {
	now := s.now()
	a := account{tenant: tenant, profile: req.Profile, created: now, updated: now}
	var ok bool
	if a.email, ok = normalEmail(req.Email); !ok {
		return a, api.BadRequest("users-email-format-check", "email has wrong format")
	}
	if err := checkPassword(req.Password); err != nil {
		return a, err
	}
	var err error
	if a.username, err = checkUsername(req.Username); err != nil {
		return a, err
	}
	if a.id, err = checkID(req.Id); err != nil {
		return a, err
	}
	if a.id == "" {
		a.id = strings.ToLower(rand.Text())
	}
	return a, checkProfile(req.Profile)
}

// accountError turns what the repository says into the contract's errors
// (WIRE.md 4); id is the method's, for those that have none of their own.
func accountError(id string, err error) error {
	switch {
	case errors.Is(err, errIDTaken):
		return api.BadRequest("users-userId-check", "account already exists")
	case errors.Is(err, errEmailTaken):
		return api.BadRequest("users-email-check", "email already exists")
	case errors.Is(err, errUsernameTaken):
		return api.BadRequest("users-username-check", "username already exists")
	case errors.Is(err, errNotFound):
		return api.NotFound(id)
	}
	return err
}

// Read returns an account by its id, username or address; the first that is
// given counts.
func (s *Service) Read(ctx context.Context, caller api.Caller, req *userpb.ReadRequest) (*userpb.ReadResponse, error) {
	a, err := s.lookUp(ctx, caller.Tenant, req)
	if err != nil {
		return nil, accountError("user.read", err)
	}
	return &userpb.ReadResponse{Account: a.message()}, nil
}

func (s *Service) lookUp(ctx context.Context, tenant string, req *userpb.ReadRequest) (account, error) {
	switch {
	case req.Id != "":
		return s.repo.accountByID(ctx, tenant, strings.TrimSpace(req.Id))
	case req.Username != "" || req.Email != "":
		return s.accountByName(ctx, tenant, req.Username, req.Email)
	}
	return account{}, api.BadRequest("user.read", "missing id, username or email")
}

// accountByName finds an account by username or, without one, by address. A
// name that no account can have is not found.
func (s *Service) accountByName(ctx context.Context, tenant, username, email string) (account, error) {
	if name, ok := normalUsername(username); ok && name != "" {
		return s.repo.accountByUsername(ctx, tenant, name)
	}
	if address, ok := normalEmail(email); ok && username == "" {
		return s.repo.accountByEmail(ctx, tenant, address)
	}
	return account{}, errNotFound
}

// Update changes the username, the address or the profile; what is empty stays.
// A new address is unverified.
func (s *Service) Update(ctx context.Context, caller api.Caller, req *userpb.UpdateRequest) (*userpb.UpdateResponse, error) {
	id := strings.TrimSpace(req.Id)
	if id == "" {
		return nil, api.BadRequest("user.update", "missing id")
	}
	change, err := newAccountChange(req)
	if err != nil {
		return nil, err
	}
	if err := s.repo.updateAccount(ctx, caller.Tenant, id, change, s.now()); err != nil {
		return nil, accountError("user.update", err)
	}
	return &userpb.UpdateResponse{}, nil
}

func newAccountChange(req *userpb.UpdateRequest) (accountChange, error) {
	var change accountChange
	if req.Email != "" {
		email, ok := normalEmail(req.Email)
		if !ok {
			return change, api.BadRequest("users-email-format-check", "email has wrong format")
		}
		change.email = &email
	}
	username, err := checkUsername(req.Username)
	if err != nil {
		return change, err
	}
	if username != "" {
		change.username = &username
	}
	if len(req.Profile) > 0 {
		change.profile = req.Profile
	}
	return change, checkProfile(req.Profile)
}

// Delete removes an account with its sessions and tokens. Deleting one that is
// not there succeeds.
func (s *Service) Delete(ctx context.Context, caller api.Caller, req *userpb.DeleteRequest) (*userpb.DeleteResponse, error) {
	id := strings.TrimSpace(req.Id)
	if id == "" {
		return nil, api.BadRequest("user.delete", "missing id")
	}
	if err := s.repo.deleteAccount(ctx, caller.Tenant, id); err != nil {
		return nil, err
	}
	return &userpb.DeleteResponse{}, nil
}

// List returns a page of the tenant's accounts, the oldest first: 25 unless
// asked otherwise, 1,000 at most.
func (s *Service) List(ctx context.Context, caller api.Caller, req *userpb.ListRequest, send func(*userpb.ListResponse) error) error {
	left := min(int64(req.Limit), maxPage)
	if left == 0 {
		left = defaultPage
	}
	from := page{after: theFirst(), offset: int64(req.Offset)}
	for left > 0 {
		from.limit = min(left, pieceOfPage)
		accounts, err := s.repo.listAccounts(ctx, caller.Tenant, from)
		if err != nil {
			return err
		}
		if err := send(listMessage(accounts)); err != nil {
			return err
		}
		if int64(len(accounts)) < from.limit {
			return nil
		}
		left -= from.limit
		from = page{after: accounts[len(accounts)-1].place()}
	}
	return nil
}

func listMessage(accounts []account) *userpb.ListResponse {
	res := &userpb.ListResponse{Users: make([]*userpb.Account, 0, len(accounts))}
	for _, a := range accounts {
		res.Users = append(res.Users, a.message())
	}
	return res
}
