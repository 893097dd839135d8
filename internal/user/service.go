// Package user keeps accounts and sessions for the users of tenants' products,
// and sends the mail that verifies their addresses, resets their passwords and
// logs them in (WIRE.md 4, 6 and 8).
//
// The caller of every method is a tenant, which owns its accounts and may list
// them. What it passes on to visitors is another matter: a wrong password and an
// unknown name get the same answer after the same work, and mail asked for an
// unknown address is answered like any other and not sent. How long sending
// takes is not disguised.
package user

import (
	"context"
	"log/slog"
	"runtime"
	"time"

	"github.com/m3o/ingress/internal/api"
	"github.com/m3o/ingress/internal/mail"
	"github.com/m3o/ingress/internal/store"
	userpb "github.com/m3o/ingress/proto/user"
)

// Sender sends one message, or says why not: a *mail.RefusedError when it never
// will, any other error when trying again may help. It is called concurrently,
// outside of any transaction.
type Sender interface {
	Send(ctx context.Context, m mail.Message) error
}

// Config is what a Service needs. Zero values of the optional fields mean their
// defaults.
type Config struct {
	// DB holds the accounts. Required.
	DB *store.DB
	// Mail sends messages. Required.
	Mail Sender
	// VerifyURL returns the address that verification links begin with, an
	// absolute http or https URL; it is asked for every mail, because settings
	// change while running. Required.
	VerifyURL func() string
	// Log gets what callers are not told. Required.
	Log *slog.Logger

	// SessionLife is how long a session lasts; 7 days, as in the original.
	SessionLife time.Duration
	// VerifyLife is how long a verification link works; 24 hours.
	VerifyLife time.Duration
	// MagicLife is how long a magic link works; 10 minutes.
	MagicLife time.Duration
	// ResetLife is how long a reset code works when the caller asks for nothing
	// else; 30 minutes.
	ResetLife time.Duration

	// Password is the cost of a password hash; 19 MiB, two passes, one thread.
	Password PasswordCost
	// Hashes is how many passwords are hashed at once; as many as there are
	// processors.
	Hashes int

	// MailPerAddress limits mail to one address; 5 at once, then one a minute.
	MailPerAddress Rate
	// MailPerCaller limits a tenant's mail; 100 at once, then one a second.
	MailPerCaller Rate
	// GuessesPerAccount limits wrong passwords for one name; 10 at once, then
	// one every 30 seconds.
	GuessesPerAccount Rate
	// GuessesPerCaller limits a tenant's wrong passwords; 1,000 at once, then
	// ten a second.
	GuessesPerCaller Rate

	// MaxStale is how long sessions that were read lately can be read while the
	// database cannot be reached, if it is shared with other nodes; 5 minutes.
	MaxStale time.Duration

	// Now is the clock; time.Now.
	Now func() time.Time
}

// Service is the user service. Its methods are those of the contract; each may
// be called concurrently.
type Service struct {
	repo      repository
	mail      Sender
	verifyURL func() string
	log       *slog.Logger
	now       func() time.Time
	hasher    *hasher
	lives     lives
	known     known
	maxStale  time.Duration

	mailPerAddress, mailPerCaller       *throttle
	guessesPerAccount, guessesPerCaller *throttle
}

// lives is how long things last.
type lives struct {
	session, verify, magic, reset time.Duration
}

// New returns a service. Call Run to have it clean up after itself.
func New(c Config) *Service {
	c = c.withDefaults()
	s := &Service{
		repo:              repository{c.DB},
		mail:              c.Mail,
		verifyURL:         c.VerifyURL,
		log:               c.Log,
		now:               c.Now,
		hasher:            newHasher(c.Password, c.Hashes),
		lives:             lives{c.SessionLife, c.VerifyLife, c.MagicLife, c.ResetLife},
		mailPerAddress:    newThrottle(c.MailPerAddress, c.Now),
		mailPerCaller:     newThrottle(c.MailPerCaller, c.Now),
		guessesPerAccount: newThrottle(c.GuessesPerAccount, c.Now),
		guessesPerCaller:  newThrottle(c.GuessesPerCaller, c.Now),
		maxStale:          c.MaxStale,
	}
	s.known.follow(c.DB)
	return s
}

func (c Config) withDefaults() Config {
	setDefault(&c.SessionLife, 7*24*time.Hour)
	setDefault(&c.VerifyLife, 24*time.Hour)
	setDefault(&c.MagicLife, 10*time.Minute)
	setDefault(&c.ResetLife, 30*time.Minute)
	setDefault(&c.MaxStale, 5*time.Minute)
	setDefault(&c.Password, defaultPasswordCost)
	setDefault(&c.Hashes, runtime.GOMAXPROCS(0))
	setDefault(&c.MailPerAddress, Rate{Burst: 5, Every: time.Minute})
	setDefault(&c.MailPerCaller, Rate{Burst: 100, Every: time.Second})
	setDefault(&c.GuessesPerAccount, Rate{Burst: 10, Every: 30 * time.Second})
	setDefault(&c.GuessesPerCaller, Rate{Burst: 1000, Every: 100 * time.Millisecond})
	if c.Now == nil {
		c.Now = time.Now
	}
	return c
}

func setDefault[T comparable](field *T, value T) {
	var zero T
	if *field == zero {
		*field = value
	}
}

// Service returns the table of methods.
func (s *Service) Service() api.Service {
	return api.Service{
		Descriptor: userpb.File_user_user_proto.Services().ByName("User"),
		Methods: []api.Method{
			api.Unary("Create", s.Create),
			api.Unary("Read", s.Read),
			api.Unary("Update", s.Update),
			api.Unary("Delete", s.Delete),
			api.Listing("List", s.List),

			api.Unary("Login", s.Login),
			api.Unary("Logout", s.Logout),
			api.Unary("LogoutAll", s.LogoutAll),
			api.Unary("ReadSession", s.ReadSession),

			api.Unary("SendVerificationEmail", s.SendVerificationEmail),
			api.Unary("VerifyEmail", s.VerifyEmail),

			api.Unary("UpdatePassword", s.UpdatePassword),
			api.Unary("SendPasswordResetEmail", s.SendPasswordResetEmail),
			api.Unary("ResetPassword", s.ResetPassword),

			api.Unary("SendMagicLink", s.SendMagicLink),
			api.Unary("VerifyToken", s.VerifyToken),
		},
	}
}

// pruneEvery is how often expired rows are removed. They are already without
// effect; this is only about space.
const pruneEvery = time.Minute

// Run removes expired sessions, tokens and codes until ctx ends.
func (s *Service) Run(ctx context.Context) {
	ticker := time.NewTicker(pruneEvery)
	defer ticker.Stop()
	for {
		s.prune(ctx)
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		}
	}
}

func (s *Service) prune(ctx context.Context) {
	removed, err := s.repo.prune(ctx, s.now())
	if err != nil && ctx.Err() == nil {
		s.log.WarnContext(ctx, "expired sessions and tokens stay for now", "error", err)
	}
	if removed > 0 {
		s.log.DebugContext(ctx, "expired sessions and tokens removed", "rows", removed)
	}
}
