package user

import (
	"context"
	"errors"
	"time"

	"github.com/m3o/ingress/internal/api"
	"github.com/m3o/ingress/internal/mail"
)

// errand is one mail on its way: what to store before it is sent, and how to
// undo that when it could not be.
type errand struct {
	message mail.Message
	store   func(context.Context) error
	undo    func(context.Context) error
}

// undoTimeout bounds voiding a token after its mail failed, which must happen
// even when the caller has gone.
const undoTimeout = 5 * time.Second

// deliver sends the mail that prepare makes for the account at the letter's
// address, if there is one. The limits hold for addresses without an account,
// too, so that they tell nothing. When the mail cannot be sent, what it carried
// is void and the caller may try again at once.
func (s *Service) deliver(ctx context.Context, id, tenant string, l letter, prepare func(account) (errand, error)) error {
	key := throttleKey(tenant, l.message.To)
	if err := s.takeMail(id, tenant, key); err != nil {
		return err
	}
	a, err := s.repo.accountByEmail(ctx, tenant, l.message.To)
	if err == nil {
		err = s.send(ctx, id, a, prepare)
	}
	if errors.Is(err, errNotFound) { // from the beginning, or meanwhile
		return nil
	}
	if err != nil {
		s.mailPerAddress.giveBack(key)
	}
	return err
}

func (s *Service) takeMail(id, tenant, key string) error {
	wait := s.mailPerAddress.take(key)
	if wait == 0 {
		if wait = s.mailPerCaller.take(tenant); wait > 0 {
			s.mailPerAddress.giveBack(key)
		}
	}
	if wait > 0 {
		return api.TooManyRequests(id, wait, "too many messages; try again later")
	}
	return nil
}

// send stores the token first, so that whoever is quick finds it, and sends the
// mail outside of any transaction.
func (s *Service) send(ctx context.Context, id string, a account, prepare func(account) (errand, error)) error {
	e, err := prepare(a)
	if err != nil {
		return err
	}
	if err := e.store(ctx); err != nil {
		return err
	}
	err = s.mail.Send(ctx, e.message)
	if err == nil {
		return nil
	}
	undo, cancel := context.WithTimeout(context.WithoutCancel(ctx), undoTimeout)
	defer cancel()
	return mailError(id, errors.Join(err, e.undo(undo)))
}
