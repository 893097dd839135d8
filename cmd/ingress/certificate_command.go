package main

import (
	"fmt"
	"net/http"
	"net/url"
)

// certificateCmd is ingress certificate: what concerns the certificates of the
// running process.
type certificateCmd struct {
	Revoke certificateRevokeCmd `cmd:"" help:"Have the authority declare a certificate invalid, because others may have its key; the host gets another."`
}

type certificateRevokeCmd struct {
	config `embed:""`
	Host   string `arg:"" help:"The host, or *.domain for a wildcard certificate."`
}

// Help implements kong.HelpProvider.
func (certificateRevokeCmd) Help() string {
	return examples("ingress certificate revoke hello.m3o.app", "ingress certificate revoke '*.m3o.app'")
}

// Run asks the running process to revoke the certificate.
func (c *certificateRevokeCmd) Run(p *program) error {
	running, err := p.openRunning(&c.config)
	if err != nil {
		return err
	}
	defer running.Close()
	if err := running.do(http.MethodDelete, "/certificates/"+url.PathEscape(c.Host), nil, new(controlNote)); err != nil {
		return err
	}
	_, err = fmt.Fprintf(p.stdout, "the certificate of %s is revoked; the next visit orders another\n", c.Host)
	return err
}
