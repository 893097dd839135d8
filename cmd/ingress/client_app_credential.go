package main

import (
	"context"

	apppb "github.com/m3o/ingress/proto/app"
)

type appCredentialCmd struct {
	Set    credentialSetCmd    `cmd:"" help:"Store what a host's private repositories are fetched with."`
	List   credentialListCmd   `cmd:"" help:"Show the hosts there are credentials for, without secrets."`
	Delete credentialDeleteCmd `cmd:"" help:"Remove a host's credentials."`
}

func (appCredentialCmd) Help() string {
	return examples("ingress app credential set github.com < token.txt", "ingress app credential list")
}

type credentialSetCmd struct {
	Host       string `arg:"" help:"The host, such as github.com."`
	Username   string `help:"User name for https. Any does for a token, and one is chosen unless given."`
	SSHKey     string `name:"ssh-key" placeholder:"FILE" help:"File with a private key for ssh, in PEM and without a passphrase, instead of a password."`
	KnownHosts string `type:"existingfile" placeholder:"FILE" help:"File with the host's keys for ssh, as in known_hosts. That of the first fetch is kept unless given."`
}

func (credentialSetCmd) Help() string {
	return "Without --ssh-key the password or token is asked for, or read from stdin when that is not a terminal.\n\n" + examples(
		"ingress app credential set github.com < token.txt",
		"ingress app credential set git.example.com --username jane",
		"ingress app credential set git.example.com --ssh-key ~/.ssh/deploy_key",
	)
}

func (cmd *credentialSetCmd) Run(ctx context.Context, c *client) error {
	req := &apppb.SetCredentialRequest{Host: cmd.Host, Username: cmd.Username}
	var err error
	if req.SshKey, err = c.optional(ctx, cmd.SSHKey); err != nil {
		return err
	}
	if req.KnownHosts, err = c.optional(ctx, cmd.KnownHosts); err != nil {
		return err
	}
	if cmd.SSHKey == "" {
		if req.Password, err = c.secret(ctx, "", "password or token"); err != nil {
			return err
		}
	}
	return c.do(ctx, "app", "SetCredential", req, &apppb.SetCredentialResponse{}, c.confirm("the credential for %s is stored", cmd.Host))
}

// optional returns the content of a file, or nothing when none is named.
func (c *client) optional(ctx context.Context, path string) (string, error) {
	if path == "" {
		return "", nil
	}
	content, err := c.read(ctx, path)
	return string(content), err
}

type credentialListCmd struct{}

func (credentialListCmd) Help() string { return examples("ingress app credential list") }

func (cmd *credentialListCmd) Run(ctx context.Context, c *client) error {
	res := &apppb.ListCredentialsResponse{}
	return c.do(ctx, "app", "ListCredentials", &apppb.ListCredentialsRequest{}, res, func() error {
		shown := &table{header: []string{"HOST", "USERNAME", "PASSWORD", "SSH KEY", "UPDATED"}}
		for _, known := range res.Credentials {
			shown.add(known.Host, known.Username, yesNo(known.HasPassword), yesNo(known.HasSshKey), c.stamp(known.Updated))
		}
		return c.printTable(shown, "no credentials yet; store one with: ingress app credential set HOST")
	})
}

type credentialDeleteCmd struct {
	Host string `arg:"" help:"The host."`
}

func (credentialDeleteCmd) Help() string { return examples("ingress app credential delete github.com") }

func (cmd *credentialDeleteCmd) Run(ctx context.Context, c *client) error {
	return c.do(ctx, "app", "DeleteCredential", &apppb.DeleteCredentialRequest{Host: cmd.Host}, &apppb.DeleteCredentialResponse{},
		c.confirm("the credential for %s is removed", cmd.Host))
}
