package user

import (
	"context"
	"crypto/rand"
	"errors"
	"strings"
	"time"

	"github.com/m3o/ingress/internal/api"
	userpb "github.com/m3o/ingress/proto/user"
)

// UpdatePassword replaces a password, given the old one. It ends every session
// of the account and voids its magic links and reset codes: whoever changes a
// password because somebody else knows it wants that somebody out. An unknown
// account and a wrong old password get the same 401, and count as guesses.
func (s *Service) UpdatePassword(ctx context.Context, caller api.Caller, req *userpb.UpdatePasswordRequest) (*userpb.UpdatePasswordResponse, error) {
	id := strings.TrimSpace(req.UserId)
	if id == "" {
		return nil, api.BadRequest("user.updatepassword", "missing userId")
	}
	if req.NewPassword != req.ConfirmPassword {
		return nil, api.BadRequest("user.updatepassword", "Passwords don't match")
	}
	if err := checkPassword(req.NewPassword); err != nil {
		return nil, err
	}
	a, err := s.repo.accountByID(ctx, caller.Tenant, id)
	if err != nil && !errors.Is(err, errNotFound) {
		return nil, err
	}
	a.password, err = s.guess(ctx, "user.updatepassword", a, caller.Tenant, "id "+id, req.OldPassword)
	if err != nil {
		return nil, err
	}
	if err := s.replacePassword(ctx, a, req.NewPassword); err != nil {
		return nil, err
	}
	return &userpb.UpdatePasswordResponse{}, nil
}

// replacePassword sets a new password in place of the one in a.
func (s *Service) replacePassword(ctx context.Context, a account, password string) error {
	hash, err := s.hasher.hash(ctx, a.tenant, password)
	if err != nil {
		return err
	}
	err = s.repo.changePassword(ctx, a, hash, s.now())
	if errors.Is(err, errNotFound) {
		return wrongPassword("user.updatepassword") // another change came first
	}
	return err
}

// maxResetLife bounds what a caller may ask for: a code that lies in a mailbox
// for days is found by somebody else.
const maxResetLife = 24 * time.Hour

// SendPasswordResetEmail mails a code that allows a new password, in place of
// any earlier one. An address without an account is answered alike and gets no
// mail.
func (s *Service) SendPasswordResetEmail(ctx context.Context, caller api.Caller, req *userpb.SendPasswordResetEmailRequest) (*userpb.SendPasswordResetEmailResponse, error) {
	const id = "user.sendpasswordresetemail"
	letter, err := newLetter(id, req.Email, req.FromName, req.Subject, req.TextContent, codePlaceholder)
	if err != nil {
		return nil, err
	}
	life, err := s.resetLife(req.Expiration)
	if err != nil {
		return nil, err
	}
	err = s.deliver(ctx, id, caller.Tenant, letter, func(a account) (errand, error) {
		return s.resetErrand(ctx, a, letter, life)
	})
	if err != nil {
		return nil, err
	}
	return &userpb.SendPasswordResetEmailResponse{}, nil
}

func (s *Service) resetLife(seconds int64) (time.Duration, error) {
	if seconds == 0 {
		return s.lives.reset, nil
	}
	if seconds < 0 || seconds > int64(maxResetLife/time.Second) {
		return 0, api.BadRequest("user.sendpasswordresetemail", "expiration must be between 1 and %d seconds", int64(maxResetLife/time.Second))
	}
	return time.Duration(seconds) * time.Second, nil
}

func (s *Service) resetErrand(ctx context.Context, a account, l letter, life time.Duration) (errand, error) {
	code := newCode()
	hash, err := s.hasher.hash(ctx, a.tenant, code)
	if err != nil {
		return errand{}, err
	}
	return errand{
		message: l.fill(code),
		store: func(ctx context.Context) error {
			return s.repo.setResetCode(ctx, a, hash, s.now().Add(life))
		},
		undo: func(ctx context.Context) error { return s.repo.dropResetCode(ctx, a, hash) },
	}, nil
}

// ResetPassword sets a new password, given the mailed code, and ends all access
// that was opened before. A code works once and is void after five wrong
// guesses; a wrong code and an unknown address get the same answer.
func (s *Service) ResetPassword(ctx context.Context, caller api.Caller, req *userpb.ResetPasswordRequest) (*userpb.ResetPasswordResponse, error) {
	email, err := checkReset(req)
	if err != nil {
		return nil, err
	}
	if wait := s.guessesPerCaller.take(caller.Tenant); wait > 0 {
		return nil, api.TooManyRequests("user.resetpassword", wait, "too many wrong codes; try again later")
	}
	a, code, err := s.checkCode(ctx, caller.Tenant, email, req.Code)
	if errors.Is(err, errNotFound) {
		return nil, invalidCode()
	}
	s.guessesPerCaller.giveBack(caller.Tenant) // a code that was not judged is no guess
	if err != nil {
		return nil, err
	}
	hash, err := s.hasher.hash(ctx, caller.Tenant, req.NewPassword)
	if err != nil {
		return nil, err
	}
	if err := s.repo.resetPassword(ctx, a, code, hash, s.now()); errors.Is(err, errNotFound) {
		return nil, invalidCode()
	} else if err != nil {
		return nil, err
	}
	return &userpb.ResetPasswordResponse{}, nil
}

func checkReset(req *userpb.ResetPasswordRequest) (email string, err error) {
	const id = "user.resetpassword"
	email, err = requireEmail(id, req.Email)
	switch {
	case err != nil:
		return "", err
	case req.Code == "":
		return "", api.BadRequest(id, "missing code")
	case req.ConfirmPassword == "":
		return "", api.BadRequest(id, "missing confirm password")
	case req.NewPassword == "":
		return "", api.BadRequest(id, "missing new password")
	case req.ConfirmPassword != req.NewPassword:
		return "", api.BadRequest(id, "passwords do not match")
	}
	return email, checkPassword(req.NewPassword)
}

// checkCode returns the account and the stored hash of its code when the code
// given is that one, or errNotFound. Without an account or a live code it does the same
// work.
func (s *Service) checkCode(ctx context.Context, tenant, email, code string) (account, string, error) {
	a, err := s.repo.accountByEmail(ctx, tenant, email)
	if err != nil && !errors.Is(err, errNotFound) {
		return account{}, "", err
	}
	hash, err := s.repo.claimAttempt(ctx, a, s.now())
	if err != nil && !errors.Is(err, errNotFound) {
		return account{}, "", err
	}
	ok, _, err := s.hasher.verify(ctx, tenant, hash, normalCode(code))
	if err != nil {
		return account{}, "", err
	}
	if !ok {
		return account{}, "", errNotFound
	}
	return a, hash, nil
}

func invalidCode() error { return api.BadRequest("user.resetpassword", "invalid code") }

// codeLetters are Crockford's base 32: a person can read and type a code
// without mistaking a letter for a digit.
const codeLetters = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"

// codeLength is the original's. Eight letters are 40 bits, of which an attacker
// has five guesses for each mail sent.
const codeLength = 8

// newCode returns a random reset code.
func newCode() string {
	code := make([]byte, codeLength)
	rand.Read(code) // never fails (crypto/rand)
	for i, b := range code {
		code[i] = codeLetters[b%byte(len(codeLetters))] // 256 is a multiple of 32: no letter is likelier
	}
	return string(code)
}

// normalCode forgives what people do to a code when they type it.
func normalCode(code string) string {
	if len(code) > 4*codeLength {
		return ""
	}
	return strings.NewReplacer(" ", "", "-", "", "O", "0", "I", "1", "L", "1").Replace(strings.ToUpper(code))
}
