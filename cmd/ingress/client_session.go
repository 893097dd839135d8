package main

import (
	"context"

	userpb "github.com/m3o/ingress/proto/user"
)

type userLoginCmd struct {
	Username     string `xor:"who" required:"" help:"The username."`
	Email        string `xor:"who" required:"" help:"The e-mail address instead."`
	passwordFlag `embed:""`
}

func (userLoginCmd) Help() string {
	return examples("ingress user login --username jane", "ingress user login --email jane@example.com --password-file password.txt")
}

func (cmd *userLoginCmd) Run(ctx context.Context, c *client) error {
	password, err := c.secret(ctx, cmd.PasswordFile, "password")
	if err != nil {
		return err
	}
	req := &userpb.LoginRequest{Username: cmd.Username, Email: cmd.Email, Password: password}
	res := &userpb.LoginResponse{}
	return c.do(ctx, "user", "Login", req, res, func() error {
		return c.printProperties(c.sessionProperties(res.Session))
	})
}

func (c *client) sessionProperties(session *userpb.Session) []property {
	return []property{
		{"SESSION", session.GetId()},
		{"USER", session.GetUserId()},
		{"OPENED", c.unixStamp(session.GetCreated())},
		{"EXPIRES", c.unixStamp(session.GetExpires())},
	}
}

// sessionArg is a session's id, which is as good as a password.
type sessionArg struct {
	Session string `arg:"" help:"The session's id; - reads it from stdin or asks, which keeps it out of process lists."`
}

type userLogoutCmd struct {
	sessionArg `embed:""`
}

func (userLogoutCmd) Help() string { return examples("ingress user logout - < session.txt") }

func (cmd *userLogoutCmd) Run(ctx context.Context, c *client) error {
	id, err := c.argument(ctx, cmd.Session, "session id")
	if err != nil {
		return err
	}
	return c.do(ctx, "user", "Logout", &userpb.LogoutRequest{SessionId: id}, &userpb.LogoutResponse{},
		c.confirm("the session is closed"))
}

type userLogoutAllCmd struct {
	ID string `arg:"" name:"id" help:"The account's id."`
}

func (userLogoutAllCmd) Help() string { return examples("ingress user logout-all jane1") }

func (cmd *userLogoutAllCmd) Run(ctx context.Context, c *client) error {
	return c.do(ctx, "user", "LogoutAll", &userpb.LogoutAllRequest{UserId: cmd.ID}, &userpb.LogoutAllResponse{},
		c.confirm("every session of account %s is closed", cmd.ID))
}

type userReadSessionCmd struct {
	sessionArg `embed:""`
}

func (userReadSessionCmd) Help() string { return examples("ingress user read-session - < session.txt") }

// Run leaves the session's id out of what it shows, since whoever asks has it.
func (cmd *userReadSessionCmd) Run(ctx context.Context, c *client) error {
	id, err := c.argument(ctx, cmd.Session, "session id")
	if err != nil {
		return err
	}
	res := &userpb.ReadSessionResponse{}
	return c.do(ctx, "user", "ReadSession", &userpb.ReadSessionRequest{SessionId: id}, res, func() error {
		return c.printProperties([]property{
			{"USER", res.GetSession().GetUserId()},
			{"USERNAME", res.GetAccount().GetUsername()},
			{"EMAIL", res.GetAccount().GetEmail()},
			{"OPENED", c.unixStamp(res.GetSession().GetCreated())},
			{"EXPIRES", c.unixStamp(res.GetSession().GetExpires())},
		})
	})
}

// tokenArg is a token from a mail, which works like a password.
type tokenArg struct {
	Token string `arg:"" help:"The token; - reads it from stdin or asks, which keeps it out of process lists."`
}

type userVerifyTokenCmd struct {
	tokenArg `embed:""`
}

func (userVerifyTokenCmd) Help() string { return examples("ingress user verify-token - < token.txt") }

// Run fails for a token that is not good, though the API's reply to that is no
// error, so that scripts notice.
func (cmd *userVerifyTokenCmd) Run(ctx context.Context, c *client) error {
	token, err := c.argument(ctx, cmd.Token, "token")
	if err != nil {
		return err
	}
	res := &userpb.VerifyTokenResponse{}
	return c.do(ctx, "user", "VerifyToken", &userpb.VerifyTokenRequest{Token: token}, res, func() error {
		if !res.IsValid {
			return &problem{text: "the token is not good: " + res.Message}
		}
		return c.printProperties(c.sessionProperties(res.Session))
	})
}
