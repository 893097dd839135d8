package main

import (
	"context"
	"crypto/sha256"
	"crypto/subtle"
	"fmt"
	"net/url"

	"github.com/m3o/ingress/internal/api"
	"github.com/m3o/ingress/internal/edge"
	"github.com/m3o/ingress/internal/key"
	"github.com/m3o/ingress/internal/upstream"
	"github.com/prometheus/client_golang/prometheus"
)

// remote is somebody else's platform. Nothing is kept here.
type remote struct {
	address   *url.URL
	token     string
	calls     *api.Remote
	transport *upstream.Transport
}

// openRemote connects the data plane to the platform at --api-address.
func (s *server) openRemote() error {
	address, err := parseWebURL(s.config.APIAddress)
	if err != nil {
		return fmt.Errorf("--api-address: %w", err)
	}
	client := &api.Client{Address: address, Token: s.secrets.apiToken, Timeout: s.config.Limits.ResolveTimeout}
	r := &remote{
		address:   address,
		token:     s.secrets.apiToken,
		calls:     api.NewRemote(client, s.log),
		transport: s.newTransport(nil),
	}
	s.platform = r
	s.metrics.MustRegister(prometheus.NewCounterFunc(prometheus.CounterOpts{
		Name: "ingress_remote_hits_dropped_total",
		Help: "Link visits that the remote platform was not told of, because the queue was full.",
	}, func() float64 { return float64(r.calls.DroppedHits()) }))
	s.onClose(func() error {
		ctx, cancel := context.WithTimeout(context.Background(), flushTimeout)
		defer cancel()
		if err := r.calls.Close(ctx); err != nil {
			s.log.Warn("the platform was not told of every link visit", "error", err)
		}
		return nil
	})
	if len(s.config.VerifyRedirectTo) == 0 {
		s.log.Warn("verification links will redirect nowhere: a remote platform does not tell which hosts are allowed; set --verify-redirect-hosts")
	}
	if r.token == "" {
		s.log.Warn("there is no M3O_API_TOKEN: the platform is asked without one, which only a platform with --public-resolve answers")
	}
	return nil
}

// begin and release have nothing to do: nothing is kept or run here.
func (r *remote) begin(context.Context, <-chan struct{}) error { return nil }
func (r *remote) release(context.Context) error                { return nil }

func (r *remote) fill(c *edge.Config) {
	c.PlatformURL = r.address
	c.Transport = r.transport
	c.Apps, c.Functions = asked(r.calls.ResolveApp), asked(r.calls.ResolveFunction)
	c.Links, c.Hits = r.calls, r.calls
	c.Verifier = askedVerifier{r.calls}
	c.IsPlatformKey = r.isPlatformKey
}

// isPlatformKey recognises our own token and keys of a platform like ours; what
// keys of another platform look like cannot be known.
func (r *remote) isPlatformKey(credential string) bool {
	a, b := sha256.Sum256([]byte(credential)), sha256.Sum256([]byte(r.token))
	return key.Valid(credential) || r.token != "" && subtle.ConstantTimeCompare(a[:], b[:]) == 1
}

// watch does nothing: a remote platform announces no changes.
func (r *remote) watch(*edge.Edge) {}

func (r *remote) ping(context.Context) error { return r.calls.Outage() }

func (r *remote) describe() (platform, database string) { return r.address.String(), "" }

func (r *remote) bootstrap() bootstrapKey { return bootstrapKey{} }

func (r *remote) drain(context.Context) error { return nil }

// asked resolves ids by a call to the remote platform.
type asked func(ctx context.Context, id string) (string, error)

// Resolve implements edge.Resolver.
func (ask asked) Resolve(ctx context.Context, id string) (edge.Backend, error) {
	address, err := ask(ctx, id)
	if err != nil || address == "" {
		return edge.Backend{}, err
	}
	u, err := parseWebURL(address)
	if err != nil {
		return edge.Backend{}, fmt.Errorf("the platform's address for %s: %q %w", id, address, err)
	}
	return edge.Backend{Key: u.Host, URL: *u, Origin: edge.Remote}, nil
}

// askedVerifier checks verification tokens at the remote platform, which does
// not tell where they may redirect.
type askedVerifier struct{ calls *api.Remote }

// VerifyEmail implements edge.EmailVerifier.
func (v askedVerifier) VerifyEmail(ctx context.Context, token string) (edge.Redirects, error) {
	return edge.Redirects{}, v.calls.VerifyEmail(ctx, token)
}
