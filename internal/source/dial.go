package source

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"time"

	"github.com/go-git/go-git/v5/plumbing/transport"
	"github.com/go-git/go-git/v5/plumbing/transport/client"
	gitgit "github.com/go-git/go-git/v5/plumbing/transport/git"
	githttp "github.com/go-git/go-git/v5/plumbing/transport/http"
	gitssh "github.com/go-git/go-git/v5/plumbing/transport/ssh"
)

// dialTimeout bounds connecting to one address.
const dialTimeout = 20 * time.Second

// install has go-git connect to the addresses of an order and no others. No
// redirect is followed, and no configuration of ssh is read, which could name
// another host.
func (o order) install() {
	client.InstallProtocol("https", githttp.NewClientWithOptions(&http.Client{Transport: &http.Transport{
		DialContext:           o.dial,
		TLSHandshakeTimeout:   20 * time.Second,
		ResponseHeaderTimeout: time.Minute,
	}}, &githttp.ClientOptions{RedirectPolicy: githttp.NoFollowRedirects}))
	gitssh.DefaultSSHConfig = nil
	host := o.Addresses[0].String()
	client.InstallProtocol("ssh", pinned{gitssh.DefaultClient, host})
	client.InstallProtocol("git", pinned{gitgit.DefaultClient, host})
	client.InstallProtocol("http", nil)
	client.InstallProtocol("file", nil)
}

// dial connects to the first of the addresses that answers, whatever the name is.
func (o order) dial(ctx context.Context, network, address string) (net.Conn, error) {
	_, port, err := net.SplitHostPort(address)
	if err != nil {
		return nil, fmt.Errorf("read where to connect to: %w", err)
	}
	dialer := net.Dialer{Timeout: dialTimeout}
	var failed []error
	for _, addr := range o.Addresses {
		conn, err := dialer.DialContext(ctx, network, net.JoinHostPort(addr.String(), port))
		if err == nil {
			return conn, nil
		}
		failed = append(failed, err)
	}
	return nil, errors.Join(failed...)
}

// pinned is a transport that connects to one host, whichever an address names.
type pinned struct {
	transport.Transport
	host string
}

// NewUploadPackSession implements transport.Transport.
func (p pinned) NewUploadPackSession(to *transport.Endpoint, auth transport.AuthMethod) (transport.UploadPackSession, error) {
	there := *to
	there.Host = p.host
	return p.Transport.NewUploadPackSession(&there, auth)
}
