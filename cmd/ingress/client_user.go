package main

import (
	"context"

	userpb "github.com/m3o/ingress/proto/user"
)

type userCmd struct {
	Create         userCreateCmd         `cmd:"" help:"Make an account."`
	Read           userReadCmd           `cmd:"" help:"Show an account."`
	Update         userUpdateCmd         `cmd:"" help:"Change username, e-mail or profile."`
	Delete         userDeleteCmd         `cmd:"" help:"Remove an account with its sessions."`
	List           userListCmd           `cmd:"" help:"Show accounts, oldest first."`
	UpdatePassword userUpdatePasswordCmd `cmd:"" help:"Replace a password, given the old one."`
	ResetPassword  userResetPasswordCmd  `cmd:"" help:"Set a new password, given a mailed code."`

	Login       userLoginCmd       `cmd:"" help:"Check a password and open a session."`
	Logout      userLogoutCmd      `cmd:"" help:"End a session."`
	LogoutAll   userLogoutAllCmd   `cmd:"" help:"End every session of a user."`
	ReadSession userReadSessionCmd `cmd:"" help:"Show a live session and whose it is."`
	VerifyToken userVerifyTokenCmd `cmd:"" help:"Turn the token of a magic link into a session."`

	SendVerificationEmail  userSendVerificationEmailCmd  `cmd:"" help:"Mail a link that verifies the address."`
	VerifyEmail            userVerifyEmailCmd            `cmd:"" help:"Mark the address a token was mailed to as verified."`
	SendPasswordResetEmail userSendPasswordResetEmailCmd `cmd:"" help:"Mail a code that allows a new password."`
	SendMagicLink          userSendMagicLinkCmd          `cmd:"" help:"Mail a link that logs in without a password."`
}

func (userCmd) Help() string {
	return examples("ingress user create --email jane@example.com --username jane", "ingress user login --username jane")
}

// profileFlag is what the caller keeps with an account.
type profileFlag struct {
	Profile []string `sep:"none" placeholder:"KEY=VALUE" help:"Something to keep with the account, repeatable."`
}

// passwordFlag says where a password comes from; it is never an argument, which
// process lists would show.
type passwordFlag struct {
	PasswordFile string `placeholder:"FILE" help:"File with the password; - for stdin. Asked for on a terminal, else read from stdin, unless given."`
}

type userCreateCmd struct {
	Email        string `required:"" help:"The e-mail address."`
	Username     string `help:"A name to log in with."`
	ID           string `name:"id" help:"The id. Random unless given."`
	profileFlag  `embed:""`
	passwordFlag `embed:""`
}

func (userCreateCmd) Help() string {
	return examples(
		"ingress user create --email jane@example.com --username jane",
		"ingress user create --email jane@example.com --profile team=blue --password-file password.txt",
		"pwgen 20 1 | ingress user create --email jane@example.com",
	)
}

func (cmd *userCreateCmd) Run(ctx context.Context, c *client) error {
	profile, err := parseProfile(cmd.Profile)
	if err != nil {
		return err
	}
	password, err := c.newSecret(ctx, cmd.PasswordFile, "password")
	if err != nil {
		return err
	}
	req := &userpb.CreateRequest{
		Id: cmd.ID, Username: cmd.Username, Email: cmd.Email, Password: password, Profile: profile,
	}
	res := &userpb.CreateResponse{}
	return c.do(ctx, "user", "Create", req, res, func() error { return c.printAccount(res.Account) })
}

func (c *client) printAccount(account *userpb.Account) error {
	return c.printProperties(c.accountProperties(account))
}

func (c *client) accountProperties(account *userpb.Account) []property {
	return []property{
		{"ID", account.GetId()},
		{"USERNAME", account.GetUsername()},
		{"EMAIL", account.GetEmail()},
		{"VERIFIED", c.verified(account)},
		{"PROFILE", pairs(account.GetProfile())},
		{"CREATED", c.unixStamp(account.GetCreated())},
		{"UPDATED", c.unixStamp(account.GetUpdated())},
	}
}

// verified shows since when an address is verified, if it is.
func (c *client) verified(account *userpb.Account) string {
	if account.GetVerified() && account.GetVerificationDate() != 0 {
		return c.unixStamp(account.GetVerificationDate())
	}
	return yesNo(account.GetVerified())
}

type userReadCmd struct {
	ID       string `arg:"" name:"id" optional:"" help:"The account's id."`
	Username string `help:"The username instead."`
	Email    string `help:"The e-mail address instead."`
}

func (userReadCmd) Help() string {
	return examples("ingress user read jane1", "ingress user read --email jane@example.com")
}

func (cmd *userReadCmd) Run(ctx context.Context, c *client) error {
	if given(cmd.ID, cmd.Username, cmd.Email) != 1 {
		return usagef("give exactly one of the id, --username and --email")
	}
	req := &userpb.ReadRequest{Id: cmd.ID, Username: cmd.Username, Email: cmd.Email}
	res := &userpb.ReadResponse{}
	return c.do(ctx, "user", "Read", req, res, func() error { return c.printAccount(res.Account) })
}

