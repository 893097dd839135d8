package main

import (
	"errors"
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
	control, err := p.openControl(&c.config, toRead)
	if err != nil {
		return err
	}
	defer control.Close()
	running, ok := control.(*socketControl)
	if !ok {
		return errors.New("no ingress is running here; start it with: ingress serve")
	}
	return running.do(http.MethodDelete, "/certificates/"+url.PathEscape(c.Host), nil, new(controlNote))
}
