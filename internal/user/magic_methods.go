package user

import (
	"context"
	"errors"
	"time"

	"github.com/m3o/ingress/internal/api"
	userpb "github.com/m3o/ingress/proto/user"
)

// keepLoginTokens is how long an expired magic link is told from one that never
// was, for whoever reads their mail late.
const keepLoginTokens = 24 * time.Hour

// SendMagicLink mails a link to the caller's product that logs in without a
// password. An address without an account is answered alike and gets no mail.
func (s *Service) SendMagicLink(ctx context.Context, caller api.Caller, req *userpb.SendMagicLinkRequest) (*userpb.SendMagicLinkResponse, error) {
	if err := checkMagicLink(req); err != nil {
		return nil, err
	}
	letter, err := newLetter("SendMagicLink", req.Email, req.FromName, req.Subject, req.TextContent, linkPlaceholder)
	if err != nil {
		return nil, err
	}
	err = s.deliver(ctx, "SendMagicLink.sendEmail", caller.Tenant, letter, func(a account) (errand, error) {
		return s.magicErrand(a, letter, req)
	})
	if err != nil {
		return nil, err
	}
	return &userpb.SendMagicLinkResponse{}, nil
}

func checkMagicLink(req *userpb.SendMagicLinkRequest) error {
	if _, ok := normalEmail(req.Email); !ok {
		return api.BadRequest("SendMagicLink.email-format-check", "email has wrong format")
	}
	if req.Address == "" {
		return api.BadRequest("SendMagicLink", "missing address")
	}
	if err := optionalURL("SendMagicLink", "address", req.Address); err != nil {
		return err
	}
	if _, err := magicLink(req.Address, req.Endpoint, ""); err != nil {
		return api.BadRequest("SendMagicLink", "address and endpoint together: %s", err.Error())
	}
	return nil
}

func (s *Service) magicErrand(a account, l letter, req *userpb.SendMagicLinkRequest) (errand, error) {
	token := newSecret()
	link, err := magicLink(req.Address, req.Endpoint, token)
	if err != nil {
		return errand{}, err
	}
	expires := s.now().Add(s.lives.magic)
	return errand{
		message: l.fill(link),
		store: func(ctx context.Context) error {
			return s.repo.addLoginToken(ctx, a, token, expires, expires.Add(keepLoginTokens))
		},
		undo: func(ctx context.Context) error { return s.repo.dropLoginToken(ctx, a.tenant, token) },
	}, nil
}

// VerifyToken turns the token of a magic link into a session, once. A token that
// is not good is no error: the answer says that it is not valid, and why, in the
// original's words.
func (s *Service) VerifyToken(ctx context.Context, caller api.Caller, req *userpb.VerifyTokenRequest) (*userpb.VerifyTokenResponse, error) {
	if req.Token == "" {
		return &userpb.VerifyTokenResponse{Message: "token empty"}, nil
	}
	opened, err := s.repo.redeemLoginToken(ctx, req.Token, s.newSession(caller.Tenant))
	switch {
	case errors.Is(err, errNotFound):
		return &userpb.VerifyTokenResponse{Message: "token not found"}, nil
	case errors.Is(err, errExpired):
		return &userpb.VerifyTokenResponse{Message: "token expired"}, nil
	case err != nil:
		return nil, err
	}
	return &userpb.VerifyTokenResponse{IsValid: true, Session: opened.message()}, nil
}
