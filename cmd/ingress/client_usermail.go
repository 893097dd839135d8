package main

import (
	"context"
	"time"

	userpb "github.com/m3o/ingress/proto/user"
)

// mailFlags describe a mail to a user.
type mailFlags struct {
	Subject  string `required:"" help:"The mail's subject."`
	Text     string `xor:"text" required:"" help:"The mail's text."`
	TextFile string `xor:"text" required:"" placeholder:"FILE" help:"File with the mail's text; - for stdin."`
	FromName string `help:"The sender's name shown."`
}

// text returns the mail's text, wherever it comes from.
func (m mailFlags) text(ctx context.Context, c *client) (string, error) {
	if m.TextFile == "" {
		return m.Text, nil
	}
	content, err := c.read(ctx, m.TextFile)
	return string(content), err
}

type userSendVerificationEmailCmd struct {
	Email              string `arg:"" help:"The address of an account."`
	mailFlags          `embed:""`
	RedirectURL        string `name:"redirect-url" placeholder:"URL" help:"Where the link leads when it worked."`
	FailureRedirectURL string `name:"failure-redirect-url" placeholder:"URL" help:"Where the link leads when it did not."`
}

func (userSendVerificationEmailCmd) Help() string {
	return "The text has $micro_verification_link where the link goes.\n\n" + examples(
		"ingress user send-verification-email jane@example.com --subject 'Please verify' --text 'Click: $micro_verification_link' --redirect-url https://example.com/welcome",
	)
}

func (cmd *userSendVerificationEmailCmd) Run(ctx context.Context, c *client) error {
	text, err := cmd.text(ctx, c)
	if err != nil {
		return err
	}
	req := &userpb.SendVerificationEmailRequest{
		Email: cmd.Email, Subject: cmd.Subject, TextContent: text, FromName: cmd.FromName,
		RedirectUrl: cmd.RedirectURL, FailureRedirectUrl: cmd.FailureRedirectURL,
	}
	return c.do(ctx, "user", "SendVerificationEmail", req, &userpb.SendVerificationEmailResponse{}, c.mailed(cmd.Email))
}

// mailed does not say that the mail was sent: the API does not reveal whether
// there is such an account.
func (c *client) mailed(email string) func() error {
	return c.confirm("if there is an account for %s, the mail is on its way", email)
}

type userVerifyEmailCmd struct {
	tokenArg `embed:""`
}

func (userVerifyEmailCmd) Help() string { return examples("ingress user verify-email - < token.txt") }

func (cmd *userVerifyEmailCmd) Run(ctx context.Context, c *client) error {
	token, err := c.argument(ctx, cmd.Token, "token")
	if err != nil {
		return err
	}
	return c.do(ctx, "user", "VerifyEmail", &userpb.VerifyEmailRequest{Token: token}, &userpb.VerifyEmailResponse{},
		c.confirm("the address is verified"))
}

type userSendPasswordResetEmailCmd struct {
	Email     string `arg:"" help:"The address of an account."`
	mailFlags `embed:""`
	Expires   time.Duration `default:"30m" help:"How long the code works, ${default} unless given."`
}

func (userSendPasswordResetEmailCmd) Help() string {
	return "The text has $code where the code goes.\n\n" + examples(
		"ingress user send-password-reset-email jane@example.com --subject 'Your code' --text 'The code is $code'",
	)
}

func (cmd *userSendPasswordResetEmailCmd) Run(ctx context.Context, c *client) error {
	if cmd.Expires < time.Second {
		return usagef("--expires %s: must be at least one second", cmd.Expires)
	}
	text, err := cmd.text(ctx, c)
	if err != nil {
		return err
	}
	req := &userpb.SendPasswordResetEmailRequest{
		Email: cmd.Email, Subject: cmd.Subject, TextContent: text, FromName: cmd.FromName,
		Expiration: int64(cmd.Expires / time.Second),
	}
	return c.do(ctx, "user", "SendPasswordResetEmail", req, &userpb.SendPasswordResetEmailResponse{}, c.mailed(cmd.Email))
}

type userSendMagicLinkCmd struct {
	Email     string `arg:"" help:"The address of an account."`
	mailFlags `embed:""`
	Address   string `name:"product-address" required:"" placeholder:"URL" help:"The address of your product, such as https://example.com."`
	Endpoint  string `required:"" help:"The path there that takes the token, such as /login."`
}

func (userSendMagicLinkCmd) Help() string {
	return "The text has $micro_verification_link where the link goes.\n\n" + examples(
		"ingress user send-magic-link jane@example.com --subject 'Log in' --text 'Click: $micro_verification_link' --product-address https://example.com --endpoint /login",
	)
}

func (cmd *userSendMagicLinkCmd) Run(ctx context.Context, c *client) error {
	text, err := cmd.text(ctx, c)
	if err != nil {
		return err
	}
	req := &userpb.SendMagicLinkRequest{
		Email: cmd.Email, Subject: cmd.Subject, TextContent: text, FromName: cmd.FromName,
		Address: cmd.Address, Endpoint: cmd.Endpoint,
	}
	return c.do(ctx, "user", "SendMagicLink", req, &userpb.SendMagicLinkResponse{}, c.mailed(cmd.Email))
}