// given counts the values that are not empty.
func given(values ...string) int {
	n := 0
	for _, value := range values {
		if value != "" {
			n++
		}
	}
	return n
}

type userUpdateCmd struct {
	ID          string `arg:"" name:"id" help:"The account's id."`
	Username    string `help:"The new username."`
	Email       string `help:"The new address, which is then unverified."`
	profileFlag `embed:""`
}

func (userUpdateCmd) Help() string {
	return "A profile given replaces the old one whole; without any it stays.\n\n" +
		examples("ingress user update jane1 --email jane@example.org", "ingress user update jane1 --profile team=red")
}

func (cmd *userUpdateCmd) Run(ctx context.Context, c *client) error {
	profile, err := parseProfile(cmd.Profile)
	if err != nil {
		return err
	}
	req := &userpb.UpdateRequest{Id: cmd.ID, Username: cmd.Username, Email: cmd.Email, Profile: profile}
	return c.do(ctx, "user", "Update", req, &userpb.UpdateResponse{}, c.confirm("account %s is updated", cmd.ID))
}

type userDeleteCmd struct {
	ID string `arg:"" name:"id" help:"The account's id."`
}

func (userDeleteCmd) Help() string { return examples("ingress user delete jane1") }

func (cmd *userDeleteCmd) Run(ctx context.Context, c *client) error {
	return c.do(ctx, "user", "Delete", &userpb.DeleteRequest{Id: cmd.ID}, &userpb.DeleteResponse{},
		c.confirm("there is no account %s any more", cmd.ID))
}

type userListCmd struct {
	Offset uint32 `help:"How many to skip."`
	Limit  uint32 `default:"25" help:"How many to show, ${default} unless given and 1000 at most."`
}

func (userListCmd) Help() string {
	return examples("ingress user list", "ingress user list --offset 100 --limit 100")
}

func (cmd *userListCmd) Run(ctx context.Context, c *client) error {
	req := &userpb.ListRequest{Offset: cmd.Offset, Limit: cmd.Limit}
	res := &userpb.ListResponse{}
	return c.do(ctx, "user", "List", req, res, func() error {
		accounts := &table{header: []string{"ID", "VERIFIED", "CREATED", "USERNAME", "EMAIL"}}
		for _, account := range res.Users {
			accounts.add(account.Id, yesNo(account.Verified), c.unixMinute(account.Created), account.Username, account.Email)
		}
		if cmd.Offset > 0 {
			return c.printTable(accounts, "no more accounts")
		}
		return c.printTable(accounts, "no accounts yet; make one with: ingress user create --email jane@example.com")
	})
}

type userUpdatePasswordCmd struct {
	ID              string `arg:"" name:"id" help:"The account's id."`
	OldPasswordFile string `placeholder:"FILE" help:"File with the password now; - for stdin."`
	NewPasswordFile string `placeholder:"FILE" help:"File with the password from now on; - for stdin."`
}

func (userUpdatePasswordCmd) Help() string {
	return "On a terminal both passwords are asked for; otherwise stdin has the old one on its first line and the new one on its second.\n\n" +
		examples("ingress user update-password jane1", "ingress user update-password jane1 --old-password-file old.txt --new-password-file new.txt")
}

func (cmd *userUpdatePasswordCmd) Run(ctx context.Context, c *client) error {
	old, err := c.secret(ctx, cmd.OldPasswordFile, "old password")
	if err != nil {
		return err
	}
	password, err := c.newSecret(ctx, cmd.NewPasswordFile, "new password")
	if err != nil {
		return err
	}
	req := &userpb.UpdatePasswordRequest{UserId: cmd.ID, OldPassword: old, NewPassword: password, ConfirmPassword: password}
	return c.do(ctx, "user", "UpdatePassword", req, &userpb.UpdatePasswordResponse{},
		c.confirm("account %s has a new password", cmd.ID))
}

type userResetPasswordCmd struct {
	Email        string `arg:"" help:"The account's address."`
	Code         string `arg:"" help:"The code mailed to it; - reads it from stdin or asks."`
	passwordFlag `embed:""`
}

func (userResetPasswordCmd) Help() string {
	return examples("ingress user reset-password jane@example.com -", "ingress user reset-password jane@example.com 483920 --password-file new.txt")
}

func (cmd *userResetPasswordCmd) Run(ctx context.Context, c *client) error {
	code, err := c.argument(ctx, cmd.Code, "code")
	if err != nil {
		return err
	}
	password, err := c.newSecret(ctx, cmd.PasswordFile, "new password")
	if err != nil {
		return err
	}
	req := &userpb.ResetPasswordRequest{Email: cmd.Email, Code: code, NewPassword: password, ConfirmPassword: password}
	return c.do(ctx, "user", "ResetPassword", req, &userpb.ResetPasswordResponse{},
		c.confirm("the account of %s has a new password", cmd.Email))
}
