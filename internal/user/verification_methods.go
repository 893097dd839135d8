package user

import (
	"context"
	"errors"
	"time"

	"github.com/m3o/ingress/internal/api"
	userpb "github.com/m3o/ingress/proto/user"
)

// keepVerifications is how long a verification link leads to the right place,
// long after its token has expired (WIRE.md 6).
const keepVerifications = 30 * 24 * time.Hour

// SendVerificationEmail mails a link that verifies an account's address. An
// address without an account is answered alike and gets no mail.
func (s *Service) SendVerificationEmail(ctx context.Context, caller api.Caller, req *userpb.SendVerificationEmailRequest) (*userpb.SendVerificationEmailResponse, error) {
	const id = "user.sendverificationemail"
	letter, err := newLetter(id, req.Email, req.FromName, req.Subject, req.TextContent, linkPlaceholder)
	if err != nil {
		return nil, err
	}
	if err := optionalURL(id, "redirect_url", req.RedirectUrl); err != nil {
		return nil, err
	}
	if err := optionalURL(id, "failure_redirect_url", req.FailureRedirectUrl); err != nil {
		return nil, err
	}
	to := Redirects{Success: req.RedirectUrl, Failure: req.FailureRedirectUrl}
	err = s.deliver(ctx, id, caller.Tenant, letter, func(a account) (errand, error) {
		return s.verificationErrand(a, letter, to)
	})
	if err != nil {
		return nil, err
	}
	return &userpb.SendVerificationEmailResponse{}, nil
}

func (s *Service) verificationErrand(a account, l letter, to Redirects) (errand, error) {
	token := newSecret()
	link, err := verificationLink(s.verifyURL(), token, to.Success, to.Failure)
	if err != nil {
		return errand{}, errors.Join(errors.New("setting verify-email-url cannot be used in mail"), err)
	}
	now := s.now()
	v := verification{
		tenant: a.tenant, account: a.id, email: a.email,
		success: to.Success, failure: to.Failure,
		expires: now.Add(s.lives.verify), forget: now.Add(max(keepVerifications, s.lives.verify)),
	}
	return errand{
		message: l.fill(link),
		store:   func(ctx context.Context) error { return s.repo.addVerification(ctx, token, v) },
		undo:    func(ctx context.Context) error { return s.repo.dropVerification(ctx, token) },
	}, nil
}

// VerifyEmail marks the address a token was mailed to as verified. The same
// token works again until it expires, because mail scanners open links first
// (WIRE.md 6). The token must be one of the caller's tenant, unless the key has
// the scope to resolve for others, as the key of an ingress before us has.
func (s *Service) VerifyEmail(ctx context.Context, caller api.Caller, req *userpb.VerifyEmailRequest) (*userpb.VerifyEmailResponse, error) {
	if req.Token == "" {
		return nil, missingToken()
	}
	v, err := s.verification(ctx, req.Token)
	if err != nil {
		return nil, err
	}
	if v.tenant != caller.Tenant && !caller.Has(api.ScopeResolve) {
		return nil, unknownToken()
	}
	if err := s.verify(ctx, v); err != nil {
		return nil, err
	}
	return &userpb.VerifyEmailResponse{}, nil
}

// Redirects are the addresses given when a verification mail was asked for;
// either may be empty.
type Redirects struct {
	Success, Failure string
}

// VerifyLink is VerifyEmail for a visitor, who has no tenant: the token alone
// says whose address it is. An *api.Error with a 4xx code means that the token
// is not good, any other error that the platform could not tell. The redirects
// are returned with either, when the token is known: for 30 days after the mail
// was sent, even if the account is gone.
func (s *Service) VerifyLink(ctx context.Context, token string) (Redirects, error) {
	if token == "" {
		return Redirects{}, missingToken()
	}
	v, err := s.verification(ctx, token)
	if err != nil {
		return Redirects{}, err
	}
	return Redirects{Success: v.success, Failure: v.failure}, s.verify(ctx, v)
}

func (s *Service) verification(ctx context.Context, token string) (verification, error) {
	v, err := s.repo.findVerification(ctx, token, s.now())
	if errors.Is(err, errNotFound) {
		return verification{}, unknownToken()
	}
	return v, err
}

func (s *Service) verify(ctx context.Context, v verification) error {
	now := s.now()
	if !now.Before(v.expires) {
		return api.BadRequest("user.verifytoken", "token expired")
	}
	if err := s.repo.markVerified(ctx, v, now); errors.Is(err, errNotFound) {
		return unknownToken()
	} else if err != nil {
		return err
	}
	return nil
}

func missingToken() error { return api.BadRequest("user.verifytoken", "missing token") }

func unknownToken() error { return api.BadRequest("user.verifytoken", "token not found") }
